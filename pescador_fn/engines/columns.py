"""Columns: rows of one schema, laid side by side so that hundreds are pickled as one."""

from __future__ import annotations

import math
import pickle
from functools import lru_cache
from itertools import islice
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["SMALL", "Row", "Schema", "Signature", "array_over", "signature", "split"]

SMALL = 4096  # bytes; from here on an array goes through a slab, below it a slab would be mostly empty
WIDEST = 256  # parts of a row, since its function is written out
LONGEST = 1024  # bytes of a string or an int that goes by column, so that a row's size is known well enough

_PLAIN: set[type] = {NoneType, bool, int, float, complex, str, bytes, *np.sctypeDict.values()} - {np.void, np.object_}
_SIZED: set[type] = {str, bytes, np.str_, np.bytes_}
_SMALL: set[type] = _PLAIN - _SIZED - {int}

Row = list[Any]  # what kind, the bytes, the parts
Spec: TypeAlias = "tuple[Any, tuple[int, ...]] | None"  # the dtype and the shape of an array, or a plain value
Signature: TypeAlias = tuple[type | None, tuple[Any, ...], tuple[Spec, ...]]  # the container, its keys, its parts


def signature(item: Any) -> Signature | None:
    """What rows that go by columns have in common, if the parts of the item allow them."""
    kind: type | None = type(item)
    if kind is dict:
        keys, values = tuple(item), tuple(item.values())
        if not all(type(key) is str for key in keys):
            return None
    elif kind is tuple:
        keys, values = (len(item),), item
    else:
        kind, keys, values = None, (), (item,)
    if len(values) > WIDEST:
        return None
    specs: list[Spec] = []
    for value in values:
        if type(value) is np.ndarray:
            if value.dtype.hasobject or not value.nbytes or not _is_bare(value.dtype):
                return None
            specs.append((value.dtype, value.shape))
        elif type(value) in _PLAIN:
            specs.append(None)
        else:
            return None
    return kind, keys, tuple(specs)


def _is_bare(dtype: Any) -> bool:
    """Whether dtypes that equal it are the same, for good: it has no metadata, nor names, which may be set anew."""
    if dtype.metadata is not None or dtype.names is not None:
        return False
    return dtype.subdtype is None or _is_bare(dtype.base)


def _n_bytes(spec: Spec) -> int:
    return 0 if spec is None else spec[0].itemsize * math.prod(spec[1])


