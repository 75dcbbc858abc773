"""What goes wrong below reaches the consumer as itself, once, in its place, and the stream goes on.

An exception is an item in the order of things: a stream that raises stands where one that gives a last item would
stand. Only the user's own stream that raised has ended.
"""

import _thread
import itertools
import signal
from collections.abc import Sequence
from functools import partial
from itertools import repeat

import pytest
from conftest import BLOCKS, set_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    ALL,
    HERE,
    MUXES,
    ROWS,
    STAGES,
    Fault,
    Raises,
    Watched,
    grow,
    ints,
    lengths,
    numbers,
    outcomes,
    pulls,
    trees,
)

from pescador_fn import (
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
    unbatch,
)
from pescador_fn.loop import Open

MUX_NAMES = [row.name for row in MUXES]
IN_PLACE = [
    *MUX_NAMES,
    "take",
    "cycle",
    "cycle, n_items",
    "seeded",
]  # these hand on an exception where an item would be

faulty = lengths | st.builds(Raises, st.integers(0, 4), st.sampled_from(["generator", "iterator"]))
edges = st.sampled_from([0, 1, 2, 3, 4, 5, 11, 12, 13, 15, 16, 17, None])  # about the ends of blocks
faulty_edges = edges | st.builds(Raises, st.sampled_from([0, 1, 3, 4, 5, 11, 12, 13]))


class GoesOn:
    """An iterator that raises once and could go on; a user's stream that raised has ended all the same."""

    def __init__(self, items, after, fail):
        self.items = iter(items)
        self.left = after
        self.fail = fail

    def __iter__(self):
        return self

    def __next__(self):
        self.left -= 1
        if self.left == -1:
            self.fail()
        return next(self.items)


class Faults:
    """Makes leaves that raise, and keeps what they raised; or leaves that give the same as items."""

    def __init__(self, as_items=False):
        self.raised = []
        self.as_items = as_items

    def fail(self):
        self.raised.append(Fault(len(self.raised)))
        raise self.raised[-1]

    def leaf(self, k, spec):
        if not isinstance(spec, Raises):
            return numbers(k, spec)
        items = ints(k, spec.after)
        if self.as_items:
            return lambda: itertools.chain(items, self.marks())
        if spec.how == "iterator":
            return lambda: GoesOn(ints(k, None), spec.after, self.fail)
        return self.opening if spec.how == "opening" else lambda: self.generator(items)

    def marks(self):
        self.raised.append(Fault(len(self.raised)))
        yield self.raised[-1]

    def generator(self, items):
        yield from items
        self.fail()

    def opening(self):
        self.fail()


def caught(found):
    return [one for one in found if isinstance(one, Exception)]


def same_objects(ones, others):
    return list(map(id, ones)) == list(map(id, others))


def every_exception_arrives(tree, seed):
    faults = Faults()
    found = outcomes(seeded(grow(tree, faults.leaf), seed)())
    assert same_objects(caught(found), faults.raised)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=12)
@given(data=st.data(), seed=st.integers(0, 9))
def test_every_exception_arrives_once_as_itself(name, blocks, data, seed):
    every_exception_arrives(data.draw(trees(1, [name], faulty)), seed)


@settings(max_examples=150)
@given(tree=trees(3, HERE, faulty), seed=st.integers(0, 9))
def test_every_exception_arrives_from_below(blocks, tree, seed):
    every_exception_arrives(tree, seed)


def an_exception_is_in_place_of_an_item(tree, seed):
    faults, items = Faults(), Faults(as_items=True)
    found = outcomes(seeded(grow(tree, faults.leaf), seed)())
    given_ = pulls(seeded(grow(tree, items.leaf), seed)())
    assert list(map(repr, found)) == list(map(repr, given_))


@pytest.mark.parametrize("name", IN_PLACE)
@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 9))
def test_an_exception_is_in_place_of_an_item(name, blocks, data, seed):
    an_exception_is_in_place_of_an_item(data.draw(trees(1, [name], faulty)), seed)


