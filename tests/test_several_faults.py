"""Whatever dies of several workers: every item once and in order, and nothing left behind."""

import errno
import itertools
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import elsewhere
import numpy as np
import pytest
import zmq
from crashes import DEATHS, ERRORS, STUCK, Took, descendants, interrupted, lives, program_of, pull_all
from elsewhere import Fault
from strategies import outcomes, pulls, shown

from pescador_fn import (
    WorkerDied,
    WorkerError,
    chain_mux,
    parallel,
    round_robin_mux,
    shuffled_mux,
    shutdown,
    stochastic_mux,
)
from pescador_fn.engines import child, hands, pool, slabs
from pescador_fn.errors import RemoteTraceback

pytestmark = pytest.mark.usefixtures("nothing_left")

N = 12
PLACES = {"before": 0, "middle": 7, "after": N}


def around(faulty, n_good=5):
    """A mux of the stream that misbehaves among others."""
    good = [elsewhere.stream(N, -1, None) for _ in range(n_good)]
    return round_robin_mux([*good[:2], faulty, *good[2:]])


def healthy(n_items, n_good=5):
    """What comes of it if the stream gives so many items and then ends."""
    return list(around(elsewhere.stream(n_items, -1, None), n_good)())


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("place", PLACES)
def test_an_error_comes_in_its_place_and_the_others_go_on(kind, place):
    fault, error, message = ERRORS[kind]
    found = pull_all(parallel(around(elsewhere.stream(N, PLACES[place], fault)), 3)())
    (raised,) = [one for one in found if isinstance(one, BaseException)]
    assert isinstance(raised, error)
    assert isinstance(raised.__cause__, RemoteTraceback)
    expected = pull_all(around(elsewhere.stream(N, PLACES[place], elsewhere.raise_it))())
    assert [one if isinstance(one, int) else "error" for one in found] == [
        one if isinstance(one, int) else "error" for one in expected
    ]
    with pytest.raises(error, match=message):
        raise raised


def test_an_error_is_there_when_the_consumer_gets_to_it():
    stream = parallel(around(elsewhere.stream(N, 3, elsewhere.raise_it)), 3)()
    pulls(stream, 6 * 3 + 2)
    with Took() as took, pytest.raises(Fault):
        next(stream)
    assert took.seconds < 0.2
    stream.close()


def test_a_factory_that_does_not_open_is_left_out_as_it_is_here():
    mux = shuffled_mux([elsewhere.not_opening, elsewhere.stream(N, -1, None)], on_exhausted="drop", seed=1)
    with parallel(mux, 3)() as stream:
        assert shown(outcomes(stream)) == shown(outcomes(mux()))


class Unreadable:
    """Pickles, and raises where it is unpickled."""

    def __call__(self):
        yield 0

    def __reduce__(self):
        return elsewhere.raise_it, ()


def test_a_factory_that_does_not_unpickle_is_an_error_at_the_first_item():
    stream = parallel(around(Unreadable()), 3)()
    with pytest.raises(Fault) as raised:
        next(stream)
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert list(stream) == []


def test_an_item_that_does_not_pickle_is_an_error_in_its_place():
    found = pull_all(parallel(around(lambda: iter([0, threading.Lock(), 2])), 2)())
    (raised,) = [one for one in found if isinstance(one, WorkerError)]
    assert "lock" in str(raised)
    assert "does not pickle" in str(raised)
    assert [one for one in found if one is not raised] == list(around(lambda: iter([0, 2]))())[:-1] or len(found) == 63


@pytest.mark.usefixtures("means")
@pytest.mark.parametrize("kind", DEATHS)
@pytest.mark.parametrize("place", PLACES)
def test_a_worker_that_dies_once_is_replaced(kind, place, tmp_path):
    fault, _ = DEATHS[kind]
    mux = around(elsewhere.stream(N, PLACES[place], fault, str(tmp_path / "once")))
    assert list(parallel(mux, 3)()) == healthy(N)


