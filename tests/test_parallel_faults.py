"""Whatever dies: every item once and in order, the error in its place, and nothing left behind."""

import itertools
import multiprocessing
import os
import re
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import elsewhere
import numpy as np
import pytest
import zmq
from conftest import children, garbage
from crashes import DEATHS, ERRORS, STUCK, Took, descendants, interrupted, lives, program_of, pull_all
from elsewhere import Deadly, Fault, Leaving, Unspeakable, deep
from strategies import outcomes, pulls

import pescador_fn
from pescador_fn import (
    ReplayMismatch,
    WorkerDied,
    WorkerError,
    batch,
    chain_mux,
    parallel,
    prefetch,
    seeded,
    shuffled_mux,
    shutdown,
    take,
)
from pescador_fn.engines import child, launch, slabs
from pescador_fn.errors import RemoteTraceback

pytestmark = pytest.mark.usefixtures("nothing_left")


def in_thread(factory):
    return parallel(factory, engine="thread")


def ahead(factory):
    return prefetch(factory, 3)


THREADS = {"thread": in_thread, "prefetch": ahead}
ENGINES = {"process": parallel} | THREADS


# The crash matrix: 30 items, the fault before the first, in the middle, after the last.

N = 30
PLACES = {"before": 0, "second": 1, "middle": 17, "last": N - 1, "after": N}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_arrives_in_its_place(kind):
    fault, expected, words = ERRORS[kind]
    for at in PLACES.values():
        stream = parallel(elsewhere.stream(N, at, fault))()
        assert pulls(stream, at) == list(range(at))
        with Took() as took, pytest.raises(expected, match=words) as found:
            next(stream)
        assert at == 0 or took.seconds < 0.2
        assert isinstance(found.value.__cause__, RemoteTraceback)
        assert fault.__name__ in str(found.value.__cause__)
        assert next(stream, "end") == "end"


@pytest.mark.parametrize("kind", DEATHS)
def test_a_worker_that_dies_once_is_replaced(kind, tmp_path):
    """The items are drawn at random from a root without a seed: its entropy is kept."""
    fault, _ = DEATHS[kind]
    for at in PLACES.values():
        found = list(parallel(elsewhere.noise_then(N, at, fault, tmp_path / f"{at}"))())
        assert len(set(found)) == len(found) == N
        assert (tmp_path / f"{at}").exists() == (at < N)


@pytest.mark.parametrize("kind", DEATHS)
def test_a_worker_that_dies_again_and_again_is_given_up(kind):
    fault, words = DEATHS[kind]
    for at in PLACES.values():
        stream = parallel(elsewhere.stream(N, at, fault), max_restarts=1)()
        *items, error = pull_all(stream)
        assert items == list(range(at))
        assert type(error) is WorkerDied
        assert f"stream({N}, {at}, " in str(error)
        assert f"died 2 times at call {at} (max_restarts=1): " in str(error)
        with pytest.raises(WorkerDied, match=words):
            raise error
        assert next(stream, "end") == "end"


def test_a_death_between_long_lists_of_items_loses_none(tmp_path):
    """Of what was made before it, much is on its way, and some of it is lost with the worker."""
    for at in (1000, 9000):
        died = elsewhere.stream(12_000, at, elsewhere.exit_hard, tmp_path / f"{at}")
        assert list(parallel(died)()) == list(range(12_000))
        *items, error = pull_all(parallel(elsewhere.stream(at + 5, at, elsewhere.exit_hard))())
        assert items == list(range(at))
        assert "died 4 times" in str(error)


def test_workers_that_are_killed_from_outside_by_whatever_means(means):
    """Short form of the soak: 200,000 items, a worker killed a few times; every item once, and in order."""
    big = parallel(elsewhere.arrays(40, 3000))()
    stream = parallel(range(200_000).__iter__)()
    found, held = [], []
    for k in range(4):
        found += pulls(stream, 30_000 + k)
        held += pulls(big, 7)
        for pid in children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with Took() as took:
        found += pulls(stream, 1)
    assert took.seconds < 1.2
    assert found + list(stream) == list(range(200_000))
    assert [x["x"][-1] for x in held + list(big)] == list(range(40))


