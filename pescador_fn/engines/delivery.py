"""What has come from elsewhere: outcomes that wait for their consumer, and how many it has.

Outcomes are handed out as list iterators, in C; what is left of one tells what was delivered, exactly, at any moment.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from pescador_fn.engines.notes import ABOUT, Note
from pescador_fn.engines.wire import Outcome, Raised
from pescador_fn.running import Running, raising

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Delivery"]

T = TypeVar("T")


class Delivery(Running[T]):
    """The consumer's side of a stream that runs elsewhere."""

    __slots__ = ("given", "notes", "outcomes", "over")

    cut: bool

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: deque[Outcome] = deque()  # received, and not handed out
        # What was handed out last, how many calls it began with, and how many there were before. It is set in one step,
        # so that no signal can come in between.
        self.given: tuple[Any, int, int] = (iter([]), 0, 0)
        self.notes: list[Note] = [(0, None)]
        self.over: bool = False  # closed, or given up, or never opened

    def refill(self, *plumbing: Any) -> Iterator[T] | None:
        """More plumbing. Whatever is raised on the way leaves the mark on, an ``Exception`` too.

        It may come from a signal's handler, or for want of a descriptor, between taking a message and keeping what it
        holds. What is raised where nothing is half done takes the mark off first.
        """
        if self.cut:
            return self.broken()
        self.cut = True
        try:
            items = self.more(*plumbing)
        except BaseException as error:
            return raising(error)
        self.cut = False
        return items

    @property
    def delivered(self) -> int:
        """Calls whose outcomes the consumer has."""
        handed, lent, before = self.given
        return before + lent - int(handed.__length_hint__())

    @property
    def received(self) -> int:
        """Calls whose outcomes need not be sent again."""
        _, lent, before = self.given
        return before + lent + sum(1 if isinstance(one, Raised) else len(one) for one in self.outcomes)

    def hand_out(self) -> Iterator[T] | None:
        """Plumbing of what has come; ``None`` if there is nothing."""
        handed: Any
        handed, lent, before = self.given
        if handed.__length_hint__():  # a signal has cut the plumbing
            return self._lay(handed)
        if not self.outcomes:
            return None
        outcome = self.outcomes[0]
        handed = iter(outcome if isinstance(outcome, list) else [outcome])
        self.given = handed, handed.__length_hint__(), before + lent
        self.outcomes.popleft()
        return self._lay(handed)

    def _lay(self, handed: Any) -> Iterator[T]:
        """Items as they are, and an error so that raising it is counted as handing it out."""
        _, (rest,), position = handed.__reduce__()
        items: Iterator[T] = map(_throw, handed) if isinstance(rest[position], Raised) else handed
        return items

    def let_go(self) -> None:
        """Forget what is not delivered, also where plumbing that is still held has it."""
        handed = self.given[0]
        self.given = iter([]), 0, self.delivered
        self.outcomes.clear()
        deque(handed, maxlen=0)

    def held(self) -> Iterable[Any]:
        return ()

    def about(self) -> dict[str, Any]:
        return ABOUT["parallel"]

    def stand(self, state: Any) -> None:
        """Stand where ``save`` was called."""
        snapshot, calls, self.over = state
        self.notes = [(0, snapshot)]
        self.given = iter([]), 0, calls


def _throw(outcome: Raised) -> Any:
    raise outcome.box.pop()
