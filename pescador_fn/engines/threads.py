"""The threads of a team.

    consumer's thread                         one of the threads
    ┌──────────────────────┐   commands       ┌───────────────────────────┐
    │ Remote ◀─ exchange   │ ──▶ deque ─────▶ │ crew: the next call …     │
    │            waits ◀───┼──── deque ◀───── │   waits for room, or work │
    └──────────────────────┘   outcomes       └───────────────────────────┘

Items are passed on as they are. A thread cannot be ended: one that is stuck is left behind, and ends when its stream
yields again.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from pescador_fn.engines.crew import Crew
from pescador_fn.engines.hands import Hand, Hands, Host
from pescador_fn.engines.lane import ERROR_BYTES, GRACE_S, Bell, size_of
from pescador_fn.engines.wire import Raised
from pescador_fn.moment import BACKGROUND

if TYPE_CHECKING:
    from pescador_fn.engines.split import Path, Unit


__all__ = ["Threads", "shutdown"]


class _Lane:
    """What one thread shares with the consumer's; it knows nothing of the streams there."""

    def __init__(self, units: dict[Path, Unit], max_bytes: int, held: int, there: Bell) -> None:
        self.max_bytes = max_bytes
        self.commands: deque[tuple[str, Any]] = deque()
        self.outcomes: deque[tuple[str, int, Any, int]] = deque()  # word, stream, what, bytes
        self.made: int = held  # bytes; what a thread before this one has made is not delivered yet
        self.taken: int = 0
        self.here = Bell()
        self.there = there
        self.stopped: bool = False
        self.ended: bool = False
        self.late: BaseException | None = None
        self.crew: Crew = Crew(units, self)
        self.thread: threading.Thread = threading.Thread(target=self.run, name="pescador_fn stream", daemon=True)

    def run(self) -> None:
        """Do as the consumer says until it says no more."""
        BACKGROUND.add(threading.get_ident())
        try:
            while not self.stopped:
                self.here.awaited = True
                while self.commands:
                    self.crew.obey(*self.commands.popleft())
                if not self.crew.tasks or (self.made - self.taken > self.max_bytes and not self.crew.wanted):
                    self.here.wait()
                    continue
                self.here.awaited = False
                if not self.crew.turn():
                    break
                self.there.ring()
        finally:
            try:
                self.crew.close()
            except BaseException as error:
                self.late = error
            self.ended = True
            self.there.ring()
            BACKGROUND.discard(threading.get_ident())

    def put(self, word: str, which: int, what: Any, size: int) -> None:
        self.made += size
        self.outcomes.append((word, which, what, size))

    def item(self, which: int, item: Any) -> None:
        self.put("item", which, item, size_of(item))

    def error(self, which: int, error: BaseException) -> None:
        self.put(
            "item",
            which,
            Raised(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)),
            ERROR_BYTES,
        )

    def event(self, word: str, which: int, value: Any = None) -> None:
        self.put(word, which, value, 0)
        self.there.ring()

    def about_to(self, which: int, call: int, *, carefully: bool) -> bool:
        del which, call, carefully  # nothing dies here
        return not self.stopped


class _Thread(Hand):
    """One thread of a team, or the one that follows it."""

    def __init__(self, hands: Threads, max_bytes: int) -> None:
        super().__init__()
        self.hands = hands
        self.max_bytes = max_bytes
        self.lane: _Lane | None = None

    def release(self, n_bytes: int) -> None:
        if self.lane is not None:
            self.lane.taken += n_bytes
            self.lane.here.ring()

    def send(self) -> None:
        """Hand over what is to be done."""
        if not self.commands:
            return
        if self.lane is None:
            held = sum(child.buffered for child in self.children.values())
            lane = _Lane(self.hands.team.units, self.max_bytes, held, self.hands.bell)
            try:
                lane.thread.start()
                self.lane = lane
            except BaseException:  # a signal: whether it runs is not known, so the next one is another
                lane.stopped = True
                raise
        self.lane.commands.extend(self.commands)
        self.commands.clear()
        self.lane.here.ring()

    def take(self) -> bool:
        """Take in every outcome that is there; whether there was one."""
        found = False
        while self.lane is not None and self.lane.outcomes:
            found = True
            word, which, what, size = self.lane.outcomes.popleft()
            child = self.children.get(which)
            self.came += word == "item"
            if child is None or (child.over and word == "item"):
                self.release(size)
            elif word == "item":
                child.receive(what, size)
            else:
                self.note(child, word, what)
        return found

    def end(self) -> None:
        lane, self.lane = self.lane, None
        if lane is not None:
            lane.stopped = True
            lane.here.ring()


class Threads(Hands):
    """All threads of a team."""

    def __init__(self, team: Host) -> None:
        super().__init__(team)
        self.bell: Bell = Bell()
        n, max_bytes = team.node.options["n_workers"], team.node.options["max_bytes"]
        self.threads: list[_Thread] = [_Thread(self, max(1, max_bytes // n)) for _ in range(n)]
        self.all.extend(self.threads)
        _open.add(self)

    def exchange(self, awaited: Hand | None) -> None:
        del awaited
        if self.team.shut:
            return
        for hand in self.threads:
            hand.send()
        self.bell.awaited = True
        if not self.take():
            self.team.cut = False
            self.bell.wait()
            self.team.cut = True
            self.take()
        self.bell.awaited = False

    def take(self) -> bool:
        return sum([hand.take() for hand in self.threads]) > 0

    def stop(self) -> None:
        lanes = [hand.lane for hand in self.threads if hand.lane is not None]
        for hand in self.threads:
            hand.end()
        for lane in lanes:
            if lane.thread is not threading.current_thread():
                lane.thread.join(GRACE_S)
        late = [lane.late for lane in lanes if lane.late is not None]
        if late:
            raise late[0]


_open: weakref.WeakSet[Threads] = weakref.WeakSet()


def shutdown() -> None:
    """Stop every thread that can be stopped."""
    for hands in list(_open):
        if any(hand.lane is not None for hand in hands.threads):
            hands.team.shut = True
            hands.stop()


atexit.register(shutdown)
