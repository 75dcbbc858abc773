"""Sources: generator functions with their arguments bound and their randomness injected."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Set
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import numpy as np

from pescador_fn.below import Leaf, Opened, adopt
from pescador_fn.decorated import Decorated, takes_rng
from pescador_fn.errors import show
from pescador_fn.legible import called
from pescador_fn.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pescador_fn.seeds import Place

__all__ = ["Source", "SourceFunction", "alike", "hash_of", "same", "source"]

T = TypeVar("T")

Given = tuple[tuple[Any, ...], Mapping[str, Any]]  # arguments by position, and by name


def same(one: Any, other: Any) -> bool:
    """Equality that arrays take part in; what cannot be compared is equal to itself only."""
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and np.array_equal(one, other)
    try:
        return bool(one == other)
    except Exception:  # tables, and lists of arrays
        return False


def alike(one: Given, other: Given) -> bool:
    """Whether arguments are the same."""
    return (
        len(one[0]) == len(other[0])
        and all(map(same, one[0], other[0]))
        and one[1].keys() == other[1].keys()
        and all(same(value, other[1][name]) for name, value in one[1].items())
    )


def hash_of(value: Any) -> int:
    """A hash that goes with `same`: of what has none, by what it holds as far as that has some."""
    if isinstance(value, np.ndarray):
        return hash(value.shape)
    if isinstance(value, Mapping):
        return hash(frozenset((key, hash_of(one)) for key, one in value.items()))
    if isinstance(value, list | tuple):
        return hash((len(value), *map(hash_of, value)))
    if isinstance(value, Set):
        return hash(frozenset(value))
    if isinstance(value, bytearray):
        return hash(bytes(value))
    try:
        return hash(value)
    except TypeError:
        return 0


class Source(Generic[T]):
    """A generator function with its arguments: one user's stream, as a factory. Made by calling an ``@source``."""

    __slots__ = ("__weakref__", "args", "function", "kwargs")

    function: SourceFunction[T]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __init__(self, function: SourceFunction[T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        put = object.__setattr__
        put(self, "function", function)
        put(self, "args", args)
        put(self, "kwargs", MappingProxyType(kwargs))

    def __call__(self) -> Stream[T]:
        """A fresh stream; each one has randomness of its own."""
        return Stream._of(self, partial(Leaf, self))

    if not TYPE_CHECKING:  # for a clear message; to a type checker it is not iterable

        def __iter__(self) -> NoReturn:
            raise TypeError(
                f"{self.function.__name__}: a source is not yet a stream; call it: for item in factory(): …"
            )

    def _begin(self, place: Place) -> Opened:
        function = self.function
        if function.wants_rng:
            return adopt(function.fn(*self.args, **self.kwargs, rng=place.rng()), self)
        if function.wants_start:
            leaf: Leaf[T] = Leaf(self, place)
            return iter(leaf), leaf, leaf
        return adopt(function.fn(*self.args, **self.kwargs), self)

    def _open(self, place: Place, start: int) -> Iterable[T]:
        """What the function returns, from item ``start`` on where it can."""
        function, kwargs = self.function, dict(self.kwargs)
        if function.wants_rng:
            kwargs["rng"] = place.rng()
        if start:
            kwargs["start"] = kwargs.get("start", 0) + start
        made: Iterable[T] = function.fn(*self.args, **kwargs)
        return made

    @property
    def described(self) -> dict[str, Any]:
        """What a state is held against."""
        described: dict[str, Any] = self.function.described
        return described

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self.function.__name__}: a source is immutable; make another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{self.function.__name__}: a source is immutable; make another")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Source):
            return NotImplemented
        return self.function == other.function and alike(self.by_place(), other.by_place())

    def __hash__(self) -> int:
        return hash((self.function, *map(hash_of, self.by_place())))

    def by_place(self) -> Given:
        """The arguments by position where they can be, so that it does not matter how they were given."""
        return self.function.bound(self.args, self.kwargs) if self.kwargs else (self.args, self.kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Source, (self.function, self.args, dict(self.kwargs))

    def __repr__(self) -> str:
        return called(self.function.__name__, self.args, self.kwargs)


def _anything(*args: Any, **kwargs: Any) -> None: ...


def _signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(fn)
    except ValueError:  # of some functions written in C, nothing is known
        return inspect.signature(_anything)


class SourceFunction(Decorated, Generic[T]):
    """What ``@source`` makes of a function: called with the function's arguments, it gives a factory."""

    __wrapped__: Callable[..., Iterable[T]]

    def __init__(self, fn: Callable[..., Iterable[T]]) -> None:
        super().__init__(fn)
        self.signature: inspect.Signature = _signature_of(fn)
        parameters = self.signature.parameters.values()
        self.wants_rng: bool = takes_rng("source", self.__name__, self.signature, "path")
        starts = self.signature.parameters.get("start")
        self.wants_start: bool = (
            starts is not None and starts.kind is starts.KEYWORD_ONLY and starts.default == 0 and not self.wants_rng
        )
        self.described: dict[str, Any] = {"": f"source {self.__name__}"}
        kinds = {p.kind for p in parameters}
        plain = inspect.Parameter.VAR_POSITIONAL not in kinds
        places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        asked = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name != "rng" for p in parameters)
        # How many positional arguments are right by themselves, so that 30,000 sources need no 30,000 binds.
        self._counts = (
            range(sum(p.default is p.empty for p in places), len(places) + 1) if plain and not asked else range(0)
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Source[T]:
        if kwargs or len(args) not in self._counts:
            self._bind(args, kwargs)
        return Source(self, args, kwargs)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if "rng" in kwargs and self.wants_rng:
            raise TypeError(
                f"{self.__name__}: rng is injected when the stream opens; leave it out, and seed the pipeline"
            )
        try:
            self.bound(args, kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}{self.signature}: {error}; give the source its arguments now") from None

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given:
        """Arguments by position where they can be."""
        bound = self.signature.bind(*args, **kwargs, **({"rng": None} if self.wants_rng else {}))
        return bound.args, {name: value for name, value in bound.kwargs.items() if name in kwargs}

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As a method of a class, bound to its instance as a function would be."""
        return self if instance is None else functools.partial(self, instance)

    def __eq__(self, other: object) -> bool:
        return self.fn == other.fn if isinstance(other, SourceFunction) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fn)

    def __repr__(self) -> str:
        return f"source({self.__name__})"


def source(fn: Callable[..., Iterable[T]]) -> SourceFunction[T]:
    """Turn a generator function into a maker of factories.

    Calling the result binds the arguments, as they are and not copied, and opens nothing. A keyword-only parameter
    named ``rng`` is not bound: each time the stream opens, it is given a ``numpy.random.Generator`` of that
    activation's own, fixed by the pipeline's seed and the stream's place in it.

    A factory that ``fn`` calls by itself is no part of the pipeline, and no seed reaches it; what works on the items of
    another factory is made by ``lift``.

    Where the stream is resumed, it is opened and pulled as often as it had been before. A function without ``rng`` that
    has a keyword-only parameter ``start=0`` is called with the number of items to leave out instead.

    Args:
        fn: any function that returns an iterable; most often a generator function.

    Raises:
        TypeError: if ``fn`` is not callable or ``rng`` not keyword-only; and, when the result is called, if the
            arguments do not fit ``fn``.

    Source: McFee et al., pescador 3.0, ``streamable``.

    >>> @source
    ... def rolls(sides, *, rng):
    ...     while True:
    ...         yield int(rng.integers(1, sides + 1))
    >>> die = rolls(6)
    >>> die
    rolls(6)
    >>> from pescador_fn import seeded, take
    >>> once = seeded(die, 7)
    >>> list(take(once, 5)()) == list(take(once, 5)())
    True
    """
    if not callable(fn):
        raise TypeError(f"source: {show(fn)} is not callable; decorate a function that returns an iterable")
    return SourceFunction(fn)
