"""Several workers for one pipeline: the same items in the same order as with none, for any number of either kind."""

import itertools
import os
import threading
import time
import tracemalloc
from functools import partial

import elsewhere
import numpy as np
import pytest
from strategies import outcomes, pulls, shown, through_json

from pescador_fn import (
    batch,
    cache,
    chain_mux,
    cycle,
    filter_items,
    lift,
    map_items,
    parallel,
    prefetch,
    resume,
    round_robin_mux,
    seeded,
    shuffle,
    shuffled_mux,
    skip,
    stochastic_mux,
    take,
    tuples,
)
from pescador_fn.engines import ahead
from pescador_fn.foresight import foresee

pytestmark = pytest.mark.usefixtures("nothing_left")

WEIGHTS = [5, 1, 3, 0, 2, 4, 1, 2]


def streams():
    """Finite ones of several lengths; a barren one, one that raises at its end, one that does not open."""
    return [
        elsewhere.draws(0, 9),
        elsewhere.draws(1, 3),
        elsewhere.draws(2, 30),
        elsewhere.draws(3, 5),
        elsewhere.draws(4, 0),
        elsewhere.failing(5, 4),
        elsewhere.not_opening,
        elsewhere.draws(7, 12),
    ]


def lasting(n=6):
    return [elsewhere.draws(k, 10**6) for k in range(n)]


class Lazy(list):
    """A sequence of its own type, which is indexed only."""


def growing(draw):
    return [1 + draw] + [5] * 7


MUXES = {
    "shuffled": shuffled_mux(streams(), WEIGHTS, seed=1),
    "shuffled, drop": shuffled_mux(streams(), on_exhausted="drop", seed=2),
    "shuffled, stop": shuffled_mux(streams()[:4], on_exhausted="stop", seed=3),
    "shuffled, curriculum": shuffled_mux(streams(), growing, seed=4),
    "with replacement": stochastic_mux(streams(), 3, 4, seed=5),
    "with replacement, weights, constant": stochastic_mux(streams(), 3, 4, weights=WEIGHTS, dist="constant", seed=6),
    "with replacement, curriculum": stochastic_mux(streams(), 3, 4, weights=growing, dist="poisson", seed=7),
    "with replacement, to the ends": stochastic_mux(streams(), 3, None, seed=8),
    "with replacement, rate 1": stochastic_mux(streams(), 3, 1, seed=8),
    "single active": stochastic_mux(streams(), 3, 4, mode="single_active", seed=9),
    "single active, weights": stochastic_mux(streams(), 3, 4, weights=WEIGHTS, mode="single_active", seed=10),
    "exhaustive": stochastic_mux(streams(), 3, 4, mode="exhaustive", seed=11),
    "exhaustive, weights": stochastic_mux(streams(), 3, 4, weights=WEIGHTS, mode="exhaustive", seed=12),
    "exhaustive, curriculum": stochastic_mux(streams(), 3, None, weights=growing, mode="exhaustive", seed=13),
    "round robin": round_robin_mux(streams(), seed=14),
    "round robin, cycle": round_robin_mux(streams(), mode="cycle", seed=15),
    "round robin, permuted": round_robin_mux(streams(), mode="permuted_cycle", seed=16),
    "chain": seeded(chain_mux(streams()), 17),
    "chain, cycle": seeded(chain_mux(streams(), mode="cycle"), 18),
    "names": stochastic_mux(dict(zip("abcdefgh", streams(), strict=True)), 3, 4, seed=19),
    "two levels": shuffled_mux(
        [stochastic_mux(lasting(4), 2, 3), stochastic_mux(streams(), 3, 3), elsewhere.draws(9, 5)], seed=20
    ),
    "muxes that come and go": stochastic_mux(
        [shuffled_mux(streams(), on_exhausted="drop"), chain_mux(streams())], 2, 20, seed=21
    ),
}


STAGES = {
    "mapped": lambda f: map_items(map_items(f, elsewhere.doubled), elsewhere.doubled),
    "mapped, raising": lambda f: map_items(f, elsewhere.picky),
    "tuples": lambda f: tuples(f, "x", "k"),
    "batches": lambda f: batch(map_items(f, elsewhere.doubled), 3),
    "buffer": lambda f: shuffle(take(f, 40), 8, seed=1),
    "filtered": lambda f: map_items(filter_items(f, lambda item: item["x"] > 0.5), elsewhere.doubled),
    "passes": lambda f: take(cycle(f), 100),
    "skipped": lambda f: skip(f, 7),
    "lifted": lambda f: lift(partial(map, elsewhere.doubled))(f),
    "lifted, memoryless": lambda f: lift(partial(map, elsewhere.doubled), memoryless=True)(f),
}


