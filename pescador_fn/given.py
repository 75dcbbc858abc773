"""What a user gives as factories: checked where it is at hand, when the pipeline is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence, Set, ValuesView
from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_VARARGS, Signature, isasyncgenfunction, iscoroutinefunction
from inspect import signature as signature_of
from itertools import repeat
from numbers import Real
from operator import attrgetter
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np

from pescador_fn.errors import show
from pescador_fn.factory import Node, Parts
from pescador_fn.legible import named
from pescador_fn.sources import Source, SourceFunction
from pescador_fn.stream import Stream

__all__ = ["check_part", "check_parts", "takes"]


_ASYNC = CO_COROUTINE | CO_ASYNC_GENERATOR


class _ByName(Sequence[Any]):
    """A lazy mapping's values in the order of its names."""

    def __init__(self, mapping: Mapping[Any, Any], names: tuple[Any, ...]) -> None:
        self.mapping = mapping
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        return self.mapping[self.names[index]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByName) and self.mapping == other.mapping

    __hash__ = None  # type: ignore[assignment]


def check_part(function: str, value: Any, name: str = "factory") -> Any:
    """A zero-argument callable, as far as can be known without calling it."""
    if isinstance(value, Node | Source):
        return value
    if isinstance(value, SourceFunction):
        raise TypeError(
            f"{function}: {name} is the source {value.__name__} without its arguments; call it: {value.__name__}(…)"
        )
    if not callable(value):
        if isinstance(value, str):
            how = "a string; write a @source that opens what it names"
        elif isinstance(value, Stream):
            how = "a running stream, which can be read once; pass the factory that made it"
        elif isinstance(value, Iterator):
            how = "an iterator, which can be read once; pass a function that makes it, without calling it"
        elif _are_factories(value):
            how = "many factories, where one is needed; make a mux of them, such as round_robin_mux or chain_mux"
        elif isinstance(value, Iterable):
            how = "an iterable; pass its __iter__, or a lambda that returns it"
        elif name == "factory" and isinstance(value, Real):
            how = f"not a factory, which comes before all options: {function}(factory, …)"
        else:
            how = "not a factory; pass a zero-argument callable that returns an iterable"
        raise TypeError(f"{function}: {name}={show(value)} is {how}")
    if iscoroutinefunction(value) or isasyncgenfunction(value):
        raise TypeError(
            f"{function}: {name}={named(value)} is asynchronous, and a factory returns an ordinary iterable; "
            "run its event loop inside a generator function"
        )
    if takes(value, 0) is False:
        if type(value).__module__ == "pescador_fn.stages":
            raise TypeError(
                f"{function}: {name}={named(value)} is a stage, which makes a factory of one; "
                "in a pipe, call each combinator with its own arguments: pipe(factory, batch(32), take(10))"
            )
        raise TypeError(
            f"{function}: {name}={named(value)} needs arguments, and a factory is called with none; "
            "bind them with functools.partial, a lambda or @source"
        )
    return value


def _are_factories(value: Any) -> bool:
    """Whether what is given for one factory is a collection of them."""
    many = value.values() if isinstance(value, dict) else value
    return isinstance(value, dict | list | tuple | set | frozenset) and len(value) > 0 and all(map(callable, many))


