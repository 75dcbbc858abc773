"""The shape: factories in, factories out.

A factory is any zero-argument callable that returns an iterable. ``Node`` is the factory that every combinator of this
library returns: an immutable record of a public function and its arguments, so that it compares by value, pickles as
the call that made it and prints as that call. What happens when it runs is a ``Running``, named by the combinator.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, TypeVar

import numpy as np

from pescador_fn.below import described
from pescador_fn.legible import fold, named
from pescador_fn.sources import hash_of, same
from pescador_fn.state import ELSEWHERE, describe, digest
from pescador_fn.stream import Stream

if TYPE_CHECKING:
    from pescador_fn.below import Opened
    from pescador_fn.running import Running
    from pescador_fn.seeds import Place

__all__ = ["Data", "Factories", "Factory", "Node", "Parts"]

T = TypeVar("T")
B = TypeVar("B")

Factory: TypeAlias = Callable[[], Iterable[T]]
Factories: TypeAlias = Sequence[Factory[T]] | Mapping[Any, Factory[T]]


class Node(Generic[T]):
    """A built factory: call it for a fresh ``Stream``.

    Immutable. Equal to another where function, parts and options are. Pickles as the call that made it. Options that a
    combinator takes as ``*args`` or ``**kwargs`` are kept under ``*options`` and ``**options``.
    """

    __slots__ = ("__weakref__", "_described", "_hash", "_prepared", "_run", "build", "of", "options")

    build: Callable[..., Node[T]]
    of: Any
    options: Mapping[str, Any]
    _run: Callable[[Node[T], Place], Running[T]]
    _prepared: Any
    _described: Any
    _hash: int | None

    def __init__(
        self, build: Callable[..., Any], run: Callable[[Node[T], Place], Running[T]], of: Any, **options: Any
    ) -> None:
        put = object.__setattr__
        put(self, "build", build)
        put(self, "of", of)
        put(self, "options", MappingProxyType(options))
        put(self, "_run", run)
        put(self, "_prepared", None)
        put(self, "_described", None)
        put(self, "_hash", None)

    def __call__(self) -> Stream[T]:
        """A fresh stream, which has opened and drawn nothing yet."""
        return Stream._of(self, self._start)

    if not TYPE_CHECKING:  # for a clear message; to a type checker it is not iterable

        def __iter__(self) -> NoReturn:
            raise TypeError(f"{named(self.build)}: a factory is not yet a stream; call it: for item in factory(): …")

    def _start(self, place: Place) -> Running[T]:
        return self._run(self, place)

    def _begin(self, place: Place) -> Opened:
        running = self._run(self, place)
        return iter(running), running, running

    def prepared(self, make: Callable[[Node[T]], B]) -> B:
        """What ``make`` derives from this node (tables), made when first asked for and kept."""
        if self._prepared is None:
            object.__setattr__(self, "_prepared", make(self))
        made: Any = self._prepared
        return made  # type: ignore[no-any-return]

    @property
    def described(self) -> dict[str, Any]:
        """What the stage is, as plain data: what a state is held against. Made when first asked for and kept."""
        if self._described is None:
            about: dict[str, Any] = {"": self.build.__name__}
            if about[""] in ELSEWHERE:
                return described(self.of)  # where items are made is no part of a state
            if isinstance(self.of, Parts | Data):
                about |= self.of.described()
            about |= {name: describe(value) for name, value in self.options.items()}
            object.__setattr__(self, "_described", about)
        return self._described  # type: ignore[no-any-return]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self.build.__name__}: a built factory is immutable; build another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{self.build.__name__}: a built factory is immutable; build another")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        return (
            self.build == other.build
            and self.of == other.of
            and self.options.keys() == other.options.keys()
            and all(same(value, other.options[name]) for name, value in self.options.items())
        )

    def __hash__(self) -> int:
        if self._hash is None:  # kept: there may be many ways from one node to a node below
            object.__setattr__(self, "_hash", hash((self.build, hash_of(self.of), hash_of(self.options))))
        return self._hash  # type: ignore[return-value]

    def __reduce__(self) -> tuple[Any, ...]:
        of = self.of.given() if isinstance(self.of, Parts | Data) else self.of
        options = {name: dict(value) if name.startswith("**") else value for name, value in self.options.items()}
        return _rebuild, (self.build, of, options)

    def __repr__(self) -> str:
        shown = []
        parameters = inspect.signature(self.build).parameters
        for name, value in self.options.items():
            if name.startswith("**"):
                shown += [f"{key}={named(word)}" for key, word in value.items()]
            elif name.startswith("*"):
                shown += map(named, value)
            elif parameters[name].default is inspect.Parameter.empty:
                shown.append(named(value))
            elif not same(value, parameters[name].default):
                shown.append(f"{name}={named(value)}")
        return fold(named(self.build), [named(self.of), *shown])


def _rebuild(build: Callable[..., Any], of: Any, options: dict[str, Any]) -> Any:
    named_options = options.pop("**options", {})
    more = options.pop("*options", ())
    return build(of, *more, **options, **named_options)


class Parts(Generic[T]):
    """Many factories: indexed one at a time, with names where they came as a mapping."""

    __slots__ = ("by_name", "items", "keys", "names")

    def __init__(self, items: Sequence[Factory[T]], names: tuple[Any, ...] | None, by_name: Any = None) -> None:
        self.items: Sequence[Factory[T]] = items
        self.names: tuple[Any, ...] | None = names
        self.by_name: Any = by_name
        self.keys: dict[int | str, int] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def label(self, index: int) -> object:
        """What a stream is called in paths: its name, or else its index."""
        return index if self.names is None else self.names[index]

    def key(self, index: int) -> int | str:
        """What a stream is called in states."""
        return index if self.names is None else _key(self.names[index])

    def index_of(self, key: int | str) -> int | None:
        """The stream that a state calls so; ``None`` where there is none."""
        if self.names is None:
            return key if isinstance(key, int) and key < len(self) else None
        if self.keys is None:
            self.keys = {_key(name): index for index, name in enumerate(self.names)}
        return self.keys.get(key)

    def described(self) -> dict[str, Any]:
        """How many, their names if any, and what the stages among them are."""
        about: dict[str, Any] = {"factories": len(self)}
        if self.names is not None:
            keys = [_key(name) for name in self.names]
            about |= {"names": digest(sorted(keys)), "order": digest(keys)}
        if isinstance(self.items, tuple):  # a lazy sequence is not looked through
            nodes = [
                [index, part.described]
                for index, part in enumerate(self.items)
                if isinstance(part, Node) and _is_stage(part)
            ]
            about["parts"] = digest(nodes) if nodes else None
        return about

    def given(self) -> Factories[T]:
        """As it was given, for pickling and printing."""
        if self.names is None:
            return self.items
        return dict(zip(self.names, self.items, strict=True)) if self.by_name is None else self.by_name

    def __eq__(self, other: object) -> bool:
        # Names compare in order: equal mappings in another order draw differently.
        return isinstance(other, Parts) and self.names == other.names and self.items == other.items

    def __hash__(self) -> int:
        few = 4  # at both ends: there may be a million
        last = max(len(self) - few, few)
        some: Any = self.items[:few] + self.items[last:] if isinstance(self.items, tuple) else ()
        return hash((len(self), self.names and self.names[:few], hash_of(some)))

    def __repr__(self) -> str:
        most = 3
        some = [named(part) for part in itertools.islice(iter(self.items), most)]
        if self.names is not None:
            some = [f"{name!r}: {part}" for name, part in zip(self.names, some, strict=False)]
        if len(self) > most:
            some.append(f"… {len(self) - most:,} more")
        return fold("", some, "[]" if self.names is None else "{}")


class Data(Generic[T]):
    """What has ``len`` and ``[]``, known to states by its length only."""

    __slots__ = ("rows",)

    def __init__(self, rows: Any) -> None:
        self.rows: Any = rows

    def described(self) -> dict[str, Any]:
        """How many rows, and nothing of what is in them: there may be terabytes."""
        return {"rows": len(self)}

    def __len__(self) -> int:
        rows = self.rows
        return len(rows) if hasattr(type(rows), "__len__") else int(rows.shape[0])  # as zarr's arrays

    def given(self) -> Any:
        """As it was given, for pickling."""
        return self.rows

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Data):
            return NotImplemented
        if self.rows is other.rows:
            return True
        if isinstance(self.rows, np.ndarray) or isinstance(other.rows, np.ndarray):
            return same(self.rows, other.rows)
        try:
            equal = self.rows == other.rows
        except Exception:  # lists of arrays do not compare
            return False
        return isinstance(equal, bool | np.bool_) and bool(equal)  # tensors and the like compare row by row

    def __hash__(self) -> int:
        return hash(len(self))

    def __repr__(self) -> str:
        many = isinstance(self.rows, list | tuple) and len(self.rows) > 6
        return f"<{type(self.rows).__name__} of {len(self.rows):,}>" if many else named(self.rows)


def _is_stage(part: Any) -> bool:
    """Whether a factory is a stage, wherever it runs."""
    while isinstance(part, Node) and part.build.__name__ in ELSEWHERE:
        part = part.of
    return isinstance(part, Node)


def _key(name: Any) -> str:
    return name if isinstance(name, str) and not name.startswith("~") else f"~{name!r}"
