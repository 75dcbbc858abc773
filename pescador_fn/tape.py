"""The tape of a buffer: where the stream below it stood from time to time.

Items in a buffer cannot be saved. They are pulled again, from a snapshot that is older than all of them:

    ──┬────────────┬────────────┬──────── draws ──▶ now
      ▲            ▲            ▲
    snapshots      the newest that is older than everything in the buffer is what a state holds
"""

from __future__ import annotations

from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pescador_fn.below import origin
from pescador_fn.errors import Unsettled
from pescador_fn.state import Saver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.state import Loader

__all__ = ["Ages", "Tape"]

SHARE = 50  # a snapshot is not taken before this many times the time that the last one took has passed


class Tape:
    """Snapshots of the stream below, each with the number at which it was taken; the first is its start."""

    __slots__ = ("due", "last", "origin", "snapshots", "took")

    def __init__(self) -> None:
        self.snapshots: list[tuple[int, Any]] = [(0, None)]
        self.origin: Any = None  # the first, when something asks
        self.last: int = 0
        self.due: float = 0.0
        self.took: float = inf  # the last snapshot, in seconds

    def is_due(self, number: int, least: int = 1) -> bool:
        """Whether ``least`` numbers and some time have passed since the last snapshot."""
        return number - self.last >= least and perf_counter() >= self.due

    def begin(self, below: Any) -> Iterator[Any]:
        """Open the stream below; one that does not open has ended, and a state is to know."""
        try:
            return iter(below)
        except Exception:
            self.note(self.last, below)
            raise

    def note(self, number: int, below: Any, beside: Any = None) -> None:
        """Take a snapshot, if one can be; ``beside`` is what the buffer wants to know of itself at the time."""
        start = perf_counter()
        saver = Saver()
        try:
            at = saver.running(below)
        except Unsettled:  # an older snapshot does as well
            return
        except Exception:  # a user's own `state_dict`
            self.due = inf
            return
        self.snapshots.append((number, {"stages": saver.stages, "at": at, "beside": beside}))
        end = perf_counter()
        took = end - start
        # By the lesser of the last two times, so that a hiccup does not put the next snapshot off.
        self.last, self.due, self.took = number, end + SHARE * min(took, self.took), took

    def prune(self, oldest: int) -> None:
        """Forget what is older than the newest snapshot that is not younger than ``oldest``."""
        older = [index for index, (number, _) in enumerate(self.snapshots) if number <= oldest]
        del self.snapshots[: older[-1] if older else 0]

    def newest(self, oldest: int, stage: Any) -> list[Any]:
        """The newest snapshot of what is below a stage that is not younger than ``oldest``, with its number.

        Where all are, which is so if exceptions hide what has gone since one was loaded, everything is younger than the
        first.
        """
        number, state = next((found for found in reversed(self.snapshots) if found[0] <= oldest), self.snapshots[0])
        if state is None:
            if self.origin is None:
                self.origin = {**origin(stage.node.of, stage.place), "beside": None}
            state = self.origin
        return [number, state]

    def load(self, found: list[Any], stage: Any, loader: Loader) -> Any:
        """Let the stream below a stage stand where a snapshot was taken; what was noted beside it."""
        number, state = found
        self.snapshots, self.last = [(number, state)], number
        stage.upstream = loader.inner(state["stages"]).running(stage.upstream, state["at"])
        return state["beside"]


class Ages:
    """Since which draw each slot of a buffer holds its item; -1 where that was before all draws."""

    __slots__ = ("block", "first", "missed", "since")

    def __init__(self) -> None:
        self.since: Any = np.empty(0, np.int64)
        self.block: Any = np.empty(0, np.int64)  # the slots that the draws of the block fill; negative for none
        self.first: int = 0  # the number of its first draw
        self.missed: set[int] = set()  # slots that an exception left as they were

    def done(self) -> Any:
        """The same after the block."""
        return self._fill(self.since, self.block)

    def oldest(self, drawn: int, n_held: int) -> int:
        """The draw that the oldest item came with, of the ``n_held`` first slots, after some draws of the block."""
        since = self._fill(self.since.copy(), self.block[:drawn])[:n_held]
        return int(since.min()) if len(since) == n_held > 0 else -1 if n_held else self.first + drawn

    def _fill(self, since: Any, slots: Any) -> Any:
        """The same after some draws; a slot with a miss among them as it was before."""
        filled = slots >= 0
        if self.missed:
            filled &= ~np.isin(slots, list(self.missed))
        draws = np.flatnonzero(filled)
        slots = slots[draws]
        most = int(slots.max(initial=-1)) + 1
        if most > len(since):  # twice as long, so that growing costs little
            since = np.concatenate([since, np.full(max(most, 2 * len(since)) - len(since), -1)])
        since[slots] = self.first + draws
        return since
