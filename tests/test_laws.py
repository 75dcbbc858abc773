"""The algebra: what holds for every combinator alone and nested up to three deep, and what holds between them."""

import copy
import functools
import itertools
import pickle
import re
from collections import defaultdict

import cloudpickle
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    ALL,
    KEEPERS,
    MUXES,
    ONE_FOR_ONE,
    PLAIN,
    ROWS,
    Tree,
    Watched,
    add_one,
    grow,
    ints,
    lengths,
    noise,
    numbers,
    outcomes,
    pulls,
    trees,
)

import pescador_fn
from pescador_fn import (
    batch,
    chain_mux,
    curried,
    cycle,
    map_items,
    round_robin_mux,
    seeded,
    shape,
    shuffled_mux,
    skip,
    stochastic_mux,
    take,
    unbatch,
)

# Laws of every combinator: functions of a tree. A law says which rows it is about.

LAWS = {}


def law(names=ALL):
    def enter(fn):
        LAWS[fn] = names
        return fn

    return enter


def alike(one, other):
    """Two factories give equal streams."""
    return list(map(repr, outcomes(one()))) == list(map(repr, outcomes(other())))


@law()
def two_calls_of_a_seeded_factory_are_equal(tree):
    pinned = seeded(grow(tree, noise), 1)
    assert alike(pinned, pinned)


@law()
def the_same_call_builds_an_equal_factory(tree):
    one, other = grow(tree, noise), grow(tree, noise)
    assert one == other
    assert hash(one) == hash(other)
    assert alike(seeded(one, 1), seeded(other, 1))


@law()
def pickling_changes_nothing(tree):
    pinned = seeded(grow(tree, noise), 1)
    for load, dump in [(pickle.loads, pickle.dumps), (cloudpickle.loads, cloudpickle.dumps)]:
        copied = load(dump(pinned))
        assert copied == pinned
        assert alike(copied, pinned)
        assert copied == load(dump(pinned))  # after it has run, too


@law()
def copying_changes_nothing(tree):
    built = grow(tree, noise)
    assert copy.copy(built) == built
    assert copy.deepcopy(built) == built


@law()
def nothing_is_opened_before_next(tree):
    leaf, made = Watched.leaves()
    stream = grow(tree, leaf)()
    assert all(one.called == 0 for one in made)
    stream.close()
    assert all(one.called == 0 for one in made)


@law()
def every_opened_generator_is_closed(tree):
    leaf, made = Watched.leaves()
    for n in (1, 4, 200):
        stream = grow(tree, leaf)()
        outcomes(stream, n)
        stream.close()
        assert all(one.open == 0 for one in made)


@law()
def concurrent_streams_are_independent(tree):
    pinned = seeded(grow(tree, noise), 1)
    together = [(x, y) for x, y in itertools.zip_longest(*map(outcomes, [pinned(), pinned()]))]
    one, other = pinned(), pinned()
    taken = [(x, y) for x, y in itertools.islice(itertools.zip_longest(one, other), 60)]
    assert taken == together


