"""The mux whose streams are all open, drawn independently."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

import pescador_fn.drawing as drawing
from pescador_fn.counts import Counts
from pescador_fn.drawing import PERIOD, Ints, Table, Weights, Words, check_weights, read_weights
from pescador_fn.errors import check_choice
from pescador_fn.factory import Factories, Node
from pescador_fn.given import check_parts
from pescador_fn.loop import Open
from pescador_fn.running import EMPTY, close_all
from pescador_fn.seeds import Place, check_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pescador_fn.state import Loader, Saver

__all__ = ["Shuffled", "shuffled_mux"]

WIDE = 2**16  # the most draws in a block, which holds about as many as there are streams where none of them changes

T = TypeVar("T")


class Shuffled(Open[T]):
    """The executor of `shuffled_mux`."""

    __slots__ = (
        "counts",
        "dead",
        "draw",
        "failed_at",
        "following",
        "gone",
        "kept",
        "lost",
        "node",
        "on_exhausted",
        "place",
        "read",
        "size",
        "table",
        "tabled",
        "words",
    )

    blocks: int
    calm: bool
    ended: bool
    indices: Callable[[], list[int]] | None
    items: Iterator[T]
    laid: bool
    unseen: bool
    node: Any

    def __init__(self, node: Node[T], place: Place) -> None:
        self.node = node
        self.place: Place = place.pinned(node.options["seed"])
        super().__init__(node, self.place)
        self.counts: Counts = Counts(len(node.of))
        self.on_exhausted: Any = node.options["on_exhausted"]
        self.words: Words = Words(self.place, "picks")
        self.draw: int = 0  # the number of the block's first draw
        self.following: int = 0  # the number of the first draw after the block
        self.failed_at: int = -1  # how much of the block was left when a stream did not open
        self.kept: Ints | None = None  # the numbers of the block's draws, where some fell on dead streams
        self.size: int = drawing.block_sizes[0]
        self.dead: set[int] = set()
        self.gone: Any = None  # the same as an array of truth values, once there are some
        self.tabled: frozenset[int] = frozenset()  # the dead that the table leaves out
        self.lost: float = 0.0  # the share of the table that the other dead have
        self.read: int = -1  # the draw at which a weights function was last read
        self.table: Table | None = None if callable(node.options["weights"]) else node.prepared(_table)

    def go_on(self) -> Iterator[T] | None:
        if self.ended:
            return None
        left = self.left()
        if self.laid or left == len(self.block):  # or a signal has come before the first draw of a block
            self.laid = False
            return self.items
        if not left:
            self._lay(self.following)
            return None if self.ended else self.items
        position = len(self.block) - left - 1
        self.calm = False
        if self.indices is not None:
            self.look_up()
        index = self.block[position]
        if index in self.dead:  # it was laid when the stream had not ended
            return self.items
        if left == self.failed_at:  # an error was this draw's, as it is where the C loop opens a stream
            self.failed_at = -1
            return self.items
        try:
            mended = self.mended(index, position)
        except Exception:
            self.failed_at = left
            raise
        if mended:
            self.laid, self.unseen = True, False
            self.seek(position)
            self.laid = False
        elif self.on_exhausted == "drop" or self.slots.barren(index):
            self._drop(index, position)
        elif self.on_exhausted == "restart":
            self._restart(index, position)
        else:
            self.close()
        return None if self.ended else self.items

    def _drop(self, index: int, position: int) -> None:
        """Leave a stream out from now on; the draw that found it dead is spent."""
        assert self.table is not None
        lost, following, end = self.lost + self.table.share(index), self._number(position) + 1, len(self.block) - 1
        if self.gone is None:
            self.gone = np.zeros(len(self.node.of), bool)
        anew, tabled = None, self.tabled
        if lost >= 0.5:  # the next draw is by another table
            anew, tabled = self.table.without({*self.dead, index}), frozenset({*self.dead, index})
            self.counts.count(self.drawn)
        owner = self.slots.shut(index, EMPTY)
        # At once, without a call: Python looks for signals there.
        self.gone[index], self.laid, self.lost, self.unseen = True, True, lost, False
        self.dead |= {index}
        if lost >= 0.5:
            self.table, self.tabled, self.lost = anew, tabled, 0.0
            self.size, self.following = drawing.block_sizes[0], following
            self.seek(end)
        self._close(owner)

    def _restart(self, index: int, position: int) -> None:
        """Let a stream be opened again by the draw that found its end."""
        number, draw = self.slots.passes.get(index, 0) + 1, self._number(position)
        owner = self.slots.shut(index)
        # At once, without a call: Python looks for signals there.
        self.slots.passes[index], self.counts.began[index], self.laid = number, draw, True
        self.unseen = False
        self.seek(position)
        self._close(owner)

    def _bury(self, indices: list[int]) -> None:
        if self.gone is None:
            self.gone = np.zeros(len(self.node.of), bool)
        self.gone[indices] = True
        self.dead.update(indices)

    def _number(self, position: int) -> int:
        """The number of a draw of the block."""
        return self.draw + position if self.kept is None else int(self.kept[position])

    def _close(self, owner: Any) -> None:
        """Close a stream when the plumbing is laid: after an error here it goes on as it lies."""
        close_all([owner])
        self.laid = False

    def _lay(self, start: int) -> None:
        """Lay the block that begins with draw ``start``."""
        self.counts.count(self.drawn)
        size, kept = self.size, None
        while True:
            span = size
            if self.calm and span == drawing.block_sizes[1]:
                span = max(span, min(len(self.node.of), WIDE))
            if callable(self.node.options["weights"]):
                span = min(span, PERIOD - start % PERIOD)
                self._read(start - start % PERIOD)
            if self.table is None:
                return self.close()
            indices = self.table.indices(self.words.uniforms(start, span))
            if self.lost:
                alive = ~self.gone[indices]
                kept = start + np.flatnonzero(alive)
                indices = indices[alive]
            if size == drawing.block_sizes[1] and start >= len(self.node.of):
                self.widen()
            size = min(size * 4, drawing.block_sizes[1])
            if len(indices):
                break
            start += span
        streams = self.slots.picked(indices) if self.calm else None
        items: Any = self.by_index if streams is None else map(next, self.index)
        block: list[Any] = [*indices.tolist(), -1] if streams is None else [*streams, EMPTY]
        counts, slots, by = self.counts, self.slots, None if streams is None else indices.tolist
        # At once, without a call: Python looks for signals there.
        self.draw, self.following, self.size, self.kept = start, start + span, size, kept
        slots.fresh = self.failed_at = -1
        counts.block, counts.numbers = indices, start if kept is None else kept
        self.indices, self.items, self.calm, self.unseen = by, items, True, False
        self.blocks += 1
        self.block[:] = block
        self.seek(0)

    def _read(self, at: int) -> None:
        """Take the weights that a function gives for the draws from ``at`` on, without the dead."""
        if self.read != at:
            weights = read_weights("shuffled_mux", self.node.options["weights"](at), self.node.of)
            table = Table(len(self.node.of), weights).without(self.dead)
            tabled = frozenset(self.dead)
            self.read, self.table, self.tabled, self.lost = at, table, tabled, 0.0

    def save(self, saver: Saver) -> Any:
        drawn = self.drawn
        number = self._number(drawn) if drawn < len(self.block) - 1 else self.following
        key = self.node.of.key
        dead = [list(map(key, sorted(some))) for some in (self.tabled, self.dead - self.tabled)]
        streams = self.slots.save(saver, partial(self.counts.now, drawn))
        return [number, self.ended, self.read, self.lost, *dead, streams]

    def load(self, state: Any, loader: Loader) -> None:
        self.following, self.ended, self.read, self.lost, tabled, others, streams = state
        parts = self.node.of
        self.tabled = frozenset(loader.indices(parts, tabled))
        self._bury([*self.tabled, *loader.indices(parts, others)])
        if self.read >= 0:
            weights = self.node.options["weights"](self.read)
            self.table = Table(len(parts), read_weights("shuffled_mux", weights, parts))
        if self.tabled and self.table is not None:
            self.table = self.table.without(self.tabled)
        self.slots.load(streams, loader)
        past = self.slots.past
        self.counts.load(list(past), [0 if one.running else one.n for one in past.values()])


def _table(node: Node[Any]) -> Table:
    return Table(len(node.of), node.options["weights"])


def shuffled_mux(
    factories: Factories[T],
    weights: Weights = None,
    *,
    on_exhausted: Literal["restart", "drop", "stop"] = "restart",
    seed: int | None = None,
) -> Node[T]:
    """Draw every item from one of ``factories``, chosen at random by ``weights``.

    All streams stay open; each is opened at its first draw. Draws are independent: stream ``i`` has the probability
    ``weights[i] / sum(weights)`` every time. A stream that gives nothing when it is opened is left out from then on,
    and the mux ends when no stream is left.

    Args:
        factories: ``k >= 1`` zero-argument callables, or a mapping of names to them. A lazy sequence is indexed only.
        weights: shape ``(k,)``, unitless, ``>= 0``, not all zero, divided by their sum; or by name in a mapping, where
            ``factories`` is one; a function of the number of draws so far, read at multiples of 1,024 draws, with
            which the mux ends when all streams that have weight have ended; ``None`` for equal shares.
        on_exhausted: what becomes of a stream that ends: ``"restart"`` opens it again, with other randomness, and draws
            from it at once; ``"drop"`` leaves it out; ``"stop"`` ends the mux.
        seed: fixes the whole stream below this mux. ``None`` takes fresh entropy at each call.

    Raises:
        TypeError: when built, if ``factories``, ``weights`` or ``seed`` are of the wrong kind.
        ValueError: when built, if ``k == 0``, ``weights`` do not fit, ``on_exhausted`` is unknown or ``seed`` is
            negative; when run, if what a function of weights returns does not fit.

    Source: McFee et al., pescador 3.0, ``ShuffledMux``.

    >>> from pescador_fn import take
    >>> lows, highs = [1, 2, 3].__iter__, [10, 20].__iter__
    >>> list(take(shuffled_mux([lows, highs], weights=[3, 1], seed=0), 8)())
    [1, 10, 2, 3, 1, 2, 3, 1]
    """
    parts = check_parts("shuffled_mux", factories)
    check_choice("shuffled_mux", "on_exhausted", on_exhausted, ("restart", "drop", "stop"))
    return Node(
        shuffled_mux,
        Shuffled,
        parts,
        weights=check_weights("shuffled_mux", weights, parts),
        on_exhausted=on_exhausted,
        seed=check_seed("shuffled_mux", seed),
    )
