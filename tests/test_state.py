"""What a state is: plain data that fits one pipeline, taken between two items."""

import copy
import functools
import gc
import json
import pickle
import re
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

import cloudpickle
import pytest
from strategies import (
    ALL,
    ROWS,
    Tree,
    add_one,
    all_sorts,
    doubled,
    fading,
    grow,
    noise,
    numbers,
    outcomes,
    pulls,
    third,
    through_json,
)

import pescador_fn
from pescador_fn import (
    StateMismatch,
    batch,
    cache,
    chain_mux,
    curried,
    cycle,
    drawing,
    filter_items,
    keras_tuples,
    lift,
    map_items,
    parallel,
    pipe,
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
    unbatch,
)
from pescador_fn.state import VERSION, Saver

a, b, c = numbers(0, 9), noise(1, None), numbers(2, 4)


def state_of(factory, n=3):
    stream = factory()
    outcomes(stream, n)
    return stream.state_dict()


# Plain data.


@pytest.mark.parametrize("name", ALL)
def test_it_is_plain_data(name):
    factory = seeded(grow(Tree(name, [9, None, 4][: ROWS[name].n]), all_sorts), 1)
    stream = factory()
    for _ in range(5):
        state = stream.state_dict()
        assert through_json(state) == state
        assert state["pescador_fn"] == VERSION
        before = copy.deepcopy(state)
        rest = outcomes(resume(factory, state)())
        assert outcomes(resume(factory, state)()) == rest
        assert outcomes(stream, 2) == rest[:2]
        assert state == before, "the caller's dict is the caller's"


def test_its_size_is_that_of_what_is_open():
    parts = [stochastic_mux([noise(k, 30) for k in range(10_000)], 100, 8) for _ in range(3)]
    stream = shuffled_mux(parts, seed=0)()
    for n in (1_000, 20_000):
        outcomes(stream, n)
        assert len(json.dumps(stream.state_dict())) <= 20_000
    wide = shuffled_mux([noise(k, None) for k in range(5000)], seed=0)()
    outcomes(wide, 30_000)
    assert len(json.dumps(wide.state_dict())) <= 20 * 5000


# What fits.


def by_name(*names, **options):
    return shuffled_mux({name: numbers(k, None) for k, name in enumerate(names)}, **options)


def reversed_items(items):
    return reversed(list(items))


