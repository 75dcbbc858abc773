"""Item by item: what each passes on, and exactly how much it pulls."""

import itertools
from itertools import islice

import numpy as np
import pytest
import toolz

from pescador_fn import (
    cycle,
    filter_items,
    keras_tuples,
    lift,
    map_items,
    round_robin_mux,
    shuffle,
    skip,
    source,
    take,
    tuples,
)


class Counted:
    """A factory whose pulls are counted: every ``next``, also the one that finds the end."""

    def __init__(self, items):
        self.items, self.pulls, self.opened = items, 0, 0

    def __call__(self):
        self.opened += 1
        return Pulled(self, iter(self.items))


class Pulled:
    def __init__(self, factory, items):
        self.factory, self.items = factory, items

    def __iter__(self):
        return self

    def __next__(self):
        self.factory.pulls += 1
        return next(self.items)


def none():
    return iter(())


# take and skip: the items, how many to take, what comes, how many pulls


@pytest.mark.parametrize(
    ("n_items", "n", "found", "pulls"),
    [
        (5, 0, [], 0),
        (5, 1, [0], 1),
        (5, 4, [0, 1, 2, 3], 4),
        (5, 5, [0, 1, 2, 3, 4], 5),
        (5, 9, [0, 1, 2, 3, 4], 6),
        (0, 3, [], 1),
    ],
)
def test_take_pulls_exactly_as_many(n_items, n, found, pulls):
    items = Counted(range(n_items))
    assert list(take(items, n)()) == found
    assert items.pulls == pulls


def test_take_pulls_one_at_a_time():
    items = Counted(itertools.count())
    stream = take(items, 3)()
    assert items.pulls == 0
    for k in range(1, 4):
        next(stream)
        assert items.pulls == k
    assert next(stream, None) is None
    assert items.pulls == 3


def test_takes_of_takes():
    items = Counted(range(100))
    assert list(take(take(items, 5), 3)()) == [0, 1, 2]
    assert list(take(take(items, 3), 5)()) == [0, 1, 2]
    assert items.pulls == 6


@pytest.mark.parametrize(
    ("n_items", "n", "found"), [(5, 0, [0, 1, 2, 3, 4]), (5, 2, [2, 3, 4]), (5, 5, []), (5, 9, []), (0, 1, [])]
)
def test_skip(n_items, n, found):
    items = Counted(range(n_items))
    assert list(skip(items, n)()) == found


def test_skip_reads_its_head_at_the_first_next_and_no_further():
    items = Counted(itertools.count())
    stream = skip(items, 4)()
    assert items.pulls == 0
    assert next(stream) == 4
    assert items.pulls == 5


def test_take_of_skip_pulls_no_more_than_it_must():
    items = Counted(itertools.count())
    assert list(take(skip(items, 10), 5)()) == [10, 11, 12, 13, 14]
    assert items.pulls == 15


def test_large_counts():
    assert list(take([1, 2].__iter__, 10**15)()) == [1, 2]
    assert list(skip([1, 2].__iter__, 10**15)()) == []
    assert next(cycle([1].__iter__, 10**15)()) == 1


def test_counts_of_any_integer_type():
    assert list(take(range(9).__iter__, np.int64(2))()) == [0, 1]
    assert list(skip(range(4).__iter__, np.uint8(2))()) == [2, 3]
    assert list(cycle([1].__iter__, np.int32(2))()) == [1, 1]


# cycle


@pytest.mark.parametrize(
    ("n", "found", "pulls"),
    [(0, "", 0), (1, "a", 1), (2, "ab", 2), (3, "aba", 4), (5, "ababa", 7), (6, "ababab", 8)],
)
def test_cycle_gives_exactly_as_many(n, found, pulls):
    items = Counted("ab")
    assert "".join(cycle(items, n)()) == found
    assert items.pulls == pulls


def test_cycle_for_ever():
    assert "".join(islice(cycle("abc".__iter__)(), 10)) == "abcabcabca"


@pytest.mark.parametrize("n", [None, 0, 5])
def test_cycle_of_nothing_ends(n):
    items = Counted(())
    assert list(cycle(items, n)()) == []
    assert items.opened == (n != 0)


def test_a_pass_that_gives_nothing_is_the_last():
    passes = iter([[1, 2], [3], [], [4]])
    assert list(cycle(lambda: next(passes))()) == [1, 2, 3]


def test_each_pass_has_randomness_of_its_own():
    @source
    def noise(*, rng):
        yield rng.integers(2**60)

    found = list(cycle(noise(), 100)())
    assert len(set(found)) == 100
    orders = [tuple(p) for p in toolz.partition(6, cycle(shuffle(range(6).__iter__, 6), 60)())]
    assert len(set(orders)) > 5
    assert all(sorted(order) == list(range(6)) for order in orders)


def test_cycles_of_cycles():
    assert "".join(take(cycle(cycle("ab".__iter__, 3)), 8)()) == "abaabaab"
    assert list(cycle(cycle(none))()) == []


def test_cycle_of_a_mux():
    rounds = round_robin_mux(["ab".__iter__, "c".__iter__])
    assert "".join(cycle(rounds, 7)()) == "acbacba"


# map and filter


def test_map_items_calls_once_for_each_item_and_when_it_is_pulled():
    called = []
    stream = map_items(range(3).__iter__, lambda x: called.append(x) or 2 * x)()
    assert called == []
    assert next(stream) == 0
    assert called == [0]
    assert list(stream) == [2, 4]
    assert called == [0, 1, 2]


