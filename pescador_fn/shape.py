"""Small makers of factories: pin a seed, lift a function, put names on items."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

from pescador_fn.below import Stage, origin
from pescador_fn.decorated import Decorated, is_known, takes_rng
from pescador_fn.errors import show
from pescador_fn.factory import Factory, Node
from pescador_fn.given import check_part
from pescador_fn.items import map_items
from pescador_fn.replaying import replay
from pescador_fn.running import EMPTY, FOREVER, close_all
from pescador_fn.seeds import Place, check_seed

if TYPE_CHECKING:
    from pescador_fn.state import Loader, Saver

__all__ = ["label", "lift", "seeded"]

T = TypeVar("T")
B = TypeVar("B")


class _Seeded(Stage[T]):
    __slots__ = ()

    def __iter__(self) -> Iterator[T]:
        return iter(self.upstream)

    def jump(self, n: int) -> bool:
        return self.upstream.jump(n)


def seeded(factory: Factory[T], seed: int | None) -> Node[T]:
    """Fix the randomness of everything below: every call then gives the same stream.

    Args:
        factory: what to pin, such as one source. A stage that has a seed of its own keeps it.
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
    __slots__ = ("calls", "ended", "origin", "owner", "past", "where")

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place)
        self.calls: itertools.repeat[Iterator[T]] | None = None
        self.owner: Any = None
        self.ended = False  # before it was saved
        self.past: int = 0  # how often it had been called, where it is resumed
        self.where = ""
        self.origin: Any = None  # a snapshot of the start, when something asks

    def __iter__(self) -> Iterator[T]:
        if self.calls is None:  # once: a lifted function's memory cannot be laid again
            items: Iterator[T] = EMPTY
            if not self.ended:
                try:
                    items = self._open()
                except Exception:
                    self.ended = True  # what does not open has ended
                    raise
            self.calls = itertools.repeat(items, FOREVER - self.past)
        return map(next, self.calls)

    def _open(self) -> Iterator[T]:
        """Call the function, and bring what it made to where it was."""
        lifted, args, kwargs = self.node.build, self.node.options["*options"], self.node.options["**options"]
        if lifted.wants_rng:
            kwargs = kwargs | {"rng": np.random.Generator(self.place.bits(f"lift {_lifts(self.node.of)}"))}
        items: Iterator[T] = iter(lifted.fn(iter(self.upstream), *args, **kwargs))
        self.owner = items if hasattr(items, "close") else None
        made, _ = replay(items, self.past, self.where, ended=True)
        self.ended = made < self.past
        return items

    def held(self) -> Iterable[Any]:
        return self.upstream, self.owner

    def save(self, saver: Saver) -> Any:
        if self.node.build.memoryless:
            return saver.running(self.upstream)
        if self.origin is None:
            self.origin = origin(self.node.of, self.place)
        return [self.origin, self.past if self.calls is None else FOREVER - self.calls.__length_hint__(), self.ended]

    def load(self, state: Any, loader: Loader) -> None:
        if self.node.build.memoryless:
            self.upstream = loader.running(self.upstream, state)
        else:
            (self.origin, self.past, self.ended), self.where = state, loader.where
            self.upstream = loader.inner(self.origin["stages"]).running(self.upstream, self.origin["at"])

    @property
    def done(self) -> bool:
        return True

    def close(self) -> None:
        close_all([self.upstream, self.owner])


def _lifts(factory: object) -> int:
    """How many lifted functions lie below in the line: each has randomness of its own."""
    count = 0
    while isinstance(factory, Node):
        count += isinstance(factory.build, Lifted)
        factory = factory.of
    return count


def _shape(factory: Any, /, *args: Any, **kwargs: Any) -> None: ...


_unknown = inspect.signature(_shape)


def _signature_of(fn: Callable[..., Any], *, followed: bool) -> inspect.Signature:
    """The signature of a function with a factory in the place of its iterable; ``followed`` to what it wraps."""
    try:
        first, *rest = inspect.signature(fn, follow_wrapped=followed).parameters.values()
    except (ValueError, TypeError):  # of some functions written in C, nothing is known
        return _unknown
    name = first.name if any(one.name == "factory" for one in rest) else "factory"
    factory = inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY)
    if first.kind is first.VAR_POSITIONAL:
        rest = [first.replace(name=f"{first.name}_") if first.name == name else first, *rest]
    return inspect.Signature([factory, *rest])