def made(factory, n):
    """What ``n`` pulls give; closed, since exceptions keep the frames that hold the stream."""
    with factory() as stream:
        return shown(outcomes(stream, n))


def same(factory, other, n):
    return repr(made(factory, n)) == repr(made(other, n))


@pytest.mark.parametrize(
    ("engine", "k", "open_ahead"), [("process", 3, None), ("process", 2, 0), ("thread", 3, None), ("thread", 2, 1)]
)
def test_several_workers_make_what_none_makes(engine, k, open_ahead):
    """All muxes in one test, which starts its workers once."""
    for name, mux in MUXES.items():
        assert same(parallel(mux, k, engine=engine, open_ahead=open_ahead), mux, 250), name


@pytest.mark.parametrize("name", ["with replacement", "round robin", "two levels", "exhaustive, weights"])
def test_stages_above_a_mux_make_no_difference(name):
    for stage, over in STAGES.items():
        factory = over(MUXES[name])
        assert same(parallel(factory, 3), factory, 120), stage


def test_a_lazy_sequence_is_indexed_only():
    lazy = stochastic_mux(Lazy(streams()), 3, 4, seed=1)
    assert same(parallel(lazy, 2), stochastic_mux(streams(), 3, 4, seed=1), 100)


def test_an_unseeded_pipeline_draws_in_every_worker_from_the_same_entropy():
    stream = parallel(shuffled_mux(lasting()), 3)()
    head = pulls(stream, 20)
    rest = resume(shuffled_mux(lasting()), stream.state_dict())()
    assert head != pulls(parallel(shuffled_mux(lasting()), 3)(), 20)
    assert pulls(stream, 50) == pulls(rest, 50)


# Where things run.


def test_functions_by_item_go_along_with_the_streams():
    def pids(factory):
        return {pid for _, pid in pulls(take(parallel(factory, 3), 60)())}

    mux = shuffled_mux(lasting(), seed=1)
    assert len(pids(map_items(mux, elsewhere.with_pid))) == 3
    assert len(pids(map_items(take(mux, 100), elsewhere.with_pid))) == 3
    assert os.getpid() not in pids(
        map_items(shuffled_mux([mux, stochastic_mux(lasting(), 2, 4)], seed=2), elsewhere.with_pid)
    )
    assert pids(map_items(filter_items(mux, bool), elsewhere.with_pid)) == {os.getpid()}
    assert pids(map_items(shuffle(mux, 5), elsewhere.with_pid)) == {os.getpid()}


class Doors:
    """Streams that count how many are open; for threads."""

    def __init__(self):
        self.lock, self.open, self.most = threading.Lock(), 0, 0

    def stream(self, k, n, pause=0):
        def made():
            with self.lock:
                self.open += 1
                self.most = max(self.most, self.open)
            try:
                for i in range(n):
                    time.sleep(pause)
                    yield k, i
            finally:
                with self.lock:
                    self.open -= 1

        return made


@pytest.mark.parametrize("open_ahead", [0, 2])
@pytest.mark.parametrize("n", [2, 50], ids=["early ends", "quotas"])
@pytest.mark.parametrize("mode", ["with_replacement", "single_active", "exhaustive"])
def test_so_many_streams_are_open_and_no_more(mode, n, open_ahead):
    doors = Doors()
    mux = stochastic_mux([doors.stream(k, n) for k in range(40)], 4, 5, mode=mode, seed=1)
    found = pulls(parallel(mux, 3, engine="thread", open_ahead=open_ahead)(), 150)
    assert found == pulls(mux(), 150)
    assert 4 <= doors.most <= 4 + open_ahead
    assert doors.open == 0


@pytest.mark.parametrize("at", [0, 15])
def test_a_state_opens_nothing(at):
    """A buffer and a lifted function tell in a state where they began, by a mux that is never opened."""
    doors = Doors()
    mux = stochastic_mux([doors.stream(k, 50, 0.0005) for k in range(40)], 2, 10, dist="constant", seed=0)
    stream = parallel(lift(elsewhere.unchanged)(mux), 2, engine="thread", open_ahead=0)()
    found = pulls(stream, at)
    stream.state_dict()
    found += pulls(stream, 60)
    stream.close()
    assert doors.most == 2
    assert found == pulls(mux(), at + 60)


