"""Which modules a worker has imported, as they were on disk: one that changes makes the worker stale."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

__all__ = ["Stamp", "Stamps", "differ"]

Stamp = tuple[int, int]  # the time of the last change in nanoseconds, and the size in bytes

_INSTALLED = tuple(os.path.join(prefix, "") for prefix in (sys.prefix, sys.base_prefix))
_STEP_NS = 2_000_000_000  # by which a file's time can be behind the clock: 4 ms on ext4, up to two seconds elsewhere
_UNKNOWN = (-1, -1)  # the stamp of no file


class Stamps:
    """The user's modules that are loaded in this process."""

    def __init__(self) -> None:
        self.found: dict[str, Stamp] = {}
        self.looked: int = time.time_ns()  # what is not found yet was imported after this

    def begin(self) -> None:
        """Before something is imported."""
        self.looked = time.time_ns()

    def look(self) -> dict[str, Stamp]:
        """All of them, with those that have been imported since the last time."""
        now = time.time_ns()
        for module in list(sys.modules.values()):
            path = _file(module)
            if path and path not in self.found and not path.startswith(_INSTALLED):
                try:
                    file = os.stat(path)
                except OSError:
                    continue
                # One that may have changed since the last look may have been imported before that.
                changed = max(file.st_mtime_ns, file.st_ctime_ns) > self.looked - _STEP_NS
                self.found[path] = _UNKNOWN if changed else (file.st_mtime_ns, file.st_size)
        self.looked = now
        return self.found


def _file(module: Any) -> str | None:
    """Where a module is from, if it says so; nothing of its own is run, since one that is lazy would be imported."""
    try:
        path = object.__getattribute__(module, "__dict__").get("__file__")
    except AttributeError:  # anything may stand among the modules
        return None
    return path if isinstance(path, str) else None


def differ(stamps: dict[str, Stamp]) -> bool:
    """Whether one of the files is not what it was."""
    for path, stamp in stamps.items():
        try:
            file = os.stat(path)
        except OSError:
            return True
        if stamp != (file.st_mtime_ns, file.st_size):
            return True
    return False
