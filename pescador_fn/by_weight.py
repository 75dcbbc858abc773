"""The executor of `stochastic_mux` where the picks go by the weights of the open streams."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, repeat
from operator import mul
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import pescador_fn.drawing as drawing
from pescador_fn.drawing import PERIOD
from pescador_fn.working_set import WorkingSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pescador_fn.counts import Counts
    from pescador_fn.exhaustive import Exhaustive
    from pescador_fn.factory import Node
    from pescador_fn.schedule import Schedule
    from pescador_fn.seeds import Place

__all__ = ["ByWeight"]

T = TypeVar("T")


class ByWeight(WorkingSet[T]):
    """The executor of an exhaustive mux with weights, whose picks change with every stream that opens.

    The block holds uniform numbers; `bisect` in the running sums of the open streams' weights makes slots of them, one
    draw at a time and in C. After a block in which no stream has changed, the next one holds slots, found all at once,
    until one changes. The draw that found a stream at its end is spent: it was drawn by the weight of that one.
    """

    __slots__ = ("calm", "known", "sums", "total")

    counted: Callable[[int], Counts | None] = staticmethod(lambda _: None)
    schedule: Exhaustive
    draw: int
    following: int

    def __init__(self, node: Node[T], place: Place, schedule: type[Schedule]) -> None:
        super().__init__(node, place, schedule)
        self.end: int = len(self.active)
        self.sums: list[float] = [1.0]
        self.total: list[float] = [1.0]  # in a list, where the plumbing sees it change
        self.calm: bool = False  # whether no stream has changed in this block
        self.known: bool = False  # whether it holds slots

    def picked(self) -> Iterator[int]:
        if self.known:
            return self.index
        marks = map(mul, self.index, map(self.total.__getitem__, repeat(0)))
        return map(bisect_right, repeat(self.sums), marks)

    def weigh(self, slot: int, draw: int, *, spent: bool) -> None:  # noqa: ARG002 - it always is
        """Draw by the weights of the streams that are open now, which have changed from ``slot`` on."""
        self.calm = False
        if self.known:
            self.following, self.size = draw + 1, drawing.block_sizes[0]
            self.lay([], self.end)  # the rest is drawn anew, by the weights of now
        self.add_up(slot)

    def add_up(self, slot: int) -> None:
        """Sum the weights of the streams that are open now, which have changed from ``slot`` on."""
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

    def lay_block(self, draw: int, slot: int = -1) -> None:
        del slot  # a draw is spent where the picks have changed
        schedule = self.schedule
        span = self.size
        if schedule.function is not None:
            span = min(span, PERIOD - draw % PERIOD)
            schedule.reread(draw)
        self.draw, self.following = draw, draw + span
        self.size: int = min(self.size * 4, drawing.block_sizes[1])
        marks: Any = schedule.words["picks"].uniforms(draw, span)
        self.known, self.calm = self.calm, True
        if schedule.open_slots:
            self.add_up(0)
        if self.known:
            self.lay(np.array(self.sums).searchsorted(marks * self.total[0], side="right").tolist(), self.end)
        else:
            self.lay(marks.tolist(), 2.0)  # beyond every sum: the empty slot
