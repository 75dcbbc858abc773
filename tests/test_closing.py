"""Whoever stops early leaves nothing open: every ``finally`` below runs at once, with the collector of cycles off."""

import gc
import weakref
from contextlib import suppress
from functools import partial

import pytest
from conftest import garbage
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    ALL,
    MUXES,
    ROWS,
    Fault,
    Tree,
    Watched,
    add_one,
    grow,
    ints,
    trees,
)

from pescador_fn import (
    chain_mux,
    lift,
    map_items,
    round_robin_mux,
    shuffled_mux,
    source,
    stochastic_mux,
    take,
)

pytestmark = pytest.mark.usefixtures("no_gc")

# Ways to stop after ``n`` pulls.


def pull(stream, n):
    for _ in range(n):
        try:
            next(stream)
        except StopIteration:
            return
        except Fault:
            pass


def by_break(built, n):
    for k, _ in enumerate(built(), 1):
        if k >= n:
            break


def by_close(built, n):
    stream = built()
    pull(stream, n)
    stream.close()
    assert list(stream) == []


def by_with(built, n):
    with built() as stream:
        pull(stream, n)
    assert list(stream) == []


def by_error_in_with(built, n):
    with suppress(ZeroDivisionError), built() as stream:
        pull(stream, n)
        raise ZeroDivisionError


def by_drop(built, n):
    stream = built()
    pull(stream, n)
    del stream


def by_error_in_the_loop(built, n):
    def consume():
        for k, _ in enumerate(built(), 1):
            if k >= n:
                raise ZeroDivisionError

    with suppress(ZeroDivisionError):
        consume()


WAYS = [by_break, by_close, by_with, by_error_in_with, by_drop, by_error_in_the_loop]


class Broken(Watched):
    """Raises after its items, and keeps no trace of it."""

    def run(self, activation):
        yield from super().run(activation)
        raise Fault


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ALL)
@settings(max_examples=6)
@given(data=st.data(), n=st.integers(1, 9))
def test_every_way_to_stop_closes(way, name, data, n):
    leaf, made = Watched.leaves()
    way(grow(data.draw(trees(1, [name])), leaf), n)
    assert [one.open for one in made] == [0] * len(made)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40)
@given(tree=trees(3), n=st.integers(1, 30))
def test_every_way_to_stop_closes_what_is_nested(way, blocks, tree, n):
    leaf, made = Watched.leaves()
    way(grow(tree, leaf), n)
    assert [one.open for one in made] == [0] * len(made)


@pytest.mark.parametrize("way", [by_close, by_with, by_drop])
@settings(max_examples=40)
@given(tree=trees(3, leaves=st.integers(0, 3)), n=st.integers(1, 30))
def test_also_after_an_exception_has_passed(way, blocks, tree, n):
    leaf, made = Broken.leaves()
    way(grow(tree, leaf), n)
    assert [one.open for one in made] == [0] * len(made)


@settings(max_examples=60)
@given(tree=trees(3, leaves=st.integers(0, 4)))
def test_a_stream_leaves_no_garbage(tree):
    """What is dropped is freed by counting references, without a cycle for the collector to find."""
    built = grow(tree, lambda k, length: ints(k, length).__iter__)
    pull(built(), 30)
    with garbage() as left:
        for n in (0, 1, 30):
            pull(built(), n)
    assert left == []


class Loader:
    """Holds a stream that draws from generators of its own: only the collector of cycles can free it."""

    def __init__(self, row):
        self.opened, self.closed = set(), set()
        self.stream = row.build([partial(self.items, k) for k in range(row.n)])()

    def items(self, k):
        closed = self.closed
        self.opened.add(k)
        try:
            while True:
                yield k
        finally:
            closed.add(k)


@pytest.mark.parametrize("n", [1, 9_000])
@pytest.mark.parametrize("row", MUXES, ids=[row.name for row in MUXES])
def test_a_cycle_through_a_stream_is_collected(row, n):
    loader = Loader(row)
    opened, closed, gone = loader.opened, loader.closed, weakref.ref(loader)
    pull(loader.stream, n)
    assert opened
    del loader
    gc.collect()
    assert gone() is None
    assert closed == opened


@pytest.mark.parametrize("name", ALL)
def test_what_has_ended_is_closed_before_anyone_asks(name):
    leaf, made = Watched.leaves()
    stream = take(grow(Tree(name, [2] * ROWS[name].n), leaf), 10**6)()
    for _ in range(2000):
        if next(stream, None) is None:
            assert [one.open for one in made] == [0] * len(made)
            break


@pytest.mark.parametrize("name", ALL)
@given(n=st.integers(1, 9))
def test_what_take_has_left_unread_is_closed_at_its_end(name, n):
    leaf, made = Watched.leaves()
    stream = take(grow(Tree(name, [20] * ROWS[name].n), leaf), n)()
    while next(stream, None) is not None:
        pass
    assert [one.open for one in made] == [0] * len(made)
    assert next(stream, None) is None


def test_an_error_in_finally_at_that_end_reaches_the_consumer_once():
    def broken():
        try:
            yield from range(5)
        finally:
            raise Fault

    stream = take(broken, 2)()
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(Fault):
        next(stream)
    assert list(stream) == []


def test_stop_closes_the_others_at_once():
    ends, goes_on = Watched(range(1)), Watched(range(100))
    stream = shuffled_mux([ends, goes_on], on_exhausted="stop", seed=0)()
    list(stream)
    assert (ends.open, goes_on.open) == (0, 0)


