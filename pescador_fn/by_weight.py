"""The executor of `stochastic_mux` where the picks go by the weights of the open streams."""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from itertools import accumulate, chain, repeat
from operator import mul
from typing import TYPE_CHECKING, Any, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.drawing import PERIOD
from pescador_fn.running import EMPTY, flow
from pescador_fn.working_set import WorkingSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.exhaustive import Exhaustive
    from pescador_fn.factory import Node
    from pescador_fn.schedule import Schedule
    from pescador_fn.seeds import Place

__all__ = ["ByWeight"]

T = TypeVar("T")


class ByWeight(WorkingSet[T]):
    """The executor of an exhaustive mux with weights, whose picks change with every stream that opens.

    The block holds uniform numbers; `bisect` in the running sums of the open streams' weights makes slots of them, one
    draw at a time and in C. The draw that found a stream at its end is spent: it was drawn by the weight of that one.
    So slots hold one stream each, and `turn` puts the next there.
    """

    __slots__ = ("sums", "total")

    schedule: Exhaustive
    draw: int
    following: int
    laid_at: int

    def __init__(self, node: Node[T], place: Place, schedule: type[Schedule]) -> None:
        super().__init__(node, place, schedule)
        self.sums: list[float] = [1.0]
        self.total: list[float] = [1.0]  # in a list, where the plumbing sees it change

    def __iter__(self) -> Iterator[T]:
        self.reopen()
        return flow(partial(self.refill, [self.pulls(slot) for slot in range(len(self.active))] + [EMPTY]))

    def pulls(self, slot: int) -> Iterator[T]:
        active = self.active[slot]
        if active is None:
            return EMPTY
        calls = active[1]
        return map(next, chain(calls, self.ends[slot]) if slot in self.ends else calls)

    def more(self, slots: list[Iterator[T]]) -> Iterator[T] | None:
        if self.ended:
            return None
        if not self.left():
            return self.lay_from(self.following, self.pulling(slots))
        return self.pulling(slots)

    def pulling(self, slots: list[Iterator[T]]) -> Iterator[T]:
        """The items of the block. It ends with an empty slot, or sooner; nothing is lost with its frame."""
        marks = map(mul, self.index, map(self.total.__getitem__, repeat(0)))
        for slot in map(bisect_right, repeat(self.sums), marks):
            for item in slots[slot]:
                yield item
                break
            else:
                if not self.left() or not self.turn(slot, slots):
                    return

    def turn(self, slot: int, slots: list[Iterator[T]]) -> bool:
        """Let the next stream take a slot that has nothing to give; whether there is anything left to draw from."""
        schedule, left = self.schedule, self.left()
        before = self.active[slot]
        if before is None and slot not in schedule.open_slots:
            return True  # the draw is spent
        version = schedule.version
        try:
            opened = self.renew(slot)
        except StopIteration:
            if not schedule.open_slots:
                self.close()
                return False
            self.weigh(slot)
            return True
        if self.active[slot] is None or self.active[slot] is before:
            # An error, which costs a draw; but not a signal, which sets what was to be opened again.
            if schedule.first[slot] is None and version != schedule.version:
                self.weigh(slot)
            next(opened)  # raises the error that `renew` met
        slots[slot] = opened
        if version == schedule.version:
            self.seek(len(self.block) - 1 - left)
        return True

    def weigh(self, slot: int) -> None:
        """Draw by the weights of the streams that are open now, which have changed from ``slot`` on."""
        self.version: int = self.schedule.version
        sums, weights = self.sums, self.schedule.slot_weights
        if slot:
            sums[slot - 1 :] = accumulate(weights[slot:], initial=sums[slot - 1])
        else:
            sums[:] = accumulate(weights)
        self.total[0] = sums[-1]
        if not sums[-1]:
            self.close()
            raise ValueError(
                f"stochastic_mux: weights({self.schedule.read}) is 0 for every open stream, so nothing can be drawn; "
                "keep the weight of a stream positive until it has ended"
            )

    def lay_block(self, draw: int) -> None:
        schedule = self.schedule
        span = self.size
        if self.dated:
            span = min(span, PERIOD - draw % PERIOD)
            schedule.reread(draw)
        self.draw, self.following = draw, draw + span
        self.laid_at = -1
        self.size: int = min(self.size * 4, drawing.block_sizes[1])
        self.lay(schedule.words["picks"].uniforms(draw, span).tolist(), 2.0)  # beyond every sum: the empty slot
        if schedule.open_slots:
            self.weigh(0)