@pytest.mark.parametrize("engine", ["thread", "process"])
@pytest.mark.parametrize(
    "stage",
    [lift(elsewhere.unchanged), partial(shuffle, buffer_size=3, seed=1), partial(cache, size=2, prob=1, seed=1)],
    ids=["lift", "shuffle", "cache"],
)
def test_the_end_has_a_state(engine, stage):
    factory = parallel(stage(round_robin_mux([range(3).__iter__] * 2)), 2, engine=engine)
    stream = factory()
    assert len(list(stream)) == 6
    assert list(resume(factory, through_json(stream.state_dict()))()) == []


# What is foreseen.


@pytest.mark.parametrize("open_ahead", [0, 1, None])
def test_what_was_foreseen_is_not_foreseen_again(open_ahead, monkeypatch):
    """A stream for which there was no room is opened when it is needed, and the rest stays as it was foreseen."""
    began = []
    monkeypatch.setattr(ahead, "foresee", lambda *given: began.append(1) or foresee(*given))
    mux = stochastic_mux(lasting(50), 4, 8, seed=0)
    assert pulls(parallel(mux, 2, engine="thread", open_ahead=open_ahead)(), 900) == pulls(mux(), 900)
    assert len(began) < 10


@pytest.mark.parametrize("at", [0, 1, 17, 50])
@pytest.mark.parametrize(
    "mux",
    [
        shuffled_mux(lasting(8), WEIGHTS, seed=1),
        shuffled_mux(lasting(8), growing, seed=1),
        stochastic_mux(lasting(8), 3, 5, weights=WEIGHTS, seed=1),
        stochastic_mux(lasting(8), 3, 5, weights=growing, seed=1),
        stochastic_mux(lasting(8), 3, 5, weights=WEIGHTS, mode="single_active", seed=1),
        stochastic_mux(lasting(20), 3, 5, mode="exhaustive", seed=1),
        stochastic_mux(lasting(20), 3, 5, weights=np.arange(1, 21), mode="exhaustive", seed=1),
        stochastic_mux(lasting(40), 20, 5, weights=np.arange(1, 41), mode="exhaustive", seed=1),
        round_robin_mux(lasting(8)),
    ],
    ids=repr,
)
def test_what_is_foreseen_of_streams_that_last_is_what_is_drawn(mux, at):
    stream = mux()
    pulls(stream, at)
    known = [found[0] for found, _ in zip(foresee(stream._running, lambda *_: None), range(40), strict=False)]
    assert len(known) == 40
    assert known == [item["k"] for item in pulls(stream, 40)]


def test_workers_have_about_as_much_to_do():
    """As far as is foreseen; where streams are given out as they come, some have twice as much as others."""
    mux = shuffled_mux([itertools.count] * 100, 1 / np.arange(10, 110), seed=0)
    with parallel(mux, 16, engine="thread")() as stream:
        next(stream)
        listed = [hand.asked for hand in stream._running.team.hands.all]
    assert max(listed) - min(listed) < 0.2 * max(listed)


def test_one_slow_opening_does_not_let_later_draws_go_first():
    """Those of open streams go before an opening only where openings are slow, since one of them may block."""
    gate = threading.Event()

    def blocks():
        time.sleep(0.05)

        def some():
            yield from range(3)
            gate.wait(10)
            yield 3

        return some()

    mux = round_robin_mux([blocks, *[range(10 * k, 10 * k + 4).__iter__ for k in range(1, 6)]])
    with parallel(mux, 2, engine="thread")() as stream:
        start = time.perf_counter()
        assert pulls(stream, 6) == [0, 10, 20, 30, 40, 50]
        assert time.perf_counter() - start < 1
        gate.set()
        assert list(stream) == pulls(mux())[6:]


# What cannot be shared.


@pytest.mark.parametrize(
    ("factory", "what"),
    [
        (elsewhere.draws(0, 5), r"draws\(0, 5\) is one stream"),
        (batch(elsewhere.draws(0, 5), 2), r"batch over draws\(0, 5\) is one stream"),
        (chain_mux(lambda: iter(streams())), "a mux of a factory of factories"),
        (parallel(shuffled_mux(lasting())), "is one stream"),
    ],
)
def test_what_cannot_be_shared_says_so_when_it_is_built(factory, what):
    with pytest.raises(ValueError, match=rf"parallel: n_workers=3, but .*{what}.*; divide it .* or use n_workers=1"):
        parallel(factory, 3)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"n_workers": 0}, ValueError, "parallel: n_workers=0 is too small"),
        ({"n_workers": True}, TypeError, "parallel: n_workers=True is not an integer"),
        ({"n_workers": 2, "open_ahead": -1}, ValueError, "parallel: open_ahead=-1 is too small"),
        ({"open_ahead": 3}, ValueError, "parallel: open_ahead=3 with n_workers=1; .*leave it out"),
        ({"n_workers": 2, "engine": "thread", "max_restarts": 1}, ValueError, "a thread does not die"),
    ],
)
def test_wrong_arguments(given, error, message):
    with pytest.raises(error, match=message):
        parallel(shuffled_mux(lasting()), **given)