MISMATCHES = [
    (batch(a, 2), batch(a, 3), "batch: size=3, the state has size=2"),
    (batch(a, 2), batch(a, 2, partial=True), "batch: partial=True, the state has partial=False"),
    (batch(a, 2), batch(a, 2, axis=0), "batch: axis=0, the state has axis=None"),
    (shuffle(a, 2), shuffle(a, 3), "shuffle: buffer_size=3"),
    (cache(a, 2), cache(a, 2, 0.25), "cache: prob=0.25"),
    (take(a, 7), take(a, 8), "take: n=8, the state has n=7"),
    (take(a, 7), skip(a, 7), "skip: the state has take here"),
    (cycle(a, 7), cycle(a), "cycle: n_items=None, the state has n_items=7"),
    (seeded(a, 1), seeded(a, 2), "seeded: seed=2, the state has seed=1"),
    (map_items(a, add_one), map_items(a, third), "map_items: fn=third"),
    (map_items(a, functools.partial(pow, 2)), map_items(a, functools.partial(pow, 3)), "map_items: fn="),
    (filter_items(a, third), filter_items(a, add_one), "filter_items: predicate=add_one"),
    (lift(doubled)(a), lift(reversed_items)(a), "reversed_items: the state has doubled here"),
    (tuples(map_items(a, dict), "x"), tuples(map_items(a, dict), "y"), "tuples: "),
    (keras_tuples(map_items(a, dict), "x"), keras_tuples(map_items(a, dict), "y"), "keras_tuples: "),
    (unbatch(a), cycle(a), "cycle: the state has unbatch here"),
    (numbers(0, 3), noise(0, 3), "source noise: the state has source numbers here"),
    (numbers(0, 3), take(numbers(0, 3), 2), "take: the state has source numbers here"),
    (shuffled_mux([a, b]), shuffled_mux([a, b, c]), "shuffled_mux: 3 factories, the state has 2"),
    (shuffled_mux([a, b], seed=1), shuffled_mux([a, b], seed=2), "shuffled_mux: seed=2, the state has seed=1"),
    (shuffled_mux([a, b], [1, 2]), shuffled_mux([a, b], [1, 3]), "shuffled_mux: weights="),
    (shuffled_mux([a, b]), shuffled_mux([a, b], [1, 3]), "shuffled_mux: weights="),
    (shuffled_mux([a, b, c], fading), shuffled_mux([a, b, c]), "shuffled_mux: weights=None, the state has .*fading"),
    (shuffled_mux([a, b]), shuffled_mux([a, b], on_exhausted="drop"), "on_exhausted=drop, the state has .*=restart"),
    (shuffled_mux([a, b]), shuffled_mux([take(a, 2), b]), "shuffled_mux: the factories are not those of the state"),
    (shuffled_mux([a, b]), shuffled_mux({"a": a, "b": b}), "shuffled_mux: the factories are a sequence in one"),
    (by_name("a", "b"), by_name("b", "a"), "shuffled_mux: the names are in another order"),
    (shuffled_mux([a, b]), round_robin_mux([a, b]), "round_robin_mux: the state has shuffled_mux here"),
    (round_robin_mux([a, b]), round_robin_mux([a, b], mode="cycle"), "round_robin_mux: mode=cycle, the state has"),
    (chain_mux([a, b]), chain_mux([a, b], mode="cycle"), "chain_mux: mode=cycle, the state has mode=exhaustive"),
    (chain_mux([a, b]), chain_mux([a]), "chain_mux: 1 factories, the state has 2"),
    (stochastic_mux([a, b], 2, 3), stochastic_mux([a, b], 1, 3), "stochastic_mux: n_active=1, the state has"),
    (stochastic_mux([a, b], 2, 3), stochastic_mux([a, b], 2, 4), "stochastic_mux: rate=4"),
    (stochastic_mux([a, b], 2, 3), stochastic_mux([a, b], 2, 3, dist="poisson"), "stochastic_mux: dist=poisson"),
    (stochastic_mux([a, b], 2, 3), stochastic_mux([a, b], 2, 3, mode="exhaustive"), "mode=exhaustive, the state has"),
    (batch(shuffle(a, 3), 2), batch(shuffle(a, 4), 2), "batch → shuffle: buffer_size=4"),
    (
        shuffled_mux([a, stochastic_mux([b, b], 1, 3)], [0, 1]),
        shuffled_mux([a, stochastic_mux([b, b], 2, 3)], [0, 1]),
        r"shuffled_mux: the factories|shuffled_mux\[1\] → stochastic_mux: n_active=2, the state has n_active=1",
    ),
    (
        shuffled_mux({"x": cycle(a, 5)}),
        shuffled_mux({"x": cycle(a, 6)}),
        r"shuffled_mux: the factories|shuffled_mux\['x'\] → cycle: n_items=6",
    ),
    (resume(a, state_of(a, 1)), resume(a, state_of(a, 2)), None),
    *(
        (over(take(a, 7)), over(take(a, 8)), f"{name} → take: n=8, the state has n=7")
        for name, over in {
            "doubled": lift(doubled),
            "shuffle": lambda f: shuffle(f, 3),
            "cache": lambda f: cache(f, 3),
            "prefetch": lambda f: prefetch(f, 2),
            "parallel": lambda f: parallel(f, engine="thread"),
        }.items()
    ),
    (unbatch(batch(a, 7)), unbatch(batch(a, 8)), "unbatch → batch: size=8, the state has size=7"),
    (prefetch(resume(a, state_of(a, 1)), 2), resume(a, state_of(a, 1)), "the state has resume here"),
]


@pytest.mark.parametrize(("saved", "other", "words"), MISMATCHES, ids=lambda one: getattr(one, "__name__", None))
def test_a_state_of_another_pipeline_is_refused(saved, other, words):
    state = through_json(state_of(saved, 2))
    resume(saved, state)
    if words is None:
        resume(other, state)  # a state of what is resumed speaks of what lies below
        return
    with pytest.raises(StateMismatch, match="resume: ") as caught:
        resume(other, state)
    assert re.search(words, str(caught.value))
    assert "the pipeline that the state was taken of" in str(caught.value)


class Lazily(Sequence):
    """Factories that are not looked through when the state is read at the top."""

    def __init__(self, *factories):
        self.factories = factories

    def __len__(self):
        return len(self.factories)

    def __getitem__(self, index):
        return self.factories[index]


