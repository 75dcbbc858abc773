"""Work elsewhere: equal items in the same order, wherever they are made, and nothing left behind."""

import gc
import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import venv
from collections import deque, namedtuple
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import elsewhere
import nbformat
import numpy as np
import pytest
from conftest import belongings, children, left_since
from strategies import outcomes, pulls
from test_wire import same

import pescador_fn
from pescador_fn import (
    WorkerError,
    batch,
    chain_mux,
    cycle,
    draws,
    map_items,
    parallel,
    prefetch,
    round_robin_mux,
    rows,
    seeded,
    shuffle,
    shuffled_mux,
    shutdown,
    skip,
    source,
    stochastic_mux,
    take,
)
from pescador_fn.curried import pipe
from pescador_fn.engines import pool
from pescador_fn.engines.pickling import dump
from pescador_fn.seeds import Root

pytestmark = pytest.mark.usefixtures("nothing_left")

ROOT = Path(pescador_fn.__file__).parent.parent


def in_thread(factory):
    return parallel(factory, engine="thread")


def ahead(factory):
    return prefetch(factory, 5)


ELSEWHERE = {"process": parallel, "thread": in_thread, "prefetch": ahead}


# The law.


@source
def noise(n, *, rng):
    for _ in range(n):
        yield int(rng.integers(10**6))


def failing(n):
    yield from range(n)
    raise elsewhere.Fault(n)


def not_opening():
    raise elsewhere.Fault("closed")


NOISES = [noise(n) for n in (5, 0, 9, 3)]
FACTORIES = {
    "a source": seeded(noise(600), 1),
    "an empty stream": ().__iter__,
    "a mux": shuffled_mux(NOISES, [1, 2, 3, 4], on_exhausted="drop", seed=1),
    "a working set": take(stochastic_mux(NOISES, 2, 3, seed=2), 300),
    "names": round_robin_mux({"a": noise(3), ("b", 1): noise(4)}),
    "passes": cycle(shuffle(noise(30), 5), 200),
    "batches": batch(seeded(noise(100), 3), 7, partial=True),
    "faults": chain_mux([lambda: failing(3), not_opening, lambda: failing(0), noise(2)]),
    "nothing but faults": not_opening,
    "a nested worker": take(parallel(seeded(noise(9), 1)), 5),
}


def seen(factory, n=1000):
    return [repr(one) for one in outcomes(seeded(factory, 7)(), n)]


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_what_is_run_elsewhere_yields_what_it_yields(engine):
    for name, factory in FACTORIES.items():
        assert seen(ELSEWHERE[engine](factory)) == seen(factory), name


PLACES = {
    "alone": lambda f, run: run(f),
    "below stages": lambda f, run: batch(shuffle(run(f), 4), 3, partial=True),
    "between stages": lambda f, run: skip(run(take(f, 20)), 2),
    "children of a mux": lambda f, run: shuffled_mux([run(f), run(noise(9))], [2, 1], on_exhausted="drop"),
    "restarted children": lambda f, run: take(shuffled_mux([run(f), run(noise(2))]), 60),
    "one pass after another": lambda f, run: cycle(run(f), 50),
    "one inside the other": lambda f, run: run(take(run(f), 10)),
}


@pytest.mark.parametrize("engine", ELSEWHERE)
@pytest.mark.parametrize("place", PLACES)
def test_it_may_stand_anywhere(engine, place):
    """Each stream in a worker goes on from its own place among the seeds, and fails to open where it would have."""
    for factory in (noise(12), lambda: failing(2), not_opening):
        here = PLACES[place](factory, lambda f: f)
        there = PLACES[place](factory, ELSEWHERE[engine])
        assert seen(there, 80) == seen(here, 80)


