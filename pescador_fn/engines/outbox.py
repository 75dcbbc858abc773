"""What a worker has made and not sent yet, and how much of it is on its way.

Rows are sent when there are enough of them, or when one is made `HOLD_S` after the last message; and while a generator
does not return, a small thread sends what it has already given, `LINGER_S` to twice as long after the last message.
Only one that holds the interpreter's lock for long can keep rows waiting. What is made and not delivered is bounded in
bytes and in messages; what the parent waits for is made all the same, so that the bound cannot block.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from pescador_fn.engines.encoder import ERROR, ITEM, Encoder
from pescador_fn.engines.load import Load
from pescador_fn.engines.slabs import Control, Ref
from pescador_fn.engines.wire import pack, refs_in, row_bytes
from pescador_fn.errors import WorkerError, show

if TYPE_CHECKING:
    from pescador_fn.engines.columns import Row
    from pescador_fn.engines.line import Line

__all__ = ["LOOK_MS", "SINGLE", "Outbox", "unpicklable"]

SINGLE = 16  # rows sent one by one before any is held back
ROWS = 512  # the most in a message
BYTES = 65536  # of a message, without the slabs it speaks of: from here on it is sent
HOLD_S = 0.0015  # how long rows are held back, when they come fast, though the parent waits
LINGER_S = 0.002  # how often it is seen whether rows have waited for as long; more, so that the stream sends them
QUIET = 16  # looks of the small thread that find nothing, before it sleeps
MESSAGES = 64  # the most that are sent and not taken
LOOK_MS = 20  # how often a waiting worker looks by itself: a wake-up can be lost


class Outbox:
    """The rows of one stream, or of the streams of one mux."""

    def __init__(self, worker: Line, number: int, max_bytes: int) -> None:
        self.worker = worker
        self.encoder: Encoder = Encoder(worker.slabs)
        self.number = number
        self.max_bytes = max_bytes
        self.words: memoryview = worker.control.words
        self.flags: memoryview = worker.control.flags
        self.rows: list[Row] = []
        self.lock: threading.Lock = threading.Lock()  # of taking rows and sending them
        self.sent: int = 0  # messages
        self.made: int = 0  # bytes
        self.largest: int = 0  # bytes in a row
        self.flushed: int = 0  # bytes, up to the last message
        self.full: int = BYTES  # of `made`: so much is sent at once, slabs not counted
        self.load: Load = Load()
        self.heavy: int = self.load.n_bytes  # of `made`: so much is sent at once, slabs counted
        self.began_s: float = 0.0  # when the last message was sent; 0 where it was waited since
        self.light: Any = None  # the schema of the last row that has nothing in slabs
        self.limit: int = 0  # of `made`: beyond it, see whether there is room
        self.flushed_s: float = 0.0
        self.is_due: object = False  # whether to send what there is; seen to by `add`, which saves a call
        self.bell: threading.Lock = threading.Lock()  # let go of to wake the small thread
        self.is_armed: bool = True  # whether that looks by itself
        self.over: bool = False
        self.small: threading.Thread
        self.bell.acquire()

    def __enter__(self) -> None:
        self.small = threading.Thread(target=self.linger, daemon=True)
        self.small.start()

    def __exit__(self, *_: object) -> None:
        self.over = True
        self.arm()
        self.small.join()

    def extra(self, rows: list[Row]) -> Any:
        """What is sent beside the first rows."""
        raise NotImplementedError

    @property
    def has_mail(self) -> bool:
        """Whether there is something to send."""
        return bool(self.rows)

    def is_needed(self) -> bool:
        """Whether the parent waits for the next row, so that it is made however much there is."""
        raise NotImplementedError

    def hear(self, frames: list[bytes]) -> None:
        """Take in a message that came while this waited; by itself it is a wake-up."""

    def is_clear(self) -> bool:
        """Whether few messages are on their way, so that a small one does no harm."""
        clear: bool = self.sent - self.words[2] < MESSAGES // 2
        return clear

    def add(self, row: Row) -> int:
        """Let a row wait to be sent; the bytes so far."""
        # Most of a worker's time goes through here, so no function is called for what can be looked at.
        size: int = row[1]
        self.made = made = self.made + size
        if row[0] is not self.light:
            self.weigh(row)
        if size > self.largest:
            self.largest = size
            self.limit = 0  # room must be left for another as large
        self.rows.append(row)
        if not self.is_armed:
            self.arm()
        self.is_due = (
            made >= self.full
            or made >= self.heavy
            or len(self.rows) >= ROWS
            or (monotonic() - self.flushed_s > HOLD_S and (self.flags[0] or self.is_clear()))
        )
        return made

    def weigh(self, row: Row) -> None:
        """Leave the slabs of a row out of what a message holds."""
        if row[0] is ITEM:
            self.full += row[1] - row[3]
        elif row[0] is not ERROR:
            self.full += row[0].large
            if not row[0].large:
                self.light = row[0]

    def arm(self) -> None:
        """Let the small thread look after what waits."""
        self.is_armed = True
        with suppress(RuntimeError):  # it has not heard the last one yet
            self.bell.release()

    def flush(self) -> None:
        """Send what waits. Rows are added without the lock: a list is cut and appended to in single steps."""
        with self.lock:
            if self.has_mail:
                now = monotonic()
                if self.made >= self.heavy and self.began_s:
                    self.load.tell(self.made - self.flushed, now - self.began_s)
                self.began_s = now
                rows = self.rows[:]
                del self.rows[: len(rows)]
                runs, body = pack(rows)
                self.flushed += sum(map(row_bytes, rows))
                self.full, self.heavy, self.is_due = self.made + BYTES, self.made + self.load.n_bytes, False
                self.worker.send(self.number, "items", runs, self.extra(rows), body)
                self.sent += 1
                if self.sent - self.words[2] >= MESSAGES:
                    self.limit = 0
            self.flushed_s = monotonic()

    def linger(self) -> None:
        """The small thread: send what has waited for long."""
        sent = quiet = 0
        while True:
            # While rows come it looks by itself: to wake it takes as long as to make several.
            if quiet == QUIET:
                self.is_armed = False
                if not self.has_mail:  # none was added in between
                    self.bell.acquire()
                self.is_armed = True
                quiet = 0
            self.bell.acquire(timeout=LINGER_S)
            if self.over:
                return
            quiet = quiet + 1 if self.sent == sent and not self.has_mail else 0
            sent = self.sent
            if self.has_mail and monotonic() - self.flushed_s > LINGER_S and (self.flags[0] or self.is_clear()):
                self.flush()

    def wait(self, acknowledged: bool = False) -> bool:
        """Wait for room, or for everything to be taken: whether to go on."""
        self.flush()
        socket, words, flags = self.worker.socket, self.words, self.flags
        while True:
            flags[1] = 1
            if flags[0] == Control.RESET:
                break
            limit = words[1] + self.max_bytes - self.largest
            room = self.made <= limit and self.sent - words[2] < MESSAGES
            if self.is_needed() or (room and not acknowledged):
                self.limit = max(limit, self.made)  # beyond the limit, it is asked again
                break
            if socket.poll(LOOK_MS):
                self.hear(socket.recv_multipart())
        flags[1] = 0
        self.began_s = 0.0
        return flags[0] != Control.RESET

    def drop(self) -> bool:
        """The stream is not wanted any more."""
        with self.lock:
            runs, _ = pack(self.rows)
            for ref in refs_in(runs):
                self.worker.slabs.free(Ref(*ref))
            self.rows.clear()
        return False

    @property
    def is_awaited(self) -> bool:
        """Whether everything that was sent was taken, and the parent waits."""
        awaited: bool = self.words[2] == self.sent and self.flags[0] == Control.WAITING
        return awaited


def unpicklable(item: Any, error: BaseException) -> WorkerError:
    """What stands in the place of an item that does not pickle."""
    found = WorkerError(f"parallel: the item {show(item, 200)} does not pickle: {show(error, 200)}")
    found.__cause__ = error
    return found
