"""The worker processes of a team, as the parent talks to them.

not begun ──▶ borrowed ── hello ──▶ told the factory ──▶ told what to open and pull … ──▶ stopped, given back
▲                        │ dies, is stuck, or a signal came in between
└── its streams, from where they were delivered ──┘
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import zmq

import pescador_fn.engines.pool as pool
from pescador_fn.engines import MAX_RESTARTS
from pescador_fn.engines.crew import Order
from pescador_fn.engines.notes import keep, newest
from pescador_fn.engines.pool import Gone, Worker
from pescador_fn.engines.process import ask_to_stop, cause, check_importing, told, until_stopped
from pescador_fn.engines.slabs import Control
from pescador_fn.engines.wire import Raised, unpack
from pescador_fn.errors import WorkerDied
from pescador_fn.legible import named

if TYPE_CHECKING:
    from pescador_fn.engines.remote import Remote
    from pescador_fn.engines.team import Team

__all__ = ["Hand", "Hands"]


class Hand:
    """One worker of a team, or the one that follows it."""

    def __init__(self, hands: Hands, max_bytes: int) -> None:
        self.hands = hands
        self.max_bytes = max_bytes
        self.worker: Worker | None = None
        self.ready: bool = False  # whether it has been told the factory
        self.commands: list[tuple[str, Any]] = []  # to be sent
        self.children: dict[int, Remote[Any]] = {}
        self.count: int = 0  # streams so far
        self.unopened: int = 0
        self.asked: int = 0  # calls listed
        self.came: int = 0  # calls received
        self.held: int = 0  # bytes received and not delivered
        self.deaths: int = 0  # one after the other, without a word

    @property
    def load(self) -> tuple[int, int]:
        """How much it has to do: streams to open, calls to make."""
        return self.unopened, self.asked - self.came

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

    def release(self, n_bytes: int) -> None:
        """So many bytes more are delivered."""
        self.held -= n_bytes
        if self.worker is not None and self.ready:
            self.worker.control.words[1] += n_bytes
            self.worker.wake()

    def send(self) -> None:
        """Send what is to be sent, if it is there by now."""
        if self.worker is None:
            if not self.commands:
                return
            check_importing()
            team = self.hands.team
            team.cut = False  # a borrowed worker that a signal loses is killed by its destructor
            worker = pool.borrow()
            team.cut = True
            self.worker, self.ready = worker, False
            self.hands.poller = None
        worker = self.worker
        if worker.ended:
            raise RuntimeError("parallel: the stream was ended by shutdown(); call its factory again")
        if not self.ready:
            if not worker.greeted:
                return
            worker.number += 1
            control, pickled = worker.control, self.hands.team.pickled
            control.flags[0] = Control.GO
            control.words[1] = control.words[2] = control.words[3] = 0
            assert pickled is not None
            worker.send(b"share", pickle.dumps((worker.number, self.max_bytes, self.held)), pickled)
            self.ready = True
        if self.commands:
            worker.send(b"tell", pickle.dumps(self.commands, 5))
            self.commands.clear()

    # What it says.

    def take(self) -> bool:
        """Take in every message that is there; whether there was one."""
        found = False
        while self.worker is not None and (message := self.worker.take()) is not None:
            found = True
            number, word, runs, extra, body = message
            worker = self.worker
            if word == "hello":
                worker.greet()
            if number != worker.number:  # of a stream before this one
                continue
            self.deaths = 0
            outcomes = unpack(runs, body, worker.reader)
            if word == "items":
                worker.control.words[2] += 1
                self._take_in(outcomes, *extra)
                worker.wake()
            elif word == "failed":
                _, worker.stamps = extra
                self.worker = None
                pool.give_back(worker)
                (failure,) = outcomes
                assert isinstance(failure, Raised)
                self.hands.team.failure = failure.box.pop()
        return found

    def _take_in(self, outcomes: list[Any], tags: list[int], sizes: list[int], events: list[Any]) -> None:
        for word, which, value in events:
            child = self.children.get(which)
            if child is not None:
                self._note(child, word, value)
        flat: list[Any] = []
        for outcome in outcomes:
            if isinstance(outcome, Raised):
                flat.append(outcome)
            else:
                flat += outcome
        self.came += len(flat)
        for which, size, one in zip(tags, sizes, flat, strict=True):
            child = self.children.get(which)
            self.held += size
            if child is None or child.over:
                self.release(size)
            else:
                child.receive(one, size)

    def _note(self, child: Remote[Any], word: str, value: Any) -> None:
        """What has happened to a stream."""
        if word in ("opened", "failed"):
            self.unopened -= not child.opened
            if word == "opened" or child.opened:
                child.opened = True
            else:
                child.failing = True
            if word == "failed" and child.opened:  # it opened before: it is not the same
                child.length = child.received + 1
        elif word == "ended":
            child.length = value
            child.ahead.stale = True
        elif word == "note":
            child.notes = [*keep(child.notes, child.delivered), value]
        elif word == "closed":
            assert self.worker is not None
            child.closed, child.late = True, told(value, self.worker)
            child.ahead.dropped -= child.over and not child.adopted
            if child.over:
                self.forget(child)

    # Its end.

    def bury(self) -> None:
        """Look how it died, and whose fault that was."""
        worker = self.worker
        assert worker is not None
        which, call = (worker.control.words[3], worker.control.words[4]) if self.ready else (0, 0)
        worker.kill()
        child, restarts = self.children.get(which), self.hands.restarts
        how = f"(max_restarts={restarts}): {cause(worker.exit_code())}"
        if child is not None and not child.complete:
            received = child.received
            # One that got further was only not quick enough to send what it had made.
            again = received == child.died_at and call <= child.call
            child.deaths = child.deaths + 1 if again else 1
            child.died_at, child.call = received, call
            if child.deaths > restarts:
                what = named(child.ahead.unit.node.of.items[child.stream])
                where = child.ahead.unit.node.of.label(child.stream)
                died = WorkerDied(
                    f"parallel: the worker that ran factories[{where!r}], {what}, died {child.deaths} times "
                    f"at call {received} {how}"
                )
                child.receive(Raised(died), 0)
                child.opened, child.length, child.closed = True, received + 1, True
        else:
            self.deaths += 1
            if self.deaths > restarts:
                self.hands.team.failure = WorkerDied(f"parallel: a worker died {self.deaths} times by itself {how}")
        self.again()

    def replace(self, child: Remote[Any]) -> None:
        """End a worker that does not stop a stream; the others are begun again."""
        child.closed = True
        self.forget(child)
        if self.worker is not None:
            self.worker.kill()
        self.again()

    def again(self) -> None:
        """Let another worker go on, from what was received."""
        self.worker, self.ready = None, False
        self.hands.poller = None
        self.commands.clear()
        self.asked = self.came = self.unopened = 0
        children, self.children = self.children, {}
        for which, child in children.items():
            if child.over and not child.closed:  # it was let go
                child.closed = True
                child.ahead.dropped -= not child.adopted
            elif child.complete or (child.failing and child.outcomes):
                child.closed = True
            else:
                child.closed = child.failing = False
                child.listed, child.wanted = child.received, -1
                child.ahead.stale = True
                self.children[which] = child
                self.unopened += not child.opened
                self.commands.append(("open", self.order(child)))


class Hands:
    """All workers of a team."""

    def __init__(self, team: Team) -> None:
        self.team = team
        options = team.node.options
        self.restarts: int = MAX_RESTARTS if options["max_restarts"] is None else options["max_restarts"]
        n = options["n_workers"]
        self.all: list[Hand] = [Hand(self, max(1, options["max_bytes"] // n)) for _ in range(n)]
        self.poller: zmq.Poller | None = None

    def exchange(self, awaited: Hand) -> None:
        """Send what is to be sent, and take in what there is, or wait for something for a while."""
        for hand in self.all:
            try:
                hand.send()
            except Gone:
                hand.bury()
        if self._take():
            return
        worker = awaited.worker
        if worker is not None and awaited.ready:
            worker.control.flags[0] = Control.WAITING
        if not self._take():  # what came before it knew
            if worker is not None and awaited.ready:
                worker.wake()
            self.team.cut = False
            self._wait()
            self.team.cut = True
            self._take()
        if worker is not None and awaited.ready and worker is awaited.worker:
            worker.control.flags[0] = Control.GO

    def _take(self) -> bool:
        return any(hand.take() for hand in self.all)

    def _wait(self) -> None:
        """Until there is a message, or a worker is dead, at most for a while."""
        hands = [hand for hand in self.all if hand.worker is not None]
        if self.poller is None:
            self.poller = zmq.Poller()
            for hand in hands:
                assert hand.worker is not None
                self.poller.register(hand.worker.socket, zmq.POLLIN)
                if hand.worker.pidfd >= 0:
                    self.poller.register(hand.worker.pidfd, zmq.POLLIN)
        found = dict(self.poller.poll(int(pool.LOOK_S * 1000)))
        for hand in hands:
            worker = hand.worker
            assert worker is not None
            if worker.socket not in found and (worker.pidfd in found if worker.pidfd >= 0 else not worker.lives):
                if worker.socket.poll(20):  # what it sent before it died came through the socket's own thread
                    continue
                self.team.cut = True
                hand.bury()
                self.team.cut = False

    def abandon(self) -> None:
        """Begin again where everything was delivered: a signal came while something was changing."""
        for hand in self.all:
            if hand.worker is not None:
                hand.worker.kill()
            for child in hand.children.values():
                child.outcomes.clear()
                child.weights.clear()
                child.length = None
            hand.held = 0
            hand.again()

    def stop(self) -> None:
        """Stop all streams and keep the workers, but for those that do not stop in time."""
        workers = []
        for hand in self.all:
            worker, hand.worker = hand.worker, None
            if worker is not None and hand.ready and not worker.ended:
                workers.append(worker)
            elif worker is not None and worker.greeted and not worker.ended:
                pool.give_back(worker)
            elif worker is not None:
                worker.kill()
        for worker in workers:
            ask_to_stop(worker)
        late = [error for error in until_stopped(workers) if error is not None]
        if late:
            raise late[0]
