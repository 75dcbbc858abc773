"""The shape: what counts as a factory, what is refused and how it is said, stages, streams, and the tools they meet."""

import ast
import collections
import copy
import functools
import inspect
import itertools
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import GeneratorType, MappingProxyType
from unittest.mock import MagicMock, Mock

import cloudpickle
import elsewhere
import more_itertools
import numpy as np
import pytest
import toolz
import toolz.curried
from strategies import ALL, ROWS, Watched, add_one, noise, numbers, pulls, third

import pescador_fn
from pescador_fn import (
    Node,
    Source,
    Stream,
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
    parallel,
    pipe,
    prefetch,
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

# What is a factory.


def three():
    yield from range(3)


def upto(n=3):
    return range(n)


class Callable:
    def __call__(self):
        return iter(range(3))

    def method(self):
        return [0, 1, 2]

    @classmethod
    def made(cls):
        return (0, 1, 2)

    @source
    def rows(self, n):
        yield from range(n)


class Proxy(Callable):
    """Has whatever it is asked for."""

    def __getattr__(self, name):
        return Proxy()


class Reader(Callable):
    """Has methods that are named as some of the library's own are."""

    described = property(lambda self: 1 / 0)

    def _open(self):
        return 1 / 0

    _begin = _start = _open


FACTORIES = {
    "lambda": lambda: range(3),
    "lambda, generator": lambda: (x for x in range(3)),
    "generator function": three,
    "function with defaults": upto,
    "partial": functools.partial(range, 3),
    "partial of a function": functools.partial(upto, 3),
    "bound __iter__": [0, 1, 2].__iter__,
    "bound method": Callable().method,
    "class method": Callable.made,
    "callable object": Callable(),
    "class": type("Three", (list,), {"__init__": lambda self: list.__init__(self, range(3))}),
    "source": numbers(0, 3),
    "proxy": Proxy(),
    "mock": Mock(side_effect=lambda: iter(range(3))),
    "magic mock": MagicMock(return_value=[0, 1, 2]),
    "methods of other kinds": Reader(),
    "source, method": Callable().rows(3),
    "node": take(numbers(0, 9), 3),
    "array": np.arange(3).__iter__,
    "file-like": lambda: map(int, ["0", "1", "2"]),
    "a factory that calls a factory": lambda: take(numbers(0, 9), 3)(),
}


@pytest.mark.parametrize("kind", FACTORIES)
def test_any_callable_that_returns_an_iterable_is_a_factory(kind):
    factory = FACTORIES[kind]
    assert list(take(factory, 5)()) == [0, 1, 2]
    assert list(chain_mux([factory, factory])()) == [0, 1, 2] * 2
    assert list(shuffled_mux({"a": factory}, on_exhausted="drop")()) == [0, 1, 2]
    assert list(stochastic_mux([factory], 1, None, mode="exhaustive")()) == [0, 1, 2]
    for pipeline in (skip(factory, 1), skip(chain_mux([factory]), 1), skip(prefetch(factory, 2), 1)):
        with pipeline() as stream:
            assert next(stream) == 1
            state = stream.state_dict()
        assert list(resume(pipeline, state)()) == [2]


def needs(path):
    yield path


def needs_key(*, path):
    yield path


REFUSED = {
    "generator": (three(), ["is an iterator", "read once", "without calling it"]),
    "iterator": (iter([1]), ["is an iterator", "read once"]),
    "stream": (take(three, 2)(), ["a running stream", "read once", "pass the factory"]),
    "list": ([1, 2], ["is an iterable", "__iter__"]),
    "range": (range(3), ["is an iterable", "__iter__"]),
    "uncalled source": (numbers, ["the source numbers", "without its arguments", r"numbers\("]),
    "function with arguments": (needs, ["needs", "needs arguments", "partial"]),
    "function with keywords": (needs_key, ["needs_key", "needs arguments", "partial"]),
    "number": (3, ["=3", "not a factory"]),
    "none": (None, ["None", "not a factory"]),
}

STAGES = {
    "map_items": lambda factory: map_items(factory, add_one),
    "filter_items": lambda factory: filter_items(factory, third),
    "take": lambda factory: take(factory, 2),
    "skip": lambda factory: skip(factory, 2),
    "cycle": cycle,
    "tuples": lambda factory: tuples(factory, "x"),
    "keras_tuples": lambda factory: keras_tuples(factory, "x"),
    "batch": lambda factory: batch(factory, 2),
    "unbatch": unbatch,
    "shuffle": lambda factory: shuffle(factory, 2),
    "cache": lambda factory: cache(factory, 2),
    "seeded": lambda factory: seeded(factory, 2),
    "parallel": parallel,
    "prefetch": lambda factory: prefetch(factory, 2),
    "doubled": lambda factory: lift(doubled)(factory),
}
TAKE_MANY = {
    "shuffled_mux": lambda factory: shuffled_mux([three, factory]),
    "stochastic_mux": lambda factory: stochastic_mux([three, factory], 1, 2),
    "round_robin_mux": lambda factory: round_robin_mux([three, factory]),
    "chain_mux": lambda factory: chain_mux([three, factory]),
    "label": lambda factory: label({0: three, 1: factory}),
}


def doubled(items):
    return (2 * x for x in items)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", STAGES | TAKE_MANY)
def test_what_is_not_a_factory_is_refused_when_built(name, kind):
    value, words = REFUSED[kind]
    with pytest.raises(TypeError, match=f"^{name}: ") as raised:
        (STAGES | TAKE_MANY)[name](value)
    for word in words:
        raised.match(word)
    if name in TAKE_MANY:
        raised.match(r"factories\[1\]")


@pytest.mark.parametrize("mux", [shuffled_mux, lambda fs: stochastic_mux(fs, 1, 2), round_robin_mux])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (three, ["one factory", r"\[factory\]"]),
        (numbers(0, 3), ["one factory"]),
        (take(three, 2), ["one factory"]),
        ((f for f in [three]), ["not a list"]),
        ({three}, ["not a list"]),
        ("ab", ["not a list"]),
        (3, ["not a list"]),
    ],
    ids=["factory", "source", "node", "generator", "set", "string", "number"],
)
def test_one_in_place_of_many_is_refused(mux, value, words):
    with pytest.raises(TypeError, match="factories") as raised:
        mux(value)
    for word in words:
        raised.match(word)


