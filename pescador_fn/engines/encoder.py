"""Rows: items copied as they are when they are yielded, by column or by pickle."""

from __future__ import annotations

import io
import pickle
import traceback
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pescador_fn.engines.columns import SMALL, Row, Schema, Signature, array_over, signature
from pescador_fn.engines.copying import copy
from pescador_fn.engines.pickling import came, numbered, with_slots
from pescador_fn.engines.slabs import Ref
from pescador_fn.errors import show

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["ERROR", "ITEM", "Encoder", "length", "raised"]

ITEM, ERROR = "item", "error"  # kinds of rows; that of the others is their schema
MET, MOST_MET = 4, 1024  # times that a signature is met before it gets a schema, at first and where few come again
KNOWN = 64  # signatures that are remembered


class Shelf(Protocol):
    """Where large arrays go: a `Writer`'s side of shared memory."""

    def place(self, n_bytes: int) -> tuple[Ref, Any]: ...
    def free(self, ref: Ref) -> None: ...


class _Packed:
    """What a pickler of items does with arrays and classes; mixed into the plain one and into cloudpickle's."""

    encoder: Encoder

    def reduce(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is np.ndarray or kind is np.memmap:
            if obj.dtype.hasobject:
                return NotImplemented
            if not obj.nbytes:
                return np.empty, (obj.shape, obj.dtype)
            return self.encoder.array(obj)
        if issubclass(kind, type):
            number = numbered().get(obj)
            if number in came:
                return _theirs(number, obj)
            if number is not None:
                return _met, (number, self.encoder.made_here(number, obj))
        return NotImplemented


class _Quick(pickle.Pickler, _Packed):
    def reducer_override(self, obj: Any) -> Any:
        return self.reduce(obj)


def _theirs(number: str, kind: type) -> Any:
    """How the consumer's own class is pickled: sent by value it would overwrite what that class holds by now."""
    return _tracked, (number, kind.__qualname__)


def _found(number: str) -> type | None:
    from cloudpickle import cloudpickle

    found: type | None = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    return found


def _tracked(number: str, name: str) -> type:
    found = _found(number)
    if found is None:
        raise LookupError(f"the class {name} does not exist any more in the process that receives its instances")
    return found


def _met(number: str, pickled: bytes) -> type:
    """A class that was made where its instances come from, made here again unless it is still there."""
    found: type = _found(number) or pickle.loads(pickled)
    return found


def _nothing(item: Any) -> None:
    del item


class Encoder:
    """Makes rows of items; large arrays go to ``shelf`` at once."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf: Shelf = shelf
        self.quick: Callable[[Any], Row | None] = _nothing  # the row of an item of the schema before
        self.known: dict[Signature, int | Schema] = {}  # schemas, and how often signatures that have none were met
        self.met: int = MET  # times that a signature is met before it gets a schema
        self.by_value: bool = False  # whether an item has needed cloudpickle
        self.refs: list[Any] = []  # of the item in hand: a `Ref`, or the bytes of a small buffer
        self.placed: bool = False
        self.classes: dict[str, bytes] = {}  # that were made here and have been sent, pickled

    def row(self, item: Any) -> Row:
        """The row of an item, which may change afterwards.

        Raises:
            Exception: whatever pickling raises.
        """
        row = self.quick(item)
        if row is not None:
            return row
        schema = self._schema(item)
        if schema is not None:
            row = schema.row(item)
            if row is not None:
                self.quick = schema.row
                return row
        return self.pickled(ITEM, item)

    def _schema(self, item: Any) -> Schema | None:
        """The schema of an item, made when there is use for it: it takes as long as to pickle ten items."""
        found = signature(item)
        if found is None:
            return None
        known = self.known.get(found, 0)
        if not isinstance(known, int):
            return known
        if len(self.known) >= KNOWN and found not in self.known:  # arrays of ever other shapes
            self.known.clear()
            self.met = min(2 * self.met, MOST_MET)
        self.known[found] = known = known + 1 if known + 1 < self.met else Schema(found, self._put, self._put_all)
        return None if isinstance(known, int) else known

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
            self._free(self.refs)
            self.refs = []
            raise
        refs, self.refs = self.refs, []
        inline = 64 + sum(len(ref) for ref in refs if not isinstance(ref, Ref))
        return [kind, sum(map(length, refs)) + 64, refs, inline]

    def made_here(self, number: str, kind: type) -> bytes:
        """A class that the consumer may have let go of, or never got: all of it, pickled once."""
        pickled = self.classes.get(number)
        if pickled is None:
            file = io.BytesIO()
            _whole_pickler()(file, 5).dump(kind)
            pickled = self.classes[number] = file.getvalue()
        return pickled

    def array(self, obj: NDArray[Any]) -> Any:
        """How an array is pickled: its bytes elsewhere, and writable on arrival whatever it was."""
        order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
        self.refs.append(self._put(obj, order))
        self.placed = True
        return array_over, (pickle.PickleBuffer(bytearray(1)), obj.dtype, obj.shape, order)

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
        try:
            copy(place, ref.offset, array, order)
        except Exception:
            self.shelf.free(ref)
            raise
        return ref

    def _put_all(self, arrays: list[NDArray[Any]]) -> list[Ref | bytes]:
        """Place large arrays, or none of them."""
        refs: list[Ref | bytes] = []
        try:
            refs.extend(map(self._put, arrays))  # keeps what was placed before an error
        except BaseException:
            self._free(refs)
            raise
        return refs

    def _free(self, refs: list[Ref | bytes]) -> None:
        for ref in refs:
            if isinstance(ref, Ref):
                self.shelf.free(ref)


_slow: Any = None


def _slow_pickler() -> Any:
    """Cloudpickle's pickler, for what is defined in ``__main__`` or inside functions."""
    global _slow  # made when it is first needed, since cloudpickle is slow to import
    if _slow is None:
        import cloudpickle

        class Slow(cloudpickle.Pickler, _Packed):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                found = self.reduce(obj)
                return with_slots(obj, super().reducer_override(obj)) if found is NotImplemented else found

        _slow = Slow
    return _slow


_whole: Any = None


def _whole_pickler() -> Any:
    """Cloudpickle's pickler, for a class by itself."""
    global _whole  # as above
    if _whole is None:
        import cloudpickle

        class Whole(cloudpickle.Pickler):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                number = numbered().get(obj) if isinstance(obj, type) else None
                return _theirs(number, obj) if number in came else with_slots(obj, super().reducer_override(obj))

        _whole = Whole
    return _whole


def raised(encoder: Encoder, error: BaseException) -> Row:
    """The row of an error; one that does not pickle becomes a `WorkerError` with its text."""
    text = "".join(traceback.format_exception(error))
    error = error.with_traceback(None)
    try:
        inner = encoder.pickled(ITEM, error)[2]
    except BaseException:  # whatever the error's own methods raise
        inner = None
    return [ERROR, 256 + len(text), inner, text, show(error, 200)]


def length(ref: Ref | bytes) -> int:
    """The bytes of a buffer."""
    return ref.n_bytes if isinstance(ref, Ref) else len(ref)
