"""The open streams of a mux in its states: saved, and opened again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pescador_fn.below import OWN, begin, described, open_at
from pescador_fn.legible import named
from pescador_fn.replaying import catch_up
from pescador_fn.state import ELSEWHERE, Loader, Saver

if TYPE_CHECKING:
    from pescador_fn.below import Opened
    from pescador_fn.running import Running
    from pescador_fn.seeds import Place

__all__ = ["Past", "save_child"]


class Past:
    """A stream of a mux that a state names: read, and not open yet."""

    __slots__ = ("factory", "known", "n", "place", "running", "where")

    def __init__(self, factory: Any, place: Place, saved: Any, loader: Loader, label: object) -> None:
        self.factory: Any = factory
        self.place: Place = place
        self.where: str = f"{loader.where}[{label!r}]"
        self.running: Running[Any] | None = None
        self.n: int
        self.known: Any
        self.n, self.known = (saved, None) if isinstance(saved, int) else saved
        if not isinstance(self.known, str | None):
            self.running = loader.running(begin(factory, place), [self.n, self.known], label)
        elif OWN[type(factory)] and hasattr(factory, "_start"):
            self.running = begin(factory, place)
            if self.running.about()[""] not in ELSEWHERE:
                raise loader.mismatch(f"{named(factory, 20)} at {label!r}, where the state has a stream of the user's")
            stages = [described(factory.of)]
            self.running.load([{"stages": stages, "at": [0, [self.n, None, self.known]]}, 0, False], loader)

    def save(self, saver: Saver) -> Any:
        """The state that it was read from."""
        if self.running is not None:
            return saver.running(self.running)
        return self.n if self.known is None else [self.n, self.known]

    def open(self) -> Opened:
        """Open it, and bring it to where it was."""
        if self.running is not None:
            return iter(self.running), self.running, self.running
        opened = open_at(self.factory, self.place)
        catch_up(opened[0], self.n, self.known, self.where)
        return opened


def save_child(saver: Saver, factory: Any, place: Place, running: Running[Any] | None, calls: int) -> Any:
    """The state of one open stream of a mux, from which ``Past`` opens it again."""
    if running is not None:
        return saver.running(running)
    verify = saver.verify and calls > 0
    return [calls, saver.checksum(calls, partial(open_at, factory, place))] if verify else calls
