"""What the tests of the engines let workers run. A worker imports this by name, so it imports little itself."""

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np

from pescador_fn import lift, source


def unchanged(items):
    """To be lifted."""
    yield from items


class Fault(Exception):  # noqa: N818, it is what the tests call it
    """What a user's stream raises."""


class Stubborn(Exception):  # noqa: N818
    """Does not come back from its pickle."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Unpicklable(Exception):  # noqa: N818
    def __reduce__(self):
        raise TypeError("no way")


class Unspeakable(Exception):  # noqa: N818
    """Nothing works that one may want to know of it."""

    def __repr__(self):
        raise ValueError("no repr")

    __str__ = __repr__


def deep(n=30_000):
    """A list that neither its pickle nor its repr get to the bottom of."""
    found = []
    for _ in range(n):
        found = [found]
    return found


class Leaving:
    """Ends the process that pickles it, if that lets it."""

    def __reduce__(self):
        sys.exit(4)


class Deadly:
    """A factory that ends the process that unpickles it."""

    def __call__(self):
        return iter("x")

    def __reduce__(self):
        return os._exit, (7,)


@lift
def scaled(items, by, *, rng):
    """Items times a number that is near ``by``."""
    for item in items:
        yield item * by * rng.normal(1, 0.01)


def raise_it():
    raise Fault("as it is")


def raise_stubborn():
    raise Stubborn(1, 2)


def raise_unpicklable():
    raise Unpicklable("inside")


def sigkill():
    os.kill(os.getpid(), signal.SIGKILL)


def exit_hard():
    os._exit(7)


def segfault():
    ctypes.string_at(0)


def leave():
    sys.exit(3)


@source
def stream(n, at, fault, once=None):
    """``0, 1, …``, and a fault instead of item ``at``; only the first time if ``once`` is a path to note it in."""
    for k in range(n):
        if k == at:
            strike(fault, once)
        yield k
    if at == n:
        strike(fault, once)


def strike(fault, once):
    if once is not None:
        if os.path.exists(once):
            return
        open(once, "x").close()
    fault()


@source
def noise(n, *, rng):
    for _ in range(n):
        yield rng.random(3)


@source
def noise_then(n, at, fault, once, *, rng):
    for k in range(n):
        if k == at:
            strike(fault, once)
        yield int(rng.integers(2**40))


def hold_the_lock(seconds):
    """Sleep in C without letting go of the interpreter's lock."""
    ctypes.PyDLL(None).usleep(ctypes.c_uint(int(seconds * 1e6)))


def sleeping():
    time.sleep(1000)


def spinning():
    while True:
        pass


def holding():
    for _ in range(1000):
        hold_the_lock(1)


def with_a_child():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    time.sleep(1000)


def in_finally():
    try:
        yield 0
        yield 1
    finally:
        time.sleep(1000)


@source
def stuck(n, how):
    """``n`` items, then nothing for ever."""
    yield from range(n)
    how()


@source
def arrays(n, shape, dtype="f8"):
    for k in range(n):
        yield {"x": np.full(shape, k, dtype), "k": k}


@source
def reused(n, size):
    """One buffer for all items."""
    x = np.zeros(size)
    for k in range(n):
        x[:] = k
        yield {"x": x}


@source
def told(paths):
    """The process id, then an item for each pull, noted in a file."""
    yield os.getpid()
    for k in range(10**9):
        with open(paths, "a") as file:
            file.write(f"{k}\n")
        yield k


@source
def pids():
    while True:
        yield os.getpid()


def surroundings():
    flags = {name: getattr(sys.flags, name) for name in ("optimize", "dev_mode", "utf8_mode", "safe_path")}
    names = ("PYTHONHASHSEED", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ELSEWHERE")
    yield {
        "path": list(sys.path),
        "folder": os.getcwd(),
        "environment": {name: os.environ.get(name) for name in names},
        "flags": flags,
        "warnings": list(sys.warnoptions),
        "group": os.getpgrp() == os.getpid(),
        "hash": hash("a string"),
    }


@source
def draws(k, n, *, rng):
    for _ in range(n):
        yield {"k": k, "x": float(rng.random())}


@source
def failing(k, n):
    for i in range(n):
        yield {"k": k, "x": i}
    raise Fault(k)


def not_opening():
    raise Fault("not open")


def doubled(item):
    return item | {"x": 2 * item["x"]}


def picky(item):
    if item["x"] > 0.8:
        raise Fault(item["x"])
    return item["k"]


def with_pid(item):
    return item["k"], os.getpid()


@source
def counted(path, k):
    for i in range(10**6):
        with open(path, "ab") as file:
            file.write(b".")
        yield np.full(1000, k * 10**6 + i)


@source
def reluctant(seconds):
    """Takes its time to close."""
    try:
        yield from itertools.count()
    finally:
        time.sleep(seconds)


@source
def numbered(k, seconds):
    for i in itertools.count():
        time.sleep(seconds)
        yield k, i
