"""Batches of rows of one form, each by a function that is written out for its form.

The form of a row is its keys, and the kind of what is under each. It is told from one row, and serves for all batches
that follow. Rows that are not of it are left to `collate`, which says what is wrong with them or makes a batch all the
same: what a form makes is what `collate` would make. That of ``{"x": an array of one dimension, "y": an integer}`` is

    def form(rows, type=type, len=len, ...):
        n = len(rows)
        first = rows[0]
        if type(first) is not dict: raise Misfit
        m = len(first["x"])
        xs = []; ys = []
        for row in rows:
            if type(row) is dict and len(row) == 2:
                x = row["x"]; y = row["y"]
                if type(x) is ndarray and x.dtype is float64 and x.ndim == 1 and len(x) == m and type(y) is int:
                    xs.append(x); ys.append(y)
        if not (len(ys) == n): raise Misfit
        made = first.copy()
        made["x"] = ndarray((n, m), float64, join(xs))
        made["y"] = ndarray(n, int64, bytearray(pack[n](*ys)))
        return made

All rows are looked at in one loop of plain steps over local names, which is why all that it names is a default: as many
loops in C are slower, and half of the time of a small batch goes into these looks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy import ndarray

from pescador_fn.collate import NUMBERS, collate

__all__ = ["ODD", "Collator", "Misfit", "form_of"]

Rows = Sequence[Any]
Reader = Callable[[Rows], Any]

TRIES = 8  # forms that are learnt for one stream
WIDEST, DEEPEST = 256, 16  # parts of a row, and how many are inside one another
LARGE = 2**24  # bytes of an array, from which on its memory costs more than its order: numpy asks for huge pages


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


class _Writer:
    """The lines of a function, and the objects that they name."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = dict(_KNOWN)
        self.before: list[str] = []  # what is told from the first row
        self.looks: list[list[str]] = []  # by depth: what is asked of the parts there,
        self.takes: list[list[str]] = []  # and how those below are taken out of them, if so
        self.columns: list[str] = []
        self.after: list[str] = []
        self.makes: list[tuple[int, str]] = []  # how large it is, and the line that makes it
        self.dicts: list[str] = []
        self.parts: int = 0

    def function(self, row: Any) -> Reader:
        made = self.batch(row, "p", "rows[0]", 0)
        lines = ["n = len(rows)", *self.before, *(f"{column}s = []" for column in self.columns), "for p in rows:"]
        indent = "    "
        for looks, takes in zip(self.looks, self.takes, strict=True):
            lines.append(f"{indent}if {' and '.join(looks) or True}:")
            indent += "    "
            lines += [indent + take for take in takes]
        lines += [f"{indent}{column}s.append({column})" for column in self.columns]
        # What is large comes last, since nothing of all else is left in the caches after it.
        makes = [line for _, line in sorted(self.makes, key=lambda make: make[0])]
        lines += [f"if not (len({self.columns[-1]}s) == n): raise Misfit", *self.after]
        lines += [*makes, *self.dicts, f"return {made}"]
        names = ", ".join(f"{name}={name}" for name in self.known)
        exec(_compiled("\n    ".join([f"def form(rows, {names}):", *lines])), self.known)
        form: Reader = self.known.pop("form")  # no cycle is left
        return form

    def knows(self, value: Any) -> str:
        """A name for an object."""
        name = f"k{len(self.known)}"
        self.known[name] = value
        return name

    def column(self, part: str, depth: int, look: str = "") -> str:
        """The list of the parts of one name; there is none where a look at a row is not true."""
        self.columns.append(part)
        if look:
            self.looks[depth].append(look)
        return f"{part}s"

    def make(self, part: str, how: str, n_bytes: int = 0) -> str:
        """A name for what is made of columns."""
        self.makes.append((n_bytes, f"{part}_made = {how}"))
        return f"{part}_made"

    def batch(self, part: Any, name: str, first: str, depth: int) -> str:
        """An expression for the batch of the parts that are like this one, and are found where the first is."""
        self.parts += 1
        if self.parts > WIDEST or depth > DEEPEST:
            raise Misfit
        if depth == len(self.looks):
            self.looks.append([])
            self.takes.append([])
        kind = type(part)
        if (kind is dict or kind is tuple) and part:
            return self.rows(part, name, first, depth)
        if kind is ndarray and part.flags.c_contiguous and part.dtype.isnative and part.dtype.kind in NUMBERS:
            return self.arrays(part, name, first, depth)
        if not depth:
            raise Misfit
        if kind in (bool, int, float):
            column, dtype = self.column(name, depth, f"type({name}) is {kind.__name__}"), np.dtype(kind)
            packers = self.knows(_Packers(dtype.char))
            return self.make(name, f"ndarray(n, {self.knows(dtype)}, bytearray({packers}[n](*{column})))")
        if kind is str:
            column = self.column(name, depth, f"type({name}) is str")
            self.after.append(f"if '\\0' in ''.join({column}): raise Misfit")  # numpy leaves out those at the end
            return self.make(name, f"array({column})")
        if isinstance(part, np.generic) and part.dtype.kind in NUMBERS:
            column = self.column(name, depth, f"type({name}) is {self.knows(kind)}")
            return self.make(name, f"ndarray(n, {self.knows(part.dtype)}, join({column}))")
        return self.make(name, f"collate({self.column(name, depth)}, None)")

    def rows(self, row: Any, name: str, first: str, depth: int) -> str:
        """Rows that hold others, which are asked for only if they have the same number of them."""
        kind, found = type(row).__name__, []
        self.before += [f"{name}_0 = {first}", f"if type({name}_0) is not {kind}: raise Misfit"]
        self.looks[depth].append(f"type({name}) is {kind} and len({name}) == {len(row)}")
        for key in row if kind == "dict" else range(len(row)):
            known, inner = self.knows(key), f"p{self.parts}"
            self.takes[depth].append(f"{inner} = {name}[{known}]")
            found.append((known, self.batch(row[key], inner, f"{name}_0[{known}]", depth + 1)))
        if kind == "tuple":
            return f"({' '.join(f'{made},' for _, made in found)})"
        # The order of the keys is that of the first row.
        self.dicts += [f"{name}_made = {name}_0.copy()", *(f"{name}_made[{known}] = {made}" for known, made in found)]
        return f"{name}_made"

    def arrays(self, part: Any, name: str, first: str, depth: int) -> str:
        """Arrays, whose bytes are joined: no way of numpy's is as fast, but for what is large or has no dimensions."""
        dtype, length = self.knows(part.dtype), f"{name}_length"
        look = f"type({name}) is ndarray"
        if not part.ndim:
            column = self.column(name, depth, look)
            made = self.make(name, f"array({column})")
            self.makes.append((0, f"if not ({column}[0].dtype is {made}.dtype is {dtype}): raise Misfit"))
            return made
        look += f" and {name}.dtype is {dtype}"
        if part.ndim == 1:
            self.before.append(f"{length} = len({first})")
            column = self.column(name, depth, f"{look} and {name}.ndim == 1 and len({name}) == {length}")
        else:
            self.before.append(f"{length} = {first}.shape")
            column = self.column(name, depth, f"{look} and {name}.shape == {length}")
            length = f"*{length}"
        made = f"ndarray((n, {length}), {dtype}, join({column}))"
        if part.nbytes >= LARGE // 1024:  # of smaller ones, it would take too many
            made += f" if n * {column}[0].nbytes < {LARGE} else stack({column})"
        return self.make(name, made, part.nbytes)


_NAMED: tuple[Any, ...] = (type, len, dict, tuple, bool, int, float, str, bytearray, ndarray, collate, Misfit)
_KNOWN = {each.__name__: each for each in _NAMED} | {"array": np.array, "join": bytearray().join, "stack": np.stack}

# Thousands of streams have rows of few forms, and to compile one takes as long as to make 25 batches.
_compiled = lru_cache(partial(compile, filename="<the form of a batch>", mode="exec"))


class _Packers(dict[int, Any]):
    """By how many they are, what makes the bytes of numbers of one kind."""

    def __init__(self, code: str) -> None:
        self.code: str = code

    def __missing__(self, n: int) -> Any:
        self[n] = pack = struct.Struct(f"{n}{self.code}").pack
        return pack
