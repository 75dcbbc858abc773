"""A stream that runs in a worker process.

    consumer's thread                                   worker process
    ┌──────────────────────────────┐  START             ┌───────────────────┐
    │ more ◀─ outcomes ◀─ unpack ◀─┼────────────────────┼─ pack ◀─ rows     │
    │  │ waits: socket, pidfd      │◀── items, end ─────┤   pulls the whole │
    │  └ taken, delivered ─────────┼─ shared counters ─▶│   factory         │
    └──────────────────────────────┘                    └───────────────────┘

There is no thread in the parent: the consumer's own takes messages when it needs items. What it has been given is
counted by the list iterators that it pulls from, so that it is known exactly at any moment; a worker that dies is
replaced by another that begins at the newest note (see ``notes``) and makes the calls since again. The same way out is
taken when a signal comes in the midst of a change here.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import pescador_fn.engines.pool as pool
from pescador_fn.engines.child import Gone, Worker
from pescador_fn.engines.delivery import Delivery
from pescador_fn.engines.ending import MAX_RESTARTS, cause, check_importing, contents, told, until_stopped
from pescador_fn.engines.lane import SHUT
from pescador_fn.engines.notes import Note, check, keep, newest, noted
from pescador_fn.engines.pickling import dump
from pescador_fn.engines.slabs import Control
from pescador_fn.engines.wire import Outcome, Raised
from pescador_fn.errors import WorkerDied
from pescador_fn.legible import named
from pescador_fn.running import flow, raising

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator

    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader, Saver

__all__ = ["InProcess"]

T = TypeVar("T")


class InProcess(Delivery[T]):
    """The consumer's side of one stream in a worker."""

    __slots__ = (
        "__weakref__",
        "call",
        "deaths",
        "died_at",
        "ended",
        "late",
        "opened",
        "owner",
        "pickled",
        "place",
        "ready",
        "worker",
    )

    cut: bool

    given: tuple[Any, int, int]
    notes: list[Note]
    outcomes: deque[Outcome]
    over: bool

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__()
        self.node = node
        self.place: Place = place
        self.pickled: bytes | None = None  # the factory and its place, kept for another worker
        self.worker: Worker | None = None
        self.ready: bool = False  # whether the worker has been told to start
        self.opened: bool = False  # whether the stream has
        self.ended: bool = False  # whether the worker has said so
        self.call: int = -1  # in which the last worker died
        self.deaths: int = 0  # since the last new item
        self.died_at: int = -1  # calls received when it last died
        self.late: BaseException | None = None  # what closing raised in the worker
        self.owner: int = os.getpid()

    def __iter__(self) -> Iterator[T]:
        if not self.opened and not self.over:
            if self.cut:
                self._abandon()
            self.cut = True
            failure = self._open()
            self.cut = False
            try:
                if failure is not None:
                    raise failure
            finally:
                failure = None  # it holds this frame by now
        return flow(self.refill)

    # Opening.

    def _open(self) -> BaseException | None:
        """Start the stream, and wait until it is open, so that a mux above sees what does not open."""
        while True:
            if self.worker is None:
                self._begin()
            failed = self._fetch()
            if failed is not None:
                return failed
            if self.opened or self.over:
                return None

    def _begin(self) -> None:
        """Borrow a worker and let it start, at the call that is next."""
        check_importing()
        self.cut = False  # a borrowed worker that a signal loses is killed by its destructor
        worker = pool.borrow()
        self.cut = True
        if self.pickled is None:  # while the worker starts
            self.place.key  # noqa: B018, it fixes the entropy of an unseeded root: a replay must draw the same
            try:
                self.pickled = dump(self.node.of, self.place)
            except TypeError:
                self.over = True
                if worker.greeted:
                    pool.give_back(worker)
                raise
        self.worker, self.ready = worker, False

    def _start(self, worker: Worker) -> None:
        worker.number += 1
        control = worker.control
        control.flags[0] = Control.GO
        control.words[1] = control.words[2] = 0
        received = self.received
        self.notes = [note for note in self.notes if note[0] <= received]  # the others are made again
        note = newest(self.notes, received)
        head = (worker.number, note, received, self.call, self.node.options["max_bytes"])
        assert self.pickled is not None
        worker.send(b"start", pickle.dumps(head), self.pickled)
        self.ready = True

    # Delivery.

    def more(self) -> Iterator[T] | None:
        while True:
            items = self.hand_out()
            if items is not None:
                return items
            if self.ended or self.over:
                return None
            if self.worker is None:
                self._begin()
            failed = self._fetch()
            if failed is not None:
                return raising(failed)

    def _fetch(self) -> BaseException | None:
        """Wait for one message and take it in; or replace a worker that is dead; or say why that is given up."""
        worker = self._mine()
        try:
            if not self.ready and worker.greeted:
                self._start(worker)
            message = worker.take()
            if message is None:
                if self.ready:
                    worker.control.flags[0] = Control.WAITING
                    message = worker.take()
                if message is None:
                    if self.ready:
                        worker.wake()
                    self.cut = False
                    worker.wait()
                    self.cut = True
                    return None
            if self.ready:
                worker.control.flags[0] = Control.GO
            return self._take_in(worker, message)
        except Gone:
            self.cut = True
            return self._bury(self._mine())

    def _take_in(self, worker: Worker, message: Any) -> BaseException | None:
        number, word, runs, extra, body = message
        if word == "hello":
            worker.greet()
        if number != worker.number:  # of a stream before this one
            return None
        if word == "items":
            self.outcomes += contents(worker, runs, body)
            self.opened = True
            worker.control.words[2] += 1
            worker.control.words[1], note = extra
            if note is not None:
                self.notes = [*keep(self.notes, self.delivered), note]
            worker.wake()
        elif word in ("end", "failed"):
            late, worker.stamps = extra
            self.late = told(late, worker)
            failures = contents(worker, runs, body)
            self.opened = self.ended = word == "end"
            self.over = not self.ended
            self.worker = None
            pool.give_back(worker)
            for failure in failures:
                assert isinstance(failure, Raised)
                return failure.box.pop()
        return None

    # Death.

    def _bury(self, worker: Worker) -> BaseException | None:
        """Look how a worker died, and let another take over where this one's outcomes end."""
        last, self.call = self.call, worker.control.words[3] if self.ready else self.call
        self.worker = None
        worker.kill()
        received = self.received
        # One that got further was only not quick enough to send what it had made.
        self.deaths = self.deaths + 1 if received == self.died_at and self.call <= last else 1
        self.died_at = received
        restarts = self.node.options["max_restarts"]
        restarts = MAX_RESTARTS if restarts is None else restarts
        if self.deaths > restarts:
            self.over = True
            return WorkerDied(
                f"parallel: the worker of {named(self.node.of)} died {self.deaths} times at call {received} "
                f"(max_restarts={restarts}): {cause(worker.code)}"
            )
        return None

    def _mine(self) -> Worker:
        if self.owner != os.getpid():
            self.cut = False
            raise RuntimeError(
                "parallel: the stream was opened before a fork and belongs to the parent; call its factory again"
            )
        assert self.worker is not None
        if self.worker.shut:
            self.cut = False
            raise RuntimeError(SHUT)
        return self.worker

    def broken(self) -> Iterator[T]:
        # A signal came while this was changing. What is half done is thrown away, and the stream is replayed.
        self._abandon()
        self.cut = False
        return iter(())

    def _abandon(self) -> None:
        worker, self.worker = self.worker, None
        self.outcomes.clear()
        self.ended = False
        if worker is not None:
            worker.kill()

    # States.

    def save(self, saver: Saver) -> Any:
        """A note, the calls delivered since, and whether the end was met."""
        del saver  # a note speaks for itself
        delivered = self.delivered
        number, snapshot = noted(self.notes, delivered, self.node.of, self.place)
        return [snapshot, delivered - number, self.done]

    def load(self, state: Any, loader: Loader) -> None:
        check(self.node.of, self.place, state[0], loader)
        self.stand(state)

    # The end.

    @property
    def done(self) -> bool:
        return (self.ended or self.over) and not self.outcomes and not self.given[0].__length_hint__()

    def close(self) -> None:
        self.over = True
        self.pickled = None
        self.let_go()
        worker, self.worker = self.worker, None
        if worker is not None and self.owner == os.getpid():
            if self.ready and not worker.ended and not self.cut:  # else a message may be half taken
                worker.stop()
                (self.late,) = until_stopped([worker])
            else:
                worker.kill()
        late, self.late = self.late, None
        if late is not None:
            raise late

    def __del__(self, is_late: Callable[[], bool] = sys.is_finalizing) -> None:
        if self.worker is not None and not is_late():  # the modules that closing needs may be gone by then
            self.close()
