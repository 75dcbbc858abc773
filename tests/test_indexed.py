"""Rows of what can be indexed: in order, at random, and from any position at once."""

import json
import pickle
import time
import weakref
from collections import Counter

import h5py
import numpy as np
import pytest
import zarr
from conftest import garbage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from strategies import ALL, ROWS, Tree, grow, noise, outcomes, trees

import pescador_fn.indexed as indexed
from pescador_fn import (
    StateMismatch,
    batch,
    chain_mux,
    cycle,
    draws,
    filter_items,
    keras_tuples,
    map_items,
    resume,
    round_robin_mux,
    rows,
    seeded,
    shuffle,
    shuffled_mux,
    skip,
    source,
    stochastic_mux,
    take,
    tuples,
)
from pescador_fn.scatter import Scatter


class Duck:
    """As h5py and the like: rows numbered by ``int`` only, and not a ``Sequence``. Keeps a record of what is read."""

    def __init__(self, n):
        self.n = n
        self.read = []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        assert type(i) is int, f"{i!r} is a {type(i).__name__}"
        assert 0 <= i < self.n
        self.read.append(i)
        return self.give(i)

    def give(self, i):
        return i


def stored(kind, folder, data):
    """An array as the library that is named keeps it."""
    if kind == "memory map":
        np.save(folder / "rows.npy", data)
        return np.load(folder / "rows.npy", mmap_mode="r")
    if kind == "h5py":
        return h5py.File(folder / "rows.h5", "w").create_dataset("rows", data=data)
    if kind == "zarr":  # its arrays have no `len`
        return zarr.create_array(store=str(folder / "rows.zarr"), data=data)
    return data


@pytest.mark.parametrize("kind", ["array", "memory map", "h5py", "zarr"])
def test_rows_of_what_others_store(kind, tmp_path):
    data = stored(kind, tmp_path, np.arange(60).reshape(30, 2))
    assert [row.tolist() for row in rows(data)()] == [[2 * k, 2 * k + 1] for k in range(30)]
    drawn = draws(data, seed=0)
    stream = drawn()
    found = [next(stream).tolist() for _ in range(40)]
    assert {tuple(row) for row in found} <= {(2 * k, 2 * k + 1) for k in range(30)}
    assert (next(resume(drawn, through_json(stream.state_dict()))()) == next(stream)).all()


class Faulty(Duck):
    """Raises at every third row."""

    def give(self, i):
        if i % 3 == 1:
            raise OSError(i)
        return i


def through_json(state):
    return json.loads(json.dumps(state))


def shown(found):
    return [repr(x) if isinstance(x, Exception) else x for x in found]


def split(factory, stops, n=60):
    """What a stream gives that is stopped, saved and resumed at every stop, up to ``n`` pulls in all."""
    found, stream, done = [], factory(), 0
    for stop in sorted(stops):
        found += outcomes(stream, stop - done)
        done = stop
        state = through_json(stream.state_dict())
        stream = resume(factory, state)()
        assert through_json(stream.state_dict()) == state
    return found + outcomes(stream, n - done)


@pytest.fixture(params=[16, 2**16], ids=["computed", "sorted"])
def way(request, monkeypatch):
    """Orders of more than 16 rows are computed, as those of more than 65,536 are."""
    monkeypatch.setattr(indexed, "EXACT", request.param)
    return request.param


MAKERS = {
    "rows": rows,
    "draws": lambda data: draws(data, seed=0),
    "draws, each once": lambda data: draws(data, replace=False, seed=0),
}
every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


# What they give.


@given(n=st.integers(0, 50))
def test_rows_gives_every_row_in_order_once(n):
    assert list(rows(range(n))()) == list(range(n))


@given(n=st.integers(1, 50), seed=st.integers(0, 9))
def test_draws_gives_rows_without_end(blocks, n, seed):
    found = list(take(draws(range(n), seed=seed), 200)())
    assert len(found) == 200
    assert set(found) <= set(range(n))
    assert n < 2 or len(set(found)) > 1


