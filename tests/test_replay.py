"""What a resumed stream opens, pulls again and closes; and how it tells a factory that is not pure."""

import itertools
import json
from contextlib import suppress
from itertools import islice

import numpy as np
import pytest
from conftest import set_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    ALL,
    KEEPERS,
    ROWS,
    Fault,
    Tree,
    Watched,
    all_sorts,
    doubled,
    faulty_in_all_ways,
    grow,
    noise,
    outcomes,
    pulls,
    shown,
    third,
    through_json,
    trees,
)

from pescador_fn import (
    ReplayMismatch,
    batch,
    cache,
    chain_mux,
    cycle,
    drawing,
    filter_items,
    lift,
    map_items,
    resume,
    round_robin_mux,
    seeded,
    shuffle,
    shuffled_mux,
    skip,
    source,
    stochastic_mux,
    take,
    tape,
    unbatch,
)
from pescador_fn.replaying import checksum


def saved(factory, n, **options):
    stream = factory()
    outcomes(stream, n)
    return through_json(stream.state_dict(**options))


# What is pulled again.


class Counting:
    """Counts what its sources do."""

    def __init__(self):
        self.opened = self.pulled = 0

    def stream(self, items):
        self.opened += 1
        for item in items:
            self.pulled += 1
            yield item

    def endless(self, k=0):
        return lambda: self.stream(itertools.count(1000 * k))

    def finite(self, n, k=0):
        return lambda: self.stream(range(1000 * k, 1000 * k + n))


def cost_of_resuming(counting, factory, n, more=1):
    """How many items are pulled to go on after ``n``, beside the next ones; which are the right ones."""
    stream = factory()
    outcomes(stream, n)
    state = through_json(stream.state_dict())
    expected = shown(outcomes(stream, more))
    counting.opened = counting.pulled = 0
    rest = resume(factory, state)()
    assert counting.opened == counting.pulled == 0, "nothing happens before the first pull"
    assert shown(outcomes(rest, more)) == expected
    return counting.pulled - more


@pytest.mark.parametrize("mode", ["with_replacement", "single_active"])
@pytest.mark.parametrize("n", [100, 5_000, 60_000])
def test_a_working_set_bounds_what_is_pulled(mode, n):
    counting = Counting()
    parts = [counting.endless(k) for k in range(3_000)]
    factory = stochastic_mux(parts, 100, 8, mode=mode, seed=0)
    assert cost_of_resuming(counting, factory, n) <= 2 * 100 * 8
    assert counting.opened <= 101


RANDOM_ACCESS = [
    ("alone", lambda f: f, 0),
    ("below stages", lambda f: take(map_items(f, abs), 10**6), 0),
    ("below a mux", lambda f: shuffled_mux([f, f]), 0),
    ("below a working set", lambda f: stochastic_mux([f, f], 2, 300), 0),
    ("below a chain", lambda f: chain_mux([f]), 0),
    ("below a round", lambda f: round_robin_mux([f, f]), 0),
]


@pytest.mark.parametrize(("where", "build", "cost"), RANDOM_ACCESS, ids=[row[0] for row in RANDOM_ACCESS])
def test_a_source_with_start_is_jumped_to(where, build, cost):
    counting = Counting()

    @source
    def rows(step, *, start=0):
        yield from counting.stream(range(step * start, 10**6, step))

    factory = seeded(build(rows(3)), 0)
    assert cost_of_resuming(counting, factory, 500, more=20) == cost


def test_a_start_of_ones_own_is_kept():
    @source
    def rows(*, start=0):
        yield from range(start, 100)

    factory = rows(start=7)
    assert pulls(resume(factory, saved(factory, 5))(), 3) == [12, 13, 14]


class Bookmark:
    """An iterator that saves and restores itself, by PyTorch's protocol."""

    def __init__(self, counting, k, length):
        self.counting, self.k, self.length, self.at = counting, k, length, 0
        counting.opened += 1

    def __iter__(self):
        return self

    def __next__(self):
        if self.at == self.length:
            raise StopIteration
        self.counting.pulled += 1
        self.at += 1
        return self.k + self.at

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


