"""What type checkers must refuse. An ignored error that is none is an error, so each line here is proven wrong."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Iterator

from numpy.random import default_rng

import pescador_fn as fn
from pescador_fn import Factory, source
from pescador_fn.curried import batch, map_items, pipe, shuffled_mux, stochastic_mux, take


@source
def lines(path: str, n: int = 3) -> Iterator[str]:
    yield from [path] * n


def length(text: str) -> int:
    return len(text)


def wrong_options(f: Factory[str]) -> None:
    batch("x")  # type: ignore[arg-type]
    batch()  # type: ignore[call-arg]
    batch(3, parital=True)  # type: ignore[call-arg]
    shuffled_mux(weigths=[1, 2])  # type: ignore[call-arg]
    shuffled_mux(on_exhausted="never")  # type: ignore[arg-type]
    stochastic_mux(n_active=3)  # type: ignore[call-arg]
    stochastic_mux(3, 8, mode="often")  # type: ignore[arg-type]
    fn.parallel(f, engine="ray gun")  # type: ignore[arg-type]
    fn.prefetch(f)  # type: ignore[call-arg]
    fn.take(f)  # type: ignore[call-arg]
    fn.take(f, 2.5)  # type: ignore[arg-type]
    fn.shuffled_mux([f], weigths=[1])  # type: ignore[call-arg]
    fn.shuffle(f, 3, seed=default_rng())  # type: ignore[arg-type]


def one_in_place_of_many(f: Factory[str]) -> None:
    fn.shuffled_mux(f)  # type: ignore[arg-type]
    fn.stochastic_mux(f, 2, 8)  # type: ignore[arg-type]
    fn.round_robin_mux(lines("a"))  # type: ignore[arg-type]
    pipe(f, shuffled_mux())  # type: ignore[arg-type]
    pipe(lines("a"), stochastic_mux(2, 8))  # type: ignore[arg-type]


def many_in_place_of_one(f: Factory[str]) -> None:
    fn.take([f], 2)  # type: ignore[arg-type]
    pipe([f], take(2))  # type: ignore[arg-type]


def no_factory() -> None:
    fn.take([1, 2], 2)  # type: ignore[arg-type]
    fn.take(lines, 2)  # type: ignore[arg-type]
    fn.take(iter([1]), 2)  # type: ignore[arg-type]
    fn.take(fn.take(lines("a"), 2)(), 2)  # type: ignore[arg-type]


def wrong_items() -> None:
    fn.map_items([1, 2].__iter__, length)  # type: ignore[misc]
    pipe([1, 2].__iter__, map_items(length))  # type: ignore[arg-type]
