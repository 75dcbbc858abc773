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

    __slots__ = ("calm", "known", "table")

    cut: bool
    draw: int
    following: int
    schedule: ExhaustiveByWeight
    size: int

    def __init__(self, node: Node[T], place: Place, schedule: type[Schedule]) -> None:
        super().__init__(node, place, schedule)
        self.calm: bool = False  # whether no stream has changed in this block
        self.known: bool = False  # whether it holds slots

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
        if not self.left() and not self.ended:
            self.lay_block(self.following)
        if self.ended:
            return None
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
            except BaseException:  # a signal, between a draw and its item
                self.again()
                raise
            for item in slots[slot]:
                yield item
                break
            else:
                if slot < end:
                    self.cut = True
                    self.renew(slots, slot)
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
                    self.cut = True
                    self.renew(slots, slot)
                elif slot == end:
                    return

    def renew(self, slots: list[Iterator[T]], slot: int) -> None:
        """Let the next stream into a slot that had nothing to give; called with the mark set, before any signal."""
        try:
            schedule, before = self.schedule, self.active[slot]
            draw, spent = self.following - self.left(), True
            if before is None:
                waiting = schedule.first[slot]
                found = schedule.enter(slot, draw) if slot in schedule.open_slots else None
                spent = found is None or found is not waiting
            else:
                found, calls, owner, running = before
                if running is not None and not running.done and calls.__length_hint__():
                    self.active[slot] = found, repeat(iter(running), calls.__length_hint__()), owner, running
                    slots[slot] = self.pulls(slot)  # a signal has cut its plumbing
                    self.again()
                    return
                # Closed before the next is opened: never more than n_active are open.
                self.active[slot] = None
                if owner is not None:
                    self.closed(owner)
                found = schedule.replace(slot, draw)
            if spent:
                self.calm = False
                if found is None or self.known or not self.table.sums[-1]:
                    self.changed(draw)
            if found is not None:
                stream, number, quota = found
                self.cut = False
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
                except BaseException as error:
                    self.unopened(slot, found, error, spent=spent)
                    raise
                self.cut = True
                calls = repeat(items, quota)
                self.active[slot] = found, calls, owner, running
                slots[slot] = map(next, calls)
                if not spent:  # the draw that a slot's first stream is opened for is its own
                    self.again()
            self.cut = False
        except Exception:
            self.cut = False
            raise

    def unopened(self, slot: int, found: Activation, error: BaseException, *, spent: bool) -> None:
        """Leave out what does not open, which costs the draw; after a signal, let another draw open it after all."""
        if not isinstance(error, Exception):
            self.schedule.first[slot] = found
            if not spent:
                self.again()
        if isinstance(error, TypeError):  # it may be no factory
            check_part("stochastic_mux", self.factories[found[0]], f"factories[{found[0]}]")
        if isinstance(error, StopIteration):
            raise stopped(self.factories[found[0]]) from error

    def changed(self, draw: int) -> None:
        """Take note that other streams are open after a draw."""
        if self.known:
            self.following, self.size = draw + 1, min(CALM, drawing.block_sizes[1])
            self.lay([], self.table.end)  # the rest is drawn anew, by the weights of now
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
        self.draw, self.following = draw, draw + span
        self.size: int = min(self.size * 4, drawing.block_sizes[1])
        marks: Any = schedule.words["picks"].uniforms(draw, span)
        self.known, self.calm = self.calm and len(self.block) > min(CALM, drawing.block_sizes[1]), True
        if self.known:
            self.lay(table.find_all(marks).tolist(), table.end)
        else:
            self.lay(marks.tolist(), 2.0)  # beyond the sums
