"""Small makers of factories: pin a seed, lift a function, put names on items."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from pescador_fn.errors import show
from pescador_fn.factory import Factory, Node, check_part
from pescador_fn.items import map_items
from pescador_fn.legible import named
from pescador_fn.seeds import Place, check_seed
from pescador_fn.stream import FOREVER, Stage, close_all

__all__ = ["label", "lift", "seeded"]

T = TypeVar("T")
B = TypeVar("B")


class _Seeded(Stage[T]):
    __slots__ = ()

    def __iter__(self) -> Iterator[T]:
        return iter(self.upstream)


def seeded(factory: Factory[T], seed: int | None) -> Node[T]:
    """Fix the randomness of everything below: every call then gives the same stream.

    Args:
        factory: what to pin, such as one source.
        seed: an ``int >= 0``; ``None`` leaves the factory as it was.

    Raises:
        TypeError: if ``factory`` is not a factory, or ``seed`` not an integer; a generator would change as it is used.
        ValueError: if ``seed`` is negative.

    >>> from pescador_fn import source
    >>> @source
    ... def noise(*, rng):
    ...     yield rng.integers(100)
    >>> pinned = seeded(noise(), 3)
    >>> list(pinned()) == list(pinned())
    True
    """
    return Node(seeded, _Seeded, check_part("seeded", factory), seed=check_seed("seeded", seed))


class _Lifted(Stage[T]):
    __slots__ = ("calls", "owner")

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place)
        self.calls: itertools.repeat[Iterator[T]] | None = None
        self.owner: Any = None

    def __iter__(self) -> Iterator[T]:
        if self.calls is None:  # once: a lifted function's memory cannot be laid again
            options = self.node.options
            lifted: Any = self.node.build
            made = lifted.fn(iter(self.upstream), *options["*options"], **options["**options"])
            items = iter(made)
            self.owner = items if hasattr(items, "close") else None
            self.calls = itertools.repeat(items, FOREVER)
        return map(next, self.calls)

    @property
    def done(self) -> bool:
        return True

    def close(self) -> None:
        close_all([self.upstream, self.owner])


def _shape(factory: Factory[Any], *args: Any, **kwargs: Any) -> None: ...


_signature = inspect.signature(_shape)


class Lifted(Generic[B]):
    """A combinator made of a function from iterables to iterables."""

    def __init__(self, fn: Callable[..., Iterable[B]]) -> None:
        self.fn = fn
        self.__name__: str = named(fn)
        self.__doc__ = f"{self.__name__}, lifted: from a factory to a factory."
        self.__signature__: inspect.Signature = _signature

    @overload
    def __call__(self, factory: Factory[Any], /, *args: Any, **kwargs: Any) -> Node[B]: ...
    @overload
    def __call__(self, **kwargs: Any) -> Callable[[Factory[Any]], Node[B]]: ...
    def __call__(self, *given: Any, **kwargs: Any) -> Any:
        if not given:
            return functools.partial(self, **kwargs)
        factory, *args = given
        try:
            part = check_part(self.__name__, factory)
        except TypeError as error:
            raise TypeError(f"{error}; in a pipe, use curried.lift, whose stages take the factory last") from None
        return Node(self, _Lifted, part, **{"*options": tuple(args), "**options": kwargs})

    def __eq__(self, other: object) -> bool:
        return self.fn == other.fn if isinstance(other, Lifted) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fn)

    def __reduce__(self) -> tuple[Any, ...]:
        return Lifted, (self.fn,)

    def __repr__(self) -> str:
        return f"lift({self.__name__})"


def lift(fn: Callable[..., Iterable[B]]) -> Lifted[B]:
    """Turn a function from an iterable to an iterable into a combinator.

    That makes ``toolz``, ``itertools`` and ``more_itertools`` usable in a pipeline; a function that takes its data last
    is given the arguments before it by ``functools.partial``. The result is called with a factory and the rest of
    ``fn``'s arguments. Without a factory, and with arguments by name, it gives a stage for ``pipe``; ``curried.lift``
    takes them by position too. What ``fn`` remembers
    cannot be seen from outside, so a stream that it made is only ever replayed from its own start.

    Args:
        fn: called with an iterator first, each time the stream is opened; it must not touch anything else.

    Raises:
        TypeError: if ``fn`` is not callable.

    >>> import toolz
    >>> from pescador_fn.curried import pipe
    >>> evens = pipe([2, 2, 4, 2].__iter__, lift(toolz.unique)())
    >>> list(evens())
    [2, 4]
    >>> from functools import partial
    >>> list(lift(partial(toolz.sliding_window, 2))("abc".__iter__)())
    [('a', 'b'), ('b', 'c')]
    """
    if not callable(fn):
        raise TypeError(f"lift: fn={show(fn)} is not callable; pass a function from an iterable to an iterable")
    return Lifted(fn)


@dataclass(frozen=True)
class Named(Generic[T]):
    """Puts a name beside every item."""

    name: T

    def __call__(self, item: B) -> tuple[T, B]:
        return self.name, item


def label(factories: Mapping[T, Factory[B]]) -> dict[T, Node[tuple[T, B]]]:
    """Let every stream of a mapping yield its name with each item: ``(name, item)``.

    Args:
        factories: a mapping of names to factories.

    Raises:
        TypeError: if ``factories`` is not a mapping of factories.

    >>> from pescador_fn import chain_mux
    >>> pets = label({"cat": [1, 2].__iter__, "dog": [3].__iter__})
    >>> list(chain_mux(pets)())
    [('cat', 1), ('cat', 2), ('dog', 3)]
    """
    if not isinstance(factories, Mapping):
        raise TypeError(f"label: factories={show(factories)} is not a mapping; give names: {{name: factory}}")
    return {
        name: map_items(check_part("label", part, f"factories[{name!r}]"), Named(name))
        for name, part in factories.items()
    }