def test_by_every_means(means):
    for name in ("a working set", "faults", "batches"):
        assert seen(parallel(FACTORIES[name])) == seen(FACTORIES[name])
    big = parallel(elsewhere.arrays(30, (300, 400)))
    assert [x["x"][-1, -1] for x in big()] == list(range(30))


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_two_calls_of_an_unseeded_factory_differ(engine):
    built = ELSEWHERE[engine](noise(5))
    assert list(built()) != list(built())


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_nothing_runs_before_next(engine):
    before = children(), threading.active_count()
    stream = ELSEWHERE[engine](noise(3))()
    assert (children(), threading.active_count()) == before
    stream.close()


def test_mistakes_are_found_when_it_is_built():
    for options, words in [
        ({"engine": "ray-gun"}, "engine='ray-gun' is unknown; choose from 'process', 'thread'"),
        ({"max_bytes": 0}, "max_bytes=0 is too small"),
        ({"max_restarts": -1}, "max_restarts=-1 is too small"),
        (
            {"max_restarts": 2, "engine": "thread"},
            'max_restarts=2 with engine="thread"; a thread does not die; leave it out',
        ),
    ]:
        with pytest.raises(ValueError, match=re.escape(f"parallel: {words}")):
            parallel(noise(3), **options)
    with pytest.raises(TypeError, match=r"^parallel: max_bytes=1\.5 is not an integer"):
        parallel(noise(3), max_bytes=1.5)
    with pytest.raises(TypeError, match="parallel: factory=3 is not a factory"):
        parallel(3)
    with pytest.raises(ValueError, match="prefetch: n_items=0 is too small"):
        prefetch(noise(3), 0)


# Items.


def test_an_item_is_what_it_was_when_it_was_yielded():
    for size in (3, 3000):
        assert [x["x"][-1] for x in parallel(elsewhere.reused(1000, size))()] == list(range(1000))


def test_what_is_kept_does_not_change():
    stream = parallel(elsewhere.arrays(200, 2000))()
    kept = next(stream)["x"][5:6]
    for item in itertools.islice(stream, 150):
        item["x"][:] = -1
    assert kept.tolist() == [0.0]
    shutdown()
    assert kept.tolist() == [0.0]
    kept[:] = 3


def test_classes_and_functions_that_only_this_module_has():
    class Local:
        def __init__(self, n):
            self.n = n

    class LocalError(Exception):
        pass

    def made():
        yield Local(3)
        yield [Local(np.arange(3)), lambda: 5]
        raise LocalError(Local(4))

    stream = parallel(made)()
    one = next(stream)
    assert type(one) is Local
    assert one.n == 3
    (other, function) = next(stream)
    assert type(other) is Local
    assert function() == 5
    with pytest.raises(LocalError) as found:
        next(stream)
    assert type(found.value.args[0]) is Local


def makes_classes(k=0):
    """Classes that there are while this runs, and in no other process."""

    class Base:
        def __init__(self, value):
            self.value = value

    class Row(Base):
        def next(self):
            return type(self)(self.value + 1)

    pair = namedtuple("pair", ["first", "value"])
    for i in range(40):
        yield [Row(i), pair(k, i), Base(i)][i % 3] if i % 4 else i


@pytest.mark.parametrize("n_workers", [1, 2])
def test_classes_that_a_stream_makes_arrive_though_they_were_let_go(n_workers):
    with parallel(round_robin_mux([makes_classes, lambda: makes_classes(1)]), n_workers)() as stream:
        found = []
        for item in stream:
            found.append(getattr(item, "value", item))
            del item
            gc.collect()
    assert found == [i for i in range(40) for _ in range(2)]


def test_items_that_are_held_have_one_class():
    held = [item for item in parallel(makes_classes)() if not isinstance(item, int)]
    assert len({type(item) for item in held}) == 3
    pair, base, row = held[:3]
    assert (pair.value, base.value, row.next().value) == (1, 2, 4)
    assert isinstance(row, type(base))


def test_a_class_whose_first_item_does_not_pickle():
    def rows():
        class Row:
            def __init__(self, value):
                self.value = value

        yield Row(0), threading.Lock()
        yield Row(1)
        yield Row(2)

    failed, one, two = outcomes(parallel(rows)())
    assert isinstance(failed, WorkerError)
    assert (one.value, two.value, type(one)) == (1, 2, type(two))


