"""Muxes whose streams are all open: shuffled, round robin, chain.

A mux is a schedule, which says which stream each draw falls on, and an executor, which opens and pulls. The executor
lets C do the drawing. A block of indices is drawn ahead, and

    map(next, map(slots.__getitem__, index))

moves one item for each. A slot that has nothing to give raises StopIteration, which ends the map; `refill` then sees by
the length hint of ``index`` at which draw, mends the slot, puts the index back and goes on with the same plumbing. A
block ends with an index whose slot is always empty, so that its end is told apart from the end of a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, Literal, TypeVar

import numpy as np

from pescador_fn import draws
from pescador_fn.draws import PERIOD, Ints, Table, Weights, Words, check_weights, read_weights
from pescador_fn.errors import check_choice, show
from pescador_fn.factory import Factories, Factory, Node, Parts, check_part, check_parts
from pescador_fn.legible import named
from pescador_fn.seeds import Place, check_seed
from pescador_fn.stream import EMPTY, FOREVER, Running, close_all, flow, open_child, raising

__all__ = ["Loop", "chain_mux", "round_robin_mux", "shuffled_mux"]

T = TypeVar("T")

class Loop(Running[T]):
    """The plumbing of a block of draws over ``slots``; ``slots[-1]`` is always empty."""

    __slots__ = ("block", "ended", "index", "items", "left", "seek")

    def __init__(self, slots: Any) -> None:
        slots[-1] = EMPTY
        self.block: list[Any] = [-1]
        self.index: Any = iter(self.block)
        next(self.index)
        self.left: Callable[[], int] = self.index.__length_hint__
        self.seek: Callable[[int], None] = self.index.__setstate__
        self.items: Iterator[T] = map(next, map(slots.__getitem__, self.index))
        self.ended = False

    def __iter__(self) -> Iterator[T]:
        return flow(self.refill)

    @property
    def done(self) -> bool:
        return self.ended

    def lay(self, indices: list[int]) -> None:
        """Begin a block."""
        indices.append(-1)
        self.block[:] = indices
        self.seek(0)

    def refill(self) -> Iterator[T] | None:
        """Mend what ended the plumbing, and lay it on; ``None`` at the end."""
        raise NotImplementedError


class Slots(dict[int, Iterator[Any]]):
    """The open streams of a mux, each opened where it is first drawn, inside the C loop.

    A dict, so that opening a wide mux for a few draws costs no more than a narrow one; in the long run a list, which is
    faster where streams are many, and whose unopened slots are empty.
    """

    __slots__ = ("children", "failed", "fresh", "left", "number", "parts", "passes", "place", "row")

    left: Callable[[], int]

    def __init__(self, parts: Parts[Any], place: Place) -> None:
        super().__init__()
        self.parts = parts
        self.place = place
        self.number = 0  # the pass of all streams that `passes` does not name
        self.passes: dict[int, int] = {}
        self.children: dict[int, tuple[Callable[[], object] | None, Running[Any] | None]] = {}
        self.failed: set[int] = set()
        self.fresh = -1  # how much of the block was left when a stream was last opened
        self.row: list[Iterator[Any]] | None = None

    def __missing__(self, index: int) -> Iterator[Any]:
        return self.open(index)

    def open(self, index: int) -> Iterator[Any]:
        """Open a stream in its slot."""
        number = self.passes.get(index, self.number)
        parts = self.parts
        try:
            factory = parts.items[index]
            items, close, running = open_child(factory, self.place, parts.label(index), number)
        except Exception:
            self.failed.add(index)
            self.put(index, EMPTY)
            check_part("mux", parts.items[index], f"factories[{parts.label(index)!r}]")
            raise
        self.put(index, items)
        self.children[index] = close, running
        self.fresh = self.left()
        return items

    def put(self, index: int, items: Iterator[Any]) -> None:
        """Set what a slot holds."""
        if self.row is None:
            self[index] = items
        else:
            self.row[index] = items

    def to_row(self) -> list[Iterator[Any]]:
        """Hold the streams in a list from now on."""
        self.row = row = [EMPTY] * (len(self.parts) + 1)
        for index, items in self.items():
            row[index] = items
        self.clear()
        return row

    def mended(self, index: int) -> bool:
        """Whether a slot that gave nothing has not ended: it was not open yet, or a signal has cut its plumbing."""
        if index not in self.children:
            if self.row is None or index in self.failed:
                return False
            self.open(index)
            return True
        running = self.children[index][1]
        if running is None or running.done:
            return False
        self.put(index, iter(running))
        return True

    def barren(self, index: int) -> bool:
        """Whether the stream that has just ended gave nothing since it was opened, or did not open."""
        return self.fresh == self.left() or index in self.failed

    def shut(self, index: int, instead: Iterator[Any] | None = None) -> None:
        """Close a stream. Drawn again, its slot opens it again, or holds ``instead``."""
        close, _ = self.children.pop(index, (None, None))
        if instead is None and self.row is None:
            self.pop(index, None)
        else:
            self.put(index, EMPTY if instead is None else instead)
        self.fresh = -1
        if close is not None:
            close()

    def begin(self, number: int) -> None:
        """Let every slot open its stream again, for pass ``number``."""
        self.clear()
        self[-1] = EMPTY
        self.number = number

    def close(self) -> None:
        """Close every open stream."""
        closers = [close for close, _ in self.children.values()]
        self.children.clear()
        close_all(closers)


class _Shuffled(Loop[T]):
    """The executor of `shuffled_mux`."""

    __slots__ = (
        "dead",
        "draw",
        "following",
        "kept",
        "lost",
        "node",
        "on_exhausted",
        "place",
        "read",
        "size",
        "slots",
        "table",
        "tabled",
        "words",
    )

    def __init__(self, node: Node[T], place: Place) -> None:
        self.node = node
        self.place = place.pinned(node.options["seed"])
        self.slots = Slots(node.of, self.place)
        super().__init__(self.slots)
        self.slots.left = self.left
        self.on_exhausted = node.options["on_exhausted"]
        self.words = Words(self.place, "picks")
        self.draw = 0  # the number of the block's first draw
        self.following = 0  # the number of the first draw after the block
        self.kept: Ints | None = None  # the numbers of the block's draws, where some fell on dead streams
        self.size = draws.block_sizes[0]
        self.dead: set[int] = set()
        self.tabled: frozenset[int] = frozenset()  # the dead that the table leaves out
        self.lost = 0.0  # the share of the table that the other dead have
        self.read = -1  # the draw at which a weights function was last read
        self.table: Table | None = None if callable(node.options["weights"]) else node.prepared(_table)

    def refill(self) -> Iterator[T] | None:
        try:
            if self.ended:
                return None
            left = self.left()
            if not left:
                self._lay(self.following)
                return None if self.ended else self.items
            position = len(self.block) - left - 1
            index = self.block[position]
            if self.slots.mended(index):
                self.seek(position)
            elif self.on_exhausted == "drop" or self.slots.barren(index):
                self._drop(index, position)
            elif self.on_exhausted == "restart":
                self.slots.passes[index] = self.slots.passes.get(index, 0) + 1
                self.seek(position)
                self.slots.shut(index)
            else:
                self.close()
            return None if self.ended else self.items
        except BaseException as error:
            return raising(error)

    def _drop(self, index: int, position: int) -> None:
        """Leave a stream out from now on; the draw that found it dead is spent."""
        drawn = self.draw + position if self.kept is None else int(self.kept[position])
        assert self.table is not None
        self.dead.add(index)
        self.lost += self.table.share(index)
        if self.lost >= 0.5:
            self._leave_out()
        self.size = draws.block_sizes[0]
        self._lay(drawn + 1)
        self.slots.shut(index)

    def _leave_out(self) -> None:
        """Rebuild the table without the dead."""
        assert self.table is not None
        self.table = self.table.without(self.dead)
        self.tabled = frozenset(self.dead)
        self.lost = 0.0
        if self.table is None:
            self.close()

    def _lay(self, start: int) -> None:
        """Lay the block that begins with draw ``start``."""
        while not self.ended:
            span = self.size
            if callable(self.node.options["weights"]):
                span = min(span, PERIOD - start % PERIOD)
                self._read(start - start % PERIOD)
            if self.table is None:
                return
            indices = self.table.indices(self.words.uniforms(start, span))
            self.kept = None
            if self.dead > self.tabled:
                alive = ~np.isin(indices, list(self.dead - self.tabled))
                self.kept = start + np.flatnonzero(alive)
                indices = indices[alive]
            self.draw, self.following = start, start + span
            if self.size == draws.block_sizes[1] and self.slots.row is None and start >= len(self.node.of):
                self.items = map(next, map(self.slots.to_row().__getitem__, self.index))
            self.size = min(self.size * 4, draws.block_sizes[1])
            if len(indices):
                return self.lay(indices.tolist())
            start = self.following

    def _read(self, at: int) -> None:
        """Take the weights that a function gives for the draws from ``at`` on."""
        if self.read != at:
            weights = read_weights("shuffled_mux", self.node.options["weights"](at), self.node.of)
            self.table = Table(len(self.node.of), weights)
            self.read = at
            self._leave_out()

    def close(self) -> None:
        self.ended = True
        self.seek(len(self.block))
        self.slots.close()


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
    ``weights[i] / sum(weights)`` every time. A stream that gives nothing when it is opened is left out from then on, and
    the mux ends when no stream is left.

    Args:
        factories: ``k >= 1`` zero-argument callables, or a mapping of names to them. A lazy sequence is indexed only.
        weights: shape ``(k,)``, unitless, ``>= 0``, not all zero, divided by their sum; a mapping by name where
            ``factories`` is one; a function of the number of draws so far, read at multiples of 1,024 draws; ``None`` for
            equal shares.
        on_exhausted: what becomes of a stream that ends: ``"restart"`` opens it again, with other randomness, and draws
            from it at once; ``"drop"`` leaves it out; ``"stop"`` ends the mux.
        seed: fixes the whole stream below this mux. ``None`` takes fresh entropy at each call.

    Raises:
        TypeError: when built, if ``factories`` or ``seed`` are of the wrong kind.
        ValueError: when built, if ``k == 0``, ``weights`` do not fit or ``on_exhausted`` is unknown.

    Source: McFee et al., pescador 3.0, ``ShuffledMux``.

    >>> from pescador_fn import take
    >>> lows, highs = [1, 2, 3].__iter__, [10, 20].__iter__
    >>> list(take(shuffled_mux([lows, highs], weights=[3, 1], seed=0), 8)())
    """
    parts = check_parts("shuffled_mux", factories)
    check_choice("shuffled_mux", "on_exhausted", on_exhausted, ("restart", "drop", "stop"))
    return Node(
        shuffled_mux,
        _Shuffled,
        parts,
        weights=check_weights("shuffled_mux", weights, parts),
        on_exhausted=on_exhausted,
        seed=check_seed("shuffled_mux", seed),
    )


