"""Each peer's own way of doing the same job, imported only when it is asked for."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.sources import N_ACTIVE, RATE, forever, quota, some

if TYPE_CHECKING:
    from types import ModuleType

    from benchmarks.measure import Opener

DISTRIBUTIONS = ("pescador", "torchdata", "torch", "lhotse", "webdataset", "grain", "datasets", "more-itertools")
MODULES = ("pescador", "torchdata.nodes", "lhotse", "webdataset", "grain", "datasets", "more_itertools")


def peer(name: str) -> ModuleType:
    """Import a peer, without its log messages."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    return importlib.import_module(name)


def load() -> None:
    """Import every peer that is there, so that none pays for it in its first sample."""
    for name in MODULES:
        with suppress(Exception):
            peer(name)


class Forever:
    """An endless source as an iterable, which most peers ask for."""

    def __init__(self, which: int) -> None:
        self.which = which

    def __iter__(self) -> Iterator[object]:
        """A fresh pass."""
        return forever(self.which)


class Shard:
    """A source that ends after ``RATE`` items on average: how a quota is said where there is none."""

    rng = np.random.default_rng(0)

    def __init__(self, which: int) -> None:
        self.which = which

    def __iter__(self) -> Iterator[object]:
        """A fresh pass."""
        return islice(forever(self.which), quota(self.rng))


def pescador_streamers(n: int) -> list[object]:
    """``n`` endless pescador streamers."""
    streamer = peer("pescador").Streamer
    return [streamer(forever, i) for i in range(n)]


def pescador_shuffled(n: int, weights: np.ndarray | None) -> Iterator[object]:
    """ShuffledMux."""
    return peer("pescador").ShuffledMux(pescador_streamers(n), weights=weights, random_state=0).iterate()


def torchdata_weighted(n: int, weights: np.ndarray | None) -> Iterator[object]:
    """MultiNodeWeightedSampler over IterableWrapper."""
    nodes = peer("torchdata.nodes")
    shares = np.ones(n) if weights is None else weights
    node = nodes.MultiNodeWeightedSampler(
        {str(i): nodes.IterableWrapper(Forever(i)) for i in range(n)},
        {str(i): float(share) for i, share in enumerate(shares)},
        stop_criteria=nodes.StopCriteria.CYCLE_FOREVER,
    )
    node.reset()
    return node


def lhotse_infinite(n: int, weights: np.ndarray | None) -> Iterator[object]:
    """What ``CutSet.infinite_mux`` is made of, all streams open."""
    mux = peer("lhotse.lazy").LazyInfiniteApproximateMultiplexer
    return iter(mux(*map(Forever, range(n)), weights=None if weights is None else weights.tolist()))


def lhotse_mux(n: int, weights: np.ndarray | None) -> Iterator[object]:
    """What ``CutSet.mux`` is made of."""
    mux = peer("lhotse.lazy").LazyIteratorMultiplexer
    return iter(mux(*map(Forever, range(n)), weights=None if weights is None else weights.tolist()))


def grain_mix(n: int, weights: np.ndarray | None) -> Iterator[object]:
    """IterDataset.mix over the least that a source can be there."""
    grain = peer("grain")

    class Stream(grain.DatasetIterator):  # type: ignore[misc, name-defined]
        def __init__(self, which: int) -> None:
            super().__init__()
            self.stream = forever(which)

        def __next__(self) -> object:
            return next(self.stream)

        def get_state(self) -> dict[str, object]:
            return {}

        def set_state(self, state: dict[str, object]) -> None:
            """Not needed here."""

    class Source(grain.IterDataset):  # type: ignore[misc, name-defined]
        def __init__(self, which: int) -> None:
            super().__init__()
            self.which = which

        def __iter__(self) -> Stream:
            return Stream(self.which)

    shares = None if weights is None else weights.tolist()
    return iter(grain.IterDataset.mix([Source(i) for i in range(n)], shares))


