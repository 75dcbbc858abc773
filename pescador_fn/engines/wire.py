"""How items cross: many to a message, as they were when they were yielded.

An item is copied into a *row* as soon as it is yielded, since its owner may change it afterwards. Rows wait, and a
message takes all that wait:

    item ── Encoder.row ──▶ row ──┐                           ┌──▶ items, writable and independent
    item ── Encoder.row ──▶ row ──┼─ pack ──▶ head, body ── unpack
    error ── raised ──▶ row ──────┘                           └──▶ errors, in their places
                │
                └ arrays of 4 KB and more ──▶ slabs (the head says where)

There are three kinds of row. A dict, a tuple or a single value whose parts are plain values and arrays, but for those
of records, goes by *columns*: rows of one schema (names, types, shapes, all checked on every row) are joined, and their
pickling is done once for hundreds. Anything else is pickled by itself, its buffers out of band, and so is what has a
shape that others seldom have. An error is pickled with its traceback.
Nothing here knows of sockets or processes.
"""

from __future__ import annotations

import pickle
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pescador_fn.engines.columns import Row, split
from pescador_fn.engines.encoder import ERROR, ITEM
from pescador_fn.engines.slabs import Ref
from pescador_fn.errors import RemoteTraceback, WorkerError, show

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Outcome", "Raised", "pack", "refs_in", "row_bytes", "unpack"]


COLUMNS = "columns"  # the kind of a run of rows of one schema

row_bytes: Callable[[Row], int] = itemgetter(1)  # about how many a row takes


class Raised:
    """An error in the place of an item, in a box that is emptied by raising it, so that no cycle is left."""

    __slots__ = ("box",)

    def __init__(self, error: BaseException) -> None:
        self.box: list[BaseException] = [error]


Outcome: TypeAlias = list[Any] | Raised  # items in a row, or one error


class Lender(Protocol):
    """Where large arrays are: a `Reader`'s side of shared memory."""

    def lend(self, ref: Ref) -> NDArray[np.uint8]: ...


def pack(rows: list[Row]) -> tuple[list[Any], bytes]:
    """Rows as a picklable head and a body of bytes."""
    runs: list[Any] = []
    body: list[bytes] = []

    def lay(refs: list[Any]) -> list[Any]:
        inline = [ref for ref in refs if not isinstance(ref, Ref)]
        body.extend(inline)
        return [tuple(ref) if isinstance(ref, Ref) else len(ref) for ref in refs]

    for kind, group in groupby(rows, itemgetter(0)):
        some = list(group)
        if kind is ITEM:
            runs.append((ITEM, [lay(row[2]) for row in some]))
        elif kind is ERROR:
            runs += [(ERROR, row[2] and lay(row[2]), row[3], row[4]) for row in some]
        else:
            pieces, placed = kind.join(some)
            body += pieces
            runs.append((COLUMNS, kind.pickled, len(some), list(map(len, pieces)), placed))
    return runs, b"".join(body)


def refs_in(runs: list[Any]) -> list[Ref]:
    """Every slab that a message speaks of."""
    lists: list[Any] = []
    for run in runs:
        if run[0] == ITEM:
            lists += run[1]
        else:
            lists += [run[1] or []] if run[0] == ERROR else run[4]
    return [Ref(*ref) for refs in lists for ref in refs if not isinstance(ref, int)]


def unpack(runs: list[Any], body: bytes, slabs: Lender) -> list[Outcome]:
    """What was packed, in order."""
    view, at = memoryview(body), 0
    found: list[Outcome] = []

    def take(length: int) -> memoryview:
        nonlocal at
        at += length
        return view[at - length : at]

    def fetch(refs: list[Any]) -> list[Any]:
        # All are taken before anything is unpickled, so that an item that fails leaves the others in their places.
        return [bytearray(take(ref)) if isinstance(ref, int) else slabs.lend(Ref(*ref)) for ref in refs]

    def add(item: Any) -> None:
        if found and isinstance(found[-1], list):
            found[-1].append(item)
        else:
            found.append([item])

    for run in runs:
        if run[0] == ITEM:
            for refs in run[1]:
                buffers = fetch(refs)  # what this raises is no fault of the item's
                try:
                    add(pickle.loads(buffers[0], buffers=buffers[1:]))
                except Exception as error:
                    late = WorkerError(f"parallel: an item does not unpickle where it arrives: {show(error, 200)}")
                    late.__cause__ = error
                    found.append(Raised(late))
        elif run[0] == ERROR:
            found.append(Raised(_error(fetch(run[1] or []), run[2], run[3])))
        else:
            _, schema, n, lengths, placed = run
            large = ([slabs.lend(Ref(*ref)) for ref in refs] for refs in placed)
            found.append(split(schema, n, map(take, lengths), large))
    return found


_set_cause = BaseException.__dict__["__cause__"].__set__  # whatever the error's own class makes of attributes


def _error(buffers: list[Any], text: str, shown: str) -> BaseException:
    """An error as itself, or a `WorkerError` that tells of it; the remote traceback is the cause."""
    error: Any = None
    if buffers:
        try:
            error = pickle.loads(buffers[0], buffers=buffers[1:])
        except Exception:
            error = None
    if not isinstance(error, BaseException):
        error = WorkerError(
            f"parallel: {shown} was raised in the worker and does not pickle; its traceback is the cause"
        )
    found: BaseException = error
    _set_cause(found, RemoteTraceback(text))
    return found
