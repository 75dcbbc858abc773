"""Mistakes: each is an error when the pipeline is built, which names the function, the value and the rule."""

import builtins
import contextlib
import itertools
import math
import operator
import os
import re
import subprocess
import sys
import time
from collections import UserDict, deque
from collections.abc import Sequence
from functools import partial
from itertools import islice, repeat

import numpy as np
import pytest
import toolz

from pescador_fn import (
    batch,
    cache,
    chain_mux,
    curried,
    cycle,
    filter_items,
    keras_tuples,
    label,
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
    tuples,
    unbatch,
)
from pescador_fn.given import check_part, takes


@source
def read(path):
    yield path


@source
def noisy(path, *, rng):
    yield path


def rough(items, *, rng):
    return (item + rng.normal() for item in items)


def jitter(items, rng=None):
    return (item + rng.normal() for item in items)


f = [1, 2].__iter__
two = [f, f]
names = {"cat": f, "dog": f}
nan, inf = float("nan"), float("inf")


def once():
    """A generator: it can be read once."""
    return (x for x in range(3))


# One factory

TAKES_ONE = {
    "map_items": lambda x: map_items(x, str),
    "filter_items": lambda x: filter_items(x, bool),
    "take": lambda x: take(x, 1),
    "skip": lambda x: skip(x, 1),
    "cycle": cycle,
    "tuples": lambda x: tuples(x, "X"),
    "keras_tuples": lambda x: keras_tuples(x, "X"),
    "batch": lambda x: batch(x, 2),
    "unbatch": unbatch,
    "shuffle": lambda x: shuffle(x, 2),
    "cache": lambda x: cache(x, 2),
    "seeded": lambda x: seeded(x, 0),
    "fine": lambda x: lift(fine)(x),
    "shuffled_mux": lambda x: shuffled_mux([f, x]),
    "stochastic_mux": lambda x: stochastic_mux([f, x], 1, 1),
    "round_robin_mux": lambda x: round_robin_mux([f, x]),
    "chain_mux": lambda x: chain_mux([f, x]),
    "label": lambda x: label({"cat": f, "dog": x}),
}


def fine(items):
    return items


class Shelf:
    """Has methods of one argument, of two, and of none."""

    def __init__(self, place=""):
        self.place = place

    def read(self, row):
        return [row]

    def between(self, first, last):
        return range(first, last)

    def all(self, last=3):
        return self.between(0, last)


class Recording:
    def __init__(self, path):
        self.path = path

    def __iter__(self):
        return iter(self.path)


def pair(a, b):
    return [a, b]


async def waits():
    return [1]


async def gives():
    yield 1


@pytest.mark.parametrize("bound", [partial(pair, 1, 2), partial(pair, b=1, a=2), partial(max, 1)])
def test_a_partial_that_takes_nothing_more_is_a_factory(bound):
    take(bound, 1)


@pytest.mark.parametrize(
    "fn",
    [
        toolz.curry(pair),
        toolz.curry(int),
        toolz.compose(str, abs),
        toolz.complement(bool),
        partial(pair, 1),
        partial(pair, b=1),
        str,
        np.sqrt,
        [].append,
        lambda *x: x,
    ],
)
def test_what_takes_one_item_maps_items(fn):
    """A curried function too, which gives another for each item; toolz has no signature for some of its own."""
    map_items(f, fn)
    filter_items(f, fn)


def test_what_toolz_makes_of_builtin_functions_is_a_factory():
    assert list(take(toolz.compose(iter, list), 1)()) == []


@pytest.mark.parametrize("module", [builtins, itertools, math, operator, os, time])
def test_of_what_is_written_in_c_all_that_is_not_known_is_taken(module):
    """Some functions have a signature that Python cannot read: `iter`, on Python 3.12."""
    for name, fn in vars(module).items():
        if callable(fn) and not name.startswith("_"):
            for bound in (fn, partial(fn, [1])):
                with contextlib.suppress(TypeError):  # as for `abs`, of which it is known that it needs arguments
                    check_part("take", bound)
            assert takes(fn, 1) in (True, False, None)


STAGES_OF_FACTORIES = {
    "batch": lambda: curried.batch(take(f, 3)),
    "map_items": lambda: curried.map_items(read(0)),
    "shuffled_mux": lambda: curried.shuffled_mux(take(f, 3)),
    "stochastic_mux": lambda: curried.stochastic_mux(read(0), 3),
}


@pytest.mark.parametrize(("name", "make"), STAGES_OF_FACTORIES.items(), ids=STAGES_OF_FACTORIES)
def test_a_stage_is_not_made_of_the_factory(name, make):
    with pytest.raises(TypeError, match=rf"^{name}: .* is a factory, .*; write pipe\(factory, {name}"):
        make()


