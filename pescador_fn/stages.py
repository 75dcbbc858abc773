"""Stages: combinators with all arguments bound but the data, which comes last."""

from __future__ import annotations

import copy
import functools
import inspect
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

import numpy as np

from pescador_fn.factory import Node
from pescador_fn.legible import called, named
from pescador_fn.shape import Lifted
from pescador_fn.sources import Given, Source, alike, hash_of, same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Stage", "stage"]

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")

_CURRIED = "pescador_fn.curried"  # where makers of stages are found


class Stage(Generic[A, B]):
    """A function of the data alone: a combinator with its other arguments bound. Immutable, compared by value."""

    __slots__ = ("__signature__", "__weakref__", "args", "build", "kwargs")

    build: Callable[..., B]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __init__(self, build: Callable[..., B], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        signature = inspect.signature(build)
        first = next(iter(signature.parameters.values()))
        put = object.__setattr__
        put(self, "build", build)
        put(self, "args", args)
        put(self, "kwargs", MappingProxyType(dict(kwargs)))
        put(self, "__signature__", signature.replace(parameters=[first]))

    def __call__(self, data: A) -> B:
        """Apply to a factory, or to factories where the combinator takes many."""
        made: B = self.build(data, *self.args, **self.kwargs)
        return made

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self.build.__name__}: a stage is immutable; make another")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stage):
            return NotImplemented
        return self.build == other.build and alike(self._as_written(), other._as_written())

    def __hash__(self) -> int:
        return hash((self.build, *map(hash_of, self._as_written())))

    def _as_written(self) -> Given:
        """The arguments by position where they can be, but for those that are as they would be without."""
        signature = inspect.signature(self.build)
        bound, parameters = signature.bind(None, *self.args, **self.kwargs), signature.parameters
        kinds = {name: parameters[name].kind for name in bound.arguments}
        if inspect.Parameter.VAR_POSITIONAL not in kinds.values():
            for name, value in reversed(list(bound.arguments.items())):
                if kinds[name] is inspect.Parameter.POSITIONAL_ONLY:
                    break
                if same(value, parameters[name].default):
                    del bound.arguments[name]
        return bound.args, bound.kwargs

    def __reduce__(self) -> tuple[Any, ...]:
        return Stage, (self.build, self.args, dict(self.kwargs))

    def __repr__(self) -> str:
        return called(named(self.build), self.args, self.kwargs)


def _help(self: Stage[Any, Any]) -> str:
    first = next(iter(inspect.signature(self).parameters))
    return f"A stage, to be called with ``{first}``.\n\n{_text(self.build)}"


Stage.__doc__ = property(_help)  # type: ignore[assignment]  # what `help` shows of a stage is of its combinator


def _text(build: Callable[..., Any]) -> str:
    """What a combinator's docstring says, without its examples, which are of the function."""
    return inspect.cleandoc(build.__doc__ or "").partition(">>>")[0].rstrip()


def _own(value: Any) -> Any:
    """A copy of what its giver may change."""
    return copy.copy(value) if isinstance(value, list | dict | set | np.ndarray) else value


def _refuse_factories(name: str, args: tuple[Any, ...]) -> None:
    """A combinator that was put into a pipe without being called gets what runs through it."""
    for value in args:
        if isinstance(value, Node | Source):
            raise TypeError(
                f"{name}: {named(value)} is a factory, and a stage is made of the other arguments first; "
                f"write pipe(factory, {name}(…))"
            )


def stage(build: Callable[Concatenate[A, P], B]) -> Callable[P, Callable[[A], B]]:
    """From a function that takes its data first, a maker of stages: ``stage(f)(*rest)(data)`` is ``f(data, *rest)``.

    Args:
        build: a function whose first argument is the data.

    Raises:
        TypeError: when the maker is called, if the arguments do not fit ``build``.

    >>> from pescador_fn import take
    >>> first = stage(take)
    >>> list(first(2)([1, 2, 3].__iter__)())
    [1, 2]
    """
    signature = inspect.signature(build)
    first, *rest = signature.parameters.values()
    ours = not isinstance(build, Lifted)  # whose arguments are the function's own affair

    @functools.wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> Callable[[A], B]:
        try:
            signature.bind_partial(None, *args, **kwargs)  # first, since it tells a name that is misspelt
            signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}: {error}; the stage takes {shown}") from None
        if ours:
            _refuse_factories(name, args)
            args, kwargs = tuple(map(_own, args)), {key: _own(value) for key, value in kwargs.items()}  # type: ignore[assignment]
        made: Stage[A, B] = Stage(build, args, kwargs)
        return made

    name = getattr(build, "__name__", repr(build))
    shown = signature.replace(parameters=rest, return_annotation=f"a function of {first.name}")
    del make.__wrapped__  # `help` would follow it to the function that takes its data first
    make.__module__ = _CURRIED
    vars(make)["__signature__"] = shown
    make.__doc__ = f"Make a stage of `{build.__name__}`, a function of ``{first.name}``.\n\n{_text(build)}"
    return make
