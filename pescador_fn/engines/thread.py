"""A stream that runs in a thread: `prefetch`, and `parallel` under the engine "thread".

    consumer's thread                        background thread, in a lane
    ┌───────────────────────────┐            ┌──────────────────────────────┐
    │ popleft … popleft ◀───────┼── deque ◀──┼─ extend(map(next, a few))    │
    │ refill: how many there are│            │   as many as there is room   │
    │   waits for one ──────────┼── full ◀───┼─                             │
    │                         ──┼─▶ room ────┼─▶ waits for room             │
    └───────────────────────────┘            └──────────────────────────────┘

A thread cannot be killed: one that is stuck ends when its stream yields again.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from itertools import repeat
from operator import call
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pescador_fn.engines.lane import GRACE_S, MOST, SHUT, Counted, Lane, Weighed
from pescador_fn.engines.notes import ABOUT, Note, check, keep, noted
from pescador_fn.running import EMPTY, Running, flow

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Iterator

    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader, Saver

__all__ = ["InThread", "Prefetched", "shutdown"]

T = TypeVar("T")


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

    lane_of: ClassVar[type[Lane]]
    cut: bool

    def __init__(self, node: Node[T], place: Place, most: int) -> None:
        super().__init__()
        self.node = node
        self.place: Place = place
        self.lane: Lane | None = None
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
                raise RuntimeError(SHUT)
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
                if self.shut:
                    raise RuntimeError(SHUT)
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
        if self.lane is not None:
            self.lane.room.ring()  # for another
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
        number, snapshot = noted(self.notes, self.delivered, self.node.of, self.place)
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

    def __del__(self, is_late: Callable[[], bool] = sys.is_finalizing) -> None:
        if getattr(self, "lane", None) is not None and not is_late():
            self.close()


def _throw(errors: deque[tuple[int, BaseException]]) -> Any:
    if not errors:
        raise RuntimeError(SHUT)
    raise errors.popleft()[1]


class Prefetched(_Threaded[T]):
    """`prefetch`: bounded by items."""

    __slots__ = ()
    lane_of: ClassVar[type[Lane]] = Counted

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place, max(1, node.options["n_items"] // 2))


class InThread(_Threaded[T]):
    """`parallel` in a thread: bounded by bytes."""

    __slots__ = ()
    lane_of: ClassVar[type[Lane]] = Weighed

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