NOT_A_FACTORY = {
    "number": (lambda: 5, ["5", "not a factory"]),
    "None": (lambda: None, ["None", "not a factory"]),
    "list of factories": (lambda: two, ["many factories", "make a mux"]),
    "mapping of factories": (lambda: names, ["many factories", "make a mux"]),
    "set of factories": (lambda: {f, len}, ["many factories", "make a mux"]),
    "empty list": ([].copy, ["[]", "__iter__"]),
    "list": (lambda: [1, 2], ["[1, 2]", "__iter__"]),
    "string": (lambda: "abc", ["'abc'"]),
    "array": (lambda: np.arange(2), ["array([0, 1])"]),
    "dict": (lambda: {"x": 1}, ["{'x': 1}"]),
    "range": (lambda: range(3), ["range(0, 3)", "__iter__"]),
    "generator": (once, ["generator", "read once"]),
    "iterator": (lambda: iter([1]), ["iterator", "read once"]),
    "stream": (lambda: take(f, 1)(), ["stream", "read once"]),
    "file": (lambda: map(str, [1]), ["map", "read once"]),
    "function of something": (lambda: lambda x: [x], ["needs arguments", "partial"]),
    "keyword needed": (lambda: lambda *, x: [x], ["needs arguments"]),
    "partial that lacks one": (lambda: partial(pair, 1), ["partial(pair, 1)", "needs arguments"]),
    "partial of too many": (lambda: partial(pair, 1, 2, 3), ["partial(pair, 1, 2, 3)", "needs arguments"]),
    "stage": (lambda: curried.batch(4), ["batch(4)", "is a stage", "own arguments"]),
    "method of something": (lambda: Shelf().read, ["Shelf", "read", "needs arguments"]),
    "class of something": (lambda: Recording, ["Recording", "needs arguments"]),
    "partial of a class of something": (lambda: partial(Recording, "a", 1), ["Recording", "needs arguments"]),
    "partial of a method that lacks one": (lambda: partial(Shelf().between, 1), ["between", "needs arguments"]),
    "method of no object": (lambda: str.upper, ["upper", "needs arguments"]),
    "function in C of something": (lambda: len, ["len", "needs arguments"]),
    "stage that lift makes": (lambda: lift(pair)(b=2), ["partial(lift(pair), b=2)", "needs arguments"]),
    "source without its arguments": (lambda: read, ["read", "call it"]),
    "coroutine function": (lambda: waits, ["waits", "asynchronous", "event loop"]),
    "asynchronous generator function": (lambda: gives, ["gives", "asynchronous", "event loop"]),
}


@pytest.mark.parametrize(("value", "words"), NOT_A_FACTORY.values(), ids=NOT_A_FACTORY)
@pytest.mark.parametrize("name", TAKES_ONE)
def test_not_a_factory(name, value, words):
    with pytest.raises(TypeError) as caught:
        TAKES_ONE[name](value())
    where = {"label": "factories['dog']"}.get(name, "factories[1]" if name.endswith("_mux") else "factory")
    for word in [f"{name}: ", where, *words]:
        assert word in str(caught.value)


CLASSES = [list, Shelf, partial(Recording, "p")]


@pytest.mark.parametrize("name", TAKES_ONE)
@pytest.mark.parametrize(
    "value", [f, partial(repeat, 1), lambda: [1], lambda x=1: [x], read("p"), take(f, 1), *CLASSES, Shelf().all]
)
def test_a_factory_is_any_callable_without_arguments(name, value):
    TAKES_ONE[name](value)


# Many factories

TAKES_MANY = {
    "shuffled_mux": shuffled_mux,
    "stochastic_mux": lambda x: stochastic_mux(x, 1, 1),
    "round_robin_mux": round_robin_mux,
    "chain_mux": chain_mux,
}
NOT_FACTORIES = {
    "number": (5, TypeError, ["5"]),
    "None": (None, TypeError, ["None"]),
    "string": ("ab", TypeError, ["'ab'"]),
    "set": ({f}, TypeError, ["sequence or mapping", "list(factories)"]),
    "generator": ((x for x in two), TypeError, ["generator", "list(factories)"]),
    "values": (names.values(), TypeError, ["dict_values", "list(factories)"]),
    "empty list": ([], ValueError, ["factories is empty"]),
    "empty tuple": ((), ValueError, ["factories is empty"]),
    "empty mapping": ({}, ValueError, ["factories is empty"]),
    "one factory": (f, TypeError, ["one factory", "[factory]", "[one, other]"]),
    "a mapping with a generator": ({"cat": f, "dog": once()}, TypeError, ["factories['dog']", "read once"]),
    "names that are not plain": ({frozenset(): f}, TypeError, ["frozenset()"]),
    "lists": ([[1], [2]], TypeError, ["factories[0]", "[1]"]),
}


