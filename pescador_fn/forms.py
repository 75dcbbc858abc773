"""Batches of rows of one form, each by a function that is written out for its form.

The form of a row is its keys, and the kind of what is under each. It is told from one row, and serves for all batches
that follow. Rows that are not of it are left to `collate`, which says what is wrong with them or makes a batch all the
same: what a form makes is what `collate` would make. That of ``{"x": an array of one dimension, "y": an integer}`` is

    def form(rows):
        n = len(rows)
        if not ([*rows[0]] == ["x", "y"]): raise Misfit
        m = len(rows[0]["x"])
        x = [part for row in rows if type(row) is dict and len(row) == 2 for part in [row["x"]]
             if type(part) is ndarray and part.dtype is float64 and part.ndim == 1 and len(part) == m]
        if not (len(x) == n): raise Misfit
        y = [part for row in rows for part in [row["y"]] if type(part) is int]
        if not (len(y) == n): raise Misfit
        return {"x": ndarray((n, m), float64, bytearray().join(x)), "y": ndarray(n, int64, bytearray(pack[n](*y)))}

What is under a key is gathered and looked at in one loop of plain steps, since as many loops in C are slower, and half
of the time of a small batch goes into these looks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from pescador_fn.collate import NUMBERS, collate

__all__ = ["ODD", "Collator", "Misfit", "form_of"]

Rows = Sequence[Any]
Reader = Callable[[Rows], Any]

TRIES = 8  # forms that are learnt for one stream
WIDEST = 256  # parts of a row


class Misfit(ValueError):  # noqa: N818, as one says it
    """The rows are not of the form."""


# What looking at other rows as if they were of the form may raise; not all: a signal may raise anything.
ODD = (Misfit, TypeError, ValueError, LookupError, AttributeError, BufferError, struct.error)


def unknown(rows: Rows) -> None:
    """The form of rows that have none: it makes ``None``, since to raise takes longer."""


class Collator:
    """`collate`, which learns the form of its rows; ``form``, which is tried before, does without it."""

    __slots__ = ("axis", "form", "tries")

    def __init__(self, axis: int | None) -> None:
        self.axis: int | None = axis
        self.form: Reader = unknown  # it raises what is ODD where rows are not of it
        self.tries: int = TRIES if axis is None else 0

    def __call__(self, rows: Rows) -> Any:
        """One batch of rows that are not of the form."""
        if self.tries:
            self.tries -= 1
            try:
                form = form_of(rows[0])
                made = form(rows)
            except ODD:
                pass
            else:
                self.form = form
                return made
        return collate(rows, self.axis)


def form_of(row: Any) -> Reader:
    """What makes a batch of rows that are like this one.

    Raises:
        Misfit: if nothing does so faster than `collate`.
    """
    return _Writer().function(row)


class _Place(NamedTuple):
    """Where parts are: a list of rows, how these are looked at, and the key in each; without it, the rows are meant."""

    rows: str
    looks: str = ""
    key: str = ""

    @property
    def first(self) -> str:
        return f"{self.rows}[0][{self.key}]" if self.key else f"{self.rows}[0]"

    def gathered(self, look: str) -> str:
        """An expression for the list of the parts that a look does not leave out."""
        look = look and f" if {look}"
        if not self.key:
            return f"[part for part in {self.rows}{look}]"
        if not look:
            return f"[row[{self.key}] for row in {self.rows}{self.looks}]"
        return f"[part for row in {self.rows}{self.looks} for part in [row[{self.key}]]{look}]"


class _Writer:
    """The lines of a function, and the objects that they name."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {"Misfit": Misfit, "ndarray": ndarray, "array": np.array, "collate": collate}
        self.lines: list[str] = []
        self.counts: list[str] = []  # of the columns that a look may have left parts out of, as is seen at the end
        self.makes: list[tuple[int, str]] = []  # how large it is, and the line that makes it
        self.parts: int = 0

    def function(self, row: Any) -> Reader:
        made = self.batch(row, _Place("rows"))
        if self.counts:
            self.unless(" == ".join([*self.counts, "n"]))
        # What is large comes last, since nothing of all else is left in the caches after it.
        makes = [line for _, line in sorted(self.makes, key=lambda make: make[0])]
        lines = ["def form(rows):", "n = len(rows)", *self.lines, *makes, f"return {made}"]
        exec(_compiled("\n    ".join(lines)), self.known)
        form: Reader = self.known.pop("form")  # no cycle is left
        return form

    def unless(self, condition: str) -> None:
        self.lines.append(f"if not ({condition}): raise Misfit")

    def knows(self, value: Any) -> str:
        """A name for an object."""
        name = f"k{len(self.known)}"
        self.known[name] = value
        return name

    def column(self, place: _Place, look: str = "") -> str:
        """A name for the list of the parts that a look does not leave out."""
        column = f"c{self.parts}"
        self.lines.append(f"{column} = {place.gathered(look)}")
        if place.looks:  # at once, since other rows are not even to be asked for other keys
            self.unless(f"len({column}) == n")
        elif look:
            self.counts.append(f"len({column})")
        return column

    def make(self, how: str, n_bytes: int = 0) -> str:
        """A name for what is made of columns."""
        made = f"v{self.parts}"
        self.makes.append((n_bytes, f"{made} = {how}"))
        return made

    def batch(self, part: Any, place: _Place) -> str:
        """An expression for the batch of the parts that are like this one, at one place in all rows."""
        self.parts += 1
        if self.parts > WIDEST:
            raise Misfit
        kind = type(part)
        if (kind is dict or kind is tuple) and part:
            return self.rows(part, place)
        if kind is ndarray and part.flags.c_contiguous and part.dtype.isnative and part.dtype.kind in NUMBERS:
            return self.arrays(part, place)
        if not place.key:
            raise Misfit
        if kind in (bool, int, float):
            column, dtype = self.column(place, f"type(part) is {kind.__name__}"), np.dtype(kind)
            packers = self.knows(_Packers(dtype.char))
            return self.make(f"ndarray(n, {self.knows(dtype)}, bytearray({packers}[n](*{column})))")
        if kind is str:
            column = self.column(place, "type(part) is str")
            self.unless(f"'\\0' not in ''.join({column})")  # numpy leaves out those at the end
            return self.make(f"array({column})")
        if isinstance(part, np.generic) and part.dtype.kind in NUMBERS:
            column = self.column(place, f"type(part) is {self.knows(kind)}")
            return self.make(f"ndarray(n, {self.knows(part.dtype)}, bytearray().join({column}))")
        return self.make(f"collate({self.column(place)}, None)")

    def rows(self, row: Any, place: _Place) -> str:
        """Rows that hold others: with the first column under them, they are looked at themselves."""
        rows, kind = self.column(place) if place.key else place.rows, type(row)
        keys = list(row) if kind is dict else range(len(row))
        # The order of the keys is the batch's.
        self.unless(f"[*{rows}[0]] == {self.knows(keys)}" if kind is dict else f"type({rows}[0]) is tuple")
        looks, made = f" if type(row) is {kind.__name__} and len(row) == {len(row)}", []
        for key in keys:
            name = self.knows(key)
            found = self.batch(row[key], _Place(rows, looks, name))
            made.append(f"{name}: {found}" if kind is dict else f"{found},")
            looks = ""
        return f"{{{', '.join(made)}}}" if kind is dict else f"({' '.join(made)})"

    def arrays(self, part: Any, place: _Place) -> str:
        """Arrays, whose bytes are joined: no way of numpy's is as fast, but for those without dimensions."""
        dtype, length = self.knows(part.dtype), f"m{self.parts}"
        if not part.ndim:
            column = self.column(place, "type(part) is ndarray")
            made = self.make(f"array({column})")
            self.makes.append((0, f"if not ({column}[0].dtype is {made}.dtype is {dtype}): raise Misfit"))
            return made
        look = f"type(part) is ndarray and part.dtype is {dtype}"
        if part.ndim == 1:
            self.lines.append(f"{length} = len({place.first})")
            column = self.column(place, f"{look} and part.ndim == 1 and len(part) == {length}")
        else:
            self.lines.append(f"{length} = {place.first}.shape")
            column = self.column(place, f"{look} and part.shape == {length}")
            length = f"*{length}"
        return self.make(f"ndarray((n, {length}), {dtype}, bytearray().join({column}))", part.nbytes)


# Thousands of streams have rows of few forms, and to compile one takes as long as to make twenty batches.
_compiled = lru_cache(partial(compile, filename="<the form of a batch>", mode="exec"))


class _Packers(dict[int, Any]):
    """By how many they are, what makes the bytes of numbers of one kind."""

    def __init__(self, code: str) -> None:
        self.code: str = code

    def __missing__(self, n: int) -> Any:
        self[n] = pack = struct.Struct(f"{n}{self.code}").pack
        return pack
