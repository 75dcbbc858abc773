"""Time: what was drawn, and what a resumed stream draws from there on, are the whole."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import BLOCKS, set_blocks
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from strategies import (
    ALL,
    MUXES,
    ROWS,
    Tree,
    add_one,
    all_sorts,
    faulty_in_all_ways,
    grow,
    noise,
    numbers,
    outcomes,
    pair,
    pulls,
    shown,
    third,
    through_json,
    trees,
)

from pescador_fn import (
    batch,
    cache,
    chain_mux,
    cycle,
    filter_items,
    map_items,
    resume,
    round_robin_mux,
    seeded,
    shuffle,
    shuffled_mux,
    skip,
    stochastic_mux,
    take,
    tape,
    unbatch,
)


def split(factory, stops, n=60):
    """What a stream gives that is stopped, saved and resumed at every stop, up to ``n`` pulls in all."""
    found, stream, done = [], factory(), 0
    for stop in sorted(stops):
        found += outcomes(stream, stop - done)
        done = stop
        state = through_json(stream.state_dict())
        stream = resume(factory, state)()
        assert through_json(stream.state_dict()) == state, "a state that was resumed and not drawn from"
    return found + outcomes(stream, n - done)


def branches(name, leaves=faulty_in_all_ways):
    """One row over leaves and over rows over leaves."""
    n = ROWS[name].n
    return st.builds(Tree, st.just(name), st.lists(leaves | trees(1, ALL, leaves), min_size=n, max_size=n))


stops = st.lists(st.integers(0, 40), min_size=1, max_size=5)
seeds = st.integers(0, 9)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=8)
@given(data=st.data(), at=stops, seed=seeds)
def test_what_was_drawn_and_what_is_resumed_are_the_whole(name, blocks, data, at, seed):
    factory = seeded(grow(data.draw(branches(name)), all_sorts), seed)
    assert shown(split(factory, at)) == shown(outcomes(factory()))


@settings(max_examples=100)
@given(tree=trees(3, ALL, faulty_in_all_ways), at=stops, seed=seeds)
def test_of_any_pipeline(blocks, tree, at, seed):
    factory = seeded(grow(tree, all_sorts), seed)
    assert shown(split(factory, at)) == shown(outcomes(factory()))


@settings(max_examples=50)
@given(tree=trees(3, ALL, faulty_in_all_ways), at=st.lists(st.integers(0, 40), min_size=5, max_size=9), seed=seeds)
def test_five_times_in_a_row(blocks, tree, at, seed):
    factory = seeded(grow(tree, all_sorts), seed)
    assert shown(split(factory, at)) == shown(outcomes(factory()))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("sizes", [(4, 4), BLOCKS[-1]], ids=lambda sizes: f"blocks {sizes[0]}")
@settings(max_examples=3)
@given(data=st.data(), seed=seeds)
def test_a_state_at_every_place(name, sizes, monkeypatch, data, seed):
    """Also behind an exception and behind the end. Taking states changes nothing, nor do they change afterwards."""
    set_blocks(monkeypatch, sizes)
    factory = seeded(grow(data.draw(branches(name)), all_sorts), seed)
    whole = shown(outcomes(factory(), 30))
    stream, states, found = factory(), [], []
    for _ in range(30):
        states.append(stream.state_dict())
        found += shown(outcomes(stream, 1))
    assert found == whole, "states change nothing"
    for n, state in enumerate(states):
        assert through_json(state) == state
        assert shown(outcomes(resume(factory, state)(), 30 - n)) == whole[n:], n


@settings(max_examples=60)
@given(tree=trees(2, ALL, faulty_in_all_ways), n=st.integers(0, 20))
def test_without_a_seed(blocks, tree, n):
    """The entropy that the stream has taken, or would have, is in the state."""
    stream = grow(tree, all_sorts)()
    outcomes(stream, n)
    state = through_json(stream.state_dict())
    assert shown(outcomes(resume(grow(tree, all_sorts), state)())) == shown(outcomes(stream))


@pytest.mark.parametrize("name", ALL)
def test_what_has_ended_stays_at_its_end(name, blocks):
    factory = take(seeded(grow(Tree(name, [3, 0, 2][: ROWS[name].n]), all_sorts), 3), 500)
    stream = factory()
    pulls(stream, 600)
    assert list(stream) == []
    ended = resume(factory, through_json(stream.state_dict()))()
    assert list(ended) == []
    assert list(resume(factory, through_json(ended.state_dict()))()) == []


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=3)
@given(at=stops, n=st.integers(0, 6), seed=seeds)
def test_resume_is_a_stage(name, blocks, at, n, seed):
    """Below others, above others, and saved in its turn."""

    def resumed(k, length):
        factory = shuffle(noise(k, length), 3)
        stream = seeded(factory, k)()
        pulls(stream, n)
        return resume(seeded(factory, k), through_json(stream.state_dict()))

    factory = seeded(grow(Tree(name, [19, None, 24][: ROWS[name].n]), resumed), seed)
    assert shown(split(factory, at)) == shown(outcomes(factory()))
    stream = factory()
    first, again = pulls(stream, 5), resume(factory, stream.state_dict())
    batches = pulls(batch(again, 2, partial=True)(), 2)
    assert first + [x for one in batches for x in one.tolist()] == pulls(factory(), 9)
    assert pulls(stream) == pulls(again()) == pulls(again())


@pytest.mark.parametrize(
    "row",
    [row for row in MUXES if row.name not in ("chain_mux, lazily", "label")],
    ids=lambda one: getattr(one, "name", str(one)),
)
@settings(max_examples=10)
@given(at=stops, leaves=st.lists(faulty_in_all_ways, min_size=3, max_size=3), seed=seeds)
def test_mappings(row, blocks, at, leaves, seed):
    """Streams are known by name, whatever plain thing that is."""
    for names in (["a", "~b", ""], [7, "7", (1, "x", 2.5)]):
        parts = {name: all_sorts(k, leaf) for k, (name, leaf) in enumerate(zip(names, leaves, strict=True))}
        factory = seeded(row.function(parts, *row.args, **row.options), seed)
        assert shown(split(factory, at)) == shown(outcomes(factory()))


# Long runs: many periods of a curriculum, blocks of the largest size, snapshots.


def waves(draw):
    """A curriculum that takes a stream out, and in again."""
    return [2.0, float(draw % 2048 >= 1024), 1.0 + draw]


EDGES = [0, 500, 1023, 1024, 1025, 1500, 2047, 2048, 2049, 3000, 3072]


@pytest.mark.parametrize(
    "mux",
    [
        lambda fs: shuffled_mux(fs, waves),
        lambda fs: stochastic_mux(fs, 2, 8, weights=waves),
        lambda fs: stochastic_mux(fs, 5, None, weights=waves),
        lambda fs: stochastic_mux(fs, 3, 40, weights=waves, dist="constant"),
        lambda fs: stochastic_mux(fs, 2, None, weights=waves, mode="exhaustive"),
        lambda fs: stochastic_mux(fs, 3, 700, weights=waves, mode="exhaustive", dist="poisson"),
        lambda fs: cycle(stochastic_mux(fs, 2, 900, weights=waves, mode="exhaustive")),
        lambda fs: shuffle(shuffled_mux([shuffled_mux(fs, waves), *fs[1:]], waves), 7),
    ],
)
@pytest.mark.parametrize(
    "lengths", [[None, None, None], [3, 50, 1], [1000, 5, 2000]], ids=lambda one: getattr(one, "name", str(one))
)
def test_curricula(mux, lengths):
    factory = seeded(mux([noise(k, length) for k, length in enumerate(lengths)]), 0)
    whole = shown(outcomes(factory(), 3500))
    assert shown(split(factory, EDGES, 3500)) == whole
    assert shown(split(factory, [2600], 3500)) == whole


many = [numbers(k, k % 7 + 1) for k in range(40)] + [noise(k, 30) for k in range(40, 60)]
unequal = [1 + k % 5 for k in range(60)]
LONG = {
    "shuffled": shuffled_mux(many, unequal),
    "shuffled, stops": shuffled_mux([cycle(f, 500 + 40 * k) for k, f in enumerate(many)], on_exhausted="stop"),
    "shuffled, drops": shuffled_mux([cycle(f, 100 + 40 * k) for k, f in enumerate(many)], on_exhausted="drop"),
    "with replacement": stochastic_mux(many, 12, 4, weights=unequal),
    "with replacement, to the end": stochastic_mux(many, 100, None),
    "single active": stochastic_mux(many, 12, 3, weights=unequal, mode="single_active"),
    "single active, nearly all": stochastic_mux(many[:9], 8, 5, weights=unequal[:9], mode="single_active"),
    "exhaustive": cycle(stochastic_mux(many, 7, 6, mode="exhaustive", weights=unequal)),
    "exhaustive, equal": cycle(stochastic_mux(many, 7, 3, mode="exhaustive")),
    "rounds": round_robin_mux(many, mode="permuted_cycle"),
    "chained": chain_mux(many, mode="cycle"),
    "shuffle": shuffle(shuffled_mux(many), 50),
    "shuffle, of a mux with a working set": shuffle(stochastic_mux(many, 12, 4), 50),
    "cache": cache(shuffled_mux(many), 20, 0.3),
    "cache, hardly ever fresh": cache(shuffled_mux(many), 20, 0.01),
    "shuffle over cache": shuffle(cache(shuffled_mux(many), 20, 0.3), 50),
    "cache over shuffle": cache(shuffle(round_robin_mux(many, mode="cycle"), 50), 20, 0.9),
    "unbatch": unbatch(map_items(shuffled_mux(many), pair)),
    "unbatch, of batches of a shuffle": unbatch(batch(shuffle(shuffled_mux(many), 50), 7)),
    "items": take(skip(filter_items(map_items(shuffled_mux(many), add_one), third), 500), 10**6),
    "nested": shuffled_mux([shuffled_mux(many), stochastic_mux(many, 12, 4), shuffle(cycle(noise(0, 300)), 50)]),
}


@pytest.fixture(params=["timed", "always", "never"])
def snapshots(request, monkeypatch):
    """How often buffers take snapshots of what lies below: as on this machine, whenever they can, or never."""
    if request.param != "timed":
        monkeypatch.setattr(tape, "SHARE", 0)
        monkeypatch.setattr(tape, "perf_counter", lambda: 0.0 if request.param == "always" else -1.0)
    return request.param


@pytest.mark.parametrize("name", LONG)
def test_long_runs(name, snapshots):
    if snapshots != "timed" and not any(word in name for word in ("shuffle", "cache", "unbatch", "nested")):
        return
    factory = seeded(LONG[name], 1)
    assert pulls_of(split(factory, [300, 20_000, 20_001], 20_500)) == pulls_of(outcomes(factory(), 20_500))


def pulls_of(found):
    return [int(one) for one in found]


@pytest.mark.parametrize("sizes", [(1, 1), (12, 12), BLOCKS[-1]], ids=lambda sizes: f"blocks {sizes[0]}")
@settings(max_examples=30)
@given(
    tree=trees(3, ["shuffle", "cache", "unbatch", "batch", "shuffled_mux", "with_replacement"], faulty_in_all_ways),
    at=st.lists(st.integers(0, 90), min_size=1, max_size=5),
    seed=seeds,
)
def test_buffers_with_snapshots_at_every_place(sizes, monkeypatch, tree, at, seed):
    set_blocks(monkeypatch, sizes)
    monkeypatch.setattr(tape, "SHARE", 0)
    monkeypatch.setattr(tape, "perf_counter", lambda: 0.0)
    factory = seeded(grow(tree, all_sorts), seed)
    assert shown(split(factory, at, 120)) == shown(outcomes(factory(), 120))


# Other processes.

HERE = Path(__file__).parent


def environment():
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


RESUME_ALL = """
import json, pickle, sys
from pescador_fn import resume
from strategies import outcomes, shown
cases = pickle.load(open(sys.argv[1], "rb"))
found = [shown(outcomes(resume(factory, json.loads(state))(), 40)) for factory, state in cases]
pickle.dump(found, open(sys.argv[2], "wb"))
"""


def test_in_a_new_process(tmp_path):
    cases, rest = [], []

    @settings(max_examples=40, phases=[Phase.generate], database=None)
    @given(tree=trees(3, ALL, faulty_in_all_ways), n=st.integers(0, 30), seed=seeds | st.none())
    def collect(tree, n, seed):
        factory = seeded(grow(tree, all_sorts), seed)
        stream = factory()
        outcomes(stream, n)
        cases.append((factory, json.dumps(stream.state_dict())))
        rest.append(shown(outcomes(stream, 40)))

    collect()
    there, back = tmp_path / "cases", tmp_path / "found"
    there.write_bytes(pickle.dumps(cases))
    subprocess.run([sys.executable, "-c", RESUME_ALL, there, back], env=environment(), check=True, timeout=60)
    found = pickle.loads(back.read_bytes())
    for (factory, state), here, other in zip(cases, rest, found, strict=True):
        assert other == here, (factory, state)


RUN_FOR_EVER = """
import json, os, pickle, sys
factory, path = pickle.load(open(sys.argv[1], "rb")), sys.argv[2]
stream = factory()
for n, item in enumerate(stream, 1):
    with open(path + ".new", "w") as file:
        json.dump({"n": n, "stream": stream.state_dict()}, file)
    os.replace(path + ".new", path)
