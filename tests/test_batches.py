"""Grouping, shuffling, caching: what comes out for what goes in."""

import itertools
import re
import weakref
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from pescador_fn import batch, cache, forms, map_items, resume, seeded, shuffle, take, tape, unbatch
from pescador_fn.collate import collate
from pescador_fn.forms import ODD, Collator, Misfit, form_of

Point = namedtuple("Point", "x y")
day = np.datetime64


def one(rows, **options):
    """All rows in one batch."""
    (made,) = batch(rows.__iter__, len(rows), **options)()
    return made


def same(found, wanted):
    """Equal values, types, shapes and dtypes."""
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            same(found[key], wanted[key])
    elif isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            same(a, b)
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found, wanted)
    else:
        assert found == wanted


def objects(*values):
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


# batch: forms

FORMS = {
    "arrays": ([np.arange(3), np.arange(3) + 1], np.array([[0, 1, 2], [1, 2, 3]])),
    "arrays of no dimension": ([np.array(1.5), np.array(2.5)], np.array([1.5, 2.5])),
    "empty arrays": ([np.empty((0, 3)), np.empty((0, 3))], np.empty((2, 0, 3))),
    "ints": ([1, 2, 3], np.array([1, 2, 3])),
    "floats": ([1.0, 2.5], np.array([1.0, 2.5])),
    "ints and floats": ([1, 2.5], np.array([1.0, 2.5])),
    "bools": ([True, False], np.array([True, False])),
    "complex": ([1j, 2.0], np.array([1j, 2])),
    "numpy scalars": ([np.float32(1), np.float32(2)], np.array([1, 2], np.float32)),
    "numpy ints": ([np.int8(1), np.int8(2)], np.array([1, 2], np.int8)),
    "dates": ([day("2020-01-01"), day("2021-01-01")], np.array(["2020-01-01", "2021-01-01"], "M8[D]")),
    "durations": ([np.timedelta64(1, "s"), np.timedelta64(2, "s")], np.array([1, 2], "m8[s]")),
    "strings": (["a", "long"], np.array(["a", "long"])),
    "strings that are empty": (["", ""], np.array(["", ""])),
    "strings with a NUL at the end": (["a\0", "b"], objects("a\0", "b")),
    "strings with a NUL inside": (["a\0b", "c"], np.array(["a\0b", "c"])),
    "bytes": ([b"a", b"long"], objects(b"a", b"long")),
    "bytes with a NUL at the end": ([b"a\0", b"b"], objects(b"a\0", b"b")),
    "ints and numpy ints": ([1, np.int8(2)], np.array([1, 2])),
    "ints and unsigned ones": ([1, np.uint64(2)], objects(1, np.uint64(2))),
    "ints and bools": ([2, True], np.array([2, 1])),
    "huge ints": ([2**70, 1], objects(2**70, 1)),
    "ints beyond one type": ([2**63, -1], objects(2**63, -1)),
    "numpy bytes": ([np.bytes_(b"a"), np.bytes_(b"long")], np.array([b"a", b"long"])),
    "numpy bytes with a NUL at the end": ([np.bytes_(b"a\0"), np.bytes_(b"b")], objects(np.bytes_(b"a\0"), b"b")),
    "lists of bytes": ([[b"a", b"b\0"]] * 2, np.array([[b"a", b"b\0"]] * 2, object)),
    "lists of strings": ([["a", "b"]] * 2, np.array([["a", "b"]] * 2)),
    "lists of strings with a NUL at the end": (
        [["a", "b\0"], ["c", "d"]],
        np.array([["a", "b\0"], ["c", "d"]], object),
    ),
    "lists of huge ints": ([[2**70, 1], [2, 3]], np.array([[2**70, 1], [2, 3]], object)),
    "lists of ints beyond one type": ([[2**63, -1]] * 2, np.array([[2**63, -1]] * 2, object)),
    "lists of large floats": ([[1e300, -1]] * 2, np.array([[1e300, -1]] * 2)),
    "None": ([None, None], objects(None, None)),
    "some None": (["a", None], objects("a", None)),
    "sets": ([{1}, {2}], objects({1}, {2})),
    "lists are arrays": ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
    "dicts": (
        [{"x": np.arange(2), "y": 1}, {"x": np.arange(2), "y": 2}],
        {"x": np.array([[0, 1]] * 2), "y": np.array([1, 2])},
    ),
    "floats of two sizes": (
        [np.arange(3, dtype=np.float32), np.arange(3, dtype=np.float64)],
        np.array([[0.0, 1.0, 2.0]] * 2),
    ),
    "dicts in another order": ([{"x": 1, "y": 2}, {"y": 4, "x": 3}], {"x": np.array([1, 3]), "y": np.array([2, 4])}),
    "empty dicts": ([{}, {}], {}),
    "other mappings": ([MappingProxyType({"x": 1}), MappingProxyType({"x": 2})], {"x": np.array([1, 2])}),
    "nested": (
        [{"a": {"b": (1, {"c": "u"})}}, {"a": {"b": (2, {"c": "v"})}}],
        {"a": {"b": (np.array([1, 2]), {"c": np.array(["u", "v"])})}},
    ),
    "keys of any kind": ([{1: 2, (0, 1): 3}] * 2, {1: np.array([2, 2]), (0, 1): np.array([3, 3])}),
    "tuples": ([(1, "a"), (2, "b")], (np.array([1, 2]), np.array(["a", "b"]))),
    "empty tuples": ([(), ()], ()),
    "named tuples": ([Point(1, 2.0), Point(3, 4.0)], Point(np.array([1, 3]), np.array([2.0, 4.0]))),
    "one row": ([{"x": np.arange(2)}], {"x": np.array([[0, 1]])}),
}