class Schema:
    """Makes the rows of one signature; ``put`` places a large array, ``put_all`` all those of a row or none."""

    __slots__ = ("large", "n_bytes", "pickled", "put", "put_all", "row", "signature", "sizes")

    def __init__(
        self, signature: Signature, put: Callable[[Any], Any], put_all: Callable[[list[Any]], list[Any]]
    ) -> None:
        self.signature: Signature = signature
        self.put: Callable[[Any], Any] = put
        self.put_all: Callable[[list[Any]], list[Any]] = put_all
        self.pickled: bytes = pickle.dumps(signature, 5)
        self.sizes: list[int] = list(map(_n_bytes, signature[2]))
        self.large: int = sum(size for size in self.sizes if size >= SMALL)  # bytes that go through slabs
        self.n_bytes: int = 32 * len(self.sizes) + sum(self.sizes)
        self.row: Callable[[Any], Row | None] = self._checked()

    def _checked(self) -> Callable[[Any], Row | None]:
        """The function from an item to its row, or to ``None`` where the item does not fit.

        It is written out for this schema, as `dataclasses` does: a loop over the parts takes twice as long, and here
        most of a worker's time is spent.
        """
        kind, keys, specs = self.signature
        names = [f"v{k}" for k in range(len(specs))]
        known: dict[str, Any] = {"array": np.ndarray, "bare": _is_bare, "small": _SMALL, "sized": _SIZED}
        known["keys"], known["least"], known["most"] = list(keys), -(1 << 8 * LONGEST), 1 << 8 * LONGEST
        lines = ["def row(item):"]

        def unless(condition: str) -> None:
            lines.append(f"    if not ({condition}): return None")

        if kind is None:
            lines.append("    v0 = item")
        elif kind is tuple:
            unless(f"type(item) is tuple and len(item) == {len(names)}")
        else:
            unless("type(item) is dict and list(item) == keys")
        if kind is not None and names:
            lines.append(f"    [{', '.join(names)}] = item{'.values()' if kind is dict else ''}")
        parts: list[str] = []
        large: list[str] = []
        for k, (name, spec) in enumerate(zip(names, specs, strict=True)):
            if spec is None:
                unless(
                    f"type({name}) in small or (least < {name} < most if type({name}) is int else "
                    f"type({name}) in sized and len({name}) <= {LONGEST})"
                )
                parts.append(name)
            else:
                known[f"d{k}"], shape = spec
                unless(f"type({name}) is array and {name}.ndim == {len(shape)}")
                if len(shape) == 1:  # as for all shapes, without a tuple
                    unless(f"len({name}) == {shape[0]}")
                elif shape:
                    unless(f"{name}.shape == {shape}")
                unless(f"{name}.dtype is d{k} or {name}.dtype == d{k} and bare({name}.dtype)")
                if len(shape) > 1:
                    unless(f"{name}.flags.c_contiguous")
                if _n_bytes(spec) < SMALL:
                    parts.append(f"{name}.tobytes()")
                else:
                    parts.append(f"placed[{len(large)}]")
                    large.append(name)
        if len(large) == 1:
            lines.append(f"    placed = [put({large[0]})]")
        elif large:
            lines.append(f"    placed = put_all([{', '.join(large)}])")
        known["put"], known["put_all"] = self.put, self.put_all
        lines.append(f"    return [schema, n_bytes, {', '.join(parts)}]")
        known["schema"], known["n_bytes"] = self, self.n_bytes
        exec("\n".join(lines), known)
        row: Callable[[Any], Row | None] = known["row"]
        return row

    def join(self, rows: list[Row]) -> tuple[list[bytes], list[Any]]:
        """Rows as one piece of bytes for each column, and where the large arrays of the columns of such are."""
        pieces: list[bytes] = []
        placed: list[Any] = []
        columns = islice(zip(*rows, strict=True), 2, None)
        for column, size, spec in zip(columns, self.sizes, self.signature[2], strict=True):
            if size >= SMALL:
                placed.append(list(map(tuple, column)))
            else:
                pieces.append(pickle.dumps(column, 5) if spec is None else b"".join(column))
        return pieces, placed


def array_over(buffer: Any, dtype: Any, shape: tuple[int, ...], order: Any = "C") -> NDArray[Any]:
    """An array over a writable buffer."""
    return np.ndarray(shape, dtype, buffer, order=order)


_signature: Callable[[bytes], Signature] = lru_cache(pickle.loads)


def split(pickled: bytes, n: int, pieces: Iterator[memoryview], large: Iterator[list[Any]]) -> list[Any]:
    """Items from columns of a schema; the pieces of the small ones, and the buffers of the others."""
    kind, keys, specs = _signature(pickled)
    columns: list[Any] = []
    for spec in specs:
        if spec is None:
            columns.append(pickle.loads(next(pieces)))
        elif _n_bytes(spec) < SMALL:
            columns.append(_rows(next(pieces), *spec, n))
        else:
            columns.append([array_over(buffer, *spec) for buffer in next(large)])
    if kind is None:
        return list(columns[0])
    if kind is tuple:
        return list(zip(*columns, strict=True)) if columns else [()] * n
    if len(keys) == 1:
        name = keys[0]
        return [{name: value} for value in columns[0]]
    if len(keys) == 2:
        one, two = keys
        return [{one: first, two: second} for first, second in zip(*columns, strict=True)]
    return (
        [dict(zip(keys, values, strict=True)) for values in zip(*columns, strict=True)]
        if keys
        else [{} for _ in range(n)]
    )


def _rows(piece: memoryview, dtype: Any, shape: tuple[int, ...], n: int) -> list[Any]:
    """The arrays of one column, in blocks of 4 KB: a row that is kept holds no more than that."""
    whole = np.frombuffer(piece, dtype, count=n * math.prod(shape)).reshape(n, *shape)
    step = max(1, SMALL * n // len(piece))
    found: list[Any] = []
    for at in range(0, n, step):
        block = whole[at : at + step].copy()
        found += list(block) if shape else [block[k, ...] for k in range(len(block))]
    return found
