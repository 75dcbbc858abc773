"""What a mux will draw, as far as that can be known before anything is pulled.

    state of the mux, copied ──▶ stream, activation number, quota;  stream, activation number, quota;  …

A mux is a schedule and an executor. Here the schedule goes on without the executor: nothing is opened or changed. What
only pulling can tell, where streams end, may be known to the caller; elsewhere a stream is taken to go on, or, where
the next one has to wait for its end, to give some items. So what is foreseen may be wrong, and nothing may depend on it
but what is made ahead of need.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

from pescador_fn.activations import Activations
from pescador_fn.by_weight import ByWeight
from pescador_fn.chained import Chained
from pescador_fn.drawing import PERIOD, Table, read_weights
from pescador_fn.mux import Shuffled
from pescador_fn.running import FOREVER
from pescador_fn.turns import RoundRobin
from pescador_fn.working_set import WorkingSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Draw", "foresee", "most_open"]

Draw = tuple[int, int, int]  # stream, activation number, quota

GUESS = 64  # items, of a stream whose end is not known and that others wait for
BLOCK = 64  # draws


def most_open(mux: Any) -> int:
    """How many streams a mux has open at a time, at most."""
    if isinstance(mux, Activations):
        return int(mux.schedule.prepared.n_slots)
    return 1 if isinstance(mux, Chained) else len(mux.node.of)


def foresee(mux: Any, left: Callable[[int, int], int | None]) -> Iterator[Draw]:
    """The next draws of a running mux, until its end or until no more can be known."""
    if mux.done:
        return iter(())
    if isinstance(mux, ByWeight):
        return _by_weight(mux, left)
    if isinstance(mux, WorkingSet):
        return _working_set(mux, left)
    if isinstance(mux, Shuffled):
        return _shuffled(mux, left)
    return _round_robin(mux, left) if isinstance(mux, RoundRobin) else _chained(mux, left)


class _Slots:
    """The slots of a working set, as they go from one activation to the next."""

    def __init__(self, mux: Activations[Any], left: Callable[[int, int], int | None]) -> None:
        self.left = left
        self.schedule: Any = mux.schedule.copy()
        self.now: dict[int, list[Any]] = {}  # by slot: stream, number, quota, how many are left
        for slot, (found, _, n) in mux.past.items():
            self.put(slot, found, found[2] - n)
        for slot, n in mux.calls().items():
            found = mux.active[slot][0]  # type: ignore[index]
            self.put(slot, found, found[2] - n)

    def put(self, slot: int, found: Draw, rest: int) -> None:
        known = self.left(found[0], found[1])
        rest = min(rest, FOREVER if known is None else known)
        self.now[slot] = [*found, GUESS if known is None and rest > FOREVER // 2 else rest]

    def turn(self, slot: int, draw: int) -> bool:
        """Let the next stream take a slot; whether there is one."""
        before, found = self.now.pop(slot, None), None
        while slot in self.schedule.open_slots:
            found = self.schedule.enter(slot, draw) if before is None else self.schedule.replace(slot, draw)
            if found is None:
                return False
            if self.left(found[0], found[1]) != 0:
                self.put(slot, found, found[2])
                return True
            self.schedule.barren(found[0])
            before = [*found, 0]
        return False

    def take(self, slot: int) -> Draw:
        active = self.now[slot]
        active[3] -= 1
        return active[0], active[1], active[2]


def _next_draw(mux: Any) -> int:
    """The number of the draw after those that are done."""
    left = mux.left()
    return int(mux.following - left + (left > 0))


def _working_set(mux: WorkingSet[Any], left: Callable[[int, int], int | None]) -> Iterator[Draw]:
    slots, draw = _Slots(mux, left), _next_draw(mux)
    schedule = slots.schedule
    while schedule.open_slots:
        version = schedule.version
        for slot in schedule.picks(draw, BLOCK).tolist():
            if (slot in slots.now and slots.now[slot][3] > 0) or slots.turn(slot, draw):
                yield slots.take(slot)
            draw += 1
            if version != schedule.version:
                break


def _by_weight(mux: ByWeight[Any], left: Callable[[int, int], int | None]) -> Iterator[Draw]:
    slots, draw = _Slots(mux, left), _next_draw(mux)
    schedule = slots.schedule
    table = schedule.open_weights
    while schedule.open_slots:
        size = min(BLOCK, schedule.begin_block(draw))
        if not table.sums[-1]:
            return
        for mark in schedule.words["picks"].uniforms(draw, size).tolist():
            slot = table.find(mark)
            spent = slot in slots.now and not slots.now[slot][3]  # the draw that finds a stream at its end
            ready = bool(slots.now.get(slot, [0] * 4)[3]) or slots.turn(slot, draw)
            draw += 1
            if ready and not spent:
                yield slots.take(slot)


def _shuffled(mux: Shuffled[Any], left: Callable[[int, int], int | None]) -> Iterator[Draw]:
    drawn = mux.drawn
    draw = mux._number(drawn) if drawn < len(mux.block) - 1 else mux.following
    words, table, passes, dead = mux.words.copy(), mux.table, dict(mux.slots.passes), set(mux.dead)
    weights, end = mux.node.options["weights"], FOREVER
    if callable(weights):
        start = draw - draw % PERIOD
        end = start + PERIOD  # beyond it, the function gives other weights
        if start != mux.read:
            table = Table(len(mux.node.of), read_weights("shuffled_mux", weights(start), mux.node.of))
    rest: dict[int, int] = {}
    lost = mux.lost
    while table is not None and draw < end and len(dead) < len(mux.node.of):
        for stream in table.indices(words.uniforms(draw, min(BLOCK, end - draw))).tolist():
            draw += 1
            if stream in dead:
                continue
            number = passes.get(stream, 0)
            n = rest.get(stream)
            if n is None:
                n = _known(left(stream, number), FOREVER)
            if not n and mux.on_exhausted == "restart":
                number = passes[stream] = number + 1
                n = _known(left(stream, number), FOREVER)
            if n:
                rest[stream] = n - 1
                yield stream, number, FOREVER
            elif mux.on_exhausted == "stop":
                return
            else:
                dead.add(stream)
                lost += table.share(stream)
                if lost >= 0.5:  # the draws that follow are by a table without the dead
                    table, lost = table.without(dead), 0.0
                    break


def _known(n: int | None, otherwise: int) -> int:
    return otherwise if n is None else n


def _round_robin(mux: RoundRobin[Any], left: Callable[[int, int], int | None]) -> Iterator[Draw]:
    at = (mux.at - max(0, mux.left() - 1)) % max(1, len(mux.ring))
    ring, gone, number, barren = list(mux.ring), set(mux.gone), mux.number, set(mux.barren)
    rest: dict[int, int] = {}
    while True:
        while ring:
            for stream in ring[at:]:
                n = rest[stream] if stream in rest else _known(left(stream, number), FOREVER)
                if n and stream not in gone:
                    rest[stream] = n - 1
                    yield stream, number, FOREVER
                else:
                    gone.add(stream)
            at, ring = 0, [stream for stream in ring if stream not in gone]
        number += 1
        if mux.mode == "exhaustive":
            return
        gone.clear()
        rest.clear()
        ring = [stream for stream in mux.order(number) if stream not in barren and left(stream, number) != 0]
        if not ring:
            return


def _chained(mux: Chained[Any], left: Callable[[int, int], int | None]) -> Iterator[Draw]:
    stream, number, count = max(mux.index, 0), mux.number, len(mux.node.of)
    if mux.index >= 0 and not mux.opened and not mux.opening:
        stream += 1
    while True:
        while stream < count:
            if stream not in mux.barren:
                yield from repeat((stream, number, FOREVER), _known(left(stream, number), GUESS))
            stream += 1
        if mux.node.options["mode"] != "cycle":
            return
        stream, number = 0, number + 1
