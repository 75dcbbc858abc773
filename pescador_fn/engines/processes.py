"""The worker processes of a team.

    not begun ──▶ borrowed ── hello ──▶ told the factory ──▶ told what to open and pull … ──▶ stopped, given back
                      ▲                        │ dies, is stuck, or a signal came in between
                      └── its streams, from where they were delivered ──┘

A stream in whose call a worker has died again and again is over; the others of that worker go on.
"""

from __future__ import annotations

import pickle
from contextlib import ExitStack, suppress
from typing import Any

import zmq

import pescador_fn.engines.pool as pool
from pescador_fn.engines.child import LOOK_S, Gone, Worker
from pescador_fn.engines.ending import MAX_RESTARTS, cause, check_importing, contents, told, until_stopped
from pescador_fn.engines.hands import Hand, Hands, Host
from pescador_fn.engines.pickling import dump
from pescador_fn.engines.slabs import Control
from pescador_fn.engines.wire import Raised
from pescador_fn.errors import WorkerDied
from pescador_fn.legible import named

__all__ = ["Processes"]


class _Process(Hand):
    """One process of a team, or the one that follows it."""

    def __init__(self, hands: Processes, max_bytes: int) -> None:
        super().__init__()
        self.hands = hands
        self.max_bytes = max_bytes
        self.worker: Worker | None = None
        self.ready: bool = False  # whether it has been told the factory
        self.held: int = 0  # bytes received and not delivered
        self.unborn: int = 0  # that died one after the other before they came in
        self.deaths: int = 0  # and that died while they loaded the factory

    def release(self, n_bytes: int) -> None:
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
        if worker.shut:
            self.hands.team.shut = True
            return
        if not self.ready:
            if not worker.greeted:
                return
            worker.number += 1
            control, pickled = worker.control, self.hands.pickled
            control.flags[0] = Control.GO
            control.words[1] = control.words[2] = control.words[3] = 0
            assert pickled is not None
            worker.send(b"share", pickle.dumps((worker.number, self.max_bytes, self.held)), pickled)
            self.ready = True
        if self.commands:
            worker.send(b"tell", pickle.dumps(self.commands, 5))
            self.commands.clear()

    def take(self) -> bool:
        """Take in every message that is there; whether there was one."""
        found = False
        with suppress(Gone):  # ended by `shutdown`
            while self.worker is not None and (message := self.worker.take()) is not None:
                found = True
                self._hear(self.worker, *message)
        return found

    def _hear(self, worker: Worker, number: int, word: str, runs: list[Any], extra: Any, body: bytes) -> None:
        if word == "hello":
            worker.greet()
            self.unborn = 0
        if word == "hello" or number != worker.number:  # of a stream before this one
            return
        self.deaths = 0
        outcomes = contents(worker, runs, body)
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

    def _take_in(self, outcomes: list[Any], tags: list[int], sizes: list[int], events: list[Any]) -> None:
        assert self.worker is not None
        for word, which, value in events:
            child = self.children.get(which)
            if child is not None:
                self.note(child, word, told(value, self.worker) if word == "closed" else value)
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

    # Its end.

    def is_dead(self, found: dict[Any, int]) -> bool:
        """Whether the worker has ended, after a poll, and has left no message."""
        worker = self.worker
        assert worker is not None
        if worker.socket in found or (worker.pidfd not in found if worker.pidfd >= 0 else worker.lives):
            return False
        return not worker.socket.poll(20)  # what it sent before it died came through the socket's own thread

    def bury(self) -> None:
        """Look how it died, and whose fault that was."""
        worker = self.worker
        assert worker is not None
        if worker.shut:
            self.hands.team.shut = True
            return
        which, call = (worker.control.words[3], worker.control.words[4]) if self.ready else (0, 0)
        worker.kill()
        child, restarts = self.children.get(which), self.hands.restarts
        how = f"(max_restarts={restarts}): {cause(worker.code)}"
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
            self.deaths += self.ready
            self.unborn += not self.ready
            n = max(self.deaths, self.unborn)
            if n > restarts:
                self.hands.team.failure = WorkerDied(f"parallel: a worker died {n} times by itself {how}")
        self.again()

    def end(self) -> None:
        if self.worker is not None:
            self.worker.kill()

    def again(self) -> None:
        self.worker, self.ready = None, False
        self.hands.poller = None
        self.held = sum(child.buffered for child in self.children.values())
        super().again()


class Processes(Hands):
    """All workers of a team."""

    def __init__(self, team: Host) -> None:
        super().__init__(team)
        options = team.node.options
        self.restarts: int = MAX_RESTARTS if options["max_restarts"] is None else options["max_restarts"]
        n = options["n_workers"]
        self.processes: list[_Process] = [_Process(self, max(1, options["max_bytes"] // n)) for _ in range(n)]
        self.all.extend(self.processes)
        self.poller: zmq.Poller | None = None
        self.pickled: bytes | None = None  # the factory, sent to each

    def prepare(self) -> None:
        if self.pickled is None:
            self.pickled = dump(self.team.node.of, self.team.place)

    def exchange(self, awaited: Hand | None) -> None:
        for hand in self.processes:
            try:
                hand.send()
            except Gone:
                hand.bury()
        if self.team.shut or self.take():
            return
        process = awaited if isinstance(awaited, _Process) and awaited.ready else None
        worker = None if process is None else process.worker
        if worker is not None:
            worker.control.flags[0] = Control.WAITING
        if not self.take():  # what came before it knew
            if worker is not None:
                worker.wake()
            self.team.cut = False
            self._wait()
            self.team.cut = True
            self.take()
        if worker is not None and process is not None and worker is process.worker:
            worker.control.flags[0] = Control.GO

    def take(self) -> bool:
        return sum([hand.take() for hand in self.processes]) > 0

    def _wait(self) -> None:
        """Until there is a message, or a worker is dead, at most for a while."""
        hands = [hand for hand in self.processes if hand.worker is not None]
        if self.poller is None:
            poller = zmq.Poller()
            for hand in hands:
                assert hand.worker is not None
                poller.register(hand.worker.socket, zmq.POLLIN)
                if hand.worker.pidfd >= 0:
                    poller.register(hand.worker.pidfd, zmq.POLLIN)
            self.poller = poller  # whole: a signal may come between any two steps here
        with ExitStack() as using:
            for hand in hands:
                assert hand.worker is not None
                using.enter_context(hand.worker.using)
            try:
                found = dict(self.poller.poll(int(LOOK_S * 1000)))
                dead = [hand for hand in hands if hand.is_dead(found)]
            except zmq.ZMQError:
                if all(hand.worker is not None and not hand.worker.ended for hand in hands):
                    raise
                return  # one of them is ended by `shutdown`, in a signal's handler or another thread
        for hand in dead:
            self.team.cut = True
            hand.bury()
            self.team.cut = False

    def stop(self) -> None:
        self.pickled = None  # it may be large, and the team is left to the collector of cycles
        workers = []
        for hand in self.processes:
            worker, hand.worker = hand.worker, None
            if worker is not None and hand.ready and not worker.ended:
                workers.append(worker)
            elif worker is not None and worker.greeted and not worker.ended:
                pool.give_back(worker)
            elif worker is not None:
                worker.kill()
        for worker in workers:
            worker.stop()
        late = [error for error in until_stopped(workers) if error is not None]
        if late:
            raise late[0]