@given(n=st.integers(0, 300), seed=st.integers(0, 9))
def test_draws_without_replacement_gives_every_row_once(blocks, way, n, seed):
    found = list(draws(range(n), replace=False, seed=seed)())
    assert sorted(found) == list(range(n))
    assert n < 20 or found != sorted(found)


@every_maker
def test_without_rows_there_are_no_items(make, blocks, within_seconds):
    assert list(make([])()) == []
    assert list(shuffled_mux([make([]), make([])])()) == []
    assert list(cycle(make(np.empty((0, 3))))()) == []
    assert list(take(shuffled_mux([make([]), draws(["a"])]), 3)()) == ["a"] * 3


@every_maker
def test_no_draw_depends_on_the_size_of_blocks(make, monkeypatch):
    def drawn(sizes):
        monkeypatch.setattr("pescador_fn.drawing.block_sizes", sizes)
        return outcomes(make(range(70_000))(), 3000)

    assert drawn((1, 1)) == drawn((12, 12)) == drawn((16, 4096))


def test_the_seed_and_the_place_fix_the_draws():
    some = range(1000)
    for replace in (True, False):
        one = outcomes(draws(some, replace=replace, seed=1)(), 20)
        assert one == outcomes(draws(some, replace=replace, seed=1)(), 20)
        assert one == outcomes(seeded(draws(some, replace=replace), 1)(), 20)
        assert one != outcomes(draws(some, replace=replace, seed=2)(), 20)
        free = draws(some, replace=replace)
        assert outcomes(free(), 20) != outcomes(free(), 20)
        siblings = outcomes(round_robin_mux([free, free], seed=0)(), 40)
        assert siblings[::2] != siblings[1::2]


@pytest.mark.parametrize("n", [50, 70_000])
def test_each_pass_is_another_order_of_the_same_rows(n):
    passes = outcomes(cycle(draws(range(n), replace=False, seed=0))(), 2 * n)
    assert sorted(passes[:n]) == sorted(passes[n:]) == list(range(n))
    assert passes[:n] != passes[n:]


