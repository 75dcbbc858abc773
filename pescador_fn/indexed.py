"""Sources over what can be indexed: rows in order, and rows at random.

The number of a row is a function of its position in the stream, so a stream is at any position at once: nothing is
replayed where it is resumed, and nothing read where it is skipped.

    position ──▶ row number ──▶ data[row number]
                 rows:   the position
                 draws:  word number `position` of the stream's randomness, or its image under a keyed permutation
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import repeat
from operator import getitem
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

import pescador_fn.drawing as drawing
from pescador_fn.drawing import Words, permutation
from pescador_fn.errors import show
from pescador_fn.factory import Data, Node
from pescador_fn.running import EMPTY, FOREVER, Running, flow
from pescador_fn.scatter import Scatter
from pescador_fn.seeds import Place, check_seed
from pescador_fn.state import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.state import Loader, Saver

__all__ = ["EXACT", "Indexable", "draws", "rows"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

EXACT = 2**16  # rows; the order of more is not sorted for, but computed position by position
_LANE = "draws"
_END = 2**62  # further than any block goes: an iterator that is set there has ended


class Indexable(Protocol[T_co]):
    """Anything with ``len`` and ``[]``, the rows numbered from 0."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> T_co: ...


class _Rows(Running[T]):
    """The rows whose numbers ``index`` gives, an iterator of C whose length hint tells the position."""

    __slots__ = ("closed", "data", "following", "index", "n")

    def __init__(self, node: Node[T], place: Place) -> None:  # noqa: ARG002
        super().__init__()
        self.node = node
        self.data: Any = node.of.rows
        self.n: int = -1  # rows, once it is open
        self.index: Any = EMPTY
        self.following: int = 0  # the position after what is left of the index
        self.closed: bool = False

    def open(self) -> None:
        """See how many rows there are."""
        if self.n < 0:
            self.n = len(self.node.of)
            self.seek(0)

    def seek(self, at: int) -> None:
        """Stand at a position."""
        self.following = self.n
        self.index = iter(range(min(at, self.n), self.n))

    def __iter__(self) -> Iterator[T]:
        if self.closed:
            return iter(())
        self.open()
        return map(getitem, repeat(self.data), self.index)

    @property
    def done(self) -> bool:
        return self.closed or not self.index.__length_hint__()

    def close(self) -> None:
        self.closed = True
        self.index.__setstate__(_END)

    def held(self) -> Iterable[Any]:
        return ()

    def about(self) -> dict[str, Any]:
        """Without the number of rows, which may be another for each of many streams: it is in their states."""
        return self.node.prepared(_about)  # type: ignore[no-any-return]

    def jump(self, n: int) -> bool:
        self.open()
        self.seek(n)
        return True

    def save(self, saver: Saver) -> Any:
        """The position, -1 where it is closed, and the number of rows."""
        del saver
        self.open()
        return [-1 if self.closed else self.following - self.index.__length_hint__(), self.n]

    def load(self, state: Any, loader: Loader) -> None:
        at, n = state
        self.open()
        if self.n != n:
            raise loader.mismatch(f"{self.n:,} rows, the state has {n:,}")
        self.closed = at < 0
        self.seek(max(at, 0))


def _about(node: Node[Any]) -> dict[str, Any]:
    return {"": node.build.__name__} | {name: describe(value) for name, value in node.options.items()}


class _Draws(_Rows[T]):
    """Row numbers drawn in blocks."""

    __slots__ = ("end", "numbers", "place", "size")

    numbers: Any  # from a position and a size to the numbers of the rows

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place)
        self.place: Place = place.pinned(node.options["seed"])
        self.size: int = drawing.block_sizes[0]
        self.end: int = 0  # how many draws there are
        self.numbers = None

    def __iter__(self) -> Iterator[T]:
        if not self.closed:
            self.open()
        return flow(self.refill)

    def seek(self, at: int) -> None:
        replace = self.node.options["replace"]
        self.end = FOREVER if replace and self.n else self.n
        self.following = min(at, self.end)
        self.index = EMPTY

    def more(self) -> Iterator[T] | None:
        if self.closed:
            return None
        if not self.index.__length_hint__():
            size = min(self.size, self.end - self.following)
            if size <= 0:
                return None
            if self.numbers is None:
                self.numbers = self._numbers()
            self.index = iter(self.numbers(self.following, size).tolist())
            self.following += size
            self.size = min(self.size * 4, drawing.block_sizes[1])
        return map(getitem, repeat(self.data), self.index)

    def _numbers(self) -> Any:
        words, n = Words(self.place, _LANE), self.n
        if self.node.options["replace"]:
            return lambda at, size: (words.uniforms(at, size) * n).astype(np.int64)
        if n > EXACT:
            return Scatter(n, self.place.bits(_LANE).random_raw(Scatter.ROUNDS)).numbers
        order = permutation(words.uniforms(0, n)).astype(np.uint16)  # many may be open
        return lambda at, size: order[at : at + size]

    @property
    def done(self) -> bool:
        return self.closed or (self.following >= self.end and not self.index.__length_hint__())


