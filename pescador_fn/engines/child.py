"""A worker process as its parent sees it: its socket, its memory, the pipe that ends it."""

from __future__ import annotations

import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pescador_fn.engines.launch as launch
from pescador_fn.engines.context import forget_sockets, listen, new_socket
from pescador_fn.engines.slabs import Control, Reader, anonymous_file

if TYPE_CHECKING:
    from collections.abc import Callable

    import zmq

    from pescador_fn.engines.stamps import Stamp

__all__ = ["GRACE_S", "LOOK_S", "Gone", "Worker", "forget_all", "workers"]

GRACE_S = 0.25  # for a stream to stop, before its worker is killed
LOOK_S = 0.1  # how often a wait looks by itself whether the worker lives

_FILES = ("pipe", "memory", "pidfd")

_lock = threading.Lock()
_workers: list[weakref.ref[Worker]] = []  # no WeakSet: a signal in its callback would be printed
_names = 0


class Gone(Exception):  # noqa: N818, an event rather than an error
    """The worker has died."""


class Worker:
    """One child process, its socket, its memory, its pipe."""

    pipe: int = -1  # these three are descriptors
    memory: int = -1
    pidfd: int = -1

    def __init__(self) -> None:
        self.pid: int = os.getpid()  # whose worker it is
        self.socket: Any = None
        self.birth: launch.Birth | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.folder: str | None = None
        self.ended: bool = False
        self.shut: bool = False  # whether `shutdown` ends it, which another thread may do while this one waits for it
        self.using: threading.RLock = threading.RLock()  # the socket, which is for one thread at a time
        self.code: int | None = None  # how it ended: a code, a negative signal, or unknown
        self.let_go: bool = False  # whether nothing is held any more; a signal may come while it is let go
        self._starting: threading.RLock = threading.RLock()  # what is half made cannot be killed whole
        self.greeted: bool = False
        self.idle_since: float = 0.0
        self.stamps: dict[str, Stamp] = {}
        self.number: int = 0  # of the stream that runs, counted up
        with _lock:
            _workers[:] = [ref for ref in _workers if ref() is not None] + [weakref.ref(self)]
        with self._starting:
            try:
                self._start()
            except BaseException:
                self.kill()
                raise

    def _start(self) -> None:
        global _names  # a counter
        self.settings: launch.Settings = launch.settings()
        portable = launch.portable
        launch.check_room(sum(not (worker.greeted or worker.ended) for worker in workers()))
        read, self.pipe = os.pipe()
        try:
            read = launch.apart(read)
            self.pipe = launch.apart(self.pipe)
            self.memory = launch.apart(anonymous_file(portable))
            self.control: Control = Control(self.memory)
            self.reader: Reader = Reader(self.memory)
            self.birth = launch.Birth(self.memory, read)
            self.birth.begin()
        except BaseException:
            if self.birth is None or not self.birth.begun:
                os.close(read)
            raise
        self.process = self.birth.wait()
        if not portable and hasattr(os, "pidfd_open"):
            self.pidfd = os.pidfd_open(self.process.pid)
        import zmq  # while the child starts

        self.dont_wait: int = zmq.DONTWAIT
        self.again: type[zmq.Again] = zmq.Again
        self.refused: type[zmq.ZMQError] = zmq.ZMQError
        _names += 1
        self.socket = new_socket()
        if portable:
            self.folder = tempfile.mkdtemp(prefix="pescador_fn_")  # mode 0700
        address, key = listen(self.socket, self.process.pid, str(_names), self.folder)
        self.poller: zmq.Poller = zmq.Poller()
        self.poller.register(self.socket, zmq.POLLIN)
        if self.pidfd >= 0:
            self.poller.register(self.pidfd, zmq.POLLIN)
        with suppress(BrokenPipeError):  # dead already, which the first wait finds
            launch.tell(self.pipe, address, key, self.memory)

    # Messages.

    def send(self, *frames: bytes) -> None:
        """Send, or raise `Gone`: a bound pair would block for ever on a peer that is dead."""
        with self.using:
            if self.ended:
                raise Gone
            try:
                self.socket.send_multipart(frames, self.dont_wait)
            except self.refused as error:
                if self.ended or isinstance(error, self.again):
                    raise Gone from None
                raise

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
        """The next message, ``(number, word, runs, extra, body)``, or ``None`` if there is none yet; or `Gone`."""
        with self.using:
            if self.ended:
                raise Gone
            try:
                head, *body = self.socket.recv_multipart(self.dont_wait)
            except self.refused as error:
                if self.ended:  # by the handler of a signal that came just now
                    raise Gone from None
                if isinstance(error, self.again):
                    return None
                raise
        return (*pickle.loads(head), b"".join(body))

    def wait(self, seconds: float = LOOK_S) -> None:
        """Until there is a message, at most for a while.

        Raises:
            Gone: when the worker is dead and has left no message.
        """
        with self.using:
            if self.ended:
                raise Gone
            try:
                found = dict(self.poller.poll(max(1, int(seconds * 1000))))
                if self.socket in found:
                    return
                dead = self.pidfd in found if self.pidfd >= 0 else not self.lives
                # What it sent before it died may still be on its way through the socket's own thread.
                if dead and not self.socket.poll(20):
                    raise Gone
            except self.refused:
                if self.ended:
                    raise Gone from None
                raise

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
        if self.let_go or self.pid != os.getpid():
            return
        with self._starting:
            process = self.process
            if process is None and self.birth is not None and self.birth.begun:  # a signal came while it was started
                with suppress(Exception):
                    process = self.birth.wait()
            if process is not None:
                if process.returncode is None:  # else the number may be another's by now
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
                self._reap(process)
            self._let_go()

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end; not by `Popen.wait`, which a signal can leave with its lock shut, and then never ends."""
        if not hasattr(os, "waitid"):
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(10)  # of what the system has thrown away it says 0
                self.code = None if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN else code
            return
        until = time.monotonic() + 10
        while process.returncode is None and time.monotonic() < until:
            try:
                found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG)
            except ChildProcessError:  # nobody can know any more: SIGCHLD is ignored, or a signal came just here
                process.returncode = 0
                return
            if found is None:
                time.sleep(0.001)
                continue
            self.code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            process.returncode = self.code

    def _let_go(self) -> None:
        self.ended = True
        if self.socket is not None:
            with self.using:
                self.socket.close(0)
        self._close_files()
        self.control, self.reader = Control(-1), Reader(-1)  # of nobody: a map holds its file
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.let_go = True

    def _close_files(self) -> None:
        """In C, so that no signal comes between a number that is taken and its close."""
        deque(map(os.close, filter((0).__le__, map(vars(self).pop, _FILES, repeat(-1)))), maxlen=0)

    def stop(self) -> None:
        """Let it close what it has open; one that has not come in yet is ended."""
        if not self.greeted:
            self.kill()
        elif not self.ended:
            self.control.flags[0] = Control.RESET
            with suppress(Gone):
                self.send(b"wake")

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
        with suppress(OSError):
            self._close_files()

    def __del__(self, is_late: Callable[[], bool] = sys.is_finalizing) -> None:
        if not self.let_go and not is_late():
            try:
                self.kill()
            finally:  # a signal may have cut it short
                self.kill()


def workers() -> list[Worker]:
    """Every worker there is, idle or not."""
    return [worker for ref in _workers if (worker := ref()) is not None]


_kept: list[Any] = []  # in a forked child, the parent's: their sockets must not be closed by a destructor


def forget_all() -> None:
    """In a forked child: it has no workers; it may start its own."""
    global _lock  # the parent's
    _lock = threading.Lock()
    for worker in workers():
        worker.forget()
        _kept.append(worker)
    forget_sockets()
    _workers.clear()