@pytest.mark.parametrize(("where", "build", "cost"), RANDOM_ACCESS, ids=[row[0] for row in RANDOM_ACCESS])
def test_an_iterator_that_restores_itself_is_not_replayed(where, build, cost, blocks):
    counting = Counting()
    for length in (None, 37):
        factory = seeded(build(map_items(lambda length=length: Bookmark(counting, 5, length), abs)), 0)
        assert cost_of_resuming(counting, factory, 61 if length is None else 30, more=7) == cost
        found = pulls(factory(), 300)
        state = saved(factory, 45)
        assert found[45:90] == pulls(resume(factory, state)(), 45)[: len(found[45:90])]


@pytest.mark.parametrize("mux", [shuffled_mux, round_robin_mux, lambda fs, **_: stochastic_mux(fs, 2, 5, seed=0)])
def test_such_an_iterator_directly_in_a_mux(mux, blocks):
    counting = Counting()
    parts = [lambda k=k: Bookmark(counting, 1000 * k, None) for k in range(3)]
    assert cost_of_resuming(counting, mux(parts, seed=0), 61, more=5) == 0


class Torn(Bookmark):
    def __next__(self):
        item = super().__next__()
        if self.at == 3:
            raise ValueError("torn")
        return item


@pytest.mark.parametrize(
    "build",
    [
        lambda f: map_items(f, abs),
        lambda f: shuffled_mux([f, f], on_exhausted="drop", seed=0),
        lambda f: stochastic_mux([f, f], 1, 5, mode="exhaustive", seed=0),
    ],
)
def test_such_an_iterator_has_ended_where_it_raised(build, blocks):
    factory = build(lambda: Torn(Counting(), 0, 9))
    whole = shown(outcomes(factory()))
    for n in range(len(whole) + 1):
        stream = factory()
        assert shown(outcomes(stream, n)) == whole[:n]
        assert shown(outcomes(resume(factory, through_json(stream.state_dict()))())) == whole[n:]


def test_one_whose_state_is_not_plain_is_replayed():
    class Odd(Bookmark):
        def state_dict(self):
            return {1: {self.at}}

        def load_state_dict(self, state):
            raise AssertionError

    counting = Counting()
    factory = take(lambda: Odd(counting, 0, None), 100)
    assert cost_of_resuming(counting, factory, 10) == 10


def test_a_lifted_function_is_replayed_unless_it_is_memoryless():
    counting = Counting()
    endless = counting.endless()
    assert cost_of_resuming(counting, lift(enumerate)(endless), 50) == 50
    assert cost_of_resuming(counting, lift(enumerate)(shuffle(endless, 5)), 50) == 50 + 4

    @source
    def rows(*, start=0):
        yield from counting.stream(range(start, 1000))

    twice = lift(lambda items: map(third, items), memoryless=True)
    assert cost_of_resuming(counting, twice(rows()), 50) == 0
    assert cost_of_resuming(counting, lift(lambda items: map(third, items))(rows()), 50) == 50


BUFFERS = [
    (lambda f: shuffle(f, 50), 15 * 50),
    (lambda f: shuffle(batch(f, 2), 50), 15 * 2 * 50),
    (lambda f: cache(f, 20, 0.3), 15 * 20),
    (lambda f: unbatch(batch(f, 10)), 20),
    (lambda f: batch(f, 10), None),
]


@pytest.mark.parametrize(("build", "most"), BUFFERS)
def test_a_buffer_pulls_again_what_came_since_its_oldest_item(build, most, monkeypatch):
    monkeypatch.setattr(tape, "SHARE", 0)
    monkeypatch.setattr(tape, "perf_counter", lambda: 0.0)
    set_blocks(monkeypatch, (16, 64))
    counting = Counting()

    @source
    def rows(*, start=0):
        yield from counting.stream(range(start, 10**6))

    for n in (100, 20_003):
        factory = seeded(build(rows()), 0)
        stream = factory()
        outcomes(stream, n)
        state, expected = stream.state_dict(), outcomes(stream, 3)
        counting.pulled = 0
        found = outcomes(resume(factory, state)(), 3)
        assert list(map(repr, found)) == list(map(repr, expected))
        assert counting.pulled <= (most or 0) + 30


