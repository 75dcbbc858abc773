"""The sources that every contender draws from, and the bare loops that it is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any

import numpy as np

Item = dict[str, Any]
Open = Callable[[], Iterable[object]]

ITEM: Item = {"x": np.zeros(16), "y": np.zeros(1)}
DRAWS = 1 << 18  # precomputed draws that a bare loop goes through again and again
N_ACTIVE, RATE = 100, 8


def forever(which: int) -> Iterator[Item]:  # noqa: ARG001 - stands for the path of a real source
    """A source: the same ready-made item, without end."""
    while True:
        yield ITEM


def some(which: int, n: int) -> Iterator[Item]:  # noqa: ARG001
    """A source that ends after ``n`` items."""
    for _ in range(n):
        yield ITEM


def listed(n: int) -> list[Open]:
    """``n`` endless sources."""
    return [partial(forever, i) for i in range(n)]


class Lazy(Sequence[Open]):
    """``n`` endless sources, each made when it is asked for."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        """How many sources."""
        return self.n

    def __getitem__(self, index: int) -> Open:  # type: ignore[override]
        """The source at ``index``."""
        if not 0 <= index < self.n:
            raise IndexError(index)
        return partial(forever, index)


def skewed(n: int) -> np.ndarray:
    """Weights 1, 1/2, 1/3, …: a few heavy streams and a long tail."""
    return 1.0 / np.arange(1, n + 1)


def chosen(n: int, weights: np.ndarray | None, size: int, seed: int = 0) -> list[int]:
    """``size`` independent draws of a stream."""
    rng = np.random.default_rng(seed)
    if weights is None:
        return rng.integers(n, size=size).tolist()
    return rng.choice(n, size=size, p=weights / weights.sum()).tolist()


def bare(streams: Sequence[Iterator[object]], indices: list[int]) -> Iterator[object]:
    """The bare loop over precomputed indices."""
    while True:
        for i in indices:
            yield next(streams[i])


def inline(streams: Sequence[Iterator[object]], indices: list[int]) -> Callable[[int], None]:
    """The bare loop without a generator around it: nothing but the pulls."""
    endless = cycle(indices)

    def pull(n: int) -> None:
        for i in islice(endless, n):
            next(streams[i])

    return pull


def opened(factories: Iterable[Open]) -> list[Iterator[object]]:
    """All the streams, each past its first item."""
    streams = [iter(factory()) for factory in factories]
    for stream in streams:
        next(stream)
    return streams


def quota(rng: np.random.Generator) -> int:
    """Samples of one activation: 1 + Binomial, with mean ``RATE``."""
    p = 1 - 1 / N_ACTIVE
    trials = (RATE - 1) / p
    return 1 + int(rng.binomial(int(trials) + (rng.random() < trials % 1), p))


Schedule = tuple[list[int], list[int], "list[int | None]"]


def schedule(n: int, weights: np.ndarray | None, size: int = DRAWS, seed: int = 0) -> Schedule:
    """A working set, precomputed: the first streams, the slot of each draw, the stream to open before it if any."""
    rng = np.random.default_rng(seed)
    arrivals = iter(chosen(n, weights, N_ACTIVE + size, seed + 1))
    first = list(islice(arrivals, N_ACTIVE))
    left = [quota(rng) for _ in first]
    slots = rng.integers(N_ACTIVE, size=size).tolist()
    opens: list[int | None] = [None] * size
    for draw, slot in enumerate(slots):
        if not left[slot]:
            opens[draw] = next(arrivals)
            left[slot] = quota(rng)
        left[slot] -= 1
    return first, slots, opens


def exhaustive_schedule(n: int, weights: np.ndarray, size: int = DRAWS, seed: int = 0) -> Schedule:
    """The same for every stream once: activated in successive-sampling order, drawn in proportion to the weights."""
    rng = np.random.default_rng(seed)
    arrivals = iter(np.argsort(rng.exponential(size=n) / weights).tolist())
    first = list(islice(arrivals, N_ACTIVE))
    left = [quota(rng) for _ in first]
    open_weights = weights[first]
    slots: list[int] = []
    opens: list[int | None] = []
    pending: dict[int, int] = {}
    while open_weights.any() and len(slots) < size:
        slot = int(np.searchsorted(np.cumsum(open_weights), rng.random() * open_weights.sum(), side="right"))
        slot = min(slot, N_ACTIVE - 1)
        slots.append(slot)
        opens.append(pending.pop(slot, None))
        left[slot] -= 1
        if not left[slot]:
            which = next(arrivals, None)
            open_weights[slot] = 0.0 if which is None else weights[which]
            if which is not None:
                pending[slot] = which
                left[slot] = quota(rng)
    return first, slots, opens


def bare_working_set(factories: Sequence[Open], plan: Schedule) -> Iterator[object]:
    """The bare loop over a precomputed schedule."""
    first, slots, opens = plan
    while True:
        streams = [iter(factories[which]()) for which in first]
        for slot, which in zip(slots, opens, strict=True):
            if which is not None:
                streams[slot] = iter(factories[which]())
            yield next(streams[slot])
