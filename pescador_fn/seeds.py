"""Seeds: from the place of a stream to its randomness.

A place is where a stream stands in a running pipeline: the labels and activation numbers on the way from the root.
Its key is a hash of the root seed and that way, so siblings, activations and epochs never share randomness, and what a
stream draws depends on nothing else. Keys are hashed only when something asks; an activation that draws nothing costs
nothing.

    root seed ── label, number ── label, number ── lane
                 (which stream, its which activation)   (what for: "picks", "rng", …)

A seed given further in starts a new root there. Of the way above it only the activation numbers that are not 0 count:
the stream on its own and its first pass inside a mux are the same, and its later passes differ.
"""

from __future__ import annotations

import os
from functools import cache
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from pescador_fn.errors import show
from pescador_fn.hashing import hashed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import PCG64, Generator

__all__ = ["Place", "Root", "check_seed"]


def check_seed(function: str, seed: Any) -> int | None:
    """A seed that is pure data: a non-negative ``int``, or ``None``."""
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        why = " (a generator changes whenever it is used, and two calls of one factory must agree)"
        is_random = isinstance(seed, (np.random.Generator, np.random.RandomState, np.random.BitGenerator))
        raise TypeError(
            f"{function}: seed={show(seed)} is not an integer{why if is_random else ''}; "
            "give an int >= 0, or None for fresh entropy at each call"
        )
    if seed < 0:
        raise ValueError(f"{function}: seed={seed} is negative; give an int >= 0, or None for fresh entropy")
    return int(seed)


@cache
def _maker() -> Callable[[bytes], PCG64]:
    """What is imported when it is first needed: numpy's random module takes as long as all of ours."""
    from pescador_fn.words import bits

    return bits


class Place:
    """Where a stream stands: below ``above``, under ``label``, at its activation ``number``."""

    __slots__ = ("_key", "above", "label", "number")

    def __init__(self, above: Place | None, label: object, number: int) -> None:
        self.above: Place | None = above
        self.label: object = label
        self.number: int = number
        self._key: bytes | None = None

    def digest(self, lane: str) -> bytes:
        """32 bytes that are this place's alone, for one use named ``lane``."""
        assert self.above is not None
        way = repr(self.label).encode(), self.number
        return hashed(b"%b%b:%d/%b" % (self.above.key, *way, lane.encode()), 32).digest()

    @property
    def key(self) -> bytes:
        """What the places below are hashed with."""
        if self._key is None:
            self._key = self.digest("")
        return self._key

    def bits(self, lane: str) -> PCG64:
        """Raw random words for one use named ``lane``."""
        return _maker()(self.digest(lane))

    def rng(self) -> Generator:
        """The generator that a source is given."""
        return np.random.Generator(self.bits("rng"))

    def again(self, stage: str, number: int) -> Place:
        """This place in pass ``number`` of a repeating stage; pass 0 is the place itself."""
        return Place(self, stage, number) if number else self

    def pinned(self, seed: int | None) -> Place:
        """This place with a root seed of its own, or itself without one."""
        return self if seed is None else Root(seed, self)


class Root(Place):
    """A place whose randomness starts at a seed; ``None`` takes entropy when something asks, once."""

    __slots__ = ("seed",)

    def __init__(self, seed: int | None = None, above: Place | None = None) -> None:
        super().__init__(above, "root", 0)
        self.seed = seed

    def entropy(self) -> int:
        """The seed, taken from entropy now if none was given."""
        if self.seed is None:
            self.seed = int.from_bytes(os.urandom(16))
        return self.seed

    def digest(self, lane: str) -> bytes:
        """As for every place, from the seed and the activation numbers above that are not 0."""
        seed = self.entropy()
        numbers, depth, place = [], 0, self.above
        while place is not None:
            if place.number:
                numbers.append(b"%d^%d" % (place.number, depth))
            depth += 1
            place = place.above
        text = b"seed %d" % seed + b"".join(b" " + number for number in numbers)
        return hashed(text + b"/" + lane.encode(), 32).digest()
