"""Starting again where a stream ends."""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, TypeVar

from pescador_fn.below import begin
from pescador_fn.errors import check_count
from pescador_fn.factory import Factory, Node
from pescador_fn.given import check_part
from pescador_fn.items import ordinal
from pescador_fn.running import EMPTY, FOREVER, Running, flow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader, Saver

__all__ = ["cycle"]

T = TypeVar("T")


class _Cycled(Running[T]):
    __slots__ = (
        "calls",
        "current",
        "end",
        "ended",
        "gave",
        "left",
        "limited",
        "node",
        "number",
        "opened",
        "place",
        "resumed",
        "stage",
        "unseen",
    )

    whole = True

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__()
        self.node = node
        self.place = place
        self.stage = f"cycle {ordinal(cycle, node.of)}"
        self.number = -1  # the pass
        self.current: Running[T] | None = None
        self.gave = False
        self.limited = node.options["n_items"] is not None
        self.left = node.options["n_items"] if self.limited else FOREVER
        self.ended = False
        self.calls: repeat[Any] | None = None  # of the plumbing, until it is known why that has ended
        self.unseen = False  # whether the plumbing has ended, and why is not known
        self.opened: Iterator[T] | None = None
        self.end: Any = EMPTY
        self.resumed = False  # whether the pass is one that a state names, and not open yet

    def __iter__(self) -> Iterator[T]:
        if self.number < 0 and self.left and not self.ended:
            self._open()  # here, as under any stage, so that a mux above sees what does not open
        elif self.resumed:
            assert self.current is not None
            self.opened = iter(self.current)
            self.resumed = False
        return flow(self.refill)

    def more(self) -> Iterator[T] | None:
        self.unseen = self.calls is not None
        if self.calls is not None:
            self._look(self.calls)
        if self.current is not None and self.opened is None and self.current.done:
            self.current.close()
            self.current, self.ended = None, self.ended or not self.gave
        if self.ended or not self.left:
            self.close()
            return None
        if self.current is None:
            self._open()
        assert self.current is not None
        opened = iter(self.current) if self.opened is None else self.opened
        calls, end = repeat(opened, self.laid), iter([EMPTY])
        # Where the count ends and where the pass ends must differ: the count ends in a pull of EMPTY.
        items = map(next, chain(calls, end)) if self.limited else chain(map(next, calls), opened)
        self.calls, self.end, self.opened = calls, end, None
        return items

    @property
    def laid(self) -> int:
        """How many calls of a pass are counted: without a limit, enough to tell whether it gives anything."""
        return self.left if self.limited else 2

    def _open(self) -> None:
        """Begin the next pass; one that does not open is the last."""
        current = begin(self.node.of, self.place.again(self.stage, self.number + 1))
        try:
            opened = iter(current)
        except Exception:
            self.ended = True
            raise
        self.current, self.opened, self.gave = current, opened, False
        self.number += 1

    def _look(self, calls: repeat[Any]) -> None:
        """How many items the plumbing has given that has ended: by the count, the pass, or a signal."""
        items = self.laid - calls.__length_hint__() - 1  # the last call found the end
        left = self.left - items if self.limited else self.left
        if self.limited and not self.end.__length_hint__():
            left = 0
        self.left, self.gave, self.calls, self.unseen = left, self.gave or items > 0, None, False

    @property
    def done(self) -> bool:
        return self.ended

    @property
    def torn(self) -> bool:
        return self.unseen

    def close(self) -> None:
        self.ended = True
        if self.current is not None:
            self.current.close()

    def held(self) -> Iterable[Any]:
        return (self.current,)

    def save(self, saver: Saver) -> Any:
        if self.current is None or self.ended:
            return [self.number, self.left, self.ended, self.gave, None]
        made = 0 if self.calls is None else self.laid - self.calls.__length_hint__()
        left = self.left - made if self.limited else self.left
        return [self.number, left, False, self.gave or made > 0, saver.running(self.current)]

    def load(self, state: Any, loader: Loader) -> None:
        self.number, self.left, self.ended, self.gave, current = state
        if current is not None:
            self.current = begin(self.node.of, self.place.again(self.stage, self.number))
            self.current = loader.running(self.current, current)
            self.resumed = True


def cycle(factory: Factory[T], n_items: int | None = None) -> Node[T]:
    """Start again whenever the stream ends; a pass that gives nothing is the last.

    Each pass has randomness of its own, so a shuffled stream comes in another order every time.

    Args:
        factory: of the items.
        n_items: stop after this many in all, ``>= 0``; ``None`` for no limit.

    Raises:
        TypeError: when built, if ``factory`` is not a factory or ``n_items`` not an integer.
        ValueError: when built, if ``n_items`` is negative.

    Source: McFee et al., pescador 3.0, ``Streamer.cycle``.

    >>> list(cycle([1, 2].__iter__, 5)())
    [1, 2, 1, 2, 1]
    """
    if n_items is not None:
        n_items = check_count("cycle", "n_items", n_items, 0)
    return Node(cycle, _Cycled, check_part("cycle", factory), n_items=n_items)
