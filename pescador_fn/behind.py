"""A stream that has to catch up: it stands at a note, and some calls have been made since."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from pescador_fn.errors import ReplayMismatch
from pescador_fn.running import EMPTY, Running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pescador_fn.state import Loader, Saver

__all__ = ["Behind"]

T = TypeVar("T")

_ABOUT = {"": "parallel"}


class Behind(Running[T]):
    """A stage, saved where it was made elsewhere, that goes on here."""

    __slots__ = ("calls", "over", "running", "state", "stood", "where")

    def __init__(self, running: Running[T]) -> None:
        super().__init__()
        self.running: Running[T] = running
        self.state: Any = None  # what was read, until it has caught up
        self.calls: repeat[Iterator[T]] = repeat(EMPTY, 0)  # to be made again
        self.over: bool = False
        self.stood: bool = False  # whether it is beyond where it was saved
        self.where: str = ""

    def __iter__(self) -> Iterator[T]:
        if self.over:
            return iter(())
        items = iter(self.running)
        self.calls = repeat(items, self.calls.__length_hint__())  # what a signal has left of them
        while self.calls.__length_hint__():
            try:
                deque(map(next, self.calls), maxlen=0)
            except Exception:  # as it was raised before
                continue
            if self.calls.__length_hint__():
                raise ReplayMismatch(
                    f"{self.where}: the stream ended before the item that it had reached; "
                    "a factory must give the same items whenever it is called"
                )
        self.stood = True
        return items

    @property
    def done(self) -> bool:
        return self.over or self.running.done

    def close(self) -> None:
        self.over = True
        self.running.close()

    def held(self) -> Iterable[Any]:
        return (self.running,)

    def about(self) -> dict[str, Any]:
        return self.running.about() if self.stood else _ABOUT

    def save(self, saver: Saver) -> Any:
        return self.running.save(saver) if self.stood else self.state

    def load(self, state: Any, loader: Loader) -> None:
        self.state, self.where = state, loader.where
        snapshot, calls, self.over = state
        self.calls = repeat(EMPTY, calls)
        if snapshot is not None:
            inner = loader.inner(snapshot["stages"])
            inner.path.pop()  # what comes next is the same stage
            self.running = inner.running(self.running, snapshot["at"])
