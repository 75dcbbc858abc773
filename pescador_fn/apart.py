"""Batches to rows: the inverse of `collate`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np

from pescador_fn.errors import show

__all__ = ["rows_of"]


def rows_of(found: Any) -> Iterator[Any]:
    """The rows of a batch, each of its form."""
    n = _length(found, "")
    if n is None:
        raise TypeError(
            f"unbatch: the batch is {show(found)}, which holds no array to take rows from; give arrays of rows"
        )
    return _rows(found, n)


def _rows(found: Any, n: int) -> Iterator[Any]:
    if isinstance(found, Mapping):
        return map(dict, map(zip, repeat(tuple(found)), _across(found.values(), n)))
    if isinstance(found, tuple):
        rows = _across(found, n)
        make: Any = getattr(found, "_make", None)
        return rows if make is None else map(make, rows)
    return iter(found)


def _across(parts: Collection[Any], n: int) -> Iterator[tuple[Any, ...]]:
    return zip(*map(_rows, parts, repeat(n)), strict=True) if parts else repeat((), n)


def _length(found: Any, path: str) -> int | None:
    """The number of rows, which all parts agree on; ``None`` where there is nothing that has rows."""
    where = f"unbatch: {path or 'the batch'}"
    if isinstance(found, Mapping | tuple):
        parts = found.items() if isinstance(found, Mapping) else enumerate(found)
        every = {f"{path}[{key!r}]": _length(part, f"{path}[{key!r}]") for key, part in parts}
        lengths = {name: length for name, length in every.items() if length is not None}
        if not lengths:
            return None
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