def test_what_raised_does_not_raise_again(blocks):
    raised = []

    class Once:
        def __init__(self, n):
            self.n = n

        def __call__(self):
            yield from range(self.n)
            raised.append(self.n)
            raise Fault(self.n)

    builds = [
        lambda: take(Once(3), 9),
        lambda: shuffle(chain_mux([Once(3), range(50).__iter__]), 4),
        lambda: cache(chain_mux([Once(3), range(50).__iter__]), 4, 0.7),
        lambda: unbatch(batch(chain_mux([Once(3), range(50).__iter__]), 2)),
        lambda: shuffled_mux([Once(3), range(50).__iter__], on_exhausted="drop"),
        lambda: stochastic_mux([Once(3), range(50).__iter__], 2, None, mode="exhaustive"),
        lambda: shuffle(round_robin_mux([Once(3), range(50).__iter__]), 4),
        lambda: lift(doubled)(chain_mux([Once(3), range(50).__iter__])),
    ]
    for build in builds:
        factory = seeded(build(), 1)
        whole = shown(outcomes(factory(), 300))
        n = next(k for k, one in enumerate(whole) if isinstance(one, str)) + 1
        for more in (0, 1, 5):
            assert shown(outcomes(resume(factory, saved(factory, n + more))(), 300)) == whole[n + more :]


# Purity.


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=6)
@given(data=st.data(), n=st.integers(0, 30), seed=st.integers(0, 9))
def test_a_pure_pipeline_is_verified(name, blocks, data, n, seed):
    leaves = st.lists(faulty_in_all_ways | trees(2, ALL, faulty_in_all_ways), min_size=3, max_size=3)
    factory = seeded(grow(Tree(name, data.draw(leaves)[: ROWS[name].n]), all_sorts), seed)
    stream = factory()
    outcomes(stream, n)
    state = through_json(stream.state_dict(verify=True))
    again = through_json(stream.state_dict(verify=True))
    assert state == again
    rest = shown(outcomes(stream))
    assert shown(outcomes(resume(factory, state)())) == rest


@pytest.mark.parametrize("name", ALL)
def test_a_stream_that_take_has_ended_is_verified(name):
    """What was open below is closed by then."""
    factory = take(seeded(grow(Tree(name, [5] * ROWS[name].n), all_sorts), 0), 2)
    state = saved(factory, 3, verify=True)
    assert pulls(resume(factory, state)()) == []


def test_thirty_open_streams_are_verified():
    factory = shuffled_mux([noise(k, None) for k in range(30)], seed=0)
    state = saved(factory, 500, verify=True)
    assert len(state["at"][1][-1][2]) == 30
    assert pulls(resume(factory, state)(), 100) == pulls(factory(), 600)[500:]
    assert saved(factory, 500) != state


class Changes:
    """A factory that gives something else each time: fewer items, or others."""

    def __init__(self, how):
        self.how = how
        self.called = 0

    def __call__(self):
        self.called += 1
        if self.how == "shorter":
            return iter(range(100 if self.called == 1 else 2))
        if self.how == "generator, shorter":
            return (x for x in range(100 if self.called == 1 else 2))
        return iter(range(self.called, 100 + self.called))


IMPURE = {
    "alone": (lambda f: take(f, 50), "take → a factory"),
    "below stages": (lambda f: batch(map_items(f, third), 2), "batch → map_items → a factory"),
    "shuffled_mux": (lambda f: shuffled_mux([f], seed=0), r"shuffled_mux\[0\]"),
    "a mapping": (lambda f: shuffled_mux({"wolf": f}, seed=0), r"shuffled_mux\['wolf'\]"),
    "round_robin_mux": (lambda f: round_robin_mux({"wolf": f}), r"round_robin_mux\['wolf'\]"),
    "stochastic_mux": (lambda f: stochastic_mux({"wolf": f}, 1, None, seed=0), r"stochastic_mux\['wolf'\]"),
    "exhaustive": (lambda f: stochastic_mux([f], 1, None, mode="exhaustive", seed=0), r"stochastic_mux\[0\]"),
    "chain_mux": (lambda f: chain_mux({"wolf": f}), r"chain_mux\['wolf'\]"),
    "chain_mux, lazily": (lambda f: chain_mux(lambda: iter([f])), r"chain_mux\[0\]"),
    "nested": (lambda f: take(shuffled_mux([take(f, 50)]), 50), r"take → shuffled_mux\[0\] → take → a factory"),
    "a named source": (lambda f: cycle(source(lambda: f())()), "cycle → source <lambda>"),
}


