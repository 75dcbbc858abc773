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

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import pescador_fn.batches as batches
import pescador_fn.caching as caching
import pescador_fn.chain as chain
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
from pescador_fn.stages import stage

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


shuffled_mux: Final = stage(mux.shuffled_mux)
stochastic_mux: Final = stage(stochastic.stochastic_mux)
round_robin_mux: Final = stage(turns.round_robin_mux)
chain_mux: Final = stage(chain.chain_mux)
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