def test_no_restart_where_none_is_wanted():
    stream = parallel(range(10**6).__iter__, max_restarts=0)()
    next(stream)
    for pid in children():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="died 1 times"):
        list(stream)


def test_deaths_with_items_between_are_not_counted(tmp_path):
    def made():
        for k in range(12):
            if k % 2 and not (tmp_path / str(k)).exists():
                (tmp_path / str(k)).touch()
                os._exit(1)
            yield k

    assert list(parallel(made, max_restarts=1)()) == list(range(12))


def test_a_factory_that_is_shorter_when_it_is_repeated_says_so(tmp_path):
    def made():
        again = (tmp_path / "once").exists()
        (tmp_path / "once").touch()
        yield from range(3 if again else 10)
        if not again:
            time.sleep(0.1)  # for what was yielded to get through
            os._exit(1)

    found = pull_all(parallel(made)())
    assert found[:10] == list(range(10))
    with pytest.raises(ReplayMismatch, match=r"ended a.* 3 .*; .* must .* the same"):
        raise found[10]
    assert len(found) == 11


def test_a_call_that_raised_is_replayed_as_one():
    class Raising:
        """Goes on after it has raised."""

        def __init__(self):
            self.k = -1

        def __iter__(self):
            return self

        def __next__(self):
            self.k += 1
            if self.k == 3:
                raise KeyError(3)
            if self.k == 20:
                raise StopIteration
            return self.k

    def halting(x):
        if x == 9 and os.getpid() != parent and not os.path.exists(note):
            open(note, "x").close()
            os._exit(1)
        if x % 4 == 2:
            raise KeyError(x)
        return x

    parent, note = os.getpid(), f"/tmp/pescador_tests_{os.getpid()}"
    try:
        built = pescador_fn.map_items(range(15).__iter__, halting)
        assert list(map(repr, outcomes(parallel(built)()))) == list(map(repr, outcomes(built())))
        assert os.path.exists(note)
    finally:
        os.unlink(note)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mux_goes_on_with_the_others(engine):
    """What does not open is left out, what raises has ended, and what dies too often is a stream that raised."""

    def not_opening():
        raise Fault("closed")

    run = ENGINES[engine]
    mux = chain_mux([run(not_opening), run(elsewhere.stream(4, 2, elsewhere.raise_it)), run(range(3).__iter__)])
    assert [str(one) for one in outcomes(mux())] == ["closed", "0", "1", "as it is", "0", "1", "2"]
    if engine == "process":
        dying = parallel(elsewhere.stream(4, 2, elsewhere.exit_hard), max_restarts=1)
        kinds = [type(one) for one in outcomes(chain_mux([dying, run(range(3).__iter__)])())]
        assert kinds == [int, int, WorkerDied, int, int, int]


def test_a_factory_that_does_not_unpickle_in_the_worker(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "only_here.py").write_text(
        f"import os\nif os.getpid() != {os.getpid()}: raise LookupError('elsewhere')\ndef one(): yield 1\n"
    )
    import only_here

    with pytest.raises(LookupError, match="elsewhere") as found:
        next(parallel(only_here.one)())
    assert "only_here" in str(found.value.__cause__)


# Stopping.


def by_break(built, n):
    for k, _ in enumerate(built(), 1):
        if k == n:
            break


def by_close(built, n):
    stream = built()
    pulls(stream, n)
    stream.close()
    assert list(stream) == []


def by_drop(built, n):
    stream = built()
    pulls(stream, n)
    del stream


def by_interrupt(built, n):
    """Ctrl-C while waiting for the next item."""
    stream = built()
    pulls(stream, n)
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: next(stream), 0.15)
    stream.close()


