"""Batches of rows of one form: what is under a key is looked at as it is gathered, in one pass.

The form of a row is its keys, and the kind of what is under each. It is told from one row, and serves for all batches
that follow. Rows that are not of it are left to `collate`, which says what is wrong with them or makes a batch all the
same: what a form makes is what `collate` would make.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray  # by itself, since it is looked up for every row

from pescador_fn.collate import NUMBERS, collate

__all__ = ["Collator"]

Rows = Sequence[Any]
Reader = Callable[[Rows], Any]

TRIES = 8  # forms that do not fit even the rows that they are told from


class Misfit(ValueError):  # noqa: N818, as one says it
    """The rows are not of the form."""


# What looking at other rows as if they were of the form may raise; not all: a signal may raise anything.
ODD = (Misfit, TypeError, ValueError, LookupError, AttributeError, BufferError, struct.error)


def unknown(rows: Rows) -> None:
    """The form of rows that have none."""


class Collator:
    """`collate`, which learns the form of its rows; ``form``, which is tried before, does without it."""

    __slots__ = ("axis", "form", "tries")

    def __init__(self, axis: int | None) -> None:
        self.axis: int | None = axis
        self.form: Reader = unknown  # it may raise what is ODD, or return None, and never makes that
        self.tries: int = TRIES if axis is None else 0

    def __call__(self, rows: Rows) -> Any:
        """One batch of rows that are not of the form."""
        if self.tries:
            form = form_of(rows[0])
            try:
                if form is None:
                    raise Misfit
                made = form(rows)
            except ODD:
                self.tries -= 1
            else:
                self.form = form
                return made
        return collate(rows, self.axis)


def form_of(row: Any) -> Reader | None:
    """What makes a batch of rows that are like this one, if anything does so faster than `collate`."""
    kind = type(row)
    if kind is dict and row:
        return _dicts(row)
    if kind is tuple and row:
        return _tuples(row)
    return _arrays(row.dtype) if _is_joinable(row) else None


def _dicts(first: dict[Any, Any]) -> Reader:
    readers, width = dict(_readers(first, list(first))), len(first)

    def form(rows: Rows) -> dict[Any, Any]:
        batch = {}
        for key in rows[0]:  # whose order is the batch's
            batch[key] = readers[key](rows)
        if len(batch) != width:  # one of the readers looks at the rows
            raise Misfit
        return batch

    return form


def _tuples(first: tuple[Any, ...]) -> Reader:
    readers = _readers(first, range(len(first)))
    return lambda rows: tuple([read(rows) for _, read in readers])


def _readers(first: Any, keys: Sequence[Any]) -> list[tuple[Any, Reader]]:
    """What reads, of rows that hold others, what is under each key; the first of them looks at the rows themselves."""
    kind, width = type(first), len(first)
    readers: list[tuple[Any, Reader]] = []
    for key in keys:
        part = first[key]
        if _is_joinable(part) and part.ndim == 1:
            read = _vectors(part.dtype, key, kind, width)
        else:
            number = type(part) in (bool, int, float)
            read = _numbers(type(part), key) if number else _column(form_of(part) or _collate, key)
            read = read if readers else _looking(read, kind, width)
        readers.append((key, read))
    return readers


def _looking(read: Reader, kind: Any, width: int) -> Reader:
    def looking(rows: Rows) -> Any:
        for row in rows:
            if type(row) is not kind or len(row) != width:
                raise Misfit
        return read(rows)

    return looking


def _column(read: Reader, key: Any) -> Reader:
    return lambda rows: read([row[key] for row in rows])


def _collate(rows: Rows) -> Any:
    return collate(rows, None)


def _is_joinable(part: Any) -> bool:
    """Whether it is an array whose bytes, joined to those of its like, are the batch: no way of numpy's is as fast."""
    if type(part) is not ndarray or not part.ndim or not part.flags.c_contiguous:
        return False
    return part.dtype.kind in NUMBERS and part.dtype.isnative


def _vectors(dtype: Any, key: Any, kind: Any, width: int) -> Reader:
    def read(rows: Rows) -> Any:
        length = len(rows[0][key])
        # One loop of plain steps, which looks at the rows too: as many loops in C are slower.
        found: list[Any] = [
            part
            for row in rows
            if type(row) is kind and len(row) == width
            for part in [row[key]]
            if type(part) is ndarray and part.dtype is dtype and part.ndim == 1 and len(part) == length
        ]
        if len(found) != len(rows):
            raise Misfit
        return ndarray((len(rows), length), dtype, bytearray().join(found))

    return read


def _arrays(dtype: Any) -> Reader:
    def read(arrays: Rows) -> Any:
        shape = arrays[0].shape
        for array in arrays:
            if type(array) is not ndarray or array.dtype is not dtype or array.shape != shape:
                raise Misfit
        return ndarray((len(arrays), *shape), dtype, bytearray().join(arrays))

    return read


def _numbers(kind: type, key: Any) -> Reader:
    dtype = np.dtype(kind)
    packer = struct.Struct("")

    def read(rows: Rows) -> Any:
        nonlocal packer
        if kind is int:
            found = [row[key] for row in rows]
            # Anything but more integers would be seen in their sum, which costs less than a look at each.
            if type(found[0]) is not int or type(sum(found)) is not int:
                raise Misfit
        else:
            found = [part for row in rows for part in [row[key]] if type(part) is kind]
        if packer.size != len(rows) * dtype.itemsize:
            packer = struct.Struct(f"{len(rows)}{dtype.char}")
        return ndarray(len(rows), dtype, bytearray(packer.pack(*found)))

    return read