@pytest.mark.parametrize("mode", ["with_replacement", "single_active", "exhaustive"])
@pytest.mark.parametrize("weights", [None, list(range(1, 13))], ids=["equal", "weighted"])
@given(rate=st.none() | st.integers(1, 5), n_active=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_working_set_closes_before_it_opens(mode, weights, blocks, rate, n_active, seed):
    class Counted(Watched):
        def run(self, activation):
            counts.append(sum(one.open for one in made) + 1)
            return super().run(activation)

    counts = []
    leaf, made = Counted.leaves()
    parts = [leaf(k, 7) for k in range(12)]
    stream = stochastic_mux(parts, n_active, rate, weights=weights, mode=mode, seed=seed)()
    pull(stream, 150)
    assert max(counts) <= n_active
    assert sum(one.open for one in made) <= n_active
    stream.close()
    assert sum(one.open for one in made) == 0


def test_chain_mux_closes_one_before_it_opens_the_next():
    watched = [Watched(range(2)) for _ in range(3)]
    opened = [[one.open for one in watched] for _ in chain_mux(watched)()]
    assert opened == [[1, 0, 0]] * 2 + [[0, 1, 0]] * 2 + [[0, 0, 1]] * 2


def test_a_factory_of_factories_is_closed_too():
    pages = Watched([range(3).__iter__] * 3)
    with chain_mux(pages)() as stream:
        next(stream)
        assert pages.open == 1
    assert pages.open == 0


def test_an_iterator_with_a_close_method_is_closed():
    class File:
        closed = 0

        def __iter__(self):
            return self

        def __next__(self):
            return 1

        def close(self):
            self.closed += 1

    for name in ALL:
        files = []

        def opened(files=files):
            files.append(File())
            return files[-1]

        stream = ROWS[name].build([opened] * ROWS[name].n)()
        next(stream)
        stream.close()
        assert files
        assert [file.closed for file in files] == [1] * len(files)


def test_what_lift_made_is_closed():
    below = Watched(range(9))
    ran = []

    def finally_notes(items):
        try:
            yield from items
        finally:
            ran.append(below.open)

    stream = lift(finally_notes)(below)()
    next(stream)
    stream.close()
    assert ran
    assert below.open == 0


# Errors while closing.


class Stubborn(Watched):
    """Raises when it is closed."""

    def run(self, activation):
        try:
            yield from super().run(activation)
        finally:
            raise Fault(f"finally {self.items}")


@pytest.mark.parametrize("name", ALL)
def test_an_error_in_finally_surfaces_on_close(name):
    leaf, made = Stubborn.leaves()
    stream = grow(Tree(name, [None] * ROWS[name].n), leaf)()
    next(stream)
    with pytest.raises(Fault, match="finally"):
        stream.close()
    assert [one.open for one in made] == [0] * len(made)
    stream.close()
    assert list(stream) == []


@pytest.mark.parametrize("mux", [shuffled_mux, round_robin_mux, lambda fs: stochastic_mux(fs, 6, 9, seed=0)])
def test_one_error_in_finally_keeps_no_other_open(mux):
    some = [kind(range(100)) for kind in (Watched, Watched, Stubborn, Stubborn, Watched, Watched)]
    stream = map_items(mux(some), add_one)()
    pull(stream, 40)
    with pytest.raises(Fault):
        stream.close()
    assert [one.open for one in some] == [0] * 6


def test_an_error_in_finally_of_an_evicted_stream_reaches_the_consumer():
    factories = [Stubborn(range(k, k + 100)) for k in range(4)]
    stream = stochastic_mux(factories, 1, 2, dist="constant", mode="exhaustive", seed=0)()
    found = []
    for _ in range(20):
        try:
            found.append(type(next(stream)))
        except StopIteration:
            break
        except Fault as error:
            found.append(type(error))
    assert found == ([int] * 2 + [Fault]) * 4
    assert [one.open for one in factories] == [0] * 4


# Closed streams.


@pytest.mark.parametrize("name", ALL)
def test_a_closed_stream_ends_at_once(name):
    built = grow(Tree(name, [5] * ROWS[name].n), lambda k, length: Watched(ints(k, length)))
    for n in (0, 1, 2):
        stream = built()
        pull(stream, n)
        stream.close()
        stream.close()
        assert next(stream, "end") == "end"
        assert list(stream) == []
        with stream:
            pass


def test_with_gives_the_stream():
    stream = take(range(3).__iter__, 2)()
    with stream as same:
        assert same is stream
        assert iter(stream) is stream


def test_closing_one_stream_leaves_the_others():
    built = shuffled_mux([Watched(range(9)), Watched(range(9))], seed=0)
    one, other = built(), built()
    next(one)
    next(other)
    one.close()
    assert next(other, None) is not None


def test_a_source_closes_what_it_opened():
    ran = []

    @source
    def file():
        try:
            yield from range(9)
        finally:
            ran.append("closed")

    stream = file()()
    next(stream)
    del stream
    assert ran == ["closed"]


def test_a_stream_that_is_closed_by_its_own_item_function():
    """Closing from inside is the consumer's own doing; it must neither hang nor leave anything open."""
    below = Watched(range(9))
    streams = []

    def close(x):
        streams[0].close()
        return x

    streams.append(map_items(take(below, 5), close)())
    with suppress(ValueError):  # a generator cannot be closed while it runs
        list(streams[0])
    streams.clear()
    assert below.open == 0