@pytest.mark.parametrize("way", [by_break, by_close, by_drop, by_interrupt])
@pytest.mark.parametrize("how", STUCK)
def test_a_stuck_worker_is_gone_when_the_consumer_is(how, way, capfd):
    started = []

    def built():
        stream = parallel(elsewhere.stuck(3, STUCK[how]))()
        next(stream)
        time.sleep(0.1)  # until it is stuck
        started.extend(descendants(os.getpid()))
        return itertools.chain([0], stream) if way is by_break else stream

    with Took() as took:
        way(built, 2)
    assert started
    assert took.seconds < 1.2
    with Took() as took:
        while any(map(lives, started)) and took.__exit__() is None and took.seconds < 0.5:
            time.sleep(0.005)
    assert took.seconds < 0.5, [Path(f"/proc/{pid}/stat").read_text() for pid in started if lives(pid)]
    assert capfd.readouterr() == ("", "")


def test_closing_runs_finally_blocks_and_keeps_the_worker(tmp_path):
    def noting():
        try:
            yield from itertools.count()
        finally:
            (tmp_path / "closed").touch()

    with parallel(noting)() as stream:
        next(stream)
        before = children()
    assert (tmp_path / "closed").exists()
    assert children() == before


def test_a_finally_block_that_does_not_end_is_cut_short():
    stream = parallel(elsewhere.in_finally)()
    next(stream)
    with Took() as took:
        stream.close()
    assert took.seconds < 0.5
    assert children() == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_in_finally_surfaces_on_close(engine):
    def stubborn():
        try:
            yield from range(10**6)
        finally:
            raise Fault("finally")

    stream = ENGINES[engine](stubborn)()
    next(stream)
    with pytest.raises(Fault, match="finally"):
        stream.close()
    stream.close()
    assert list(stream) == []


def test_a_consumer_that_raises_closes():
    def consume():
        for _ in parallel(range(10**6).__iter__)():
            raise ZeroDivisionError

    with suppress(ZeroDivisionError):
        consume()
    assert len(children()) == 1
    assert len(list(parallel(range(3).__iter__)())) == 3


@pytest.mark.parametrize("engine", THREADS)
def test_a_stuck_thread_is_left_to_its_next_yield(engine):
    def slow():
        yield 0
        released.wait()
        yield 1

    released = threading.Event()
    stream = ENGINES[engine](slow)()
    next(stream)
    with Took() as took:
        stream.close()
    assert took.seconds < 0.3
    released.set()


@pytest.mark.parametrize("engine", THREADS)
def test_a_thread_closes_what_it_opened(engine):
    def noting():
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    closed = []
    for way in (by_break, by_close, by_drop):
        way(ENGINES[engine](noting), 3)
    assert closed == [True] * 3


@pytest.mark.parametrize("engine", ENGINES)
def test_streams_leave_no_garbage(engine):
    def faulty():
        yield from range(5)
        raise Fault

    def pull(n):
        stream = built()
        for _ in range(n):
            with suppress(Fault, StopIteration):
                next(stream)

    built = ENGINES[engine](faulty)
    pull(9)
    with garbage() as left:
        for n in (0, 1, 5, 6, 7):
            pull(n)
        time.sleep(0.02)
    assert left == []


# Ctrl-C.


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2])
def test_an_interrupt_during_the_start_leaves_nothing(seconds):
    """Nor does the stream end silently: it can be pulled again."""
    stream = parallel(elsewhere.stuck(3, elsewhere.sleeping))()
    with suppress(KeyboardInterrupt):
        interrupted(lambda: pulls(stream, 4), seconds)
    assert pulls(take(parallel(range(5).__iter__), 3)(), 5) == [0, 1, 2]
    stream.close()


@pytest.mark.parametrize("born", [False, True], ids=["before", "after"])
def test_a_process_that_is_half_started_when_the_interrupt_comes_is_ended(born, monkeypatch):
    """Before it is there, and when it is there and nobody has heard of it."""
    real = launch.start

    def start(*args):
        process = real(*args) if born else None
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # longer than the consumer takes to leave
        return process or real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(launch, "start", start)
        with pytest.raises(KeyboardInterrupt):
            next(parallel(range(5).__iter__)())
        shutdown()
    assert children() == set()


