"""The executor of `stochastic_mux` where the picks go by the weights of the open streams.

    for mark in index:
        for item in slots[find(mark)]:    # by bisection, in the running sums of the open streams' weights
            yield item

The block holds uniform numbers, since a slot can be found no sooner than it is drawn; the sums change with every stream
that comes or goes. After a block in which none has, the next one holds slots, all found at once, until one does. The
draw that finds a stream at its end is spent: it was drawn by the weight of that one.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from itertools import repeat
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.activations import Activations
from pescador_fn.below import PLAIN, adopt, open_child, stopped
from pescador_fn.given import check_part
from pescador_fn.running import EMPTY, flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.exhaustive import ExhaustiveByWeight
    from pescador_fn.factory import Node
    from pescador_fn.open_weights import OpenWeights
    from pescador_fn.running import Running
    from pescador_fn.schedule import Activation, Schedule
    from pescador_fn.seeds import Place

__all__ = ["ByWeight"]

T = TypeVar("T")

CALM = 64  # draws of a block without a change, from which on it pays to find slots ahead


class ByWeight(Activations[T]):
    """A slot whose quota is used up is noticed when it is drawn again; the next stream then takes its place.

    How far a stream is tells the `repeat` that pulls it. There are two loops, since one would ask at each draw what the
    block holds.
    """

    __slots__ = ("called", "calm", "known", "renewed", "table")

    whole = True
    blocks: int
    draw: int
    following: int
    schedule: ExhaustiveByWeight
    size: int

    def __init__(self, node: Node[T], place: Place, schedule: type[Schedule]) -> None:
        super().__init__(node, place, schedule)
        self.called: bool = False  # whether a draw that is to be made again has called the stream already
        self.calm: bool = False  # whether no stream has changed in this block
        self.known: bool = False  # whether it holds slots
        self.renewed: tuple[int, int, bool] | None = None  # what `renew` is at: draw, slot, whether the draw is its own

    def __iter__(self) -> Iterator[T]:
        self.reopen()
        self.table: OpenWeights = self.schedule.open_weights
        return flow(partial(self.refill, [*map(self.pulls, range(len(self.active))), EMPTY, EMPTY]))

    def calls(self) -> dict[int, int]:
        streams = [(slot, active) for slot, active in enumerate(self.active) if active is not None]
        return {slot: active[0][2] - active[1].__length_hint__() for slot, active in streams}

    def limited(self, items: Any, found: Activation, n: int, running: Running[Any] | None) -> Any:
        del running
        return repeat(items, found[2] - n)

    def pulls(self, slot: int) -> Iterator[T]:
        """What the stream that is active in a slot has left to give."""
        active = self.active[slot]
        return EMPTY if active is None else map(next, active[1])

    def more(self, slots: list[Iterator[T]]) -> Iterator[T] | None:
        if self.schedule.cut:
            return self.broken()
        if not self.left() and not self.ended:
            self.lay_block(self.following)
        if self.ended:
            return None
        self.called = False
        return self.by_slot(slots) if self.known else self.by_mark(slots)

    def by_mark(self, slots: list[Iterator[T]]) -> Iterator[T]:
        """The items of the draws that are left of a block of uniform numbers."""
        table = self.table
        sums, slot_at, end, find = table.sums, table.slots, table.end, bisect_right
        total = sums[-1]
        for mark in self.index:
            # As `table.find` does, without its call, which would take as long again.
            try:
                slot = slot_at[find(sums, mark * total)]
            except BaseException as error:  # a signal, between a draw and its item
                self.recover(error)
                raise
            for item in slots[slot]:
                yield item
                break
            else:
                if slot < end:
                    try:
                        self.renew(slots, slot)
                    except BaseException as error:
                        self.recover(error)
                        raise
                    total = sums[-1]
                elif slot == end:
                    return

    def by_slot(self, slots: list[Iterator[T]]) -> Iterator[T]:
        """The items of the draws that are left of a block of slots."""
        end = self.table.end
        for slot in self.index:
            for item in slots[slot]:
                yield item
                break
            else:
                if slot < end:
                    try:
                        self.renew(slots, slot)
                    except BaseException as error:
                        self.recover(error)
                        raise
                elif slot == end:
                    return

    def renew(self, slots: list[Iterator[T]], slot: int) -> None:
        """Let the next stream into a slot that had nothing to give."""
        schedule, table, before = self.schedule, self.table, self.active[slot]
        draw, spent = self.following - self.left(), True
        if before is None:
            waiting = schedule.placed(slot)
            self.renewed = draw, slot, waiting is not None
            found = schedule.enter(slot, draw) if slot in schedule.open_slots else None
            schedule.first[slot] = found  # until it is open
            spent = found is None or found is not waiting
        else:
            self.renewed = draw, slot, False
            found, calls, owner, running = before
            if running is not None and not running.done and calls.__length_hint__():
                self.active[slot] = found, repeat(iter(running), calls.__length_hint__()), owner, running
                slots[slot] = self.pulls(slot)  # a signal has cut its plumbing
                self.again(draw)
                self.renewed = None
                return
            # Closed before the next is opened: never more than n_active are open.
            self.active[slot] = None
            if owner is not None:
                owner.close()
            found = schedule.replace(slot, draw)
        if spent:
            self.calm = False  # as `spend` does, without its call
            if found is None or self.known or not table.sums[-1]:
                self.changed(draw)
        if found is not None:
            stream, number, quota = found
            try:
                factory = self.factories[stream]
                # As `open_child` does, without its calls; of what is plain, nothing is asked.
                if type(factory) in PLAIN:
                    items = owner = factory()
                    running = None
                    if type(items) is not GeneratorType:
                        items, owner, running = adopt(items, factory)
                else:
                    label = stream if self.names is None else self.names[stream]
                    items, owner, running = open_child(factory, self.place, label, number)
            except Exception as error:
                schedule.first[slot] = None
                self.unopened(stream, error)
                raise
            calls = repeat(items, quota)
            pulls = map(next, calls)
            self.active[slot] = found, calls, owner, running
            slots[slot], schedule.first[slot] = pulls, None
            if not spent:  # the draw that a slot's first stream is opened for is its own
                self.seek(draw - self.draw)
        self.renewed = None

    @property
    def torn(self) -> bool:
        schedule = self.schedule
        if self.ended:
            return False
        shutting = not schedule.function and any(schedule.slot_streams[slot] < 0 for slot in schedule.open_slots)
        return (
            self.called
            or shutting
            or any(found and not schedule.placed(slot) for slot, found in enumerate(schedule.first))
        )

    def recover(self, error: BaseException) -> None:
        """Make the draw again that a signal has come to, unless it is spent: another stream is in its slot."""
        renewed, self.renewed = self.renewed, None
        if isinstance(error, Exception):
            return
        draw, slot, own = renewed or (self.following - self.left(), -1, True)
        schedule = self.schedule
        shutting = not own and not schedule.function and schedule.slot_streams[slot] < 0 and slot in schedule.open_slots
        if shutting:
            schedule.replace(slot, draw)  # again, to its end
        if not own and (slot not in schedule.open_slots or schedule.placed(slot)):
            self.spend(draw, slot)
        else:
            self.called = renewed is None or self.active[slot] is not None
            self.again(draw)

    def spend(self, draw: int, slot: int) -> None:
        """Take note that another stream is in a slot after a draw."""
        self.calm = False
        if self.schedule.first[slot] is None or self.known or not self.table.sums[-1]:
            self.changed(draw)

    def unopened(self, stream: int, error: Exception) -> None:
        """Say what is wrong with what does not open, which costs the draw."""
        if isinstance(error, TypeError):  # it may be no factory
            check_part("stochastic_mux", self.factories[stream], f"factories[{stream}]")
        if isinstance(error, StopIteration):
            raise stopped(self.factories[stream]) from error

    def changed(self, draw: int) -> None:
        """Take note that other streams are open after a draw."""
        if self.known:
            self.following, self.size = draw + 1, min(CALM, drawing.block_sizes[1])
            self.blocks += 1
            self.block[:] = [self.table.end]  # the rest is drawn anew, by the weights of now
            self.seek(0)
        if not self.schedule.open_slots:
            self.close()
        else:
            self.check_weights()

    def check_weights(self) -> None:
        """Refuse to go on where nothing can be drawn."""
        if not self.table.sums[-1]:
            self.close()
            raise ValueError(
                f"stochastic_mux: weights({self.schedule.read}) is 0 for every open stream, so nothing can be drawn; "
                "keep the weight of a stream positive until it has ended"
            )

    def lay_block(self, draw: int) -> None:
        """Lay the block that begins with a draw, unless nothing is open any more."""
        schedule, table = self.schedule, self.table
        span = min(self.size, schedule.begin_block(draw))
        if not schedule.open_slots:
            self.close()
            return
        self.check_weights()
        marks: Any = schedule.words["picks"].uniforms(draw, span)
        known = self.calm and len(self.block) > min(CALM, drawing.block_sizes[1])
        block: list[Any] = table.find_all(marks).tolist() if known else marks.tolist()
        block += [table.end if known else 2.0]  # beyond the sums
        later = min(self.size * 4, drawing.block_sizes[1])
        # At once, without a call: Python looks for signals there.
        self.draw, self.following, self.size, self.known, self.calm = draw, draw + span, later, known, True
        self.blocks += 1
        self.block[:] = block
        self.seek(0)