def webdataset_mix(n: int, weights: np.ndarray | None) -> Iterator[object]:
    """RandomMix."""
    mix = peer("webdataset").RandomMix
    return iter(mix([Forever(i) for i in range(n)], None if weights is None else weights.tolist()))


def _hf_sources(n: int) -> list[object]:
    hf = peer("datasets")
    features = hf.Features({k: hf.List(hf.Value("float64"), length=m) for k, m in (("x", 16), ("y", 1))})
    make = hf.IterableDataset.from_generator
    return [make(forever, features=features, gen_kwargs={"which": i}) for i in range(n)]


def hf_interleave(n: int, weights: np.ndarray | None) -> Iterator[object]:
    """interleave_datasets with probabilities, features given, plain Python out: its fastest way."""
    shares = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    return iter(peer("datasets").interleave_datasets(_hf_sources(n), probabilities=shares.tolist(), seed=0))


Mix = Callable[[int, "np.ndarray | None"], Iterator[object]]
MIXES: Mapping[str, Mix] = {
    "pescador ShuffledMux": pescador_shuffled,
    "torchdata.nodes MultiNodeWeightedSampler": torchdata_weighted,
    "lhotse infinite_mux": lhotse_infinite,
    "lhotse mux": lhotse_mux,
    "grain IterDataset.mix": grain_mix,
    "webdataset RandomMix": webdataset_mix,
    "Hugging Face interleave_datasets": hf_interleave,
}


def mixes(n: int, weights: np.ndarray | None) -> dict[str, Opener]:
    """Every peer's weighted mix."""
    return {name: partial(mix, n, weights) for name, mix in MIXES.items()}


def pescador_working_set(streamers: list[object], weights: np.ndarray | None = None) -> Iterator[object]:
    """StochasticMux."""
    return peer("pescador").StochasticMux(streamers, N_ACTIVE, RATE, weights=weights, random_state=0).iterate()


def lhotse_working_set(shards: list[object], weights: np.ndarray | None = None) -> Iterator[object]:
    """``infinite_mux`` with ``max_open_streams``; it has no quota, so each stream ends by itself."""
    mux = peer("lhotse.lazy").LazyInfiniteApproximateMultiplexer
    shares = None if weights is None else weights.tolist()
    return iter(mux(*shards, weights=shares, max_open_streams=N_ACTIVE))


NO_WORKING_SET = "torchdata.nodes, webdataset, grain, Hugging Face: cannot hold a bounded set of streams open at random"


def working_sets(n: int, weights: np.ndarray | None = None) -> dict[str, Opener]:
    """Every peer that can hold a bounded number of streams open, drawn at random."""
    return {
        "pescador StochasticMux": lambda: pescador_working_set(pescador_streamers(n), weights),
        "lhotse infinite_mux(max_open_streams)": lambda: lhotse_working_set(list(map(Shard, range(n))), weights),
    }


def round_robins(n: int) -> dict[str, Opener]:
    """Every peer that takes turns."""
    return {
        "more_itertools.interleave_longest": lambda: peer("more_itertools").interleave_longest(
            *(forever(i) for i in range(n))
        ),
        "pescador RoundRobinMux": lambda: peer("pescador").RoundRobinMux(pescador_streamers(n)).iterate(),
        "webdataset RoundRobin": lambda: iter(
            peer("webdataset").RoundRobin([Forever(i) for i in range(n)], longest=True)
        ),
        "Hugging Face interleave_datasets": lambda: iter(peer("datasets").interleave_datasets(_hf_sources(n))),
    }


def chains(n: int, length: int) -> dict[str, Opener]:
    """Every peer that reads streams one after the other, begun again at the end."""

    def pescador() -> Iterator[object]:
        module = peer("pescador")
        return module.ChainMux([module.Streamer(some, i, length) for i in range(n)], mode="cycle").iterate()

    def lhotse() -> Iterator[object]:
        lazy = peer("lhotse.lazy")

        class Some:
            def __init__(self, which: int) -> None:
                self.which = which

            def __iter__(self) -> Iterator[object]:
                return some(self.which, length)

        return iter(lazy.LazyRepeater(lazy.LazyIteratorChain(*map(Some, range(n))), preserve_id=True))

    return {"pescador ChainMux": pescador, "lhotse LazyIteratorChain": lhotse}