def test_a_signal_while_a_worker_is_let_go_leaves_nothing(monkeypatch):
    """What the first attempt has not closed, the next one does."""
    stream = parallel(range(10**6).__iter__)()
    next(stream)
    (worker,) = child.workers()

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(worker.socket), "close", cut)
        with pytest.raises(KeyboardInterrupt):
            worker.kill()
    assert not worker.let_go
    del worker
    stream.close()


def test_a_system_without_waitid_loses_no_process(monkeypatch):
    monkeypatch.delattr(os, "waitid")
    stream = parallel(range(5).__iter__)()
    found = [next(stream)]
    (worker,) = child.workers()
    os.kill(worker.process.pid, signal.SIGKILL)
    found += stream
    assert found == list(range(5))
    worker.kill()
    assert worker.code == -signal.SIGKILL
    shutdown()
    assert children() == set()


def test_a_lock_that_a_signal_has_left_shut_keeps_no_process():
    """That of `subprocess`, which takes it before it looks whether a child has ended."""
    stream = parallel(range(10**6).__iter__)()
    next(stream)
    (worker,) = child.workers()
    worker.process._waitpid_lock.acquire()
    del worker
    with Took() as took:
        stream.close()
        shutdown()
    assert took.seconds < 1
    assert children() == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupted_next_can_be_called_again(engine):
    def slow():
        for k in range(4):
            time.sleep(0.3)
            yield k

    stream = ENGINES[engine](slow)()
    found = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupted(lambda: found.append(next(stream)), 0.15)
        found.append(next(stream))
    assert found + list(stream) == [0, 1, 2, 3]


# One that comes while a finalizer runs, of pyzmq's or the collector's, is Python's to swallow, with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [BaseException, Exception])
def test_interrupts_at_any_moment_cost_nothing(kind, engine):
    """A signal comes between any two steps of the library: no item is lost, doubled or out of place."""

    class Tick(kind):
        """As Ctrl-C is, or what the handler of a time limit raises."""

    def tick(*_):
        raise Tick

    assert list(ENGINES[engine](range(2).__iter__)()) == [0, 1]  # an import that is cut would leave its file open
    stream = ENGINES[engine](itertools.count)()
    found, ticks = [], 0
    until = time.perf_counter() + 20
    before = signal.signal(signal.SIGALRM, tick)  # in place of the one that watches over the tests
    try:
        while ticks < 30 and time.perf_counter() < until:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.0001 * (ticks % 50))
                found.extend(itertools.islice(stream, 5000))  # in C: no signal comes between an item and the list
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Tick:
                ticks += 1
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # one may be on its way
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ticks == 30
    assert found == list(range(len(found)))
    assert next(stream) == len(found)
    stream.close()


def test_ctrl_c_in_a_program(tmp_path):
    """The whole group of a terminal gets it; the worker is in a group of its own, and its parent ends it."""
    code = """
import elsewhere, os
from pescador_fn import parallel
try:
    for item in parallel(elsewhere.told("NOTE"))():
        if item == 0:
            print(flush=True)
except KeyboardInterrupt:
    print("interrupted")
"""
    note = tmp_path / "note"
    program = program_of(code.replace("NOTE", str(note)))
    program.stdout.readline()
    worker = descendants(program.pid)
    os.killpg(program.pid, signal.SIGINT)
    assert program.communicate(timeout=5) == ("interrupted\n", "")
    assert not any(map(lives, worker))


# The consumer's end.


