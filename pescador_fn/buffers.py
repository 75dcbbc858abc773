"""What buffers share: draws that are numbered, and a tape of what lies below."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.below import Stage
from pescador_fn.drawing import Ints, Words
from pescador_fn.errors import Unsettled, ended_early
from pescador_fn.items import ordinal
from pescador_fn.running import flow
from pescador_fn.tape import Ages, Tape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place


__all__ = ["Drawing"]

T = TypeVar("T")


class Drawing(Stage[T]):
    """A stage that draws once for each item; its draws are numbered.

    Where it is resumed it draws again, from a snapshot of the stream below on; what the buffer held then is gone.
    """

    __slots__ = (
        "ages",
        "at",
        "closed",
        "index",
        "items",
        "n_slots",
        "over",
        "past",
        "size",
        "spoiled",
        "tape",
        "words",
    )

    whole = True

    def __init__(self, node: Node[T], place: Place, n_slots: int) -> None:
        super().__init__(node, place)
        self.words: Words = Words(self.place, f"{node.build.__name__} {ordinal(node.build, node.of)}")
        self.at: int = 0  # draws before the block and in it
        self.index: Any = iter(())
        self.size: int = drawing.block_sizes[0]
        self.items: Iterator[T] | None = None
        self.over: bool = False  # whether a pull has found the end
        self.closed: bool = False
        self.n_slots: int = n_slots
        self.ages: Ages = Ages()
        self.tape: Tape = Tape()
        self.past: Any = None  # what to draw again, until it is opened
        self.spoiled: int = 0  # the draws after which no item is lost by a signal any more

    def __iter__(self) -> Iterator[T]:
        if self.items is None:
            self.items = self.tape.begin(self.upstream)
            if self.past is not None:
                try:
                    self.catch_up()
                except Exception:  # what cannot go on has ended, as under any stage
                    self.past = None
                    self.close()
                    raise
                self.past = None
        return flow(self.refill)

    def close(self) -> None:
        self.closed = True
        super().close()

    def more(self) -> Iterator[T] | None:
        """Lay the draws on, until the stream below ends."""
        if self.closed:
            return None
        if self.over and not self.upstream.done:  # cut by a signal
            self.items = iter(self.upstream)
            self.over = False
        if not self.over and not self.index.__length_hint__():
            self.lay()
        return self.rest() if self.over else self.draw()

    def lay(self) -> None:
        """Set ``index`` to a block of draws."""
        if self.tape.is_due(self.at, self.n_slots or 1):
            self.tape.note(self.at, self.upstream, self.beside)
            self.tape.prune(self.oldest)
        self.lay_block(self.size)
        self.size = min(self.size * 4, drawing.block_sizes[1])

    def lay_block(self, size: int) -> None:
        """Set ``index`` to the next draws."""
        codes = self.codes(size)
        filled, index, ages = self.filled(codes), iter(codes.tolist()), self.ages
        since, missed = ages.done(), set[int]()
        # At once, without a call: Python looks for signals there.
        ages.since, ages.block, ages.first, ages.missed = since, filled, self.at, missed
        self.index, self.at = index, self.at + size

    def missed(self, slot: int, error: BaseException) -> None:
        """A draw has left its slot as it was, for an exception in the pull."""
        self.ages.missed.add(slot)
        if not isinstance(error, Exception):
            self.spoil()

    def spoil(self) -> None:
        """A signal has lost an item, which would come where the pull is made again."""
        self.spoiled = max(1, self.drawn)

    def draw_again(self, draws: int, *, over: bool) -> None:
        """Draw on, up to a number of draws; exceptions come as they came, and items are dropped.

        Args:
            draws: how many there had been.
            over: whether the last of them had found the end.
        """
        while self.at < draws:
            self.lay_block(min(draws - self.at, drawing.block_sizes[1]))
            while self.index.__length_hint__() and not self.over:
                with suppress(Exception):
                    deque(self.draw(), maxlen=0)
            if self.index.__length_hint__() or (self.over and not over):
                raise ended_early(self.node.build.__name__)
        self.over = over

    @property
    def drawn(self) -> int:
        """Draws so far."""
        return self.at - int(self.index.__length_hint__())

    @property
    def oldest(self) -> int:
        """The draw that what is longest in the buffer came with; -1 where that was before all draws."""
        return self.ages.oldest(self.drawn - self.ages.first, self.n_held(self.drawn))

    def snapshot(self) -> list[Any]:
        """The newest snapshot that is older than all that is buffered."""
        found = self.tape.newest(self.oldest, self)
        if found[0] < self.spoiled:
            raise Unsettled(
                f"state_dict: {self.node.build.__name__}: a signal has cut a pull short, and what the buffer held then "
                "would not be pulled again as it was; take the state later, or before"
            )
        return found

    def n_held(self, drawn: int) -> int:
        """How many slots hold an item."""
        raise NotImplementedError

    @property
    def beside(self) -> Any:
        """What to note beside a snapshot."""
        return None

    def codes(self, size: int) -> Ints:
        """The next draws."""
        raise NotImplementedError

    def filled(self, codes: Ints) -> Ints:
        """The slot that each draw fills, negative for none."""
        raise NotImplementedError

    def draw(self) -> Iterator[T]:
        """The plumbing over ``index``."""
        raise NotImplementedError

    def rest(self) -> Iterator[T] | None:
        """What is handed out after the end of the stream below."""
        raise NotImplementedError

    def catch_up(self) -> None:
        """Come to where the saved stream was, from the snapshot on."""
        raise NotImplementedError