@pytest.mark.parametrize("where", IMPURE)
@pytest.mark.parametrize("how", ["shorter", "generator, shorter", "other items"])
def test_an_impure_factory_is_told(where, how):
    build, words = IMPURE[where]
    verify = how == "other items"
    factory = build(Changes(how))
    state = saved(factory, 7, verify=verify)
    stream = resume(factory, state)()
    with pytest.raises(ReplayMismatch, match=words) as caught:
        next(stream)
    assert "must give the same items whenever it is called" in str(caught.value)


class Shrinks:
    """A source of numbers that counts what is read of it, and may come to have fewer."""

    def __init__(self):
        self.length, self.read = 40, 0

    def __call__(self):
        for k in range(self.length):
            self.read = k + 1
            yield k


SHRUNK = {
    "map_items": (lambda f: map_items(f, third), 8),
    "shuffle": (lambda f: shuffle(f, 4, seed=0), 8),
    "shuffle, at its first item": (lambda f: shuffle(f, 20, seed=0), 1),
    "shuffle, later": (lambda f: shuffle(f, 4, seed=0), 30),
    "cache": (lambda f: cache(f, 4, seed=0), 15),
    "cache, later": (lambda f: cache(f, 4, seed=0), 40),
    "unbatch": (lambda f: unbatch(batch(f, 4)), 8),
    "unbatch, in a batch": (lambda f: unbatch(batch(f, 4)), 6),
    "chain_mux of a factory of factories": (lambda f: chain_mux(map_items(f, lambda k: (k,).__iter__)), 8),
}


@pytest.mark.parametrize("where", SHRUNK)
@pytest.mark.parametrize("left", [0.0, 0.5, 1.0], ids=["nothing", "half", "all but one"])
def test_a_stream_that_has_less_than_was_read_of_it_is_told_and_ends(where, left):
    build, n = SHRUNK[where]
    source = Shrinks()
    state = saved(build(source), n)
    source.length = round(left * (source.read - 1))
    stream = resume(build(source), state)()
    with pytest.raises(ReplayMismatch, match="must give the same items whenever it is called"):
        next(stream)
    assert all(isinstance(one, ReplayMismatch) for one in outcomes(stream, 1))  # what lies below may tell it first
    assert list(islice(stream, 3)) == []


@pytest.mark.parametrize("name", [name for name in KEEPERS if ROWS[name].n > 1])
def test_what_does_not_open_again_raises_once_and_ends(name):
    def leaf(k, length):
        def opened():
            if broken:
                raise OSError(k)
            return itertools.count()

        return opened

    broken = []
    factory = seeded(grow(Tree(name, [None] * 3), leaf), 0)
    state = saved(factory, 5)
    broken.append(True)
    stream = resume(factory, state)()
    with pytest.raises(OSError, match=r"\d"):
        next(stream)
    assert list(islice(stream, 3)) == []


def test_a_function_that_went_on_after_an_exception_is_replayed_with_it():
    def picky(x):
        if x == 1:
            raise ValueError(x)
        return x

    factory = lift(itertools.accumulate)(map_items(range(8).__iter__, picky))
    wanted = outcomes(factory(), 20)
    for at in range(7):
        stream = factory()
        found = outcomes(stream, at)
        for _ in range(3):  # and saved again from there
            stream = resume(factory, stream.state_dict())()
            found += outcomes(stream, 1)
        assert shown((found + outcomes(stream, 20))[: len(wanted)]) == shown(wanted)


