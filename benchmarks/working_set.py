"""The bounded working set: samples, activations, and the first sample of a million streams."""

from __future__ import annotations

import time
import tracemalloc
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Literal

from benchmarks import peers
from benchmarks.measure import (
    Effort,
    Figure,
    Missing,
    Opener,
    Outcome,
    difference,
    figure,
    race,
    races,
    ratio,
    time_limit,
    why,
)
from benchmarks.report import BARE, OURS, Bar, Table, Topic, compare, number
from benchmarks.sources import (
    ITEM,
    N_ACTIVE,
    RATE,
    Lazy,
    bare_working_set,
    exhaustive_schedule,
    listed,
    schedule,
    skewed,
)
from pescador_fn import shuffled_mux, source, stochastic_mux

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

SIZES = (1_000, 30_000, 1_000_000)
Mode = Literal["with_replacement", "single_active", "exhaustive"]
MOST: dict[tuple[Mode, bool], float] = {  # (mode, skewed) -> times the bare loop
    ("with_replacement", False): 2.5,
    ("with_replacement", True): 2.5,
    ("single_active", False): 3.0,
    ("single_active", True): 3.0,
    ("exhaustive", False): 2.5,
    ("exhaustive", True): 6.0,
}


def _ours(n: int, mode: Mode, skew: bool) -> Iterator[object]:
    mux = stochastic_mux(Lazy(n), N_ACTIVE, RATE, mode=mode, weights=skewed(n) if skew else None, seed=0)
    if mode != "exhaustive":
        return mux()
    return chain.from_iterable(iter(mux, None))  # pass after pass


def samples(effort: Effort) -> Topic:
    """Every mode at every size."""
    bars: list[Bar] = []
    tables = []
    for (mode, skew), most in MOST.items():
        label = f"{mode}, {'skewed' if skew else 'equal'} weights"
        columns: dict[str, dict[str, Outcome]] = {}
        for n in SIZES:
            weights = skewed(n)
            if mode == "exhaustive":
                plan = exhaustive_schedule(n, weights if skew else weights**0)
            else:
                plan = schedule(n, weights if skew else None)
            openers: dict[str, Opener] = {
                OURS: partial(_ours, n, mode, skew),
                BARE: partial(bare_working_set, Lazy(n), plan),
            }
            others: dict[str, Opener] = {}
            if mode == "with_replacement" and not (effort.quick and n == SIZES[-1]):
                others = peers.working_sets(n, weights if skew else None)
            core, found = races(openers, others, effort, {OURS: 20_000})
            columns[f"{n:,} streams"] = found
            bars.append(Bar(f"{label}, {n:,} streams: times the bare loop", ratio(core[OURS], core[BARE]), most=most))
            if n == SIZES[0] and "pescador StochasticMux" in found:
                times = ratio(found["pescador StochasticMux"], found[OURS])
                bars.append(Bar(f"{label}, {n:,} streams: pescador over ours", times, least=None if skew else 80))
        extra = f" Missing: {peers.NO_WORKING_SET}." if mode == "with_replacement" else ""
        tables.append(compare(f"A sample, {label}.", columns, extra=extra))
        flat = race(
            {f"{n}": partial(_ours, n, mode, skew) for n in SIZES}, effort, warm={f"{n}": 20_000 for n in SIZES}
        )
        for n in SIZES[1:]:
            times = ratio(flat[f"{n}"], flat[f"{SIZES[0]}"])
            bars.append(Bar(f"{label}: {n:,} streams over {SIZES[0]:,}", times, most=1.5 if n == SIZES[-1] else None))
    text = (
        f"`stochastic_mux(factories, {N_ACTIVE}, {RATE})`. The bare loop draws from a precomputed schedule and opens a "
        "stream into a slot where the schedule says so. An exhaustive pass begins again when it ends, and that is part "
        "of its cost. Streams of the same sequence, made when asked for, for both."
    )
    return Topic("Working set", text, bars, tables)