ORPHANS = """
import elsewhere, os, sys, time
from pescador_fn import parallel
from pescador_fn.engines import launch
launch.portable = {portable}
stream = parallel(elsewhere.stuck(3, elsewhere.{how}))()
next(stream)
idle = parallel(range(3).__iter__)
list(idle())
if {fork}:
    pid = os.fork()
    if not pid:
        sys.stdout.close()
        sys.stderr.close()
        os.closerange(0, 3)
        time.sleep(1000)
    print(pid, flush=True)
else:
    print(0, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("how", "fork", "portable"),
    [
        ("sleeping", False, False),
        ("spinning", False, False),
        ("holding", False, False),
        ("with_a_child", False, False),
        ("sleeping", True, False),
        ("holding", True, False),
        ("sleeping", True, True),
    ],
)
def test_workers_end_with_a_consumer_that_is_killed(how, fork, portable):
    program = program_of(ORPHANS.format(how=how, fork=fork, portable=portable))
    sibling = int(program.stdout.readline())
    time.sleep(0.2)
    started = descendants(program.pid) - {sibling}
    try:
        assert len(started) >= 2
        program.kill()
        with Took() as took:
            while any(map(lives, started)) and took.__exit__() is None and took.seconds < 2:
                time.sleep(0.01)
        assert took.seconds < 2
    finally:
        program.kill()
        if sibling:
            os.kill(sibling, signal.SIGKILL)
        program.communicate()


@pytest.mark.parametrize(
    "end",
    ["", "raise SystemExit(3)", "1 / 0", "del stream", "stream.close()", "os._exit(0)"],
    ids=["end", "exit", "error", "drop", "close", "hard exit"],
)
def test_a_program_that_ends_takes_its_workers_along(end):
    code = f"""
import os
from pescador_fn import parallel, prefetch
stream, other = parallel(range(10**9).__iter__)(), prefetch(range(10**9).__iter__, 5)()
print(next(stream), next(other), flush=True)
input()
{end}
"""
    program = program_of(code.replace("input()", "import time; time.sleep(0.2)"))
    program.stdout.readline()
    started = descendants(program.pid)
    assert started
    with Took() as took:
        out, err = program.communicate(timeout=10)
    assert took.seconds < 2
    assert out == ""
    assert err == "" or (end == "1 / 0" and err.strip().endswith("ZeroDivisionError: division by zero"))
    time.sleep(0.05)
    assert not any(map(lives, started))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_program_that_fails_closes_what_is_open_in_its_workers(n_workers, tmp_path):
    note = tmp_path / "closed"
    code = f"""
from pathlib import Path
from pescador_fn import parallel, shuffled_mux

def noting():
    try:
        while True:
            yield 1
    finally:
        Path({str(note)!r}).touch()

