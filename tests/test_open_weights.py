"""Picks by the weights of the open streams: a table with holes, and the mux that draws from it."""

import json
from collections import Counter
from functools import partial
from itertools import islice, repeat

import numpy as np
import pytest
from conftest import BLOCKS, set_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import pescador_fn.exhaustive as exhaustive
import pescador_fn.open_weights as open_weights
from pescador_fn import parallel, resume, stochastic_mux
from pescador_fn.open_weights import OpenWeights

N = 8
PUTS = st.lists(st.tuples(st.integers(0, N - 1), st.sampled_from([0.0, 1.0, 2.5, 100.0, 1e-3, 1e10])), max_size=60)


def table_of(puts):
    table = OpenWeights(N)
    for slot, weight in puts:
        table.put(slot, weight)
    return table


def room(table):
    """By slot, what it takes of the sums."""
    taken = Counter()
    for slot, low, high in zip(table.slots[1:-1], table.sums[:-1], table.sums[1:], strict=True):
        taken[slot] += high - low
    return taken


def content(table):
    return [getattr(table, name) for name in OpenWeights.__slots__]


@given(PUTS)
def test_each_slot_has_room_by_the_weight_of_what_is_in_it(puts):
    table, total = table_of(puts), 0.0
    for slot, weight in dict(puts).items():
        total += weight
        assert room(table)[slot] == pytest.approx(weight, abs=1e-12 * table.sums[-1])
    assert room(table)[table.hole] == pytest.approx(table.gone, abs=1e-12 * table.sums[-1])
    assert table.gone <= open_weights.HOLES * table.sums[-1]
    assert table.sums[-1] - table.gone == pytest.approx(total, abs=1e-12 * table.sums[-1])


@given(PUTS)
def test_a_number_falls_on_the_slot_that_has_the_room(puts):
    table = table_of(puts)
    whole = table.sums[-1]
    for slot, low, high in zip(table.slots[1:-1], table.sums[:-1], table.sums[1:], strict=True):
        middle = (low + high) / 2
        if low < middle < high and low / whole * whole < high:
            assert table.find(middle / whole) == slot
    assert table.find(2.0) == table.end
    if whole:
        assert table.find(0.0) != table.end
        assert table.find(1 - 2**-53) != table.end


@given(PUTS, PUTS)
def test_what_was_saved_and_what_was_copied_goes_on_as_the_table(puts, more):
    table = table_of(puts)
    loaded = OpenWeights(N)
    loaded.load(json.loads(json.dumps(table.save())), table.weights)
    copied = table.copy()
    assert content(loaded) == content(copied) == content(table)
    for slot, weight in more:
        for one in (table, loaded, copied):
            one.put(slot, weight)
    assert content(loaded) == content(copied) == content(table)


def test_a_copy_changes_by_itself():
    table = table_of([(0, 1.0), (1, 2.0)])
    before = json.dumps(table.save())
    table.copy().put(0, 5.0)
    assert json.dumps(table.save()) == before


# The mux. Holes are kept long where few of the sums may be without them, and filled often where that is often due.

LAWS = [(1 / 4, 4096), (0.9, 4096), (0.9, 8), (0.0, 4096)]


@pytest.fixture(params=LAWS, ids=lambda law: f"holes {law[0]}, {law[1]}")
def holes(request, monkeypatch):
    monkeypatch.setattr(open_weights, "HOLES", request.param[0])
    monkeypatch.setattr(exhaustive, "FRESH", request.param[1])


def growing(draw):
    return np.arange(24) + draw // 1024


CASES = {
    "quotas": {"rate": 3},
    "to the end": {"rate": None},
    "quotas of one": {"rate": 1},
    "a function": {"rate": 4, "weights": growing},
    "skewed": {"rate": 4, "weights": 1 / np.arange(1, 25) ** 2},
    "far apart": {"rate": 4, "weights": 10.0 ** np.arange(24)},
}


def mux_of(case, lengths=None, n_active=10):
    lengths = [k % 7 for k in range(24)] if lengths is None else lengths
    streams = [partial(zip, repeat(k), range(n)) for k, n in enumerate(lengths)]
    options = {"weights": np.arange(1, 25), **CASES[case]}
    return stochastic_mux(streams, n_active, mode="exhaustive", seed=3, **options)


@pytest.mark.parametrize("case", CASES)
def test_blocks_make_no_difference(case, holes, monkeypatch):
    found = []
    for sizes in BLOCKS:
        set_blocks(monkeypatch, sizes)
        found.append([*mux_of(case)()])
    assert found == found[:1] * len(found)


@pytest.mark.parametrize("case", CASES)
def test_resume_is_skip(case, holes, blocks):
    mux = mux_of(case)
    whole = [*mux()]
    stream = mux()
    for n in range(len(whole) + 1):
        state = json.loads(json.dumps(stream.state_dict()))
        assert [*resume(mux, state)()] == whole[n:]
        next(stream, None)


@pytest.mark.parametrize("case", CASES)
def test_each_stream_comes_once_and_in_its_order(case, holes):
    found = [*mux_of(case)()]
    for k in range(24):
        items = [i for stream, i in found if stream == k]
        assert items == [*range(len(items))]
        if CASES[case]["rate"] is None:
            assert len(items) == (k % 7)


@pytest.mark.parametrize("case", ["quotas", "a function"])
def test_several_workers_make_no_difference(case, holes):
    mux = mux_of(case)
    assert [*parallel(mux, 3, engine="thread")()] == [*mux()]


def test_draws_go_by_the_weights_of_the_open_streams_among_holes(holes):
    """Short streams leave holes between those that last."""
    weights = np.arange(1, 25)
    mux = mux_of("to the end", [2, 10**6] * 12, n_active=24)
    items = [k for k, _ in islice(mux(), 60_000)][1000:]
    counts = np.bincount(items, minlength=24)
    assert counts[::2].sum() == 0
    lasting = weights[1::2] / weights[1::2].sum()
    assert stats.chisquare(counts[1::2], lasting * counts.sum()).pvalue > 1e-6


@settings(max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.data())
def test_the_last_of_many_come_alone(weights, data):
    """Where only one stream has any weight to speak of, its items come first."""
    heavy = data.draw(st.integers(0, len(weights) - 1))
    scaled = [weight * (1e12 if k == heavy else 1) for k, weight in enumerate(weights)]
    streams = [partial(repeat, k, 5) for k in range(len(weights))]
    mux = stochastic_mux(streams, len(weights), None, weights=scaled, mode="exhaustive", seed=0)
    items = [*mux()]
    assert items[:5] == [heavy] * 5
    assert Counter(items) == dict.fromkeys(range(len(weights)), 5)


@pytest.mark.parametrize("length", [1, 8])
def test_a_change_costs_no_more_where_many_are_open(length, within_seconds):
    n = 40_000
    mux = stochastic_mux(
        [partial(repeat, 1, length)] * n, n // 2, None, weights=np.arange(1, n + 1), mode="exhaustive", seed=0
    )
    assert sum(mux()) == n * length


def test_weights_that_leave_nothing_to_be_drawn_say_so():
    streams = [partial(repeat, k) for k in range(3)]
    weights = {0: [1, 1, 0], 1024: [0, 0, 1]}
    stream = stochastic_mux(streams, 2, None, weights=weights.get, mode="exhaustive", seed=0)()
    assert {*islice(stream, 1024)} == {0, 1}
    with pytest.raises(ValueError, match=r"weights\(1024\) is 0 for every open stream"):
        next(stream)