@pytest.mark.parametrize("mux", [shuffled_mux, lambda fs: stochastic_mux(fs, 1, 2), round_robin_mux])
@pytest.mark.parametrize("none", [[], (), {}, np.array([])], ids=repr)
def test_no_factories_are_refused(mux, none):
    with pytest.raises(ValueError, match="factories is empty; give at least one"):
        mux(none)


@pytest.mark.parametrize("many", [list, tuple, np.array, lambda fs: dict(zip("ab", fs, strict=True))])
def test_many_come_in_any_collection(many):
    assert list(round_robin_mux(many([numbers(0, 2), numbers(1, 2)]))()) == [0, 1000, 1, 1001]


def test_a_page_that_is_no_factory_is_refused_when_it_is_reached():
    stream = chain_mux(lambda: [three, [4]])()
    assert pulls(stream, 3) == [0, 1, 2]
    with pytest.raises(TypeError, match=r"chain_mux: factories\[1\]=\[4\] is an iterable"):
        next(stream)


class Lazy(Sequence):
    """Many factories that are made when they are asked for; listing them is an error."""

    def __init__(self, n):
        self.n = n
        self.asked = []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not isinstance(index, int):
            raise TypeError("only one at a time")
        self.asked.append(index)
        return numbers(index, 20)

    def __iter__(self):
        raise AssertionError("a lazy sequence is indexed, never listed")

    __contains__ = __reversed__ = index = count = None


LAZY = {
    "shuffled_mux": shuffled_mux,
    "shuffled_mux, drop": lambda fs: shuffled_mux(fs, on_exhausted="drop"),
    "with_replacement": lambda fs: stochastic_mux(fs, 10, 4),
    "single_active": lambda fs: stochastic_mux(fs, 10, 4, mode="single_active"),
    "exhaustive": lambda fs: stochastic_mux(fs, 10, 4, mode="exhaustive"),
    "round_robin_mux": round_robin_mux,
    "chain_mux": chain_mux,
    "chain_mux, cycle": lambda fs: chain_mux(fs, mode="cycle"),
}


@pytest.mark.parametrize("name", LAZY)
def test_a_million_factories_are_only_indexed(name, within_seconds):
    factories = Lazy(1_000_000)
    built = LAZY[name](factories)
    assert factories.asked == []
    stream = built()
    assert len(pulls(stream, 100)) == 100
    assert len(factories.asked) <= 100
    stream.close()