def test_what_the_consumer_makes_of_a_class_stays():
    """Of one that the factory brings, and of one that its stream makes."""

    class Brought:
        seen = 0

    def rows():
        class Made:
            seen = 0

        for _ in range(30):
            yield Brought(), Made()

    with parallel(rows)() as stream:
        brought, made = next(stream)
        assert type(brought) is Brought
        Brought.seen = type(made).seen = 1
        for one, other in stream:
            assert (one.seen, other.seen) == (1, 1)
            assert type(other) is type(made)


def test_a_source_that_calls_itself():
    @source
    def walk(depth):
        yield depth
        if depth:
            yield from walk(depth - 1)()

    assert list(parallel(walk(3))()) == [3, 2, 1, 0]


def test_what_does_not_pickle_is_said_when_it_runs():
    generator = (x for x in range(3))
    with pytest.raises(TypeError, match=r'^parallel: the factory .* cannot be sent to a worker: .* engine="thread"'):
        next(parallel(lambda: generator)())
    assert list(in_thread(lambda: generator)()) == [0, 1, 2]


# The bound.


def noted(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.usefixtures("means")
@pytest.mark.parametrize("n_workers", [1, 2])
def test_what_is_shared_takes_no_room_in_the_shared_memory_of_the_system(n_workers):
    """So a container with 1 MB of it will do."""

    def free():
        found = os.statvfs("/dev/shm")
        return found.f_bfree, os.listdir("/dev/shm")

    before = free()
    mux = round_robin_mux([elsewhere.arrays(3, 4_000_000), elsewhere.arrays(3, 4_000_000)])
    with parallel(mux, n_workers)() as stream:
        held = pulls(stream, 4)
        assert free() == before
    assert [row["k"] for row in held] == [0, 0, 1, 1]


@pytest.mark.parametrize("engine", ["process", "thread"])
@pytest.mark.parametrize(("n_bytes", "size", "most"), [(1_000_000, 25_000, 5), (1, 25_000, 1), (10**8, 3, 10**9)])
def test_no_more_is_made_ahead_than_max_bytes(engine, n_bytes, size, most, tmp_path):
    """However long the consumer sleeps; one item is always let through."""

    @source
    def counted():
        for k in range(100):
            with open(tmp_path / "made", "a") as file:
                file.write(f"{k}\n")
            yield np.full(size, float(k))

    with parallel(counted(), engine=engine, max_bytes=n_bytes)() as stream:
        for taken in range(1, 8):
            assert next(stream)[0] == taken - 1
            time.sleep(0.03)
            assert noted(tmp_path / "made") - taken <= most
        assert [x[0] for x in stream] == list(range(7, 100))


@pytest.mark.parametrize(
    "value",
    [1 << 1_600_000, -1 << 1_600_000, "x" * 200_000, b"x" * 200_000],
    ids=["int", "negative int", "str", "bytes"],
)
def test_a_large_plain_value_counts_as_what_it_takes(value, tmp_path):
    @source
    def counted():
        for k in range(60):
            with open(tmp_path / "made", "a") as file:
                file.write(f"{k}\n")
            yield {"k": k, "value": value}

    with parallel(counted(), max_bytes=1_000_000)() as stream:
        for taken in range(1, 8):
            assert next(stream) == {"k": taken - 1, "value": value}
            time.sleep(0.03)
            assert noted(tmp_path / "made") - taken <= 5


def test_what_the_consumer_holds_does_not_count():
    held = list(parallel(elsewhere.arrays(60, 25_000), max_bytes=1_000_000)())
    assert [x["x"][-1] for x in held] == list(range(60))


def test_items_of_any_size_in_any_order():
    sizes = [3, 10**6, 5, 2, 3 * 10**6, *range(1, 3000, 100), 10**6]

    def made():
        yield from (np.full(n, n) for n in sizes)

    for engine in ("process", "thread"):
        found = list(parallel(made, engine=engine, max_bytes=10**6)())
        assert [(len(x), x[-1]) for x in found] == [(n, n) for n in sizes]


@pytest.mark.parametrize("n", [1, 2, 5, 256])
def test_prefetch_holds_so_many(n, tmp_path):
    @source
    def counted():
        for k in range(3000):
            made.append(k)
            yield k

    made = []
    with prefetch(counted(), n)() as stream:
        for taken in range(1, 600, 7):
            pulls(stream, 7 if taken > 1 else 1)
            time.sleep(0.002)
            assert len(made) - taken <= n
        rest = list(stream)
        assert rest == list(range(taken, 3000))


@pytest.mark.parametrize(
    ("run", "most"),
    [
        (lambda f: prefetch(f, 3), 3),
        (lambda f: parallel(f, engine="thread", max_bytes=20_000), 64),
        (lambda f: parallel(shuffled_mux([f, f], seed=0), 2, engine="thread", max_bytes=20_000), 64),
        (lambda f: parallel(f, max_bytes=20_000), 64),
    ],
    ids=["prefetch", "thread", "threads", "process"],
)
def test_errors_that_are_not_fetched_take_no_memory_without_end(run, most, tmp_path):
    """A function that raises for each of endless items, and a consumer that has seen the first error."""

    def bad(x):
        with open(tmp_path / "made", "a") as file:
            file.write("x\n")
        raise ValueError(x)

    with run(map_items(itertools.count, bad))() as stream:
        for taken in range(1, 5):
            with pytest.raises(ValueError, match=r"^\d+$"):
                next(stream)
            time.sleep(0.1)
            assert noted(tmp_path / "made") - taken <= most


def test_items_come_as_soon_as_they_are_made():
    """Neither a slow generator nor one that stops to think keeps what it has given."""

    def made():
        for k in range(40):
            yield k
            time.sleep(0.3 if k == 35 else 0.002 * (k > 20))

    for run in (parallel, in_thread, ahead):
        late = 0.0
        last = time.perf_counter()
        for k in run(made)():
            now = time.perf_counter()
            if 21 < k <= 35:
                late = max(late, now - last)
            last = now
        assert late < 0.1


@pytest.mark.parametrize("pause", [0.01, 0.3])
def test_the_last_items_before_a_pause_come_at_once(pause):
    """Also where the worker had nothing to send for long."""

    def made():
        for k in range(60):
            yield time.monotonic()
            if k > 20 and k % 8 == 0:
                time.sleep(pause)

    for run in (parallel, in_thread, ahead, lambda f: parallel(round_robin_mux([f]), n_workers=2)):
        late = [time.monotonic() - one for one in run(made)()][25:]
        assert max(late) < 0.1
        assert sorted(late)[len(late) // 2] < 0.008


# Workers.


def worker_of(stream):
    return next(stream)


def test_a_worker_is_kept_for_the_next_stream():
    first = next(parallel(elsewhere.pids())())
    for _ in range(5):
        assert next(parallel(elsewhere.pids())()) == first
    with parallel(elsewhere.pids())() as stream:
        assert next(stream) == first
    assert list(take(parallel(elsewhere.pids()), 3)()) == [first] * 3


def test_a_worker_serves_one_stream_at_a_time():
    streams = [parallel(elsewhere.pids())() for _ in range(3)]
    assert len({next(stream) for stream in streams}) == 3
    for stream in streams:
        stream.close()
    assert len(children()) == 3


def test_an_idle_worker_leaves_after_a_while(monkeypatch):
    monkeypatch.setattr(pool, "IDLE_S", 0.2)
    before = children()
    next(parallel(elsewhere.pids())())
    assert children() > before
    until = time.monotonic() + 2
    while children() != before and time.monotonic() < until:
        time.sleep(0.02)
    assert children() == before
    next(parallel(elsewhere.pids())())


def test_a_worker_with_another_environment_is_not_used(monkeypatch, tmp_path):
    first = next(parallel(elsewhere.pids())())
    monkeypatch.setenv("ELSEWHERE", "1")
    second = next(parallel(elsewhere.pids())())
    monkeypatch.chdir(tmp_path)
    third = next(parallel(elsewhere.pids())())
    monkeypatch.syspath_prepend(str(tmp_path))
    fourth = next(parallel(elsewhere.pids())())
    assert len({first, second, third, fourth}) == 4
    assert len(children()) == 1


def test_a_worker_whose_modules_have_changed_is_not_used(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = tmp_path / "changing_module.py"
    module.write_text("def one(): yield 'first'\n")
    import changing_module

    built = parallel(changing_module.one)
    assert list(built()) == ["first"]
    module.write_text("def one(): yield 'another'\n")
    assert list(built()) == ["another"]
    del sys.modules["changing_module"]


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_a_module_that_changes_while_a_stream_is_open(late, n_workers, monkeypatch, tmp_path):
    """It is imported before that, where the factory is loaded or by the stream itself."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = tmp_path / "open_module.py"
    module.write_text("def one(): yield from ['first'] * 100\n")
    if late:

        def one():
            import open_module

            yield from open_module.one()
    else:
        from open_module import one

    built = parallel(chain_mux([one]), n_workers)
    with built() as stream:
        assert next(stream) == "first"
        module.write_text("def one(): yield 'another'\n")
    assert list(built()) == ["another"]
    sys.modules.pop("open_module", None)


BESIDE = """
import sys
from pathlib import Path
sys.dont_write_bytecode = True
sys.path.insert(0, sys.prefix + "_code")
module = Path(sys.path[0], "beside_module.py")
module.write_text("def one(): yield 'first'")
from beside_module import one
from pescador_fn import parallel
assert list(parallel(one)()) == ["first"]
module.write_text("def one(): yield 'another'")
assert list(parallel(one)()) == ["another"]
"""


def test_a_folder_whose_name_begins_as_that_of_the_environment(tmp_path):
    venv.create(tmp_path / "env")
    (tmp_path / "env_code").mkdir()
    places = [str(ROOT), *filter(os.path.isdir, sys.path)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(places))
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-c", BESIDE], env=environment, check=True, timeout=60)


def test_workers_are_like_their_parent(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELSEWHERE", "yes")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for name in ("PYTHONHASHSEED", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    (there,) = parallel(elsewhere.surroundings)()
    assert there["path"] == sys.path
    assert there["folder"] == str(tmp_path)
    assert there["environment"] == {
        "ELSEWHERE": "yes",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    assert there["flags"]["safe_path"]
    assert there["group"]
    assert next(parallel(elsewhere.surroundings)())["hash"] == there["hash"]
    monkeypatch.setenv("PYTHONHASHSEED", "5")
    (other,) = parallel(elsewhere.surroundings)()
    assert other["environment"]["PYTHONHASHSEED"] == "5"
    assert other["hash"] != there["hash"]


def test_two_threads_iterate_two_streams_at_once():
    def consume(k):
        found[k] = [x["x"][-1] for x in parallel(elsewhere.arrays(300, 1000))()]

    found = {}
    threads = [threading.Thread(target=consume, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == list(range(300))


def test_a_stream_may_change_threads():
    stream = parallel(elsewhere.arrays(100, 1000))()
    assert next(stream)["k"] == 0
    found = []
    thread = threading.Thread(target=lambda: found.extend(x["k"] for x in stream))
    thread.start()
    thread.join()
    assert found == list(range(1, 100))


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_a_shutdown_closes_what_is_open(engine, tmp_path):
    def noting():
        try:
            yield from itertools.count()
        finally:
            (tmp_path / "closed").touch()

    stream = ELSEWHERE[engine](noting)()
    next(stream)
    shutdown()
    assert (tmp_path / "closed").exists()


def test_a_memory_map_is_mapped_in_the_worker_too(tmp_path):
    """Whole ones; what was cut out of one, or changed in this process only, is sent."""
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(300_000.0).reshape(-1, 3))
    for mode, sent in {"r": False, "r+": False, "c": True}.items():
        data = np.load(path, mmap_mode=mode)
        if mode == "c":
            data[0] = -1
        for some, much in ((data, sent), (data[5:], True)):
            factory = draws(some, seed=0)
            assert (len(dump(factory, Root(0))) > some.nbytes) is much
            here, there = (np.array(list(take(one, 50)())) for one in (factory, parallel(factory)))
            assert (here == there).all()
    data = np.load(path, mmap_mode="r")
    path.unlink()
    assert (next(parallel(rows(data))()) == [0, 1, 2]).all()


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_a_stream_that_is_open_at_a_shutdown_says_so(engine):
    stream = ELSEWHERE[engine](noise(10**6))()
    next(stream)
    shutdown()
    with pytest.raises(RuntimeError, match=r"ended by shutdown\(\); call its factory again"):
        deque(stream, maxlen=0)
    with pytest.raises(RuntimeError, match=r"ended by shutdown"):
        next(stream)
    stream.close()
    assert len(list(ELSEWHERE[engine](noise(3))())) == 3


SHARED = ELSEWHERE | {
    f"3 {name}": lambda factory, engine=engine: parallel(round_robin_mux([factory] * 3), 3, engine=engine)
    for name, engine in (("processes", "process"), ("threads", "thread"))
}


@pytest.mark.parametrize("engine", SHARED)
@pytest.mark.parametrize("when", ["idle", "pulled", "waited for"])
def test_a_stream_that_was_shut_down_stays_so(engine, when):
    """Also from another thread, at any moment; and the stream, which is still held, holds nothing."""
    before = belongings()
    stream = SHARED[engine](elsewhere.numbered(0, 0.05) if when == "waited for" else elsewhere.arrays(10**6, 600))()
    next(stream)
    ending = threading.Timer(0.0 if when == "idle" else 0.2, shutdown)
    ending.start()
    if when == "idle":
        ending.join()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="ended by shutdown"):
            deque(stream, maxlen=0)
    ending.join()
    assert left_since(before) == {}


@pytest.mark.parametrize("engine", SHARED)
def test_a_shutdown_by_the_handler_of_a_signal(engine):
    stream = SHARED[engine](elsewhere.numbered(0, 0.05))()
    next(stream)
    before = signal.signal(signal.SIGUSR1, lambda *_: shutdown())
    ending = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    ending.start()
    try:
        for _ in range(3):
            with pytest.raises(RuntimeError, match="ended by shutdown"):
                deque(stream, maxlen=0)
    finally:
        ending.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("engine", SHARED)
def test_a_stream_that_begins_while_others_are_shut_down(engine):
    """Another thread ends the first, which takes its time; the second lives on, or is a thread: they come last."""
    perhaps_not = nullcontext() if "process" in engine else suppress(RuntimeError)
    for pause in (0.0, 0.0, 0.05, 0.1):
        first = SHARED[engine](elsewhere.reluctant(0.2))()
        next(first)
        ending = threading.Thread(target=shutdown)
        ending.start()
        time.sleep(pause)
        with suppress(RuntimeError):
            while ending.is_alive():
                next(first)
        first.close()
        for _ in range(2):
            with SHARED[engine](noise(30))() as second, perhaps_not:
                assert len([*second]) in (30, 90)
        ending.join()
        with SHARED[engine](noise(30))() as second:
            assert len([*second]) in (30, 90)


@pytest.mark.parametrize("engine", SHARED)
def test_a_stream_that_is_closed_holds_nothing_though_it_has_a_name(engine):
    before = belongings()
    with SHARED[engine](elsewhere.arrays(10**6, 60_000))() as stream:
        next(stream)
        time.sleep(0.2)  # so that there is much that is made and not delivered
    shutdown()
    assert left_since(before) == {}
    del stream


@pytest.mark.parametrize("n_workers", [1, 2])
def test_classes_with_slots_that_no_module_has(n_workers):
    @dataclass(slots=True)
    class Row:
        x: int

    class Point:
        __slots__ = ("__y", "x")

        def __init__(self, x, y):
            self.x, self.__y = x, y

        def at(self):
            return self.x, self.__y

    class Named(Point):
        __slots__ = "name"

    class Open(Point):
        pass

    class Few(Point):
        __slots__ = frozenset({"z"})

    class Pair(NamedTuple):
        one: int
        two: int = 2

    def mixed():
        named, other, few = Named(1, 2), Open(3, 4), Few(5, 6)
        named.name, other.name, few.z = "a", "b", 7
        yield from (Row(5), named, other, few, Pair(1))

    row, named, other, few, pair = parallel(chain_mux([mixed]), n_workers)()
    assert row == Row(5)
    assert (few.at(), few.z, pair, type(pair)) == ((5, 6), 7, (1, 2), Pair)
    assert (type(named), named.at(), named.name) == (Named, (1, 2), "a")
    assert (type(other), other.at(), other.name) == (Open, (3, 4), "b")


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_many_streams_leak_nothing(engine):
    built = take(ELSEWHERE[engine](elsewhere.arrays(20, 600)), 15)
    pulls(built(), 3)
    before = len(os.listdir("/proc/self/fd"))
    for k in range(300):
        stream = built()
        pulls(stream, k % 20)
        if k % 3:
            stream.close()
    del stream
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert len(children()) <= 1


# Where it runs.


def run(*args, text=None, folder=None):
    """A program of its own, in an environment that finds this package."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, *args], input=text, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


SPAWNED = """
import multiprocessing
from pescador_fn import lift, map_items, parallel, shuffled_mux, source, take

class Row:
    def __init__(self, value):
        self.value = value

@source
def die(sides, *, rng):
    while True:
        yield int(rng.integers(sides))

@lift
def unchanged(items):
    yield from items

def work(queue, method):
    mux = unchanged(shuffled_mux([die(6), die(20)], seed=0))
    made = parallel(take(map_items(mux, Row), 9))
    queue.put((method, [row.value for row in made()], all(type(row) is Row for row in made())))

if __name__ == "__main__":
    wanted = list(take(shuffled_mux([die(6), die(20)], seed=0), 9)())
    for method in ("spawn", "forkserver", "fork"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        child = context.Process(target=work, args=(queue, method))
        child.start()
        assert queue.get(timeout=30) == (method, wanted, True)
        child.join(30)
        assert child.exitcode == 0
"""


def test_a_process_that_multiprocessing_has_started_has_workers_too(tmp_path):
    (tmp_path / "script.py").write_text(SPAWNED)
    run("script.py", folder=tmp_path)


DECORATED = """
import pickle
from pescador_fn import lift, parallel

@lift
def tripled(items):
    return (3 * item for item in items)

made = tripled([1, 2].__iter__)
assert list(pickle.loads(pickle.dumps(made))()) == list(parallel(made)()) == [3, 6]
"""


def test_what_lift_decorates_in_a_script_travels(tmp_path):
    (tmp_path / "script.py").write_text(DECORATED)
    run("script.py", folder=tmp_path)


SCRIPT = """
from dataclasses import dataclass
import numpy as np
from pescador_fn import batch, parallel, source, shuffled_mux

@dataclass
class Row:
    x: object
    count = 0

factor = 10

@source
def rows(n, *, rng):
    for k in range(n):
        yield Row(factor * k)

@source
def numbers(n):
    yield from range(n)

Row.count = 7
found = list(parallel(rows(3))())
assert [type(row) for row in found] == [Row] * 3, found
assert Row.count == 7
print([row.x for row in found])
factor = 100
print([row.x for row in parallel(rows(3))()])
print([b.tolist() for b in batch(parallel(lambda: numbers(4)()), 2)()])
"""


def test_in_a_script_without_a_main_guard(tmp_path):
    """Beside a module that bears the name of one of the standard library's."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "queue.py").write_text("raise RuntimeError('shadowed')")
    assert run(str(tmp_path / "script.py")).splitlines() == ["[0, 10, 20]", "[0, 100, 200]", "[[0, 1], [2, 3]]"]


def test_as_a_module_of_a_package(tmp_path):
    package = tmp_path / "a_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("def double(x): return 2 * x\n")
    (package / "module.py").write_text(
        SCRIPT + "\nfrom . import helper\nprint(list(parallel(lambda: map(helper.double, [1, 2]))()))\n"
    )
    assert run("-m", "a_package.module", folder=tmp_path).splitlines()[-1] == "[2, 4]"


def test_from_standard_input_and_the_command_line():
    assert run("-", text=SCRIPT).splitlines()[0] == "[0, 10, 20]"
    assert run("-c", SCRIPT).splitlines()[0] == "[0, 10, 20]"


def test_in_a_notebook(tmp_path):
    cells = [textwrap.dedent(cell) for cell in (SCRIPT, "list(parallel(lambda: (factor * k for k in range(3)))())")]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    execute = (
        "import nbformat, nbclient; notebook = nbformat.read('a.ipynb', 4); "
        "nbclient.NotebookClient(notebook, timeout=60).execute(); nbformat.write(notebook, 'b.ipynb')"
    )
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    subprocess.run([sys.executable, "-c", execute], cwd=tmp_path, env=environment, capture_output=True, check=True)
    notebook = nbformat.read(tmp_path / "b.ipynb", 4)
    printed, value = notebook.cells[0].outputs[0]["text"], notebook.cells[1].outputs[0]["data"]["text/plain"]
    assert printed.splitlines() == ["[0, 10, 20]", "[0, 100, 200]", "[[0, 1], [2, 3]]"]
    assert value == "[0, 100, 200]"


def test_a_module_that_starts_a_stream_while_a_worker_imports_it(tmp_path):
    (tmp_path / "unguarded.py").write_text(
        textwrap.dedent("""
        from pescador_fn import parallel
        def numbers():
            yield from range(3)
        found = list(parallel(numbers)())
        """)
    )
    (tmp_path / "script.py").write_text(
        "try:\n    import unguarded\nexcept RuntimeError as error:\n    print(error)\nelse:\n    print('fine')\n"
    )
    assert "while a worker was importing it" in run(str(tmp_path / "script.py"), folder=tmp_path)


def test_flags_are_passed_on():
    code = (
        "import elsewhere; from pescador_fn import parallel; (there,) = parallel(elsewhere.surroundings)(); "
        "print(there['flags']['optimize'], there['flags']['utf8_mode'], 'ignore' in there['warnings'])"
    )
    assert run("-O", "-X", "utf8", "-W", "ignore", "-c", code, folder=Path(__file__).parent).split() == [
        "1",
        "1",
        "True",
    ]


@pytest.mark.parametrize("flags", [("-X", "dev"), ("-W", "error")], ids=" ".join)
def test_where_every_warning_is_shown_there_is_none(flags):
    code = (
        "import elsewhere; from pescador_fn import parallel, chain_mux; "
        "left_open = parallel(elsewhere.surroundings)(); next(left_open); "
        "list(parallel(chain_mux([elsewhere.surroundings]), 2)())"
    )
    run(*flags, "-c", code, folder=Path(__file__).parent)


def test_the_engines_are_imported_when_they_run():
    code = (
        "import sys, pescador_fn; f = pescador_fn.parallel(lambda: [1]); "
        "print([m for m in sys.modules if m.split('.')[0] in ('zmq', 'cloudpickle', 'multiprocessing')])"
    )
    assert run("-c", code).strip() == "[]"


def test_an_item_that_does_not_pickle_costs_itself():
    def made():
        yield 1
        yield (x for x in ())
        yield 2

    found = outcomes(parallel(made)())
    assert found[::2] == [1, 2]
    assert type(found[1]) is WorkerError
    assert "generator" in str(found[1])
    assert same(found[0], 1)
    assert pipe(made, parallel_stage := pescador_fn.curried.parallel(max_bytes=10**6)) == parallel(
        made, max_bytes=10**6
    )
    assert repr(parallel_stage) == "parallel(max_bytes=1000000)"
