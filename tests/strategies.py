"""Streams and pipelines to test with: factories that keep a record, a row for every combinator, trees of rows.

A ``Tree`` is a pipeline on paper, such as ``Tree("take", [Tree("chain_mux", [2, 0, None])])``: a row's name and its
branches, down to leaves. A leaf is the length of a stream, ``None`` where it is endless, or ``Raises(after)``. ``grow``
builds the pipeline, with leaves of the test's choosing. Items are integers all the way, so that every row takes any
other's items: leaf ``k`` gives ``1000 * k``, ``1000 * k + 1``, ….
"""

import itertools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

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
    parallel,
    prefetch,
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

ENDLESS = 1000


class Fault(Exception):  # noqa: N818, it is what the tests call it
    """What a user's stream raises."""


# Leaves.


@source
def numbers(k, length):
    """The items of leaf ``k``."""
    yield from ints(k, length)


@source
def noise(k, length, *, rng):
    """Leaf ``k`` with random items."""
    for x in ints(k, length):
        yield x + int(rng.integers(2**40)) * 10**6


def ints(k, length):
    return range(ENDLESS * k, ENDLESS * (k + 1) if length is None else ENDLESS * k + length)


class Watched:
    """A factory that keeps a record of what is done to it."""

    def __init__(self, items):
        self.items = items
        self.called = self.opened = self.closed = self.pulled = 0

    def __call__(self):
        self.called += 1
        return self.run(self.called - 1)

    def run(self, activation):
        self.opened += 1
        try:
            for item in self.items:
                self.pulled += 1
                yield self.give(item, activation)
        finally:
            self.closed += 1

    def give(self, item, activation):
        return item

    @property
    def open(self):
        return self.opened - self.closed

    @classmethod
    def leaves(cls, *args):
        """A leaf for ``grow``, and the list in which it puts what it makes."""
        made = []

        def leaf(k, length):
            made.append(cls(ints(k, length), *args))
            return made[-1]

        return leaf, made


class Raises(NamedTuple):
    """A leaf that raises after some items; ``how`` is "generator", "iterator" (which could go on) or "opening"."""

    after: int
    how: str = "generator"


@source
def jumping(k, length, *, start=0):
    """The items of leaf ``k``, from any on."""
    yield from ints(k, length)[start:]


@source
def failing(k, after):
    """Leaf ``k``, which raises after some items."""
    yield from ints(k, after)
    raise Fault(k)


class FailsOnce:
    """The same by an iterator that could go on."""

    def __init__(self, k, after):
        self.items = iter(ints(k, None))
        self.left = after

    def __iter__(self):
        return self

    def __next__(self):
        self.left -= 1
        if self.left == -1:
            raise Fault(self.left)
        return next(self.items)


class Iterates(NamedTuple):
    """A factory of iterators that are no generators."""

    kind: Callable[..., Any]
    k: int
    length: int | None

    def __call__(self):
        return self.kind(self.k, self.length)


def closed_door():
    raise Fault("opening")


def all_sorts(k, spec):
    """A leaf of one of the sorts that a state knows, and that a module can import."""
    if isinstance(spec, Raises):
        return {"generator": failing(k, spec.after), "iterator": Iterates(FailsOnce, k, spec.after)}.get(
            spec.how, closed_door
        )
    return (numbers, noise, jumping)[k % 3](k, spec) if k % 4 else Iterates(ints, k, spec)


# What the rows apply to items.


def add_one(x):
    return x + 1


def third(x):
    return x % 3


def row(x):
    return {"x": x, "y": -x}


def pair(x):
    return np.array([x, x + 1])


def total(x):
    return int(np.sum(x))


def first(x):
    return int(x[0])


def second(x):
    return x[1]


def doubled(items):
    for item in items:
        yield item
        yield item


def fading(draw):
    """A curriculum."""
    return [3.0, 2.0, 1.0 / (1 + draw)]


# Rows.


class Row(NamedTuple):
    """A combinator and its arguments after the data; ``before`` and ``after`` turn integers into its items and back."""

    name: str
    function: Callable[..., Any]
    args: tuple = ()
    options: dict = {}  # noqa: RUF012, a NamedTuple has no factories; nothing changes it
    n: int = 1
    before: Callable[[Any], Any] | None = None
    after: Callable[[Any], Any] | None = None

    def build(self, factories, function=None):
        """The row's pipeline over ``n`` factories, in a list for those that take many."""
        if self.before:
            factories = [map_items(factory, self.before) for factory in factories]
        data = factories if self.n > 1 else factories[0]
        made = (function or self.function)(data, *self.args, **self.options)
        return map_items(made, self.after) if self.after else made

    def build_curried(self, factories):
        """The same, by a stage."""
        maker = getattr(curried, self.function.__name__)
        return self.build(factories, lambda data, *args, **options: maker(*args, **options)(data))


def labelled(factories):
    return round_robin_mux(label(dict(zip("abc", factories, strict=True))))


@source
def pages(*factories):
    yield from factories


def chained_lazily(factories):
    return chain_mux(pages(*factories))


def filtered(factory):
    """Over finite streams only, or it may look for an item for ever."""
    return filter_items(take(factory, 30), third)


def lifted(factory):
    return lift(doubled)(factory)


@lift
def stutter(items, most, *, rng):
    """Each item once, or more often, at random."""
    for item in items:
        yield from itertools.repeat(item, int(rng.integers(1, most)))