"""


def test_after_a_run_was_killed(tmp_path):
    """With the last state that it saved, whenever that was."""
    inner = shuffle(stochastic_mux([noise(k, 20) for k in range(30)], 5, 4), 10)
    factory = batch(shuffled_mux({"few": inner, "one": numbers(30, 7)}, seed=4), 2)
    there, path = tmp_path / "factory", tmp_path / "state.json"
    there.write_bytes(pickle.dumps(factory))
    run = subprocess.Popen([sys.executable, "-c", RUN_FOR_EVER, there, path], env=environment())
    try:
        deadline = time.monotonic() + 60
        while not path.exists() or json.loads(path.read_text())["n"] < 100:
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    saved = json.loads(path.read_text())
    n = saved["n"]
    whole = [one.tolist() for one in pulls(factory(), n + 50)]
    assert [one.tolist() for one in pulls(resume(factory, saved["stream"])(), 50)] == whole[n:]


@pytest.mark.parametrize("weights", [None, [1, 1, 1, 1], [3, 1, 1, 1]], ids=["equal", "the same", "unequal"])
@pytest.mark.parametrize("n_active", [3, 4])
def test_a_slot_that_is_shut_is_left_out_where_it_is_resumed(weights, n_active, blocks):
    """A mux that holds every stream, one of which is barren, has a slot for which there is no other."""
    streams = [range(k, 400, 4).__iter__ for k in range(3)]
    streams.insert(1, [].__iter__)
    factory = take(stochastic_mux(streams, n_active, 5, mode="single_active", weights=weights, seed=0), 50)
    for stop in range(50):
        assert split(factory, [stop]) == outcomes(factory())
