"""Worker processes as their parent sees them, and the pool in which they are kept warm.

        borrow                         give_back
    ┌────────────▶ lent to one stream ─────────────┐
    │                    │ dies, is stuck, shutdown │
    │                    ▼                         ▼
  start ◀─ none ── idle ──▶ ended ◀── idle for a while, settings or modules changed

A worker is lent to one stream at a time, so that one that is stuck harms nobody else when it is killed.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pescador_fn.engines.launch as launch
from pescador_fn.engines.slabs import Control, Reader, anonymous_file

if TYPE_CHECKING:
    import zmq

__all__ = ["Gone", "Worker", "borrow", "give_back", "shutdown"]

IDLE_S = 60.0  # after which an idle worker leaves
GRACE_S = 0.25  # for a stream to stop, before its worker is killed
LOOK_S = 0.1  # how often a wait looks by itself whether the worker lives

_lock = threading.RLock()
_idle: list[Worker] = []
_workers: list[weakref.ref[Worker]] = []  # no WeakSet: a signal in its callback would be printed
_timer: threading.Timer | None = None
_context: zmq.Context[zmq.Socket[bytes]] | None = None
_names = 0


class Gone(Exception):  # noqa: N818, an event rather than an error
    """The worker has died."""


def _new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """The sockets' context: this library's own, never the instance that others share."""
    global _context  # it ends with `shutdown`
    import zmq  # not before the first process has been started, which takes longer

    if _context is None:
        _context = zmq.Context()
    return _context


class Worker:
    """One child process, its socket, its memory, its pipe."""

    def __init__(self) -> None:
        global _names  # a counter
        self.pid: int = os.getpid()  # whose worker it is
        self.pipe: int = -1
        self.memory: int = -1
        self.pidfd: int = -1
        self.socket: Any = None
        self.process: subprocess.Popen[bytes] | None = None
        self.folder: str | None = None
        self.ended: bool = False
        self.greeted: bool = False
        self.idle_since: float = 0.0
        self.stamps: dict[str, tuple[int, int]] = {}
        self.number: int = 0  # of the stream that runs, counted up
        with _lock:
            _workers[:] = [ref for ref in _workers if ref() is not None] + [weakref.ref(self)]
        try:
            self._start()
        except BaseException:
            self.kill()
            raise

    def _start(self) -> None:
        global _names  # a counter
        self.settings: launch.Settings = launch.settings()
        portable = launch.portable
        read, self.pipe = os.pipe()
        try:
            self.memory = anonymous_file(portable)
            self.control: Control = Control(self.memory)
            self.reader: Reader = Reader(self.memory)
            self.process = launch.start(self.memory, read)
        finally:
            os.close(read)
        if not portable and hasattr(os, "pidfd_open"):
            self.pidfd = os.pidfd_open(self.process.pid)
        import zmq  # while the child starts

        self.dont_wait: int = zmq.DONTWAIT
        self.again: type[zmq.Again] = zmq.Again
        _names += 1
        self.socket = _new_context().socket(zmq.PAIR)
        self.socket.linger = 0
        self.socket.set_hwm(0)
        if portable:
            self.folder = tempfile.mkdtemp(prefix="pescador_fn_")  # mode 0700
            address = f"ipc://{self.folder}/{_names}"
        else:
            # Nobody but this child is let in: a pair takes the first that comes.
            self.socket.setsockopt(zmq.IPC_FILTER_PID, self.process.pid)
            address = f"ipc://@pescador_fn/{self.pid}/{_names}/{os.urandom(8).hex()}"
        self.socket.bind(address)
        self.poller: zmq.Poller = zmq.Poller()
        self.poller.register(self.socket, zmq.POLLIN)
        if self.pidfd >= 0:
            self.poller.register(self.pidfd, zmq.POLLIN)
        with suppress(BrokenPipeError):  # dead already, which the first wait finds
            launch.tell(self.pipe, address, self.memory)

    # Messages.

    def send(self, *frames: bytes) -> None:
        """Send, or raise `Gone`: a bound pair would block for ever on a peer that is dead."""
        if self.ended:
            raise Gone
        try:
            self.socket.send_multipart(frames, self.dont_wait)
        except self.again:
            raise Gone from None

    def wake(self) -> None:
        """Let a worker that waits for room look again."""
        if self.control.flags[1]:
            with suppress(Gone):
                self.send(b"wake")

    def greet(self) -> None:
        """The child has come in: nobody else needs to find the way, and no file of it is left whatever happens."""
        self.greeted = True
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def take(self) -> Any:
        """The next message, ``(number, word, runs, extra, body)``, or ``None`` if there is none yet."""
        try:
            head, body = self.socket.recv_multipart(self.dont_wait)
        except self.again:
            return None
        return (*pickle.loads(head), body)

    def wait(self, seconds: float = LOOK_S) -> None:
        """Until there is a message, at most for a while.

        Raises:
            Gone: when the worker is dead and has left no message.
        """
        if self.ended:
            raise Gone
        milliseconds = max(1, int(seconds * 1000))
        found = dict(self.poller.poll(milliseconds))
        if self.socket in found:
            return
        dead = self.pidfd in found if self.pidfd >= 0 else not self.lives
        # What it sent before it died may still be on its way through the socket's own thread.
        if dead and not self.socket.poll(20):
            raise Gone

    @property
    def lives(self) -> bool:
        """Whether the process runs; it is not reaped, so that its number still names its group when that is killed."""
        if self.process is None or self.process.returncode is not None:
            return False
        if not hasattr(os, "waitid"):
            return self.process.poll() is None
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    # The end.

    def kill(self) -> None:
        """End the process and everything it started, at once, and let go of all that belongs to it."""
        if self.ended or self.pid != os.getpid():
            return
        process = self.process
        if process is not None:
            if process.returncode is None:  # else the number may be another's by now
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
        self._let_go()

    def _let_go(self) -> None:
        self.ended = True
        if self.socket is not None:
            self.socket.close(0)
        for name in ("pipe", "memory", "pidfd"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def ask_to_leave(self) -> None:
        """Let an idle worker end by itself; `kill` follows."""
        with suppress(Gone):
            self.send(b"exit")

    def leave(self, until: float) -> None:
        """Wait for the end until a time of ``time.monotonic``, then kill."""
        while self.lives and time.monotonic() < until:
            if self.pidfd >= 0:
                select.select([self.pidfd], [], [], max(0.0, until - time.monotonic()))
            else:
                time.sleep(0.005)
        self.kill()

    def forget(self) -> None:
        """In a forked child: close what keeps the parent's worker from noticing its parent's death."""
        for name in ("pipe", "memory", "pidfd"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)

    def exit_code(self) -> int | None:
        """How it ended: a code, a negative signal, ``None`` where nobody can know."""
        if self.process is None or signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            return None  # the system has thrown it away, and `Popen` says 0
        return self.process.returncode

    def __del__(self) -> None:
        if not self.ended:
            self.kill()


# The pool.


def borrow() -> Worker:
    """A worker for one stream: an idle one that still fits, or a new one."""
    now = launch.settings()
    while True:
        with _lock:
            if not _idle:
                break
            worker = _idle.pop()
        if worker.settings == now and worker.lives and not _stale(worker):
            return worker
        worker.kill()
    return _started()


def _stale(worker: Worker) -> bool:
    """Whether a module that it has imported has changed on disk."""
    for path, stamp in worker.stamps.items():
        try:
            found = os.stat(path)
        except OSError:
            return True
        if stamp != (found.st_mtime_ns, found.st_size):
            return True
    return False


def _started() -> Worker:
    """A new worker, made on another thread: a signal that comes half-way must not lose a process."""
    made: list[Worker] = []
    failed: list[BaseException] = []

    def start() -> None:
        try:
            made.append(Worker())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=start, name="pescador_fn start")
    thread.start()
    try:
        thread.join()
    except BaseException:
        thread.join()
        made.clear()  # the last reference, so it is killed
        raise
    if failed:
        raise failed.pop()
    return made.pop()


def give_back(worker: Worker) -> None:
    """Keep a worker that has finished its stream for the next one."""
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
    """End every worker, idle or not, and everything that belongs to them."""
    global _timer, _context  # they begin again with the next worker
    with _lock:
        timer, _timer = _timer, None
        idle, _idle[:] = list(_idle), []
        busy = [worker for ref in _workers if (worker := ref()) is not None and worker not in idle]
    if timer is not None:
        timer.cancel()
        timer.join()
    for worker in busy:
        worker.kill()
    _end(idle)
    with _lock:
        context, _context = _context, None
    if context is not None:
        context.destroy(0)


def _in_child() -> None:
    """A forked child has no workers; it may start its own."""
    global _timer, _context, _lock  # the parent's
    _lock = threading.RLock()
    workers = [worker for ref in _workers if (worker := ref()) is not None]
    for worker in workers:
        worker.forget()
    _kept.extend(workers)
    _kept.append(_context)
    _idle.clear()
    _workers.clear()
    _timer = _context = None


_kept: list[Any] = []  # in a forked child, the parent's: their sockets must not be closed by a destructor
os.register_at_fork(after_in_child=_in_child)
atexit.register(shutdown)
