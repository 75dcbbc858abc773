"""What decorators make of functions: known, as a function is, by where it is imported from."""

from __future__ import annotations

import functools
import sys
import threading
from typing import TYPE_CHECKING, Any, Self, cast

from pescador_fn.legible import named

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Iterable

__all__ = ["MAIN", "Decorated", "is_known", "takes_rng"]

MAIN = ("__main__", "__mp_main__")  # the second in a process that multiprocessing has started

_within = threading.local()  # a pickle of a function by value


class Decorated:
    """A function, and what is to be done with it."""

    __name__: str
    __qualname__: str

    def __init__(self, fn: Callable[..., Iterable[Any]]) -> None:
        # Of a class, its attributes are methods of its instances and not of this.
        functools.update_wrapper(cast("Any", self), fn, updated=() if isinstance(fn, type) else ("__dict__",))
        self.__name__ = getattr(fn, "__name__", None) or named(fn)  # a partial, or an object that is called, has none
        self.__qualname__ = getattr(fn, "__qualname__", self.__name__)
        self.fn = fn

    @property
    def is_known(self) -> bool:
        """Whether its module has this object under the function's name."""
        return is_known(self)

    @property
    def has_import_path(self) -> bool:
        """Whether importing its module gives this object; ``__main__`` is another module elsewhere."""
        return self.__module__ not in MAIN and self.is_known

    def __deepcopy__(self, memo: Any) -> Self:
        del memo
        return self  # as a function is

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with, beside the function."""
        return {}

    def with_function(self) -> tuple[Any, ...]:
        """How it is pickled where its function can be."""
        return functools.partial(type(self), **self.options), (self.fn,)

    def by_value(self) -> tuple[Any, ...]:
        """How it is pickled where it has no import path: by cloudpickle, also in a plain pickle."""
        if getattr(_within, "is_here", False):  # the function refers to what it became
            return self.with_function()
        import cloudpickle

        _within.is_here = True
        try:
            return _revived, (type(self), cloudpickle.dumps(self.fn), self.options)
        finally:
            _within.is_here = False

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.__qualname__ if self.has_import_path else self.by_value()


def is_known(function: Any) -> bool:
    """Whether the module that a function says it is from has it under its name."""
    found: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for name in getattr(function, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is function


def _revived(kind: Any, pickled: bytes, options: dict[str, Any]) -> Any:
    import cloudpickle

    return kind(cloudpickle.loads(pickled), **options)


def takes_rng(decorator: str, name: str, signature: inspect.Signature, first: str) -> bool:
    """Whether a function has a keyword-only parameter ``rng``; one of another kind would never be filled in."""
    rng = signature.parameters.get("rng")
    if rng is None or rng.kind is rng.VAR_KEYWORD:
        return False
    if rng.kind is not rng.KEYWORD_ONLY:
        raise TypeError(
            f"{decorator}: {name} takes rng by position, where its arguments would meet it; "
            f"make it keyword-only: def f({first}, *, rng)"
        )
    return True
