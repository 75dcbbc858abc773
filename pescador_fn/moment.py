"""Whether a stream is in the middle of an item, as far as the stacks of the threads tell.

A state is taken between two items. In the middle of one, some thread is in a user's generator or function below the
stream, or in this library's own code for it: the rest is C, in which threads do not change.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import threading
from types import GeneratorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["BACKGROUND", "is_busy"]

BACKGROUND: set[int] = set()  # threads that make items ahead: what they are in the middle of is none of the consumer's

_FUNCTIONS = ("fn", "predicate", "weights")  # the options of stages that are called for items


def is_busy(running: Any) -> bool:
    """Whether a thread is within a pull of ``running``; to be called by the method that its user calls."""
    stages = [running]
    for stage in stages:
        slots = getattr(stage, "slots", None)
        if slots is None or slots.stateful:  # else none of the streams of a mux is a stage: there may be thousands
            # A generator, the common case of what is held, is told by its type, in the least time.
            stages += [held for held in stage.held() if type(held) is not GeneratorType and hasattr(held, "held")]
    known = {id(one) for stage in stages for one in (stage, getattr(stage, "slots", None)) if one is not None}
    codes = {code for stage in stages for code in _codes(stage)}
    for frame in _frames():
        if frame.f_code in codes:
            return True
        if frame.f_code.co_flags & inspect.CO_GENERATOR and any(_runs(stage, frame) for stage in stages):
            return True
        if frame.f_globals.get("__name__", "").startswith("pescador_fn.") and id(frame.f_locals.get("self")) in known:
            return True
    return False


def _runs(stage: Any, frame: FrameType) -> bool:
    """Whether a stage holds the generator that a frame is of."""
    return any(type(held) is GeneratorType and held.gi_frame is frame for held in stage.held())


def _frames() -> Iterator[FrameType]:
    """The frames of all threads; of this one, those above the method that asks."""
    tops = {thread: top for thread, top in _tops().items() if thread not in BACKGROUND}
    tops[threading.get_ident()] = sys._getframe(3)
    for top in tops.values():
        frame: FrameType | None = top
        while frame is not None:
            yield frame
            frame = frame.f_back


def _tops() -> dict[int, FrameType]:
    """The innermost frame of every thread.

    The interpreter holds a lock meanwhile, which a thread that ends waits for with the GIL in hand: what the collector
    finalizes just then must not let go of the GIL, as closing a stream does, or both wait for ever.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if enabled:
            gc.enable()


def _codes(stage: Any) -> Iterator[Any]:
    """The code of the functions that a stage calls."""
    options = getattr(getattr(stage, "node", None), "options", {})
    rows = getattr(type(getattr(stage, "data", None)), "__getitem__", None)
    for fn in [*map(options.get, _FUNCTIONS), rows]:
        while isinstance(fn, functools.partial):
            fn = fn.func
        called = fn if hasattr(fn, "__code__") else vars(type(fn)).get("__call__")
        code = getattr(called, "__code__", None)
        if code is not None:
            yield code