# Sources.


def test_a_source_binds_when_called_and_runs_when_opened():
    ran = []

    @source
    def rows(path, n=2, *rest, scale=1, **more):
        ran.append((path, n, rest, scale, more))
        yield from range(n)

    factory = rows("a", 3, 4, scale=5, x=6)
    assert ran == []
    stream = factory()
    assert ran == []
    assert list(stream) == [0, 1, 2]
    assert ran == [("a", 3, (4,), 5, {"x": 6})]
    assert list(factory()) == [0, 1, 2]


@source
def plain(path, n=2):
    """Rows of a file."""
    yield from range(n)


@source
def random_rows(path, *, rng):
    yield path, int(rng.integers(9))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plain(), ["plain", "path"]),
        (lambda: plain(1, 2, 3), ["plain", "too many positional"]),
        (lambda: plain("a", m=3), ["plain", "m"]),
        (lambda: plain("a", path="b"), ["plain", "path"]),
        (lambda: random_rows(), ["random_rows", "path"]),
        (lambda: random_rows("a", 3), ["random_rows", "too many positional"]),
        (lambda: random_rows("a", rng=np.random.default_rng()), ["random_rows", "rng is injected"]),
        (lambda: source(lambda path, rng: path), ["rng", "keyword-only"]),
        (lambda: source(3), ["source: 3 is not callable"]),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(call, words):
    with pytest.raises(TypeError) as raised:
        call()
    for word in words:
        raised.match(word)


def test_a_source_looks_like_its_function():
    assert plain.__name__ == "plain"
    assert plain.__doc__ == "Rows of a file."
    assert str(inspect.signature(plain)) == "(path, n=2)"
    assert repr(plain("a", n=3)) == "plain('a', n=3)"
    assert isinstance(plain("a"), Source)


def test_sources_compare_by_value():
    assert plain("a") == plain("a")
    assert hash(plain("a")) == hash(plain("a"))
    assert plain("a") != plain("b")
    assert plain("a") != random_rows("a")
    assert plain("a") != 3
    assert plain("a", 3) == plain("a", n=3) == plain(n=3, path="a") != plain("a", n=4)
    assert hash(plain("a", 3)) == hash(plain(n=3, path="a"))
    assert random_rows("a") == random_rows(path="a")
    table = [np.arange(2), np.arange(3)]  # which numpy does not compare
    assert plain(table) == plain(table) != plain([array.copy() for array in table])
    x = np.arange(3)
    assert plain(x) == plain(np.arange(3)) != plain(np.arange(4))
    for name in ("args", "seed"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(plain("a"), name, 3)


def test_a_source_without_a_path_travels_by_value():
    factor = 3

    @source
    def local(n):
        for x in range(n):
            yield factor * x

    for module in (pickle, cloudpickle):
        there = module.loads(module.dumps(take(local(4), 3)))
        assert list(there()) == [0, 3, 6]
    assert pickle.loads(pickle.dumps(plain("a"))) == plain("a")
    assert b"yield" not in pickle.dumps(plain("a"))
    assert pickle.loads(pickle.dumps(plain)) is plain


@pytest.mark.parametrize(
    ("built", "kept"),
    [
        (plain(n=2, path="a"), lambda node: node.kwargs),
        (plain("a"), lambda node: node.kwargs),
        (lift(more_itertools.windowed)(numbers(0, 5), n=2), lambda node: node.options["**options"]),
    ],
    ids=["a source", "a source without any", "lifted"],
)
def test_options_by_name_are_immutable(built, kept):
    with pytest.raises(TypeError):
        kept(built)["n"] = 4
    for one in (pickle.loads(pickle.dumps(built)), cloudpickle.loads(cloudpickle.dumps(built)), copy.deepcopy(built)):
        assert (one, repr(one)) == (built, repr(built))
        assert hash(one) == hash(built)
        assert list(one()) == list(built())
        assert type(kept(one)) is MappingProxyType


def test_a_list_of_any_kind_is_copied():
    for kind in (list, collections.UserList, collections.deque):
        given = kind([[1].__iter__, [2].__iter__])
        mux = chain_mux(given)
        given.clear()
        assert list(mux()) == [1, 2]


def test_names_of_numpy_are_plain_names():
    """As `numpy.unique` gives them."""
    data = {2: [1].__iter__, 5: [2].__iter__, "a": [3].__iter__}
    ours = dict(zip([np.int64(2), np.int8(5), np.str_("a")], data.values(), strict=True))
    weights = dict(zip(ours, [1, 2, 3], strict=True))
    assert shuffled_mux(ours, weights, seed=0) == shuffled_mux(data, [1, 2, 3], seed=0)
    assert repr(shuffled_mux(ours)) == repr(shuffled_mux(data))
    for mux in (shuffled_mux(ours, weights, seed=0), shuffled_mux(MappingProxyType(ours), weights, seed=0)):
        assert list(take(mux, 9)()) == list(take(shuffled_mux(data, [1, 2, 3], seed=0), 9)())
    lazy = collections.ChainMap(ours)
    assert sorted(chain_mux(lazy)()) == [1, 2, 3]


# Hashes.

MANY = {
    "sources": lambda k: plain(f"{k}.npy"),
    "sources by name": lambda k: plain("a", n=k),
    "stages over sources": lambda k: take(plain(k), 2),
    "options": lambda k: take(plain(0), k),
    "muxes": lambda k: shuffled_mux([plain(k), plain(0)]),
    "names": lambda k: shuffled_mux({f"{k}": plain(0)}),
    "stages": lambda k: curried.take(k),
}


@pytest.mark.parametrize("make", MANY.values(), ids=MANY)
def test_thousands_go_into_a_set(make, within_seconds):
    """At a cost that grows with their number, and not with its square: their hashes differ."""
    found = set(map(make, range(10_000)))
    assert len(found) == 10_000
    assert len(set(map(hash, found))) > 9_900
    assert make(3) in found


class Plain:
    """Compares by value, and has no hash."""

    def __eq__(self, other):
        return isinstance(other, Plain)

    __hash__ = None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (2.0, np.int64(2)),
        (np.arange(3), np.arange(3.0)),
        ({1, 2}, frozenset({2, 1})),
        (b"a", bytearray(b"a")),
        ({"a": [1], "b": 2}, {"b": 2, "a": [1]}),
        ([{"a": {1}}], [{"a": frozenset({1})}]),
        (Plain(), Plain()),
        (slice(1), slice(1)),
    ],
    ids=repr,
)
def test_what_is_equal_has_one_hash(one, other):
    assert plain(one) == plain(other)
    assert hash(plain(one)) == hash(plain(other))
    assert hash(take(plain(one), 1)) == hash(take(plain(other), 1))


