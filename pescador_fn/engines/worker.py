"""The worker process: one stream at a time, on its main thread.

        ┌──────────── START ────────────┐
        │                               ▼
      idle ◀── END, or IDLE ─────── unpickle, open ── FAILED ──▶ idle
        │      after a RESET            │
        │                               ▼
        │                       pull ── row ── wait for room ─┐
      EXIT                        ▲                           │
                                  └───────────────────────────┘

Messages are a head and, if there is any, a body; a head is a pickled ``(stream number, word, runs, extra)``. See
``outbox`` for when they are sent.
"""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pescador_fn.engines.launch as launch
from pescador_fn.below import begin
from pescador_fn.engines.encoder import Encoder, raised
from pescador_fn.engines.line import Line
from pescador_fn.engines.notes import Note, Pace, stand
from pescador_fn.engines.outbox import SINGLE, Outbox, unpicklable
from pescador_fn.engines.pickling import load
from pescador_fn.engines.sharing import Sharing
from pescador_fn.engines.slabs import Control
from pescador_fn.engines.split import units
from pescador_fn.engines.stamps import Stamps
from pescador_fn.engines.wire import pack
from pescador_fn.errors import ReplayMismatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.engines.columns import Row
    from pescador_fn.engines.crew import Crew
    from pescador_fn.running import Running

__all__ = ["main"]


class Worker(Line):
    """What the process does."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told)
        self.stamps: Stamps = Stamps()

    def serve(self) -> None:
        """Run streams until told to leave."""
        self.send(0, "hello")
        while True:
            word, *frames = self.socket.recv_multipart()
            if word == b"start":
                self.run(*frames)
            elif word == b"share":
                self.share(*frames)
            elif word == b"exit":
                return
            for file in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    file.flush()

    def run(self, head: bytes, factory: bytes) -> None:
        number, (first, snapshot), seen, barrier, max_bytes = pickle.loads(head)
        encoder = Encoder(self.slabs)
        running: Running[Any] | None = None
        self.control.words[3] = 0
        try:
            running = begin(*self._load(factory))
            running = stand(running, snapshot)
            items = iter(running)
        except BaseException as error:
            runs, body = pack([raised(encoder, error)])
            late = _close(running)
            self.send(number, "failed", runs, (late and self._told(late), self.stamps.look()), body)
            return
        stream = _Run(self, number, running, items, barrier, max_bytes, first)
        finished = stream.replay(first, seen) and stream.pull()
        late = _close(running)
        stream = items = running = None  # type: ignore[assignment]  # what the user's objects hold goes before the answer
        self.slabs.trim()
        self.send(number, "end" if finished else "idle", None, (late and self._told(late), self.stamps.look()))

    def share(self, head: bytes, factory: bytes) -> None:
        """Run the streams of split muxes, as the parent tells."""
        number, max_bytes, held = pickle.loads(head)
        try:
            muxes = dict(units(self._load(factory)[0]))
        except BaseException as error:
            runs, body = pack([raised(Encoder(self.slabs), error)])
            self.send(number, "failed", runs, (None, self.stamps.look()), body)
            return
        self.send(number, "loaded")
        sharing = Sharing(self, number, muxes, max_bytes, held)
        sharing.run()
        late = _close(sharing.crew)
        told = sharing.unsent or (late and self._told(late))
        sharing = muxes = None  # type: ignore[assignment]
        self.slabs.trim()
        self.send(number, "idle", None, (told, self.stamps.look()))

    def _told(self, error: BaseException) -> tuple[list[Any], bytes]:
        return pack([raised(Encoder(self.slabs), error)])

    def _load(self, pickled: bytes) -> Any:
        self.stamps.begin()
        launch.importing = True
        try:
            return load(pickled)
        finally:
            launch.importing = False
            self.stamps.look()  # soon: what is imported here may be edited while the stream is open


def _close(running: Running[Any] | Crew | None) -> BaseException | None:
    try:
        if running is not None:
            running.close()
    except BaseException as error:
        return error
    return None


class _Run(Outbox):
    """One stream."""

    def __init__(
        self,
        worker: Line,
        number: int,
        running: Running[Any],
        items: Iterator[Any],
        barrier: int,
        max_bytes: int,
        first: int,
    ) -> None:
        super().__init__(worker, number, max_bytes)
        self.running = running
        self.items = items
        self.barrier = barrier  # the call in which a worker before this one died, or -1
        self.pace = Pace(first)
        self.note: Note | None = None  # to be sent

    def extra(self, rows: list[Row]) -> Any:
        del rows
        note, self.note = self.note, None
        return self.flushed, note

    def is_needed(self) -> bool:
        return self.is_awaited

    def replay(self, first: int, calls: int) -> bool:
        """Go from a note to where the parent has got: whether the stream has that many calls."""
        pull = self.items.__next__
        for call in range(first, calls):
            if self.flags[0] == Control.RESET:
                return False
            self.words[3] = call
            try:
                pull()
            except StopIteration:
                error = ReplayMismatch(
                    f"parallel: the stream ended at its call {call} when it was repeated, "
                    f"and {calls} had been delivered; what a factory yields must be the same at every call"
                )
                self.add(raised(self.encoder, error))
                self.flush()
                return True
            except BaseException:
                continue
        self.words[3] = calls
        return True

    def pull(self) -> bool:
        """Send everything: whether the stream has ended, rather than been stopped."""
        with self:
            return self._pull()

    def _pull(self) -> bool:
        words, flags, encoder = self.words, self.flags, self.encoder
        pull = self.items.__next__
        call = words[3]
        while True:
            if call == self.barrier and not self.wait(acknowledged=True):
                return self.drop()
            words[3] = call
            try:
                item = pull()
            except StopIteration:
                if not self.running.done:
                    pull = iter(self.running).__next__
                    continue
                self.flush()
                return True
            except BaseException as error:
                row = raised(encoder, error)
                del error
            else:
                try:
                    row = encoder.quick(item) or encoder.row(item)  # most often a call is saved
                except BaseException as error:  # whatever the item's own methods raise
                    row = raised(encoder, unpicklable(item, error))
                item = None
            call += 1
            made = self.add(row)
            if call <= SINGLE or self.is_due:  # as a stream is that shall stop
                if flags[0] == Control.RESET:
                    return self.drop()
                self.note = self.pace.note(call, self.running) or self.note
                self.flush()
            if made > self.limit and not self.wait():
                return self.drop()


def main(told: dict[str, Any], pipe: int) -> None:
    """What the fresh interpreter runs."""
    os.set_inheritable(told["memory"], False)
    launch.bound_to(pipe, told["portable"])
    worker = Worker(told)
    worker.serve()
    worker.context.destroy(0)  # with its socket, which a destructor would close with a warning