@law()
def it_does_not_change(tree):
    built = grow(tree, numbers)
    for name in ("build", "of", "options", "seed", "anything"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(built, name, None)
    with pytest.raises(AttributeError, match="immutable"):
        del built.of
    with pytest.raises(TypeError):
        built.options["n"] = 3
    assert built == grow(tree, numbers)


@law()
def it_prints_as_what_made_it(tree):
    built = grow(tree, numbers)
    assert not re.search("0x[0-9a-f]{4}", repr(built))
    assert eval(repr(built), {**vars(shape), **vars(pescador_fn), **vars(strategies)}) == built


@law(PLAIN)
def curried_is_plain(tree):
    row = ROWS[tree.name]
    branches = [
        grow(branch, noise) if isinstance(branch, Tree) else noise(k, branch) for k, branch in enumerate(tree.branches)
    ]
    one, other = row.build(branches), row.build_curried(branches)
    assert one == other
    assert repr(one) == repr(other)
    assert alike(seeded(one, 1), seeded(other, 1))


@law(KEEPERS)
def items_are_passed_on_as_the_same_objects(tree):
    given = {}

    def leaf(k, length):
        items = [object() for _ in range(40 if length is None else length)]
        given.update((id(item), item) for item in items)
        return items.__iter__

    # A filter's predicate wants numbers.
    if "filter_items" not in repr(tree):
        assert all(given.get(id(item)) is item for item in pulls(grow(tree, leaf)()))


class Dated(Watched):
    """Gives which leaf it is, in which activation, and how many it gave before."""

    def give(self, item, activation):
        return id(self), activation, item


@law([name for name in KEEPERS if name not in ("filter_items", "skip", "shuffle", "cache")])
def what_is_taken_of_a_stream_is_a_prefix_per_activation(tree):
    leaf, made = Dated.leaves()
    start = {}
    taken = defaultdict(list)
    stream = grow(tree, leaf)()
    for which, activation, item in pulls(stream, 120):
        taken[which, activation].append(item)
    for one in made:
        start[id(one)] = one.items[:1]
    for (which, _), items in taken.items():
        assert items == list(range(items[0], items[0] + len(items)))
        assert items[:1] == list(start[which])


@law(ONE_FOR_ONE)
def take_pulls_exactly_n(tree):
    for n in (0, 1, 5, 30):
        leaf, made = Watched.leaves()
        found = list(take(grow(tree, leaf), n)())
        assert sum(one.pulled for one in made) == len(found) <= n


ONE_ROW = [pytest.param(law, name, id=f"{law.__name__}-{name}") for law, names in LAWS.items() for name in names]


@pytest.mark.parametrize(("law", "name"), ONE_ROW)
@settings(max_examples=12)
@given(data=st.data())
def test_every_combinator(law, name, data):
    law(data.draw(trees(1, [name])))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@settings(max_examples=80)
@given(data=st.data())
def test_every_pipeline(law, data):
    law(data.draw(trees(3, LAWS[law])))


# What a caller passes is left as it was, and does not matter afterwards.


@pytest.mark.parametrize("name", [row.name for row in MUXES])
def test_the_list_of_factories_is_the_callers(name):
    given = [noise(k, 3) for k in range(3)]
    kept = list(given)
    built = ROWS[name].build(given)
    before = outcomes(seeded(built, 1)())
    assert given == kept
    given.reverse()
    given.pop()
    assert outcomes(seeded(built, 1)()) == before


WEIGHTS = {
    "list": lambda: [3, 0, 1],
    "tuple": lambda: (3, 0, 1),
    "ints": lambda: np.array([3, 0, 1]),
    "floats": lambda: np.array([3.0, 0.0, 1.0]),
    "strided": lambda: np.array([3.0, 9, 0, 9, 1, 9])[::2],
    "mapping": lambda: {"c": 1, "a": 3, "b": 0},
}


MODES = ["with_replacement", "single_active", "exhaustive"]
WEIGHTED = [shuffled_mux, *[functools.partial(stochastic_mux, n_active=2, rate=3, mode=mode) for mode in MODES]]


@pytest.mark.parametrize("mux", WEIGHTED)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_are_the_callers(mux, kind):
    names = "abc"
    factories = {name: noise(k, 9) for k, name in enumerate(names)}
    if kind != "mapping":
        factories = list(factories.values())
    weights = WEIGHTS[kind]()
    built = mux(factories, weights=weights, seed=1)
    before = pulls(built())
    assert repr(weights) == repr(WEIGHTS[kind]())
    assert built == mux(factories, weights=WEIGHTS[kind](), seed=1)
    if kind == "mapping":
        weights["b"] = 100
        factories.clear()
    elif kind != "tuple":
        weights[1] = 100
    assert pulls(built()) == before


def test_keys_and_arguments_are_the_callers():
    keys = ["x"]
    built = pescador_fn.keras_tuples([{"x": 1}].__iter__, keys, None)
    keys.append("y")
    assert list(built()) == [([1], None)]


# Laws between combinators.

streams = st.builds(lambda k, length: noise(k, length), st.integers(0, 9), st.integers(0, 6))
pinned = st.builds(seeded, streams, st.integers(0, 5))


@given(a=pinned, b=pinned, c=pinned)
def test_chain_is_associative(a, b, c):
    flat = chain_mux([a, b, c])
    assert alike(chain_mux([chain_mux([a, b]), c]), flat)
    assert alike(chain_mux([a, chain_mux([b, c])]), flat)


@given(a=pinned)
def test_the_empty_chain_is_its_unit(a):
    empty = chain_mux([])
    assert outcomes(empty()) == []
    assert alike(chain_mux([empty, a]), a)
    assert alike(chain_mux([a, empty]), a)


@given(a=pinned)
def test_map_items_fuses(a):
    assert alike(map_items(map_items(a, add_one), hex), map_items(a, lambda x: hex(add_one(x))))


@pytest.mark.parametrize("name", [row.name for row in MUXES])
@given(branches=st.lists(lengths, min_size=3, max_size=3), seed=st.integers(0, 9))
def test_map_items_distributes_over_every_mux(name, branches, seed):
    parts = [noise(k, length) for k, length in enumerate(branches)]
    mux = ROWS[name].build
    one = map_items(mux(parts), add_one)
    assert alike(seeded(one, seed), seeded(mux([map_items(part, add_one) for part in parts]), seed))


@given(a=pinned, n=st.integers(0, 8))
def test_skip_after_take_is_the_whole(a, n):
    assert alike(chain_mux([take(a, n), skip(a, n)]), a)


@given(a=pinned, m=st.integers(0, 8), n=st.integers(0, 8))
def test_takes_and_skips_add_up(a, m, n):
    assert alike(take(take(a, m), n), take(a, min(m, n)))
    assert alike(skip(skip(a, m), n), skip(a, m + n))
    assert alike(take(skip(a, m), n), skip(take(a, m + n), m))


ITEMS = {
    "ints": list(range(7)),
    "floats": [0.5, 1.5, 2.5],
    "strings": ["a", "bb", "", "c\0"],
    "arrays": [np.arange(3.0) + k for k in range(5)],
    "dicts": [{"x": np.arange(2) + k, "y": k, "s": "ab"} for k in range(5)],
    "nested": [{"a": {"b": np.ones((2, 1)) * k, "c": k}} for k in range(4)],
    "tuples": [(np.arange(2) * k, k) for k in range(4)],
}


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_unbatch_undoes_batch(kind, size):
    items = ITEMS[kind]
    found = list(unbatch(batch(items.__iter__, size, partial=True))())
    np.testing.assert_equal(found, items)


c = curried
ONE_STREAM = [
    c.shuffled_mux(on_exhausted="drop"),
    c.shuffled_mux(on_exhausted="stop"),
    c.shuffled_mux([0.3], on_exhausted="drop"),
    c.stochastic_mux(1, None, mode="exhaustive"),
    c.stochastic_mux(1, None, mode="exhaustive", weights=[3]),
    c.round_robin_mux(),
    c.chain_mux(),
]
ONE_STREAM_AGAIN = [
    c.shuffled_mux(),
    c.stochastic_mux(1, None),
    c.stochastic_mux(1, None, weights=[3]),
    c.stochastic_mux(1, None, mode="single_active"),
    c.round_robin_mux(mode="cycle"),
    c.round_robin_mux(mode="permuted_cycle"),
    c.chain_mux(mode="cycle"),
]


@pytest.mark.parametrize("mux", ONE_STREAM + ONE_STREAM_AGAIN, ids=repr)
@given(a=pinned, k=st.integers(0, 9), length=st.integers(0, 5))
def test_a_mux_of_one_stream_is_that_stream(mux, a, k, length):
    whole = (lambda factory: factory) if mux in ONE_STREAM else cycle
    assert alike(mux([numbers(k, length)]), whole(numbers(k, length)))
    n = len(list(a()))
    assert alike(take(mux([a]), n), a)  # a pinned stream's first pass is the stream on its own


@pytest.mark.parametrize("mode", MODES)
@given(rate=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_quota_bounds_an_activation(mode, rate, seed):
    leaf, made = Dated.leaves()
    mux = stochastic_mux([leaf(k, None) for k in range(4)], 2, rate, mode=mode, dist="constant", seed=seed)
    given_by = defaultdict(int)
    for which, activation, _ in pulls(mux(), 100):
        given_by[which, activation] += 1
    assert max(given_by.values()) == rate
    if mode == "exhaustive":
        assert list(given_by.values()) == [rate] * 4
        assert all(one.called == 1 for one in made)


@given(branches=st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_round_robin_takes_turns(branches):
    parts = [ints(k, length) for k, length in enumerate(branches)]
    expected = [x for turn in itertools.zip_longest(*parts) for x in turn if x is not None]
    assert pulls(round_robin_mux([part.__iter__ for part in parts])()) == expected


@pytest.mark.parametrize("name", ["chain_mux", "round_robin_mux", "shuffled_mux, drop", "exhaustive, to the end"])
@given(branches=st.lists(st.integers(0, 5), min_size=3, max_size=3), seed=st.integers(0, 9))
def test_exhaustive_muxes_give_everything_once(name, branches, seed):
    rows = {**ROWS, "exhaustive, to the end": ROWS["exhaustive"]._replace(args=(2, None))}
    parts = [numbers(k, length) for k, length in enumerate(branches)]
    expected = [x for k, length in enumerate(branches) for x in ints(k, length)]
    if name == "shuffled_mux, drop":  # its second weight is 0
        expected = [x for x in expected if x // 1000 != 1]
    assert sorted(pulls(seeded(rows[name].build(parts), seed)(), 100)) == expected


@given(items=st.lists(st.integers(), max_size=20), size=st.integers(1, 30), seed=st.integers(0, 9))
def test_shuffle_permutes(items, size, seed):
    found = list(pescador_fn.shuffle(items.__iter__, size, seed=seed)())
    assert sorted(found) == sorted(items)
    if size == 1:
        assert found == items


@given(items=st.lists(st.integers(), max_size=20), size=st.integers(1, 30), seed=st.integers(0, 9))
def test_a_cache_begins_in_order_and_always_fresh_is_the_stream(items, size, seed):
    cached = functools.partial(pescador_fn.cache, items.__iter__, size, seed=seed)
    assert list(cached(1)()) == items
    assert pulls(cached(0.5)())[:size] == items[:size]
    assert set(pulls(cached(0.5)())) <= set(items)
    if len(items) >= size:
        assert set(pulls(cached(0)())) <= set(items[:size])
