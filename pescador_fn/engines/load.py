"""How many bytes of arrays a message speaks of: what goes faster on this machine, found by trying.

Of few that are on their way, the processor's caches still hold the slabs when they are written again; many need fewer
messages. Which of the two counts for more differs from machine to machine: where memory is fast and the caches are
large, arrays of 1 MB take a quarter longer with many.
"""

from __future__ import annotations

from math import inf

__all__ = ["FEW", "MANY", "Load"]

FEW, MANY = 6 * 2**20, 15 * 2**20
TRIAL, SETTLE = 10, 4  # messages of each, of which the first few are not looked at
TERM = 512  # messages, before both are tried again


class Load:
    """``n_bytes`` is how many; one for each stream."""

    __slots__ = ("best", "n_bytes", "step")

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.n_bytes: int = FEW
        self.step: int = 0
        self.best: list[float] = [inf, inf]  # seconds a byte

    def tell(self, n_bytes: int, seconds: float) -> None:
        """Hear how many bytes a message speaks of, and how long it took from the one before."""
        turn, at = divmod(self.step, TRIAL)
        if turn < 2 and at >= SETTLE:
            self.best[turn] = min(self.best[turn], seconds / n_bytes)
        self.step += 1
        if self.step == TRIAL:
            self.n_bytes = MANY
        elif self.step == 2 * TRIAL:
            few, many = self.best
            self.n_bytes = FEW if few < many else MANY
        elif self.step == TERM:
            self._begin()
