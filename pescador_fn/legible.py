"""How factories print: as the call that made them, folded, without addresses."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import BuiltinMethodType, FunctionType, MethodType, MethodWrapperType
from typing import Any

import numpy as np

from pescador_fn.errors import show

__all__ = ["called", "fold", "named"]

_WIDTH = 96
_WHOLE = 2**31  # characters
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def _number(value: Any) -> str:
    """As short as it reads back the same."""
    short = f"{value:g}" if isinstance(value, float) else repr(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def fold(name: str, words: list[str], brackets: str = "()") -> str:
    """``name(word, word)``, a word to a line where one line would be too long."""
    line = f"{name}{brackets[0]}{', '.join(words)}{brackets[1]}"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    inner = ",\n".join(words).replace("\n", "\n    ")
    return f"{name}{brackets[0]}\n    {inner},\n{brackets[1]}"


def called(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """A call as its reader would write it."""
    return fold(name, [*map(named, args), *(f"{key}={named(value)}" for key, value in kwargs.items())])


def named(value: Any, most: int = 60) -> str:
    """A value as its reader would write it."""
    if isinstance(value, FunctionType):
        if value.__name__ == "<lambda>":
            return f"<lambda, line {value.__code__.co_firstlineno}>"
        return value.__qualname__.rpartition("<locals>.")[2]
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, MethodType | BuiltinMethodType | MethodWrapperType):
        owner = value.__self__
        name = getattr(value, "__name__", "call")
        return name if owner is None or type(owner).__name__ == "module" else f"{named(owner)}.{name}"
    if isinstance(value, functools.partial):
        return called("partial", (value.func, *value.args), value.keywords)
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size <= 6:
            return f"[{', '.join(map(_number, value.tolist()))}]"
        return f"<array of shape {value.shape}>"
    if isinstance(value, str | bytes | int | float | list | tuple | Mapping | range | None):
        return show(value, most)
    return _ADDRESS.sub("", show(value, _WHOLE))
