"""Rows to batches: pure functions of arrays, scalars, strings, dicts and tuples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pescador_fn.errors import show

__all__ = ["NUMBERS", "collate"]

NUMBERS = "biufc"
_ARRAYS = {np.ndarray}
Path = tuple[Any, Any] | None  # the path above, and a key: spelt out where an error needs it
_NUMBER = (bool, int, float, complex, np.number, np.bool_)
_PLAIN = {bool: "b", int: "iu", float: "f", complex: "c"}  # scalars, and the dtypes that hold them exactly


def collate(rows: Sequence[Any], axis: int | None, path: Path = None) -> Any:
    """One batch of the same form as its rows, all of which are of one form."""
    first = rows[0]
    kind = type(first)
    # The plain cases are checked in few steps; whatever is odd is looked at row by row further down.
    if axis is None and (kind is np.ndarray or kind in _PLAIN):
        made = _stack(rows, first, kind)
        if made is not None:
            return made
    if isinstance(first, Mapping):
        return _collate_dicts(rows, axis, path)
    if isinstance(first, tuple):
        _check_lengths(rows, path)
        parts = [collate(column, axis, (path, k)) for k, column in enumerate(zip(*rows, strict=True))]
        return kind(*parts) if hasattr(first, "_fields") else tuple(parts)
    kinds = set(map(type, rows))
    if any(map(_is_array, kinds)):
        return _join(rows, axis, path)
    return _collate_scalars(rows, kinds, axis, path)


def _stack(rows: Sequence[Any], first: Any, kind: type) -> Any:
    """Arrays of one form or plain numbers as one array; ``None`` where they are not."""
    try:
        if kind is not np.ndarray:
            made = np.array(rows)
            return made if made.dtype.kind in _PLAIN[kind] and made.ndim == 1 else None
        if set(map(type, rows)) != _ARRAYS:
            return None
        made = np.array(rows)  # far faster than `np.stack`, and as strict about shapes
    except (TypeError, ValueError):
        return None
    dtype = first.dtype
    plain = made.dtype is dtype and dtype.isnative and dtype.kind in NUMBERS
    return made if plain and made.ndim == first.ndim + 1 else None


def _is_array(kind: type) -> bool:
    return issubclass(kind, np.ndarray | list) or (hasattr(kind, "__array__") and not issubclass(kind, np.generic))


def _where(path: Path) -> str:
    return f"batch: {_spell(path) or 'the item'}"


def _spell(path: Path) -> str:
    return f"{_spell(path[0])}[{path[1]!r}]" if path else ""


def _collate_dicts(rows: Sequence[Any], axis: int | None, path: Path) -> dict[Any, Any]:
    keys = list(rows[0])
    for position, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(
                f"{_where(path)} is a dict at position 0 and {show(row)} at position {position}; "
                "yield items of one form"
            )
        if len(row) != len(keys) or row.keys() != rows[0].keys():
            odd = [key for key in keys if key not in row] or [key for key in row if key not in rows[0]]
            raise ValueError(
                f"{_where(path)} has the keys {show(keys)} at position 0 and {show(list(row))} at position {position}; "
                f"yield {odd[0]!r} in every item or in none"
            )
    return {key: collate([row[key] for row in rows], axis, (path, key)) for key in keys}


def _check_lengths(rows: Sequence[Any], path: Path) -> None:
    size = len(rows[0])
    for position, row in enumerate(rows):
        if not isinstance(row, tuple) or len(row) != size:
            raise ValueError(
                f"{_where(path)} is a tuple of {size} at position 0 and {show(row)} at position {position}; "
                "yield tuples of one length"
            )


def _join(rows: Sequence[Any], axis: int | None, path: Path) -> Any:
    """Stack along a new axis, or join along a given one."""
    arrays = []
    for position, row in enumerate(rows):
        try:
            array = (
                row
                if isinstance(row, np.ma.MaskedArray)
                else _read_list(row)
                if isinstance(row, list)
                else np.asarray(row)
            )
        except RuntimeError as error:
            if not any(
                getattr(one, "requires_grad", False) is True for one in (row, *(row if type(row) is list else ()))
            ):
                raise
            raise TypeError(
                f"{_where(path)} is a tensor that requires grad at position {position}, and a batch has no gradients; "
                "yield it by .detach()"
            ) from error
        except (TypeError, ValueError) as error:
            remedy = "yield even lists of one kind" if isinstance(row, list) else "make it an array before"
            raise type(error)(f"{_where(path)} is not an array at position {position}: {error}; {remedy}") from error
        odd = array is None if isinstance(row, list) else array.dtype.kind == "O" and not isinstance(row, np.ndarray)
        if odd or isinstance(row, str | bytes):
            rule = "which is no array of numbers or strings" if isinstance(row, list) else "and an array at another"
            raise TypeError(f"{_where(path)} is {show(row)} at position {position}, {rule}; yield items of one form")
        arrays.append(array)
    if all(isinstance(row, list) for row in rows) and any(array.dtype.kind == "O" for array in arrays):
        arrays = [array.astype(object) if array.dtype.kind in "iuU" else array for array in arrays]
    _check_forms(arrays, axis, path)
    masked = any(isinstance(array, np.ma.MaskedArray) for array in arrays)
    library: Any = np.ma if masked else np
    return library.stack(arrays) if axis is None else library.concatenate(arrays, axis=axis)


def _check_forms(arrays: list[Any], axis: int | None, path: Path) -> None:
    first = arrays[0]
    if axis is not None and not -first.ndim <= axis < first.ndim:
        raise ValueError(
            f"{_where(path)} has shape {first.shape}, which has no axis {axis} to join along; "
            "use axis=None to stack along a new one"
        )
    ours = _frame(first, axis)
    for position, array in enumerate(arrays):
        if _frame(array, axis) != ours:
            raise ValueError(
                f"{_where(path)} has shape {first.shape} at position 0 and {array.shape} at position {position}; "
                f"bring the items to one shape{'' if axis is None else f', but for axis {axis},'} before batching"
            )
        if array.dtype != first.dtype and not _joinable(array.dtype, first.dtype):
            raise TypeError(
                f"{_where(path)} has dtype {first.dtype} at position 0 and {array.dtype} at position {position}; "
                "yield arrays of one kind"
            )


def _read_list(row: list[Any]) -> Any:
    """A list as an array, or else ``None``; of objects where another array would not hold them exactly.

    Strings are not stripped, nor are numbers among them made strings; large integers are not made floats.
    """
    array = np.asarray(row)
    kind = array.dtype.kind
    if kind not in "USO" and not (array.dtype == float and (np.abs(array) >= 2.0**63).any()):
        return array
    leaves = np.asarray(row, dtype=object)
    if kind == "f":
        return leaves if all(isinstance(leaf, int | np.integer) for leaf in leaves.flat) else array
    if kind == "O":
        return leaves if all(isinstance(leaf, _NUMBER) for leaf in leaves.flat) else None
    if not all(isinstance(leaf, str) for leaf in leaves.flat) and not all(
        isinstance(leaf, bytes) for leaf in leaves.flat
    ):
        raise TypeError(f"{show(row)} mixes strings with other values")
    stripped = kind == "S" or any(leaf.endswith("\0") for leaf in leaves.flat)
    return leaves if stripped else array


def _frame(array: Any, axis: int | None) -> Any:
    """What must be equal: the shape, without the axis that is joined along."""
    if axis is None:
        return array.shape
    joined = axis % max(array.ndim, 1)
    return array.ndim, array.shape[:joined], array.shape[joined + 1 :]


def _joinable(one: Any, other: Any) -> bool:
    """Whether two dtypes have one that holds the values of both."""
    if one.kind in NUMBERS and other.kind in NUMBERS:
        return not (np.result_type(one, other).kind == "f" and one.kind in "iu" and other.kind in "iu")
    if one.kind == other.kind == "V":
        try:
            np.result_type(one, other)
        except TypeError:  # other fields
            return False
    return bool(one.kind == other.kind)


def _collate_scalars(rows: Sequence[Any], kinds: set[type], axis: int | None, path: Path) -> Any:
    if axis is not None:
        raise ValueError(f"{_where(path)} is {show(rows[0])}, which has no axis {axis} to join along; use axis=None")
    if any(issubclass(kind, Mapping | tuple) for kind in kinds):
        position, row = next((k, row) for k, row in enumerate(rows) if isinstance(row, Mapping | tuple))
        raise TypeError(
            f"{_where(path)} is {show(rows[0])} at position 0 and {show(row)} at position {position}; "
            "yield items of one form"
        )
    if all(issubclass(kind, _NUMBER) for kind in kinds) and np.timedelta64 not in kinds:  # which numpy calls a number
        made = np.array(rows)
        if made.dtype.kind == "f" and all(issubclass(kind, int | np.integer) for kind in kinds):
            made = _objects(rows)  # integers too large for any integer type would lose digits
        return made
    if all(issubclass(kind, str) for kind in kinds):
        # numpy strips trailing NULs from its strings.
        return _objects(rows) if any(row.endswith("\0") for row in rows) else np.array(rows)
    kind = type(rows[0])
    if len(kinds) == 1 and issubclass(kind, np.generic):
        stripped = issubclass(kind, bytes) and any(row.endswith(b"\0") for row in rows)
        return _objects(rows) if stripped else np.array(rows)
    if len(kinds - {type(None)}) > 1:
        odd = next(position for position, row in enumerate(rows) if type(row) is not type(rows[0]))
        raise TypeError(
            f"{_where(path)} is {show(rows[0])} at position 0 and {show(rows[odd])} at position {odd}; "
            "yield items of one form"
        )
    return _objects(rows)


def _objects(rows: Sequence[Any]) -> Any:
    made = np.empty(len(rows), dtype=object)
    made[:] = rows
    return made