@settings(max_examples=150)
@given(tree=trees(3, IN_PLACE, faulty), seed=st.integers(0, 9))
def test_an_exception_from_below_is_in_place_of_an_item(blocks, tree, seed):
    an_exception_is_in_place_of_an_item(tree, seed)


def blocks_make_no_difference(tree, seed):
    orders = []
    for sizes in BLOCKS:
        with pytest.MonkeyPatch.context() as patch:
            set_blocks(patch, sizes)
            found = outcomes(seeded(grow(tree, Faults().leaf), seed)(), 100)
        # Faults are numbered as they are made, which two threads that work ahead may do in any order.
        orders.append(["a fault" if isinstance(one, Fault) else repr(one) for one in found])
    assert orders == orders[:1] * len(orders)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=12)
@given(data=st.data(), seed=st.integers(0, 9))
def test_blocks_make_no_difference(name, data, seed):
    blocks_make_no_difference(data.draw(trees(1, [name], faulty_edges)), seed)


@settings(max_examples=100)
@given(tree=trees(3, leaves=faulty_edges), seed=st.integers(0, 9))
def test_blocks_make_no_difference_below(tree, seed):
    blocks_make_no_difference(tree, seed)


@pytest.mark.parametrize("weights", [[3, 2, 1], lambda draw: [3, 2, 1 + draw // 2000]], ids=["fixed", "function"])
def test_long_blocks_make_no_difference_where_picks_go_by_weight(weights, monkeypatch):
    branches = [6_000, Raises(4_000), 5_000]
    found = []
    for sizes in (drawing.block_sizes, (4, 4)):
        set_blocks(monkeypatch, sizes)
        leaves = list(map(Faults().leaf, range(3), branches))
        stream = stochastic_mux(leaves, 2, None, mode="exhaustive", weights=weights, seed=0)()
        found.append(shown(outcomes(stream, 20_000)))
    assert found[0] == found[1]
    assert len(found[0]) == 15_001


ALL_OPEN = [name for name in MUX_NAMES if name.startswith(("shuffled_mux", "round_robin_mux"))]


def told(name, branches, seed, n, times):
    """What a mux gives, ``n`` pulls at a time, and what the next few are where it is resumed there."""
    mux = seeded(ROWS[name].build(list(map(Faults().leaf, range(3), branches))), seed)
    stream = mux()
    return repr([(outcomes(stream, n), outcomes(resume(mux, stream.state_dict())(), 4)) for _ in range(times)])


@pytest.mark.parametrize("name", ALL_OPEN)
@settings(max_examples=30)
@given(branches=st.lists(faulty_edges, min_size=3, max_size=3), seed=st.integers(0, 9))
def test_blocks_of_streams_are_as_blocks_of_indices(name, blocks, branches, seed):
    found = told(name, branches, seed, 3, 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Open, "calm", property(lambda _: False, lambda *_: None))
        assert found == told(name, branches, seed, 3, 30)


@pytest.mark.parametrize("name", ALL_OPEN)
def test_long_blocks_of_streams_are_as_blocks_of_indices(name, monkeypatch):
    branches = [14_000, Raises(9_000), 11_000]
    found = told(name, branches, 0, 3_500, 15)
    monkeypatch.setattr(Open, "calm", property(lambda _: False, lambda *_: None))
    assert found == told(name, branches, 0, 3_500, 15)


# Opening.


@pytest.mark.parametrize("name", MUX_NAMES)
@settings(max_examples=20)
@given(
    branches=st.permutations([Raises(0, "opening"), 2, None]) | st.permutations([Raises(0, "opening")] * 2 + [3]),
    seed=st.integers(0, 9),
)
def test_what_fails_to_open_is_left_out(name, blocks, branches, seed):
    faults = Faults()
    mux = ROWS[name].build([faults.leaf(k, spec) for k, spec in enumerate(branches)])
    found = outcomes(seeded(mux, seed)(), 100)
    assert same_objects(caught(found), faults.raised)
    assert len(faults.raised) <= branches.count(Raises(0, "opening"))
    if "drop" not in name and "stop" not in name and name != "chain_mux" and None in branches:
        assert len(found) > len(faults.raised)


@pytest.mark.parametrize("stage", [row.name for row in STAGES])
@pytest.mark.parametrize("mux", MUX_NAMES)
def test_what_fails_to_open_below_a_stage_is_left_out(mux, stage, within_seconds):
    faults = Faults()
    broken = ROWS[stage].build([faults.leaf(0, Raises(0, "opening"))])
    found = outcomes(seeded(ROWS[mux].build([broken, numbers(1, 3), numbers(2, 3)]), 0)(), 200)
    assert same_objects(caught(found), faults.raised)
    assert len(faults.raised) <= 1


class OneIsMissing(Sequence):
    """A lazy sequence one of whose factories cannot be had."""

    def __init__(self):
        self.asked = 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == 1:
            self.asked += 1
            raise OSError("no such file")
        return partial(repeat, index, 4)


@pytest.mark.parametrize("name", [name for name in MUX_NAMES if name not in ("chain_mux, lazily", "label")])
def test_what_a_lazy_sequence_cannot_give_is_left_out(name, blocks, within_seconds):
    lazy = OneIsMissing()
    mux = seeded(ROWS[name].build(lazy), 0)
    found = outcomes(mux(), 200)
    assert shown(caught(found)) == ["OSError no such file"] * lazy.asked
    assert lazy.asked <= 1


@pytest.mark.parametrize("name", ALL)
def test_a_stream_that_does_not_open_has_ended(name):
    faults = Faults()
    row = ROWS[name]
    found = outcomes(row.build([faults.leaf(k, Raises(0, "opening")) for k in range(row.n)])())
    weightless = name == "shuffled_mux, drop"  # one of its streams has the weight 0 and is never opened
    assert same_objects(found, faults.raised)
    assert len(found) == row.n - weightless


def test_what_is_not_iterable_says_so():
    with pytest.raises(TypeError, match="returned 3, which is not iterable"):
        next(take(lambda: 3, 2)())


# What stages do with an exception.


def failing(items, *at):
    """A function that raises at some items, and a factory of items."""

    def fn(x):
        if x in at:
            raise Fault(x)
        return x

    return fn, items.__iter__


def shown(found):
    return [f"{type(x).__name__} {x}" if isinstance(x, Exception) else x for x in found]


def test_a_function_that_raises_costs_its_item(blocks):
    fn, factory = failing(range(5), 1, 4)
    assert shown(outcomes(map_items(factory, fn)())) == [0, "Fault 1", 2, 3, "Fault 4"]
    assert shown(outcomes(filter_items(factory, fn)())) == ["Fault 1", 2, 3, "Fault 4"]


def test_an_exception_in_a_batch_costs_that_batch(blocks):
    fn, factory = failing(range(8), 3)
    found = outcomes(map_items(batch(map_items(factory, fn), 2), list)())
    assert shown(found) == [[0, 1], "Fault 3", [4, 5], [6, 7]]
    found = outcomes(map_items(batch(map_items(factory, fn), 3, partial=True), list)())
    assert shown(found) == [[0, 1, 2], "Fault 3", [4, 5, 6], [7]]


def test_a_raising_call_counts_as_a_call(blocks):
    fn, factory = failing(range(9), 1, 2)
    broken = map_items(factory, fn)
    assert shown(outcomes(take(broken, 4)())) == [0, "Fault 1", "Fault 2", 3]
    assert shown(outcomes(skip(broken, 2)()))[:2] == ["Fault 1", "Fault 2"]
    assert shown(outcomes(cycle(take(broken, 3), 7)())) == [0, "Fault 1", "Fault 2"] * 2 + [0]


def test_skip_raises_what_it_passes_over(blocks):
    fn, factory = failing(range(6), 1, 2)
    assert shown(outcomes(skip(map_items(factory, fn), 4)())) == ["Fault 1", "Fault 2", 4, 5]


def test_shuffle_and_cache_lose_nothing_else(blocks):
    fn, factory = failing(range(20), 3, 4, 11)
    found = shown(outcomes(shuffle(map_items(factory, fn), 6, seed=0)()))
    assert sorted(found, key=str) == sorted(["Fault 3", "Fault 4", "Fault 11", *(set(range(20)) - {3, 4, 11})], key=str)
    found = shown(outcomes(cache(map_items(factory, fn), 6, 1.0, seed=0)()))
    assert found == shown(outcomes(map_items(factory, fn)()))


def test_unbatch_goes_on_with_the_next_batch(blocks):
    fn, factory = failing(["ab", "cd", "ef"], "cd")
    rows = map_items(map_items(factory, fn), lambda text: {"x": list(text)})
    assert shown(outcomes(map_items(unbatch(rows), lambda row: row["x"])())) == ["a", "b", "Fault cd", "e", "f"]


def test_a_lifted_function_ends_as_its_language_says():
    fn, factory = failing(range(5), 1)
    broken = map_items(factory, fn)
    assert shown(outcomes(lift(lambda items: map(abs, items))(broken)())) == [0, "Fault 1", 2, 3, 4]
    assert shown(outcomes(lift(lambda items: (x for x in items))(broken)())) == [0, "Fault 1"]


def test_a_page_of_factories_that_raises_has_ended():
    fn, names = failing(range(3), 1)
    pages = map_items(map_items(names, fn), lambda k: numbers(k, 2))
    assert shown(outcomes(chain_mux(pages)())) == [0, 1, "Fault 1", 2000, 2001]


def test_stop_iteration_in_a_generator_is_an_error():
    @source
    def skips_a_bad_file():
        yield 1
        raise StopIteration

    found = outcomes(shuffled_mux([skips_a_bad_file()], on_exhausted="drop")())
    assert shown(found) == [1, "RuntimeError generator raised StopIteration"]


# Barren streams.


class Empties:
    """Gives items the first time it is opened, and nothing after."""

    def __init__(self, k, length):
        self.items = list(ints(k, length))
        self.opened = 0

    def __call__(self):
        self.opened += 1
        items, self.items = self.items, []
        return iter(items)


@pytest.mark.parametrize("name", ALL)
def test_all_barren_ends(name, blocks, within_seconds):
    row = ROWS[name]
    watched = [Watched([]) for _ in range(row.n)]
    assert outcomes(row.build(watched)()) == []
    assert all(one.called <= 1 for one in watched)


@pytest.mark.parametrize("outer", ALL)
@pytest.mark.parametrize("inner", ALL)
def test_nested_barren_ends(outer, inner, within_seconds):
    barren = [ROWS[inner].build([[].__iter__] * ROWS[inner].n) for _ in range(ROWS[outer].n)]
    assert outcomes(ROWS[outer].build(barren)()) == []


@pytest.mark.parametrize("name", MUX_NAMES)
@pytest.mark.parametrize("at", range(3))
def test_barren_among_others_is_opened_once(name, at, blocks, within_seconds):
    watched = [Watched([]) if k == at else Watched(ints(k, 5)) for k in range(3)]
    list(itertools.islice(ROWS[name].build(watched)(), 100))
    assert watched[at].called <= 1


@pytest.mark.parametrize("name", MUX_NAMES)
@given(branches=st.lists(st.integers(0, 4), min_size=3, max_size=3), seed=st.integers(0, 9))
def test_what_becomes_empty_is_left_out(name, blocks, within_seconds, branches, seed):
    parts = [Empties(k, length) for k, length in enumerate(branches)]
    found = pulls(seeded(ROWS[name].build(parts), seed)(), 200)
    assert len(found) == len(set(found)) <= sum(branches)
    assert all(part.opened <= 2 for part in parts)


WIDE = {
    "shuffled_mux, drop": partial(shuffled_mux, on_exhausted="drop"),
    "shuffled_mux": shuffled_mux,
    "with_replacement": partial(stochastic_mux, n_active=100, rate=8),
    "single_active": partial(stochastic_mux, n_active=100, rate=8, mode="single_active"),
    "exhaustive": partial(stochastic_mux, n_active=100, rate=8, mode="exhaustive"),
    "round_robin_mux": round_robin_mux,
    "chain_mux": chain_mux,
}


@pytest.mark.parametrize("length", [0, 2])
@pytest.mark.parametrize(
    ("name", "weighted"),
    [*zip(WIDE, repeat(False)), *zip(list(WIDE)[:5], repeat(True))],  # the others take no weights
)
def test_that_streams_end_costs_no_more_where_there_are_many(name, weighted, length, within_seconds):
    """A stream of 40,000 costs some microseconds; that of a list that is gone through at each end would be a minute."""
    n = 40_000
    factories = [range(k % 2 * length).__iter__ for k in range(n)]
    options = {"weights": [1 + k % 7 for k in range(n)]} if weighted else {}
    found = sum(1 for _ in itertools.islice(WIDE[name](factories, **options)(), n))
    assert found == n * bool(length)


def test_names_cost_no_more_where_there_are_many(within_seconds):
    names = list(map(str, range(60_000)))
    mux = shuffled_mux(dict.fromkeys(names, range(3).__iter__), dict.fromkeys(names, 1))
    assert len(pulls(mux(), 9)) == 9


def test_stages_that_all_differ_cost_no_more_where_there_are_many(within_seconds):
    mux = round_robin_mux([take(itertools.count, n) for n in range(1, 30_001)])
    stream = mux()
    pulls(stream, 30_000)
    assert pulls(resume(mux, stream.state_dict())(), 9) == pulls(stream, 9) == [1] * 9


def stops():
    raise StopIteration


@pytest.mark.parametrize("name", ALL)
def test_stop_iteration_of_a_factory_ends_nothing_silently(name, within_seconds):
    row = ROWS[name]
    found = outcomes(seeded(row.build([stops] * row.n), 0)())
    assert found
    assert all(isinstance(one, RuntimeError) and "raised StopIteration" in str(one) for one in found)


# Signals.


class OpensAtTheSecondCall:
    """A factory that a signal cuts while it opens its first stream."""

    def __init__(self, *items):
        self.items, self.calls = items, 0

    def __call__(self):
        self.calls += 1
        if self.calls == 1:
            raise KeyboardInterrupt
        return iter(self.items)


ONCE_EACH = {
    "shuffled_mux, drop": lambda fs: shuffled_mux(fs, on_exhausted="drop", seed=0),
    "exhaustive": lambda fs: stochastic_mux(fs, 2, None, mode="exhaustive", seed=0),
    "exhaustive, weights": lambda fs: stochastic_mux(fs, 2, None, weights=[3, 1, 2], mode="exhaustive", seed=0),
    "round_robin_mux": round_robin_mux,
    "chain_mux": chain_mux,
    "chain_mux, lazily": lambda fs: chain_mux(lambda: iter(fs)),
}


@pytest.mark.parametrize("name", ONCE_EACH)
def test_a_state_after_a_signal_while_a_stream_opens_is_as_before_it(name, blocks):
    items = [range(3 * k, 3 * k + 3) for k in range(3)]
    mux = ONCE_EACH[name]([OpensAtTheSecondCall(*some) for some in items])
    stream, found = mux(), []
    for _ in range(13):
        try:
            found += itertools.islice(stream, 1)
        except KeyboardInterrupt:
            stream = resume(mux, stream.state_dict())()
    assert found == list(ONCE_EACH[name]([some.__iter__ for some in items])())


@pytest.mark.parametrize("name", ONCE_EACH)
def test_a_signal_while_a_stream_opens_costs_nothing(name, blocks):
    """Neither an item nor the order."""
    items = [range(3 * k, 3 * k + 3) for k in range(3)]
    stream = ONCE_EACH[name]([OpensAtTheSecondCall(*some) for some in items])()
    found, cuts = [], 0
    while True:
        try:
            found.append(next(stream))
        except KeyboardInterrupt:
            cuts += 1
        except StopIteration:
            break
    assert found == list(ONCE_EACH[name]([some.__iter__ for some in items])())
    assert (sorted(found), cuts) == (list(range(9)), 3)


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("shuffled_mux, drop", lambda running: (running, "more")),
        ("exhaustive", lambda running: (running, "more")),
        ("exhaustive", lambda running: (running.schedule, "replace")),
        ("exhaustive, weights", lambda running: (running, "more")),
        ("exhaustive, weights", lambda running: (running.schedule, "replace")),
        ("round_robin_mux", lambda running: (running, "more")),
    ],
)
def test_a_signal_between_two_steps_costs_nothing(name, cut, blocks, monkeypatch):
    stream = ONCE_EACH[name]([range(3 * k, 3 * k + 3).__iter__ for k in range(3)])()
    found = [next(stream)]
    owner, method = cut(stream._running)
    with monkeypatch.context() as patch:
        patch.setattr(type(owner), method, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            found.extend(stream)
    found.extend(stream)
    assert found == list(ONCE_EACH[name]([range(3 * k, 3 * k + 3).__iter__ for k in range(3)])())


def test_a_signal_just_after_a_stream_is_left_out_costs_nothing(blocks, monkeypatch):
    parts = [range(3 * k, 3 * k + 3).__iter__ for k in range(3)]
    stream, found = ONCE_EACH["shuffled_mux, drop"](parts)(), []
    mux = type(stream._running)
    drop = mux._drop

    def cut(self, *args):
        drop(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mux, "_drop", cut)
        with pytest.raises(KeyboardInterrupt):
            found.extend(stream)
    found.extend(stream)
    assert found == list(ONCE_EACH["shuffled_mux, drop"](parts)())


def ends_with_a_signal(items):
    """An iterator of C, at whose end a signal waits for the next step in Python: the entry of a function, often."""
    return itertools.chain(items, iter(_thread.interrupt_main, None))


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("name", ONCE_EACH)
def test_a_signal_that_waits_where_a_stream_ends_costs_nothing(name, which, blocks):
    items = [range(3 * k, 3 * k + 3) for k in range(3)]
    parts = [partial(ends_with_a_signal, some) if k == which else some.__iter__ for k, some in enumerate(items)]
    stream, found = ONCE_EACH[name](parts)(), []
    with pytest.raises(KeyboardInterrupt):
        found.extend(stream)
    found.extend(stream)
    assert found == list(ONCE_EACH[name]([some.__iter__ for some in items])())


def test_a_signal_that_waits_for_the_first_pull_costs_nothing():
    stream, found = take([1, 2].__iter__, 5)(), []
    with pytest.raises(KeyboardInterrupt):
        found.extend(itertools.chain(ends_with_a_signal([]), stream))
    found.extend(stream)
    assert found == [1, 2]


class CutWhereItCloses:
    """Items whose ``close`` a signal cuts."""

    def __init__(self, items):
        self.items = iter(items)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)

    def close(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["with_replacement", "single_active", "exhaustive"])
@pytest.mark.parametrize("weights", [None, [3, 1, 2, 2]])
def test_a_signal_while_a_stream_closes_costs_nothing(mode, weights, blocks):
    def mux(make):
        parts = [partial(make, range(10 * k, 10 * k + 5)) for k in range(4)]
        return stochastic_mux(parts, 2, 3, weights=weights, mode=mode, seed=0)

    whole = list(itertools.islice(mux(iter)(), 20))
    stream, found, cuts = mux(CutWhereItCloses)(), [], 0
    while len(found) < len(whole):
        try:
            found += itertools.islice(stream, len(whole) - len(found))
        except KeyboardInterrupt:
            cuts += 1
    assert found == whole
    assert cuts


def test_a_signal_between_the_streams_of_a_chain_costs_nothing(monkeypatch):
    stream = chain_mux([range(3 * k, 3 * k + 3).__iter__ for k in range(3)])()
    found = [next(stream)]
    with monkeypatch.context() as patch:
        patch.setattr(type(stream._running), "_counted", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            found.extend(stream)
    assert found + list(stream) == list(range(9))


def test_a_signal_in_a_function_costs_its_item(blocks):
    def interrupted(x):
        if x == 3:
            signal.raise_signal(signal.SIGINT)
        return x

    stream = take(shuffled_mux([map_items(range(6).__iter__, interrupted)], on_exhausted="drop"), 9)()
    assert pulls(stream, 3) == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert pulls(stream) == [4, 5]