@pytest.mark.parametrize(("rows", "wanted"), FORMS.values(), ids=FORMS)
def test_a_batch_has_the_form_of_its_items(rows, wanted):
    same(one(rows), wanted)
    same(one([{"under a key": row} for row in rows]), {"under a key": wanted})


@pytest.mark.parametrize("before", FORMS)
def test_a_batch_is_the_same_whatever_came_before_it(before):
    """A form that is learnt from some rows is no other batch's."""

    def dressed(rows):
        yield rows
        yield [{"a": row, "b": k} for k, row in enumerate(rows)]
        yield [(row, np.ones(2)) for row in rows]

    def pair(rows):
        return list(itertools.islice(itertools.cycle(rows), 2))

    for first in dressed(pair(FORMS[before][0])):
        batches = [then for rows, _ in FORMS.values() for then in dressed(pair(rows))]
        stream = batch(itertools.chain.from_iterable([first, *batches]).__iter__, 2)()
        same(next(stream), one(first))
        for then in batches:
            same(next(stream), one(then))


class Index:
    def __index__(self):
        return 3


class Whole(int):
    pass


PARTS = [
    *[3, True, Whole(3), 2**62, 2**70, -1, 0.5, 2j, None, Fraction(1, 2), Decimal(1), Index(), "a", "ab", "a\0", b"a"],
    *[np.int64(3), np.int8(3), np.uint64(3), np.float64(0.5), np.float32(0.5), np.longdouble(0.5), np.bool_(True)],
    *[np.str_("a"), np.timedelta64(1, "s"), np.timedelta64(1, "m"), np.timedelta64(1, "ms"), day("2020-01-01")],
    *[np.array(3), np.array(0.5), np.array(0.5, "f4"), np.array("a"), np.array([3]), np.array([[3]])],
    *[np.zeros(3), np.zeros(3, "f4"), np.zeros(3, ">f8"), np.zeros((3, 1)), np.zeros((1, 3)), np.zeros((3, 0))],
    *[np.zeros(0), np.zeros((0, 3)), np.zeros(6)[::2], np.zeros((2, 3)), np.zeros((3, 2)).T, np.zeros(3, "i8")],
    *[np.ma.masked_array(np.zeros(3), [0, 1, 0]), np.ma.masked_array(0.5), np.zeros(3).view(np.recarray)],
    *[[0.0, 0.0, 0.0], (0.0, 0.0), (0.0, 0), (), {}, {"a": 1}, {"a": 1.0}, {"b": 1}, {"a": 1, "b": 2}, Point(1, 2)],
    *[OrderedDict(a=1), Counter(a=1), defaultdict(int, a=1), defaultdict(int, b=1), MappingProxyType({"a": 1})],
]


