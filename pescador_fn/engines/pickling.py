"""How a factory is sent: by cloudpickle, with what it refers to, once; and which classes came with one.

Cloudpickle numbers the classes that it sends by value, and knows them again by their numbers for as long as they live.
"""

from __future__ import annotations

import copyreg
import io
import mmap
import os
import pickle
import sys
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from pescador_fn.legible import named
from pescador_fn.shape import Lifted
from pescador_fn.sources import SourceFunction

__all__ = ["came", "dump", "load", "numbered", "with_slots"]

came: set[str] = set()  # the numbers of the classes that came with a factory

_pickler: Any = None


def numbered() -> Any:
    """The numbers of the classes that have one."""
    module = sys.modules.get("cloudpickle.cloudpickle")  # imported by then: it gives the numbers
    return {} if module is None else module._DYNAMIC_CLASS_TRACKER_BY_CLASS


def load(pickled: bytes) -> Any:
    """What `dump` has pickled, where it arrives."""
    before = set(numbered().values())
    found = pickle.loads(pickled)
    came.update(set(numbered().values()) - before)
    return found


def dump(factory: Any, place: Any) -> bytes:
    """A factory and its place, pickled.

    Raises:
        TypeError: if something that the factory refers to does not pickle.
    """
    file = io.BytesIO()
    _send_main_by_value()
    try:
        _factory_pickler()(file, 5).dump((factory, place))
    except Exception as error:
        raise TypeError(
            f"parallel: the factory {named(factory)} cannot be sent to a worker: {error}; let it open what it needs "
            'when it is called, or use engine="thread"'
        ) from error
    return file.getvalue()


def _send_main_by_value() -> None:
    """Where multiprocessing has started this process, its main module is one that no other can import."""
    import cloudpickle

    name = "__mp_main__"
    if name in sys.modules and name not in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.register_pickle_by_value(sys.modules[name])


def _is_whole(array: Any) -> bool:
    """Whether a memory map is of a file as it is, so that it can be mapped there too and no byte is copied."""
    if type(array.base) is not mmap.mmap or array.mode not in ("r", "r+") or array.filename is None:
        return False
    try:
        size: int = array.offset + array.nbytes
        return os.path.getsize(array.filename) >= size
    except OSError:
        return False


def with_slots(kind: Any, reduced: Any) -> Any:
    """What cloudpickle makes of a class, but with its ``__slots__`` from the start.

    It sets them when the class is there, where they are none, and what its instances hold then does not fit the class
    that they came from.
    """
    slots = vars(kind).get("__slots__") if isinstance(kind, type) else None
    if not isinstance(slots, Collection) or not isinstance(reduced, tuple):
        return reduced
    make, args, *rest = reduced
    if getattr(make, "__name__", "") != "_make_skeleton_class" or not isinstance(args[3], dict):
        return reduced
    if NamedTuple in vars(kind).get("__orig_bases__", ()):  # makes its own, and takes none
        return reduced
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return make, (*args[:3], {**args[3], "__slots__": names}, *args[4:]), *rest


def _factory_pickler() -> Any:
    global _pickler  # made when it is first needed, since cloudpickle is slow to import
    if _pickler is None:
        import cloudpickle

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                # A source that has no import path, as part of this pickle and not one of its own: functions then share
                # their globals, which travel once, and may refer to the source by its own name.
                if type(obj) is SourceFunction and not obj.has_import_path:
                    return copyreg.__newobj__, (SourceFunction,), vars(obj)  # type: ignore[attr-defined]
                if type(obj) is Lifted and not obj.has_import_path:
                    return obj.with_function()
                if type(obj) is np.memmap and _is_whole(obj):
                    order = "C" if obj.flags.c_contiguous else "F"
                    return np.memmap, (obj.filename, obj.dtype, obj.mode, obj.offset, obj.shape, order)
                return with_slots(obj, super().reducer_override(obj))

        _pickler = Pickler
    return _pickler
