"""The same names with the data taken last, for pipelines.

``batch(32)`` here is a stage, a function from a factory to a factory; ``pipe(factory, batch(32), take(10))`` runs data
through stages. Each stage comes from the function of the same name by one decorator, so that no arity is guessed: a
stage binds every argument but the first; arguments that do not fit are errors where it is made, and values that do not
are errors where it is applied.

>>> from pescador_fn.curried import batch, map_items, pipe, take
>>> doubled = pipe(range(4).__iter__, map_items(lambda x: 2 * x), batch(2))
>>> [b.tolist() for b in doubled()]
[[0, 2], [4, 6]]
>>> take(3)
take(3)
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

import pescador_fn.batches as batches
import pescador_fn.caching as caching
import pescador_fn.chained as chained
import pescador_fn.cycling as cycling
import pescador_fn.engines as engines
import pescador_fn.items as items
import pescador_fn.keys as keys
import pescador_fn.mux as mux
import pescador_fn.resuming as resuming
import pescador_fn.shape as shape
import pescador_fn.shuffling as shuffling
import pescador_fn.stochastic as stochastic
import pescador_fn.turns as turns
from pescador_fn.legible import fold, named
from pescador_fn.sources import same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pescador_fn.factory import Factory, Node

__all__ = [
    "batch",
    "cache",
    "chain_mux",
    "cycle",
    "filter_items",
    "keras_tuples",
    "label",
    "lift",
    "map_items",
    "parallel",
    "pipe",
    "prefetch",
    "resume",
    "round_robin_mux",
    "seeded",
    "shuffle",
    "shuffled_mux",
    "skip",
    "stage",
    "stochastic_mux",
    "take",
    "tuples",
    "unbatch",
]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")
K = TypeVar("K")
P = ParamSpec("P")


class Stage(Generic[A, B]):
    """A function of the data alone: a combinator with its other arguments bound. Immutable, compared by value."""

    __slots__ = ("__signature__", "__weakref__", "args", "build", "kwargs")

    build: Callable[..., B]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(self, build: Callable[..., B], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        signature = inspect.signature(build)
        first = next(iter(signature.parameters.values()))
        put = object.__setattr__
        put(self, "build", build)
        put(self, "args", args)
        put(self, "kwargs", kwargs)
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
        return (
            self.build == other.build
            and len(self.args) == len(other.args)
            and self.kwargs.keys() == other.kwargs.keys()
            and all(map(same, self.args, other.args))
            and all(same(value, other.kwargs[name]) for name, value in self.kwargs.items())
        )

    def __hash__(self) -> int:
        return hash((self.build, len(self.args), tuple(self.kwargs)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Stage, (self.build, self.args, self.kwargs)

    def __repr__(self) -> str:
        words = [named(value) for value in self.args]
        words += [f"{name}={named(value)}" for name, value in self.kwargs.items()]
        return fold(named(self.build), words)


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

    @functools.wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> Callable[[A], B]:
        try:
            signature.bind_partial(None, *args, **kwargs)  # first, since it tells a name that is misspelt
            signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}: {error}; the stage takes {shown}") from None
        made: Stage[A, B] = Stage(build, args, kwargs)
        return made

    name = getattr(build, "__name__", repr(build))
    shown = signature.replace(parameters=rest, return_annotation=f"a function of {first.name}")
    del make.__wrapped__  # `help` would follow it to the function that takes its data first
    make.__module__ = __name__
    vars(make)["__signature__"] = shown
    text = (build.__doc__ or "").partition(">>>")[0].rstrip()  # the examples are of the function
    make.__doc__ = f"Make a stage of `{build.__name__}`, a function of ``{first.name}``.\n\n{text}"
    return make


shuffled_mux: Final = stage(mux.shuffled_mux)
stochastic_mux: Final = stage(stochastic.stochastic_mux)
round_robin_mux: Final = stage(turns.round_robin_mux)
chain_mux: Final = stage(chained.chain_mux)
map_items: Final = stage(items.map_items)
filter_items: Final = stage(items.filter_items)
take: Final = stage(items.take)
skip: Final = stage(items.skip)
cycle: Final = stage(cycling.cycle)
tuples: Final = stage(keys.tuples)
keras_tuples: Final = stage(keys.keras_tuples)
batch: Final = stage(batches.batch)
unbatch: Final = stage(batches.unbatch)
shuffle: Final = stage(shuffling.shuffle)
cache: Final = stage(caching.cache)
parallel: Final = stage(engines.parallel)
prefetch: Final = stage(engines.prefetch)
seeded: Final = stage(shape.seeded)
label: Final = stage(shape.label)
resume: Final = stage(resuming.resume)


def lift(
    fn: Callable[..., Iterable[B]], *, memoryless: bool = False
) -> Callable[..., Callable[[Factory[Any]], Node[B]]]:
    """Make stages of a function from an iterable to an iterable.

    Args:
        fn: called with an iterator and the arguments of the stage; a keyword-only ``rng`` is filled in.
        memoryless: that ``fn`` takes one item for each that it gives, and remembers none.

    Raises:
        TypeError: if ``fn`` is not callable; and, when a stage is made, if the arguments do not fit it.
        ValueError: if ``fn`` takes ``rng`` and is said to be memoryless.

    >>> import more_itertools
    >>> pairs = pipe(range(5).__iter__, lift(more_itertools.chunked)(2))
    >>> list(pairs())
    [[0, 1], [2, 3], [4]]
    """
    return stage(shape.lift(fn, memoryless=memoryless))


@overload
def pipe(data: A) -> A: ...
@overload
def pipe(data: A, f1: Callable[[A], B], /) -> B: ...
@overload
def pipe(data: A, f1: Callable[[A], B], f2: Callable[[B], C], /) -> C: ...
@overload
def pipe(data: A, f1: Callable[[A], B], f2: Callable[[B], C], f3: Callable[[C], D], /) -> D: ...
@overload
def pipe(data: A, f1: Callable[[A], B], f2: Callable[[B], C], f3: Callable[[C], D], f4: Callable[[D], E], /) -> E: ...
@overload
def pipe(
    data: A,
    f1: Callable[[A], B],
    f2: Callable[[B], C],
    f3: Callable[[C], D],
    f4: Callable[[D], E],
    f5: Callable[[E], F],
    /,
) -> F: ...
@overload
def pipe(
    data: A,
    f1: Callable[[A], B],
    f2: Callable[[B], C],
    f3: Callable[[C], D],
    f4: Callable[[D], E],
    f5: Callable[[E], F],
    f6: Callable[[F], G],
    /,
) -> G: ...
@overload
def pipe(
    data: A,
    f1: Callable[[A], B],
    f2: Callable[[B], C],
    f3: Callable[[C], D],
    f4: Callable[[D], E],
    f5: Callable[[E], F],
    f6: Callable[[F], G],
    f7: Callable[[G], H],
    /,
) -> H: ...
@overload
def pipe(
    data: A,
    f1: Callable[[A], B],
    f2: Callable[[B], C],
    f3: Callable[[C], D],
    f4: Callable[[D], E],
    f5: Callable[[E], F],
    f6: Callable[[F], G],
    f7: Callable[[G], H],
    f8: Callable[[H], K],
    /,
    *more: Callable[[Any], Any],
) -> Any: ...
def pipe(data: Any, *stages: Callable[[Any], Any]) -> Any:
    """Run data through stages, from left to right: ``pipe(x, f, g)`` is ``g(f(x))``. ``toolz.pipe``, with types.

    Args:
        data: what the first stage takes: a factory, or factories.
        stages: functions of one argument.

    >>> list(pipe(range(9).__iter__, skip(2), take(3))())
    [2, 3, 4]
    """
    import toolz  # here, because it takes as long to import as half of this package

    return toolz.pipe(data, *stages)
