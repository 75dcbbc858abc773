"""The executor of `stochastic_mux` where the picks go by the weights of the open streams."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, chain, repeat
from operator import mul
from typing import TYPE_CHECKING, Any, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.drawing import PERIOD
from pescador_fn.running import EMPTY
from pescador_fn.working_set import Row, WorkingSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    So slots hold one stream each, and `more` puts the next there.
    """

    __slots__ = ("sums", "total")

    schedule: Exhaustive

    def __init__(self, node: Node[T], place: Place, schedule: type[Schedule]) -> None:
        super().__init__(node, place, schedule)
        self.sums = [1.0]
        self.total = [1.0]  # in a list, where the plumbing sees it change

    def pulling(self, slot: Callable[[Any], Iterator[T]]) -> Iterator[T]:
        marks = map(mul, self.index, map(self.total.__getitem__, repeat(0)))
        return map(next, map(slot, map(bisect_right, repeat(self.sums), marks)))

    def pulls(self, slot: int) -> Iterator[T]:
        active = self.active[slot]
        if active is None:
            return EMPTY
        calls = active[1]
        return map(next, chain(calls, self.ends[slot]) if slot in self.ends else calls)

    def more(self, slots: Row[T], items: Iterator[T]) -> Iterator[T] | None:
        left = self.left()
        if not left:
            return None if self.ended else self.lay_from(self.following, items)
        if left == self.laid_at:  # an error was this draw's
            self.laid_at = -1
            return items
        schedule = self.schedule
        slot = bisect_right(self.sums, self.block[-1 - left] * self.total[0])
        before = self.active[slot]
        if before is None and slot not in schedule.open_slots:
            return items  # the draw is spent
        version = schedule.version
        self.cut = False
        try:
            opened = self.renew(slot)
        except StopIteration:
            if not schedule.open_slots:
                self.close()
                return None
            self.weigh(slot)
            return items
        if self.active[slot] is None or self.active[slot] is before:
            if schedule.first[slot] is None:  # it is set again by a signal, which costs no draw
                self.laid_at = left
                if version != schedule.version:
                    self.weigh(slot)
            next(opened)  # raises the error that `renew` met
        slots[slot] = opened
        if version == schedule.version:
            self.seek(len(self.block) - 1 - left)
        return items

    def weigh(self, slot: int) -> None:
        """Draw by the weights of the streams that are open now, which have changed from ``slot`` on."""
        self.version = self.schedule.version
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
        self.size = min(self.size * 4, drawing.block_sizes[1])
        self.lay(schedule.words["picks"].uniforms(draw, span).tolist(), 2.0)  # beyond every sum: the empty slot
        if schedule.open_slots:
            self.weigh(0)
