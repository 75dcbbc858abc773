"""A worker process that several streams of a split mux share: what it makes goes out in one row of messages.

    parent ── "tell": open, pull, want, drop ──▶ crew ── outcomes, each with the number of its stream ──▶ outbox

Each message has beside its rows the numbers of their streams and their sizes, and what happened to streams meanwhile.
"""

from __future__ import annotations

import pickle
import time
from typing import TYPE_CHECKING, Any

from pescador_fn.engines.crew import Crew
from pescador_fn.engines.encoder import raised
from pescador_fn.engines.outbox import LOOK_MS, SINGLE, Outbox, unpicklable
from pescador_fn.engines.slabs import Control
from pescador_fn.engines.wire import pack, row_bytes

if TYPE_CHECKING:
    from pescador_fn.engines.columns import Row
    from pescador_fn.engines.line import Line
    from pescador_fn.engines.split import Path, Unit

__all__ = ["Sharing"]

LISTEN_S = 0.0002  # how long it does not listen while it has something to do


class Sharing(Outbox):
    """The streams of one worker."""

    def __init__(self, worker: Line, number: int, units: dict[Path, Unit], max_bytes: int, held: int) -> None:
        super().__init__(worker, number, max_bytes)
        self.made: int = held  # what the parent has of a worker before this one, and has not delivered
        self.tags: list[int] = []  # whose the rows are
        self.events: list[Any] = []
        self.crew: Crew = Crew(units, self)
        self.unsent: Any = None  # what closing a stream has raised, where the parent stopped before it heard of it

    def run(self) -> None:
        """Do as the parent says until it says no more."""
        with self:
            crew, flags, socket = self.crew, self.flags, self.worker.socket
            heard = 0.0
            while flags[0] != Control.RESET:
                if not crew.tasks:
                    self.flush()
                    if socket.poll(LOOK_MS):
                        self.hear(socket.recv_multipart())
                    continue
                now = time.monotonic()
                if now - heard > LISTEN_S:
                    heard = now
                    while socket.poll(0):
                        self.hear(socket.recv_multipart())
                if (self.made > self.limit and not self.wait()) or not crew.turn():
                    break
                if crew.hurry or self.is_due or self.sent < SINGLE:
                    crew.hurry = False
                    self.flush()
        self.drop()

    @property
    def has_mail(self) -> bool:
        return bool(self.rows or self.events)

    def extra(self, rows: list[Row]) -> Any:
        n = len(rows)
        tags, events = self.tags[:n], self.events[:]
        del self.tags[:n]
        del self.events[: len(events)]
        return tags, list(map(row_bytes, rows)), events

    def is_needed(self) -> bool:
        return bool(self.crew.wanted)

    def hear(self, frames: list[bytes]) -> None:
        if frames[0] == b"tell":
            for word, what in pickle.loads(frames[1]):
                self.crew.obey(word, what)

    # What the crew gives.

    def put(self, which: int, row: Row) -> None:
        """Let a row wait to be sent; first whose it is, since another thread may send it at once."""
        self.tags.append(which)
        self.add(row)

    def item(self, which: int, item: Any) -> None:
        """Let an item wait to be sent, as it is now."""
        try:
            row = self.encoder.row(item)
        except BaseException as error:  # whatever the item's own methods raise
            row = raised(self.encoder, unpicklable(item, error))
        self.put(which, row)

    def error(self, which: int, error: BaseException) -> None:
        """Let an error wait to be sent."""
        self.put(which, raised(self.encoder, error))

    def event(self, word: str, which: int, value: Any = None) -> None:
        """Let the parent know what has happened to a stream."""
        if isinstance(value, BaseException):
            value = pack([raised(self.encoder, value)])
        self.events.append((word, which, value))
        if not self.is_armed:
            self.arm()

    def about_to(self, which: int, call: int, *, carefully: bool) -> bool:
        """Note what is called next; where that has ended a process before, wait until all else is delivered."""
        words = self.words
        if carefully:
            self.flush()
            while words[2] != self.sent:
                if self.flags[0] == Control.RESET:
                    return False
                if self.worker.socket.poll(LOOK_MS):
                    self.hear(self.worker.socket.recv_multipart())
        words[4] = call
        words[3] = which
        return self.flags[0] != Control.RESET

    def drop(self) -> bool:
        self.tags.clear()
        self.unsent = next((value for word, _, value in self.events if word == "closed" and value), None)
        return super().drop()