FINE_IN_A_CHAIN = {"empty list", "empty tuple", "empty mapping", "one factory"}  # the last gives the others


@pytest.mark.parametrize("what", NOT_FACTORIES)
@pytest.mark.parametrize("name", TAKES_MANY)
def test_not_factories(name, what):
    value, kind, words = NOT_FACTORIES[what]
    if name == "chain_mux" and what in FINE_IN_A_CHAIN:
        chain_mux(value)
        return
    with pytest.raises(kind) as caught:
        TAKES_MANY[name](value)
    for word in [f"{name}: ", *words]:
        assert word in str(caught.value)


# Weights

TAKES_WEIGHTS = {
    "shuffled_mux": lambda w, x=two: shuffled_mux(x, w),
    "stochastic_mux": lambda w, x=two: stochastic_mux(x, 1, 1, weights=w),
}
WEIGHTS = {
    "too few": ([1], ValueError, ["(1,)", "2 factories"]),
    "too many": ([1, 2, 3], ValueError, ["(3,)", "2 factories"]),
    "none": ([], ValueError, ["(0,)", "2 factories"]),
    "one number": (0.5, ValueError, ["()", "2 factories"]),
    "2-D": ([[1, 1]], ValueError, ["(1, 2)"]),
    "a column": (np.ones((2, 1)), ValueError, ["(2, 1)"]),
    "ragged": ([[1], [1, 2]], TypeError, ["[[1], [1, 2]]"]),
    "NaN": ([1, nan], ValueError, ["weights[1]", "nan"]),
    "None among them": ([1, None], (TypeError, ValueError), []),
    "negative": ([1, -0.5], ValueError, ["weights[1]", "-0.5"]),
    "infinite": ([inf, 1], ValueError, ["weights[0]", "inf"]),
    "larger than any float": ([10**400, 1], (TypeError, ValueError), []),
    "all zero": ([0, 0], ValueError, ["all 0"]),
    "string": ("ab", TypeError, ["'ab'"]),
    "digits": ("12", (TypeError, ValueError), []),
    "strings": (["a", "b"], TypeError, ["['a', 'b']"]),
    "numbers in strings": (["1", "2"], TypeError, ["['1', '2']"]),
    "bytes": ([b"1", b"2"], TypeError, ["b'1'"]),
    "complex": ([1j, 1], TypeError, ["1j"]),
    "set": ({1, 2}, TypeError, ["{1, 2}"]),
    "iterator": (iter([1, 1]), TypeError, ["iterator"]),
    "dates": (np.array(["2020", "2021"], "M8[Y]"), TypeError, ["2020"]),
    "values of a mapping": ({"a": 1, "b": 2, "c": 3}.values(), ValueError, ["(3,)", "2 factories"]),
    "names for a sequence": ({"cat": 1, "dog": 1}, ValueError, ["mapping", "sequence"]),
}


