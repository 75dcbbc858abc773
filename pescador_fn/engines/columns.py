"""Columns: rows of one schema, laid side by side so that hundreds are pickled as one."""

from __future__ import annotations

import pickle
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SMALL", "Row", "Schema", "split"]

SMALL = 4096  # bytes; from here on an array goes through a slab, below it a slab would be mostly empty
LONGEST = 1024  # of a string that goes by column, so that a row's size is known well enough

_PLAIN: set[type] = {NoneType, bool, int, float, complex, str, bytes, *np.sctypeDict.values()} - {np.void, np.object_}
_SIZED: set[type] = {str, bytes, np.str_, np.bytes_}

Row = list[Any]  # what kind, the bytes, the parts


class Schema:
    """What rows have in common: the container, and for each part a dtype and a shape, or ``None`` for a plain value."""

    __slots__ = ("keys", "kind", "n_bytes", "row", "specs")

    def __init__(self, kind: type | None, keys: list[Any], specs: list[Any]) -> None:
        self.kind: type | None = kind
        self.keys: list[Any] = keys
        self.specs: list[Any] = specs
        arrays = [spec for spec in specs if spec is not None]
        self.n_bytes: int = 32 * len(specs) + sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape, _ in arrays)
        self.row: Callable[[Any], Row | None] = self._checked()

    @classmethod
    def of(cls, item: Any) -> Schema | None:
        """The schema of an item, if its parts allow one."""
        kind: type | None = type(item)
        if kind is dict:
            keys, values = list(item), list(item.values())
            if not all(type(key) is str for key in keys):
                return None
        elif kind is tuple:
            keys, values = [len(item)], list(item)
        else:
            kind, keys, values = None, [], [item]
        specs: list[Any] = []
        for value in values:
            if type(value) is np.ndarray:
                if value.dtype.hasobject or not 0 < value.nbytes < SMALL:
                    return None
                specs.append((value.dtype, value.shape, value.ndim < 2))
            elif type(value) in _PLAIN:
                specs.append(None)
            else:
                return None
        return cls(kind, keys, specs)

    def _checked(self) -> Callable[[Any], Row | None]:
        """The function from an item to its row, or to ``None`` where the item does not fit.

        It is written out for this schema, as `dataclasses` does: a loop over the parts takes twice as long, and here
        most of a worker's time is spent.
        """
        names = [f"v{k}" for k in range(len(self.specs))]
        known: dict[str, Any] = {"array": np.ndarray, "plain": _PLAIN, "sized": _SIZED, "keys": self.keys}
        lines = ["def row(item):"]

        def unless(condition: str) -> None:
            lines.append(f"    if not ({condition}): return None")

        if self.kind is None:
            lines.append("    v0 = item")
        elif self.kind is tuple:
            unless(f"type(item) is tuple and len(item) == {len(names)}")
        else:
            unless("type(item) is dict and list(item) == keys")
        if self.kind is not None and names:
            lines.append(f"    [{', '.join(names)}] = item{'.values()' if self.kind is dict else ''}")
        parts = []
        for k, (name, spec) in enumerate(zip(names, self.specs, strict=True)):
            if spec is None:
                unless(f"type({name}) in plain and (type({name}) not in sized or len({name}) <= {LONGEST})")
                parts.append(name)
            else:
                known[f"d{k}"], shape, flat = spec
                unless(f"type({name}) is array and {name}.ndim == {len(shape)}")
                if len(shape) == 1:  # as for all shapes, without a tuple
                    unless(f"len({name}) == {shape[0]}")
                elif shape:
                    unless(f"{name}.shape == {shape}")
                unless(f"{name}.dtype is d{k} or {name}.dtype == d{k}")
                if not flat:
                    unless(f"{name}.flags.c_contiguous")
                parts.append(f"{name}.tobytes()")
        lines.append(f"    return [schema, n_bytes, {', '.join(parts)}]")
        known["schema"], known["n_bytes"] = self, self.n_bytes
        exec("\n".join(lines), known)
        row: Callable[[Any], Row | None] = known["row"]
        return row

    def join(self, rows: list[Row]) -> list[bytes]:
        """Rows as one piece of bytes for each column."""
        columns = list(zip(*rows, strict=True))[2:]
        return [
            pickle.dumps(column, 5) if spec is None else b"".join(column)
            for column, spec in zip(columns, self.specs, strict=True)
        ]


def split(kind: type | None, keys: list[Any], specs: list[Any], n: int, pieces: list[memoryview]) -> list[Any]:
    """Items from columns."""
    columns = [
        pickle.loads(piece) if spec is None else _rows(piece, spec[0], spec[1], n)
        for piece, spec in zip(pieces, specs, strict=True)
    ]
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
    whole = np.frombuffer(piece, dtype, count=n * int(np.prod(shape))).reshape(n, *shape)
    step = max(1, SMALL * n // len(piece))
    found: list[Any] = []
    for at in range(0, n, step):
        block = whole[at : at + step].copy()
        found += list(block) if shape else [block[k, ...] for k in range(len(block))]
    return found
