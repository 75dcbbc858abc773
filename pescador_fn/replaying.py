"""Replaying: the calls that a stream has had are made again, and may be held against a checksum."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from pescador_fn.errors import ReplayMismatch, ended_early
from pescador_fn.hashing import hashed

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["catch_up", "checksum", "replay"]


def replay(
    items: Iterator[Any], n: int, where: str, *, verify: bool = False, ended: bool = False
) -> tuple[int, str | None]:
    """Make the calls that a stream has had before; exceptions among them are passed over.

    Args:
        items: the stream, opened again.
        n: how many calls.
        where: what it is, for an error.
        verify: whether to make a checksum of the items.
        ended: whether the last call may have found the end.

    Returns:
        How many of them did not find the end, and the checksum of the items where ``verify``, else ``None``.

    Raises:
        ReplayMismatch: if the stream ends before.
    """
    calls: Any = repeat(items, n)
    pulls = map(next, calls)
    made, raised, sums = 0, 0, hashed(b"", 4)
    while calls.__length_hint__():
        try:
            if verify:
                for item in pulls:
                    made += 1
                    sums.update(checksum(item))
            else:
                last = deque(enumerate(pulls), maxlen=1)
                made += last[0][0] + 1 if last else 0
            break
        except Exception:
            made = n - calls.__length_hint__()
            raised += 1
    if made < n - ended:
        raise ended_early(where, f"after {made - raised} of the {n} items that had been drawn from it")
    return made, sums.hexdigest() if verify else None


def catch_up(items: Iterator[Any], n: int, known: str | None, where: str, *, ended: bool = False) -> bool:
    """`replay`, and hold the items against a checksum where one is known. Whether the calls had found the end."""
    made, found = replay(items, n, where, verify=known is not None, ended=ended)
    if found != known:
        raise ReplayMismatch(
            f"{where}: the {n} items replayed are not those that had been drawn (checksum {found}, then {known}); "
            "a factory must give the same items whenever it is called"
        )
    return made < n


def checksum(item: Any) -> bytes:
    """A short digest of an item: of arrays their dtype, shape and bytes, of containers their parts."""
    sums = hashed(b"", 8)
    _digest(item, sums)
    return sums.digest()


def _digest(item: Any, sums: Any) -> None:
    if isinstance(item, np.ndarray) and item.dtype != object:
        sums.update(f"array {item.dtype.str} {item.shape}".encode())
        sums.update(np.ascontiguousarray(item).view(np.uint8).data if item.size else b"")
    elif isinstance(item, Mapping):
        sums.update(b"mapping %d" % len(item))
        for key, value in item.items():
            _digest(key, sums)
            _digest(value, sums)
    elif isinstance(item, list | tuple):
        sums.update(b"row %d" % len(item))
        for value in item:
            _digest(value, sums)
    elif item is None or isinstance(item, str | bytes | int | float | complex | np.generic):
        sums.update(f"{type(item).__name__} {item!r}".encode())
    else:
        try:
            sums.update(pickle.dumps(item, 4))
        except Exception:  # then of its kind only
            sums.update(type(item).__qualname__.encode())
