"""How streams in worker processes end: stopped and the worker kept, or killed; and what a death is called."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pescador_fn.engines.launch as launch
import pescador_fn.engines.pool as pool
from pescador_fn.engines.child import GRACE_S, Gone
from pescador_fn.engines.wire import Outcome, Raised, refs_in, unpack

if TYPE_CHECKING:
    from pescador_fn.engines.child import Worker

__all__ = ["MAX_RESTARTS", "cause", "check_importing", "contents", "told", "until_stopped"]

MAX_RESTARTS = 3  # where nothing else is said


def check_importing() -> None:
    """That this is no worker that imports a module which starts workers.

    Raises:
        RuntimeError: if it is.
    """
    if launch.importing:
        raise RuntimeError(
            "parallel: a module started a process stream while a worker was importing it, which would start "
            "workers without end; start it below `if __name__ == '__main__':`, or in a function"
        )


def until_stopped(workers: list[Worker]) -> list[BaseException | None]:
    """Wait until workers have stopped and keep them, or kill those that do not stop in time; what closing raised."""
    until = time.monotonic() + GRACE_S
    return [_until_stopped(worker, until) for worker in workers]


def _until_stopped(worker: Worker, until: float) -> BaseException | None:
    error: BaseException | None = None
    try:
        while (left := until - time.monotonic()) > 0:
            message = worker.take()
            if message is None:
                worker.wait(left)
                continue
            number, word, runs, extra, _ = message
            if number != worker.number:
                continue
            for ref in refs_in(runs):
                worker.reader.free(ref)
            if word == "items" and len(extra) == 3:  # of several streams, with what has happened to them
                found = [told(value, worker) for event, _, value in extra[2] if event == "closed" and value]
                error = next(iter(found), error)
            if word in ("idle", "end", "failed"):
                late, worker.stamps = extra
                error = error or told(late, worker)
                pool.give_back(worker)
                return error
    except Gone:
        pass
    except BaseException:
        worker.kill()
        raise
    worker.kill()
    return None


def contents(worker: Worker, runs: list[Any], body: bytes) -> list[Outcome]:
    """What a message holds; a worker's slabs are there for as long as it has not been let go, by whichever thread.

    Raises:
        Gone: if it has been.
    """
    with worker.using:
        if worker.ended:
            raise Gone
        return unpack(runs, body, worker.reader)


def told(late: Any, worker: Worker) -> BaseException | None:
    """What a worker could not raise by itself."""
    if late is None:
        return None
    runs, body = late
    (outcome,) = contents(worker, runs, body)
    assert isinstance(outcome, Raised)
    return outcome.box.pop()


def cause(code: int | None) -> str:
    """How a process ended, and what that most likely means."""
    if code is None:
        return "how it ended is unknown, since this process ignores SIGCHLD"
    if code >= 0:
        return f"exit code {code}; the stream, or a library that it uses, ended the process, as os._exit does"
    name = f"signal {-code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
    why = _WHY.get(-code)
    return f"{name}; {why}" if why else name


_WHY: dict[int, str] = {
    signal.SIGKILL: "killed from outside, as the system does when memory runs out",
    signal.SIGSEGV: "a fault in C code that the stream uses",
    signal.SIGBUS: "a file that it had mapped was cut short, or a disk is full",
    signal.SIGABRT: "C code that the stream uses gave up",
    signal.SIGTERM: "ended from outside",
}