class Lifted(Decorated, Generic[B]):
    """A combinator made of a function from iterables to iterables."""

    def __init__(self, fn: Callable[..., Iterable[B]], *, memoryless: bool = False) -> None:
        super().__init__(fn)
        self.memoryless = memoryless
        self.__doc__ = f"{self.__name__}, lifted: from a factory to a factory."
        bound = isinstance(fn, functools.partial) and "rng" in fn.keywords
        followed = _signature_of(fn, followed=True)
        self.wants_rng: bool = takes_rng("lift", self.__name__, followed, "items") and not bound
        takes = _signature_of(fn, followed=False)
        rest = [one for one in takes.parameters.values() if not (self.wants_rng and one.name == "rng")]
        self.__signature__: inspect.Signature = takes.replace(parameters=rest)

    @overload
    def __call__(self, factory: Factory[Any], /, *args: Any, **kwargs: Any) -> Node[B]: ...
    @overload
    def __call__(self, **kwargs: Any) -> Callable[[Factory[Any]], Node[B]]: ...
    def __call__(self, *given: Any, **kwargs: Any) -> Any:
        if not given:
            self._bind(**kwargs)
            return functools.partial(self, **kwargs)
        factory, *args = given
        try:
            part = check_part(self.__name__, factory)
        except TypeError as error:
            raise TypeError(f"{error}; in a pipe, use curried.lift, whose stages take the factory last") from None
        self._bind(*args, **kwargs)
        return Node(self, _Lifted, part, **{"*options": tuple(args), "**options": MappingProxyType(kwargs)})

    def _bind(self, *args: Any, **kwargs: Any) -> None:
        """That the function takes these arguments after the items."""
        if self.wants_rng and "rng" in kwargs:
            raise TypeError(
                f"{self.__name__}: rng is injected when the stream opens; leave it out, and seed the pipeline"
            )
        try:
            self.__signature__.bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}{self.__signature__}: {error}") from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lifted):
            return NotImplemented
        return self.fn == other.fn and self.memoryless == other.memoryless

    def __hash__(self) -> int:
        return hash(self.fn)

    def by_value(self) -> tuple[Any, ...]:
        """With the function; one that plain pickle could not import, by cloudpickle."""
        return self.with_function() if is_known(self.fn) else super().by_value()

    @property
    def options(self) -> dict[str, Any]:
        return {"memoryless": self.memoryless}

    def __repr__(self) -> str:
        if self.is_known:  # as a decorator
            return self.__qualname__
        return f"lift({self.__name__}{', memoryless=True' if self.memoryless else ''})"


def lift(fn: Callable[..., Iterable[B]], *, memoryless: bool = False) -> Lifted[B]:
    """Turn a function from an iterable to an iterable into a combinator.

    That makes ``toolz``, ``itertools`` and ``more_itertools`` usable in a pipeline; a function that takes its data last
    is given the arguments before it by ``functools.partial``. The result is called with a factory and the rest of
    ``fn``'s arguments. Without a factory, and with arguments by name, it gives a stage for ``pipe``; ``curried.lift``
    takes them by position too.

    A keyword-only parameter named ``rng`` is filled in as that of a ``source`` is: each time that the stream opens, by
    a ``numpy.random.Generator`` of the stage's own, fixed by the pipeline's seed and the stage's place.

    What ``fn`` remembers cannot be seen from outside, so where the stream is resumed it is replayed from its own start,
    with all that lies below: the cost grows with the number of items, unless ``fn`` is said to be memoryless.

    Args:
        fn: called with an iterator first, each time the stream is opened; it must not touch anything else.
        memoryless: that ``fn`` takes one item for each that it gives, and remembers none, such as
            ``lambda items: map(abs, items)``. A resumed stream then goes on at once.

    Raises:
        TypeError: if ``fn`` is not callable, ``rng`` not keyword-only or ``memoryless`` not a bool; and, when the
            result is called, if the arguments do not fit ``fn``.
        ValueError: if ``fn`` takes ``rng`` and is said to be memoryless; what was drawn is a memory.

    >>> import toolz
    >>> from pescador_fn.curried import pipe
    >>> evens = pipe([2, 2, 4, 2].__iter__, lift(toolz.unique)())
    >>> list(evens())
    [2, 4]
    >>> from functools import partial
    >>> list(lift(partial(toolz.sliding_window, 2))("abc".__iter__)())
    [('a', 'b'), ('b', 'c')]

    >>> @lift
    ... def jitter(items, scale, *, rng):
    ...     for item in items:
    ...         yield item + scale * rng.normal()
    >>> noisy = seeded(jitter(range(3).__iter__, 0.1), 0)
    >>> list(noisy()) == list(noisy())
    True
    """
    if not callable(fn):
        raise TypeError(f"lift: fn={show(fn)} is not callable; pass a function from an iterable to an iterable")
    if not isinstance(memoryless, bool):
        raise TypeError(f"lift: memoryless={show(memoryless)} is not a bool; give the options of fn after the factory")
    lifted = Lifted(fn, memoryless=memoryless)
    if lifted.wants_rng and memoryless:
        raise ValueError(
            f"lift: memoryless=True, but {lifted.__name__} takes rng, and what was drawn from it is a memory; "
            "leave memoryless out"
        )
    return lifted


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