ORDERS = {
    "draws": ([12, 14, 88, 48, 87, 64, 24, 1], lambda: draws(range(100), seed=0)),
    "each once": ([7, 0, 1, 6, 3, 5, 4, 2], lambda: draws(range(8), replace=False, seed=0)),
    "each once, many": (
        [591808611, 270863945, 324855725, 915691055, 923919237, 590165393, 131021862, 416828708],
        lambda: draws(range(10**9), replace=False, seed=0),
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_seeded_orders_are_an_interface(name):
    order, make = ORDERS[name]
    assert outcomes(make()(), 8) == order


# What they are over.


@every_maker
def test_items_are_what_the_data_gives(make, tmp_path):
    whole = np.arange(20.0).reshape(5, 4)
    np.save(tmp_path / "x.npy", whole)
    kept = [object(), object(), object()]
    for data in (whole, np.load(tmp_path / "x.npy", mmap_mode="r")):
        for item in take(make(data), 5)():
            assert isinstance(item, np.ndarray)
            assert item.base is not None, "a view"
            assert item.tolist() in whole.tolist()
    assert {id(item) for item in take(make(kept), 3)()} <= set(map(id, kept))
    assert set(take(make(["a", "b"]), 9)()) <= {"a", "b"}
    assert set(take(make((1, 2)), 9)()) <= {1, 2}
    assert set(take(make(b"ab"), 9)()) <= {97, 98}


@every_maker
def test_a_row_is_asked_for_by_an_int_and_when_it_is_drawn(make, blocks, way):
    data = Duck(200)
    stream = make(data)()
    assert data.read == []
    found = outcomes(stream, 30)
    assert data.read == found
    assert len(found) == 30


@every_maker
def test_a_memory_map_of_a_terabyte_is_never_read(make, tmp_path, within_seconds):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(2**40)
    data = np.memmap(path, np.uint8, "r").reshape(-1, 2**10)
    factory = make(data)
    stream = factory()
    next(stream)
    rest = resume(factory, through_json(stream.state_dict()))()
    assert next(rest).shape == next(stream).shape == (2**10,)
    assert factory == make(data)
    assert "array of shape (1073741824, 1024)" in repr(factory)
    assert len(next(skip(make(data), 10**8)())) == 2**10


@every_maker
def test_a_billion_rows_open_at_once(make, within_seconds):
    data = range(10**9)
    began = time.perf_counter()
    stream = skip(make(data), 10**9 - 5)()
    next(stream)
    resume(skip(make(data), 10**9 - 5), stream.state_dict())
    assert time.perf_counter() - began < 1
    if make is not MAKERS["draws"]:
        assert len(list(stream)) == 4


@every_maker
def test_the_number_of_rows_is_that_when_the_stream_is_opened(make):
    data = ["a", "a"]
    factory = make(data)
    stream, other = factory(), factory()
    next(stream)
    data.append("b")
    assert "b" not in outcomes(stream, 50)
    assert "b" in outcomes(other, 50)


class Raises(Duck):
    def __len__(self):
        raise OSError("no rows")


@every_maker
def test_what_does_not_open_has_ended(make):
    stream = make(Raises(3))()
    with pytest.raises(OSError, match="no rows"):
        next(stream)
    assert list(stream) == []
    assert shown(outcomes(chain_mux([make(Raises(3)), rows(["a", "b"])])())) == ["OSError('no rows')", "a", "b"]


@every_maker
def test_a_row_that_raises_costs_that_row(make, blocks, way):
    found = outcomes(make(Faulty(30))(), 30)
    good = outcomes(make(range(30))(), 30)
    assert shown(found) == [repr(OSError(i)) if i % 3 == 1 else i for i in good]


# Equal, pickled, printed.


@every_maker
def test_they_compare_by_value(make):
    assert make([1, 2]) == make([1, 2]) != make([1, 3])
    assert hash(make([1, 2])) == hash(make([1, 2]))
    assert make(np.arange(9)) == make(np.arange(9)) != make(np.arange(8))
    assert make(np.arange(3)) != make([0, 1, 2])
    assert make([np.arange(3)]) != make([np.arange(3)])  # lists of arrays do not compare
    assert make(range(3)) != take(rows(range(3)), 1)
    data = Duck(3)
    assert make(data) == make(data) != make(Duck(3))
    assert rows([1]) != draws([1]) != draws([1], replace=False)


class RowByRow(Duck):
    """As a tensor, which compares row by row."""

    def __eq__(self, other):
        return np.ones(self.n, bool)

    __hash__ = None


def test_data_that_compares_row_by_row_is_itself_only():
    data = RowByRow(3)
    assert rows(data) == rows(data) != rows(RowByRow(3))


@every_maker
def test_they_pickle(make):
    for data in ([1, 2, 3], np.arange(5), range(9)):
        factory = make(data)
        again = pickle.loads(pickle.dumps(factory))
        assert again == factory
        assert outcomes(again(), 9) == outcomes(factory(), 9)


def test_they_print_as_the_call_that_made_them():
    assert repr(rows(range(3))) == "rows(range(0, 3))"
    assert repr(draws([1, 2], replace=False, seed=3)) == "draws([1, 2], replace=False, seed=3)"
    assert repr(draws(np.zeros((3, 2)))) == "draws(<array of shape (3, 2)>)"
    assert repr(rows(["a"] * 10_000)) == "rows(<list of 10,000>)"
    assert "<tuple of 9>" in repr(take(rows(tuple("abcdefghi")), 2))
    assert " at 0x" not in repr(rows(Duck(3)))


@every_maker
def test_they_are_immutable(make):
    with pytest.raises(AttributeError, match="immutable"):
        make([1]).of = [2]


def test_a_stream_that_is_dropped_is_freed_at_once(no_gc):
    for make in MAKERS.values():
        for n in (10, 70_000):
            stream = shuffled_mux([make(range(n))])()
            next(stream)
            gone = weakref.ref(stream)
            del stream
            assert gone() is None


def test_a_stream_leaves_no_garbage():
    with garbage() as left:
        for make in MAKERS.values():
            for n in (10, 70_000):
                next(shuffled_mux([make(range(n))])())
    assert left == []


@every_maker
def test_a_stream_that_is_closed_ends(make):
    with make(range(100))() as stream:
        outcomes(stream, 20)
    assert list(stream) == []
    data = Duck(3)
    with make(data)() as stream:
        pass
    assert list(stream) == data.read == []


# Refused.

NO_DATA = {
    "generator": ((i for i in [1]), ["list"]),
    "iterator": (iter([1]), ["list"]),
    "set": ({1, 2}, ["list"]),
    "dict": ({"a": 1}, ["mapping", "values"]),
    "string": ("rows.npy", ["'rows.npy'", "open what it names"]),
    "number": (3, ["=3", "an array, a list"]),
    "none": (None, ["None"]),
    "scalar array": (np.array(3), ["single value"]),
    "type": (list, ["list"]),
    "function": (lambda: [1], ["function"]),
    "source": (noise(0, 3), ["function"]),
    "frame": (type("Frame", (Duck,), {"iloc": None})(3), ["table", "to_numpy"]),
    "columns": (type("Table", (Duck,), {"column_names": None, "to_pylist": None})(3), ["table", "to_pylist"]),
    "group": (type("Group", (Duck,), {"array_keys": None})(3), ["group", "go by name"]),
}


@pytest.mark.parametrize("kind", NO_DATA)
@pytest.mark.parametrize("make", [rows, draws])
def test_what_has_no_rows_is_refused_when_built(make, kind):
    data, words = NO_DATA[kind]
    with pytest.raises(TypeError, match=f"^{make.__name__}: data=") as raised:
        make(data)
    for word in words:
        raised.match(word)


@pytest.mark.parametrize("make", [rows, draws])
def test_tables_and_groups_of_others_are_refused_when_built(make):
    pyarrow, zarr = pytest.importorskip("pyarrow"), pytest.importorskip("zarr")
    table = pyarrow.table({"a": [1, 2], "b": [3, 4]})
    for data, word in ((table, "to_pylist"), (table.to_batches()[0], "to_pylist"), (zarr.group(), "data.name")):
        with pytest.raises(TypeError, match=f"(?s)^{make.__name__}: data=.*{word}"):
            make(data)
    assert list(rows(table.to_pylist())()) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    assert [one.as_py() for one in rows(table["a"])()] == [1, 2]


def test_options_that_do_not_fit_are_refused_when_built():
    with pytest.raises(TypeError, match=r"^draws: replace=1 is not a bool; give"):
        draws([1], replace=1)
    with pytest.raises(ValueError, match=r"^draws: seed=-1 is negative"):
        draws([1], seed=-1)
    with pytest.raises(TypeError, match=r"^draws: seed=.*Generator"):
        draws([1], seed=np.random.default_rng(0))


# Chance.


def test_draws_are_uniform_and_independent():
    found = np.array(outcomes(draws(range(10), seed=3)(), 100_001))
    assert chisquare(np.bincount(found)).pvalue > 1e-3
    assert chisquare(np.bincount(10 * found[:-1] + found[1:])).pvalue > 1e-3


def test_every_order_of_a_few_rows_is_equally_likely():
    orders = Counter(tuple(draws(range(4), replace=False, seed=seed)()) for seed in range(6000))
    assert len(orders) == 24
    assert chisquare(list(orders.values())).pvalue > 1e-3


KEYS = np.random.default_rng(0).integers(2**64, size=(20_000, Scatter.ROUNDS), dtype=np.uint64)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 100, 1000, 2**10, 2**10 + 1, 2**16 + 1, 100_003, 2**18])
def test_a_scattered_order_is_a_permutation(n):
    for keys in KEYS[:3]:
        assert np.array_equal(np.sort(Scatter(n, keys).numbers(0, n)), np.arange(n))


