"""How far the streams of a mux are, told by the draws."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Counts"]

_NOTHING = np.empty(0, np.int64)


class Counts:
    """How often each slot was drawn since its stream was opened; counted block by block, which costs little.

    Where every slot is opened again within a block, what was drawn before does not matter: so the last block but one is
    counted when it is known to.
    """

    __slots__ = ("before", "began", "block", "n", "numbers", "since", "sums")

    def __init__(self, n: int) -> None:
        self.n: int = n
        self.block: Any = _NOTHING  # the indices that are not counted yet
        self.numbers: Any = 0  # the numbers of their draws, or that of the first
        self.began: dict[int, int] = {}  # slots whose stream was opened again in the block, at which draw
        self.before: tuple[Any, Any, dict[int, int]] = _NOTHING, 0, {}  # the same of the block before
        self.sums: Any = None
        self.since: Any = None  # the draw at which the stream of each slot was opened again

    def count(self, drawn: int) -> None:
        """Count the first draws of the block, and leave the others out; to do so again changes nothing."""
        block, _, began = self.before
        before = self.block[:drawn], self.numbers, self.began
        if len(self.began) < self.n and (len(block) or began):
            if self.sums is None:
                self.sums, self.since = np.zeros((2, self.n), np.int64)
            counted = _since(self.sums, self.since, *self.before)
            try:
                np.add.at(self.sums, counted, 1)
            finally:  # a signal comes after it
                self.before, self.began, self.block = before, {}, _NOTHING
        self.before, self.began, self.block = before, {}, _NOTHING

    def now(self, drawn: int, slots: list[int]) -> list[int]:
        """The counts of some slots, with the first draws of the block."""
        sums, since = np.zeros((2, self.n), np.int64) if self.sums is None else (self.sums.copy(), self.since.copy())
        for block in (self.before, (self.block[:drawn], self.numbers, self.began)):
            np.add.at(sums, _since(sums, since, *block), 1)
        found: list[int] = sums[slots].tolist()
        return found

    def load(self, slots: list[int], calls: list[int]) -> None:
        """Go on from the counts of some slots."""
        self.sums, self.since = np.zeros((2, self.n), np.int64)
        self.sums[slots] = calls


def _since(sums: Any, since: Any, block: Any, numbers: Any, began: dict[int, int]) -> Any:
    """The draws of a block that count: of slots whose streams were opened again, those from then on."""
    if began:
        again = list(began)
        sums[again] = 0
        since[again] = list(began.values())
        numbers = numbers[: len(block)] if isinstance(numbers, np.ndarray) else np.arange(numbers, numbers + len(block))
        block = block[numbers >= since[block]]
    return block