def stuttered(factory):
    return stutter(factory, 3)


def _mux(name, function, *args, **options):
    return Row(name, function, args, options, n=3)


def _stochastic(mode, **options):
    args = options.pop("args", (2, 3))
    words = "".join(f", {word}" for word in options if word != "dist") + (", to the end" if args[1] is None else "")
    dist = ", " + options["dist"] if "dist" in options else ""
    return _mux(f"{mode}{words}{dist}", stochastic_mux, *args, mode=mode, **options)


MUXES = [
    _mux("shuffled_mux", shuffled_mux),
    _mux("shuffled_mux, weights", shuffled_mux, [3, 2, 1]),
    _mux("shuffled_mux, function", shuffled_mux, fading),
    _mux("shuffled_mux, drop", shuffled_mux, [3, 0, 1], on_exhausted="drop"),
    _mux("shuffled_mux, stop", shuffled_mux, on_exhausted="stop"),
    _stochastic("with_replacement"),
    _stochastic("with_replacement", weights=[3, 2, 1]),
    _stochastic("with_replacement", weights=fading, dist="poisson"),
    _stochastic("with_replacement", args=(4, None)),
    _stochastic("single_active", dist="constant"),
    _stochastic("single_active", weights=[3, 2, 1]),
    _stochastic("single_active", weights=[8, 1, 1], dist="poisson"),
    _stochastic("exhaustive"),
    _stochastic("exhaustive", weights=[3, 2, 1]),
    _stochastic("exhaustive", args=(2, None), weights=fading),
    _mux("round_robin_mux", round_robin_mux),
    _mux("round_robin_mux, cycle", round_robin_mux, mode="cycle"),
    _mux("round_robin_mux, permuted_cycle", round_robin_mux, mode="permuted_cycle"),
    _mux("chain_mux", chain_mux),
    _mux("chain_mux, cycle", chain_mux, mode="cycle"),
    _mux("chain_mux, lazily", chained_lazily),
    _mux("label", labelled)._replace(after=second),
]

STAGES = [
    Row("take", take, (7,)),
    Row("skip", skip, (2,)),
    Row("cycle", cycle),
    Row("cycle, n_items", cycle, (9,)),
    Row("filter_items", filtered),
    Row("seeded", seeded, (5,)),
    Row("shuffle", shuffle, (3,)),
    Row("cache", cache, (2, 0.6)),
    Row("map_items", map_items, (add_one,)),
    Row("lift", lifted),
    Row("lift, rng", stuttered),
    Row("tuples", tuples, ("y", "x"), before=row, after=second),
    Row("keras_tuples", keras_tuples, ("x", "y"), before=row, after=first),
    Row("batch", batch, (2,), after=total),
    Row("batch, partial", batch, (2,), {"partial": True}, after=total),
    Row("unbatch", unbatch, before=pair),
    Row("prefetch", prefetch, (3,)),
    Row(
        "parallel, thread", parallel, (), {"engine": "thread", "max_bytes": 100}
    ),  # a process for every example would take too long
]

ROWS = {row.name: row for row in MUXES + STAGES}
ALL = list(ROWS)
HERE = [row.name for row in ROWS.values() if row.function not in (parallel, prefetch)]  # these make nothing ahead
PLAIN = [row.name for row in ROWS.values() if getattr(curried, row.function.__name__, None)]  # of a public function
KEEPERS = [row.name for row in MUXES + STAGES[:8] if row.name != "label"]  # these pass items on as they are
ONE_FOR_ONE = [row.name for row in MUXES] + [
    "take",
    "cycle",
    "cycle, n_items",
    "seeded",
    "map_items",
    "tuples",
    "keras_tuples",
]


# Trees.


class Tree(NamedTuple):
    name: str
    branches: list


def grow(tree, leaf):
    """The pipeline of a tree; its leaf number ``k`` is ``leaf(k, what the tree says)``."""
    numbers = itertools.count()

    def at(branch):
        if isinstance(branch, Tree):
            return ROWS[branch.name].build([at(one) for one in branch.branches])
        return leaf(next(numbers), branch)

    return at(tree)


lengths = st.integers(0, 5) | st.none()
faulty_in_all_ways = lengths | st.builds(
    Raises, st.integers(0, 4), st.sampled_from(["generator", "iterator", "opening"])
)


def trees(depth, names=ALL, leaves=lengths):
    """Trees of up to ``depth`` rows on the way to a leaf, and at least one."""
    inner = leaves if depth == 1 else leaves | trees(depth - 1, names, leaves)

    def over(name):
        n = ROWS[name].n
        return st.builds(Tree, st.just(name), st.lists(inner, min_size=n, max_size=n))

    return st.sampled_from(names).flatmap(over)


# Pulling.


def outcomes(stream, n=60):
    """What up to ``n`` pulls give: items, and exceptions in their places."""
    found = []
    for _ in range(n):
        try:
            found.append(next(stream))
        except StopIteration:
            break
        except Exception as error:
            found.append(error)
    return found


def pulls(stream, n=60):
    """The first ``n`` items."""
    return list(itertools.islice(stream, n))


# States.


def through_json(state):
    return json.loads(json.dumps(state))


def shown(found):
    """Outcomes that compare: exceptions by what they say."""
    return [repr(one) if isinstance(one, Exception) else one for one in found]
