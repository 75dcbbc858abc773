"""Batches to rows: the inverse of `collate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np

from pescador_fn.errors import show

__all__ = ["rows_of"]


def rows_of(found: Any) -> Iterator[Any]:
    """The rows of a batch, each of its form."""
    _length(found, "")
    return _rows(found)


def _rows(found: Any) -> Iterator[Any]:
    if isinstance(found, Mapping):
        return map(dict, map(zip, repeat(tuple(found)), zip(*map(_rows, found.values()), strict=True)))
    if isinstance(found, tuple):
        rows = zip(*map(_rows, found), strict=True)
        make: Any = getattr(found, "_make", None)
        return rows if make is None else map(make, rows)
    return iter(found)


def _length(found: Any, path: str) -> int:
    """The number of rows, which all parts agree on."""
    where = f"unbatch: {path or 'the batch'}"
    if isinstance(found, Mapping | tuple):
        parts = found.items() if isinstance(found, Mapping) else enumerate(found)
        lengths = {f"{path}[{key!r}]": _length(part, f"{path}[{key!r}]") for key, part in parts}
        if not lengths:
            raise TypeError(f"{where} is {found!r}, which holds no array to take rows from; give arrays of rows")
        first = next(iter(lengths))
        for name, length in lengths.items():
            if length != lengths[first]:
                raise ValueError(
                    f"unbatch: {first} has {lengths[first]} rows and {name} has {length}; give arrays of one length"
                )
        return lengths[first]
    if isinstance(found, str | bytes) or not hasattr(found, "__len__") or np.ndim(found) == 0:
        raise TypeError(f"{where} is {show(found)}, which has no rows; give arrays, or dicts or tuples of arrays")
    return len(found)