# Nodes.


@pytest.mark.parametrize("width", [1, 4, 7])
def test_a_hash_looks_at_every_part_once(width, within_seconds):
    """However many ways lead to a part: at each of sixty levels all are of the level below."""

    def nested(n):
        factory = numbers(0, n)
        for _ in range(60):
            factory = shuffled_mux([factory] * width)
        return factory

    assert hash(nested(3)) == hash(nested(3))
    assert len({*map(nested, range(20))}) == 20


def test_what_does_not_hash_does_not_hash_again():
    node = take(numbers(0, 3), 2)
    object.__setattr__(node, "build", Plain())
    for _ in range(2):
        with pytest.raises(TypeError, match="unhashable"):
            hash(node)


@pytest.mark.parametrize("name", ALL)
def test_every_combinator_returns_a_node(name):
    row = ROWS[name]
    built = row.build([numbers(k, 3) for k in range(row.n)])
    assert isinstance(built, Node)
    assert isinstance(built(), Stream)


def test_nodes_compare_by_value():
    a, b = numbers(0, 3), numbers(1, 3)
    equal = [
        lambda: take(a, 3),
        lambda: shuffled_mux([a, b], [1, 2], seed=3),
        lambda: shuffled_mux({"a": a, "b": b}, {"b": 2, "a": 1}),
        lambda: keras_tuples(a, ["x"], "y"),
        lambda: label({"a": a})["a"],
        lambda: lift(toolz.unique)(a, key=len),
        lambda: map_items(a, add_one),
    ]
    for k, one in enumerate(equal):
        assert one() == one()
        assert hash(one()) == hash(one())
        assert [other() == one() for other in equal].count(True) == 1, k
    different = [
        (take(a, 3), take(a, 2)),
        (take(a, 3), take(b, 3)),
        (take(a, 3), skip(a, 3)),
        (take(a, 3), 3),
        (shuffled_mux([a, b], seed=1), shuffled_mux([a, b], seed=2)),
        (shuffled_mux([a, b]), shuffled_mux([b, a])),
        (shuffled_mux([a, b]), shuffled_mux({0: a, 1: b})),
        (shuffled_mux({"a": a, "b": b}), shuffled_mux({"b": b, "a": a})),  # equal dicts, another order
        (shuffled_mux([a, b], [1, 2]), shuffled_mux([a, b], [2, 1])),
        (map_items(a, lambda x: x), map_items(a, lambda x: x)),
    ]
    for one, other in different:
        assert one != other
    fn = lambda x: x  # noqa: E731
    assert map_items(a, fn) == map_items(a, fn)
    assert len({take(a, 3), take(a, 3), take(a, 2)}) == 2


