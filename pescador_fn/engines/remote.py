"""One activation of a split mux, as the executor of the mux sees it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pescador_fn.engines.delivery import Delivery
from pescador_fn.engines.notes import check, newest
from pescador_fn.engines.wire import Raised
from pescador_fn.running import flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.engines.split import Path, Unit
    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader, Saver

__all__ = ["Mux", "Remote"]

T = TypeVar("T")


class Mux(Protocol):
    """Where a stream belongs: what looks ahead of its mux (see ``ahead``)."""

    unit: Unit
    path: Path
    children: dict[tuple[int, int], Remote[Any]]
    dropped: int
    sight: Any
    stale: bool

    @property
    def team(self) -> Any: ...
    def handed(self, child: Remote[Any]) -> None: ...
    def look(self, child: Remote[Any]) -> None: ...
    def plan(self) -> None: ...
    def opened(self, child: Remote[Any]) -> None: ...
    def make_room(self, child: Remote[Any]) -> None: ...


class Remote(Delivery[T]):
    """One activation, which runs in a worker."""

    __slots__ = (
        "adopted",
        "ahead",
        "call",
        "closed",
        "deaths",
        "died_at",
        "failing",
        "hand",
        "late",
        "length",
        "lent",
        "listed",
        "opened",
        "place",
        "quota",
        "stream",
        "wanted",
        "weights",
        "which",
    )

    given: tuple[Any, int, int]

    def __init__(self, ahead: Mux, stream: int, place: Place) -> None:
        super().__init__()
        self.ahead: Mux = ahead
        self.stream: int = stream
        self.place: Place = place
        self.hand: Any = None  # the worker that it was given to
        self.which: int = 0  # its number there
        self.adopted: bool = False  # whether the executor has it
        self.opened: bool = False
        self.failing: bool = False  # it has not opened, and its first outcome says why
        self.closed: bool = False  # in the worker
        self.late: BaseException | None = None  # what closing raised there
        self.length: int | None = None  # calls until its end, where that is known
        self.quota: int | None = None
        self.listed: int = 0  # calls that the worker was told to make
        self.wanted: int = -1  # how many it had received when the worker was last asked to hurry
        self.weights: deque[int] = deque()  # bytes, by outcome
        self.lent: int = 0  # bytes of what was handed out last
        self.call: int = -1  # in which a worker died
        self.deaths: int = 0  # since the last new item
        self.died_at: int = -1

    @property
    def key(self) -> tuple[int, int]:
        """Which stream, at its which activation."""
        return self.stream, self.place.number

    def __iter__(self) -> Iterator[T]:
        if not self.opened and not self.over:
            self.ahead.team.open(self)
        return flow(self.refill)

    def more(self) -> Iterator[T] | None:
        with self.ahead.team as team:
            while True:
                items = self.hand_out()
                if items is not None:
                    self.ahead.handed(self)
                    return items
                if self.over or self.received == self.length:
                    return None
                self.ahead.look(self)
                team.fetch(self)

    def hand_out(self) -> Iterator[T] | None:
        waiting = len(self.outcomes)
        items = super().hand_out()
        if len(self.outcomes) < waiting:
            self.hand.release(self.lent)
            self.lent = self.weights.popleft()
        return items

    def broken(self) -> Iterator[T]:
        self.cut = False  # the team begins again where it was interrupted
        return iter(())

    def receive(self, outcome: Any, size: int) -> None:
        """Take in what one call gave."""
        if isinstance(outcome, Raised):
            self.outcomes.append(outcome)
        elif self.outcomes and isinstance(self.outcomes[-1], list):
            self.outcomes[-1].append(outcome)
            self.weights[-1] += size
            return
        else:
            self.outcomes.append([outcome])
        self.weights.append(size)

    def empty(self) -> None:
        """Forget what was received and not handed out."""
        if self.hand is not None:
            self.hand.release(self.buffered)
        self.outcomes.clear()
        self.weights.clear()
        self.lent = 0

    @property
    def buffered(self) -> int:
        """Bytes that were received and are not delivered."""
        return self.lent + sum(self.weights)

    @property
    def complete(self) -> bool:
        """Whether the worker has nothing more to make."""
        return self.received in (self.length, self.quota)

    @property
    def done(self) -> bool:
        return (self.over or self.received == self.length) and not self.outcomes and not self.given[0].__length_hint__()

    def save(self, saver: Saver) -> Any:
        """As of what runs elsewhere by itself; at the start without a snapshot, since the mux knows its streams."""
        del saver  # a note speaks for itself
        delivered = self.delivered
        number, snapshot = newest(self.notes, delivered)
        return [snapshot, delivered - number, self.done]

    def load(self, state: Any, loader: Loader) -> None:
        check(self.ahead.unit.node.of.items[self.stream], self.place, state[0], loader)
        self.stand(state)
        self.listed = self.delivered

    def close(self) -> None:
        self.over = True
        self.let_go()
        self.ahead.team.end(self)