def first(effort: Effort) -> Topic:
    """The first sample at a million streams: seconds from building, and memory of its own."""
    n = 1_000_000
    factories, weights = Lazy(n), skewed(n)

    def stochastic(mode: Mode, *, skew: bool) -> Iterator[object]:
        shares = weights if skew else None
        return stochastic_mux(factories, N_ACTIVE, RATE, mode=mode, weights=shares, seed=0)()

    def shuffled(*, skew: bool) -> Iterator[object]:
        return shuffled_mux(factories, weights if skew else None, seed=0)()

    bars = []
    for label, opener, most in (
        ("`stochastic_mux`, equal weights", partial(stochastic, "with_replacement", skew=False), 0.15),
        ("`stochastic_mux`, skewed weights", partial(stochastic, "with_replacement", skew=True), 0.5),
        ("`stochastic_mux`, single_active, skewed weights", partial(stochastic, "single_active", skew=True), 3),
        ("`stochastic_mux`, exhaustive, skewed weights", partial(stochastic, "exhaustive", skew=True), None),
        ("`shuffled_mux`, equal weights", partial(shuffled, skew=False), 0.15),
        ("`shuffled_mux`, skewed weights", partial(shuffled, skew=True), 0.5),
    ):
        bars.append(Bar(f"{label}: first sample", _first_s(opener, effort.rounds // 3), unit="s", most=most))
        bars.append(Bar(f"{label}: peak of its own memory", _peak_mb(opener), unit="MB", most=100))
    rows = []
    if not effort.quick:
        made = peers.pescador_streamers(n)
        rows.append(["pescador StochasticMux", _seconds(_first_s(partial(peers.pescador_working_set, made), 1))])
        made = [peers.Shard(i) for i in range(n)]
        name = "lhotse infinite_mux(max_open_streams)"
        rows.append([name, _seconds(_first_s(partial(peers.lhotse_working_set, made), 1))])
    text = (
        f"{n:,} streams in a lazy sequence, from building the mux to its first sample. Memory is the peak that "
        "`tracemalloc` sees in a run of its own, without the sequence and the caller's weights."
    )
    tables = [
        Table("The peers' first sample, equal weights, their streamers made beforehand.", ["", "first sample"], rows)
    ]
    return Topic("A million streams", text, bars, tables if rows else [])


def _seconds(found: Figure | Missing) -> str:
    return f"missing: {found.reason}" if isinstance(found, Missing) else f"{number(found.value)} s"


def _first_s(opener: Callable[[], Iterator[object]], repeats: int) -> Figure | Missing:
    taken = []
    try:
        for _ in range(max(1, repeats)):
            with time_limit(60):
                start = time.perf_counter()
                stream = opener()
                next(stream)
                taken.append(time.perf_counter() - start)
            del stream
    except Exception as error:
        return Missing(why(error))
    return figure(taken)


def _peak_mb(opener: Callable[[], Iterator[object]]) -> Figure | Missing:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        next(opener())
        _, peak = tracemalloc.get_traced_memory()
    except Exception as error:
        return Missing(why(error))
    finally:
        tracemalloc.stop()
    return figure([(peak - before) / 1e6])


def children(effort: Effort) -> Topic:
    """Activating a mux must not depend on its width."""
    widths = (10, 1_000, 30_000)

    def ours(width: int, *, skew: bool) -> Iterator[object]:
        weights = skewed(width) if skew else None
        child = [shuffled_mux(Lazy(width), weights) for _ in range(2 * N_ACTIVE)]
        return stochastic_mux(child, N_ACTIVE, RATE, seed=0)()

    bars, tables = [], []
    for label, skew in (("equal", False), ("skewed", True)):
        openers = {f"{width:,}": partial(ours, width, skew=skew) for width in widths}
        found = race(openers, effort, warm=dict.fromkeys(openers, 20_000))
        for width in widths[1:]:
            times = ratio(found[f"{width:,}"], found[f"{widths[0]}"])
            bars.append(Bar(f"children of {width:,} over children of {widths[0]}, {label} weights", times, most=1.5))
        tables.append(
            compare(f"A sample, children with {label} weights.", {name: {OURS: found[name]} for name in found}, OURS)
        )
    text = f"`stochastic_mux(children, {N_ACTIVE}, {RATE})` over {2 * N_ACTIVE} `shuffled_mux`es."
    return Topic("A working set of muxes", text, bars, tables)


def injected(effort: Effort) -> Topic:
    """What an injected generator costs, and what ``source`` itself costs."""

    def ours(kind: str) -> Iterator[object]:
        @source
        def plain(which: int) -> Iterator[object]:  # noqa: ARG001
            while True:
                yield ITEM

        @source
        def with_rng(which: int, *, rng: object) -> Iterator[object]:  # noqa: ARG001
            while True:
                yield ITEM

        @source
        def using_rng(which: int, *, rng: np.random.Generator) -> Iterator[object]:  # noqa: ARG001
            rng.random()
            while True:
                yield ITEM

        kinds = {"plain": plain, "injected": with_rng, "used": using_rng}
        factories = listed(1_000) if kind == "bare" else [kinds[kind](i) for i in range(1_000)]
        return stochastic_mux(factories, N_ACTIVE, RATE, seed=0)()

    openers = {kind: partial(ours, kind) for kind in ("bare", "plain", "injected", "used")}
    found = race(openers, effort, warm=dict.fromkeys(openers, 20_000))
    bars = [
        Bar("`rng` injected and used once an activation", difference(found["used"], found["plain"]), "ns", most=1000),
        Bar("`rng` injected, not used", difference(found["injected"], found["plain"]), "ns"),
        Bar("`source` over a plain partial", difference(found["plain"], found["bare"]), "ns"),
    ]
    text = f"Nanoseconds a sample more than without, in `stochastic_mux(factories, {N_ACTIVE}, {RATE})`."
    return Topic("Injected randomness", text, bars)
