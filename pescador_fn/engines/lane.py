"""The background thread of a stream: what it makes goes into a deque, while there is room.

Items cross one by one, so that a stream that is slow is never ahead of what the consumer sees; the threads talk once
for many, since each time costs more than several items. An error does not enter the deque: its place among the calls is
noted beside it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from itertools import chain
from sys import getsizeof
from typing import TYPE_CHECKING, Any

import numpy as np

from pescador_fn.below import begin
from pescador_fn.engines.notes import Note, Pace, stand
from pescador_fn.moment import BACKGROUND
from pescador_fn.replaying import replay
from pescador_fn.running import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.factory import Node
    from pescador_fn.running import Running
    from pescador_fn.seeds import Place

__all__ = ["ERROR_BYTES", "GRACE_S", "MOST", "SHUT", "Bell", "Counted", "Lane", "Weighed", "size_of"]

LOOK_S = 0.005  # how often a waiting side looks by itself
STINT_S = 0.0002  # about how long the thread pulls before it looks up
MOST = 256  # items in a stint
MOST_ERRORS = 64  # that are made ahead: each holds what its traceback speaks of
ERROR_BYTES = 1024  # about what one takes
GRACE_S = 0.1  # for the thread to notice that it is not wanted
SHUT = "parallel, prefetch: the stream was ended by shutdown(); call its factory again"


def size_of(item: Any) -> int:
    """About how many bytes an item takes: arrays, strings and bytes exactly, containers as the sum of their parts."""
    if isinstance(item, np.ndarray):
        return item.nbytes + 64
    if isinstance(item, str | bytes | bytearray):
        return len(item) + 32
    if isinstance(item, dict):
        return 64 + sum(map(size_of, item.values()))
    if isinstance(item, list | tuple):
        return 64 + sum(map(size_of, item))
    return getsizeof(item, 64)


class Bell:
    """Wakes one waiting thread. It may ring for nothing, and a ring may be lost: whoever waits looks again anyway."""

    def __init__(self) -> None:
        self.lock: threading.Lock = threading.Lock()
        self.lock.acquire()
        self.awaited: bool = False

    def wait(self) -> None:
        self.lock.acquire(timeout=LOOK_S)
        self.awaited = False

    def ring(self) -> None:
        if self.awaited:
            self.awaited = False
            with suppress(RuntimeError):  # nobody has heard the last one yet
                self.lock.release()


class Lane:
    """What the two threads share; it knows nothing of the consumer's stream, so that dropping that one ends it."""

    def __init__(self, node: Node[Any], place: Place, snapshot: Any = None, calls: int = 0) -> None:
        self.node: Node[Any] = node
        self.place: Place = place
        self.snapshot: Any = snapshot  # where to begin
        self.before: int = calls  # to make again from there
        self.calls: int = calls  # in all, exceptions among them
        self.notes: deque[Note] = deque()  # on their way to the consumer
        self.items: deque[Any] = deque()
        self.errors: deque[tuple[int, BaseException]] = deque()  # with how many items there were before
        self.taken: int = 0  # items that the consumer has, as far as it has said
        self.made: int = 0
        self.full: Bell = Bell()  # there is something, or the end
        self.room: Bell = Bell()
        self.stint: list[Any] = []  # the pulls that are laid; emptied to cut them short
        self.opened: bool = False
        self.ended: bool = False
        self.stopped: bool = False
        self.late: BaseException | None = None  # what closing raised
        self.thread: threading.Thread = threading.Thread(target=self.run, name="pescador_fn stream", daemon=True)

    # The background thread.

    def run(self) -> None:
        BACKGROUND.add(threading.get_ident())
        try:
            self.run_through()
        finally:
            BACKGROUND.discard(threading.get_ident())

    def run_through(self) -> None:
        running: Running[Any] | None = None
        try:
            if self.stopped:
                return
            running = begin(self.node.of, self.place)
            running = stand(running, self.snapshot)
            self.snapshot = None
            items = iter(running)
            replay(items, self.before, self.node.build.__name__)
            self.opened = True
            self.full.ring()
            self.work(running, items)
        except BaseException as error:
            self.errors.append((self.made, error))
        try:
            if running is not None:
                running.close()
        except BaseException as error:
            self.late = error
        running = items = None  # type: ignore[assignment]  # what the user's objects hold goes before the end is told
        self.ended = True
        self.full.ring()

    def work(self, running: Running[Any], items: Iterator[Any]) -> None:
        """Pull until the end, or until nobody wants more."""
        length = 1
        pace = Pace(0)
        while not self.stopped:
            note = pace.note(self.calls, running)
            if note is not None:
                self.notes.append(note)
            self.room.awaited = True
            count = min(length, self.space())
            if count <= 0 or len(self.errors) >= MOST_ERRORS:
                self.room.wait()
                continue
            self.room.awaited = False
            began = time.perf_counter()
            before = self.made  # a stint that is cut short does not tell how much it has made; what weighs does
            # The stint ends in a pull of EMPTY, the stream in one of its own: so the two are told apart.
            self.stint = [items] * count
            pulls: Any = iter(self.stint)
            end: Any = iter([EMPTY])
            error: BaseException | None = None
            try:
                if not self.stopped:
                    self.items.extend(self.weighed(map(next, chain(pulls, end))))
            except BaseException as caught:
                error = caught.with_traceback(caught.__traceback__ and caught.__traceback__.tb_next)
            if self.stopped:
                return
            over = end.__length_hint__() > 0  # a pull was not answered by an item
            self.tally(count - pulls.__length_hint__() - over)
            self.calls += self.made - before + (error is not None)
            if error is not None:
                self.errors.append((self.made, error))
                error = None
            elif over:
                if running.done:
                    return
                items = iter(running)
            self.full.ring()
            took = time.perf_counter() - began
            length = min(2 * length, MOST) if took < STINT_S else max(1, length // 2)

    def space(self) -> int:
        """How many items may be made now."""
        raise NotImplementedError

    def weighed(self, items: Iterator[Any]) -> Iterator[Any]:
        """The items, while what counts them for `space` looks on."""
        return items

    def tally(self, n: int) -> None:
        """A stint has made ``n`` items."""
        self.made += n

    # The consumer's thread.

    def take(self, n: int) -> None:
        """Hear that the consumer has ``n`` items more."""
        self.taken += n
        self.room.ring()

    def stop(self) -> None:
        self.stopped = True
        self.stint.clear()
        self.room.ring()


class Counted(Lane):
    """At most a number of items ahead."""

    def space(self) -> int:
        most: int = self.node.options["n_items"]
        return most - len(self.items) - len(self.errors)


class Weighed(Lane):
    """At most a number of bytes ahead."""

    made: int

    def __init__(self, node: Node[Any], place: Place, snapshot: Any = None, calls: int = 0) -> None:
        super().__init__(node, place, snapshot, calls)
        self.sizes: deque[tuple[int, int]] = deque()  # items made, and their bytes
        self.bytes_made: int = 0
        self.bytes_taken: int = 0
        self.largest: int = 0

    def space(self) -> int:
        ahead = self.bytes_made - self.bytes_taken
        if not self.items or not self.largest:
            return 1
        return int((self.node.options["max_bytes"] - ahead) // self.largest)

    def weighed(self, items: Iterator[Any]) -> Iterator[Any]:
        return map(self.weigh, items)

    def weigh(self, item: Any) -> Any:
        size = size_of(item)
        if size > self.largest:
            self.largest = size
            self.stint.clear()  # it was laid for smaller ones
        self.made += 1
        self.bytes_made += size
        self.sizes.append((self.made, self.bytes_made))
        return item

    def tally(self, n: int) -> None:
        """Each was counted as it was weighed, since a stint may be cut short there."""

    def take(self, n: int) -> None:
        # A signal may come between any two steps, and all of this be done again.
        while self.sizes and self.sizes[0][0] <= self.taken + n:
            self.bytes_taken = self.sizes[0][1]
            self.sizes.popleft()
        super().take(n)