@pytest.mark.parametrize(("weights", "kind", "words"), WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("name", TAKES_WEIGHTS)
def test_weights(name, weights, kind, words):
    with pytest.raises(kind) as caught:
        TAKES_WEIGHTS[name](weights)
    for word in [f"{name}: ", "weights", *words]:
        assert word in str(caught.value)


class Series(list):
    """As pandas' are: values in an order of their own, and their names."""

    def __init__(self, **values):
        super().__init__(values.values())
        self.values = values

    def to_dict(self):
        return self.values


WEIGHTS_BY_NAME = {
    "one lacking": ({"cat": 1}, ["lacks", "'dog'"]),
    "one more": ({"cat": 1, "dog": 1, "owl": 2}, ["'owl'"]),
    "another": ({"cat": 1, "owl": 2}, ["'dog'"]),
    "misspelt": ({"cat": 1, "dogg": 2}, ["lacks ['dog'] and names ['dogg']"]),
    "negative": ({"cat": 1, "dog": -2}, ["weights['dog']", "-2"]),
    "NaN": ({"cat": nan, "dog": 1}, ["weights['cat']", "nan"]),
    "all zero": ({"cat": 0, "dog": 0}, ["all 0"]),
    "too few": ([1], ["(1,)", "2 factories"]),
    "another kind of mapping": (UserDict(cat=1), ["lacks", "'dog'"]),
    "a series": (Series(dog=1, owl=2), ["lacks", "'cat'"]),
}


@pytest.mark.parametrize(("weights", "words"), WEIGHTS_BY_NAME.values(), ids=WEIGHTS_BY_NAME)
@pytest.mark.parametrize("name", TAKES_WEIGHTS)
def test_weights_by_name(name, weights, words):
    with pytest.raises(ValueError, match=f"^{name}: ") as caught:
        TAKES_WEIGHTS[name](weights, names)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(("weights", "kind", "words"), WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("name", TAKES_WEIGHTS)
def test_weights_that_a_function_gives(name, weights, kind, words):
    mux = TAKES_WEIGHTS[name](lambda n_draws: weights)
    with pytest.raises(kind) as caught:
        next(mux())
    for word in [f"{name}: ", "weights", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", TAKES_WEIGHTS)
def test_weights_that_are_masked_or_no_numbers(name):
    with pytest.raises(TypeError, match=f"(?s)^{name}: weights=.* is masked in part; fill it"):
        TAKES_WEIGHTS[name](np.ma.array([1, 2], mask=[False, True]))
    TAKES_WEIGHTS[name](np.ma.array([1, 2]))
    with pytest.raises(TypeError, match=f"^{name}: weights=.* is not numbers"):
        TAKES_WEIGHTS[name](np.array([1, 2], "m8[s]"))


@pytest.mark.parametrize("name", TAKES_WEIGHTS)
def test_a_series_of_weights_goes_by_name(name):
    weights = Series(dog=1, cat=0)
    for given in (weights, lambda n_draws: weights):
        with TAKES_WEIGHTS[name](given, label({"cat": [1].__iter__, "dog": [1].__iter__}))() as stream:
            assert next(stream) == ("dog", 1)


@pytest.mark.parametrize("fn", [lambda: [1, 1], lambda n_draws, more: [1, 1]])
@pytest.mark.parametrize("name", TAKES_WEIGHTS)
def test_a_function_of_weights_takes_one_argument(name, fn):
    with pytest.raises(TypeError, match=f"^{name}: weights=.* cannot be called with one argument .*draws so far"):
        TAKES_WEIGHTS[name](fn)


# Seeds

TAKES_SEED = {
    "shuffled_mux": lambda s: shuffled_mux(two, seed=s),
    "stochastic_mux": lambda s: stochastic_mux(two, 1, 1, seed=s),
    "round_robin_mux": lambda s: round_robin_mux(two, seed=s),
    "shuffle": lambda s: shuffle(f, 2, seed=s),
    "cache": lambda s: cache(f, 2, seed=s),
    "seeded": lambda s: seeded(f, s),
}
SEEDS = {
    "negative": (-1, ValueError, ["-1"]),
    "numpy negative": (np.int64(-3), ValueError, ["-3"]),
    "float": (1.0, TypeError, ["1.0"]),
    "bool": (True, TypeError, ["True"]),
    "numpy bool": (np.bool_(True), TypeError, ["True"]),
    "string": ("0", TypeError, ["'0'"]),
    "list": ([1, 2], TypeError, ["[1, 2]"]),
    "Generator": (np.random.default_rng(0), TypeError, ["Generator", "changes"]),
    "RandomState": (np.random.RandomState(0), TypeError, ["RandomState", "changes"]),
    "BitGenerator": (np.random.PCG64(0), TypeError, ["PCG64", "changes"]),
    "SeedSequence": (np.random.SeedSequence(0), TypeError, ["SeedSequence"]),
    "the module": (np.random, TypeError, ["numpy.random"]),
}


@pytest.mark.parametrize(("seed", "kind", "words"), SEEDS.values(), ids=SEEDS)
@pytest.mark.parametrize("name", TAKES_SEED)
def test_seeds(name, seed, kind, words):
    with pytest.raises(kind) as caught:
        TAKES_SEED[name](seed)
    for word in [f"{name}: ", "seed=", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("seed", [None, 0, 2**200, np.int64(3), np.uint64(2**64 - 1)])
@pytest.mark.parametrize("name", TAKES_SEED)
def test_any_natural_number_is_a_seed(name, seed):
    assert next(TAKES_SEED[name](seed)()) in (1, 2)


# Numbers, words and functions: the call with a value in its place, then values, errors, what they name


def mux(n_active=1, rate=1, **options):
    return stochastic_mux(two, n_active, rate, **options)


COUNTS = {
    "stochastic_mux: n_active": (lambda x: mux(x), 1),
    "take: n": (lambda x: take(f, x), 0),
    "skip: n": (lambda x: skip(f, x), 0),
    "cycle: n_items": (lambda x: cycle(f, x), 0),
    "batch: size": (lambda x: batch(f, x), 1),
    "shuffle: buffer_size": (lambda x: shuffle(f, x), 1),
    "cache: size": (lambda x: cache(f, x), 1),
}


@pytest.mark.parametrize(("call", "least"), COUNTS.values(), ids=COUNTS)
def test_counts(request, call, least):
    words = request.node.callspec.id
    for value, kind in [
        (least - 1, ValueError),
        (-7, ValueError),
        (np.int32(-7), ValueError),
        (True, TypeError),
        (2.5, TypeError),
        (2.0, TypeError),
        (nan, TypeError),
        ("2", TypeError),
        ([2], TypeError),
        (np.array([1, 2]), TypeError),
        *([] if "n_items" in words else [(None, TypeError)]),
    ]:
        with pytest.raises(kind) as caught:
            call(value)
        for word in [*words.split(" "), f"at least {least}", str(value) if kind is ValueError else repr(value)]:
            assert word in str(caught.value)
    call(least)
    call(np.int16(2))


@pytest.mark.parametrize("name", [name for name in COUNTS if "n_active" not in name])
def test_counts_that_no_loop_in_c_can_count(name):
    """They are refused when it is built, or mean: very many."""
    try:
        built = COUNTS[name][0](2**64)
    except ValueError as error:
        named = str(error)
    else:
        named = name + str(list(islice(built(), 4)))
    assert all(word in named for word in name.split(" "))


NUMBERS = {
    "stochastic_mux: rate": (
        lambda x: mux(1, x),
        [1, 1.5, np.float32(2.5), np.int8(3), None],
        [0, 0.5, 0.999, -1, nan, inf, -inf, 1e10, 1e300, 10**30],
    ),
    "cache: prob": (lambda x: cache(f, 2, x), [0, 1, 0.5, np.float32(0.5), True & 0], [-0.1, 1.1, nan, inf, -inf, 2]),
}


@pytest.mark.parametrize(("call", "good", "bad"), NUMBERS.values(), ids=NUMBERS)
def test_numbers(request, call, good, bad):
    for value in good:
        call(value)
    for value in bad:
        with pytest.raises(ValueError, match=re.escape(str(value))) as caught:
            call(value)
        assert all(word in str(caught.value) for word in request.node.callspec.id.split(" "))
    for value in ["8", True, [8], 1j, np.array([1.0, 2.0]), object]:
        with pytest.raises(TypeError) as caught:
            call(value)
        assert all(word in str(caught.value) for word in request.node.callspec.id.split(" "))


CHOICES = {
    "shuffled_mux: on_exhausted": (lambda x: shuffled_mux(two, on_exhausted=x), ["restart", "drop", "stop"]),
    "stochastic_mux: mode": (lambda x: mux(mode=x), ["with_replacement", "single_active", "exhaustive"]),
    "stochastic_mux: dist": (lambda x: mux(dist=x), ["binomial", "constant", "poisson"]),
    "round_robin_mux: mode": (lambda x: round_robin_mux(two, mode=x), ["exhaustive", "cycle", "permuted_cycle"]),
    "chain_mux: mode": (lambda x: chain_mux(two, mode=x), ["exhaustive", "cycle"]),
}


@pytest.mark.parametrize(("call", "choices"), CHOICES.values(), ids=CHOICES)
def test_choices(request, call, choices):
    for value in choices:
        call(value)
    for value in ["", "nope", choices[0].upper(), f"{choices[0]} ", None, 1, True, [choices[0]], choices[0].encode()]:
        with pytest.raises((ValueError, TypeError)) as caught:
            call(value)
        for word in [*request.node.callspec.id.split(" "), repr(value), *map(repr, choices)]:
            assert word in str(caught.value)


# The rest: a call, the error, what it names

THE_REST = {
    "slots beyond memory": (
        lambda: stochastic_mux([f], 10**9, 2),
        ValueError,
        ["stochastic_mux: n_active=1000000000", "16,777,216", "fewer"],
    ),
    "a name that holds an object": (
        lambda: shuffled_mux({("a", (object(),)): f}),
        TypeError,
        ["shuffled_mux: the name ('a', (<object", "not plain"],
    ),
    "a name that holds a set": (lambda: chain_mux({("a", frozenset("ab")): f}), TypeError, ["chain_mux: the name"]),
    "a factory in the place of a function": (
        lambda: map_items(f, take(f, 1)),
        TypeError,
        ["map_items: fn=take(", "with one argument"],
    ),
    "too many slots": (
        lambda: mux(3, mode="single_active"),
        ValueError,
        ["stochastic_mux: n_active=3", "2 factories", "n_active <= 2"],
    ),
    "too many slots, once each": (
        lambda: mux(3, mode="exhaustive"),
        ValueError,
        ["stochastic_mux: n_active=3", "2 factories"],
    ),
    "a function in single_active": (
        lambda: mux(mode="single_active", weights=lambda n: [1, 1]),
        ValueError,
        ["stochastic_mux: weights", "single_active"],
    ),
    "map_items of no function": (lambda: map_items(f, "str"), TypeError, ["map_items: fn='str'", "not callable"]),
    "map_items of None": (lambda: map_items(f, None), TypeError, ["map_items: fn=None"]),
    "filter_items of no function": (
        lambda: filter_items(f, 3),
        TypeError,
        ["filter_items: predicate=3", "not callable"],
    ),
    "filter_items of None": (lambda: filter_items(f, None), TypeError, ["filter_items: predicate=None"]),
    "tuples of no keys": (lambda: tuples(f), ValueError, ["tuples: keys is empty"]),
    "tuples of a list": (lambda: tuples(f, ["X", "Y"]), TypeError, ["tuples: ", "['X', 'Y']"]),
    "keras_tuples of no keys": (
        lambda: keras_tuples(f),
        ValueError,
        ["keras_tuples: inputs and outputs are both None"],
    ),
    "keras_tuples of an empty list": (
        lambda: keras_tuples(f, []),
        ValueError,
        ["keras_tuples: inputs=[] names no key"],
    ),
    "keras_tuples of a number": (lambda: keras_tuples(f, 3), TypeError, ["keras_tuples: inputs=3"]),
    "keras_tuples of numbers": (lambda: keras_tuples(f, "X", [1]), TypeError, ["keras_tuples: outputs=[1]"]),
    "partial": (lambda: batch(f, 2, partial="yes"), TypeError, ["batch: partial='yes'"]),
    "partial of 1": (lambda: batch(f, 2, partial=1), TypeError, ["batch: partial=1"]),
    "axis": (lambda: batch(f, 2, axis="0"), TypeError, ["batch: axis='0'"]),
    "axis of a float": (lambda: batch(f, 2, axis=0.0), TypeError, ["batch: axis=0.0"]),
    "axis of a bool": (lambda: batch(f, 2, axis=True), TypeError, ["batch: axis=True"]),
    "map_items of two": (lambda: map_items(f, pair), TypeError, ["map_items: fn=pair", "one argument", "partial"]),
    "map_items of a method of two": (
        lambda: map_items(f, Shelf().between),
        TypeError,
        ["map_items: fn=<", "between", "one argument"],
    ),
    "map_items of none": (lambda: map_items(f, lambda: 1), TypeError, ["map_items: fn=<lambda", "one argument"]),
    "map_items of rng": (lambda: map_items(f, lambda x, *, rng: x), TypeError, ["map_items: fn=<lambda", "one"]),
    "filter_items of two": (lambda: filter_items(f, pair), TypeError, ["filter_items: predicate=pair"]),
    "lift of no function": (lambda: lift(3), TypeError, ["lift: fn=3", "not callable"]),
    "lift with too few": (lambda: lift(pair)(f), TypeError, ["pair(factory, /, b): ", "'b'"]),
    "lift with too many": (lambda: lift(pair)(f, 1, 2), TypeError, ["pair(factory, /, b): ", "too many"]),
    "lift with another": (lambda: lift(pair)(c=1), TypeError, ["pair(factory, /, b): "]),
    "a stage of lift with another": (lambda: curried.lift(pair)(c=1), TypeError, ["pair: ", "'c'"]),
    "lift given its rng": (lambda: lift(rough)(f, rng=1), TypeError, ["rough: rng is injected", "seed"]),
    "memoryless lift with rng": (lambda: lift(rough, memoryless=True), ValueError, ["memoryless=True", "rough", "rng"]),
    "source of no function": (lambda: source(3), TypeError, ["source: 3", "not callable"]),
    "rng by position": (lambda: source(lambda path, rng: [path]), TypeError, ["source: ", "rng", "keyword-only"]),
    "rng by position, lifted": (
        lambda: lift(jitter),
        TypeError,
        ["lift: jitter takes rng by position", "items, *, rng"],
    ),
    "a source with too few": (lambda: read(), TypeError, ["read(path)", "'path'"]),
    "a source with too many": (lambda: read(1, 2), TypeError, ["read(path)"]),
    "a source with another": (lambda: read(file=1), TypeError, ["read(path)"]),
    "a source given its rng": (lambda: noisy(1, rng=np.random.default_rng(0)), TypeError, ["noisy: rng is injected"]),
    "arguments of batch exchanged": (lambda: batch(32, f), TypeError, ["batch: factory=32", "batch(factory, …)"]),
    "arguments of take exchanged": (lambda: take(3, f), TypeError, ["take: factory=3", "take(factory, …)"]),
    "arguments of resume exchanged": (
        lambda: resume(take(f, 1)().state_dict(), take(f, 1)),
        TypeError,
        ["resume: factory={'pescador_fn'", "is a state", "resume(factory, state)"],
    ),
    "two factories for a list": (lambda: shuffled_mux(f, f), TypeError, ["factories=", "[one, other]"]),
    "many in a pipe of one": (lambda: curried.pipe(two, curried.batch(3)), TypeError, ["batch: factory=", "a mux"]),
    "label of a list": (lambda: label(two), TypeError, ["label: factories", "not a mapping"]),
    "label of one": (lambda: label(f), TypeError, ["label: factories", "not a mapping"]),
    "a stage with a misspelt option": (
        lambda: curried.shuffled_mux(weigths=[1, 1]),
        TypeError,
        ["shuffled_mux: ", "weigths"],
    ),
    "a stage with a misspelt argument": (
        lambda: curried.stochastic_mux(nactive=2, rate=3),
        TypeError,
        ["stochastic_mux: ", "'nactive'", "n_active"],
    ),
    "a stage with too few": (lambda: curried.batch(), TypeError, ["batch: ", "size"]),
    "a stage with too many": (lambda: curried.take(1, 2, 3), TypeError, ["take: ", "too many"]),
    "a stage with a mistake": (lambda: curried.batch("x")(f), TypeError, ["batch: size='x'"]),
    "a stage of many, given one": (lambda: curried.shuffled_mux()(f), TypeError, ["shuffled_mux: ", "one factory"]),
    "a stage of one, given many": (lambda: curried.batch(2)(two), TypeError, ["batch: factory="]),
}


@pytest.mark.parametrize(("call", "kind", "words"), THE_REST.values(), ids=THE_REST)
def test_the_rest(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_nothing_is_opened_to_find_a_mistake():
    def never():
        raise AssertionError("opened")

    for build in TAKES_ONE.values():
        build(never)
    with pytest.raises(ValueError, match="weights"):
        shuffled_mux([never, never], [1, -1])


# What can be known only when it runs


@pytest.mark.parametrize("name", TAKES_ONE)
@pytest.mark.parametrize("value", [5, None])
def test_a_factory_that_returns_no_iterable(name, value):
    def wrong():
        return value

    built = TAKES_ONE[name](wrong)
    stream = (built["dog"] if name == "label" else built)()
    with pytest.raises(TypeError) as caught:
        deque(stream, maxlen=0)
    assert "wrong" in str(caught.value)
    assert repr(value) in str(caught.value)
    assert "not iterable" in str(caught.value)


@pytest.mark.parametrize("value", [5, [1], iter([1])])
def test_what_a_lazy_sequence_or_a_factory_of_factories_gives(value):
    class Late(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return value

    for build in TAKES_MANY.values():
        with pytest.raises(TypeError, match=r"factories\[\d\]") as caught:
            next(build(Late())())
        assert repr(value) in str(caught.value)
    with pytest.raises(TypeError, match="chain_mux: "):
        next(chain_mux(lambda: [value])())


# Never an endless loop, also when every stream is empty. Each runs in another process, with a time limit.


def nothing():
    return iter(())


def fails():
    raise OSError("no such file")


def breaks():
    raise OSError("broken")
    yield


ENDS = {
    **{
        f"shuffled_mux {rule}, {kind}": partial(shuffled_mux, [source] * 3, weights, on_exhausted=rule)
        for rule in ("restart", "drop", "stop")
        for weights in (None, [1, 2, 0])
        for kind, source in (("nothing", nothing), ("fails", fails))
    },
    **{
        f"stochastic_mux {mode} {n_active} {rate} {weights} {source.__name__}": partial(
            stochastic_mux, [source] * 3, n_active, rate, weights=weights, mode=mode
        )
        for mode in ("with_replacement", "single_active", "exhaustive")
        for n_active in (1, 2, 3)
        for rate in (1, 2.5, None)
        for weights in (None, [1, 2, 0], [100, 1, 1])
        for source in (nothing, fails)
    },
    **{
        f"round_robin_mux {mode} {source.__name__}": partial(round_robin_mux, [source] * 3, mode=mode)
        for mode in ("exhaustive", "cycle", "permuted_cycle")
        for source in (nothing, fails)
    },
    **{
        f"chain_mux {mode} {source.__name__}": partial(chain_mux, [source] * 3, mode=mode)
        for mode in ("exhaustive", "cycle")
        for source in (nothing, fails)
    },
    "chain_mux cycle of none": partial(chain_mux, [], mode="cycle"),
    "chain_mux cycle of a factory of none": partial(chain_mux, nothing, mode="cycle"),
    "chain_mux cycle of a factory of nothing": partial(chain_mux, lambda: [nothing, nothing], mode="cycle"),
    "chain_mux cycle of a factory that fails": partial(chain_mux, fails, mode="cycle"),
    "stochastic_mux of many": partial(stochastic_mux, [nothing] * 5000, 10, 8),
    "stochastic_mux of many, single_active": partial(stochastic_mux, [nothing] * 5000, 10, 8, mode="single_active"),
    "shuffled_mux of many": partial(shuffled_mux, [nothing] * 5000),
    "shuffled_mux of muxes": lambda: shuffled_mux([shuffled_mux([nothing] * 3), stochastic_mux([nothing] * 3, 2, 4)]),
    "round_robin_mux of muxes": lambda: round_robin_mux(
        [chain_mux([nothing], mode="cycle"), cycle(nothing)], mode="cycle"
    ),
    "shuffled_mux by a function": lambda: shuffled_mux([nothing] * 2, lambda n: [1, 1]),
    "stochastic_mux by a function": lambda: stochastic_mux([nothing] * 3, 2, 4, weights=lambda n: [1, 1, 1]),
    "stochastic_mux by a function, once each": lambda: stochastic_mux(
        [nothing] * 3, 2, 4, weights=lambda n: [1, 1, 1], mode="exhaustive"
    ),
    "map_items": lambda: map_items(nothing, str),
    "filter_items": lambda: filter_items(nothing, bool),
    "take": lambda: take(cycle(nothing), 10),
    "skip": lambda: skip(cycle(nothing), 10),
    "cycle": lambda: cycle(nothing),
    "cycle of what fails": lambda: cycle(fails),
    "cycle with a count": lambda: cycle(nothing, 10**9),
    "cycle of what filter_items leaves": lambda: cycle(filter_items(range(3).__iter__, lambda x: False)),
    "cycle of what skip leaves": lambda: cycle(skip(range(3).__iter__, 3)),
    "cycle of take of none": lambda: cycle(take(range(3).__iter__, 0)),
    "cycle of batches of a short stream": lambda: cycle(batch(range(3).__iter__, 4)),
    "cycle of empty batches": lambda: cycle(unbatch([np.empty(0)].__iter__)),
    "cycle of cycle": lambda: cycle(cycle(nothing)),
    "shuffled_mux of what filter_items leaves": lambda: shuffled_mux(
        [filter_items(range(3).__iter__, lambda x: False)] * 2
    ),
    "batch": lambda: batch(cycle(nothing), 4, partial=True),
    "unbatch": lambda: unbatch(cycle(nothing)),
    "shuffle": lambda: shuffle(cycle(nothing), 10),
    "cache": lambda: cache(nothing, 3, 0),
    "cycle of cache": lambda: cycle(cache(nothing, 3, 0)),
    "tuples": lambda: tuples(cycle(nothing), "X"),
    "lift": lambda: lift(iter)(cycle(nothing)),
    "seeded": lambda: seeded(cycle(nothing), 0),
}


def drain(name):
    """Pull until the end; ``OSError`` is what a stream raised, and the next pull goes on."""
    stream = ENDS[name]()()
    for _ in range(100):
        try:
            for item in stream:
                return f"gave {item!r}"
        except OSError:
            continue
        return "ended"
    return "raised for ever"


@pytest.fixture(scope="module")
def outcomes():
    """What came of each, in as few processes as there are endless ones, plus one."""
    left, found = list(ENDS), {}
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    while left:
        run = subprocess.Popen([sys.executable, __file__, *left], stdout=subprocess.PIPE, text=True, env=env)
        try:
            lines = run.communicate(timeout=30)[0].splitlines()
        except subprocess.TimeoutExpired:
            run.kill()
            lines = run.communicate()[0].splitlines()
        for line in lines:
            name, _, outcome = line.partition("\t")
            found[name] = outcome
        hung = [name for name in left if name not in found][:1]
        found.update(dict.fromkeys(hung, "did not end"))
        left = [name for name in left if name not in found]
        if list(found.values()).count("did not end") > 3:
            break
    return found


@pytest.mark.parametrize("group", sorted({name.split()[0] for name in ENDS}))
def test_it_ends_when_every_stream_is_empty(group, outcomes):
    found = {name: outcomes.get(name, "not reached") for name in ENDS if name.split()[0] == group}
    assert found == dict.fromkeys(found, "ended")


def test_a_stream_that_always_breaks_raises_every_time():
    stream = cycle(breaks)()
    with pytest.raises(OSError, match="broken"):
        next(stream)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write(f"{name}\t{drain(name)}\n")
        sys.stdout.flush()