@pytest.mark.parametrize("mux", [shuffled_mux, round_robin_mux, chain_mux, lambda fs: stochastic_mux(fs, 2, 5)])
def test_a_stage_below_a_mux_is_named(mux):
    saved, other = (Lazily(*(stage(numbers(k, None), 2000) for k in range(3))) for stage in (take, skip))
    with pytest.raises(StateMismatch, match=r"_mux\[\d\] → skip: the state has take here"):
        resume(seeded(mux(other), 0), state_of(seeded(mux(saved), 0)))


def signed(state):
    """A state that was written by hand, by someone who knows how."""
    return pescador_fn.state.pack({key: value for key, value in state.items() if key != "sum"})


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


GOOD = through_json(state_of(shuffled_mux([a, b, c], seed=0), 7))
NASTY = "__import__('os').system('touch /tmp/never')"


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (None, TypeError, "state=None is not a dict"),
        ([1], TypeError, "is not a dict"),
        (json.dumps(GOOD), TypeError, "is not a dict"),
        (7, TypeError, "is not a dict"),
        ({}, StateMismatch, "not a state of this library"),
        ({"_num_yielded": 3, "_iter_state": {}}, StateMismatch, "not a state of this library"),
        ({"model": [1.0], "epoch": 3}, StateMismatch, "not a state of this library"),
        (GOOD | {"pescador_fn": 1}, StateMismatch, f"version 1 and this library reads version {VERSION}"),
        (GOOD | {"pescador_fn": str(VERSION)}, StateMismatch, f"version '{VERSION}'"),
        (GOOD | {"pescador_fn": [VERSION]}, StateMismatch, "version"),
        (GOOD | {"seed": 1}, StateMismatch, "changed or cut"),
        (GOOD | {"more": 1}, StateMismatch, "changed or cut"),
        (GOOD | {"at": [0, []]}, StateMismatch, "changed or cut"),
        (GOOD | {"at": NASTY}, StateMismatch, "changed or cut"),
        (GOOD | {"at": {1, 2}}, StateMismatch, "changed or cut"),
        (GOOD | {"sum": None}, StateMismatch, "changed or cut"),
        (GOOD | {"sum": "0"}, StateMismatch, "changed or cut"),
        (without(GOOD, "sum"), StateMismatch, "changed or cut"),
        (without(GOOD, "at"), StateMismatch, "changed or cut"),
        (without(GOOD, "stages"), StateMismatch, "changed or cut"),
        (without(GOOD, "pescador_fn"), StateMismatch, "not a state of this library"),
    ],
    ids=lambda one: str(one)[:30] if isinstance(one, str) else "",
)
def test_what_is_no_state_is_refused(bad, kind, words):
    with pytest.raises(kind, match=words):
        resume(shuffled_mux([a, b, c], seed=0), bad)


def test_strings_in_a_state_are_only_strings(tmp_path):
    trap = tmp_path / "trap"
    code = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    stages = [{"": code, "fn": code}, *GOOD["stages"]]
    for bad in ({"stages": stages}, {"at": [0, code]}, {"seed": code}, {"at": [0, [code] * 7]}):
        with suppress(Exception):
            outcomes(resume(shuffled_mux([a, b, c], seed=0), signed(GOOD | bad))())
    assert not trap.exists()


def test_resume_takes_a_factory():
    with pytest.raises(TypeError, match="resume: factory"):
        resume([1, 2], GOOD)
    with pytest.raises(TypeError, match="a running stream"):
        resume(shuffled_mux([a, b, c], seed=0)(), GOOD)


# Mappings whose streams were added or removed.


MAPPED = {
    "shuffled_mux": lambda fs: shuffled_mux(fs, {name: 1 if name in "ab" else 1e-9 for name in fs}),
    "shuffled_mux, drop": lambda fs: shuffled_mux(
        fs, {name: 1 if name in "ab" else 1e-9 for name in fs}, on_exhausted="drop"
    ),
    "with_replacement": lambda fs: stochastic_mux(fs, 1, None, weights=[1, *[1e-9] * (len(fs) - 1)]),
    "single_active": lambda fs: stochastic_mux(fs, 1, None, weights=[1, *[1e-9] * (len(fs) - 1)], mode="single_active"),
}


