"""What the tests share: the sizes of blocks, and a watch over tests that may hang."""

import gc
import os
import signal
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import GeneratorType

import pytest
from hypothesis import HealthCheck, settings

import pescador_fn
from pescador_fn import drawing, shutdown
from pescador_fn.engines import launch

# A Ctrl-C is for the tests that send one, also where what started them ignores it, as a shell does in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "suite",
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("suite")

BLOCKS = [(1, 1), (4, 4), (12, 12), drawing.block_sizes]


def set_blocks(monkeypatch, sizes):
    monkeypatch.setattr(drawing, "block_sizes", sizes)


@pytest.fixture(params=BLOCKS, ids=lambda sizes: f"blocks {sizes[0]}")
def blocks(request, monkeypatch):
    """Draws in the first and the largest block: nothing depends on them, and most mistakes show at the small ones."""
    set_blocks(monkeypatch, request.param)
    return request.param


@pytest.fixture
def no_gc():
    """Without the collector of cycles: what closes must close by itself."""
    gc.disable()
    yield
    gc.enable()


@contextmanager
def garbage():
    """What of this package, its generators too, the block leaves to the collector of cycles: filled in at its end."""
    found, was_on = [], gc.isenabled()
    gc.collect()
    gc.freeze()  # what was there before is not looked at
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found += filter(is_ours, gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        if was_on:
            gc.enable()


def is_ours(thing):
    if isinstance(thing, GeneratorType):
        return thing.gi_code.co_filename.startswith(os.path.dirname(pescador_fn.__file__))
    return type(thing).__module__.startswith("pescador_fn")


class Hang(BaseException):
    """Raised where a test takes too long; no pipeline may keep it to itself."""


@contextmanager
def within(seconds):
    """Raise ``Hang`` where the block takes longer."""

    def give_up(*_):
        raise Hang(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def within_seconds():
    """Fails a test that does not end within ten seconds."""
    with within(10):
        yield


def children():
    """The processes that this one has started."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            found.update(map(int, (task / "children").read_text().split()))
    return found


def belongings():
    """What a process can leave behind: children, threads, descriptors, sockets, files and segments."""
    sockets = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if "pescador_fn" in line]
    return {
        "processes": children(),
        "threads": {thread.name for thread in threading.enumerate()},
        "kernel threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "sockets": {name for name in sockets if f"/{os.getpid()}/" in name},
        "files": {path.name for path in Path(tempfile.gettempdir()).glob("pescador_fn_*")},
        "segments": {name for name in os.listdir("/dev/shm") if not name.startswith("sem.mp-")},  # other programs'
    }


@pytest.fixture
def nothing_left():
    """Fails a test that takes more than a minute, or leaves anything behind once the workers have been shut down."""
    shutdown()
    gc.collect()
    gc.freeze()  # the collections of a test look at what it made, and not at thousands of tests
    before = belongings()
    with within(60):
        yield
    shutdown()
    gc.collect()
    assert left_since(before) == {}


def left_since(before):
    """What there is and was not before, when the kernel has let go of the rest in its own time."""
    until = time.monotonic() + 2
    while (left := more_than(before)) and time.monotonic() < until:
        time.sleep(0.01)
    return left


def more_than(before):
    """What there is now and was not before."""
    found = {}
    for kind, now in belongings().items():
        more = now - before[kind] if isinstance(now, set) else max(0, now - before[kind])
        if more:
            found[kind] = more
    return found


@pytest.fixture(params=[False, True], ids=["linux", "portable"])
def means(request, monkeypatch):
    """By what Linux has, and by what every system has."""
    monkeypatch.setattr(launch, "portable", request.param)
