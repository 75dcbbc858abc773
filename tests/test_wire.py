"""How items cross: equal on arrival, as they were when they were yielded, writable, in order. No process is started."""

import datetime
import enum
import mmap
import pickle
import threading
from dataclasses import dataclass
from fractions import Fraction

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pescador_fn.engines import columns, copying, encoder
from pescador_fn.engines.encoder import Encoder, raised
from pescador_fn.engines.slabs import Reader, Writer, anonymous_file
from pescador_fn.engines.wire import Raised, pack, refs_in, unpack
from pescador_fn.errors import RemoteTraceback, WorkerError


class Pipe:
    """Both ends of the shared memory, and what goes between them."""

    def __init__(self, portable=False):
        self.fd = anonymous_file(portable)
        self.writer = Writer(self.fd, portable)
        self.reader = Reader(self.fd)
        self.encoder = Encoder(self.writer)

    def message(self, rows):
        runs, body = pack(rows)
        return pickle.loads(pickle.dumps(runs)), body

    def outcomes(self, rows):
        runs, body = self.message(rows)
        return unpack(runs, body, self.reader)

    def through(self, items):
        found = self.outcomes([self.encoder.row(item) for item in items])
        return [one for many in found for one in many]


@pytest.fixture
def pipe(request):
    import os

    made = Pipe()
    yield made
    os.close(made.fd)


def same(one, other):
    """Equal in value, in type, and for arrays in dtype, shape and order; a memmap arrives as an array."""
    if isinstance(one, np.ndarray) and type(one) in (np.ndarray, np.memmap):
        assert type(other) is np.ndarray
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        if one.dtype.hasobject:
            assert all(map(same, one.ravel().tolist(), other.ravel().tolist()))
        else:
            assert one.tobytes() == other.tobytes()
        if one.ndim > 1 and one.flags.f_contiguous and not one.flags.c_contiguous:
            assert other.flags.f_contiguous
        assert other.flags.writeable
        return True
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        return all(map(same, one.values(), other.values()))
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        return all(map(same, one, other))
    assert one == other or (one != one and other != other)
    return True


class Colour(enum.Enum):
    RED = 1


@dataclass
class Point:
    x: float
    y: np.ndarray

    def __eq__(self, other):
        return self.x == other.x and np.array_equal(self.y, other.y)


class Subclass(np.ndarray):
    pass


RNG = np.random.default_rng(0)
GRID = RNG.random((6, 4))