def caches(size: int, prob: float) -> dict[str, Opener]:
    """Pescador's cache; no other peer has one that is refreshed at random."""
    return {"pescador cache": lambda: peer("pescador").maps.cache(forever(0), size, prob, random_state=0)}


def batches(rows: Callable[[], Iterator[object]], size: int) -> dict[str, Opener]:
    """Every peer that stacks dicts into a batch; ``rows`` opens the stream of dicts."""

    class Rows:
        def __iter__(self) -> Iterator[object]:
            return rows()

    def torchdata() -> Iterator[object]:
        nodes, data = peer("torchdata.nodes"), peer("torch.utils.data")
        node = nodes.Mapper(nodes.Batcher(nodes.IterableWrapper(Rows()), size), data.default_collate)
        node.reset()
        return node

    def webdataset() -> Iterator[object]:
        filters = peer("webdataset.filters")
        return filters.batched(size, collation_fn=peer("torch.utils.data").default_collate)(rows())

    def grain() -> Iterator[object]:
        module = peer("grain")

        class Stream(module.DatasetIterator):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.stream = rows()

            def __next__(self) -> object:
                return next(self.stream)

            def get_state(self) -> dict[str, object]:
                return {}

            def set_state(self, state: dict[str, object]) -> None:
                """Not needed here."""

        class Source(module.IterDataset):  # type: ignore[misc, name-defined]
            def __iter__(self) -> Stream:
                return Stream()

        return iter(Source().batch(size))

    def hf() -> Iterator[object]:
        return iter(peer("datasets").IterableDataset.from_generator(rows).with_format("numpy").batch(size))

    return {
        "pescador buffer_stream": lambda: peer("pescador").buffer_stream(rows(), size),
        "torchdata.nodes Batcher, default_collate": torchdata,
        "webdataset batched, default_collate": webdataset,
        "grain batch": grain,
        "Hugging Face batch": hf,
    }


def zmq_streamer(source: Callable[[], Iterator[object]]) -> Iterator[object]:
    """Pescador's stream in a process."""
    module = peer("pescador")
    return module.ZMQStreamer(module.Streamer(source)).iterate()


def torch_loader(source: Callable[[], Iterator[object]]) -> Iterator[object]:
    """PyTorch's, with tensors, for which it has shared memory."""
    torch, data = peer("torch"), peer("torch.utils.data")

    class Rows(data.IterableDataset):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[object]:
            for row in source():
                yield {name: torch.from_numpy(value) for name, value in row.items()}  # type: ignore[attr-defined]

    return iter(data.DataLoader(Rows(), batch_size=None, num_workers=1, prefetch_factor=16))


def grain_prefetch(source: Callable[[], Iterator[object]]) -> Iterator[object]:
    """Grain's."""
    module = peer("grain")
    options = module.multiprocessing.MultiprocessingOptions(num_workers=1, per_worker_buffer_size=16)
    return iter(_grain_rows(module)(source).mp_prefetch(options))


def _grain_rows(module: ModuleType) -> Any:
    class Stream(module.DatasetIterator):  # type: ignore[misc, name-defined]
        def __init__(self, source: Callable[[], Iterator[object]]) -> None:
            super().__init__()
            self.stream = source()

        def __next__(self) -> object:
            return next(self.stream)

        def get_state(self) -> dict[str, object]:
            return {}

        def set_state(self, state: dict[str, object]) -> None:
            """Not needed here."""

    class Rows(module.IterDataset):  # type: ignore[misc, name-defined]
        def __init__(self, source: Callable[[], Iterator[object]]) -> None:
            super().__init__()
            self.source = source

        def __iter__(self) -> Stream:
            return Stream(self.source)

    return Rows