@pytest.mark.parametrize(
    ("built", "text"),
    [
        (take(numbers(0, 3), 2), "take(numbers(0, 3), 2)"),
        (batch(numbers(0, 3), 2, partial=True), "batch(numbers(0, 3), 2, partial=True)"),
        (shuffle(numbers(0, 3), 9, seed=1), "shuffle(numbers(0, 3), 9, seed=1)"),
        (shuffled_mux({"a": numbers(0, 3)}, [2]), "shuffled_mux({'a': numbers(0, 3)}, weights=[2])"),
        (tuples(numbers(0, 3), "x", "y"), "tuples(numbers(0, 3), 'x', 'y')"),
        (map_items(three, add_one), "map_items(three, add_one)"),
        (cycle(functools.partial(upto, n=3)), "cycle(partial(upto, n=3))"),
        (lift(toolz.unique)(numbers(0, 3)), "lift(unique)(numbers(0, 3))"),
    ],
)
def test_a_node_prints_as_its_call(built, text):
    assert repr(built) == text


def test_long_expressions_fold():
    parts = [numbers(k, 3) for k in range(1000)]
    text = repr(take(shuffle(shuffled_mux(parts, seed=1), 100, seed=2), 10))
    assert "997 more" in text
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("\n") < 20
    assert " at 0x" not in repr(map_items(Callable(), lambda x: x))


# Streams.


def test_a_stream_is_a_single_pass_iterator():
    built = take(numbers(0, 9), 3)
    stream = built()
    assert isinstance(stream, Stream)
    assert isinstance(stream, Iterator)
    assert not isinstance(stream, GeneratorType)
    assert iter(stream) is stream
    assert next(stream) == 0
    assert list(stream) == [1, 2]
    assert list(stream) == []
    assert next(stream, None) is None
    assert list(built()) == [0, 1, 2]
    assert isinstance(numbers(0, 3)(), Stream)


def test_a_stream_prints_and_refuses_to_be_copied():
    stream = take(numbers(0, 9), 3)()
    assert "open" in repr(stream)
    assert "take(numbers(0, 9), 3)" in repr(stream)
    stream.close()
    assert "closed" in repr(stream)
    for refuse in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="pass its factory"):
            refuse(take(numbers(0, 9), 3)())


def test_a_stream_cannot_be_made_by_hand():
    with pytest.raises(TypeError):
        Stream(three)


# Stages and `curried`.

PUBLIC = {name: getattr(pescador_fn, name) for name in pescador_fn.__all__}
COMBINATORS = {
    name: function
    for name, function in PUBLIC.items()
    if inspect.isfunction(function)
    and next(iter(inspect.signature(function).parameters), None) in ("factory", "factories")
}


def test_the_public_names_are_these():
    assert set(pescador_fn.__all__) >= {
        *("Factory", "Stream", "source", "lift", "pipe", "seeded", "label"),
        *("shuffled_mux", "stochastic_mux", "round_robin_mux", "chain_mux"),
        *("map_items", "filter_items", "take", "skip", "cycle", "tuples", "keras_tuples"),
        *("batch", "unbatch", "shuffle", "cache"),
        *("parallel", "prefetch", "shutdown", "WorkerError", "WorkerDied"),
    }
    assert all(function.__doc__ for function in PUBLIC.values() if inspect.isfunction(function))


def test_every_combinator_is_curried():
    assert set(COMBINATORS) >= {row.function.__name__ for row in ROWS.values()} & set(PUBLIC)
    assert set(curried.__all__) == {*COMBINATORS, "lift", "pipe", "stage"}


