"""Muxes with all their streams open: the weighted mix, turns, chains, and muxes of muxes."""

from __future__ import annotations

from functools import partial
from itertools import chain, repeat
from math import ceil, log
from operator import call
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.measure import Effort, Opener, Outcome, races, ratio
from benchmarks.report import BARE, INLINE, OURS, Bar, Topic, compare
from benchmarks.sources import DRAWS, Open, bare, chosen, forever, inline, listed, opened, skewed, some
from pescador_fn import chain_mux, round_robin_mux, shuffled_mux

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np


def shuffled(effort: Effort) -> Topic:
    """The weighted mix, against the bare loop and every peer."""
    bars, tables = [], []
    for label, skew in (("equal", False), ("skewed", True)):
        columns: dict[str, dict[str, Outcome]] = {}
        for n in (10, 1_000, 30_000):
            weights = skewed(n) if skew else None
            core, found = _mix(n, weights, effort)
            case = f"`shuffled_mux`, {n:,} streams, {label} weights"
            bars += [
                Bar(f"{case}: times the bare loop", ratio(core[OURS], core[BARE]), most=2),
                Bar(f"{case}: times the bare loop without `yield`", ratio(core[OURS], core[INLINE])),
                Bar(f"{case}: pescador over ours", ratio(found["pescador ShuffledMux"], found[OURS]), least=100),
            ]
            columns[f"{n:,} streams"] = found
        tables.append(compare(f"A sample of a mix with {label} weights.", columns))
    text = "Once all streams are open. Skewed weights are 1, 1/2, 1/3, … grain mixes in a fixed order, without chance."
    return Topic("Weighted mix", text, bars, tables)


def _mix(n: int, weights: np.ndarray | None, effort: Effort) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    factories, indices = listed(n), chosen(n, weights, DRAWS)

    def ours() -> Iterator[object]:
        return shuffled_mux(factories, weights, seed=0)()

    core: dict[str, Opener] = {
        OURS: ours,
        BARE: lambda: bare(opened(factories), indices),
        INLINE: lambda: inline(opened(factories), indices),
    }
    rarest = n if weights is None else weights.sum() / weights.min()
    return races(core, peers.mixes(n, weights), effort, {OURS: ceil(rarest * (log(n) + 3))}, settle=2 * n)


def turns(effort: Effort) -> Topic:
    """Round robin."""
    bars, columns = [], {}
    for n in (10, 1_000):
        factories = listed(n)

        def ours(factories: list[Open] = factories) -> Iterator[object]:
            return round_robin_mux(factories)()

        loop = partial(bare, opened(factories), list(range(n)) * (DRAWS // n))
        others = peers.round_robins(n)
        peer = "more_itertools.interleave_longest"
        core, found = races({OURS: ours, peer: others.pop(peer), BARE: loop}, others, effort, {OURS: n})
        case = f"`round_robin_mux`, {n:,} streams: times"
        bars += [
            Bar(f"{case} `{peer}`", ratio(core[OURS], core[peer]), most=1.3),
            Bar(f"{case} the bare loop", ratio(core[OURS], core[BARE])),
        ]
        columns[f"{n:,} streams"] = found
    text = "Endless streams in turn. torchdata.nodes, lhotse and grain have no such thing for streams."
    return Topic("Round robin", text, bars, [compare("A sample.", columns)])


def chains(effort: Effort) -> Topic:
    """One stream after the other."""
    bars, columns = [], {}
    for n, length in ((1_000, 1_000), (10_000, 100), (10_000, 8)):
        factories: list[Open] = [partial(some, i, length) for i in range(n)]

        def ours(factories: list[Open] = factories) -> Iterator[object]:
            return chain_mux(factories, mode="cycle")()

        def bare_chain(factories: list[Open] = factories) -> Iterator[object]:
            return chain.from_iterable(map(call, chain.from_iterable(repeat(factories))))

        core, found = races({OURS: ours, "itertools.chain": bare_chain}, peers.chains(n, length), effort)
        bars.append(
            Bar(
                f"`chain_mux`, streams of {length:,} items: times `itertools.chain`",
                ratio(core[OURS], core["itertools.chain"]),
                most=2,
            )
        )
        columns[f"{length:,} items"] = found
    text = "Streams opened one after the other, over and over, so that opening them is part of the cost."
    return Topic("Chain", text, bars, [compare("A sample.", columns, "itertools.chain")])


WIDTH, DEPTH = 3, 5


def nests(effort: Effort) -> Topic:
    """Muxes of muxes."""
    bars, columns = [], {}
    for label, in_turn in (("five `shuffled_mux`es", ()), ("`shuffled_mux` and `round_robin_mux` by turns", (1, 3))):
        core = {OURS: partial(_nest, in_turn), BARE: partial(_bare_nest, in_turn)}
        found, _ = races(core, {}, effort, {OURS: 20_000})
        bars.append(Bar(f"{label}: times a bare nest", ratio(found[OURS], found[BARE]), most=2))
        columns[label] = found
    text = f"{DEPTH} muxes deep, {WIDTH} children each, {WIDTH**DEPTH} streams; the bare nest is as many bare loops."
    return Topic("Nests", text, bars, [compare("A sample.", columns)])


def _nest(in_turn: tuple[int, ...]) -> Iterator[object]:
    level = listed(WIDTH**DEPTH)
    for depth in range(DEPTH):
        mux = round_robin_mux if depth in in_turn else partial(shuffled_mux, seed=depth)
        level = [mux(level[i : i + WIDTH]) for i in range(0, len(level), WIDTH)]
    return iter(level[0]())


def _bare_nest(in_turn: tuple[int, ...]) -> Iterator[object]:
    level: list[Iterator[object]] = [forever(i) for i in range(WIDTH**DEPTH)]
    for depth in range(DEPTH):
        level = [
            bare(level[i : i + WIDTH], list(range(WIDTH)) * 1_000 if depth in in_turn else chosen(WIDTH, None, 4096, i))
            for i in range(0, len(level), WIDTH)
        ]
    return level[0]
