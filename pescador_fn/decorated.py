"""What decorators make of functions: known, as a function is, by where it is imported from."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, cast

from pescador_fn.legible import named

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Iterable

__all__ = ["Decorated", "takes_rng"]


class Decorated:
    """A function, and what is to be done with it."""

    __name__: str
    __qualname__: str

    def __init__(self, fn: Callable[..., Iterable[Any]]) -> None:
        functools.update_wrapper(cast("Any", self), fn)
        self.__name__ = getattr(fn, "__name__", None) or named(fn)  # a partial, or an object that is called, has none
        self.__qualname__ = getattr(fn, "__qualname__", self.__name__)
        self.fn = fn

    @property
    def is_known(self) -> bool:
        """Whether its module has this object under the function's name."""
        found: Any = sys.modules.get(self.__module__)
        for name in self.__qualname__.split("."):
            found = getattr(found, name, None)
        return found is self

    @property
    def has_import_path(self) -> bool:
        """Whether importing its module gives this object; ``__main__`` is another module elsewhere."""
        return self.__module__ != "__main__" and self.is_known

    def by_value(self) -> tuple[Any, ...]:
        """How it is pickled where it has no import path."""
        raise NotImplementedError

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.__qualname__ if self.has_import_path else self.by_value()


def takes_rng(signature: inspect.Signature) -> bool:
    """Whether a function has a keyword-only parameter ``rng``."""
    rng = signature.parameters.get("rng")
    return rng is not None and rng.kind is rng.KEYWORD_ONLY