@pytest.mark.parametrize("name", COMBINATORS)
def test_a_stage_maker_has_the_parameters_but_the_first(name):
    function, maker = COMBINATORS[name], getattr(curried, name)
    _, *rest = inspect.signature(function).parameters.values()
    assert list(inspect.signature(maker).parameters.values()) == rest
    assert maker.__name__ == name
    assert maker.__module__ == "pescador_fn.curried"
    assert "Args:" in maker.__doc__
    assert "Args:" in function.__doc__


def test_help_shows_the_real_options(capsys):
    help(curried.stochastic_mux)
    text = capsys.readouterr().out
    for word in ("n_active", "single_active", "weights", "seed"):
        assert word in text
    help(curried.batch(3))
    text = capsys.readouterr().out
    for word in ("batch(3)", "factory", "partial", "stacked"):
        assert word in text
    assert "\n    Group " in text
    help(curried.batch)
    assert "\n    Group " in capsys.readouterr().out, "as far to the right as the line before it"


def test_a_stage_prints_and_shows_its_signature():
    stage = curried.stochastic_mux(3, rate=8, weights=[1, 2, 3], seed=0)
    assert repr(stage) == "stochastic_mux(3, rate=8, weights=[1, 2, 3], seed=0)"
    assert list(inspect.signature(stage).parameters) == ["factories"]
    assert list(inspect.signature(curried.batch(2)).parameters) == ["factory"]
    assert list(inspect.signature(curried.label()).parameters) == ["factories"]
    assert repr(curried.lift(doubled)()) == "lift(doubled)()"


def test_stages_are_values():
    one, other = curried.batch(3, axis=0), curried.batch(3, axis=0)
    assert one == other
    assert hash(one) == hash(other)
    assert one != curried.batch(4, axis=0) != 3
    assert pickle.loads(pickle.dumps(one)) == one
    assert cloudpickle.loads(cloudpickle.dumps(one))(numbers(0, 3)) == batch(numbers(0, 3), 3, axis=0)
    with pytest.raises(AttributeError, match="immutable"):
        one.args = ()
    weights = np.array([1.0, 2.0])
    assert curried.shuffled_mux(weights) == curried.shuffled_mux(np.array([1.0, 2.0]))


def test_stages_are_equal_however_they_were_given_their_arguments():
    equal = [
        (curried.take(n=3), curried.take(3)),
        (curried.batch(3), curried.batch(size=3, partial=False, axis=None)),
        (curried.stochastic_mux(2, None, seed=None), curried.stochastic_mux(rate=None, n_active=2)),
        (curried.tuples("a", "b"), curried.tuples("a", "b")),
        (curried.lift(toolz.unique)(key=len), curried.lift(toolz.unique)(len)),
    ]
    for one, other in equal:
        assert one == other
        assert hash(one) == hash(other)
    assert curried.tuples("a", "b") != curried.tuples("b", "a")
    assert curried.shuffled_mux([1, 2]) != curried.shuffled_mux([2, 1])


def test_a_stage_keeps_what_it_was_given():
    weights, keys, names = [1, 1], ["x"], {"a": 1, "b": 2}
    array = np.ones(2)
    made = [curried.shuffled_mux(given) for given in (weights, array, names)] + [curried.keras_tuples(keys)]
    before = [repr(stage) for stage in made]
    weights[1] = array[1] = names["b"] = 0
    keys.append("y")
    assert [repr(stage) for stage in made] == before
    with pytest.raises(TypeError):
        curried.batch(3, partial=True).kwargs["partial"] = False


@pytest.mark.parametrize(
    "call",
    [
        lambda: curried.batch(),
        lambda: curried.batch(3, 4, 5),
        lambda: curried.batch(sise=3),
        lambda: curried.shuffled_mux(weigths=[1]),
        lambda: curried.stochastic_mux(n_active=3),
        lambda: curried.unbatch(3),
    ],
)
def test_arguments_of_a_stage_are_checked_where_it_is_made(call):
    with pytest.raises(TypeError, match=r"(batch|mux).*: .*argument"):
        call()


def test_a_type_error_in_the_body_is_no_partial():
    with pytest.raises(TypeError, match="batch"):
        curried.batch("x")(numbers(0, 3))


def test_stage_makes_makers():
    def repeated(factory, n, *, times=1):
        return chain_mux([take(factory, n)] * times)

    maker = curried.stage(repeated)
    assert str(inspect.signature(maker)).startswith("(n, *, times=1)")
    assert list(maker(2, times=2)(numbers(0, 9))()) == [0, 1, 0, 1]