@pytest.mark.parametrize("kind", DEATHS)
def test_a_worker_that_dies_again_and_again_ends_that_stream_only(kind):
    fault, message = DEATHS[kind]
    found = pull_all(parallel(around(elsewhere.stream(N, 5, fault)), 3, max_restarts=1)())
    (raised,) = [one for one in found if isinstance(one, WorkerDied)]
    with pytest.raises(WorkerDied, match=rf"factories\[2\], stream\(12, 5, .*died 2 times at call 5 .*{message}"):
        raise raised
    assert found.index(raised) == healthy(6).index(5) + 2
    found.remove(raised)
    assert found == healthy(5)


def test_after_a_kill_the_next_item_is_there_within_a_second():
    mux = shuffled_mux([elsewhere.draws(k, 10**6) for k in range(6)], seed=1)
    with parallel(mux, 3)() as stream:
        found = pulls(stream, 100)
        for pid in descendants(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        with Took() as took:
            found += pulls(stream, 3000)
        assert took.seconds < 2  # three new workers, and a thousand items replayed in each
    assert found == pulls(mux(), 3100)


def test_workers_that_are_killed_all_the_time_lose_and_double_nothing():
    mux = stochastic_mux([elsewhere.draws(k, 10**6) for k in range(100)], 8, 20, seed=1)
    over = threading.Event()

    def kill():
        while not over.wait(0.3):
            for pid in sorted(descendants(os.getpid()))[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with parallel(mux, 3, max_restarts=100)() as stream:
            found = []
            until = time.monotonic() + 3
            while time.monotonic() < until:
                found += pulls(stream, 500)
    finally:
        over.set()
        killer.join()
    assert found == pulls(mux(), len(found))


@pytest.mark.parametrize("way", ["close", "drop", "interrupt"])
@pytest.mark.parametrize("how", STUCK)
def test_stuck_workers_are_gone_when_the_consumer_is(how, way, capfd):
    """Each worker is stuck in a stream of its own."""
    stream = parallel(round_robin_mux([elsewhere.stuck(3, STUCK[how]) for _ in range(3)]), 3)()
    assert pulls(stream, 9) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    time.sleep(0.2)
    started = descendants(os.getpid())
    assert len(started) >= 3
    with Took() as took:
        if way == "interrupt":
            with pytest.raises(KeyboardInterrupt):
                interrupted(stream.__next__, 0.1)
        if way != "drop":
            stream.close()
        del stream
        while any(map(lives, started)) and time.perf_counter() - took.start < 2:
            time.sleep(0.005)
    assert took.seconds < 0.1 * (way == "interrupt") + 0.25 + 0.5
    assert capfd.readouterr() == ("", "")


# One that comes while a finalizer runs, of pyzmq's or the collector's, is Python's to swallow, with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("engine", ["process", "thread"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
def test_an_interrupted_next_costs_no_item(kind, engine):
    """It is a draw that is interrupted, as it is where streams run here; no stream loses an item or has one twice."""
    stream = parallel(shuffled_mux([elsewhere.numbered(k, 0.02) for k in range(6)], seed=1), 3, engine=engine)()
    found, interrupts = pulls(stream, 40), 0  # so that all are open: what is raised by an opening may be the stream's
    for seconds in itertools.cycle([0.003, 0.011, 0.05]):
        try:
            interrupted(lambda: found.extend(itertools.islice(stream, 20)), seconds, kind)
        except kind:
            interrupts += 1
        if len(found) > 200:
            break
    stream.close()
    assert interrupts > 20
    for k in range(6):
        mine = [i for which, i in found if which == k]
        assert mine == list(range(len(mine)))


def interrupt_once(patch, owner, name, at):
    """Let a method raise a Ctrl-C, once, at its call number ``at``."""
    raise_once(patch, owner, name, at, KeyboardInterrupt)


def raise_once(patch, owner, name, at, error):
    real, calls = getattr(owner, name), itertools.count()

    def raising(*args):
        if next(calls) == at:
            raise error
        return real(*args)

    patch.setattr(owner, name, raising)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("step", ["_reap", "_let_go", "_close_files"])
def test_an_interrupt_while_a_worker_is_dropped_leaves_nothing(step, means, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_once(patch, child.Worker, step, 0)
        pool.borrow()


@pytest.mark.parametrize("engine", ["process", "thread"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_second_interrupt_while_the_first_is_mended_costs_nothing(engine, at, monkeypatch):
    mux = round_robin_mux([elsewhere.numbered(k, 0.001) for k in range(6)])
    stream = parallel(mux, 2, engine=engine)()
    found = pulls(stream, 12)
    stream._running.team.cut = True  # as a signal leaves it that comes while outcomes are taken in
    with monkeypatch.context() as patch:
        interrupt_once(patch, hands.Hand, "order", at)
        with pytest.raises(KeyboardInterrupt):
            found.extend(stream)
    found += pulls(stream, 30)
    for k in range(6):
        mine = [i for which, i in found if which == k]
        assert mine == list(range(len(mine)))
    stream.close()


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_an_interrupt_before_a_wait_does_not_hide_a_death(at, monkeypatch):
    stream = parallel(round_robin_mux([elsewhere.numbered(k, 0.002) for k in range(3)]), 2)()
    with monkeypatch.context() as patch:
        interrupt_once(patch, zmq.Poller, "register", at + 4)  # each worker has had a poller of its own
        with pytest.raises(KeyboardInterrupt):
            pulls(stream, 100)
    found = pulls(stream, 3)
    for pid in descendants(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    found += pulls(stream, 60)
    for k in range(3):
        mine = [i for which, i in found if which == k]
        assert mine == list(range(mine[0], mine[0] + len(mine)))
    stream.close()


@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.parametrize("then", ["pull", "close"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
def test_a_message_that_is_half_taken_does_no_harm(kind, then, n_workers, monkeypatch):
    """Its other half is no message: what was being taken begins anew, or ends."""
    stream = parallel(round_robin_mux([elsewhere.numbered(k, 0.001) for k in range(3)]), n_workers)()
    found = pulls(stream, 5)
    take, halves = child.Worker.take, []

    def half(worker):
        if not halves and worker.socket.poll(0):
            halves.append(worker.socket.recv())
            raise kind
        return take(worker)

    monkeypatch.setattr(child.Worker, "take", half)
    with pytest.raises(kind):
        found.extend(stream)
    assert halves
    if then == "pull":
        found += pulls(stream, 30)
        for k in range(3):
            mine = [i for which, i in found if which == k]
            assert mine == list(range(len(mine)))
    stream.close()


@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.parametrize("rows", ["columns", "pickled"])
def test_memory_that_cannot_be_mapped_costs_no_item(rows, n_workers, monkeypatch):
    def arrays(k):
        for i in itertools.count():
            yield (k, i, np.full(2000, i)) if rows == "columns" else [k, i, np.full(2000, i)]

    stream = parallel(round_robin_mux([lambda k=k: arrays(k) for k in range(3)]), n_workers, max_bytes=10**6)()
    found = pulls(stream, 60)
    with monkeypatch.context() as patch:
        raise_once(patch, slabs.Reader, "_map", 20, OSError(errno.EMFILE, "Too many open files"))
        with pytest.raises(OSError, match="Too many"):
            found.extend(stream)
    found += pulls(stream, 200)
    stream.close()
    for k in range(3):
        mine = [(i, int(array[-1])) for which, i, array in found if which == k]
        assert mine == [(i, i) for i in range(len(mine))]


def test_a_weights_function_that_raises_ends_no_worker():
    """It is asked ahead too, where nothing is half done."""

    def weights(draw):
        if 1024 <= draw < 4096:
            raise Fault("no weights")
        return [1] * 3

    streams = [elsewhere.numbered(k, 0) for k in range(3)]
    stream = parallel(stochastic_mux(streams, n_active=2, rate=40, weights=weights, seed=1), 2)()
    next(stream)
    workers = descendants(os.getpid())
    errors = {type(one) for one in outcomes(stream, 600) if isinstance(one, BaseException)}
    assert errors == {Fault}
    assert descendants(os.getpid()) == workers
    stream.close()


def test_workers_end_with_a_consumer_that_is_killed():
    program = program_of("""
import elsewhere
from pescador_fn import parallel, round_robin_mux
stream = parallel(round_robin_mux([elsewhere.stuck(3, elsewhere.spinning) for _ in range(3)]), 3)()
print(next(stream), flush=True)
list(stream)
""")
    program.stdout.readline()
    time.sleep(0.3)
    started = descendants(program.pid)
    assert len(started) >= 3
    program.kill()
    with Took() as took:
        while any(map(lives, started)) and time.perf_counter() - took.start < 3:
            time.sleep(0.01)
    assert took.seconds < 2
    program.communicate()


def test_errors_of_finally_blocks_are_raised():
    def closing():
        try:
            yield from range(3)
        finally:
            raise Fault("late")

    here = pull_all(stochastic_mux([closing] * 3, 2, 2, dist="constant", mode="exhaustive", seed=1)())
    there = pull_all(parallel(stochastic_mux([closing] * 3, 2, 2, dist="constant", mode="exhaustive", seed=1), 2)())
    assert shown(there) == shown(here)

    def endless():
        try:
            yield from itertools.count()
        finally:
            raise Fault("late")

    stream = parallel(chain_mux([endless]), 2)()
    next(stream)
    with pytest.raises(Fault, match="late"):
        stream.close()


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_a_stream_that_is_open_at_a_shutdown_says_so(engine):
    stream = parallel(shuffled_mux([elsewhere.draws(k, 10**6) for k in range(4)], seed=1), 2, engine=engine)()
    pulls(stream, 10)
    shutdown()
    with pytest.raises(RuntimeError, match="ended by shutdown"):
        pulls(stream, 10**5)
    stream.close()


def test_a_forked_child_does_not_use_its_parents_workers():
    mux = shuffled_mux([elsewhere.draws(k, 10**6) for k in range(4)], seed=1)
    stream = parallel(mux, 2)()
    head = pulls(stream, 10)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            pulls(stream, 10**5)
        except RuntimeError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert b"before a fork" in os.read(read, 1000)
    os.close(read)
    os.close(write)
    assert head + pulls(stream, 500) == pulls(mux(), 510)
    stream.close()


def test_a_stuck_thread_is_left_behind():
    free = threading.Event()

    def waiting():
        yield 0
        free.wait()

    stream = parallel(chain_mux([waiting, waiting]), 2, engine="thread")()
    next(stream)
    with Took() as took:
        stream.close()
    free.set()
    assert took.seconds < 0.6
    assert Path("/proc/self").exists()


def test_too_few_descriptors_for_the_workers_are_an_error():
    """ZeroMQ would end the process, so it is not let so far."""
    program = program_of("""
import resource
import elsewhere
from pescador_fn import parallel, round_robin_mux, shutdown
pipeline = round_robin_mux([elsewhere.stream(3, -1, None) for _ in range(6)])
items, most = list(pipeline()), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for limit in range(3, 100):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    try:
        assert list(parallel(pipeline, 3)()) == items
    except OSError as error:
        print(limit, error)
    else:
        print("enough")
        break
    finally:
        shutdown()
""")
    lines, errors = program.communicate()
    *refused, last = lines.splitlines()
    assert (last, errors) == ("enough", "")
    assert "raise its limit (ulimit -n)" in refused[-1]