stream = parallel(shuffled_mux([noting]), {n_workers})()
next(stream)
raise KeyError("of the program's own")
"""
    out, err = program_of(code).communicate(timeout=30)
    assert out == ""
    assert err.strip().endswith('KeyError: "of the program\'s own"')
    assert note.exists()


# What cannot be spoken of.


def unspeakable():
    for k, odd in enumerate([deep(), threading.Lock(), Leaving(), [Unspeakable()]]):
        yield k
        yield odd
    raise Unspeakable


class FrozenError(Exception):
    def __setattr__(self, name, value):
        raise AttributeError("immutable")


@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.usefixtures("within_seconds")
def test_an_error_that_cannot_be_changed_arrives_as_itself(n_workers):
    def failing():
        yield 1
        raise FrozenError

    found = pull_all(parallel(chain_mux([failing, [2].__iter__]), n_workers)())
    assert [one if isinstance(one, int) else type(one) for one in found] == [1, FrozenError, 2]


@pytest.mark.parametrize("n_workers", [1, 3])
def test_what_has_no_pickle_and_no_repr_costs_its_place_only(n_workers, capfd):
    found = pull_all(parallel(chain_mux([unspeakable]), n_workers)())
    odd = [one for one in found if not isinstance(one, int)]
    assert found[::2] == [0, 1, 2, 3, *odd[-1:]]
    assert [type(one) for one in odd] == [WorkerError, WorkerError, WorkerError, list, Unspeakable]
    assert "list, whose repr raises RecursionError" in str(odd[0])
    assert "unspeakable" in str(odd[-1].__cause__)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_worker_that_dies_while_it_loads_the_factory(n_workers, within_seconds):
    found = pull_all(parallel(chain_mux([Deadly(), range(3).__iter__]), n_workers, max_restarts=1)())
    assert [type(one) for one in found] == [WorkerDied]
    assert "died 2 times" in str(found[0])
    assert "exit code 7" in str(found[0])


# Forks.


def forked(fn):
    """Run in a forked child; whether it was content."""
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if fn() else 1)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_changes_no_array_on_either_side():
    stream = parallel(elsewhere.arrays(400, 3000))()
    held = [next(stream)["x"] for _ in range(5)]
    ours, theirs = os.pipe()
    back, told = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(told, b"1")
        os.read(ours, 1)  # until the parent has gone through many slabs
        os._exit(0 if [x[-1] for x in held] == [0, 1, 2, 3, 4] else 1)
    os.read(back, 1)
    held.clear()
    assert [x["x"][-1] for x in itertools.islice(stream, 200)] == list(range(5, 205))
    os.write(theirs, b"1")
    assert os.waitpid(pid, 0)[1] == 0
    for fd in (ours, theirs, back, told):
        os.close(fd)
    assert [x["x"][-1] for x in stream] == list(range(205, 400))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.usefixtures("means")
def test_what_a_forked_child_writes_to_an_array_is_its_own():
    """And again by a second child, when the worker has gone."""
    stream = parallel(elsewhere.arrays(8, 3000))()
    held = [next(stream)["x"] for _ in range(4)]
    cut = held[2][5:9]

    def child():
        assert [x[-1] for x in held] == [0, 1, 2, 3]
        for x in held:
            x[:] = -1
        assert (cut == -1).all()
        held.pop()
        return True

    assert forked(child)
    pid = os.fork()
    if not pid:
        time.sleep(0.1)
        os._exit([x[-1] for x in held] != [0, 1, 2, 3])
    for x in held:
        x += 1  # which the child is not to see
    assert os.waitpid(pid, 0)[1] == 0
    for x in held:
        x -= 1
    assert [x["x"][-1] for x in stream] == [4, 5, 6, 7]
    stream.close()
    shutdown()
    assert forked(child)
    assert [x[-1] for x in held] == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_what_a_forked_child_cannot_copy_is_not_used_again(monkeypatch):
    def refuse(place):
        raise OSError("no memory")

    monkeypatch.setattr(slabs, "_detach", refuse)
    stream = parallel(elsewhere.arrays(400, 3000), max_bytes=100_000)()
    held = [next(stream)["x"] for _ in range(4)]
    ours, theirs = os.pipe()
    with Took() as took:
        pid = os.fork()
        if not pid:
            os.read(ours, 1)  # until the parent has gone through the rest
            os._exit([x[-1] for x in held] != [0, 1, 2, 3])
    held.clear()
    assert [x["x"][-1] for x in stream] == list(range(4, 400))
    os.write(theirs, b"1")
    assert os.waitpid(pid, 0)[1] == 0
    assert took.seconds < 0.5
    os.close(ours)
    os.close(theirs)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_cost_no_memory():
    stream = parallel(elsewhere.arrays(10**6, 3000), max_bytes=10**6)()
    sizes = []
    for _ in range(30):
        held = pulls(stream, 20)
        assert forked(lambda: True)
        del held
        (worker,) = child.workers()
        sizes.append(os.fstat(worker.memory).st_size)
    assert sizes[-1] == sizes[9]
    stream.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_forked_child_has_workers_of_its_own(engine):
    run = ENGINES[engine]
    stream = run(range(10**6).__iter__)()
    next(stream)

    def child():
        with pytest.raises(RuntimeError, match="before a fork"):
            list(stream)
        assert list(run(range(5).__iter__)()) == [0, 1, 2, 3, 4]
        stream.close()
        shutdown()
        return children() == set()

    assert forked(child)
    assert next(stream) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_in_forked_workers_of_others():
    """As in a DataLoader of PyTorch: each has a stream, and so a worker, of its own, and sends what it gets."""

    def loader(queue):
        for rows in batch(parallel(elsewhere.arrays(20, 3)), 2)():
            queue.put(rows["k"].tolist())
        queue.put(None)
        queue.close()
        queue.join_thread()
        shutdown()

    held = list(parallel(elsewhere.arrays(5, 3000))())
    context = multiprocessing.get_context("fork")
    queues = [context.Queue() for _ in range(2)]
    loaders = [context.Process(target=loader, args=(queue,)) for queue in queues]
    for one in loaders:
        one.start()
    for queue in queues:
        assert list(itertools.chain.from_iterable(iter(queue.get, None))) == list(range(20))
    for one, queue in zip(loaders, queues, strict=True):
        one.join()
        assert one.exitcode == 0
        one.close()
        queue.close()
        queue.join_thread()
    assert [x["x"][-1] for x in held] == list(range(5))


LOADERS = """
import numpy as np
from torch.utils.data import DataLoader, IterableDataset
from pescador_fn import parallel, shutdown, source, stochastic_mux, take

