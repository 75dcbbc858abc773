"""The pool in which worker processes are kept warm.

        borrow                         give_back
    ┌────────────▶ lent to one stream ─────────────┐
    │                    │ dies, is stuck, shutdown │
    │                    ▼                         ▼
  start ◀─ none ── idle ──▶ ended ◀── idle for a while, settings or modules changed

A worker is lent to one stream at a time, so that one that is stuck harms nobody else when it is killed.
"""

from __future__ import annotations

import _thread
import atexit
import os
import threading
import time

import pescador_fn.engines.launch as launch
from pescador_fn.engines.child import GRACE_S, Worker, forget_all, workers
from pescador_fn.engines.context import take_context
from pescador_fn.engines.stamps import differ

__all__ = ["borrow", "give_back", "shutdown"]

IDLE_S = 60.0  # after which an idle worker leaves

_lock = threading.RLock()
_idle: list[Worker] = []
_timer: threading.Timer | None = None


def borrow() -> Worker:
    """A worker for one stream: an idle one that still fits, or a new one."""
    now = launch.settings()
    while True:
        with _lock:
            if not _idle:
                break
            worker = _idle.pop()
        if worker.settings == now and worker.lives and not worker.shut and not differ(worker.stamps):
            return worker
        worker.kill()
    return _started()


def _started() -> Worker:
    """A new worker, made on another thread: a signal that comes half-way must not lose a process."""
    made: list[Worker] = []
    failed: list[BaseException] = []
    done = threading.Lock()  # by itself, since a signal may cut what else waits for a thread while it holds a lock
    done.acquire()

    def start() -> None:
        try:
            made.append(Worker())
        except BaseException as error:
            failed.append(error)
        done.release()

    def wait() -> None:
        while not (made or failed):
            done.acquire(timeout=1)

    _thread.start_new_thread(start, ())
    try:
        wait()
    except BaseException:
        wait()
        made.clear()  # the last reference, so it is killed
        raise
    if failed:
        raise failed.pop()
    return made.pop()


def give_back(worker: Worker) -> None:
    """Keep a worker that has finished its stream for the next one, unless `shutdown` is about to end it."""
    if worker.shut:
        worker.kill()
        return
    worker.idle_since = time.monotonic()
    with _lock:
        _idle.append(worker)
    _watch()


def _watch() -> None:
    """See to it that idle workers leave after a while."""
    global _timer  # one for all
    with _lock:
        if _timer is None and _idle:
            wait = max(0.01, min(worker.idle_since for worker in _idle) + IDLE_S - time.monotonic())
            _timer = threading.Timer(wait, _let_idle_leave)
            _timer.daemon = True
            _timer.name = "pescador_fn idle"
            _timer.start()


def _let_idle_leave() -> None:
    global _timer  # one for all
    with _lock:
        _timer = None
        old = [worker for worker in _idle if time.monotonic() - worker.idle_since >= IDLE_S]
        for worker in old:
            _idle.remove(worker)
    _end(old)
    _watch()


def _end(workers: list[Worker]) -> None:
    for worker in workers:
        worker.ask_to_leave()
    until = time.monotonic() + 2 * GRACE_S
    for worker in workers:
        worker.leave(until)


def shutdown() -> None:
    """End every worker, idle or not, and everything that belongs to them; what they have open is closed first."""
    global _timer  # it begins again with the next worker
    with _lock:
        timer, _timer = _timer, None
        idle, _idle[:] = list(_idle), []
        busy = [worker for worker in workers() if worker not in idle]
        context = take_context()  # now, since workers that are started from here on live on
    if timer is not None:
        timer.cancel()
        timer.join()
    for worker in busy:
        worker.shut = True  # first, or its stream would replace it
        worker.stop()
    _end(busy + idle)
    if context is not None:
        context.destroy(0)


def _in_child() -> None:
    global _timer, _lock  # the parent's
    _lock = threading.RLock()
    forget_all()  # first, while there is still something that holds the idle ones
    _idle.clear()
    _timer = None


os.register_at_fork(after_in_child=_in_child)
atexit.register(shutdown)
