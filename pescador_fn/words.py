"""Random words from a key that is ready: what numpy's bit generators are seeded with."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.random import PCG64
from numpy.random.bit_generator import ISpawnableSeedSequence

__all__ = ["Key", "bits"]


class Key(ISpawnableSeedSequence):
    """A ready key in the place of a ``SeedSequence``: bits made from it need no further hashing."""

    def __init__(self, digest: bytes, spawned: int = 0) -> None:
        self.digest = digest
        self.spawned: int = spawned

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Any:
        """The first ``n_words`` words of the key, which is stretched where more are asked for than it has."""
        size = n_words * np.dtype(dtype).itemsize
        text, block = self.digest, 0
        while len(text) < size:
            block += 1
            text += blake2b(self.digest + b"more %d" % block, digest_size=32).digest()
        return np.frombuffer(text[:size], dtype)

    def spawn(self, n_children: int) -> Any:
        """Keys that no earlier ``spawn`` has given."""
        first, self.spawned = self.spawned, self.spawned + n_children
        return [
            Key(blake2b(self.digest + b"spawn %d" % k, digest_size=32).digest())
            for k in range(first, first + n_children)
        ]


def bits(digest: bytes) -> PCG64:
    """Raw random words of this key."""
    key: Any = Key(digest)
    return PCG64(key)