class _RoundRobin(Loop[T]):
    """The executor of `round_robin_mux`."""

    __slots__ = ("at", "barren", "gave", "gone", "mode", "node", "number", "place", "ring", "size", "slots")

    def __init__(self, node: Node[T], place: Place) -> None:
        self.node = node
        self.place = place.pinned(node.options["seed"])
        self.slots = Slots(node.of, self.place)
        super().__init__(self.slots)
        self.slots.left = self.left
        self.mode = node.options["mode"]
        self.size = draws.block_sizes[0]
        self.number = 0  # the pass
        self.ring: Sequence[int] = range(len(node.of))  # the streams of this pass, in order
        self.at = 0  # where in the ring the next block begins
        self.gone: set[int] = set()  # those of the ring that have ended in this round
        self.barren: set[int] = set()
        self.gave = False

    def refill(self) -> Iterator[T] | None:
        try:
            if self.ended:
                return None
            left = self.left()
            if not left:
                self._lay()
                return None if self.ended else self.items
            position = len(self.block) - left - 1
            index = self.block[position]
            if index in self.gone:
                return self.items
            if self.slots.mended(index):
                self.seek(position)
                return self.items
            self.gone.add(index)
            if self.slots.barren(index):
                self.barren.add(index)
            else:
                self.gave = True
            if len(self.gone) == len(self.ring):
                self.seek(len(self.block) - 1)
            self.slots.shut(index, EMPTY)
            return self.items
        except BaseException as error:
            return raising(error)

    def _lay(self) -> None:
        """Lay the next block: a part of a round, or some whole rounds."""
        if self.at >= len(self.ring):
            self.at = 0
        if not self.at and self.gone:
            self.ring = [index for index in self.ring if index not in self.gone]
            self.gone.clear()
            if not self.ring:
                self._next_pass()
                if self.ended:
                    return
        rounds = 1 if self.at else max(1, self.size // len(self.ring))
        indices = list(self.ring[self.at : self.at + self.size]) * rounds
        self.at += len(indices)
        self.size = min(self.size * 4, draws.block_sizes[1])
        self.lay(indices)

    def _next_pass(self) -> None:
        """Begin again with every stream that is not barren."""
        self.ring = [index for index in range(len(self.node.of)) if index not in self.barren]
        if self.mode == "exhaustive" or not self.gave or not self.ring:
            self.close()
            return
        self.gave = False
        self.number += 1
        self.slots.begin(self.number)
        if self.mode == "permuted_cycle":
            words = Words(self.place, f"order {self.number}")
            order = draws.permutation(words.uniforms(0, len(self.node.of)))
            self.ring = [index for index in order.tolist() if index not in self.barren]

    def close(self) -> None:
        self.ended = True
        self.seek(len(self.block))
        self.slots.close()


def round_robin_mux(
    factories: Factories[T],
    *,
    mode: Literal["exhaustive", "cycle", "permuted_cycle"] = "exhaustive",
    seed: int | None = None,
) -> Node[T]:
    """Take one item from each of ``factories`` in turn.

    A stream that ends leaves the round.

    Args:
        factories: ``k >= 1`` zero-argument callables, or a mapping of names to them.
        mode: ``"exhaustive"`` ends when all streams have ended; ``"cycle"`` then opens all of them again, with other
            randomness; ``"permuted_cycle"`` does so in a new random order. A pass that gives nothing is the last.
        seed: fixes the whole stream below this mux. ``None`` takes fresh entropy at each call.

    Raises:
        TypeError: when built, if ``factories`` or ``seed`` are of the wrong kind.
        ValueError: when built, if ``k == 0`` or ``mode`` is unknown.

    Source: McFee et al., pescador 3.0, ``RoundRobinMux``.

    >>> "".join(round_robin_mux(["ab".__iter__, "cde".__iter__, "fghi".__iter__])())
    'acfbdgehi'
    """
    check_choice("round_robin_mux", "mode", mode, ("exhaustive", "cycle", "permuted_cycle"))
    parts = check_parts("round_robin_mux", factories)
    return Node(round_robin_mux, _RoundRobin, parts, mode=mode, seed=check_seed("round_robin_mux", seed))


class _Chained(Running[T]):
    """The executor of `chain_mux`."""

    __slots__ = ("barren", "calls", "close_outer", "ended", "gave", "index", "node", "number", "open", "outer", "place")

    def __init__(self, node: Node[T], place: Place) -> None:
        self.node = node
        self.place = place
        self.number = 0  # the pass
        self.index = -1  # of the open stream
        self.open: tuple[Callable[[], object] | None, Running[T] | None] | None = None
        self.calls: repeat[Iterator[T]] | None = None
        self.outer: Iterator[tuple[int, Any]] | None = None
        self.close_outer: Callable[[], object] | None = None
        self.gave = False
        self.barren: set[int] = set()
        self.ended = False

    def __iter__(self) -> Iterator[T]:
        return flow(self.refill)

    def refill(self) -> Iterator[T] | None:
        try:
            if self.open is not None and not self.ended:
                close, running = self.open
                if running is not None and not running.done:
                    self.calls = repeat(iter(running), FOREVER)
                    return map(next, self.calls)
                self._leave()
                if close is not None:
                    close()
            return None if self.ended else self._open_next()
        except BaseException as error:
            return raising(error)

    def _leave(self) -> None:
        """Note whether the stream that has ended gave anything: the last call is the one that found its end."""
        self.open = None
        if self.calls is not None and FOREVER - self.calls.__length_hint__() > 1:
            self.gave = True
        else:
            self.barren.add(self.index)

    def _open_next(self) -> Iterator[T] | None:
        while True:
            if self.outer is None:
                self.outer, self.close_outer = self._factories()
            found = next(self.outer, None)
            if found is None:
                if self.node.options["mode"] == "exhaustive" or not self.gave:
                    self.close()
                    return None
                self.number += 1
                self.gave = False
                self.outer = None
                continue
            self.index, factory = found
            self.barren.add(self.index)  # until it has opened
            label = self.node.of.label(self.index) if isinstance(self.node.of, Parts) else self.index
            items, close, running = open_child(check_part("chain_mux", factory, f"factories[{label!r}]"), self.place, label, self.number)
            self.barren.discard(self.index)
            self.open = close, running
            self.calls = repeat(items, FOREVER)
            return map(next, self.calls)

    def _factories(self) -> tuple[Iterator[tuple[int, Any]], Callable[[], object] | None]:
        """The factories of one pass with their indices."""
        of = self.node.of
        if isinstance(of, Parts):
            barren = self.barren  # not `self`, which would hold an iterator that holds it
            return ((index, of.items[index]) for index in range(len(of)) if index not in barren), None
        items, close, _ = open_child(of, self.place, "factories", self.number)
        return enumerate(items), close

    @property
    def done(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True
        opened, self.open = self.open, None
        closers = [self.close_outer] if opened is None else [self.close_outer, opened[0]]
        self.close_outer = None
        close_all(closers)


def chain_mux(
    factories: Factories[T] | Factory[Factory[T]], *, mode: Literal["exhaustive", "cycle"] = "exhaustive"
) -> Node[T]:
    """Run ``factories`` one after the other, each opened when the one before has ended.

    Args:
        factories: a sequence of zero-argument callables, which may be empty; a mapping of names to them; or a factory of
            factories, which is pulled only as far as the streams are.
        mode: ``"exhaustive"`` ends after the last; ``"cycle"`` begins again, with other randomness. A pass that gives
            nothing is the last.

    Raises:
        TypeError: when built, if ``factories`` is of the wrong kind; when pulled, if a factory of factories gives
            something else.
        ValueError: when built, if ``mode`` is unknown.

    Source: McFee et al., pescador 3.0, ``ChainMux``.

    >>> list(chain_mux([[1, 2].__iter__, [3].__iter__])())
    [1, 2, 3]
    >>> pages = lambda: (range(n).__iter__ for n in [1, 2, 3])
    >>> list(chain_mux(pages)())
    [0, 0, 1, 0, 1, 2]
    """
    check_choice("chain_mux", "mode", mode, ("exhaustive", "cycle"))
    if callable(factories):
        return Node(chain_mux, _Chained, check_part("chain_mux", factories, "factories"), mode=mode)
    return Node(chain_mux, _Chained, check_parts("chain_mux", factories, least=0), mode=mode)