@source
def noise(k, *, rng):
    while True:
        yield {"x": rng.normal(size=50_000), "k": k}

class Stream(IterableDataset):
    def __init__(self, factory):
        self.factory = factory

    def __iter__(self):
        return iter(self.factory())

for n_workers in (1, 3):
    mux = stochastic_mux([noise(k) for k in range(6)], 3, 4, seed=7)
    elsewhere = parallel(mux, n_workers=n_workers)
    expected = [(item["k"], item["x"].sum()) for item in take(mux, 20)()]
    with elsewhere() as stream:
        held = [next(stream) for _ in range(5)]
        loader = DataLoader(Stream(take(elsewhere, 20)), batch_size=None, num_workers=2)
        found = [(item["k"], item["x"].numpy().sum()) for item in loader]
        assert found[::2] == found[1::2] == expected
        left = iter(loader)
        next(left)
        del left
        found = [(item["k"], item["x"].sum()) for item in held + [next(stream) for _ in range(15)]]
        assert found == expected
shutdown()
print("done")
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="PyTorch is installed for one Python only, for its size")
def test_in_a_dataloader_of_pytorch():
    """Around one worker and several, while the parent has a stream open and holds arrays of it."""
    program = program_of(LOADERS)
    assert program.communicate(timeout=50) == ("done\n", "")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="PyTorch is installed for one Python only, for its size")
def test_a_program_says_nothing_whose_modules_are_gone_before_its_streams():
    """PyTorch keeps what a program holds until they are."""
    code = """
import torch
from pescador_fn import parallel, prefetch, shuffled_mux
one, ahead = parallel(range(10**6).__iter__)(), prefetch(range(10**6).__iter__, 5)()
several = parallel(shuffled_mux([range(10**6).__iter__] * 3), 2)()
print(next(one), next(ahead), next(several))
"""
    program = program_of(code)
    assert program.communicate(timeout=60) == ("0 0 0\n", "")
    assert program.returncode == 0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="PyTorch is installed for one Python only, for its size")
def test_the_example_for_pytorch():
    example = Path(__file__).parent.parent / "docs/examples/torch_training.py"
    program = program_of(example.read_text())
    said, wrong = program.communicate(timeout=50)
    assert re.fullmatch(r"of the last batch, (8|9|10)\d% are told right\n", said)
    assert wrong == ""


# Strangers.


