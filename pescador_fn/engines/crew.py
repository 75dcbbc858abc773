"""The streams of a split mux, where they run: one pull at a time, in the order that the parent has foreseen.

    open ──▶ waits for its first turn ──▶ opened, and brought to where it was ──▶ its calls, one at each turn
                        │                                                             │
                    FAILED (with the error)                            ENDED, or CLOSED after its last call

``tasks`` is the order: each entry is one call of one stream. What the parent waits for comes first.
"""

from __future__ import annotations

from collections import deque
from itertools import compress
from operator import not_
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pescador_fn.below import begin, open_at
from pescador_fn.engines.notes import Note, Pace, stand
from pescador_fn.given import check_part
from pescador_fn.replaying import catch_up
from pescador_fn.running import Running, close_all

if TYPE_CHECKING:
    from pescador_fn.engines.split import Path, Unit
    from pescador_fn.seeds import Place

__all__ = ["Crew", "Order", "Out"]


class Order(NamedTuple):
    """What is to be opened: a stream of a mux at its place, where it is to go on, and what is known of it."""

    which: int
    path: Path
    stream: int
    place: Place
    note: Note  # where to begin
    seen: int  # calls to be made again from there, of those that were made before
    quota: int | None  # calls in all, where the mux has a bound
    barrier: int  # the call in which a worker before this one died, or -1


class Out(Protocol):
    """Where the outcomes go."""

    def item(self, which: int, item: Any) -> None: ...
    def error(self, which: int, error: BaseException) -> None: ...
    def event(self, word: str, which: int, value: Any = None) -> None: ...
    def about_to(self, which: int, call: int, *, carefully: bool) -> bool: ...


class _Active:
    """One stream."""

    __slots__ = ("calls", "items", "order", "owner", "pace", "running")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.items: Any = None
        self.owner: Any = None
        self.running: Running[Any] | None = None
        self.calls: int = order.seen
        self.pace = Pace(order.note[0])

    def open(self, unit: Unit) -> None:
        """Open it, and bring it to where it was."""
        order = self.order
        factory = unit.node.of.items[order.stream]
        n, snapshot = order.note
        try:
            if snapshot is None:
                items, self.owner, self.running = open_at(factory, order.place)
            else:
                self.running = self.owner = stand(begin(factory, order.place), snapshot)
                items = iter(self.running)
        except Exception:
            check_part(unit.node.build.__name__, factory, f"factories[{unit.node.of.label(order.stream)!r}]")
            raise
        catch_up(items, order.seen - n, None, unit.node.build.__name__)
        for function in unit.functions:
            items = map(function, items)
        self.items = items

    def pull(self) -> Any:
        """The next item."""
        return next(self.items)

    def close(self) -> None:
        owner, self.owner, self.items = self.owner, None, None
        if owner is not None:
            owner.close()


class Crew:
    """The streams that run here, and whose turn it is."""

    def __init__(self, units: dict[Path, Unit], out: Out) -> None:
        self.units = units
        self.out = out
        self.tasks: deque[int] = deque()
        self.active: dict[int, _Active] = {}
        self.wanted: int = 0  # what the parent waits for and has not been made, 0 for nothing
        self.hurry: bool = False  # whether it has been made just now
        self.opening_s: float = 0.0  # how long an opening takes, about: of two in turn, the shorter counts
        self.opened_s: float = 0.0  # and how long the last one took
        self.pulling_s: float = 0.0  # and a call

    def obey(self, word: str, what: Any) -> None:
        """Do as the parent says."""
        if word == "open":
            self.active[what.which] = _Active(what)
        elif word == "pull":
            self.tasks.extend(what)
        elif word == "want":
            if what in self.tasks:
                self.tasks.remove(what)
                self.tasks.appendleft(what)
                self.wanted = what
            else:
                self.hurry = True
        elif word == "drop":
            active = self.active.pop(what, None)
            if active is not None:
                self._close(what, active)

    def turn(self) -> bool:
        """Make the next call; ``False`` where that is not to be, since all is over."""
        which = self.tasks[0]
        active = self.active.get(which)
        if active is None:  # it has ended since the call was foreseen
            self._next()
            return True
        out, order = self.out, active.order
        if not out.about_to(which, active.calls, carefully=active.calls == order.barrier):
            return False
        if self.tasks[0] != which:  # something else is wanted by now
            return True
        if active.items is None and which != self.wanted and self._puts_off():
            return True
        start = perf_counter()
        self._next()
        try:
            if active.items is None:
                active.open(self.units[order.path])
                opened = perf_counter()
                before, self.opened_s = self.opened_s, opened - start
                self.opening_s += (min(before, self.opened_s) - self.opening_s) / 4
                start = opened
                out.event("opened", which, self.opening_s / self.pulling_s if self.pulling_s else None)
        except BaseException as error:
            self.active.pop(which)
            out.event("failed", which)
            out.error(which, error)
            self._close(which, active)
            return True
        try:
            item = active.pull()
        except StopIteration:
            self.active.pop(which)
            out.event("ended", which, active.calls)
            self._close(which, active)
            return True
        except BaseException as error:
            out.error(which, error)
        else:
            out.item(which, item)
        active.calls += 1
        self.pulling_s += (perf_counter() - start - self.pulling_s) / 16
        if active.calls == order.quota:
            self.active.pop(which)
            self._close(which, active)
        elif active.running is not None:
            note = active.pace.note(active.calls, active.running)
            if note is not None:
                out.event("note", which, note)
        return True

    def _puts_off(self) -> bool:
        """Whether the calls of the streams that are open come before an opening, since all take less time than it."""
        if self.opening_s < 0.001:
            return False  # to look would take longer
        active = self.active
        ready = [which in active and active[which].items is not None for which in self.tasks]
        if not 0 < sum(ready) * self.pulling_s < self.opening_s:
            return False
        first = compress(self.tasks, ready)
        self.tasks = deque([*first, *compress(self.tasks, map(not_, ready))])
        return True

    def _next(self) -> None:
        if self.tasks.popleft() == self.wanted:
            self.wanted, self.hurry = 0, True

    def _close(self, which: int, active: _Active) -> None:
        """Close a stream, and say so, with what that has raised."""
        late: BaseException | None = None
        try:
            active.close()
        except BaseException as error:
            late = error
        self.out.event("closed", which, late)

    def close(self) -> None:
        """Close every stream; the first error that this raises is raised."""
        active, self.active = self.active, {}
        self.tasks.clear()
        close_all(active.values())
