"""What type checkers infer: read by mypy and pyright, run by nobody."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, assert_type

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

import pescador_fn as fn
from pescador_fn import Factories, Factory, Node, Source, Stream, source
from pescador_fn.curried import (
    batch,
    cache,
    cycle,
    filter_items,
    map_items,
    parallel,
    pipe,
    prefetch,
    round_robin_mux,
    seeded,
    shuffle,
    shuffled_mux,
    skip,
    stochastic_mux,
    take,
)

Row = dict[str, NDArray[np.float64]]


@source
def sample_file(path: str, *, rng: Generator) -> Iterator[Row]:
    x = np.load(path, mmap_mode="r")
    while True:
        yield {"X": x[rng.integers(len(x))]}


def length(text: str) -> int:
    return len(text)


def is_long(text: str) -> bool:
    return len(text) > 3


def names() -> Iterator[str]:
    yield "a"


def the_example(paths: list[str]) -> None:
    assert_type(sample_file(paths[0]), Source[Row])
    rows = pipe(
        [sample_file(path) for path in paths],
        stochastic_mux(n_active=100, rate=8, seed=0),
    )
    assert_type(rows, Node[Row])
    batches = pipe(rows, shuffle(100), batch(32))
    assert_type(batches, Node[Any])
    for item in batches():
        assert_type(item, Any)
    with rows() as stream:
        assert_type(stream, Stream[Row])
        assert_type(next(stream), Row)


def items_keep_their_type_through_stages(factory: Factory[str]) -> None:
    assert_type(pipe(factory, take(3), skip(1), cycle(), shuffle(3), cache(3), seeded(3)), Node[str])
    assert_type(pipe(factory, parallel(), prefetch(3)), Node[str])
    assert_type(pipe(factory, map_items(length)), Node[int])
    assert_type(pipe(factory, map_items(len)), Node[int])
    assert_type(pipe(factory, filter_items(is_long), map_items(length), take(3)), Node[int])
    assert_type(pipe([factory, factory], shuffled_mux(), map_items(length)), Node[int])
    assert_type(pipe({"a": factory}, round_robin_mux(mode="cycle")), Node[str])


def plain_calls(factory: Factory[str], factories: Factories[str]) -> None:
    assert_type(fn.take(factory, 3), Node[str])
    assert_type(fn.map_items(factory, length), Node[int])
    fn.map_items(factory, lambda text: text.split())
    assert_type(fn.filter_items(factory, lambda text: text.isupper()), Node[str])
    assert_type(fn.shuffled_mux(factories, [1, 2], on_exhausted="drop"), Node[str])
    assert_type(fn.stochastic_mux(factories, 2, None, mode="single_active"), Node[str])
    assert_type(fn.round_robin_mux(factories), Node[str])
    assert_type(fn.chain_mux(factories), Node[str])
    assert_type(fn.chain_mux(lambda: [names, names]), Node[str])
    assert_type(fn.label({"a": factory}), dict[str, Node[tuple[str, str]]])
    assert_type(fn.seeded(fn.cycle(factory), 3), Node[str])
    assert_type(fn.parallel(factory, engine="thread", max_bytes=10), Node[str])
    assert_type(fn.prefetch(names, 3), Node[str])
    assert_type(fn.take(names, 3)(), Stream[str])
    assert_type(list(fn.take(names, 3)()), list[str])


def anything_callable_is_a_factory() -> None:
    assert_type(fn.take(names, 1), Node[str])
    assert_type(fn.take(lambda: range(3), 1), Node[int])
    assert_type(fn.take([1.5].__iter__, 1), Node[float])
    assert_type(fn.take(partial(range, 3), 1), Node[int])
    one: Factory[str] = fn.take(names, 1)
    two: Callable[[], Iterable[str]] = one
    assert_type(fn.take(two, 1), Node[str])


def pairs(items: Iterable[Any], n: int) -> Iterator[tuple[int, ...]]:
    yield (n, *items)


def lifted(factory: Factory[str]) -> None:
    assert_type(fn.lift(pairs)(factory, 2), Node[tuple[int, ...]])
    assert_type(pipe(factory, fn.lift(pairs)(n=2)), Node[tuple[int, ...]])
