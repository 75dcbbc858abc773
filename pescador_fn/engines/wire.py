"""How items cross: many to a message, as they were when they were yielded.

An item is copied into a *row* as soon as it is yielded, since its owner may change it afterwards. Rows wait, and a
message takes all that wait:

    item ── Encoder.row ──▶ row ──┐                           ┌──▶ items, writable and independent
    item ── Encoder.row ──▶ row ──┼─ pack ──▶ head, body ── unpack
    error ── raised ──▶ row ──────┘                           └──▶ errors, in their places
                │
                └ arrays of 4 KB and more ──▶ slabs (the head says where)

There are three kinds of row. A dict, a tuple or a single value whose parts are small arrays and plain values goes by
*columns*: rows of one schema (names, types, shapes, all checked on every row) are joined, and their pickling is done
once for hundreds. Anything else is pickled by itself, its buffers out of band. An error is pickled with its traceback.
Nothing here knows of sockets or processes.
"""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import itemgetter
from types import NoneType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pescador_fn.engines.slabs import Ref
from pescador_fn.errors import RemoteTraceback, WorkerError, show

__all__ = ["Encoder", "Outcome", "Raised", "Row", "pack", "raised", "refs_in", "row_bytes", "unpack"]

SMALL = 4096  # bytes; from here on an array goes through a slab, below it a slab would be mostly empty
LONGEST = 1024  # of a string that goes by column, so that a row's size is known well enough

_PLAIN: set[type] = {NoneType, bool, int, float, complex, str, bytes, *np.sctypeDict.values()} - {np.void, np.object_}
_SIZED: set[type] = {str, bytes, np.str_, np.bytes_}
_ITEM, _ERROR = "item", "error"

Row: TypeAlias = list[Any]  # what kind, the bytes, the parts


class Raised:
    """An error in the place of an item, in a box that is emptied by raising it, so that no cycle is left."""

    __slots__ = ("box",)

    def __init__(self, error: BaseException) -> None:
        self.box: list[BaseException] = [error]


Outcome: TypeAlias = list[Any] | Raised  # items in a row, or one error


class Shelf(Protocol):
    """Where large arrays go: a `Writer`'s side of shared memory."""

    def place(self, n_bytes: int) -> tuple[Ref, Any]: ...
    def free(self, ref: Ref) -> None: ...


class Lender(Protocol):
    """Where large arrays are: a `Reader`'s side of shared memory."""

    def lend(self, ref: Ref) -> NDArray[np.uint8]: ...


# By columns.


class Schema:
    """What rows have in common: the container, and for each part a dtype and a shape, or ``None`` for a plain value."""

    __slots__ = ("keys", "kind", "n_bytes", "row", "specs")

    def __init__(self, kind: type | None, keys: list[Any], specs: list[Any]) -> None:
        self.kind = kind
        self.keys = keys
        self.specs = specs
        arrays = [spec for spec in specs if spec is not None]
        self.n_bytes: int = 32 * len(specs) + sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape, _ in arrays)
        self.row: Callable[[Any], Row | None] = self._checked()

    @classmethod
    def of(cls, item: Any) -> Schema | None:
        """The schema of an item, if its parts allow one."""
        kind = type(item)
        if kind is dict:
            keys, values = list(item), list(item.values())
            if not all(type(key) is str for key in keys):
                return None
        elif kind is tuple:
            keys, values = [len(item)], list(item)
        else:
            kind, keys, values = None, [], [item]
        specs: list[Any] = []
        for value in values:
            if type(value) is np.ndarray:
                if value.dtype.hasobject or not 0 < value.nbytes < SMALL:
                    return None
                specs.append((value.dtype, value.shape, value.ndim < 2))
            elif type(value) in _PLAIN:
                specs.append(None)
            else:
                return None
        return cls(kind, keys, specs)

    def _checked(self) -> Callable[[Any], Row | None]:
        """The function from an item to its row, or to ``None`` where the item does not fit.

        It is written out for this schema, as `dataclasses` does: a loop over the parts takes twice as long, and here
        most of a worker's time is spent.
        """
        names = [f"v{k}" for k in range(len(self.specs))]
        known: dict[str, Any] = {"array": np.ndarray, "plain": _PLAIN, "sized": _SIZED, "keys": self.keys}
        lines = ["def row(item):"]

        def unless(condition: str) -> None:
            lines.append(f"    if not ({condition}): return None")

        if self.kind is None:
            lines.append("    v0 = item")
        elif self.kind is tuple:
            unless(f"type(item) is tuple and len(item) == {len(names)}")
        else:
            unless("type(item) is dict and list(item) == keys")
        if self.kind is not None and names:
            lines.append(f"    [{', '.join(names)}] = item{'.values()' if self.kind is dict else ''}")
        parts = []
        for k, (name, spec) in enumerate(zip(names, self.specs, strict=True)):
            if spec is None:
                unless(f"type({name}) in plain and (type({name}) not in sized or len({name}) <= {LONGEST})")
                parts.append(name)
            else:
                known[f"d{k}"], known[f"s{k}"], flat = spec
                unless(f"type({name}) is array and {name}.shape == s{k}")
                unless(f"{name}.dtype is d{k} or {name}.dtype == d{k}")
                if not flat:
                    unless(f"{name}.flags.c_contiguous")
                parts.append(f"{name}.tobytes()")
        lines.append(f"    return [schema, n_bytes, {', '.join(parts)}]")
        known["schema"], known["n_bytes"] = self, self.n_bytes
        exec("\n".join(lines), known)
        row: Callable[[Any], Row | None] = known["row"]
        return row

    def join(self, rows: list[Row]) -> list[bytes]:
        """Rows as one piece of bytes for each column."""
        columns = list(zip(*rows, strict=True))[2:]
        return [
            pickle.dumps(column, 5) if spec is None else b"".join(column)
            for column, spec in zip(columns, self.specs, strict=True)
        ]


