"""What the tests of one worker and of several have in common: what goes wrong there, and how to look on."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import elsewhere
from conftest import Hang
from elsewhere import Fault

import pescador_fn
from pescador_fn import WorkerError

ROOT = Path(pescador_fn.__file__).parent.parent


class Took:
    """How long a block takes."""

    def __enter__(self):
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.start


ERRORS = {
    "raises": (elsewhere.raise_it, Fault, "as it is"),
    "raises what does not unpickle": (elsewhere.raise_stubborn, WorkerError, "Stubborn.*1 and 2"),
    "raises what does not pickle": (elsewhere.raise_unpicklable, WorkerError, "Unpicklable.*inside"),
    "leaves": (elsewhere.leave, SystemExit, "3"),
}
DEATHS = {
    "is killed": (elsewhere.sigkill, "SIGKILL; killed from outside, as the system does when memory runs out"),
    "exits": (elsewhere.exit_hard, "exit code 7; .* ended the process"),
    "faults": (elsewhere.segfault, "SIGSEGV; a fault in C code"),
}


def pull_all(stream):
    """Items and errors in their places, of any kind."""
    found = []
    while True:
        try:
            found.append(next(stream))
        except StopIteration:
            return found
        except (Hang, KeyboardInterrupt):
            raise
        except BaseException as error:
            found.append(error)


STUCK = {
    "sleeping": elsewhere.sleeping,
    "spinning": elsewhere.spinning,
    "holding the lock": elsewhere.holding,
    "with a child": elsewhere.with_a_child,
}


def interrupted(fn, seconds, kind=KeyboardInterrupt):
    """Call ``fn``, with a signal after a while, as a Ctrl-C is, whose handler raises."""

    def interrupt(*_):
        raise kind

    timer = threading.Timer(seconds, os.kill, [os.getpid(), signal.SIGINT])
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        timer.start()
        try:
            return fn()
        finally:
            timer.join()
    finally:
        signal.signal(signal.SIGINT, before)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid):
    found = set()
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child} | descendants(child)
    return found


def program_of(code):
    environment = dict(os.environ, PYTHONPATH=f"{ROOT}:{Path(__file__).parent}")
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
