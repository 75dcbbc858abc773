"""The worker process: one stream at a time, on its main thread.

        ┌──────────── START ────────────┐
        │                               ▼
      idle ◀── END, or IDLE ─────── unpickle, open ── FAILED ──▶ idle
        │      after a RESET            │
        │                               ▼
        │                       pull ── row ── wait for room ─┐
      EXIT                        ▲                           │
                                  └───────────────────────────┘

Messages are ``(head, body)``; a head is a pickled ``(stream number, word, runs, extra)``. Rows are sent when there are
enough of them, or when the last message was half a millisecond ago; and while a generator does not return, a small
thread sends what it has already given. Only one that holds the interpreter's lock for long can keep rows waiting.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import zmq

import pescador_fn.engines.launch as launch
from pescador_fn.below import begin
from pescador_fn.engines.encoder import ITEM, Encoder, raised
from pescador_fn.engines.notes import Note, Pace, stand
from pescador_fn.engines.slabs import Control, Ref, Writer
from pescador_fn.engines.wire import pack, refs_in, row_bytes
from pescador_fn.errors import ReplayMismatch, WorkerError, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.engines.columns import Row
    from pescador_fn.running import Running

__all__ = ["main"]

ROWS = 512  # the most in a message
BYTES = 65536  # of a message, without the slabs it speaks of: from here on it is sent
HOLD_S = 0.0005  # how long rows are held back, when they come fast, though the parent waits
SINGLE = 16  # rows sent one by one before any is held back
LINGER_S = 0.001  # how long rows lie while the generator does not return
MESSAGES = 64  # the most that are sent and not taken
LOOK_MS = 20  # how often a waiting worker looks by itself: a wake-up can be lost


class Worker:
    """The child's end of the socket and of the shared memory."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.control: Control = Control(told["memory"])
        self.slabs: Writer = Writer(told["memory"], told["portable"])
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.PAIR)
        self.socket.set_hwm(0)
        self.socket.linger = 1000
        self.socket.connect(told["address"])
        self.stamps: dict[str, tuple[int, int]] = {}

    def send(self, number: int, word: str, runs: list[Any] | None = None, extra: Any = None, body: bytes = b"") -> None:
        self.socket.send_multipart([pickle.dumps((number, word, runs or [], extra), 5), body])

    def serve(self) -> None:
        """Run streams until told to leave."""
        self.send(0, "hello")
        while True:
            word, *frames = self.socket.recv_multipart()
            if word == b"start":
                self.run(*frames)
                for file in (sys.stdout, sys.stderr):
                    with suppress(Exception):
                        file.flush()
            elif word == b"exit":
                return

    def run(self, head: bytes, factory: bytes) -> None:
        number, (first, snapshot), seen, barrier, max_bytes = pickle.loads(head)
        encoder = Encoder(self.slabs)
        running: Running[Any] | None = None
        self.control.words[3] = 0
        try:
            running = begin(*_load(factory))
            stand(running, snapshot)
            items = iter(running)
        except BaseException as error:
            runs, body = pack([raised(encoder, error)])
            late = _close(running)
            self.send(number, "failed", runs, (late and self._told(late), self._stamps()), body)
            return
        stream = _Run(self, encoder, number, running, items, barrier, max_bytes, first)
        finished = stream.replay(first, seen) and stream.pull()
        late = _close(running)
        stream = items = running = None  # type: ignore[assignment]  # what the user's objects hold goes before the answer
        self.slabs.trim()
        self.send(number, "end" if finished else "idle", None, (late and self._told(late), self._stamps()))

    def _told(self, error: BaseException) -> tuple[list[Any], bytes]:
        return pack([raised(Encoder(self.slabs), error)])

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """The user's modules that are loaded here, as they are on disk: a change makes this worker stale."""
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if path and path not in self.stamps and not path.startswith((sys.prefix, sys.base_prefix)):
                try:
                    found = os.stat(path)
                except OSError:
                    continue
                self.stamps[path] = found.st_mtime_ns, found.st_size
        return self.stamps


def _load(pickled: bytes) -> Any:
    launch.importing = True
    try:
        return pickle.loads(pickled)
    finally:
        launch.importing = False


def _close(running: Running[Any] | None) -> BaseException | None:
    try:
        if running is not None:
            running.close()
    except BaseException as error:
        return error
    return None