@pytest.mark.parametrize("mux", MAPPED)
def test_streams_that_are_not_open_come_and_go(mux):
    build = MAPPED[mux]
    streams = {name: numbers(k, None) for k, name in enumerate("abcd")}
    few, more = ({name: streams[name] for name in names} for names in ("abc", "abcd"))
    for saved, other in ((few, more), (more, few)):
        stream = seeded(build(saved), 0)()
        before = pulls(stream, 30)
        with pytest.warns(UserWarning, match="streams were added or removed"):
            found = pulls(resume(seeded(build(other), 0), stream.state_dict())(), 30)
        for k in {one // 1000 for one in before}:  # each goes on with its own next item
            mine = [one for one in before + found if one // 1000 == k]
            assert mine == list(range(1000 * k, 1000 * k + len(mine)))


@pytest.mark.parametrize("mux", MAPPED)
def test_a_stream_that_is_open_and_gone_is_a_mismatch(mux):
    build = MAPPED[mux]
    streams = {name: numbers(k, None) for k, name in enumerate("abc")}
    state = state_of(seeded(build(streams), 0), 30)
    with pytest.raises(StateMismatch, match="'a' is open"):
        resume(seeded(build({name: streams[name] for name in "bc"}), 0), state)


@pytest.mark.parametrize("options", [{}, {"weights": [1, 2, 3]}], ids=["equal", "weighted"])
def test_an_exhaustive_mux_takes_no_other_names(options):
    streams = {name: numbers(k, None) for k, name in enumerate("abc")}
    mux = stochastic_mux(streams, 2, None, mode="exhaustive", **options, seed=0)
    options = {key: [1, 2, 3, 4] for key in options}
    other = stochastic_mux({**streams, "d": a}, 2, None, mode="exhaustive", **options, seed=0)
    with pytest.raises(StateMismatch, match="stochastic_mux: "):
        resume(other, state_of(mux, 5))


# The moment.


BUSY = pytest.raises(RuntimeError, match="in the middle of an item")


class Asks:
    """Asks for the state of a stream from wherever it is called, which must be refused."""

    def __init__(self):
        self.n = 0
        self.stream = None

    def __call__(self, *given):
        if self.stream is not None:  # else it is being made
            with BUSY:
                self.stream.state_dict()
            self.n += 1
        return given[0] if given else None

    def function(self, x):
        return self(x)

    def generator(self):
        for x in range(5):
            self()
            yield x

    def lifted(self, items):
        for item in items:
            self()
            yield item

    def factory(self):
        self()
        return iter(range(5))

    def weights(self, draw):
        self()
        return [1, 2]

    def iterator(self):
        return iter(map(self, range(5)))

    def __iter__(self):
        return self

    def __next__(self):
        self()
        return 1


PLACES = {
    "a function": lambda asks: map_items(a, asks.function),
    "an object with __call__": lambda asks: map_items(a, asks),
    "a partial": lambda asks: map_items(a, functools.partial(Asks.function, asks)),
    "a lambda": lambda asks: map_items(a, lambda x: asks(x)),
    "a predicate": lambda asks: filter_items(a, asks.function),
    "a generator": lambda asks: asks.generator,
    "a generator below stages": lambda asks: batch(shuffle(take(asks.generator, 5), 2), 2),
    "a generator below a mux": lambda asks: shuffled_mux([asks.generator, asks.generator]),
    "a generator below a working set": lambda asks: stochastic_mux([asks.generator, a], 2, 2),
    "a generator below a chain": lambda asks: chain_mux([asks.generator, a]),
    "a factory": lambda asks: take(asks.factory, 3),
    "a factory below a mux": lambda asks: round_robin_mux([asks.factory, a]),
    "a factory below a working set": lambda asks: stochastic_mux([asks.factory, a], 2, 2),
    "a factory below a chain": lambda asks: chain_mux([asks.factory, a]),
    "weights": lambda asks: shuffled_mux([a, b], asks.weights),
    "weights of a working set": lambda asks: stochastic_mux([b, b], 2, None, weights=asks.weights, mode="exhaustive"),
    "weights of a mux with replacement": lambda asks: stochastic_mux([b, b], 2, 4, weights=asks.weights),
    "a lifted function": lambda asks: lift(asks.lifted)(a),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_state_is_refused_within_an_item(place):
    asks = Asks()
    built = PLACES[place](asks)
    asks.stream = (built if isinstance(built, pescador_fn.Node) else take(built, 9))()
    assert len(outcomes(asks.stream, 1100 if "weights" in place else 100)) >= 2
    assert asks.n
    asks.stream.state_dict()


def test_a_state_is_refused_when_closed():
    stream = take(a, 3)()
    next(stream)
    stream.close()
    with pytest.raises(RuntimeError, match="the stream is closed"):
        stream.state_dict()


class Waits:
    """A factory whose first stream waits within its second item."""

    def __init__(self):
        self.reached, self.go = threading.Event(), threading.Event()
        self.called = 0

    def __call__(self):
        self.called += 1
        return self.run(self.called == 1)

    def run(self, waits):
        yield 1
        if waits:
            self.reached.set()
            assert self.go.wait(20)
        yield from [2, 3]


@pytest.mark.parametrize(
    "build", [lambda f: take(f, 9), lambda f: shuffled_mux([f]), lambda f: batch(shuffle(f, 2), 1)]
)
def test_other_threads(build):
    waits = Waits()
    factory = build(waits)
    stream, found = factory(), []
    thread = threading.Thread(target=lambda: found.extend(pulls(stream, 3)))
    thread.start()
    try:
        assert waits.reached.wait(20)
        with BUSY:
            stream.state_dict()
        other = factory()  # of the same factory, and nobody is in the middle of it
        first = pulls(other, 1)
        state = other.state_dict()
    finally:
        waits.go.set()
        thread.join()
    assert len(found) == 3
    assert first + pulls(resume(factory, state)(), 1) == pulls(resume(factory, state_of(factory, 0))(), 2) or first
    states = []
    thread = threading.Thread(target=lambda: states.append(stream.state_dict()))
    thread.start()  # another thread than the one that iterated, while nobody does
    thread.join()
    assert states == [stream.state_dict()]


class PulledMeanwhile:
    """Saves itself, and while it does another thread pulls the stream, as often as `pulls` says."""

    def __init__(self):
        self.n, self.stream, self.pulls = 0, None, 0
        self.go, self.threads = threading.Event(), []

    def __iter__(self):
        return self

    def __next__(self):
        if self.threads:
            self.go.wait(20)
        self.n += 1
        return self.n

    def state_dict(self):
        if self.stream is not None and not self.threads:
            for _ in range(self.pulls):
                self.threads.append(threading.Thread(target=next, args=(self.stream, None)))
                self.threads[-1].start()
                if self.go.is_set():
                    self.threads[-1].join()
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


PULLED = {
    "take": lambda f: take(f, 99),
    "shuffled": lambda f: shuffled_mux([f, f], seed=0),
    "shuffled, to its end": lambda f: shuffled_mux([lambda: islice(f(), 3), f], seed=0, on_exhausted="stop"),
    "round robin": lambda f: round_robin_mux([f, f], mode="cycle"),
    "working set": lambda f: stochastic_mux([f, f], 2, 8, seed=0),
    "exhaustive by weight": lambda f: stochastic_mux([f, f], 2, 8, weights=[1, 2], mode="exhaustive", seed=0),
    "below stages": lambda f: batch(map_items(shuffled_mux([shuffled_mux([f])]), str), 2),
}


@pytest.mark.parametrize("build", PULLED.values(), ids=PULLED)
@pytest.mark.parametrize("n", [1, 4])  # 4 pulls, and all blocks of 4, so that a block is as far as it was before
def test_a_pull_of_another_thread_while_a_state_is_taken(build, n, monkeypatch):
    monkeypatch.setattr(drawing, "block_sizes", (4, 4))
    items, done = PulledMeanwhile(), threading.Event()
    stream = build(lambda: items)()
    pulls(stream, 2)
    waits = threading.Thread(target=done.wait)
    waits.start()
    try:
        stream.state_dict()
        items.stream, items.pulls = stream, n
        items.go.set()
        with BUSY:
            stream.state_dict()
        items.stream, items.threads = None, []
        stream.state_dict()
        items.stream, items.pulls = stream, 1
        items.go.clear()  # the pull begins, and is not done
        with BUSY:
            stream.state_dict()
    finally:
        items.go.set()
        done.set()
        for thread in [waits, *items.threads]:
            thread.join()


def test_a_pull_of_another_thread_that_a_state_does_not_see_the_end_of():
    """It begins while the streams are verified, and where it stands has not changed yet when they are."""
    go, threads = threading.Event(), []

    def made():
        if opened:  # to be verified
            threads.append(threading.Thread(target=next, args=(stream,)))
            threads[0].start()
            assert reached.wait(20)
        opened.append(1)
        yield 1
        reached.set()
        go.wait(20 * (len(opened) == 1))
        yield 2

    opened, reached, done = [], threading.Event(), threading.Event()
    stream = map_items(made, int)()
    next(stream)
    waits = threading.Thread(target=done.wait)
    waits.start()
    try:
        with BUSY:
            stream.state_dict(verify=True)
    finally:
        go.set()
        done.set()
        for thread in [waits, *threads]:
            thread.join()


def test_a_pull_that_begins_before_a_state_is_taken_and_draws_twice(monkeypatch):
    """A stream that is opened again is drawn from in the same draw: the mux is then where it was within that draw."""
    started, opened, go = threading.Event(), threading.Event(), threading.Event()

    def made():
        if started.is_set():
            opened.set()
            assert go.wait(20)
        yield from range(2)

    stream, found = shuffled_mux([made])(), []
    thread = threading.Thread(target=lambda: found.extend(pulls(stream, 1)))

    def begins():
        started.set()
        thread.start()
        assert opened.wait(20)
        return 2

    def ends(*_, **__):
        go.set()
        thread.join()
        return Saver()

    pulls(stream, 2)
    monkeypatch.setattr(pescador_fn.stream.threading, "active_count", begins)
    monkeypatch.setattr(pescador_fn.stream, "Saver", ends)
    try:
        with BUSY:
            stream.state_dict()
    finally:
        go.set()
        thread.join()
    assert found == [0]


def test_two_threads_with_a_stream_each():
    factory = seeded(batch(shuffle(shuffled_mux([noise(k, 20) for k in range(5)]), 9), 3), 0)
    whole = [one.tolist() for one in pulls(factory(), 300)]
    wrong = []

    def run():
        stream = factory()
        for n in range(299):
            one = next(stream).tolist()
            if one != whole[n]:
                wrong.append(n)
            if n % 30 == 0:
                again = next(resume(factory, stream.state_dict())()).tolist()
                if again != whole[n + 1]:
                    wrong.append(n)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# `resume` and `lift` as values.


def test_a_resumed_factory_is_a_value():
    factory = shuffle(numbers(0, 9), 3, seed=1)
    state = state_of(factory)
    built = resume(factory, state)
    assert built == resume(factory, through_json(state)) != resume(factory, state_of(factory, 4))
    assert hash(built) == hash(resume(factory, through_json(state)))
    for module in (pickle, cloudpickle):
        there = module.loads(module.dumps(built))
        assert there == built
        assert list(there()) == list(built())
    assert repr(built).startswith("resume(")
    assert "shuffle(numbers(0, 9), 3, seed=1)" in repr(built)
    assert pipe(factory, curried.resume(state)) == built
    again = state_of(built)
    assert resume(built, again) == resume(factory, again)


def test_memoryless_is_part_of_a_lifted_function():
    plain, memoryless = lift(doubled), lift(doubled, memoryless=True)
    assert plain != memoryless == lift(doubled, memoryless=True)
    assert hash(memoryless) == hash(lift(doubled, memoryless=True))
    assert repr(plain) == "lift(doubled)"
    assert repr(memoryless) == "lift(doubled, memoryless=True)"
    for one in (plain, memoryless):
        assert pickle.loads(pickle.dumps(one)) == one
        assert pickle.loads(pickle.dumps(one(a))) == one(a)
    assert pipe(a, curried.lift(doubled, memoryless=True)()) == memoryless(a)
    with pytest.raises(TypeError, match="lift: memoryless=3 is not a bool"):
        lift(doubled, memoryless=3)


def test_nothing_is_finalized_while_the_frames_of_all_threads_are_gathered(monkeypatch):
    """It would let go of the GIL under a lock of the interpreter's, which a thread that ends holds on for."""
    seen, real = [], sys._current_frames

    def current_frames():
        seen.append(gc.isenabled())
        return real()

    monkeypatch.setattr(sys, "_current_frames", current_frames)
    with prefetch(a, 2)() as stream:
        next(stream)
        stream.state_dict()
    assert seen
    assert not any(seen)
    assert gc.isenabled()