def takes(value: Any, n: int) -> bool | None:
    """Whether a function can be called with ``n`` arguments; ``None`` where that is not known at a glance."""
    names: set[str] = set()
    if isinstance(value, Node | Source):
        return n == 0
    if isinstance(value, MethodDescriptorType | WrapperDescriptorType):  # as `str.upper`
        return False if n == 0 else None
    if type(value) is partial:
        value, n, names = value.func, n + len(value.args), set(value.keywords)
    kind: Any = type(value)
    if kind is MethodType and type(value.__func__) is FunctionType:
        value, n = value.__func__, n + 1
    elif kind is type and value.__new__ is object.__new__ and type(value.__init__) is FunctionType:
        value, n = value.__init__, n + 1
    if type(value) is not FunctionType:
        if not type(value).__module__.startswith("pescador_fn") or isinstance(value, SourceFunction):
            known = isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType)  # as `len`
            if not known or getattr(value, "__text_signature__", None) is None:
                return None  # others' may raise where it is asked for
            try:
                return _fits(signature_of(value), n, names)
            except ValueError:  # `iter` tells a signature on Python 3.12 that Python cannot read
                return None
        signature: Any = getattr(value, "__signature__", None)
        if signature is None:
            return None
        return _fits(signature, n, names)  # a stage, or a function that is lifted
    code = value.__code__
    if code.co_argcount == n and not code.co_kwonlyargcount and not names:
        return True
    places = code.co_varnames[: code.co_argcount]
    words = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    required = places[: code.co_argcount - len(value.__defaults__ or ())]
    lacking = {*required[n:], *words} - names - (value.__kwdefaults__ or {}).keys()
    return not lacking and (n <= code.co_argcount or bool(code.co_flags & CO_VARARGS))


def _fits(signature: Signature, n: int, names: set[str]) -> bool:
    try:
        signature.bind(*repeat(None, n), **dict.fromkeys(names))
    except TypeError:
        return False
    return True


def _names(function: str, factories: Mapping[Any, Any]) -> tuple[Any, ...]:
    """The names of a mapping, those of numpy's types as plain ones."""
    names = tuple(factories)
    if set(map(type, names)) <= {str, int}:
        return names
    plain = tuple(map(_plain, names))
    for name, given in zip(plain, names, strict=True):
        if not _is_plain(name):
            raise TypeError(
                f"{function}: the name {show(given)} is not plain; name streams by strings, numbers or tuples of these"
            )
    return plain


def _plain(name: Any) -> Any:
    if type(name) is tuple:
        return tuple(map(_plain, name))
    return name.item() if isinstance(name, np.generic) else name


def _is_plain(name: Any) -> bool:
    return all(map(_is_plain, name)) if isinstance(name, tuple) else isinstance(name, str | int | float | bytes)


def _surely_factories(items: tuple[Any, ...]) -> bool:
    """Whether all are plainly factories, told without a look at each: there may be a million."""
    kinds = set(map(type, items))
    if kinds <= {Source, Node}:
        return True
    if kinds != {FunctionType}:
        return False
    codes = set(map(attrgetter("__code__"), items))
    return not any(code.co_argcount or code.co_kwonlyargcount or code.co_flags & _ASYNC for code in codes)


def check_parts(function: str, factories: Any, least: int = 1) -> Parts[Any]:
    """Many factories: checked where they are at hand, left alone where the sequence is lazy."""
    if isinstance(factories, Mapping):
        names = _names(function, factories)
        if type(factories) is not dict and not isinstance(factories, MappingProxyType):
            parts: Parts[Any] = Parts(_ByName(factories, names), names, factories)
        else:
            parts = Parts(tuple(factories.values()), names)
    elif isinstance(factories, MutableSequence | tuple):
        parts = Parts(tuple(factories), None)
    elif isinstance(factories, Sequence) and not isinstance(factories, str | bytes | bytearray):
        parts = Parts(factories, None)
    elif isinstance(factories, np.ndarray):
        parts = Parts(tuple(factories.ravel().tolist()), None)
    else:
        one = callable(factories)
        how = (
            "one factory; pass a list of them: [factory], or [one, other]"
            if one
            else "not a list; pass a sequence or mapping of factories, such as list(factories)"
            if isinstance(factories, Set | Iterator | ValuesView)
            else "not a list; pass a sequence or mapping of factories"
        )
        raise TypeError(f"{function}: factories={named(factories) if one else show(factories)} is {how}")
    if len(parts) < least:
        raise ValueError(f"{function}: factories is empty; give at least one factory")
    if isinstance(parts.items, tuple) and not _surely_factories(parts.items):
        for index, part in enumerate(parts.items):
            check_part(function, part, f"factories[{parts.label(index)!r}]")
    return parts