def told(make, *of):
    """What is made, or the error that says why it cannot be."""
    try:
        return make(*of)
    except (TypeError, ValueError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("dress", [lambda x: {"k": 1, "x": x}, lambda x: ({"y": (x, 1.5)}, x), lambda x: x])
@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_a_form_makes_what_is_made_without_one(part, dress):
    """Whatever one of the rows is."""
    plain, learnt = dress(part), Collator(None)
    told(learnt, [plain, plain])
    for odd in map(dress, PARTS):
        for rows in ([plain, odd], [odd, plain, plain]):
            collator = Collator(None)
            collator.form = learnt.form
            same(told(through, collator, rows), told(collate, rows, None))


def through(collator, rows):
    """As `batch` does it."""
    try:
        made = collator.form(rows)
    except ODD:
        made = None
    return collator(rows) if made is None else made


def test_a_form_asks_no_row_for_keys_that_it_may_not_have():
    """Some dicts would make what they are asked for."""
    for first, second, row in [
        ({"a": 1, "b": 2}, {"b": 1, "a": 1}, {"a": 5}),
        ({"a": 1, "b": 2}, {"a": 1, "b": 1}, {"a": 5}),
        ({"a": np.ones(2), "b": 2}, {"a": np.ones(2), "b": 1}, {"a": np.ones(2)}),
        (([1], 2), ([1], 2), {}),
        ((np.ones(2), 2), (np.ones(2), 2), {}),
    ]:
        for odd in (defaultdict(list, row), Counter(row)):
            for rows in ([second, odd], [odd, second]):
                stream = batch([first, first, *rows].__iter__, 2)()
                next(stream)
                with pytest.raises((TypeError, ValueError), match="at position"):
                    next(stream)
                assert dict(odd) == row


def test_arrays_without_dimensions_of_two_kinds_are_refused_after_others_too():
    rows = [np.array(0.5), np.array(1.5), np.array(3, "u8"), np.array(3, "i8")]
    stream = batch([{"x": row} for row in rows].__iter__, 2)()
    same(next(stream), {"x": np.array([0.5, 1.5])})
    with pytest.raises(TypeError, match="has dtype uint64 at position 0 and int64 at position 1"):
        next(stream)


def test_wide_rows_are_batched_too():
    rows = [{k: k + j for k in range(1000)} for j in range(2)]
    same(one(rows), {k: np.array([k, k + 1]) for k in range(1000)})
    with pytest.raises(Misfit):  # no function of a thousand lines is written
        form_of(rows[0])


@pytest.mark.parametrize("depth", [1, 16, 17, 120])
def test_deep_rows_are_batched_too(depth):
    """Also where a function for them would be indented beyond what Python reads."""
    row, wanted = np.arange(2), np.array([[0, 1], [0, 1]])
    for _ in range(depth):
        row, wanted = {"k": row, "n": 1}, {"k": wanted, "n": np.array([1, 1])}
    same(one([row, row]), wanted)


def test_a_form_is_gone_with_its_stream():
    form = weakref.ref(form_of({"x": np.ones(2), "y": 1}))
    assert form() is None


def test_the_end_is_asked_for_once():
    """A short batch is given when it is met, and another pull says that it was."""
    streams = [batch([1, 2, 3].__iter__, 2, partial=partial)() for partial in (False, True)]
    assert [len(list(stream)) for stream in streams] == [1, 2]
    short, none = (stream.state_dict()["at"][1] for stream in streams)
    assert short == none


def test_the_form_of_a_batch_is_learnt_again_and_again():
    """Lengths, orders of keys and dtypes that change from batch to batch, and batches that cannot be made."""
    rng = np.random.default_rng(0)
    batches = []
    for k in range(60):
        kind = rng.choice(["f4", "f8", "i8", "U1"])
        rows = [{"x": rng.integers(9, size=2 + k % 3).astype(kind), "y": float(j)} for j in range(3)]
        if k % 4 == 1:
            rows = [dict(reversed(row.items())) for row in rows]
        if k % 5 == 3:
            rows[2]["x"] = rows[2]["x"][1:]
        batches.append(rows)
    stream = batch(itertools.chain.from_iterable(batches).__iter__, 3)()
    for rows in batches:
        try:
            wanted = one(rows)
        except ValueError as error:
            with pytest.raises(ValueError, match=f"^{re.escape(str(error))}$"):
                next(stream)
        else:
            same(next(stream), wanted)


def laid_out(how, array):
    made = {
        "C": np.ascontiguousarray,
        "Fortran": np.asfortranarray,
        "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        "reversed": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
        "transposed": lambda a: np.ascontiguousarray(a.T).T,
        "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
        "read-only": lambda a: (b := a.copy()).setflags(write=False) or b,
        "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    }
    return made[how](array)


LAYOUTS = ("C", "Fortran", "strided", "reversed", "transposed", "broadcast", "read-only", "unaligned")
DTYPES = ("?", "u1", "i8", ">i4", "f2", "f4", "<f8", ">f8", "c16", "g", "M8[D]", "m8[us]", "U3", "S3", "i4,f8", "V5")


@pytest.mark.parametrize("how", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_any_layout_and_dtype_arrive_equal(how, dtype):
    rng = np.random.default_rng(0)
    if dtype == "V5":
        rows = [np.frombuffer(rng.bytes(60), "V5").reshape(3, 4) for _ in range(3)]
    else:
        rows = [rng.integers(0, 2, (3, 4)).astype("i8").astype(dtype) for _ in range(3)]
    rows = [laid_out(how, row) for row in rows]
    copies = [row.copy() for row in rows]
    made = one(rows)
    assert made.dtype == np.stack(copies).dtype
    np.testing.assert_array_equal(made, np.stack(copies))
    for row, copy in zip(rows, copies, strict=True):
        np.testing.assert_array_equal(row, copy)


@pytest.mark.parametrize("how", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES[:-1])
def test_arrays_of_any_layout_and_dtype_arrive_equal_in_dicts(how, dtype):
    rows = [laid_out(how, np.arange(12).reshape(3, 4).astype("i8").astype(dtype)) for _ in range(3)]
    copies = [row.copy() for row in rows]
    for made in (one([{"x": row} for row in rows])["x"], one([{"y": 1, "x": row[0]} for row in rows])["x"]):
        wanted = np.stack([copy if made.ndim == 3 else copy[0] for copy in copies])
        assert made.dtype == wanted.dtype
        np.testing.assert_array_equal(made, wanted)
        assert made.flags.writeable
        assert made.flags.aligned
        assert not any(np.shares_memory(made, row) for row in rows)


def test_a_mask_among_plain_arrays_in_dicts_is_kept():
    made = one([{"x": np.ones(2)}, {"x": np.ma.array([1.0, 2.0], mask=[0, 1])}])["x"]
    assert made.mask.tolist() == [[False, False], [False, True]]


def test_object_arrays():
    made = one([objects("a", {1}), objects(None, 2)])
    assert made.shape == (2, 2)
    assert made.tolist() == [["a", {1}], [None, 2]]


def test_structured_scalars_and_masked_arrays():
    kind = np.dtype([("x", "i4"), ("y", "f8")])
    rows = np.array([(1, 2.0), (3, 4.0)], kind)
    same(one(list(rows)), rows)
    made = one([np.ma.array([1, 2], mask=[0, 1]), np.ma.array([3, 4], mask=[1, 0])])
    assert isinstance(made, np.ma.MaskedArray)
    assert made.mask.tolist() == [[False, True], [True, False]]
    assert made.filled(0).tolist() == [[1, 0], [0, 4]]


def test_memory_maps(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(12).reshape(4, 3))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    made = one([{"x": row, "all": mapped} for row in mapped[:2]])
    np.testing.assert_array_equal(made["x"], [[0, 1, 2], [3, 4, 5]])
    assert made["all"].shape == (2, 4, 3)
    for part in made.values():
        assert not isinstance(part, np.memmap)
        assert part.flags.writeable


@pytest.mark.parametrize("how", LAYOUTS)
@pytest.mark.parametrize("n", [1, 3])
def test_batches_are_writable_and_their_own(how, n):
    rows = [laid_out(how, np.arange(6.0).reshape(2, 3)) for _ in range(n)]
    before = [row.copy() for row in rows]
    made = one(rows)
    assert made.flags.writeable
    assert not any(np.shares_memory(made, row) for row in rows)
    made[...] = -1
    for row, copy in zip(rows, before, strict=True):
        np.testing.assert_array_equal(row, copy)


@pytest.mark.parametrize("shape", [(64,), (4, 16), (2, 3, 5)])
def test_large_batches_are_what_small_ones_are(monkeypatch, shape):
    monkeypatch.setattr(forms, "LARGE", 2048)
    rows = [{"x": np.random.default_rng(i).random(shape), "y": i} for i in range(40)]
    rows[9]["x"] = np.asfortranarray(rows[9]["x"])
    for size in (2, 8, 20):  # below 2,048 bytes and above
        made = list(batch(rows.__iter__, size)())
        for k, one in enumerate(made):
            here = rows[k * size : (k + 1) * size]
            assert np.array_equal(one["x"], np.stack([row["x"] for row in here]))
            assert (one["x"].dtype, one["y"].tolist()) == (np.dtype(float), [row["y"] for row in here])
            assert one["x"].flags.writeable
            assert not any(np.shares_memory(one["x"], row["x"]) for row in here)
    rows[30]["x"] = np.zeros(7)
    with pytest.raises(ValueError, match=r"\['x'\] has shape .* at position 0 and \(7,\) at position 10"):
        list(batch(rows.__iter__, 20)())


def test_a_buffer_that_a_source_fills_again_and_again():
    def reused():
        buffer = np.zeros(2)
        for i in range(4):
            buffer[:] = i
            yield buffer.copy()

    assert [b.tolist() for b in batch(reused, 2)()] == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_batches_are_what_numpy_stacks(data):
    dtype = data.draw(npst.scalar_dtypes())
    shape = data.draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    rows = [data.draw(npst.arrays(dtype, shape)) for _ in range(data.draw(st.integers(1, 4)))]
    made = one(rows)
    assert made.dtype == np.stack(rows).dtype
    np.testing.assert_array_equal(made, np.stack(rows))


@pytest.mark.parametrize(
    "rows",
    [
        [[1, "a"], [2, "b"]],
        [["a", 1.5], ["b", 2.5]],
        [[b"a\0"], [b"b"]],
        [["a\0"], ["b"]],
        [[2**70], [1]],
        [[2**63], [-1]],
        [[None], [1]],
        [[True, "x"], [False, "y"]],
    ],
    ids=str,
)
def test_lists_lose_nothing(rows):
    """Or they are refused."""
    with suppress(TypeError):
        assert one(rows).tolist() == rows


# batch: axis

JOINS = [
    (0, [(2, 3), (1, 3), (4, 3)], (7, 3)),
    (1, [(2, 3), (2, 1)], (2, 4)),
    (-1, [(2, 3), (2, 1)], (2, 4)),
    (0, [(2,), (0,), (3,)], (5,)),
    (2, [(1, 2, 3), (1, 2, 5)], (1, 2, 8)),
    (-2, [(1, 2, 3), (1, 4, 3)], (1, 6, 3)),
]


@pytest.mark.parametrize(("axis", "shapes", "wanted"), JOINS)
def test_joining_along_an_axis(axis, shapes, wanted):
    rows = [np.random.default_rng(k).random(shape) for k, shape in enumerate(shapes)]
    made = one([{"x": row} for row in rows], axis=axis)["x"]
    assert made.shape == wanted
    np.testing.assert_array_equal(made, np.concatenate(rows, axis=axis))
    assert not any(np.shares_memory(made, row) for row in rows)


def test_joining_one_row_gives_an_array_of_its_own():
    row = np.arange(4)
    made = one([row], axis=0)
    assert made.flags.writeable
    assert not np.shares_memory(made, row)


# batch: sizes


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(("n", "size"), [(0, 3), (2, 3), (3, 3), (7, 3), (9, 3), (5, 1), (1, 100)])
def test_sizes_and_tails(n, size, partial):
    sizes = [len(b) for b in batch(range(n).__iter__, size, partial=partial)()]
    assert sizes == [size] * (n // size) + ([n % size] if partial and n % size else [])


def test_a_batch_pulls_no_further_than_it_must():
    pulled = []
    stream = batch(lambda: (pulled.append(i) or i for i in itertools.count()), 4)()
    assert pulled == []
    next(stream)
    assert pulled == [0, 1, 2, 3]


def test_what_goes_into_a_batch_is_left_as_it_was():
    rows = [{"x": np.arange(2), "n": {"y": 1}} for _ in range(3)]
    before = [{"x": row["x"].copy(), "n": dict(row["n"])} for row in rows]
    one(rows)
    for row, copy in zip(rows, before, strict=True):
        same(row, copy)


# batch: what does not fit. Rows, the error, what it names

span = np.timedelta64(5, "s")


class Learns:
    """As PyTorch's tensors are that require grad."""

    requires_grad = True

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


MISFITS = {
    "ragged": ([np.ones(2), np.ones(2), np.ones(3)], ValueError, ["(2,)", "(3,)", "position 2"]),
    "ragged key": (
        [{"x": np.ones((2, 3))}, {"x": np.ones((2, 4))}],
        ValueError,
        ["'x'", "(2, 3)", "(2, 4)", "position 1"],
    ),
    "other dimensions": (
        [{"x": np.ones(3)}, {"x": np.ones((3, 1))}],
        ValueError,
        ["'x'", "(3,)", "(3, 1)", "position 1"],
    ),
    "ragged, nested": (
        [{"a": {"b": np.ones(2)}}, {"a": {"b": np.ones(1)}}],
        ValueError,
        ["['a']['b']", "(2,)", "(1,)"],
    ),
    "ragged, in a tuple": ([(0, np.ones(2)), (0, np.ones(1))], ValueError, ["[1]", "(2,)", "(1,)", "position 1"]),
    "ragged lists": ([[1, 2], [1]], ValueError, ["(2,)", "(1,)", "position 1"]),
    "uneven list": ([[[1, 2], [1]], [[1, 2], [1]]], ValueError, ["position 0"]),
    "missing key": ([{"x": 1, "y": 1}, {"x": 2}], ValueError, ["'y'", "position 1"]),
    "additional key": ([{"x": 1}, {"x": 1}, {"x": 2, "z": 3}], ValueError, ["'z'", "position 2"]),
    "other key": ([{"x": 1}, {"z": 3}], ValueError, ["'x'", "'z'", "position 1"]),
    "missing key, nested": ([{"a": {"b": 1}}, {"a": {}}], ValueError, ["['a']", "'b'", "position 1"]),
    "tuples of other lengths": ([(1, 2), (1, 2, 3)], ValueError, ["(1, 2, 3)", "position 1"]),
    "dict, then array": ([{"x": 1}, np.ones(2)], TypeError, ["position 1"]),
    "array, then dict": ([np.ones(2), {"x": 1}], TypeError, ["position 1"]),
    "dict, then None": ([{"x": 1}, None], TypeError, ["None", "position 1"]),
    "None, then dict": ([None, {"x": 1}], TypeError, ["{'x': 1}", "position 1"]),
    "tuple, then int": ([(1, 2), 3], (TypeError, ValueError), ["3", "position 1"]),
    "int, then tuple": ([3, (1, 2)], TypeError, ["(1, 2)", "position 1"]),
    "number, then string": ([{"y": 1}, {"y": "a"}], TypeError, ["'y'", "1", "'a'", "position 1"]),
    "string, then number": (["a", 1], TypeError, ["'a'", "1", "position 1"]),
    "string, then bytes": (["a", b"a"], TypeError, ["'a'", "b'a'", "position 1"]),
    "array, then string": ([np.ones(2), "ab"], TypeError, ["'ab'", "position 1"]),
    "array, then scalar": ([np.ones(2), 1.0], ValueError, ["(2,)", "()", "position 1"]),
    "numbers, then dates": (
        [np.ones(1), np.array(["2020"], "M8[Y]")],
        TypeError,
        ["float64", "datetime64", "position 1"],
    ),
    "numbers, then strings": ([np.ones(1), np.array(["a"])], TypeError, ["float64", "<U1", "position 1"]),
    "other fields": (
        [{"r": np.zeros(1, [("a", int)])}, {"r": np.zeros(1, [("b", int)])}],
        TypeError,
        ["['r']", "('a', '<i8')", "('b', '<i8')", "position 1"],
    ),
    "durations, then ints": ([{"d": span}, {"d": 7}], TypeError, ["['d']", "timedelta64(5,'s')", "7", "position 1"]),
    "durations, then bools": ([span, True], TypeError, ["timedelta64(5,'s')", "True", "position 1"]),
    "durations, then numpy ints": ([span, np.int8(7)], TypeError, ["timedelta64(5,'s')", "7", "position 1"]),
    "ints, then durations": ([7, span], TypeError, ["timedelta64(5,'s')", "7", "position 1"]),
    "lists of None": ([[None], [None]], TypeError, ["[None]", "position 0", "no array"]),
    "tensors that learn": ([{"x": Learns()}, {"x": Learns()}], TypeError, ["['x']", "grad", "position 0", ".detach()"]),
    "lists of tensors that learn": ([[Learns()]] * 2, TypeError, ["the item", "grad", "position 0", ".detach()"]),
    "lists of dicts": ([[{"a": 1}], [{"a": 2}]], TypeError, ["[{'a': 1}]", "position 0", "no array"]),
    "numbers, then objects": ([np.ones(1), objects("a")], TypeError, ["float64", "object", "position 1"]),
}


@pytest.mark.parametrize(("rows", "kind", "words"), MISFITS.values(), ids=MISFITS)
@pytest.mark.parametrize("partial", [False, True], ids=["full", "tail"])
@pytest.mark.parametrize("before", [False, True], ids=["at once", "after such that fit"])
def test_items_that_do_not_fit(rows, kind, words, partial, before):
    size = len(rows) + partial
    stream = batch(([rows[0]] * (size * before) + list(rows)).__iter__, size, partial=partial)()
    if before:
        with suppress(kind):  # the first may not fit even its like
            next(stream)
    with pytest.raises(kind) as caught:
        next(stream)
    for word in ["batch: ", *words]:
        assert word in str(caught.value)


class Moody:
    """What is an array at some calls, and raises at others."""

    def __init__(self, *errors):
        self.errors = list(errors)

    def __array__(self, dtype=None, copy=None):
        if self.errors:
            raise self.errors.pop()
        return np.ones(2)


@pytest.mark.parametrize("learnt", [False, True], ids=["at once", "after others"])
@pytest.mark.parametrize("kind", [TimeoutError, RuntimeError])
def test_what_an_item_raises_where_it_is_read_is_raised_as_itself(learnt, kind):
    rows = [{"x": Moody()} for _ in range(3 * learnt)] + [{"x": Moody(kind("mine"))}, {"x": Moody()}] * 2
    stream = batch(rows.__iter__, 3)()
    if learnt:
        next(stream)
    with pytest.raises(kind, match="mine"):
        next(stream)
    assert list(stream) == []


@pytest.mark.parametrize("learnt", [False, True], ids=["at once", "after others"])
@pytest.mark.parametrize("n", [2, 3], ids=["tail", "full"])
def test_a_signal_while_a_batch_is_made_costs_nothing(learnt, n):
    rows = [{"x": Moody(), "k": k} for k in range(3 * learnt + n)]
    rows[-1]["x"] = Moody(KeyboardInterrupt())
    stream = batch(rows.__iter__, 3, partial=True)()
    if learnt:
        next(stream)
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert next(stream)["k"].tolist() == [3 * learnt + k for k in range(n)]
    assert list(stream) == []


AXES = {
    "no such axis": ([np.ones(3)] * 2, 1, ValueError, ["(3,)", "axis 1"]),
    "no such axis, negative": ([{"x": np.ones(3)}] * 2, -2, ValueError, ["'x'", "(3,)", "axis -2"]),
    "scalars": ([{"x": 1.0}] * 2, 0, ValueError, ["'x'", "1.0", "axis 0"]),
    "arrays of no dimension": ([np.array(1.0)] * 2, 0, ValueError, ["()", "axis 0"]),
    "strings": ([{"x": "a"}] * 2, 0, ValueError, ["'x'", "'a'", "axis 0"]),
    "other sides": (
        [{"x": np.ones((2, 3))}, {"x": np.ones((2, 4))}],
        0,
        ValueError,
        ["'x'", "(2, 3)", "(2, 4)", "position 1"],
    ),
    "other dimensions": ([np.ones((2, 3)), np.ones(3)], 0, ValueError, ["(2, 3)", "(3,)", "position 1"]),
}


@pytest.mark.parametrize(("rows", "axis", "kind", "words"), AXES.values(), ids=AXES)
def test_items_that_cannot_be_joined(rows, axis, kind, words):
    with pytest.raises(kind) as caught:
        one(rows, axis=axis)
    for word in ["batch: ", *words]:
        assert word in str(caught.value)


def test_positions_are_those_in_the_batch_and_the_next_batch_is_whole():
    rows = [{"x": np.ones(2)} for _ in range(9)]
    rows[4] = {"x": np.ones(5)}
    stream = batch(rows.__iter__, 3)()
    assert next(stream)["x"].shape == (3, 2)
    with pytest.raises(ValueError, match="position 1"):
        next(stream)
    assert next(stream)["x"].shape == (3, 2)
    assert list(stream) == []


# unbatch

BATCHES = {
    "array": (np.arange(6).reshape(3, 2), [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]),
    "dict": ({"x": np.arange(2), "y": np.array(["a", "b"])}, [{"x": 0, "y": "a"}, {"x": 1, "y": "b"}]),
    "nested": ({"a": {"b": (np.arange(2), [5, 6])}}, [{"a": {"b": (0, 5)}}, {"a": {"b": (1, 6)}}]),
    "tuple": ((np.arange(2), np.arange(2) + 1), [(0, 1), (1, 2)]),
    "named tuple": (Point(np.arange(2), [3, 4]), [Point(0, 3), Point(1, 4)]),
    "list": ([1, 2, 3], [1, 2, 3]),
    "objects": (objects("a", None), ["a", None]),
    "nothing beside": ({"x": [1, 2], "y": {}, "z": ()}, [{"x": 1, "y": {}, "z": ()}, {"x": 2, "y": {}, "z": ()}]),
    "none": (np.empty((0, 2)), []),
}


@pytest.mark.parametrize(("found", "rows"), BATCHES.values(), ids=BATCHES)
def test_unbatch(found, rows):
    made = list(unbatch([found].__iter__)())
    assert len(made) == len(rows)
    for a, b in zip(made, rows, strict=True):
        if isinstance(b, np.ndarray):
            np.testing.assert_array_equal(a, b)
        else:
            assert type(a) is type(b) or not isinstance(b, dict | tuple)
            assert a == b


UNBATCHABLE = {
    "number": (3, TypeError, ["3"]),
    "string": ("abc", TypeError, ["'abc'"]),
    "no dimension": (np.array(1.0), TypeError, ["array(1.)"]),
    "None": (None, TypeError, ["None"]),
    "empty dict": ({}, TypeError, ["{}"]),
    "string in a dict": ({"x": np.arange(2), "y": "ab"}, TypeError, ["'y'", "'ab'"]),
    "lengths": ({"x": np.arange(2), "y": np.arange(3)}, ValueError, ["'x'", "2", "'y'", "3"]),
    "lengths, nested": ({"x": np.arange(2), "y": {"z": np.arange(3)}}, ValueError, ["'x'", "2", "'y'", "3"]),
    "lengths in a tuple": ((np.arange(2), np.arange(3)), ValueError, ["[0]", "2", "[1]", "3"]),
}


@pytest.mark.parametrize(("found", "kind", "words"), UNBATCHABLE.values(), ids=UNBATCHABLE)
def test_what_has_no_rows(found, kind, words):
    stream = unbatch([found, np.arange(2)].__iter__)()
    with pytest.raises(kind) as caught:
        next(stream)
    for word in ["unbatch: ", *words]:
        assert word in str(caught.value)
    assert list(stream) == [0, 1]


@pytest.mark.parametrize("size", [1, 2, 5, 7])
@pytest.mark.parametrize("rows", [FORMS[k][0] for k in ("arrays", "ints", "dicts", "nested", "named tuples", "bytes")])
def test_unbatch_undoes_batch(rows, size):
    rows = list(itertools.islice(itertools.cycle(rows), 7))
    found = list(unbatch(batch(rows.__iter__, size, partial=True))())
    assert len(found) == 7
    for a, b in zip(found, rows, strict=True):
        assert repr(one([a])) == repr(one([b]))


def test_unbatch_and_empty_batches():
    batches = [np.empty(0), np.arange(2), np.empty(0), np.arange(1)]
    assert list(unbatch(batches.__iter__)()) == [0, 1, 0]
    assert list(unbatch([np.empty(0)].__iter__)()) == []


# shuffle


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 3))
def test_shuffle_gives_every_item_once_and_none_much_too_soon(n, size, seed):
    found = list(shuffle(range(n).__iter__, size, seed=seed)())
    assert sorted(found) == list(range(n))
    for position, item in enumerate(found):
        assert item <= position + size - 1  # it must have been read


def test_a_buffer_of_one_changes_nothing():
    for seed in range(5):
        assert list(shuffle(range(50).__iter__, 1, seed=seed)()) == list(range(50))


@pytest.mark.parametrize("size", [4, 5, 100])
def test_a_buffer_as_long_as_the_stream_makes_every_order_equally_likely(size):
    mux = shuffle(range(4).__iter__, size)
    orders = Counter(tuple(seeded(mux, seed)()) for seed in range(4000))
    assert stats.chisquare([orders[order] for order in itertools.permutations(range(4))]).pvalue > 1e-6


@pytest.mark.parametrize("size", [2, 3])
def test_a_short_buffer_exchanges_the_next_item_with_a_random_one(size):
    """Each draw lets one of the ``size`` items at hand go, each as likely; what is left comes in a random order."""
    chances = Counter()

    def play(held, coming, gone, chance):
        if coming:
            for k in range(size):
                at_hand = [*held, coming[0]]
                play(at_hand[:k] + at_hand[k + 1 :], coming[1:], (*gone, at_hand[k]), chance / size)
        else:
            orders = list(itertools.permutations(held))
            for order in orders:
                chances[gone + order] += chance / len(orders)

    play(list(range(size - 1)), list(range(size - 1, 5)), (), 1.0)
    mux = shuffle(range(5).__iter__, size)
    orders = Counter(tuple(seeded(mux, seed)()) for seed in range(4000))
    assert set(orders) <= set(chances)
    assert stats.chisquare([orders[order] for order in chances], [4000 * c for c in chances.values()]).pvalue > 1e-6


def test_how_far_shuffle_carries_an_item():
    n, size = 20_000, 50
    found = np.array(list(shuffle(range(n).__iter__, size, seed=0)()))
    late = np.argsort(found) - np.arange(n)  # how much later than it came
    middle = late[1000:-1000]
    # Read when the draw `size - 1` before is made; then each draw lets it go with chance 1 / size.
    assert middle.min() >= -(size - 1)
    assert middle.mean() == pytest.approx(0, abs=1.5)
    assert middle.std() == pytest.approx((size * (size - 1)) ** 0.5, rel=0.05)


def test_shuffle_reads_no_further_than_its_buffer():
    read = []
    stream = shuffle(lambda: (read.append(i) or i for i in itertools.count()), 10, seed=0)()
    assert read == []
    next(stream)
    assert len(read) == 10
    next(stream)
    assert len(read) == 11


def test_shuffles_upon_shuffles_differ():
    once = shuffle(range(100).__iter__, 10, seed=0)
    twice = shuffle(shuffle(range(100).__iter__, 10), 10, seed=0)
    assert list(once()) != list(twice())
    assert list(once()) != list(seeded(shuffle(range(100).__iter__, 10), 1)())


# cache


@pytest.mark.parametrize("size", [1, 3, 10])
def test_a_cache_that_is_always_refreshed_changes_nothing(size):
    assert list(cache(range(50).__iter__, size, 1, seed=0)()) == list(range(50))


@pytest.mark.parametrize("prob", [0, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("n", [0, 1, 4, 5])
def test_the_first_items_come_in_order_and_a_short_stream_ends(n, prob):
    assert list(cache(range(n).__iter__, 10, prob, seed=0)()) == list(range(n))
    assert list(take(cache(range(20).__iter__, 10, prob, seed=0), 10)()) == list(range(10))


def test_a_cache_that_is_never_refreshed_repeats_what_it_holds():
    found = list(take(cache(range(100).__iter__, 4, 0, seed=0), 40_000)())
    assert found[:4] == [0, 1, 2, 3]
    assert stats.chisquare(np.bincount(found[4:], minlength=4)).pvalue > 1e-6
    pairs = Counter(itertools.pairwise(found[4:]))
    assert stats.chisquare([pairs[p] for p in itertools.product(range(4), repeat=2)]).pvalue > 1e-6


@pytest.mark.parametrize(("size", "prob"), [(1, 0.5), (5, 0.5), (5, 0.1), (20, 0.9)])
def test_the_law_of_a_cache(size, prob):
    """Each draw picks a slot, each as likely, and refreshes it with the chance ``prob``."""
    n = 30_000
    found = np.array(list(take(cache(itertools.count, size, prob, seed=1), n)()))
    counts, later = np.bincount(found), found[size:]
    fresh = later > np.maximum.accumulate(found)[size - 1 : -1]
    assert later[fresh].tolist() == list(range(size, size + fresh.sum()))  # fresh items come in order
    assert abs(fresh.sum() - prob * len(fresh)) < 5.5 * (prob * (1 - prob) * len(fresh)) ** 0.5
    # Each is shown a geometric number of times: a slot that is picked is refreshed with chance `prob`.
    times = counts[size : -40 * size]
    assert abs(times.mean() - 1 / prob) < 5.5 * times.std() / len(times) ** 0.5
    law = stats.geom(prob)
    cells = [k for k in range(1, 200) if law.pmf(k) * len(times) > 10]
    observed = [(times == k).sum() for k in cells]
    rest = len(times) - sum(observed)
    wanted = [law.pmf(k) * len(times) for k in cells]
    assert stats.chisquare([*observed, rest], [*wanted, len(times) - sum(wanted)]).pvalue > 1e-6


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.9])
def test_a_cache_ends_with_its_source(prob):
    found = list(cache(range(200).__iter__, 5, prob, seed=2)())
    assert set(found) <= set(range(200))
    assert max(found) == 199
    fresh = [item for k, item in enumerate(found) if item not in found[:k]]
    assert fresh == list(range(200))


def test_a_cache_keeps_the_shares_of_its_source():
    def biased():
        rng = np.random.default_rng(0)
        while True:
            yield int(rng.random() < 0.2)

    found = np.array(list(take(cache(biased, 50, 0.5, seed=3), 100_000)()))
    parts = found.reshape(50, -1).mean(axis=1)
    assert abs(parts.mean() - 0.2) < 5.5 * parts.std() / 50**0.5


def test_cached_items_are_the_same_objects():
    rows = [{"i": i} for i in range(100)]
    found = list(cache(rows.__iter__, 4, 0.3, seed=0)())
    assert all(any(item is row for row in rows) for item in found)
    assert all(isinstance(item, Mapping) for item in found)


@pytest.mark.parametrize("stage", [shuffle, cache], ids=["shuffle", "cache"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_a_buffer_goes_on_from_every_stop(stage, size, blocks):
    for n in range(12):
        factory = stage(range(n).__iter__, size, seed=5)
        whole = list(factory())
        for stop in range(len(whole) + 1):
            stream = factory()
            found = list(islice(stream, stop))
            state = resume(factory, stream.state_dict())().state_dict()  # also one that was not drawn from
            assert found + list(resume(factory, state)()) == whole


class InterruptedOnce:
    """The items as they are, but for a signal in the place of one."""

    def __init__(self, at):
        self.at = at

    def __call__(self, x):
        if x == self.at:
            self.at = -1
            raise KeyboardInterrupt
        return x


class Unsavable:
    """Numbers, whose own state raises."""

    def __init__(self):
        self.items = iter(range(300))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)

    def state_dict(self):
        raise OSError("no state")

    def load_state_dict(self, state):
        raise AssertionError(state)


ABOVE = {
    "unbatch": unbatch,
    "shuffle": lambda f: shuffle(f, 2, seed=0),
    "cache": lambda f: cache(f, 2, seed=0),
    "shuffle, twice": lambda f: shuffle(shuffle(f, 2, seed=0), 2, seed=1),
}


@pytest.mark.parametrize("above", ABOVE)
@pytest.mark.parametrize("at", [0, 1, 5, 7, 61, 65, 130])
def test_a_half_full_batch_stops_no_stage_above_it(above, at, blocks, monkeypatch):
    """It has no state until it is pulled on, and nothing but a state depends on that."""
    monkeypatch.setattr(tape.Tape, "is_due", lambda *_: True)

    def numbers(fn):
        return map_items(ABOVE[above](batch(map_items(range(200).__iter__, fn), 4)), lambda x: np.ravel(x).tolist())

    stream, found = numbers(InterruptedOnce(at))(), []
    for _ in range(2):
        with suppress(KeyboardInterrupt):
            found.extend(stream)
    given = Counter(itertools.chain.from_iterable(found))
    assert at not in given
    assert len(given) == 196  # of 199, in batches of four
    assert above == "cache" or max(given.values()) == 1


@pytest.mark.parametrize("above", ABOVE)
def test_an_iterator_without_a_state_stops_no_stage_above_it(above, monkeypatch):
    monkeypatch.setattr(tape.Tape, "is_due", lambda *_: True)
    assert len(list(ABOVE[above](batch(Unsavable, 4))())) == len(list(ABOVE[above](batch(range(300).__iter__, 4))()))


@pytest.mark.parametrize("stage", [shuffle, cache], ids=["shuffle", "cache"])
def test_a_state_after_a_signal_in_a_pull_is_right_or_refused(stage, blocks, monkeypatch):
    monkeypatch.setattr(tape.Tape, "is_due", lambda *_: True)  # so that what was lost is soon behind all snapshots
    for at in range(0, 36, 5):
        factory = stage(map_items(range(120).__iter__, InterruptedOnce(at)), 4, seed=0)
        stream, refused = factory(), []
        for k in range(80):
            with suppress(KeyboardInterrupt):
                next(stream)
            try:
                state = stream.state_dict()
            except RuntimeError as error:
                refused.append((k, str(error)))
                continue
            if k == 79:
                assert list(resume(factory, state)()) == list(stream)
        assert all("a signal has cut a pull short" in why for _, why in refused)
        assert refused
        assert at > 20 or blocks[0] > 4 or refused[-1][0] < 79  # not for ever
