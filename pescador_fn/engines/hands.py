"""The workers of a team, as the parent talks to them: what processes and threads have in common.

    open, pull, want, drop ──▶ commands ──▶ …          … ──▶ outcomes, events ──▶ the streams that they are of

A stream is with one worker from its opening to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pescador_fn.engines.crew import Order
from pescador_fn.engines.notes import keep, newest

if TYPE_CHECKING:
    from pescador_fn.engines.remote import Remote
    from pescador_fn.engines.split import Path, Unit
    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place

__all__ = ["Hand", "Hands", "Host"]


class Host(Protocol):
    """Whose workers they are: a ``Team``."""

    node: Node[Any]
    place: Place
    units: dict[Path, Unit]
    n_workers: int
    pulled: Remote[Any] | None
    cut: bool
    shut: bool
    failure: BaseException | None

    def post(self, child: Remote[Any]) -> Hand: ...
    def fetch(self, child: Remote[Any], *, wanted: bool = True) -> None: ...


class Hand:
    """One worker of a team, or the one that follows it."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, Any]] = []  # to be sent
        self.children: dict[int, Remote[Any]] = {}
        self.count: int = 0  # streams so far
        self.unopened: int = 0
        self.opening: float = 8.0  # calls that take as long as an opening
        self.asked: int = 0  # calls listed
        self.came: int = 0  # calls received
        self.promised: int = 0  # calls that are about to be listed

    @property
    def load(self) -> int:
        """How much it has to do, in calls; opening a stream counts as many as it takes the time of."""
        return self.asked - self.came + self.promised + int(self.opening * self.unopened)

    # What it is told.

    def open(self, child: Remote[Any]) -> None:
        """Give it a stream."""
        self.count += 1
        child.hand, child.which = self, self.count
        self.children[child.which] = child
        self.unopened += not child.opened
        self.commands.append(("open", self.order(child)))

    def order(self, child: Remote[Any]) -> Order:
        """How a stream is opened where it has got to."""
        seen = child.received
        child.notes = [note for note in child.notes if note[0] <= seen]  # the others are made again
        ahead = child.ahead
        note = newest(child.notes, seen)
        return Order(child.which, ahead.path, child.stream, child.place, note, seen, child.quota, child.call)

    def pull(self, child: Remote[Any], calls: int) -> None:
        """List calls."""
        child.listed += calls
        self.asked += calls
        self.commands.append(("pull", [child.which] * calls))

    def want(self, child: Remote[Any]) -> None:
        """Ask it to hurry, once for each call."""
        if child.wanted != child.received:
            child.wanted = child.received
            if child.listed <= child.received:
                self.pull(child, 1)
            self.commands.append(("want", child.which))

    def drop(self, child: Remote[Any]) -> None:
        """Let it close a stream."""
        self.commands.append(("drop", child.which))

    def forget(self, child: Remote[Any]) -> None:
        """There is nothing more to come of a stream."""
        self.children.pop(child.which, None)

    # What it says.

    def release(self, n_bytes: int) -> None:
        """So many bytes more are delivered."""
        raise NotImplementedError

    def note(self, child: Remote[Any], word: str, value: Any) -> None:
        """What has happened to a stream."""
        if word == "opened":
            self.unopened -= not child.opened
            child.opened = True
            if value is not None:
                self.opening = 1 + value
        elif word == "failed" and child.opened:  # it opened before, so it is not the same
            child.length = child.received + 1
        elif word == "failed":
            self.unopened -= 1
            child.failing = True
        elif word == "ended":
            child.length = value
            child.ahead.stale = True
        elif word == "note":
            child.notes = [*keep(child.notes, child.delivered), value]
        elif word == "closed":
            child.closed, child.late = True, value
            child.ahead.dropped -= child.over and not child.adopted
            if child.over:
                self.forget(child)

    # Its end.

    def replace(self, child: Remote[Any]) -> None:
        """End a worker that does not stop a stream; the others are begun again."""
        child.closed = True
        self.forget(child)
        self.end()
        self.again()

    def end(self) -> None:
        """End the worker at once."""
        raise NotImplementedError

    def again(self) -> None:
        """Let another worker go on, from what was received."""
        self.commands.clear()
        self.asked = self.came = self.promised = self.unopened = 0
        kept = {}  # put in place when it is whole: a signal may come between any two steps
        for which, child in self.children.items():
            if child.over and not child.closed:  # it was let go
                child.closed = True
                child.ahead.dropped -= not child.adopted
                continue
            kept[which] = child
            if child.complete or (child.failing and child.outcomes):
                child.closed = True
            else:
                child.closed = child.failing = False
                child.listed, child.wanted = child.received, -1
                child.ahead.stale = True
                self.unopened += not child.opened
                self.commands.append(("open", self.order(child)))
        self.children = kept


class Hands:
    """All workers of a team."""

    def __init__(self, team: Host) -> None:
        self.team: Host = team
        self.all: list[Hand] = []

    def prepare(self) -> None:
        """Get ready, where the pipeline is begun."""

    def exchange(self, awaited: Hand | None) -> None:
        """Send what is to be sent, and take in what there is, or wait for something for a while."""
        raise NotImplementedError

    def take(self) -> bool:
        """Take in every outcome that is there; whether there was one."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Begin again where everything was delivered: a signal came while something was changing."""
        for hand in self.all:
            hand.end()
            for child in hand.children.values():
                child.outcomes.clear()
                child.weights.clear()
                child.length = None
            hand.again()

    def stop(self) -> None:
        """Stop all streams; the first error that closing them raises is raised."""
        raise NotImplementedError
