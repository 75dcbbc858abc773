"""What pescador 3.0 gets wrong, or right and we keep: a test for each, named for it."""

import copy
import datetime
import itertools
import os
import pickle
import random
import subprocess
import sys
import time
from functools import partial
from itertools import islice, repeat

import cloudpickle
import numpy as np
import pytest

from pescador_fn import (
    batch,
    cache,
    chain_mux,
    cycle,
    filter_items,
    keras_tuples,
    label,
    lift,
    map_items,
    round_robin_mux,
    seeded,
    shuffle,
    shuffled_mux,
    skip,
    source,
    stochastic_mux,
    take,
    tuples,
    unbatch,
)

MODES = ("with_replacement", "single_active", "exhaustive")


@source
def tone(name, *, rng):
    while True:
        yield name, int(rng.integers(10**9))


@source
def numbers(n):
    yield from range(n)


def endless(n):
    return [partial(repeat, i) for i in range(n)]


def shares(factory, n, size):
    return np.bincount(list(take(factory, size)()), minlength=n) / size


def nothing():
    return iter(())


class Pulls:
    """A stream of numbers that counts its pulls."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        for i in itertools.count():
            self.count += 1
            yield i


# The statistics


@pytest.mark.parametrize("dist", ["binomial", "constant", "poisson"])
@pytest.mark.parametrize(("mode", "n_active"), [("with_replacement", 2), ("with_replacement", 5), ("single_active", 5)])
def test_weights_do_not_set_shares(mode, n_active, dist):
    """Asked for 0.55, it gives 0.10."""
    weights = [0.55] + 9 * [0.05]
    mux = stochastic_mux(endless(10), n_active, 8, weights=weights, mode=mode, dist=dist, seed=0)
    found = shares(mux, 10, 100_000)
    assert found[0] == pytest.approx(0.55, abs=0.02)
    assert found[1:] == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(("rate", "n_active", "wrong"), [(2, 3, 1.66), (8, 10, 7.33)])
def test_the_mean_of_binomial_quotas_is_truncated(rate, n_active, wrong):
    opened = itertools.count()
    streams = [lambda: repeat(next(opened))] * 20
    sizes = np.bincount(list(take(stochastic_mux(streams, n_active, rate, seed=0), 80_000)()))[: 80_000 // rate - 500]
    error = sizes.std() / len(sizes) ** 0.5
    assert abs(sizes.mean() - rate) < 5.5 * error
    assert abs(sizes.mean() - wrong) > 10 * error


def test_a_zero_weight_takes_a_slot_that_never_yields():
    """``[1, 1, 0]`` with two active ends after a median of 13 samples."""
    opened = []
    streams = [partial(lambda i: opened.append(i) or repeat(i), i) for i in range(3)]
    for mode in ("with_replacement", "single_active"):
        for seed in range(10):
            mux = stochastic_mux(streams, 2, 2, weights=[1, 1, 0], mode=mode, seed=seed)
            assert len(list(take(mux, 1000)())) == 1000
    assert set(opened) == {0, 1}


@pytest.mark.parametrize("n", [2, 8, 50])
def test_streams_are_never_heard_when_there_is_no_rate(n):
    """A share of ``(1 - 1/N)^N`` of them, 25 % at 2."""
    for seed in range(20):
        assert set(take(stochastic_mux(endless(n), n, None, seed=seed), 40 * n)()) == set(range(n))


def test_an_empty_stream_is_opened_again_and_again():
    """189 times in 300 samples."""
    opened = []
    streams = [lambda: opened.append(0) or iter(()), *endless(3)[1:]]
    for mode in ("with_replacement", "single_active"):
        opened.clear()
        list(take(stochastic_mux(streams, 1, 2, mode=mode, seed=0), 300)())
        assert len(opened) == 1
    opened.clear()
    list(take(shuffled_mux(streams, seed=0), 300)())
    assert len(opened) == 1


# The defects


def layouts(rows):
    yield np.asfortranarray(rows)
    yield rows[::2]
    yield rows[:, ::-1]
    yield rows.T
    yield rows[1:, 1:]


def test_fortran_order_arrives_scrambled_and_strided_arrays_fail():
    rows = np.arange(48.0).reshape(6, 8)
    for array in layouts(rows):
        items = [{"x": array, "y": array.T}] * 4
        found = next(batch(shuffled_mux([items.__iter__]), 4)())
        np.testing.assert_array_equal(found["x"], [array] * 4)
        np.testing.assert_array_equal(found["y"], [array.T] * 4)


@pytest.mark.parametrize(
    "mux",
    [
        shuffle("aabbccdd".__iter__, 8, seed=0),
        shuffled_mux([partial(repeat, c, 2) for c in "abcd"], on_exhausted="drop", seed=0),
        stochastic_mux([partial(repeat, c, 2) for c in "abcd"], 2, None, mode="exhaustive", seed=0),
    ],
)
def test_a_seeded_mux_repeats_its_order_every_epoch(mux):
    items = "".join(take(cycle(mux), 48)())
    epochs = [items[k : k + 8] for k in range(0, 48, 8)]
    assert all(sorted(epoch) == sorted("aabbccdd") for epoch in epochs)
    assert len(set(epochs)) == 6
    assert epochs[0] == "".join(mux())  # the first is the mux on its own


def test_a_seeded_mux_inside_another_replays_its_prefix_at_each_activation():
    """``agdagdagd…``"""
    inner = shuffled_mux([partial(repeat, c) for c in "adg"], seed=0)
    items = "".join(take(stochastic_mux([inner], 1, 3, dist="constant", seed=1), 600)())
    activations = [items[k : k + 3] for k in range(0, 600, 3)]
    assert activations[0] == "".join(take(inner, 3)())
    assert len(set(activations)) == 27
    assert items == "".join(take(stochastic_mux([inner], 1, 3, dist="constant", seed=1), 600)())


def test_siblings_and_activations_share_randomness():
    mux = stochastic_mux([tone(c) for c in "abcd"], 2, 3, seed=0)
    drawn = [number for _, number in take(mux, 4000)()]
    assert len(set(drawn)) > 3990
    same = stochastic_mux([tone("a")] * 4, 2, 3, seed=0)
    assert len({number for _, number in take(same, 4000)()}) > 3990


def test_randomness_is_global():
    def pipeline(seed):
        mux = stochastic_mux([tone(c) for c in "abcd"], 2, 3)
        return take(cache(shuffle(cycle(take(mux, 50)), 10), 5, seed=seed), 300)

    random.seed(0)
    np.random.seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist()
    one, other = list(pipeline(None)()), list(pipeline(None)())
    assert one != other
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    first = list(pipeline(3)())
    random.seed(1)
    np.random.seed(1)
    assert list(pipeline(3)()) == first


def test_streams_and_muxes_do_not_pickle():
    mux = stochastic_mux({"a": tone("a"), "b": tone("b")}, 1, 3, weights={"a": 1, "b": 2}, seed=0)
    factory = batch(map_items(mux, str), 4)
    again = pickle.loads(pickle.dumps(factory))
    assert again == factory
    assert next(again()).tolist() == next(factory()).tolist()


def test_a_stream_that_closes_over_modules_cannot_be_sent_to_a_fresh_interpreter():
    import numpy

    @source
    def local(n, *, rng):
        for _ in range(n):
            yield int(numpy.floor(10 * rng.random()))

    factory = shuffled_mux([local(3), lambda: numpy.arange(3).tolist()], seed=0, on_exhausted="drop")
    code = "import sys, cloudpickle; print(list(cloudpickle.load(sys.stdin.buffer)()))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    there = subprocess.run(
        [sys.executable, "-c", code],
        input=cloudpickle.dumps(factory),
        capture_output=True,
        env=env,
        timeout=60,
        check=True,
    )
    assert there.stdout.decode().strip() == str(list(factory()))


def test_each_activation_copies_every_argument():
    class Argument:
        def __deepcopy__(self, memo):
            raise AssertionError("copied")

        __copy__ = __reduce__ = None

    seen = []

    @source
    def uses(given, *, option):
        seen.extend([given, option])
        yield 1

    one, other = Argument(), np.zeros(3)
    list(take(stochastic_mux([uses(one, option=other)], 1, 1, seed=0), 5)())
    assert len(seen) == 10
    assert all(a is one for a in seen[::2])
    assert all(a is other for a in seen[1::2])


@pytest.mark.parametrize("k", [0, 1, 5])
def test_k_items_take_k_plus_one_pulls(k):
    pulls = Pulls()
    assert len(list(take(pulls, k)())) == k
    assert pulls.count == k
    pulls = Pulls()
    assert len(list(cycle(pulls, k)())) == k
    assert pulls.count == k
    pulls = Pulls()
    assert len(list(take(map_items(shuffled_mux([pulls]), str), k)())) == k
    assert pulls.count == k


@pytest.mark.parametrize(
    "factory",
    [
        cycle(nothing),
        cycle(nothing, 10),
        chain_mux([nothing, nothing], mode="cycle"),
        chain_mux(lambda: [nothing], mode="cycle"),
        round_robin_mux([nothing, nothing], mode="cycle"),
        round_robin_mux([nothing, nothing], mode="permuted_cycle"),
    ],
)
def test_repeating_empty_streams_never_ends(factory):
    assert list(factory()) == []


ANY_ITEM = [
    {},
    {"x": {}},
    None,
    0,
    "",
    "text",
    b"",
    (),
    [],
    1.5,
    datetime.date(2020, 1, 1),
    np.datetime64("2020"),
    np.array([{}, None], dtype=object),
    np.array(["2020"], "M8[Y]"),
    object(),
    StopIteration,
    lambda: 1,
    np.array([]),
    float("nan"),
]


@pytest.mark.parametrize(
    "build",
    [
        lambda f: shuffled_mux([f], on_exhausted="stop"),
        lambda f: stochastic_mux([f], 1, None, mode="exhaustive"),
        lambda f: round_robin_mux([f]),
        lambda f: chain_mux([f]),
        lambda f: map_items(f, lambda x: x),
        lambda f: filter_items(f, lambda x: True),
        lambda f: take(f, 100),
        lambda f: skip(f, 0),
        lambda f: cycle(f, len(ANY_ITEM)),
        lambda f: shuffle(f, 1),
        lambda f: cache(f, 100),
        lambda f: seeded(f, 0),
        lambda f: lift(iter)(f),
    ],
)
def test_an_item_that_is_an_empty_dict_or_no_dict_of_arrays_ends_the_stream(build):
    found = list(build(ANY_ITEM.__iter__)())
    assert len(found) == len(ANY_ITEM)
    assert all(a is b for a, b in zip(found, ANY_ITEM, strict=True))


@pytest.mark.parametrize("weights", [[3, 1], (3, 1), np.array([3, 1]), np.array([3.0, 1.0])])
@pytest.mark.parametrize("mode", ["shuffled", *MODES])
def test_int_weights_crash_and_the_callers_weights_are_divided(mode, weights):
    before, weights = weights, copy.deepcopy(weights)
    if mode == "shuffled":
        mux = shuffled_mux(endless(2), weights, seed=0)
    else:
        mux = stochastic_mux(endless(2), 2, None if mode == "exhaustive" else 4, weights=weights, mode=mode, seed=0)
    assert shares(mux, 2, 40_000)[0] == pytest.approx(0.75, abs=0.02)
    assert type(weights) is type(before)
    assert np.array_equal(weights, before)
    if isinstance(weights, np.ndarray):
        weights[:] = [0, 1]  # what the caller does later changes nothing
        assert shares(mux, 2, 10_000)[0] == pytest.approx(0.75, abs=0.04)
    by_name = {"a": 3, "b": 1}
    shuffled_mux(dict(zip("ab", endless(2), strict=True)), by_name)
    assert by_name == {"a": 3, "b": 1}


@pytest.mark.parametrize("weights", ["equal", "skewed"])
@pytest.mark.parametrize("mode", ["shuffled", *MODES])
def test_the_cost_of_a_sample_grows_with_the_number_of_streams(mode, weights):
    """17 µs at 10 streams, 928 µs at 100,000."""

    def cost(n):
        given = None if weights == "equal" else 1 + np.arange(n) % 3
        streams = [repeat(0).__iter__] * n  # no memory of their own, whose caches are not at issue
        if mode == "shuffled":
            stream, opening = shuffled_mux(streams, given, seed=0)(), 12 * n
        else:
            stream, opening = stochastic_mux(streams, 10, 8, weights=given, mode=mode, seed=0)(), 1000
        list(islice(stream, opening))
        times = []
        for _ in range(5):
            start = time.thread_time()
            list(islice(stream, 10_000))
            times.append(time.thread_time() - start)
        return min(times)

    many, few = {"shuffled": (50_000, 50), "exhaustive": (200_000, 10_000)}.get(mode, (200_000, 200))
    assert cost(many) < 8 * cost(few)


def test_a_type_error_in_a_generator_of_streams_is_swallowed():
    def streams():
        yield [1, 2].__iter__
        raise TypeError("mine")

    stream = chain_mux(streams)()
    assert list(islice(stream, 2)) == [1, 2]
    with pytest.raises(TypeError, match=r"^mine$"):
        next(stream)
    assert list(stream) == []


def test_errors_in_a_stream_end_the_mux_or_are_taken_for_its_end():
    def breaks(kind):
        yield 1
        raise kind("mine")

    for kind in (TypeError, ValueError, KeyError, AttributeError, RuntimeError, OSError, ZeroDivisionError):
        for factory in (
            chain_mux([partial(breaks, kind), [2].__iter__]),
            round_robin_mux([partial(breaks, kind), [2].__iter__]),
        ):
            found = []
            stream = factory()
            for _ in range(4):
                try:
                    found.append(next(stream, "end"))
                except kind as error:
                    found.append(error.args)
            assert sorted(map(str, found)) == ["('mine',)", "1", "2", "end"]


REUSED = {
    "map_items": map_items(numbers(5), str),
    "filter_items": filter_items(numbers(5), bool),
    "take": take(numbers(5), 3),
    "skip": skip(numbers(5), 3),
    "cycle": cycle(numbers(5), 12),
    "tuples": tuples(map_items(numbers(5), lambda i: {"x": i}), "x"),
    "keras_tuples": keras_tuples(map_items(numbers(5), lambda i: {"x": i}), "x"),
    "batch": map_items(batch(numbers(5), 2, partial=True), np.ndarray.tolist),
    "unbatch": map_items(unbatch(batch(numbers(5), 2)), int),
    "shuffle": shuffle(numbers(5), 3, seed=0),
    "cache": take(cache(numbers(50), 3, seed=0), 20),
    "shuffled_mux": take(shuffled_mux([numbers(5)] * 2, seed=0), 20),
    "stochastic_mux": take(stochastic_mux([numbers(5)] * 2, 1, 2, seed=0), 20),
    "round_robin_mux": round_robin_mux([numbers(5)] * 2),
    "chain_mux": chain_mux([numbers(5)] * 2),
    "seeded": seeded(numbers(5), 0),
    "label": chain_mux(label({"a": numbers(5)})),
    "lift": lift(iter)(numbers(5)),
}


@pytest.mark.parametrize("name", REUSED)
def test_maps_and_caches_can_be_run_once(name):
    factory = REUSED[name]
    whole = list(factory())
    assert whole
    one, other = factory(), factory()  # side by side
    assert [pair for pairs in zip(one, other, strict=True) for pair in pairs] == [x for x in whole for _ in range(2)]
    assert list(factory()) == whole


# What is right and kept


def test_five_streams_of_seven_items_once_each():
    for n_active in range(1, 6):
        assert len(list(stochastic_mux([numbers(7)] * 5, n_active, None, mode="exhaustive", seed=0)())) == 35


def test_weights_of_one_and_zero_give_the_first():
    for mode in MODES:
        mux = stochastic_mux(
            [partial(repeat, "a", 9), partial(repeat, "b", 9)], 2, 4, weights=[1, 0], mode=mode, seed=0
        )
        assert set(take(mux, 30)()) == {"a"}


def test_weights_far_apart_once_each():
    streams = [partial(repeat, "a", 5), partial(repeat, "b", 5)]
    mux = stochastic_mux(streams, 2, None, weights=[1e10, 1e-10], mode="exhaustive", seed=0)
    assert "".join(mux()) == "aaaaabbbbb"


def test_a_heavy_empty_stream_does_not_block_a_light_one():
    streams = [nothing, partial(repeat, "b", 5)]
    for mode in MODES:
        mux = stochastic_mux(streams, 2, None, weights=[1e10, 1e-10], mode=mode, seed=0)
        assert "".join(take(mux, 5)()) == "bbbbb"
    assert "".join(take(shuffled_mux(streams, [1e10, 1e-10], seed=0), 5)()) == "bbbbb"


@pytest.mark.parametrize(
    ("words", "mode", "n", "found"),
    [
        (["ab", "cde", "fghi"], "exhaustive", None, "acfbdgehi"),
        (["a", "bb"], "cycle", 7, "abbabba"),
        (["", "ab", ""], "cycle", 5, "ababa"),
        (["ab", "", "cd"], "exhaustive", None, "acbd"),
        (["abc"], "permuted_cycle", 7, "abcabca"),
    ],
)
def test_round_robin(words, mode, n, found):
    assert "".join(islice(round_robin_mux([word.__iter__ for word in words], mode=mode)(), n)) == found


def test_round_robin_in_a_new_order_at_each_restart():
    items = "".join(take(round_robin_mux([c.__iter__ for c in "abcd"], mode="permuted_cycle", seed=0), 4 * 500)())
    rounds = [items[k : k + 4] for k in range(0, 2000, 4)]
    assert all(sorted(r) == list("abcd") for r in rounds)
    assert len(set(rounds)) == 24
    assert rounds[0] == "abcd"


def test_chain():
    words = ["ab", "", "cde"]
    assert "".join(chain_mux([word.__iter__ for word in words])()) == "abcde"
    assert "".join(islice(chain_mux([word.__iter__ for word in words], mode="cycle")(), 12)) == "abcdeabcdeab"
    assert "".join(chain_mux(lambda: (word.__iter__ for word in words))()) == "abcde"
    assert list(chain_mux([])()) == []


def test_a_generator_of_streams_is_pulled_only_as_far_as_its_streams():
    pulled = []

    def streams():
        for word in ["ab", "cd", "ef"]:
            pulled.append(word)
            yield word.__iter__

    stream = chain_mux(streams)()
    assert pulled == []
    assert "".join(islice(stream, 2)) == "ab"
    assert pulled == ["ab"]
    next(stream)
    assert pulled == ["ab", "cd"]


def test_nothing_opens_until_the_first_item_and_runs_are_independent():
    opened = []

    def run():
        opened.append(1)
        yield from range(5)

    one, other = take(run, 3)(), take(run, 3)()
    assert opened == []
    assert [next(one), next(one), next(other), next(one)] == [0, 1, 0, 2]
    assert len(opened) == 2