def test_filter_items_keeps_what_is_true():
    assert list(filter_items(range(6).__iter__, lambda x: x % 2)()) == [1, 3, 5]
    assert list(filter_items(["", "a", "b"].__iter__, bool)()) == ["a", "b"]
    assert list(filter_items(range(3).__iter__, lambda x: False)()) == []
    assert list(filter_items(none, bool)()) == []


def test_filter_pulls_until_it_finds_one():
    items = Counted(itertools.count(1))
    stream = filter_items(items, lambda x: x % 4 == 0)()
    assert next(stream) == 4
    assert items.pulls == 4


def test_falsy_items_do_not_end_a_stream():
    falsy = [None, 0, "", {}, [], (), False, 0.0]
    every = [
        take(falsy.__iter__, 8),
        skip(falsy.__iter__, 0),
        cycle(falsy.__iter__, 8),
        map_items(falsy.__iter__, lambda x: x),
    ]
    for factory in every:
        assert list(factory()) == falsy


@pytest.mark.parametrize(
    "build",
    [
        lambda f: take(f, 9),
        lambda f: skip(f, 0),
        lambda f: cycle(f, 3),
        lambda f: filter_items(f, lambda x: True),
        lambda f: map_items(f, lambda x: x),
        lambda f: lift(iter)(f),
    ],
)
def test_items_are_passed_on_untouched(build):
    rows = [{"x": np.arange(2)}, object(), [1]]
    assert all(a is b for a, b in zip(build(rows.__iter__)(), rows, strict=True))


def test_an_exception_costs_its_item():
    stream = map_items([1, 0, 2].__iter__, lambda x: 2 // x)()
    assert next(stream) == 2
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert list(stream) == [1]
    stream = filter_items([1, 0, 2].__iter__, lambda x: 2 // x)()
    assert next(stream) == 1
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert list(stream) == [2]


def test_a_pull_that_raises_counts():
    fails = map_items(itertools.count, lambda x: x if x % 2 else 1 // 0)
    stream, found = take(fails, 5)(), []
    for _ in range(5):
        try:
            found.append(next(stream))
        except ZeroDivisionError:
            found.append("raised")
    assert found == ["raised", 1, "raised", 3, "raised"]
    assert list(stream) == []


# tuples and keras_tuples

ITEM = {"X": np.arange(3), "Y": 1, "Z": "z", 5: "five"}


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (("X",), (ITEM["X"],)),
        (("Y", "X"), (1, ITEM["X"])),
        (("Y", "Y"), (1, 1)),
        ((5, "Z"), ("five", "z")),
    ],
)
def test_tuples(keys, found):
    (made,) = tuples([ITEM].__iter__, *keys)()
    assert type(made) is tuple
    assert len(made) == len(found)
    assert all(a is b for a, b in zip(made, found, strict=True))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"inputs": "X"}, (ITEM["X"], None)),
        ({"outputs": "Y"}, (None, 1)),
        ({"inputs": "X", "outputs": "Y"}, (ITEM["X"], 1)),
        ({"inputs": ["X"], "outputs": "Y"}, ([ITEM["X"]], 1)),
        ({"inputs": ["X", "Z"], "outputs": ["Y"]}, ([ITEM["X"], "z"], [1])),
        ({"inputs": ("X", "Z"), "outputs": ("Y",)}, ([ITEM["X"], "z"], [1])),
        ({"inputs": ["X", "X"], "outputs": None}, ([ITEM["X"], ITEM["X"]], None)),
    ],
)
def test_keras_tuples(options, found):
    (made,) = keras_tuples([ITEM].__iter__, **options)()
    assert type(made) is tuple
    assert [type(side) for side in made] == [type(side) for side in found]
    for side, wanted in zip(made, found, strict=True):
        pairs = zip(side, wanted, strict=True) if isinstance(wanted, list) else [(side, wanted)]
        assert all(a is b for a, b in pairs)


def test_the_callers_list_of_keys_is_their_own():
    keys = ["X"]
    factory = keras_tuples([ITEM].__iter__, keys)
    keys.append("nope")
    assert next(factory()) == ([ITEM["X"]], None)


@pytest.mark.parametrize(
    ("build", "item", "kind", "words"),
    [
        (lambda f: tuples(f, "X", "Q"), ITEM, KeyError, ["tuples: ", "'Q'", "'X', 'Y', 'Z'"]),
        (lambda f: tuples(f, "X"), 5, TypeError, ["tuples: ", "'X'", "int"]),
        (lambda f: tuples(f, "X"), None, TypeError, ["tuples: ", "'X'", "NoneType"]),
        (lambda f: tuples(f, "X"), (1, 2), TypeError, ["tuples: ", "'X'", "tuple"]),
        (lambda f: tuples(f, 7), (1, 2), IndexError, ["tuples: ", "7", "tuple"]),
        (lambda f: keras_tuples(f, "Q"), ITEM, KeyError, ["keras_tuples: ", "'Q'", "'X', 'Y', 'Z'"]),
        (lambda f: keras_tuples(f, None, ["X", "Q"]), ITEM, KeyError, ["keras_tuples: ", "'Q'"]),
        (lambda f: keras_tuples(f, "X"), np.arange(2), IndexError, ["keras_tuples: ", "'X'", "ndarray"]),
    ],
)
def test_an_item_that_lacks_a_key(build, item, kind, words):
    with pytest.raises(kind) as caught:
        next(build([item].__iter__)())
    for word in words:
        assert word in str(caught.value)


def test_an_item_that_lacks_a_key_costs_itself_only():
    stream = tuples([{"X": 1}, {}, {"X": 2}].__iter__, "X")()
    assert next(stream) == (1,)
    with pytest.raises(KeyError, match="tuples: "):
        next(stream)
    assert list(stream) == [(2,)]
