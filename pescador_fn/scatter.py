"""Random orders of any number of things, of which no list is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pescador_fn.drawing import Ints

__all__ = ["Scatter"]


class Scatter:
    """A permutation of ``range(n)`` by its key: the image of any position at once, whatever ``n``.

    A Feistel network permutes the numbers of as many bits as ``n`` needs. Where it leads beyond
    ``n`` it is applied again, until it leads back.

    Args:
        n: how many, from 1 to ``2**62``.
        keys: ``ROUNDS`` random 64-bit words.

    Source: Black and Rogaway, Ciphers with arbitrary finite domains, 2002.

    >>> sorted(Scatter(5, np.arange(8, dtype=np.uint64)).numbers(0, 5).tolist())
    [0, 1, 2, 3, 4]
    """

    __slots__ = ("bits", "keys", "n")

    ROUNDS = 8  # even, so that halves of unequal size are where they were

    def __init__(self, n: int, keys: Any) -> None:
        self.n: np.uint64 = np.uint64(n)
        self.bits: int = max((n - 1).bit_length(), 2)
        self.keys: NDArray[np.uint64] = keys

    def numbers(self, at: int, size: int) -> Ints:
        """The images of ``at`` to ``at + size - 1``."""
        found = self.network(np.arange(at, at + size, dtype=np.uint64))
        out = np.flatnonzero(found >= self.n)
        while out.size:
            again = self.network(found[out])
            found[out] = again
            out = out[again >= self.n]
        return found.astype(np.int64)

    def network(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The permutation of all numbers of as many bits."""
        low = self.bits // 2
        high = self.bits - low
        left, right = x >> np.uint64(low), x & np.uint64(2**low - 1)
        for key in self.keys:
            left, right = right, left ^ (_mixed(right + key) >> np.uint64(64 - high))
            low, high = high, low
        return (left << np.uint64(low)) | right


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Words of which every bit depends on every bit, by the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