# With other tools.

EXPECTED = [[0, 2], [4, 6]]
as_list = curried.map_items(lambda x: x.tolist())


def test_pipes():
    double = curried.map_items(lambda x: 2 * x)
    stages = [curried.filter_items(lambda x: x >= 0), double, curried.take(4), curried.batch(2), as_list]
    for run in (pipe, curried.pipe, toolz.pipe, toolz.curried.pipe):
        assert list(run(numbers(0, 9), *stages)()) == EXPECTED
    assert list(toolz.compose(*reversed(stages))(numbers(0, 9))()) == EXPECTED
    assert list(toolz.compose_left(*stages)(numbers(0, 9))()) == EXPECTED
    assert list(functools.reduce(lambda factory, stage: stage(factory), stages, numbers(0, 9))()) == EXPECTED
    threaded = toolz.thread_first(numbers(0, 9), (map_items, lambda x: 2 * x), (take, 4), (batch, 2), as_list)
    assert list(threaded()) == EXPECTED
    assert pipe(3) == 3


def test_partial_and_toolz_curry():
    first_two = functools.partial(take, n=2)
    assert list(first_two(numbers(0, 9))()) == [0, 1]
    assert list(toolz.curry(take)(numbers(0, 9))(2)()) == [0, 1]
    assert list(toolz.curry(take, n=2)(numbers(0, 9))()) == [0, 1]
    both = toolz.juxt(curried.take(1), curried.skip(1))
    assert [list(factory()) for factory in both(numbers(0, 3))] == [[0], [1, 2]]
    assert list(map(curried.take(1), [numbers(0, 3)])) == [take(numbers(0, 3), 1)]


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (lambda f: lift(toolz.unique)(f), [1, 2, 3]),
        (lambda f: pipe(f, lift(toolz.unique)()), [1, 2, 3]),
        (lambda f: pipe(f, curried.lift(toolz.unique)()), [1, 2, 3]),
        (lambda f: pipe(f, lift(more_itertools.chunked)(n=2)), [[1, 2], [2, 3], [1]]),
        (lambda f: pipe(f, curried.lift(more_itertools.chunked)(2)), [[1, 2], [2, 3], [1]]),
        (lambda f: lift(more_itertools.chunked)(f, 2), [[1, 2], [2, 3], [1]]),
        (lambda f: lift(functools.partial(map, str))(f), ["1", "2", "2", "3", "1"]),
        (lambda f: lift(sorted)(f, reverse=True), [3, 2, 2, 1, 1]),
        (lambda f: lift(enumerate)(f, start=1), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 1)]),
    ],
)
def test_lift(build, found):
    built = build([1, 2, 2, 3, 1].__iter__)
    assert list(built()) == found
    assert list(built()) == found
    assert pickle.loads(pickle.dumps(lift(toolz.unique))) == lift(toolz.unique)


def test_a_lifted_function_runs_at_the_first_pull():
    below = Watched(range(3))
    stream = lift(sorted)(below)()
    assert below.called == 0
    assert next(stream) == 0
    with pytest.raises(TypeError, match="lift: fn=3 is not callable"):
        lift(3)


def test_what_lift_decorates_is_known_by_its_name():
    """As a function is: it pickles by its path and prints as it is called."""
    made = elsewhere.scaled(numbers(0, 3), 2)
    assert repr(made) == "scaled(numbers(0, 3), 2)"
    assert pickle.loads(pickle.dumps(made)) == made
    assert pickle.loads(pickle.dumps(elsewhere.scaled)) is elsewhere.scaled
    assert str(inspect.signature(elsewhere.scaled)) == "(factory, /, by)"

    @lift
    def local(items):
        return items

    made = local(numbers(0, 3))
    assert repr(made) == "lift(local)(numbers(0, 3))"
    assert list(pickle.loads(cloudpickle.dumps(made))()) == [0, 1, 2]


@pytest.mark.parametrize("kind", [itertools.accumulate, enumerate, zip, collections.deque, set])
def test_classes_are_lifted_and_travel(kind):
    made = lift(kind)([1, 2, 3].__iter__)
    assert list(map(str, pickle.loads(pickle.dumps(made))())) == list(map(str, made()))
    assert pickle.loads(pickle.dumps(lift(kind))) == lift(kind)