@given(n=st.integers(1, 2**62), at=st.floats(0, 1), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_any_position_of_a_scattered_order_is_reached_at_once(n, at, size, seed):
    scatter = Scatter(n, KEYS[seed])
    first = int(at * (n - 1)) if n < 2**50 else n // 2
    size = min(size, n - first)
    found = scatter.numbers(first, size).tolist()
    assert found == [int(scatter.numbers(first + i, 1)[0]) for i in range(size)]
    assert len(set(found)) == size
    assert min(found) >= 0
    assert max(found) < n


@pytest.mark.parametrize("n", [20, 64, 70_000, 10**9])
def test_positions_and_pairs_of_a_scattered_order_are_uniform(n):
    found = np.array([Scatter(n, keys).numbers(n // 3, 3) for keys in KEYS])
    parts = found * 4 // n if n >= 64 else found
    k = int(parts.max()) + 1
    for column in range(3):
        assert chisquare(np.bincount(parts[:, column], minlength=k)).pvalue > 1e-3
    a, b = parts[:, 0], parts[:, 2]
    seen = np.bincount(k * a + b, minlength=k * k)
    # Without replacement a pair cannot fall on one row twice.
    sizes = np.bincount(np.arange(n) * 4 // n) if n < 10**6 and n >= 64 else np.full(k, n // k)
    chances = np.outer(sizes, sizes) - np.diag(sizes)
    some = chances.ravel() > 0
    expected = chances.ravel()[some] / chances.sum() * len(KEYS)
    assert seen[~some].sum() == 0
    assert chisquare(seen[some], expected).pvalue > 1e-3


def test_neighbours_within_a_scattered_order_are_unrelated():
    n = 100_003
    for keys in KEYS[:5]:
        found = Scatter(n, keys).numbers(0, n)
        pairs = 10 * (found[:-1] * 10 // n) + found[1:] * 10 // n
        assert chisquare(np.bincount(pairs, minlength=100)).pvalue > 1e-4
        assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.02
        steps = np.diff(found) % n * 20 // n
        assert chisquare(np.bincount(steps)).pvalue > 1e-4


# Time.


def leaf(k, length):
    """Rows in place of the leaf of a tree, a third of them rows that raise."""
    n = 200 if length is None else length
    data = Table(k, n)
    return (rows(data), draws(data, replace=False), draws(data))[k % 3]


class Table:
    """Row ``i`` of table ``k`` is ``1000 * k + i``; some raise."""

    def __init__(self, k, n):
        self.k, self.n = k, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        assert type(i) is int
        if self.k % 2 and i % 5 == 4:
            raise OSError(i)
        return 1000 * self.k + i


stops = st.lists(st.integers(0, 40), min_size=1, max_size=5)


@every_maker
@given(at=stops, n=st.integers(0, 60))
def test_what_was_drawn_and_what_is_resumed_are_the_whole(make, blocks, way, at, n):
    factory = make(Faulty(n))
    assert shown(split(factory, at)) == shown(outcomes(factory()))


@pytest.mark.parametrize("name", ALL)
@given(data=st.data(), at=stops, seed=st.integers(0, 9))
@settings(max_examples=10)
def test_also_under_every_stage_and_in_every_mux(name, blocks, way, data, at, seed):
    lengths = st.integers(0, 30) | st.none()
    tree = Tree(name, [data.draw(lengths | trees(1, ALL, lengths)) for _ in range(ROWS[name].n)])
    factory = seeded(grow(tree, leaf), seed)
    assert shown(split(factory, at)) == shown(outcomes(factory()))


@every_maker
@given(at=st.integers(0, 50))
def test_nothing_is_read_to_resume(make, blocks, way, at):
    data = Duck(60)
    stream = make(data)()
    outcomes(stream, at)
    state = stream.state_dict()
    data.read.clear()
    rest = resume(make(data), state)()
    following = next(rest)
    assert data.read == [following]
    assert following == next(stream)


@every_maker
def test_a_state_is_small_however_far(make):
    factory = shuffled_mux([make(range(10**9)) for _ in range(3)], seed=0)
    stream = factory()
    outcomes(stream, 20_000)
    state = json.dumps(stream.state_dict())
    assert len(state) < 800
    assert outcomes(resume(factory, json.loads(state))(), 9) == outcomes(stream, 9)


@every_maker
def test_states_of_streams_of_many_lengths_are_told_apart_in_linear_time(make, within_seconds):
    factory = chain_mux([shuffled_mux([make(range(1, 2 + n)) for n in range(3000)], seed=0)])
    stream = factory()
    outcomes(stream, 20_000)
    began = time.perf_counter()
    state = through_json(stream.state_dict())
    assert time.perf_counter() - began < 1
    assert len(state["stages"]) == 3
    assert outcomes(resume(factory, state)(), 50) == outcomes(stream, 50)


@every_maker
def test_a_state_of_other_rows_is_refused(make):
    stream = make(range(1000))()
    next(stream)
    where = make([]).build.__name__
    with pytest.raises(StateMismatch, match=f"^resume: {where}: 900 rows, the state has 1,000; resume with"):
        resume(make(range(900)), stream.state_dict())
    with pytest.raises(StateMismatch, match=f"seeded → {where}: 5 rows, the state has 7"):
        resume(seeded(make(range(5)), 0), seeded(make(range(7)), 0)().state_dict())


def test_in_a_mux_it_is_refused_also_where_the_rows_are_not_open():
    def over(n, unopened):
        return chain_mux([draws(range(n), replace=False), rows(range(unopened))])

    stream = over(9, 3)()
    next(stream)
    resume(over(9, 3), stream.state_dict())
    for n, unopened in ((8, 3), (9, 4)):
        with pytest.raises(StateMismatch, match="chain_mux: the factories are not those of the state"):
            resume(over(n, unopened), stream.state_dict())


def test_data_that_has_grown_is_refused():
    data = [1, 2, 3]
    factory = rows(data)
    stream = factory()
    next(stream)
    state = stream.state_dict()
    data.append(4)
    with pytest.raises(StateMismatch, match="4 rows, the state has 3"):
        resume(factory, state)


def test_draws_with_and_without_replacement_are_told_apart():
    state = draws([1, 2], seed=0)().state_dict()
    with pytest.raises(StateMismatch, match="replace=False, the state has replace=True"):
        resume(draws([1, 2], replace=False, seed=0), state)
    with pytest.raises(StateMismatch, match="rows: the state has draws here"):
        resume(rows([1, 2]), state)


def test_an_unseeded_stream_is_resumed_too():
    factory = draws(range(10**6))
    stream = factory()
    outcomes(stream, 7)
    assert outcomes(resume(factory, stream.state_dict())(), 9) == outcomes(stream, 9)


class Asks(Duck):
    def give(self, i):
        return self.stream.state_dict()


@every_maker
def test_a_state_is_not_taken_in_the_middle_of_a_row(make):
    data = Asks(3)
    data.stream = stream = map_items(make(data), str)()
    with pytest.raises(RuntimeError, match="in the middle of an item"):
        next(stream)
    stream.state_dict()
    del data.stream


class Interrupted(Duck):
    def give(self, i):
        if len(self.read) == 3:
            raise KeyboardInterrupt
        return i


@every_maker
def test_after_a_signal_the_stream_goes_on(make, blocks):
    data = Interrupted(20)
    for factory in (make(data), skip(make(data), 0), shuffled_mux([make(data)], on_exhausted="drop")):
        data.read.clear()
        stream = factory()
        whole = outcomes(make(range(20))(), 10)
        assert [next(stream), next(stream)] == whole[:2]
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert outcomes(stream, 7) == whole[3:]


# Skipping.


@source
def counting(n, log, *, start=0):
    for i in range(start, n):
        log.append(i)
        yield i


CHEAP = {
    **MAKERS,
    "take": lambda data: take(rows(data), 35),
    "seeded": lambda data: seeded(draws(data), 3),
    "skip": lambda data: skip(draws(data, replace=False, seed=1), 4),
    "batch": lambda data: map_items(batch(rows(data), 3, partial=True), np.ndarray.tolist),
    "all of them": lambda data: skip(take(seeded(skip(take(draws(data, seed=2), 45), 3), 3), 30), 1),
}
DEAR = {
    "shuffled_mux": lambda data: shuffled_mux([draws(data), rows(data)], seed=0),
    "stochastic_mux": lambda data: stochastic_mux([draws(data), rows(data)], 1, 5, seed=0),
    "shuffle": lambda data: shuffle(rows(data), 5, seed=0),
    "cycle": lambda data: cycle(draws(data, replace=False, seed=0)),
    "filter_items": lambda data: filter_items(rows(data), lambda x: x % 2),
    "resume": lambda data: resume(draws(data, seed=0), draws(data, seed=0)().state_dict()),
}


def plainly(factory, n):
    stream = factory()
    outcomes(stream, n)
    return outcomes(stream)


@pytest.mark.parametrize("name", CHEAP | DEAR)
@given(n=st.integers(0, 60))
def test_what_is_left_after_a_skip_is_what_pulling_leaves(name, blocks, way, n):
    factory = (CHEAP | DEAR)[name](range(50))
    left = plainly(factory, n)
    assert outcomes(skip(factory, n)()) == left
    assert outcomes(take(factory, n)()) + left == outcomes(factory(), n + 60)[: n + len(left)]
    again = seeded(factory, 3)
    assert outcomes(chain_mux([skip(again, n)])()) == plainly(chain_mux([again]), n)


@pytest.mark.parametrize("name", CHEAP)
@given(n=st.integers(1, 60), at=stops)
def test_a_skipped_stream_is_resumed(name, blocks, n, at):
    factory = skip(CHEAP[name](range(50)), n)
    assert split(factory, at) == outcomes(factory())


@pytest.mark.parametrize("name", [name for name in CHEAP if name not in ("batch",)])
def test_nothing_is_read_to_skip(name, blocks):
    data = Duck(50)
    stream = skip(CHEAP[name](data), 10)()
    assert data.read == []
    first = next(stream)
    assert data.read == [first]


def test_batches_are_skipped_by_their_rows():
    data = Duck(50)
    assert next(skip(batch(rows(data), 4), 5)()).tolist() == [20, 21, 22, 23] == data.read
    assert list(skip(batch(rows(data), 4), 12)()) == []
    assert next(skip(batch(rows(data), 4, partial=True), 12)()).tolist() == [48, 49]


def test_a_source_that_takes_start_begins_there():
    log = []
    assert list(skip(counting(9, log), 6)()) == log == [6, 7, 8]
    log.clear()
    assert list(skip(take(counting(9, log, start=1), 5), 3)()) == log == [4, 5]
    log.clear()
    factory = shuffled_mux([skip(counting(9, log), 4)], on_exhausted="drop")
    assert list(factory()) == log == [4, 5, 6, 7, 8]
    log.clear()
    factory = skip(counting(9, log), 3)
    stream = factory()
    assert [next(stream), next(stream)] == [3, 4]
    assert list(resume(factory, through_json(stream.state_dict()))()) == [5, 6, 7, 8]
    assert list(skip(noise(0, 5), 6)()) == []


def broken(x):
    if x == 1:
        raise OSError(x)
    return x


MAPPED = {
    "map_items": (map_items(rows(range(5)), broken), [3, 4]),
    "filter_items": (filter_items(rows(range(5)), lambda x: broken(x) > -1), [3, 4]),
    "tuples": (tuples(rows([{"x": 0}, {}, {"x": 2}, {"x": 3}]), "x"), [(3,)]),
    "keras_tuples": (keras_tuples(rows([{"x": 0}, {}, {"x": 2}, {"x": 3}]), "x"), [(3, None)]),
}


@pytest.mark.parametrize("name", MAPPED)
def test_functions_of_the_items_are_called_for_what_is_skipped(name):
    factory, left = MAPPED[name]
    stream = skip(factory, 3)()
    with pytest.raises((OSError, KeyError)):
        next(stream)
    assert outcomes(stream) == left