def _split(kind: type | None, keys: list[Any], specs: list[Any], n: int, pieces: list[memoryview]) -> list[Any]:
    """Items from columns."""
    columns = [
        pickle.loads(piece) if spec is None else _rows(piece, spec[0], spec[1], n)
        for piece, spec in zip(pieces, specs, strict=True)
    ]
    if kind is None:
        return list(columns[0])
    if kind is tuple:
        return list(zip(*columns, strict=True)) if columns else [()] * n
    if len(keys) == 1:
        name = keys[0]
        return [{name: value} for value in columns[0]]
    if len(keys) == 2:
        one, two = keys
        return [{one: first, two: second} for first, second in zip(*columns, strict=True)]
    return (
        [dict(zip(keys, values, strict=True)) for values in zip(*columns, strict=True)]
        if keys
        else [{} for _ in range(n)]
    )


def _rows(piece: memoryview, dtype: Any, shape: tuple[int, ...], n: int) -> list[Any]:
    """The arrays of one column, in blocks of 4 KB: a row that is kept holds no more than that."""
    whole = np.frombuffer(piece, dtype, count=n * int(np.prod(shape))).reshape(n, *shape)
    step = max(1, SMALL * n // len(piece))
    found: list[Any] = []
    for at in range(0, n, step):
        block = whole[at : at + step].copy()
        found += list(block) if shape else [block[k, ...] for k in range(len(block))]
    return found


# By pickle.


class _Packed:
    """What a pickler of items does with arrays and classes; mixed into the plain one and into cloudpickle's."""

    encoder: Encoder

    def reduce(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is np.ndarray or kind is np.memmap:
            if obj.dtype.hasobject or not obj.nbytes:
                return NotImplemented if kind is np.ndarray else np.asarray(obj).__reduce_ex__(5)
            return self.encoder.array(obj)
        if issubclass(kind, type):
            from cloudpickle import cloudpickle

            known = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(obj)
            if known is not None:
                # The consumer's own class. Sent by value it would overwrite what that class holds by now.
                return _tracked, (known, obj.__qualname__)
        return NotImplemented


class _Quick(pickle.Pickler, _Packed):
    def reducer_override(self, obj: Any) -> Any:
        return self.reduce(obj)


def _tracked(known: str, name: str) -> type:
    from cloudpickle import cloudpickle

    found: type | None = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(known)
    if found is None:
        raise LookupError(f"the class {name} does not exist any more in the process that receives its instances")
    return found


def _array(buffer: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    """An array over a writable buffer."""
    return np.ndarray(shape, dtype, buffer, order=order)


class Encoder:
    """Makes rows of items; large arrays go to ``shelf`` at once."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.schema: Schema | None = None
        self.by_value = False  # whether an item has needed cloudpickle
        self.refs: list[Any] = []  # of the item in hand: a `Ref`, or the bytes of a small buffer
        self.placed = False

    def row(self, item: Any) -> Row:
        """The row of an item, which may change afterwards.

        Raises:
            Exception: whatever pickling raises.
        """
        if self.schema is not None:
            row = self.schema.row(item)
            if row is not None:
                return row
        schema = Schema.of(item)
        if schema is not None:
            row = schema.row(item)
            if row is not None:
                self.schema = schema
                return row
        return self.pickled(_ITEM, item)

    def pickled(self, kind: str, value: Any) -> Row:
        """A row of one pickle."""
        if not self.by_value:
            try:
                return self._pickled(kind, value, _Quick)
            except Exception as error:
                try:
                    row = self._pickled(kind, value, _slow_pickler())
                except Exception:
                    raise error from None
                self.by_value = True
                return row
        return self._pickled(kind, value, _slow_pickler())

    def _pickled(self, kind: str, value: Any, pickler_of: Callable[..., Any]) -> Row:
        file = io.BytesIO()
        pickler = pickler_of(file, 5, buffer_callback=self._buffer)
        pickler.encoder = self
        try:
            pickler.dump(value)
            self.refs.insert(0, self._put(np.frombuffer(file.getbuffer(), np.uint8)))
        except BaseException:
            for ref in self.refs:
                if isinstance(ref, Ref):
                    self.shelf.free(ref)
            self.refs = []
            raise
        refs, self.refs = self.refs, []
        return [kind, sum(map(_length, refs)) + 64, refs]

    def array(self, obj: NDArray[Any]) -> Any:
        """How an array is pickled: its bytes elsewhere, and writable on arrival whatever it was."""
        order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
        self.refs.append(self._put(obj, order))
        self.placed = True
        return _array, (pickle.PickleBuffer(bytearray(1)), obj.dtype, obj.shape, order)

    def _buffer(self, buffer: pickle.PickleBuffer) -> None:
        """Called by the pickler for each buffer; that of an array has been placed just before."""
        if self.placed:
            self.placed = False
        else:
            self.refs.append(self._put(np.frombuffer(buffer.raw(), np.uint8)))

    def _put(self, array: NDArray[Any], order: Any = "C") -> Ref | bytes:
        if array.nbytes < SMALL:
            return array.tobytes(order)
        ref, place = self.shelf.place(array.nbytes)
        np.copyto(np.ndarray(array.shape, array.dtype, place, ref.offset, order=order), array)
        return ref


_slow: Any = None


def _slow_pickler() -> Any:
    """Cloudpickle's pickler, for what is defined in ``__main__`` or inside functions."""
    global _slow  # noqa: PLW0603, made when it is first needed, since cloudpickle is slow to import
    if _slow is None:
        import cloudpickle

        class Slow(cloudpickle.Pickler, _Packed):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                found = self.reduce(obj)
                return super().reducer_override(obj) if found is NotImplemented else found

        _slow = Slow
    return _slow


def raised(encoder: Encoder, error: BaseException) -> Row:
    """The row of an error; one that does not pickle becomes a `WorkerError` with its text."""
    text = "".join(traceback.format_exception(error))
    error = error.with_traceback(None)
    try:
        inner = encoder.pickled(_ITEM, error)[2]
    except Exception:
        inner = None
    return [_ERROR, 256 + len(text), inner, text, show(error, 200)]


# Messages.


def row_bytes(row: Row) -> int:
    """About how many bytes a row takes."""
    size: int = row[1]
    return size


def _length(ref: Ref | bytes) -> int:
    return ref.n_bytes if isinstance(ref, Ref) else len(ref)


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
        if kind is _ITEM:
            runs.append((_ITEM, [lay(row[2]) for row in some]))
        elif kind is _ERROR:
            runs += [(_ERROR, row[2] and lay(row[2]), row[3], row[4]) for row in some]
        else:
            pieces = kind.join(some)
            body += pieces
            runs.append((kind.kind, kind.keys, kind.specs, len(some), list(map(len, pieces))))
    return runs, b"".join(body)


def refs_in(runs: list[Any]) -> list[Ref]:
    """Every slab that a message speaks of."""
    lists: list[Any] = []
    for run in runs:
        if isinstance(run[0], str):
            lists += run[1] if run[0] == _ITEM else [run[1] or []]
    return [Ref(*ref) for refs in lists for ref in refs if not isinstance(ref, int)]


def unpack(runs: list[Any], body: bytes, slabs: Lender) -> list[Outcome]:
    """What was packed, in order."""
    view, at = memoryview(body), 0
    found: list[Outcome] = []

    def take(length: int) -> memoryview:
        nonlocal at
        at += length
        return view[at - length : at]

    def fetch(refs: list[Any]) -> Any:
        # All are taken before anything is unpickled, so that an item that fails leaves the others in their places.
        buffers = [bytearray(take(ref)) if isinstance(ref, int) else slabs.lend(Ref(*ref)) for ref in refs]
        return pickle.loads(buffers[0], buffers=buffers[1:])

    def add(item: Any) -> None:
        if found and isinstance(found[-1], list):
            found[-1].append(item)
        else:
            found.append([item])

    for run in runs:
        if isinstance(run[0], str) and run[0] == _ITEM:
            for refs in run[1]:
                try:
                    add(fetch(refs))
                except Exception as error:
                    late = WorkerError(f"parallel: an item does not unpickle where it arrives: {error!r}")
                    late.__cause__ = error
                    found.append(Raised(late))
        elif isinstance(run[0], str):
            found.append(Raised(_error(run[1], run[2], run[3], fetch)))
        else:
            kind, keys, specs, n, lengths = run
            found.append(_split(kind, keys, specs, n, [take(length) for length in lengths]))
    return found


def _error(refs: list[Any] | None, text: str, shown: str, fetch: Callable[[list[Any]], Any]) -> BaseException:
    """An error as itself, or a `WorkerError` that tells of it; the remote traceback is the cause."""
    error: Any = None
    if refs:
        try:
            error = fetch(refs)
        except Exception:
            error = None
    if not isinstance(error, BaseException):
        error = WorkerError(
            f"parallel: {shown} was raised in the worker and does not pickle; its traceback is the cause"
        )
    error.__cause__ = RemoteTraceback(text)
    return error