def test_nobody_else_is_served(means):
    """A stranger of the same user who knows the address, connects first and floods: nothing comes of it."""
    addresses = []
    real = launch.tell

    def tell(pipe, address, *rest):
        addresses.append(address)
        context = zmq.Context()
        strangers.append(context)
        for _ in range(3):
            stranger = context.socket(zmq.PAIR)
            stranger.linger = 0
            stranger.connect(address)
            for _ in range(1000):
                with suppress(zmq.Again):
                    stranger.send_multipart([b"garbage", b"more"], zmq.DONTWAIT)
            sockets.append(stranger)
        time.sleep(0.1)
        real(pipe, address, *rest)

    strangers, sockets = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "tell", tell)
        stream = parallel(elsewhere.arrays(2000, 3))()
        found = [x["k"] for x in itertools.islice(stream, 500)]
        raw = socket.socket(socket.AF_UNIX)
        with suppress(OSError):  # the file is gone by then
            raw.connect(addresses[0].removeprefix("ipc://").replace("@", "\0"))
            raw.sendall(b"x" * 100_000)
        found += [x["k"] for x in stream]
        raw.close()
    assert found == list(range(2000))
    assert not any(one.poll(0) for one in sockets)
    for one in strangers:
        one.destroy(0)


def test_nothing_listens_on_the_network(means):
    stream = parallel(elsewhere.arrays(2000, 3))()
    next(stream)
    for pid in [os.getpid(), *children()]:
        inodes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                assert f"socket:[{line.split()[9]}]" not in inodes
    stream.close()


@pytest.mark.parametrize("curve", [True, False], ids=["with keys", "without"])
def test_a_socket_file_is_private_and_gone_once_it_is_used(curve, monkeypatch):
    def tell(pipe, address, *rest):
        folder = Path(address.removeprefix("ipc://")).parent
        folders.append((folder, folder.stat().st_mode & 0o777))
        real(pipe, address, *rest)

    folders, real = [], launch.tell
    monkeypatch.setattr(launch, "portable", True)
    monkeypatch.setattr(launch, "tell", tell)
    monkeypatch.setattr(zmq, "has", lambda what: curve and what == "curve")
    assert list(parallel(range(3).__iter__)()) == [0, 1, 2]
    ((folder, mode),) = folders
    assert mode == 0o700
    assert not folder.exists()


def test_a_message_to_a_dead_worker_does_not_block():
    list(parallel(range(3).__iter__)())
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    with Took() as took:
        assert list(parallel(range(3).__iter__)()) == [0, 1, 2]
    assert took.seconds < 1
    stream = parallel(elsewhere.stuck(2, elsewhere.sleeping))()
    next(stream)
    for pid in children():
        os.kill(pid, signal.SIGKILL)
    with Took() as took:
        stream.close()
    assert took.seconds < 0.5


@pytest.mark.parametrize("portable", [False, True], ids=["linux", "portable"])
@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)], ids=["input", "all"])
def test_a_program_without_standard_files(closed, portable):
    program = program_of(f"""
import os
for fd in {closed}:
    os.close(fd)
from pescador_fn import parallel, round_robin_mux
from pescador_fn.engines import launch
launch.portable = {portable}
assert list(parallel(range(3).__iter__)()) == [0, 1, 2]
assert list(parallel(round_robin_mux([range(2).__iter__] * 3), 2)()) == [0, 0, 0, 1, 1, 1]
""")
    assert program.communicate(timeout=30) == ("", "")
    assert program.returncode == 0


def test_the_cause_is_unknown_where_children_are_ignored():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        stream = parallel(elsewhere.stream(5, 2, elsewhere.exit_hard), max_restarts=1)()
        assert pulls(stream, 2) == [0, 1]
        with pytest.raises(WorkerDied, match="how it ended is unknown, since this process ignores SIGCHLD"):
            next(stream)
    finally:
        shutdown()
        signal.signal(signal.SIGCHLD, before)


def test_a_seeded_mux_that_dies_in_the_middle_is_the_same(tmp_path):
    def built(note):
        noises = [elsewhere.noise_then(40, 30, elsewhere.sigkill, note), elsewhere.noise(50)]
        return seeded(shuffled_mux(noises, [2, 1], on_exhausted="drop"), 3)

    (tmp_path / "there").touch()
    plain = list(map(repr, built(tmp_path / "there")()))
    assert list(map(repr, parallel(built(tmp_path / "not there"))())) == plain
    assert np.array_equal(len(plain), 90)
