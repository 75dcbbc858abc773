"""Copies of arrays into shared memory. Large ones one core makes at half the speed of the memory: a second helps.

    stream's thread ──▶ piece, piece, … ◀── helper's thread

Both take the next piece from one iterator, so that a helper that comes late, because the processors or the
interpreter's lock are busy, leaves the work to the stream's own thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

    from numpy.typing import NDArray

__all__ = ["copy"]

PIECE = 2**20  # bytes, at least
PIECES = 8  # at most: where a thread of the user's spins, each may wait 5 ms for the interpreter's lock
LARGE = 2**22  # from here on two threads are faster; to wake the other takes as long as to copy a piece

_helper: ThreadPoolExecutor | None = None


def copy(place: Any, at: int, source: NDArray[Any], order: Any = "C") -> None:
    """Copy the items of an array, in an order, to where they shall lie in a map."""
    source = source if order == "C" else source.T  # whose C order it is
    whole, n_bytes = source.flags.c_contiguous, source.nbytes
    if whole and n_bytes < LARGE:
        place[at : at + n_bytes] = source  # around the bytes, this does a tenth of what numpy does
        return
    target = np.ndarray(source.shape, source.dtype, place, at)
    if not whole or _processors() < 2:
        np.copyto(target, source)
        return
    to, of = target.reshape(-1).view(np.uint8), source.reshape(-1).view(np.uint8)
    step = max(PIECE, -(-len(of) // PIECES))
    pieces = iter(range(0, len(of), step))
    lent = [to, of]  # taken back, since what holds an array keeps its owner from closing or resizing it
    helping: Future[None] | None
    try:
        helping = _helping().submit(_help, lent, pieces, step)
    except RuntimeError:  # no thread can be started
        helping = None
    try:
        _copy_pieces(to, of, pieces, step)
        if helping is not None and not helping.cancel():
            helping.result()
    finally:
        lent.clear()


def _help(lent: list[NDArray[np.uint8]], pieces: Iterator[int], step: int) -> None:
    to, of = lent  # this frame is gone before the future is done
    _copy_pieces(to, of, pieces, step)


def _copy_pieces(to: NDArray[np.uint8], of: NDArray[np.uint8], pieces: Iterator[int], step: int) -> None:
    for at in pieces:
        np.copyto(to[at : at + step], of[at : at + step])


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _helping() -> ThreadPoolExecutor:
    global _helper  # imported and started when it is first needed
    if _helper is None:
        from concurrent.futures import ThreadPoolExecutor

        _helper = ThreadPoolExecutor(1, "pescador_fn copy")
    return _helper