def _check_data(function: str, data: Any) -> Data[Any]:
    kind = type(data)
    if isinstance(data, str):
        how = "a string; open what it names, and pass its rows"
    elif isinstance(data, Mapping):
        how = "a mapping, whose values go by key; pass one of its values, or list(data.values())"
    elif hasattr(kind, "iloc") and getattr(data, "ndim", 2) == 1:
        how = "a series, whose values go by label; pass data.to_numpy() or data.tolist()"
    elif hasattr(kind, "iloc"):
        how = "a table, whose columns go by name; pass its rows, such as data.to_numpy() or data.to_dict('records')"
    elif hasattr(kind, "column_names") and hasattr(kind, "to_pylist"):  # as pyarrow's, of which [] gives columns
        how = "a table, whose numbers are those of its columns; pass its rows, such as data.to_pylist()"
    elif hasattr(kind, "array_keys"):  # as zarr's
        how = "a group, whose arrays go by name; pass one of them: data[name]"
    elif (hasattr(kind, "__len__") or hasattr(kind, "shape")) and hasattr(kind, "__getitem__"):
        if getattr(data, "shape", None) != ():
            return Data(data)
        how = "a single value; pass an array of at least one dimension"
    elif callable(data):
        how = "a function; what it returns is a stream already, or, if that has len and [], pass that"
    elif isinstance(data, Iterable):
        how = "without len and [], by which rows are drawn; pass list(data), or use the factory of a stream as it is"
    else:
        how = "without len and [], by which rows are drawn; pass an array, a list or a dataset"
    raise TypeError(f"{function}: data={show(data)} is {how}")


def rows(data: Indexable[T]) -> Node[T]:
    """The rows of ``data``, in order, once.

    A row is read where it is drawn, as ``data[i]`` with ``i`` an ``int``; an exception in that costs the row. A stream
    is resumed and skipped without reading what came before.

    Args:
        data: anything with ``[]``, and ``len`` or ``shape``: an array, a memory map, a list, an h5py or zarr array, a
            dataset. It is not copied, and is not to change. Its length is read where a stream is opened. In a worker
            process a memory map is mapped again; other data is sent there, which that of h5py cannot be.

    Raises:
        TypeError: when built, if ``data`` has no ``len`` and ``[]``, or does not number its rows, as a dict or a table;
            or if it is a string.

    Source: the sequential sampler of PyTorch.

    >>> from pescador_fn import skip
    >>> letters = rows(["a", "b", "c"])
    >>> list(letters())
    ['a', 'b', 'c']
    >>> list(skip(letters, 2)())
    ['c']
    """
    return Node(rows, _Rows, _check_data("rows", data))


def draws(data: Indexable[T], *, replace: bool = True, seed: int | None = None) -> Node[T]:
    """Rows of ``data`` at random, every row as likely as any other.

    A row is read where it is drawn, as ``data[i]`` with ``i`` an ``int``; an exception in that costs the row. A stream
    is opened, resumed and skipped at once, however many rows there are.

    Args:
        data: anything with ``[]``, and ``len`` or ``shape``: an array, a memory map, a list, an h5py or zarr array, a
            dataset. It is not copied, and is not to change. Its length is read where a stream is opened. In a worker
            process a memory map is mapped again; other data is sent there, which that of h5py cannot be.
        replace: draw without end, each draw independent of the others; nothing, if there are no rows. Else every row
            comes once, and the stream ends; where a mux or `cycle` opens it again, it has another order. Up to 65,536
            rows every order is equally likely; the orders of more are those of a keyed permutation, which look it.
        seed: fixes the draws. ``None`` leaves them to the seed of the pipeline, or takes fresh entropy at each call.

    Raises:
        TypeError: when built, if ``data`` has no ``len`` and ``[]``, or does not number its rows, as a dict or a table;
            or if it is a string, ``replace`` no bool or ``seed`` no integer.
        ValueError: when built, if ``seed`` is negative.

    Source: for many rows without replacement, Black and Rogaway, Ciphers with arbitrary finite domains, 2002.

    >>> from pescador_fn import take
    >>> sorted(draws("a b c".split(), replace=False)())
    ['a', 'b', 'c']
    >>> dice = draws(range(1, 7), seed=0)
    >>> list(take(dice, 5)()) == list(take(dice, 5)())
    True
    """
    rows_of = _check_data("draws", data)
    if not isinstance(replace, bool | np.bool_):
        raise TypeError(f"draws: replace={show(replace)} is not a bool; give False for every row once")
    return Node(draws, _Draws, rows_of, replace=bool(replace), seed=check_seed("draws", seed))
