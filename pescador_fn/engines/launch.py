"""How a worker process begins, and how it ends with its parent.

    parent                                               child
      │ pipe, file of shared memory                        │
      ├──────────── a fresh interpreter, -P -c ───────────▶│
      │ a socket that lets in this process id only         │ waits on the pipe
      ├──── pipe: paths, address ─────────────────────────▶│ imports the library, by the parent's paths
      │                                                    │ arms the pipe: its hang-up is SIGKILL to the group
      │◀─── socket: hello ─────────────────────────────────┤
      ┆                                                    ┆
      ✕ dies, however ── the kernel hangs up the pipe ────▶✕ and everything that it started

No fork, so no lock or thread is inherited half-way, and no main guard is needed: nothing is imported but this library.
Where the system lacks one of Linux's means, the portable one beside it is used: an unlinked file for memory, a thread
that reads the pipe, a socket file in a private directory and a key that is told through the pipe.
"""

from __future__ import annotations

import _thread
import errno
import fcntl
import importlib
import marshal
import os
import select
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

__all__ = ["Birth", "Settings", "apart", "bound_to", "check_room", "importing", "portable", "settings", "start", "tell"]

portable: bool = sys.platform != "linux"  # whether to do without what only Linux has; the tests force it
importing: bool = False  # in a worker: whether a factory is being unpickled, and modules are imported for it

Settings = tuple[Any, ...]

ROOM = 16  # descriptors, of which the start of a worker takes at most 13

# Every thread of a numerical library in every worker would be many more threads than cores.
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# What the child runs. This library is found by its place, not by a search, and before the parent's own folders are
# searched: a queue.py beside the script must not stand in for the standard library's while the library is imported.
_CODE = """
import sys, os, marshal
fd = int(sys.argv[1])
data = b""
while True:
    more = os.read(fd, 65536)
    if not more:
        os._exit(1)
    data += more
    if len(data) >= 8 and len(data) - 8 == int.from_bytes(data[:8], "little"):
        break
told = marshal.loads(data[8:])
sys.argv[:] = told["argv"]
sys.path += [entry for entry in told["path"] if entry not in sys.path]
from importlib.util import module_from_spec, spec_from_file_location
folder = told["package"]
spec = spec_from_file_location("pescador_fn", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])
sys.modules["pescador_fn"] = package = module_from_spec(spec)
spec.loader.exec_module(package)
from pescador_fn.engines.worker import main
sys.path[:] = told["path"]
main(told, fd)
"""


def settings() -> Settings:
    """What a worker has from its parent when it is started; one that was started with other settings is not used."""
    try:
        folder: str | None = os.getcwd()
    except OSError:  # it has been removed
        folder = None
    return sys.executable, tuple(sys.path), folder, dict(os.environ), portable


def check_room(n_coming: int) -> None:
    """See that enough descriptors can be opened for one worker more, and for ``n_coming`` that are yet to come in.

    Where ZeroMQ cannot open one that it needs, it ends the process.

    Raises:
        OSError: if there are too few.
    """
    n = ROOM + n_coming
    taken: list[int] = []
    try:
        taken += os.pipe()
        while len(taken) < n:
            taken.append(os.dup(taken[0]))
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        raise OSError(
            errno.EMFILE,
            f"parallel: no worker can be started, since this process may open fewer than {n} files more; "
            "raise its limit (ulimit -n), or close some",
        ) from None
    finally:
        deque(map(os.close, taken), maxlen=0)


def apart(fd: int) -> int:
    """A descriptor, moved where it is in nobody's way: where standard input is closed, the next one has its number."""
    if fd > 2:
        return fd
    moved: int = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def start(memory: int, pipe: int) -> subprocess.Popen[bytes]:
    """A fresh interpreter that waits to be told; it inherits two descriptors, and nothing else."""
    environment = dict(os.environ)
    environment.setdefault("PYTHONHASHSEED", "0")  # sets iterate in the same order in every worker
    for name in _ONE_THREAD:
        environment.setdefault(name, "1")
    flags: list[str] = importlib.import_module("subprocess")._args_from_interpreter_flags()
    command = [sys.executable, *flags, *([] if "-P" in flags else ["-P"]), "-c", _CODE, str(pipe)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, pass_fds=(memory, pipe), env=environment, process_group=0
    )


class Birth:
    """The start of a process, in a thread of its own: there no signal comes between the fork and the handle on it."""

    def __init__(self, memory: int, pipe: int) -> None:
        self.memory = memory
        self.pipe = pipe
        self.begun: bool = False  # from here on the thread closes the pipe
        self.process: subprocess.Popen[bytes] | None = None
        self.error: BaseException | None = None
        self.bell: threading.Lock = threading.Lock()
        self.bell.acquire()
        self.over: bool = False

    def begin(self) -> None:
        self.begun = True
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:  # no thread can be started
            self._run()

    def _run(self) -> None:
        try:
            self.process = start(self.memory, self.pipe)
        except BaseException as error:
            self.error = error
        finally:
            os.close(self.pipe)
            self.over = True
            self.bell.release()

    def wait(self) -> subprocess.Popen[bytes]:
        """The process, when there is one.

        Raises:
            Exception: what starting it has raised.
        """
        while not self.over:
            self.bell.acquire(timeout=0.05)
        if self.process is None:
            assert self.error is not None
            raise self.error
        return self.process


def tell(pipe: int, address: str, key: bytes, memory: int) -> None:
    """Write to a child what it needs to know."""
    told = marshal.dumps(
        {
            "argv": list(map(str, sys.argv)) if hasattr(sys, "argv") else [""],
            "path": [str(entry) for entry in sys.path],
            "package": str(Path(__file__).parent.parent),
            "address": address,
            "key": key,
            "memory": memory,
            "portable": portable,
        }
    )
    data = len(told).to_bytes(8, "little") + told
    while data:
        data = data[os.write(pipe, data) :]


def bound_to(pipe: int, portable: bool) -> None:
    """In the child: die, with everything started here, when the other end of the pipe is closed, in whatever state.

    The kernel sends the signal, so that it also reaches a process that sleeps, spins or holds the interpreter's lock.
    """
    os.set_inheritable(pipe, False)
    set_signal = getattr(fcntl, "F_SETSIG", None)
    if portable or set_signal is None:
        threading.Thread(target=_wait_for_end, args=(pipe,), daemon=True).start()
        return
    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(pipe, set_signal, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    if poller.poll(0):  # hung up before it was armed
        os._exit(1)


def _wait_for_end(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)