ITEMS = {
    "a dict of small arrays": {"x": RNG.random(16), "y": np.array(3)},
    "one array": RNG.random(5),
    "a large array": RNG.random(5000),
    "an array that is just large": {"x": RNG.random(columns.SMALL // 8), "y": RNG.random(columns.SMALL // 8 - 1)},
    "a scalar array": np.array(1.5),
    "an empty array": np.zeros((0, 3)),
    "Fortran order": np.asfortranarray(GRID),
    "Fortran order, large": np.asfortranarray(RNG.random((60, 40))),
    "strided": RNG.random(100)[::7],
    "strided, large": RNG.random((200, 200))[::2, ::3],
    "backwards": np.arange(9)[::-1],
    "transposed": RNG.random((3, 4, 5)).transpose(1, 2, 0),
    "broadcast, and so read-only": np.broadcast_to(np.arange(3), (4, 3)),
    "read-only, large": np.broadcast_to(np.arange(3.0), (2000, 3)),
    "big endian": np.arange(5, dtype=">i4"),
    "booleans": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "half": np.arange(3, dtype="f2"),
    "datetimes": np.array(["2026-01-01", "NaT"], "M8[s]"),
    "datetimes, large": np.arange(10_000).astype("M8[s]"),
    "time differences": np.arange(3).astype("m8[D]"),
    "text array": np.array(["a", "bcd"]),
    "bytes array": np.array([b"a", b"bcd"]),
    "object array": np.array([1, "a", None, [2]], object),
    "structured": np.array([(1, 2.5), (3, 4.5)], [("a", "i4"), ("b", "f8")]),
    "structured, aligned, large": np.zeros(1000, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "structured scalar": np.array((1, 2.5), [("a", "i4"), ("b", "f8")])[()],
    "subclass": np.arange(4).view(Subclass),
    "masked": np.ma.masked_array([1, 2], [True, False]),
    "numpy scalars": (np.float32(1.5), np.int64(3), np.datetime64("2026-01-01"), np.str_("a"), np.bool_(True)),
    "plain values": (1, 2.5, "text", b"bytes", None, True, 1j, 10**40),
    "not a number": float("nan"),
    "a number": 3,
    "none": None,
    "an empty dict": {},
    "an empty tuple": (),
    "an empty list": [],
    "a long text": "x" * 100_000,
    "long bytes": b"x" * 10_000_000,
    "a bytearray": bytearray(b"abc"),
    "dates": {"day": datetime.date(2026, 1, 2), "at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)},
    "nested": {"a": [{"b": (RNG.random(3), RNG.random(3000))}, None], "c": {1, 2}},
    "keys that are no text": {1: 2, (3, 4): 5},
    "a fraction": Fraction(1, 3),
    "an enumeration": Colour.RED,
    "a dataclass": Point(1.0, RNG.random(2000)),
    "the same array twice": [GRID, GRID],
}


@pytest.mark.parametrize("name", ITEMS)
def test_items_arrive_equal(name, pipe):
    """By their pickles, and by columns once such an item has come often enough."""
    item = ITEMS[name]
    for found in pipe.through([item] * 2 * encoder.MET):
        if name == "masked":
            assert found.tolist() == item.tolist()
        elif name == "subclass":
            assert type(found) is Subclass
            assert np.array_equal(found, item)
        else:
            assert same(item, found)


def test_memmaps_arrive_as_arrays(pipe, tmp_path):
    np.save(tmp_path / "x.npy", RNG.random((100, 100)))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert all(map(same, [x, x[3], x[:0]], pipe.through([x, x[3], x[:0]])))


def test_what_is_one_array_stays_one(pipe):
    big = RNG.random(5000)
    ((one, other),) = pipe.through([[big, big]])
    assert one is other


def test_mixed_items_keep_their_order(pipe):
    items = [*ITEMS.values()] * 2
    items = [item for item in items if not isinstance(item, np.ma.MaskedArray | Subclass)]
    assert all(map(same, items, pipe.through(items)))


dtypes = hnp.scalar_dtypes() | hnp.unicode_string_dtypes() | hnp.byte_string_dtypes() | hnp.array_dtypes()
some_arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
values = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | some_arrays
containers = st.dictionaries(st.text(max_size=2), values, max_size=3) | st.tuples(values, values) | values


@settings(max_examples=150)
@given(items=st.lists(containers, max_size=8), times=st.sampled_from([1, 6]), small=st.sampled_from([1, 16, 4096]))
def test_any_items_arrive_equal(items, times, small):
    """Also where so many are of one form that they go by columns."""
    import os

    with pytest.MonkeyPatch.context() as patch:
        for module in (columns, encoder):
            patch.setattr(module, "SMALL", small)
        made = Pipe()
        try:
            assert all(map(same, items * times, made.through(items * times)))
        finally:
            os.close(made.fd)


CHANGES = {
    "dtype": [np.zeros(2), np.zeros(2, "f4"), np.zeros(2, "i8")],
    "byte order": [np.arange(2, dtype="<i4"), np.arange(2, dtype=">i4")],
    "shape": [np.zeros((2, 3)), np.zeros((3, 2)), np.zeros(6)],
    "order": [np.ones((2, 3)), np.asfortranarray(GRID[:2, :3])],
    "keys": [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}, {"a": 1, "c": 2}],
    "kind": [{"a": 1}, (1,), 1, [1]],
    "length": [(1, 2), (1, 2, 3)],
    "part": [{"a": np.zeros(2)}, {"a": 1}, {"a": "x" * 5000}, {"a": [1]}],
    "plain subclasses": [1, True, Colour.RED, np.int64(1)],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_row_that_differs_is_seen(name, pipe):
    items = [item for item in CHANGES[name] for _ in range(3)] + CHANGES[name]
    assert all(map(same, items, pipe.through(items)))


def test_an_item_is_what_it_was_when_it_was_yielded(pipe):
    for size in (3, 5000):
        x, many = np.zeros(size), {"list": [0]}
        rows = []
        for k in range(5):
            x[:] = k
            many["list"][0] = k
            rows += [pipe.encoder.row({"x": x}), pipe.encoder.row(many)]
        x[:] = -1
        found = [item for some in pipe.outcomes(rows) for item in some]
        assert [one["x"][-1] for one in found[::2]] == [0, 1, 2, 3, 4]
        assert [one["list"] for one in found[1::2]] == [[0], [1], [2], [3], [4]]


def test_items_do_not_share_memory_that_can_be_seen(pipe):
    found = pipe.through([{"x": np.full(4, k), "big": np.full(5000, k)} for k in range(6)])
    found += pipe.through([np.full(4, k) for k in range(6)])
    found[0]["x"][:] = found[0]["big"][:] = found[6][:] = -1
    assert [one["x"][0] for one in found[1:6]] == [1, 2, 3, 4, 5]
    assert [one["big"][0] for one in found[1:6]] == [1, 2, 3, 4, 5]
    assert [one[0] for one in found[7:]] == [1, 2, 3, 4, 5]


def test_a_small_row_that_is_kept_holds_little(pipe):
    kept = pipe.through([{"x": np.zeros(16), "y": np.array(1)} for _ in range(512)])[-1]
    for part in kept.values():
        assert part.base.nbytes <= 4096


# Slabs.


def used(writer):
    return sum(extent.map[: extent.count].count(1) for extent in writer.by_start.values())


@pytest.mark.parametrize(
    "cut",
    [
        lambda item: item["x"],
        lambda item: item["x"][5:6],
        lambda item: item["x"].reshape(50, 100).T[3],
        lambda item: item["x"].view("u1")[7:],
        lambda item: memoryview(item["x"]),
        lambda item: item["x"][::100],
    ],
)
def test_a_slab_is_free_when_nothing_looks_at_it(pipe, cut):
    view = cut(pipe.through([{"x": np.full(5000, 7.0)}])[0])
    before = np.array(view)
    for k in range(60):
        pipe.through([{"x": np.full(5000, float(k))}])
    assert np.array_equal(np.array(view), before)
    assert used(pipe.writer) == 1
    del view
    assert used(pipe.writer) == 0


def test_slabs_are_used_again(pipe):
    for k in range(500):
        pipe.through([np.full(200_000, k)])
    assert pipe.writer.end < 10 * 200_000 * 8
    held = [pipe.through([np.full(2000, k)])[0] for k in range(500)]
    assert [int(x[-1]) for x in held] == list(range(500))
    assert len(pipe.reader.maps) < 15  # each holds a descriptor


LARGE = {
    "plain": np.arange(700_001.0),
    "odd bytes": np.arange(5_000_003, dtype="u1"),
    "Fortran order": np.asfortranarray(np.arange(1_000_000.0).reshape(1000, 1000)),
    "strided": np.arange(2_000_000.0).reshape(1000, 2000)[:, ::2],
    "dates": np.arange(700_000).astype("M8[s]"),
    "structured": np.ones(300_000, [("a", "i1"), ("b", "f8"), ("c", "f8")]),
}


@pytest.mark.parametrize("helper", ["free", "late", "none"])
def test_large_arrays_are_copied_by_two_threads(pipe, helper, monkeypatch):
    busy = threading.Event()
    if helper == "late":
        copying._helping().submit(busy.wait)
    monkeypatch.setattr(copying, "_processors", lambda: 1 if helper == "none" else 2)
    for array in LARGE.values():
        assert array.nbytes >= copying.LARGE
        assert same({"x": array}, pipe.through([{"x": array}])[0])
    busy.set()


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, lambda a: np.repeat(a, 2, 1)[:, ::2]])
@pytest.mark.parametrize("n", [50, 1000])
def test_a_copy_lies_in_the_order_that_is_asked_for(n, layout, order):
    array = np.arange(n * 700.0).reshape(n, 700)
    place = mmap.mmap(-1, 8 + array.nbytes + 8)
    copying.copy(place, 8, layout(array), order)
    assert place[:] == bytes(8) + array.tobytes(order) + bytes(8)


def test_a_copy_keeps_nothing_of_the_array(pipe):
    """What a reference holds, its owner can neither close nor resize."""
    for _ in range(30):
        owner = bytearray(2 * copying.LARGE)
        pipe.through([np.frombuffer(owner, "u1")])
        owner.append(1)


def test_where_no_thread_can_be_started_one_copies(pipe, monkeypatch):
    def submit(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(copying._helping(), "submit", submit)
    array = np.arange(2 * copying.LARGE // 8)
    assert same(array, pipe.through([array])[0])


def test_a_copy_that_fails_leaves_no_slab(pipe, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(encoder, "copy", fail)
    with pytest.raises(MemoryError):
        pipe.encoder.row({"x": np.zeros(5000)})
    assert used(pipe.writer) == 0


@pytest.mark.parametrize("n", [2, 2000])
def test_names_that_are_set_anew_are_those_of_one_array(pipe, n):
    """By its owner before it was yielded, or by its consumer: a dtype with names can be changed."""
    dtype, names = np.dtype([("x", "i4"), ("y", "f4")]), ("x", "y")
    for k in range(20):
        (found,) = pipe.through([{"a": np.zeros(n, dtype)}])
        assert found["a"].dtype.names == names
        found["a"].dtype.names = ("p", "q")
        if k == 10:
            dtype.names = names = ("u", "v")


PARTICULAR = {
    "metadata": np.dtype("f4", metadata={"unit": "m"}),
    "metadata that only cloudpickle takes": np.dtype("f4", metadata={"fn": lambda: 0}),
    "metadata of a field": np.dtype([("a", np.dtype("f4", metadata={"unit": "m"}))]),
    "records": np.dtype((np.record, [("a", "f4")])),
}


@pytest.mark.parametrize("size", [3, 3000])
@pytest.mark.parametrize("name", PARTICULAR)
def test_dtypes_that_equal_others_and_are_not_the_same(name, size, pipe):
    dtype = PARTICULAR[name]
    plain = np.dtype([("a", "f4")]) if dtype.names else np.dtype("f4")
    kinds = [plain] * 6 + [dtype] * 6 + [plain]
    found = pipe.through([np.zeros(size, kind) for kind in kinds])
    assert [one.dtype.type for one in found] == [kind.type for kind in kinds]
    assert [bool(one.dtype.metadata) for one in found] == [bool(kind.metadata) for kind in kinds]


def test_very_wide_rows_get_no_schema(pipe):
    items = [tuple(range(columns.WIDEST + 1))] * 5
    assert all(map(same, items, pipe.through(items)))
    assert not pipe.encoder.known


def test_rows_of_ever_other_shapes_get_no_schema(pipe):
    """Writing a schema out takes as long as to pickle ten items."""
    items = [{"x": np.zeros(k)} for k in range(1, 1000)]
    assert all(map(same, items, pipe.through(items)))
    assert len(pipe.encoder.known) <= encoder.KNOWN
    assert all(isinstance(known, int) for known in pipe.encoder.known.values())
    pipe.through([{"x": np.zeros(k)} for k in (3, 4) * encoder.MOST_MET])
    assert sum(isinstance(known, columns.Schema) for known in pipe.encoder.known.values()) == 2


@pytest.mark.parametrize("n", [4, 9])  # from the fourth on by columns
def test_several_large_arrays_are_placed_all_or_none(pipe, n, monkeypatch):
    items = [{"x": np.full(5000, k), "k": k, "y": np.full((3, 700), -k)} for k in range(n)]
    assert all(map(same, items, pipe.through(items)))
    rows = [pipe.encoder.row(item) for item in items]
    assert used(pipe.writer) == len(refs_in(pipe.message(rows)[0])) == 2 * n
    placed = []

    def full(size):
        placed.append(size)
        if len(placed) == 2:
            raise OSError("no space is left")
        return Writer.place(pipe.writer, size)

    monkeypatch.setattr(pipe.writer, "place", full)
    with pytest.raises(OSError, match="no space"):
        pipe.encoder.row(items[-1])
    assert used(pipe.writer) == 2 * n


def test_what_is_not_taken_is_freed(pipe):
    rows = [pipe.encoder.row([np.zeros(5000), "a"]), raised(pipe.encoder, ValueError(np.zeros(5000)))]
    runs, _ = pipe.message(rows)
    assert used(pipe.writer) == len(refs_in(runs)) == 2
    for ref in refs_in(runs):
        pipe.reader.free(ref)
    assert used(pipe.writer) == 0


def test_an_item_that_fails_half_way_leaves_no_slab(pipe):
    with pytest.raises(TypeError, match="cannot pickle"):
        pipe.encoder.row([np.zeros(5000), (x for x in [])])
    assert used(pipe.writer) == 0


def test_memory_of_free_slabs_goes_back_to_the_system(pipe):
    import os

    kept = pipe.through([np.ones(100_000)])[0]
    pipe.through([np.ones(2_000_000)])
    full = os.fstat(pipe.fd).st_blocks
    pipe.writer.trim()
    assert os.fstat(pipe.fd).st_blocks * 512 < full * 512 - 15_000_000
    assert kept.sum() == 100_000
    assert same(np.ones(2_000_000), pipe.through([np.ones(2_000_000)])[0])


def test_the_portable_file_does_the_same():
    import os

    made = Pipe(portable=True)
    assert same(GRID, made.through([GRID])[0])
    assert same(np.ones(100_000), made.through([np.ones(100_000)])[0])
    os.close(made.fd)


# Errors.


def caught(fn):
    try:
        fn()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class Awkward(Exception):  # noqa: N818
    def __init__(self, one, two):
        super().__init__(one)


def test_an_error_arrives_as_itself_in_its_place(pipe):
    error = caught(lambda: {}["key"])
    error.add_note("a note")
    rows = [pipe.encoder.row(1), raised(pipe.encoder, error), pipe.encoder.row(2)]
    first, (second), third = pipe.outcomes(rows)
    assert (first, third) == ([1], [2])
    assert isinstance(second, Raised)
    found = second.box[0]
    assert type(found) is KeyError
    assert found.args == ("key",)
    assert found.__notes__ == ["a note"]
    assert isinstance(found.__cause__, RemoteTraceback)
    assert "lambda" in str(found.__cause__)


class FrozenError(Exception):
    """One that cannot be changed."""

    def __setattr__(self, name, value):
        raise AttributeError("immutable")


class OverriddenError(Exception):
    """One with a cause of its own, which cannot be set."""

    __cause__ = property(lambda _: None)


@pytest.mark.parametrize("kind", [FrozenError, OverriddenError])
def test_an_error_that_takes_no_cause_arrives_as_itself(kind, pipe):
    first, found, last = pipe.outcomes([pipe.encoder.row(1), raised(pipe.encoder, kind("odd")), pipe.encoder.row(2)])
    assert (first, last) == ([1], [2])
    (error,) = found.box
    assert type(error) is kind
    assert error.args == ("odd",)


@pytest.mark.parametrize("error", [Awkward(1, 2), ValueError(x for x in [])], ids=["awkward", "unpicklable"])
def test_an_error_that_does_not_pickle_is_told(error, pipe):
    (found,) = pipe.outcomes([raised(pipe.encoder, error)])
    assert type(found.box[0]) is WorkerError
    assert type(error).__name__ in str(found.box[0])
    assert type(error).__name__ in str(found.box[0].__cause__)


class Fragile:
    """Breaks where it arrives."""

    def __init__(self, n):
        self.n = n

    def __setstate__(self, state):
        raise RuntimeError("broken on arrival")


def test_an_item_that_does_not_unpickle_costs_itself_only(pipe):
    items = [1, Fragile(1), [np.ones(5000)], Fragile(2), 3]
    found = pipe.outcomes([pipe.encoder.row(item) for item in items])
    assert [type(one) for one in found] == [list, Raised, list, Raised, list]
    assert same([1, [np.ones(5000)], 3], [one for some in found if type(some) is list for one in some])
    assert "broken on arrival" in str(found[1].box[0])


def test_a_class_that_came_by_value_goes_back_as_the_consumers_own(pipe):
    """So with what ``__main__`` defines: by value it would overwrite the attributes of the consumer's class."""

    class Local:
        count = 0

    cloudpickle.loads(cloudpickle.dumps(Local))  # known to cloudpickle from now on
    row = pipe.encoder.row([Local(), Local, (lambda: 3)])
    Local.count = 5
    (((one, kind, function),),) = pipe.outcomes([row])
    assert kind is Local
    assert type(one) is Local
    assert Local.count == 5
    assert function() == 3
