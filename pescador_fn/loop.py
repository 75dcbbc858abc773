"""The loop that C runs.

A mux is a schedule, which says which stream each draw falls on, and an executor, which opens and pulls. The executor
lets C do the drawing. A block of indices is drawn ahead, and

    map(next, map(slots.__getitem__, index))

moves one item for each. A slot that has nothing to give raises StopIteration, which ends the map; `refill` then sees by
the length hint of ``index`` at which draw, mends the slot, puts the index back and goes on with the same plumbing. A
block ends with an index whose slot is always empty, so that its end is told apart from the end of a stream.

After a block in which no slot changed, the next one holds the streams themselves in the place of their indices:

    map(next, index)

until a slot has to be mended, from where it holds indices again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pescador_fn.running import EMPTY, Running, flow
from pescador_fn.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place
    from pescador_fn.state import Saver

__all__ = ["Loop", "Open"]

T = TypeVar("T")


class Loop(Running[T]):
    """A block of draws, and where in it the plumbing stands."""

    __slots__ = ("block", "blocks", "ended", "index", "left", "seek")

    def __init__(self) -> None:
        super().__init__()
        self.blocks: int = 0  # so far
        self.block: list[Any] = [-1]
        index: Any = iter(self.block)
        next(index)
        self.index: Iterator[Any] = index
        self.left: Callable[[], int] = index.__length_hint__
        self.seek: Callable[[int], None] = index.__setstate__
        self.ended: bool = False

    @property
    def done(self) -> bool:
        return self.ended

    @property
    def drawn(self) -> int:
        """How many draws of the block are done, the one after its last among them."""
        return len(self.block) - self.left()

    def moment(self, saver: Saver) -> Any:
        del saver  # no item comes from below without a draw
        return self.blocks, self.left()


class Open(Loop[T]):
    """The loop over the slots of a mux whose streams are all open; ``slots[-1]`` is always empty."""

    __slots__ = ("by_index", "calm", "indices", "items", "laid", "slots", "unseen")

    whole = True

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__()
        self.slots: Slots = Slots(node, place)
        self.slots[-1] = EMPTY
        self.slots.block, self.slots.left, self.slots.seek = self.block, self.left, self.seek
        self.by_index: Iterator[T] = map(next, map(self.slots.__getitem__, self.index))
        self.items: Iterator[T] = self.by_index
        self.calm: bool = False  # whether no slot has changed in this block
        self.laid: bool = False  # whether the plumbing is laid and has not been handed out
        self.unseen: bool = False  # whether the last draw that C has made was not seen to, for a signal
        self.indices: Callable[[], list[int]] | None = None  # of a block that holds streams

    def __iter__(self) -> Iterator[T]:
        try:
            self.slots.reopen()
        except Exception:  # what does not open again has ended, as under any stage
            self.slots.past.clear()
            self.close()
            raise
        return flow(self.refill)

    def more(self) -> Iterator[T] | None:
        self.unseen = True
        try:
            items = self.go_on()
        except Exception:
            self.unseen = False
            raise
        self.unseen = False
        return items

    def go_on(self) -> Iterator[T] | None:
        """More plumbing: see to the draw that gave nothing, or lay another block."""
        raise NotImplementedError

    def widen(self) -> None:
        """Hold the streams in a list from now on, which is faster where they are many."""
        if self.slots.row is None:
            row = self.slots.as_row()
            items = map(next, map(row.__getitem__, self.index))
            self.slots.row, self.items, self.by_index = row, items, items
            self.slots.clear()

    def look_up(self) -> None:
        """Let the block hold indices again, since a slot is about to change."""
        assert self.indices is not None
        self.block[:] = [*self.indices(), -1]
        self.indices, self.items = None, self.by_index

    @property
    def torn(self) -> bool:
        return self.unseen

    def mended(self, index: int, position: int) -> bool:
        """Whether the slot of a draw that gave nothing has not ended."""
        try:
            return self.slots.mended(index)
        except Exception:
            raise
        except BaseException:  # a signal: the draw is made again, and is not done until then
            self.laid, self.unseen = True, False
            self.seek(position)
            raise

    def close(self) -> None:
        self.ended = True
        self.seek(len(self.block))
        self.slots.close()

    def held(self) -> Iterable[Any]:
        return self.slots.held()
