"""The open streams that a loop draws from, each opened where it is first drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pescador_fn.below import open_child
from pescador_fn.given import check_part
from pescador_fn.past import Past, save_child
from pescador_fn.running import EMPTY, Running, close_all
from pescador_fn.seeds import Place

if TYPE_CHECKING:
    from pescador_fn.drawing import Ints
    from pescador_fn.factory import Node, Parts
    from pescador_fn.state import Loader, Saver

__all__ = ["Slots"]


class Slots(dict[int, Iterator[Any]]):
    """The open streams of a mux, each opened where it is first drawn, inside the C loop.

    A dict, so that opening a wide mux for a few draws costs no more than a narrow one; in the long run a list, which is
    faster where streams are many, and whose unopened slots are empty.
    """

    __slots__ = (
        "block",
        "children",
        "failed",
        "fresh",
        "function",
        "left",
        "number",
        "parts",
        "passes",
        "past",
        "place",
        "row",
        "seek",
        "stateful",
    )

    block: list[Any]  # these three are the loop's
    left: Callable[[], int]
    seek: Callable[[int], None]

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__()
        self.function: str = node.build.__name__
        self.parts: Parts[Any] = node.of
        self.place: Place = place
        self.number: int = 0  # the pass of all streams that `passes` does not name
        self.passes: dict[int, int] = {}
        self.children: dict[int, tuple[Any, Running[Any] | None]] = {}  # what has the `close`, and the state
        self.stateful: bool = False  # whether any of them has had a state
        self.failed: set[int] = set()
        self.fresh: int = -1  # how much of the block was left when a stream was last opened
        self.row: list[Iterator[Any]] | None = None
        self.past: dict[int, Past] = {}  # what a state says was open, until it is opened again

    def __missing__(self, index: int) -> Iterator[Any]:
        try:
            return self.open(index)
        except Exception:
            raise
        except BaseException:  # a signal: the draw is made again, where an error would be in its place
            self.seek(len(self.block) - 1 - self.left())
            raise

    def open(self, index: int) -> Iterator[Any]:
        """Open a stream in its slot."""
        number = self.passes.get(index, self.number)
        parts = self.parts
        try:
            factory = parts.items[index]
            items, owner, running = open_child(factory, self.place, parts.label(index), number)
        except Exception as error:
            self.failed.add(index)
            self.put(index, EMPTY)
            if isinstance(error, TypeError):  # it may be no factory
                check_part(self.function, parts.items[index], f"factories[{parts.label(index)!r}]")
            raise
        self.children[index] = owner, running
        self.stateful |= running is not None
        self.fresh = self.left()
        self.put(index, items)  # last, so that a signal before it leaves the slot to be opened again
        return items

    def put(self, index: int, items: Iterator[Any]) -> None:
        """Set what a slot holds."""
        if self.row is None:
            self[index] = items
        else:
            self.row[index] = items

    def as_row(self) -> list[Iterator[Any]]:
        """The same streams in a list."""
        row = [EMPTY] * (len(self.parts) + 1)
        for index, items in self.items():
            row[index] = items
        return row

    def picked(self, indices: Ints) -> list[Iterator[Any]] | None:
        """The streams of many draws; ``None`` where it costs less to look each of them up."""
        row = self.row
        if row is None or len(row) > 2 * len(indices):
            return None
        # Made for each block: what an array holds, the collector of cycles does not see.
        streams: list[Iterator[Any]] = np.fromiter(row, dtype=object, count=len(row))[indices].tolist()
        return streams

    def mended(self, index: int) -> bool:
        """Whether a slot that gave nothing has not ended: it was not open yet, or a signal has cut its plumbing."""
        if self.row is not None and self.row[index] is EMPTY and index not in self.failed:
            self.open(index)
            return True
        _, running = self.children.get(index, (None, None))
        if running is None or running.done:
            return False
        self.put(index, iter(running))
        return True

    def barren(self, index: int) -> bool:
        """Whether the stream that has just ended gave nothing since it was opened, or did not open."""
        return self.fresh == self.left() or index in self.failed

    def shut(self, index: int, instead: Iterator[Any] | None = None) -> Any:
        """Give up a stream, and return what has its ``close``. Its slot will open it again, or holds ``instead``."""
        owner, _ = self.children.get(index, (None, None))
        # At once, without a call: Python looks for signals there.
        if self.row is not None:
            self.row[index] = EMPTY if instead is None else instead
        elif instead is not None:
            self[index] = instead
        elif index in self:
            del self[index]
        self.fresh = -1
        if index in self.children:
            del self.children[index]
        return owner

    def begin(self, number: int) -> None:
        """Let every slot open its stream again, for pass ``number``."""
        if self.row is None:
            self.clear()
            self[-1] = EMPTY
        else:
            self.row[:] = [EMPTY] * len(self.row)
        self.number = number

    def held(self) -> list[Any]:
        """What of the open streams has a ``close``."""
        return [owner for owner, _ in self.children.values()]

    def close(self) -> None:
        """Close every open stream."""
        owners = self.held()
        self.children.clear()
        close_all(owners)

    def save(self, saver: Saver, counts: Callable[[list[int]], list[int]]) -> Any:
        """The open streams: which, in which pass, and how far, for which ``counts`` gives the calls of some."""
        n = len(self.parts)
        opened = list(range(n)) if len(self.children) == n else sorted(self.children)
        states: list[Any] = counts(opened)
        if saver.verify or self.stateful:
            states = [
                save_child(saver, self.parts.items[index], self._place(index), self.children[index][1], calls)
                for index, calls in zip(opened, states, strict=True)
            ]
        opened += self.past
        states += [past.save(saver) for past in self.past.values()]
        key = self.parts.key
        which = None if opened == list(range(n)) else list(map(key, opened))
        passes = [[key(index), number] for index, number in self.passes.items() if index in self.children or self.past]
        return [which, passes, states, list(map(key, sorted(self.failed)))]

    def load(self, state: Any, loader: Loader) -> None:
        """Note the streams that were open."""
        which, passes, states, failed = state
        index_of, parts = partial(loader.index, self.parts), self.parts
        self.passes = {index_of(key): number for key, number in passes}
        for index in loader.indices(parts, failed):
            self.failed.add(index)
            self.put(index, EMPTY)
        indices = range(len(parts)) if which is None else map(index_of, which)
        for index, saved in zip(indices, states, strict=True):
            self.past[index] = Past(parts.items[index], self._place(index), saved, loader, parts.label(index))

    def _place(self, index: int) -> Place:
        return Place(self.place, self.parts.label(index), self.passes.get(index, self.number))

    def reopen(self) -> None:
        """Open again what a state says was open."""
        for index in [*self.past]:  # the first again and again would be looked for behind all that have left the dict
            items, owner, running = self.past[index].open()
            self.children[index] = owner, running
            self.stateful |= running is not None
            self.put(index, items)
            del self.past[index]