@pytest.mark.parametrize("mode", ["exhaustive", "cycle"])
def test_a_factory_of_factories_that_raises_is_resumed_after_it(mode):
    def page(k):
        if k in (0, 2):
            raise OSError(k)
        return lambda: iter([10 * k, 10 * k + 1])

    factory = chain_mux(map_items(range(5).__iter__, page), mode=mode)
    wanted = outcomes(factory(), 25)
    assert [type(one) for one in wanted[:8]].count(OSError) == 2
    for at in range(15):
        stream = factory()
        found = outcomes(stream, at)
        stream = resume(factory, stream.state_dict())()
        found += outcomes(stream, 1)
        stream = resume(factory, stream.state_dict())()
        assert shown((found + outcomes(stream, 25))[: len(wanted)]) == shown(wanted)


def test_a_state_does_not_grow_with_the_empty_streams_of_a_factory_of_factories():
    pages = chain_mux(lambda: ((() if k % 2 else (k,)).__iter__ for k in itertools.count()))
    few, many = (len(json.dumps(saved(pages, n))) for n in (10, 2000))
    assert many < few + 20


def test_checksums_tell_shapes_and_dtypes_apart():
    zeros = [
        np.zeros(6),
        np.zeros((2, 3)),
        np.zeros((3, 2)),
        np.zeros(6, "i8"),
        np.zeros(6, ">f8"),
        [0.0] * 6,
        (0,) * 6,
    ]
    assert len({checksum(one) for one in zeros}) == len(zeros)


# Closing.


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=8)
@given(data=st.data(), n=st.integers(0, 25), more=st.integers(0, 9), by=st.sampled_from(["close", "drop", "end"]))
def test_a_resumed_stream_closes_what_it_opened(name, blocks, no_gc, data, n, more, by):
    leaf, made = Watched.leaves()
    lengths = st.integers(0, 5) | st.none()
    branches = st.lists(lengths | trees(1, ALL, lengths), min_size=3, max_size=3)
    factory = seeded(grow(Tree(name, data.draw(branches)[: ROWS[name].n]), leaf), 0)
    with factory() as stream:
        outcomes(stream, n)
        state = stream.state_dict(verify=data.draw(st.booleans()))
    assert [one.open for one in made] == [0] * len(made)
    called = [one.called for one in made]
    stream = resume(factory, state)()
    assert [one.called for one in made] == called, "nothing is opened before the first pull"
    outcomes(stream, more)
    if by == "close":
        stream.close()
        assert list(stream) == []
    elif by == "end":
        stream = take(resume(factory, stream.state_dict()), 20)()
        outcomes(stream, 30)
    del stream
    assert [one.open for one in made] == [0] * len(made)


@pytest.mark.parametrize("name", [name for name in KEEPERS if "chain" not in name])
def test_what_a_resumed_stream_could_not_open_leaves_nothing_open(name, no_gc):
    """One of its streams is not pure any more."""
    leaf, made = Watched.leaves()
    impure = Changes("shorter")
    leaves = iter([leaf, leaf, lambda k, length: impure])

    def any_leaf(k, length):
        return next(leaves, leaf)(k, length) if ROWS[name].n > 1 else impure

    factory = seeded(grow(Tree(name, [None] * ROWS[name].n), any_leaf), 0)
    stream = factory()
    outcomes(stream, 30)
    state = stream.state_dict()
    del stream
    stream = resume(factory, state)()
    for _ in range(3):
        with suppress(ReplayMismatch):
            next(stream, None)
    del stream
    assert [one.open for one in made] == [0] * len(made)


def test_block_sizes_may_change_between():
    """They are no part of a state."""
    factory = seeded(shuffle(shuffled_mux([noise(k, 9) for k in range(5)]), 7), 0)
    whole = pulls(factory(), 300)
    before = drawing.block_sizes
    try:
        for sizes, n in (((1, 1), 90), ((12, 12), 150), (before, 200)):
            drawing.block_sizes = sizes
            state = saved(factory, n)
            for others in ((4, 4), before):
                drawing.block_sizes = others
                assert pulls(resume(factory, state)(), 300 - n) == whole[n:]
    finally:
        drawing.block_sizes = before


def test_filters_and_skips_count_what_they_pull():
    counting = Counting()
    assert cost_of_resuming(counting, skip(filter_items(counting.endless(), third), 5), 10) == 3 * 15 // 2 + 1
