"""Notes of where the stream that is run elsewhere stood, for states and for a worker that follows one that died.

    runs the stream                          delivers its items
    ┌───────────────────────────┐            ┌──────────────────────────────────────┐
    │ item item ● item item ● … ┼── notes ──▶│ keeps the newest that is not younger │
    └───────────────────────────┘            │ than what was delivered, and younger │
                                             └──────────────────────────────────────┘

A note is the number of calls before it, and a snapshot; the first is the start, or what was resumed. A state is a note
and the calls since, which are made again. Exceptions are calls.
"""

from __future__ import annotations

import math
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from pescador_fn.below import begin, origin
from pescador_fn.state import Loader, Saver
from pescador_fn.tape import SHARE

if TYPE_CHECKING:
    from pescador_fn.running import Running

__all__ = ["ABOUT", "Note", "Pace", "check", "keep", "newest", "noted", "stand"]

Note: TypeAlias = tuple[int, Any]

# What states know of the stages: how and how far ahead the items are made may be another where they are resumed.
ABOUT: dict[str, dict[str, Any]] = {name: {"": name} for name in ("parallel", "prefetch")}


class Pace:
    """Takes snapshots, so far apart that they cost little."""

    __slots__ = ("due", "last")

    def __init__(self, number: int) -> None:
        self.last: int = number
        self.due: float = 0.0

    def note(self, number: int, running: Running[Any]) -> Note | None:
        """A note after ``number`` calls, if it is time for one; for the thread that pulls, between two items."""
        start = perf_counter()
        if number <= self.last or start < self.due:
            return None
        self.last = number
        saver = Saver()
        try:
            at = saver.running(running)
        except Exception:  # a user's own `state_dict`; the stream goes on, and is replayed from the last note
            self.due = math.inf
            return None
        end = perf_counter()
        self.due = end + SHARE * (end - start)
        return number, {"stages": saver.stages, "at": at}


def newest(notes: list[Note], number: int) -> Note:
    """The newest note that is not younger than ``number`` calls."""
    return next(note for note in reversed(notes) if note[0] <= number)


def noted(notes: list[Note], number: int, factory: Any, place: Any) -> Note:
    """`newest` for a state: at the start too it tells which pipeline it is of."""
    found, snapshot = newest(notes, number)
    return found, origin(factory, place) if snapshot is None else snapshot


def keep(notes: list[Note], number: int) -> list[Note]:
    """The notes without those that are older than the newest for ``number`` calls."""
    oldest = newest(notes, number)[0]
    return [note for note in notes if note[0] >= oldest]


def stand(running: Running[Any], snapshot: Any, loader: Loader | None = None) -> Running[Any]:
    """Let a stream that has opened nothing stand where a snapshot was taken; what is to run in its place."""
    if snapshot is None:
        return running
    inner = Loader(snapshot["stages"]) if loader is None else loader.inner(snapshot["stages"])
    found: Running[Any] = inner.running(running, snapshot["at"])
    return found


def check(factory: Any, place: Any, snapshot: Any, loader: Loader) -> None:
    """Find here and now whether a snapshot fits, rather than where the stream will run."""
    stand(begin(factory, place), snapshot, loader)
