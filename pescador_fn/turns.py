"""Muxes without chance: round robin."""

from __future__ import annotations

from functools import partial
from operator import mul
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.drawing import Words
from pescador_fn.errors import check_choice
from pescador_fn.factory import Factories, Node
from pescador_fn.given import check_parts
from pescador_fn.loop import Open
from pescador_fn.running import EMPTY, close_all
from pescador_fn.seeds import Place, check_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pescador_fn.state import Loader, Saver

__all__ = ["RoundRobin", "round_robin_mux"]

T = TypeVar("T")


class RoundRobin(Open[T]):
    """The executor of `round_robin_mux`."""

    __slots__ = ("at", "barren", "gave", "gone", "mode", "number", "place", "ring", "rounds", "size")

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
        self.mode: Any = node.options["mode"]
        self.size: int = drawing.block_sizes[0]
        self.number: int = 0  # the pass
        self.ring: Sequence[int] = range(len(node.of))  # the streams of this pass, in order
        self.at: int = 0  # where in the ring the next block begins
        self.rounds: int = 0  # of this pass, that were done when it last began at 0
        self.gone: set[int] = set()  # those of the ring that have ended in this round
        self.barren: set[int] = set()
        self.gave: bool = False

    def go_on(self) -> Iterator[T] | None:
        if self.ended:
            return None
        left = self.left()
        if self.laid or left == len(self.block):  # or a signal has come before the first draw of a block
            self.laid = False
            return self.items
        if not left:
            self._lay()
            return None if self.ended else self.items
        position = len(self.block) - left - 1
        self.calm = False
        if self.indices is not None:
            self.look_up()
        index = self.block[position]
        if index in self.gone:
            return self.items
        if self.mended(index, position):
            self.laid, self.unseen = True, False
            self.seek(position)
            self.laid = False
            return self.items
        barren, last, end = self.slots.barren(index), len(self.gone) + 1 == len(self.ring), len(self.block) - 1
        owner = self.slots.shut(index, EMPTY)
        # At once, without a call: Python looks for signals there.
        self.gone |= {index}
        if barren:
            self.barren |= {index}
        self.gave, self.laid, self.unseen = self.gave or not barren, True, False
        if last:
            self.seek(end)
        close_all([owner])
        self.laid = False
        return self.items

    def _lay(self) -> None:
        """Lay the next block: a part of a round, or some whole rounds."""
        if self.at >= len(self.ring) > 0:
            rounds = self.rounds + self.at // len(self.ring)
            self.rounds, self.at = rounds, 0
        if not self.at and self.gone:
            ring, gone = [index for index in self.ring if index not in self.gone], set[int]()
            self.ring, self.gone = ring, gone
        if not self.ring:
            self._next_pass()
            if self.ended:
                return
        rounds = 1 if self.at else max(1, self.size // len(self.ring))
        indices = list(self.ring[self.at : self.at + self.size])
        at = self.at + len(indices) * rounds
        if self.size == drawing.block_sizes[1]:
            self.widen()
        size = min(self.size * 4, drawing.block_sizes[1])
        row, slots = self.slots.row, self.slots
        by: Any = None
        block: list[Any]
        items = self.by_index
        if self.calm and row is not None:
            by, items = partial(mul, indices, rounds), map(next, self.index)
            block = [row[index] for index in indices] * rounds
            block.append(EMPTY)
        else:
            block = indices * rounds
            block.append(-1)
        # At once, without a call: Python looks for signals there.
        self.at, self.size, slots.fresh = at, size, -1
        self.indices, self.items, self.calm, self.unseen = by, items, True, False
        self.blocks += 1
        self.block[:] = block
        self.seek(0)

    def _next_pass(self) -> None:
        """Begin again with every stream that is not barren."""
        if self.mode == "exhaustive" or not self.gave or len(self.barren) == len(self.node.of):
            self.close()
            return
        number = self.number + 1
        ring = [index for index in self.order(number) if index not in self.barren]
        self.slots.begin(number)
        self.gave, self.rounds, self.number, self.ring = False, 0, number, ring

    def order(self, number: int) -> Sequence[int]:
        """The order of a pass."""
        if self.mode != "permuted_cycle" or not number:
            return range(len(self.node.of))
        words = Words(self.place, f"order {number}")
        order: list[int] = drawing.permutation(words.uniforms(0, len(self.node.of))).tolist()
        return order

    def save(self, saver: Saver) -> Any:
        left, key = self.left(), self.node.of.key
        rounds, at = divmod(self.at - max(0, left - 1), max(1, len(self.ring)))
        rounds += self.rounds
        ring = set(self.ring)
        out = [index for index in range(len(self.node.of)) if index not in ring]
        places = {index: place for place, index in enumerate(self.ring)}
        streams = self.slots.save(saver, lambda opened: [rounds + (places[index] < at) for index in opened])
        sets = [list(map(key, sorted(some))) for some in (out, self.gone, self.barren)]
        return [self.number, rounds, at, self.gave, self.ended, *sets, streams]

    def load(self, state: Any, loader: Loader) -> None:
        self.number, self.rounds, self.at, self.gave, self.ended, *sets, streams = state
        out, self.gone, self.barren = (set(loader.indices(self.node.of, some)) for some in sets)
        self.ring = [index for index in self.order(self.number) if index not in out]
        self.slots.number = self.number
        for index in out | self.gone:
            self.slots.put(index, EMPTY)
        self.slots.load(streams, loader)


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
        ValueError: when built, if ``k == 0``, ``mode`` is unknown or ``seed`` is negative.

    Source: McFee et al., pescador 3.0, ``RoundRobinMux``.

    >>> "".join(round_robin_mux(["ab".__iter__, "cde".__iter__, "fghi".__iter__])())
    'acfbdgehi'
    """
    check_choice("round_robin_mux", "mode", mode, ("exhaustive", "cycle", "permuted_cycle"))
    parts = check_parts("round_robin_mux", factories)
    return Node(round_robin_mux, RoundRobin, parts, mode=mode, seed=check_seed("round_robin_mux", seed))