# States.

PIPELINES = [
    stochastic_mux(streams(), 3, 4, seed=1),
    seeded(chain_mux([elsewhere.draws(k, 7) for k in range(20)]), 2),
    round_robin_mux([elsewhere.draws(k, 7 + k) for k in range(5)], seed=3),
    MUXES["two levels"],
    stochastic_mux([cycle(elsewhere.draws(k, 3)) for k in range(8)], 3, 9, seed=4),
    batch(map_items(shuffled_mux(lasting(), WEIGHTS[:6], seed=5), elsewhere.doubled), 3),
]
WAYS = {
    "here": lambda f: f,
    "one worker": parallel,
    "three workers": lambda f: parallel(f, 3),
    "two threads": lambda f: parallel(f, 2, engine="thread", open_ahead=0),
    "prefetch": lambda f: prefetch(f, 3),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", ["here", "three workers", "two threads"])
def test_a_state_is_resumed_by_any_number_of_workers(way, other):
    for factory, at in itertools.product(PIPELINES, (0, 1, 33)):
        whole = made(factory, 100)
        with WAYS[way](factory)() as stream:
            found = shown(outcomes(stream, at))
            state = through_json(stream.state_dict())
        with resume(WAYS[other](factory), state)() as stream:
            at_once = through_json(stream.state_dict())
            found += shown(outcomes(stream, 20))
            state = through_json(stream.state_dict())
        assert repr(made(resume(factory, at_once), 5)) == repr(whole[at : at + 5])
        found += made(resume(WAYS[way](factory), state), 100 - at - 20)
        assert repr(found) == repr(whole)


# Bounds.


@pytest.mark.parametrize("engine", ["process", "thread"])
@pytest.mark.parametrize("name", ["with replacement", "two levels", "chain"])
def test_a_budget_of_one_item_does_not_block(engine, name):
    assert same(parallel(MUXES[name], 3, engine=engine, max_bytes=1), MUXES[name], 150)


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_what_is_made_and_not_delivered_is_bounded(engine, tmp_path):
    made = tmp_path / "made"
    mux = shuffled_mux([elsewhere.counted(str(made), k) for k in range(6)], seed=1)
    stream = parallel(mux, 3, engine=engine, max_bytes=30 * 8_000)()
    pulls(stream, 10)
    time.sleep(0.3)
    assert made.stat().st_size <= 10 + 30 + 3 * 2
    found = pulls(stream, 200)
    assert [int(x[0]) for x in found] == [int(x[0]) for x in pulls(mux(), 210)[10:]]
    stream.close()


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_two_streams_at_once(engine):
    found = {}

    def run(seed):
        mux = stochastic_mux(streams(), 3, 4, seed=seed)
        found[seed] = same(parallel(mux, 2, engine=engine), mux, 200)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {1: True, 2: True}


@pytest.mark.parametrize(("engine", "n"), [("process", 60), ("thread", 300)])
def test_many_streams_leave_nothing(engine, n):
    mux = shuffled_mux(lasting(), seed=1)
    expected = pulls(mux(), 3)
    for _ in range(n):
        stream = parallel(mux, 2, engine=engine)()
        assert pulls(stream, 3) == expected
        del stream


def test_items_come_as_large_as_they_are():
    mux = shuffled_mux([elsewhere.arrays(20, (1000, 100)), elsewhere.arrays(20, (3,))], on_exhausted="drop", seed=1)
    found = pulls(parallel(mux, 2)(), 40)
    for one, other in zip(found, pulls(mux(), 40), strict=True):
        np.testing.assert_equal(one, other)
        assert one["x"].flags.writeable


@pytest.mark.parametrize("n_workers", [1, 2])
def test_what_was_sent_is_not_kept_until_garbage_is_collected(n_workers, no_gc):
    large = np.ones(2**20)

    def first():
        yield large[0]

    pipeline = parallel(chain_mux([first, first]), n_workers)
    assert list(pipeline()) == [1, 1]
    tracemalloc.start()
    try:
        for _ in range(3):
            assert list(pipeline()) == [1, 1]
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < large.nbytes
