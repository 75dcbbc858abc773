"""The schedules of `stochastic_mux` in which every stream comes once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pescador_fn.drawing import PERIOD, Floats, Ints, Words, successive
from pescador_fn.open_weights import OpenWeights
from pescador_fn.schedule import Activation, Schedule

if TYPE_CHECKING:
    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader

__all__ = ["Exhaustive", "ExhaustiveByWeight"]

LAID = 256  # candidates at a time
FRESH = 4096  # draws, at whose multiples holes are filled though there are few: streams may be long


class Exhaustive(Schedule):
    """Every stream once, in a random order; uniform draws."""

    __slots__ = ("order", "taken")

    first: list[Activation | None]

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__(node, place)
        self.order: Any = None
        self.taken: int = 0  # how much of the order is in candidates

    @property
    def is_plain(self) -> bool:
        return True

    def drop_candidates(self) -> None:
        taken = self.taken - (self.at - self.number)
        super().drop_candidates()
        self.taken = taken

    def enter(self, slot: int, draw: int) -> Activation | None:
        if not self.at:  # each slot has its stream from the first draw on, whichever is drawn first
            try:
                self.first = [self.replace(one, draw) for one in range(self.prepared.n_slots)]
            except BaseException:  # a signal: all of them anew
                self.drop_candidates()
                self.at = self.taken = 0
                raise
        return super().enter(slot, draw)

    def replace(self, slot: int, draw: int) -> Activation | None:
        for found in self.candidates:
            return found
        if self.lay_more():
            return self.replace(slot, draw)
        self.shut(slot)
        return None

    def lay_more(self) -> bool:
        """Lay the next candidates; whether there are any."""
        if self.order is None:
            self.order = self.ordered()
        block: list[int] = self.order[self.taken : self.taken + LAID].tolist()
        if not block:
            return False
        taken = self.taken + len(block)
        self.lay(block)
        self.taken = taken
        return True

    def ordered(self) -> Ints:
        """The order of all streams."""
        return successive(None, Words(self.place, "order 0").uniforms(0, len(self.node.of)))

    def save(self, opened: set[int]) -> dict[str, Any]:
        return {**super().save(opened), "taken": self.taken - (self.at - self.number)}

    def load(self, state: dict[str, Any], loader: Loader, streams: dict[int, int]) -> None:
        super().load(state, loader, streams)
        self.taken, self.order = state["taken"], None


class ExhaustiveByWeight(Exhaustive):
    """Every stream of positive weight once, in successive-sampling order; draws by the weights of the open streams."""

    __slots__ = ("open_weights", "read", "skipped", "slot_streams", "started", "weights")

    cut: bool
    order: Any
    taken: int

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__(node, place)
        n_slots = self.prepared.n_slots
        self.weights: Floats = np.empty(0) if self.function else node.options["weights"]
        self.started: dict[int, None] = {}  # kept for a function only, by which the order is drawn anew; in order
        self.skipped: int = 0  # how many of them the order leaves out
        self.read: int = -1
        self.slot_streams: list[int] = [-1] * n_slots
        self.open_weights: OpenWeights = OpenWeights(n_slots)
        if self.function:
            self.reread(0)
        # Slots are picked by weight, so each has its stream from the start.
        self.first: list[Activation | None] = [self.replace(slot, 0) for slot in range(n_slots)]

    @property
    def is_plain(self) -> bool:
        return False

    def copy(self) -> Self:
        other = super().copy()
        other.open_weights = self.open_weights.copy()
        return other

    def begin_block(self, draw: int) -> int:
        """Get ready for a block that begins with a draw, and return how many draws it may have."""
        self.reread(draw)
        if not draw % FRESH and self.open_weights.holes:
            self.open_weights.add_up()
        span = FRESH - draw % FRESH
        return min(span, PERIOD - draw % PERIOD) if self.function else span

    def reread(self, draw: int) -> None:
        """Take a function's weights for the period of a draw: for the open slots, and for the order of the rest."""
        if self.function and draw - draw % PERIOD != self.read:
            read, weights = self.weights_at(draw)
            self.cut = True
            self.read, self.weights = read, weights
            self.drop_candidates()
            self.order, self.taken, self.skipped = None, 0, len(self.started)
            for slot, stream in enumerate(self.slot_streams):
                self.open_weights.weights[slot] = self._weight(stream)
            self.open_weights.add_up()
            for slot in self.open_slots.copy() if draw else ():
                if self.slot_streams[slot] < 0:
                    self.first[slot] = self.replace(slot, draw)
            self.cut = False

    def replace(self, slot: int, draw: int) -> Activation | None:
        if self.function:
            self.reread(draw)
        for found in self.candidates:
            self.first[slot] = found  # until it is open: a signal may come between
            stream = found[0]  # as `_put` does, without its call
            self.open_weights.put(slot, self.weights.item(stream))
            self.slot_streams[slot] = stream
            if self.function:
                self.started[stream] = None
            return found
        if self.lay_more():
            return self.replace(slot, draw)
        self.slot_streams[slot] = -1
        self.open_weights.put(slot, 0.0)
        if not self.function:
            self.shut(slot)
        elif max(self.slot_streams) < 0:
            # A stream of no weight may have some in a later period; slots wait while others run.
            for waiting in self.open_slots.copy():
                self.shut(waiting)
        return None

    def placed(self, slot: int) -> Activation | None:
        """What waits in a slot to be opened, and is in the table: it is not where a signal has come between."""
        found = self.first[slot]
        return found if found is not None and self.slot_streams[slot] == found[0] else None

    def enter(self, slot: int, draw: int) -> Activation | None:
        found = self.first[slot]
        if found is not None and not self.placed(slot):
            self._put(slot, found[0])
        return super().enter(slot, draw)

    def _put(self, slot: int, stream: int) -> None:
        self.open_weights.put(slot, self.weights.item(stream))
        self.slot_streams[slot] = stream
        if self.function:
            self.started[stream] = None

    def _weight(self, stream: int) -> float:
        return 0.0 if stream < 0 else self.weights.item(stream)

    def ordered(self) -> Ints:
        u = Words(self.place, f"order {max(self.read, 0)}").uniforms(0, len(self.node.of))
        order = successive(self.weights, u)
        before = list(self.started)[: self.skipped]
        return order[~np.isin(order, before)] if before else order

    @property
    def in_slots(self) -> list[int]:
        return self.slot_streams

    def save(self, opened: set[int]) -> dict[str, Any]:
        return {
            **super().save(opened),
            "read": self.read,
            "started": [*self.started],
            "skipped": self.skipped,
            "sums": self.open_weights.save(),
        }

    def load(self, state: dict[str, Any], loader: Loader, streams: dict[int, int]) -> None:
        super().load(state, loader, streams)
        self.read, self.skipped = state["read"], state["skipped"]
        self.started = dict.fromkeys(state["started"])
        if self.function:
            self.weights = self.weights_at(self.read)[1]
        self.slot_streams = [streams.get(slot, -1) for slot in range(self.prepared.n_slots)]
        self.open_weights = OpenWeights(self.prepared.n_slots)
        self.open_weights.load(state["sums"], list(map(self._weight, self.slot_streams)))