class _Run:
    """One stream: its rows that wait, and how much is on its way."""

    def __init__(
        self,
        worker: Worker,
        encoder: Encoder,
        number: int,
        running: Running[Any],
        items: Iterator[Any],
        barrier: int,
        max_bytes: int,
        first: int,
    ) -> None:
        self.worker = worker
        self.encoder = encoder
        self.number = number
        self.running = running
        self.items = items
        self.barrier = barrier  # the call in which a worker before this one died, or -1
        self.max_bytes = max_bytes
        self.words = worker.control.words
        self.flags = worker.control.flags
        self.pace = Pace(first)
        self.note: Note | None = None  # to be sent
        self.rows: list[Row] = []
        self.lock = threading.Lock()  # of taking rows and sending them
        self.sent = 0  # messages
        self.made = 0  # bytes
        self.largest = 0  # bytes in a row
        self.flushed_s = 0.0
        self.armed = threading.Semaphore(0)
        self.is_armed = False
        self.over = False

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
        threading.Thread(target=self.linger, daemon=True).start()
        try:
            return self._pull()
        finally:
            self.over = True
            self.armed.release()
            with self.lock:
                pass

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
                    row = encoder.row(item)
                except Exception as error:
                    row = raised(encoder, _unpicklable(item, error))
                item = None
            call += 1
            made = self.add(row)
            flag = flags[0]
            if flag == Control.RESET:
                return self.drop()
            if (
                self.inline >= BYTES
                or len(self.rows) >= ROWS
                or call <= SINGLE
                or ((flag or self.is_clear()) and time.monotonic() - self.flushed_s > HOLD_S)
            ):
                self.note = self.pace.note(call, self.running) or self.note
                self.flush()
            if made > self.limit and not self.wait():
                return self.drop()

    def is_clear(self) -> bool:
        """Whether few messages are on their way, so that a small one does no harm."""
        clear: bool = self.sent - self.words[2] < MESSAGES // 2
        return clear

    flushed = 0  # bytes, up to the last message
    inline = 0  # of the bytes since then, those that the message itself will hold
    limit = 0  # of `made`: beyond it, see whether there is room

    def add(self, row: Row) -> int:
        """Let a row wait to be sent; the bytes so far."""
        size = row_bytes(row)
        self.made = made = self.made + size
        self.inline += row[3] if row[0] is ITEM else size
        if size > self.largest:
            self.largest = size
            self.limit = 0  # room must be left for another as large
        self.rows.append(row)
        if not self.is_armed:
            self.is_armed = True
            self.armed.release()
        return made

    def flush(self) -> None:
        """Send what waits. Rows are added without the lock: a list is cut and appended to in single steps."""
        with self.lock:
            n = len(self.rows)
            if n:
                rows = self.rows[:n]
                del self.rows[:n]
                runs, body = pack(rows)
                self.flushed += sum(map(row_bytes, rows))
                self.inline = 0
                note, self.note = self.note, None
                self.worker.send(self.number, "items", runs, (self.flushed, note), body)
                self.sent += 1
                if self.sent - self.words[2] >= MESSAGES:
                    self.limit = 0
            self.flushed_s = time.monotonic()

    def linger(self) -> None:
        """The small thread: send what has waited for long."""
        while True:
            self.armed.acquire()
            if self.over:
                return
            pause = LINGER_S
            while self.rows and not self.over:
                before = self.sent
                time.sleep(pause)
                if self.sent != before:
                    pause = min(2 * pause, 4 * LINGER_S)  # the stream itself sends: disturb it less
                elif self.rows and not self.over and (self.flags[0] or self.is_clear()):
                    self.flush()
            self.is_armed = False
            if self.rows:  # added in between
                self.is_armed = True
                self.armed.release()

    def wait(self, acknowledged: bool = False) -> bool:
        """Wait for room, or for everything to be taken: whether to go on."""
        self.flush()
        socket, words, flags = self.worker.socket, self.words, self.flags
        while True:
            flags[1] = 1
            if flags[0] == Control.RESET:
                break
            idle = words[2] == self.sent and flags[0] == Control.WAITING
            limit = words[1] + self.max_bytes - self.largest
            room = self.made <= limit and self.sent - words[2] < MESSAGES
            if idle or (room and not acknowledged):
                # What the parent waits for is always made, however large. Beyond the limit, it is asked again.
                self.limit = max(limit, self.made)
                break
            if socket.poll(LOOK_MS):
                socket.recv_multipart()  # a wake-up
        flags[1] = 0
        return flags[0] != Control.RESET

    def drop(self) -> bool:
        """The stream is not wanted any more."""
        with self.lock:
            runs, _ = pack(self.rows)
            for ref in refs_in(runs):
                self.worker.slabs.free(Ref(*ref))
            self.rows.clear()
        return False


def _unpicklable(item: Any, error: Exception) -> WorkerError:
    found = WorkerError(f"parallel: the item {show(item, 200)} does not pickle: {error!r}")
    found.__cause__ = error
    return found


def main(told: dict[str, Any], pipe: int) -> None:
    """What the fresh interpreter runs."""
    os.set_inheritable(told["memory"], False)
    launch.bound_to(pipe, told["portable"])
    Worker(told).serve()
