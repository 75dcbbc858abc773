"""A stream that runs in a thread: `prefetch`, and `parallel` under the engine "thread".

    consumer's thread                        background thread
    ┌───────────────────────────┐            ┌──────────────────────────────┐
    │ popleft … popleft ◀───────┼── deque ◀──┼─ extend(map(next, a few))    │
    │ refill: how many there are│            │   as many as there is room   │
    │   waits for one ──────────┼── full ◀───┼─                             │
    │                         ──┼─▶ room ────┼─▶ waits for room             │
    └───────────────────────────┘            └──────────────────────────────┘

Items cross one by one, so that a stream that is slow is never ahead of what the consumer sees; the threads talk once
for many, since each time costs more than several items. An error does not enter the deque: its place among the calls is
noted beside it. A thread cannot be killed: one that is stuck ends when its stream yields again.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from itertools import chain, repeat
from operator import call
from sys import getsizeof
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from pescador_fn.below import begin
from pescador_fn.engines.notes import ABOUT, Note, Pace, check, keep, newest, stand
from pescador_fn.moment import BACKGROUND
from pescador_fn.running import EMPTY, Running, flow
from pescador_fn.state import replay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader, Saver

__all__ = ["GRACE_S", "Bell", "InThread", "Prefetched", "shutdown", "size_of"]

T = TypeVar("T")

LOOK_S = 0.005  # how often a waiting side looks by itself
STINT_S = 0.0002  # about how long the thread pulls before it looks up
MOST = 256  # items in a stint
GRACE_S = 0.1  # for the thread to notice that it is not wanted

_SHUT = "the stream was ended by shutdown(); call its factory again"


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


class _Lane:
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
            if count <= 0:
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


class _Counted(_Lane):
    """At most a number of items ahead."""

    def space(self) -> int:
        most: int = self.node.options["n_items"]
        return most - len(self.items)


class _Weighed(_Lane):
    """At most a number of bytes ahead."""

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


class _Threaded(Running[T]):
    """The consumer's side."""

    __slots__ = (
        "__weakref__",
        "before",
        "closed",
        "laid",
        "lane",
        "most",
        "notes",
        "opened",
        "over",
        "owner",
        "place",
        "shut",
        "thrown",
    )

    lane_of: ClassVar[type[_Lane]]
    cut: bool

    def __init__(self, node: Node[T], place: Place, most: int) -> None:
        super().__init__()
        self.node = node
        self.place: Place = place
        self.lane: _Lane | None = None
        self.most: int = most  # items handed out before the thread hears of it
        self.laid: tuple[int, Any] = (0, repeat(None, 0))  # items handed out in all, and what counts the last of them
        self.opened: bool = False
        self.closed: bool = False
        self.shut: bool = False  # by `shutdown`
        self.over: bool = False  # the end was met, or it did not open, or was so when it was saved
        self.before: int = 0  # calls made before the thread was started, since the snapshot that it was resumed from
        self.thrown: int = 0  # errors that the consumer has
        self.notes: list[Note] = [(0, None)]
        self.owner: int = os.getpid()

    def __iter__(self) -> Iterator[T]:
        if not self.opened and not self.closed and not self.over:
            self._open()
        return flow(self.refill)

    def _open(self) -> None:
        """Start the thread and wait until the stream is open, so that a mux above sees what does not open."""
        if self.lane is None:
            self.place.key  # noqa: B018, it fixes the entropy of an unseeded root before two threads may ask
            lane = self.lane_of(self.node, self.place, self.notes[0][1], self.before)
            try:
                lane.thread.start()
                self.lane = lane
            except BaseException:  # a signal: whether the thread runs is not known, so the next one is another
                lane.stop()
                raise
            _open.add(self)
        lane = self.lane
        while not (lane.opened or lane.ended):
            lane.full.awaited = True
            if not (lane.opened or lane.ended):
                lane.full.wait()
        self.opened = True
        if not lane.opened:
            self.over = True
            _throw(lane.errors)

    def more(self) -> Iterator[T] | None:
        if self.closed:
            if self.shut:
                raise RuntimeError(_SHUT)
            return None
        if self.over:
            return None
        if self.owner != os.getpid():
            raise RuntimeError("the stream was opened before a fork and has no thread here; call its factory again")
        lane = self.lane
        assert lane is not None
        total, calls = self.laid
        gone = total - calls.__length_hint__() - lane.taken
        if gone > 0:
            lane.take(gone)
        if lane.notes:
            # Here only: two states that are taken without a pull between are the same, whatever the thread does.
            self.notes += (lane.notes.popleft() for _ in range(len(lane.notes)))
            self.notes = keep(self.notes, self.delivered)
        while True:
            ended = lane.ended  # looked at first, since what it gave before its end is there by then
            n = len(lane.items)
            if lane.errors:
                n = min(n, lane.errors[0][0] - lane.taken)
                if n <= 0:
                    return map(self.throw, repeat(lane.errors, 1))
            if n:
                n = min(n, self.most)
                calls = repeat(lane.items.popleft, n)
                self.laid = lane.taken + n, calls
                return map(call, calls)  # `operator.call` is C: no signal comes between an item and its consumer
            if ended:
                self.over = True
                return None
            lane.full.awaited = True
            if not lane.items and not lane.errors and not lane.ended:
                lane.full.wait()

    def broken(self) -> Iterator[T]:
        self.cut = False  # a signal came while `more` ran, where nothing is half done at any moment
        return EMPTY

    def throw(self, errors: deque[tuple[int, BaseException]]) -> Any:
        """Raise the first error; a call like any other."""
        self.thrown += bool(errors)
        _throw(errors)

    @property
    def delivered(self) -> int:
        """Calls whose outcomes the consumer has."""
        total, calls = self.laid
        return self.before + self.thrown + total - int(calls.__length_hint__())

    def held(self) -> Iterable[Any]:
        return ()  # what the thread runs may be in the middle of an item, whenever a state is taken

    def about(self) -> dict[str, Any]:
        return ABOUT[self.node.build.__name__]

    def save(self, saver: Saver) -> Any:
        """A note, the calls delivered since, and whether the end was met."""
        del saver  # a note speaks for itself
        number, snapshot = newest(self.notes, self.delivered)
        return [snapshot, self.delivered - number, self.over]

    def load(self, state: Any, loader: Loader) -> None:
        snapshot, self.before, self.over = state
        check(self.node.of, self.place, snapshot, loader)
        self.notes = [(0, snapshot)]

    @property
    def done(self) -> bool:
        lane = self.lane
        if self.closed or self.over or lane is None:
            return self.closed or self.over
        return lane.ended and not lane.items and not lane.errors

    def close(self) -> None:
        self.closed = True
        lane, self.lane = self.lane, None
        if lane is None or self.owner != os.getpid():
            return
        lane.stop()
        if lane.thread is not threading.current_thread():
            lane.thread.join(GRACE_S)
        lane.errors.clear()  # they hold, by their tracebacks, the lane itself
        late, lane.late = lane.late, None
        try:
            if late is not None:
                raise late
        finally:
            late = None  # it holds this frame by now

    def __del__(self) -> None:
        if getattr(self, "lane", None) is not None:
            self.close()


def _throw(errors: deque[tuple[int, BaseException]]) -> Any:
    if not errors:
        raise RuntimeError(_SHUT)
    raise errors.popleft()[1]


class Prefetched(_Threaded[T]):
    """`prefetch`: bounded by items."""

    __slots__ = ()
    lane_of: ClassVar[type[_Lane]] = _Counted

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place, max(1, node.options["n_items"] // 2))


class InThread(_Threaded[T]):
    """`parallel` in a thread: bounded by bytes."""

    __slots__ = ()
    lane_of: ClassVar[type[_Lane]] = _Weighed

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place, MOST)


_open: weakref.WeakSet[_Threaded[Any]] = weakref.WeakSet()


def shutdown() -> None:
    """Stop every thread that can be stopped."""
    for stream in list(_open):
        if stream.lane is not None and not stream.lane.ended:
            stream.shut = True
            stream.close()


atexit.register(shutdown)
