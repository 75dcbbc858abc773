"""Hashes; what makes them is imported when first needed, since it takes a sixth of the time that all of this does."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import blake2b

__all__ = ["hashed"]


@cache
def _maker() -> Callable[..., blake2b]:
    from hashlib import blake2b

    return blake2b


def hashed(data: bytes | memoryview, size: int) -> blake2b:
    """The hash of some bytes, ``size`` bytes long, to which more can be added."""
    return _maker()(data, digest_size=size)