def test_what_lift_decorates_in_a_function_travels_in_a_plain_pickle():
    @lift
    def tripled(items):
        return (3 * item for item in items)

    made = tripled(numbers(0, 3))
    assert list(pickle.loads(pickle.dumps(made))()) == [0, 3, 6]
    assert copy.deepcopy(made) == made


@pytest.mark.parametrize("kind", [range, itertools.repeat, itertools.count, functools.partial(range, 1)])
def test_functions_of_which_nothing_is_known_are_sources(kind):
    made = source(kind)(4)
    assert list(take(made, 2)()) == list(itertools.islice(kind(4), 2))
    if not isinstance(kind, functools.partial):
        assert pickle.loads(pickle.dumps(made)) == made


def test_what_lift_decorates_may_call_itself():
    @lift
    def flat(items):
        for item in items:
            yield from flat(item.__iter__)() if isinstance(item, list) else [item]

    made = flat([1, [2, [3]], 4].__iter__)
    assert list(made()) == [1, 2, 3, 4]
    assert list(pickle.loads(cloudpickle.dumps(made))()) == [1, 2, 3, 4]


def narrow(items):
    return items


@functools.wraps(narrow)
def wider(items, times=2):
    return (times * item for item in items)


def odd_names(items, factory, *, rng):
    return (item * factory + rng.integers(1) for item in items)


def given_rng(items, rng):
    return (item + rng for item in items)


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (lambda f: lift(wider)(f, times=3), [0, 3, 6]),
        (lambda f: lift(wider)(f, 3), [0, 3, 6]),
        (lambda f: lift(odd_names)(f, 3), [0, 3, 6]),
        (lambda f: lift(functools.partial(given_rng, rng=3))(f), [3, 4, 5]),
        (lambda f: lift(zip)(f), [(0,), (1,), (2,)]),
    ],
)
def test_lift_takes_what_the_function_takes(build, found):
    assert list(build(range(3).__iter__)()) == found


def test_label():
    named = label({"a": numbers(0, 2), 7: numbers(1, 1)})
    assert list(named) == ["a", 7]
    assert list(chain_mux(named)()) == [("a", 0), ("a", 1), (7, 1000)]
    assert pipe({"a": three}, curried.label()) == label({"a": three})
    with pytest.raises(TypeError, match=r"label: factories=.* is not a mapping"):
        label([three])


def test_seeded():
    built = seeded(noise(0, 3), 3)
    assert list(built()) == list(built())
    assert list(built()) != list(seeded(noise(0, 3), 4)())
    assert list(seeded(noise(0, 3), None)()) != list(seeded(noise(0, 3), None)())


# The house.


def test_every_module_imports_downwards():
    """What a module imports of the package does not import it."""
    root = Path(pescador_fn.__file__).parent
    files = {f"pescador_fn.{path.stem}": path for path in root.glob("[!_]*.py")}
    files |= {f"pescador_fn.engines.{path.stem}": path for path in root.glob("engines/[!_]*.py")}
    files["pescador_fn.engines"] = root / "engines" / "__init__.py"
    uses = {}
    for name, path in files.items():
        uses[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                uses[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & set(files)
            elif isinstance(node, ast.Import):
                uses[name] |= {alias.name for alias in node.names} & set(files)
    names = list(files)
    done = set()
    while len(done) < len(names):
        free = {name for name in names if name not in done and uses[name] - {name} <= done}
        assert free, f"a circle of imports among {sorted(set(names) - done)}"
        done |= free


def test_importing_brings_in_no_extra():
    code = "import sys, numpy; before = set(sys.modules); import pescador_fn; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    brought = set(done.stdout.split())
    assert "pescador_fn" in brought
    assert not {"numpy.random", "_hashlib"} & brought, "together they take longer to import than all that is ours"
    extras = {"zmq", "torch", "pandas", "scipy", "matplotlib", "cloudpickle"}
    assert not extras & {name.partition(".")[0] for name in brought}


def test_a_source_of_what_has_no_name():
    def upto(n, *, step=1):
        yield from range(0, n, step)

    evens = source(functools.partial(upto, step=2))(5)
    assert list(evens()) == [0, 2, 4]
    assert "upto" in repr(evens)
    assert list(cloudpickle.loads(cloudpickle.dumps(evens))()) == [0, 2, 4]
