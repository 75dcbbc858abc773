"""What remembers: batches and the cache."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import peers
from benchmarks.measure import Effort, Opener, races, ratio
from benchmarks.report import BARE, OURS, Bar, Topic, compare
from benchmarks.sources import DRAWS, forever
from pescador_fn import batch, cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.sources import Item

SIZE = 32
CACHE, PROB = 100, 0.5


KINDS: dict[str, Callable[[np.random.Generator, int], Item]] = {
    "small dicts": lambda rng, k: {"x": rng.random(16), "y": k % 10},
    "small dicts with an integer of numpy's": lambda rng, k: {"x": rng.random(16), "y": np.int64(k % 10)},
    "small dicts of two arrays": lambda rng, k: {"x": rng.random(16), "y": np.arange(k, k + 4)},
    "rows of 64 KB": lambda rng, k: {"x": rng.random(8192), "y": k % 10},
}


def rows(kind: str) -> Iterator[Item]:
    """Ready-made rows, 64 different ones over and over."""
    rng = np.random.default_rng(0)
    made = [KINDS[kind](rng, k) for k in range(64)]
    while True:
        yield from made


def stack(stream: Iterator[Item], size: int) -> Iterator[Item]:
    """The bare way to a batch."""
    while True:
        taken = list(islice(stream, size))
        yield {key: np.stack([row[key] for row in taken]) for key in taken[0]}


def batches(effort: Effort) -> Topic:
    """Batches of dicts."""
    bars, columns = [], {}
    for kind in KINDS:
        source = partial(rows, kind)

        def ours(source: Callable[[], Iterator[Item]] = source) -> Iterator[object]:
            return batch(source, SIZE)()

        def bare(source: Callable[[], Iterator[Item]] = source) -> Iterator[object]:
            return stack(source(), SIZE)

        others = peers.batches(source, SIZE)
        core: dict[str, Opener] = {OURS: ours, "np.stack": bare}
        core["pescador buffer_stream"] = others.pop("pescador buffer_stream")
        alone, found = races(core, others, effort)
        bars += [
            Bar(f"`batch({SIZE})`, {kind}: times {name}", ratio(alone[OURS], alone[name]), most=1)
            for name in ("pescador buffer_stream", "np.stack")
        ]
        columns[kind] = found
    text = (
        f"{SIZE} dicts to a batch; a small dict is 16 floats and an integer, or an array of four. torchdata.nodes and "
        "webdataset give tensors by PyTorch's `default_collate`; lhotse has no such thing."
    )
    return Topic("Batches", text, bars, [compare("A batch.", columns, "np.stack")])


def bare_cache(stream: Iterator[object], slots: list[int], fresh: list[bool]) -> Iterator[object]:
    """The bare loop over precomputed draws."""
    kept = []
    for item in islice(stream, CACHE):
        kept.append(item)
        yield item
    while True:
        for slot, renew in zip(slots, fresh, strict=True):
            yield kept[slot]
            if renew:
                kept[slot] = next(stream)


def cached(effort: Effort) -> Topic:
    """The cache."""
    rng = np.random.default_rng(0)
    slots, fresh = rng.integers(CACHE, size=DRAWS).tolist(), (rng.random(DRAWS) < PROB).tolist()

    def ours() -> Iterator[object]:
        return cache(partial(forever, 0), CACHE, PROB, seed=0)()

    core: dict[str, Opener] = {OURS: ours, BARE: lambda: bare_cache(forever(0), slots, fresh)}
    alone, found = races(core, peers.caches(CACHE, PROB), effort)
    bars = [Bar(f"`cache({CACHE}, {PROB})`: times the bare loop", ratio(alone[OURS], alone[BARE]), most=2)]
    return Topic("Cache", "The bare loop has its draws precomputed.", bars, [compare("A sample.", {"cache": found})])
