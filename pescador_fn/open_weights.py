"""The weights of what is open in the slots of a working set, as a table to draw from."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pescador_fn.drawing import Floats

__all__ = ["OpenWeights"]

HOLES = 1 / 4  # of the whole weight, at most: more would cost draws, and less would cost time, for sums made anew


class OpenWeights:
    """Running sums of the weights of open streams: a uniform number, times the last of them, falls on a slot.

        sums     0    3    4    6    7   11
        slots    ·    0    1    ·    3    2   end

    A stream that comes into a slot is added behind the others, and one that goes leaves a hole, on which draws are
    spent. So a change costs a few steps, however many slots there are. The sums are made anew when a quarter of the
    weight is in holes. That depends on what has come and gone alone, so that draws are the same in blocks of any size.
    """

    __slots__ = ("arrays", "end", "gone", "hole", "holes", "in_order", "places", "slots", "sums", "tail", "weights")

    def __init__(self, n_slots: int) -> None:
        self.end: int = n_slots  # the slot of what lies beyond the sums
        self.hole: int = n_slots + 1  # the slot of a hole
        self.weights: list[float] = [0.0] * n_slots  # by slot
        self.places: list[int] = [0] * n_slots  # by slot, where it is in the sums; 0 where it is not
        self.sums: list[float] = [0.0]
        self.slots: list[int] = [self.hole, self.end]
        self.holes: dict[int, float] = {}  # their places and weights
        self.gone: float = 0.0  # the sum of these
        self.tail: tuple[int] = (n_slots,)
        self.arrays: tuple[Any, Any] | None = None  # the sums and the slots, until they change
        self.in_order: tuple[list[int], list[int]] = [self.hole, *range(n_slots + 1)], [*range(1, n_slots + 1)]

    def find(self, uniform: float) -> int:
        """The slot of a number in ``[0, 1)``, or the hole that it falls on."""
        return self.slots[bisect_right(self.sums, uniform * self.sums[-1])]

    def find_all(self, uniforms: Floats) -> Any:
        """The slots of many."""
        if self.arrays is None:
            self.arrays = np.array(self.sums), np.array(self.slots)
        sums, slots = self.arrays
        return slots[sums.searchsorted(uniforms * sums[-1], side="right")]

    def put(self, slot: int, weight: float) -> None:
        """Let a stream into a slot, whose last one goes; a weight of 0 leaves it empty."""
        sums, weights, places = self.sums, self.weights, self.places
        place, before, total = places[slot], weights[slot], sums[-1] + weight
        gone = self.gone + before if place else self.gone
        if gone > HOLES * total:
            others = weights.copy()
            others[slot] = weight
            return self.add_up(others)
        slots, length = self.slots, len(sums)
        # At once, without a call: Python looks for signals there.
        self.arrays, weights[slot] = None, weight
        if place:
            slots[place] = self.hole
            self.holes[place], self.gone = before, gone
        if weight:
            places[slot] = length
            slots[-1] = slot
            slots += self.tail
            sums += (total,)
        else:
            places[slot] = 0

    def add_up(self, weights: list[float] | None = None) -> None:
        """Make the sums anew, without holes, of other weights if any; an empty slot takes no room in them."""
        weights = self.weights if weights is None else weights
        anew = [*accumulate(weights, initial=0.0)]
        self.sums[:], self.weights[:] = anew, weights
        self.slots[:], self.places[:] = self.in_order
        self.holes, self.gone, self.arrays = {}, 0.0, None

    def copy(self) -> OpenWeights:
        """A table that goes on from here by itself."""
        other = OpenWeights(self.end)
        other.load(self.save(), self.weights)
        return other

    def save(self) -> list[Any]:
        """The slots in the order of the sums, as plain data, and the places and weights of the holes among them."""
        return [[slot for slot in self.slots[1:-1] if slot != self.hole], [list(hole) for hole in self.holes.items()]]

    def load(self, state: list[Any], weights: list[float]) -> None:
        """Be as where ``save`` was called; ``weights`` are those of the slots."""
        open_slots, holes = iter(state[0]), state[1]
        self.weights[:] = weights
        self.holes.update(holes)
        n = len(state[0]) + len(holes)
        self.slots[:] = [self.hole if k in self.holes else next(open_slots) for k in range(1, n + 1)]
        self.sums[:] = accumulate(
            (self.holes[k] if slot == self.hole else weights[slot] for k, slot in enumerate(self.slots, 1)), initial=0.0
        )
        for _, weight in holes:  # one by one, as they came
            self.gone += weight
        self.slots[:] = [self.hole, *self.slots, self.end]
        for place, slot in enumerate(self.slots):
            if slot < self.end:
                self.places[slot] = place
