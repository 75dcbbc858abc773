"""The schedule of `stochastic_mux` in which every stream comes once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pescador_fn.drawing import PERIOD, Floats, Words, successive
from pescador_fn.schedule import Activation, Schedule

if TYPE_CHECKING:
    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader

__all__ = ["Exhaustive"]


class Exhaustive(Schedule):
    """Every stream of positive weight once, in successive-sampling order; draws by the weights of the open streams."""

    __slots__ = (
        "by_weight",
        "candidate_weights",
        "order",
        "read",
        "skipped",
        "slot_streams",
        "slot_weights",
        "started",
        "taken",
        "weights",
    )

    version: int

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__(node, place)
        self.weights: Floats | None = None if self.function else node.options["weights"]
        self.started: dict[int, None] = {}  # kept for a function only, by which the order is drawn anew; in order
        self.skipped: int = 0  # how many of them the order leaves out
        self.read: int = -1
        self.order: Any = None
        self.taken: int = 0  # how much of the order is in candidates
        n_slots = self.prepared.n_slots
        self.slot_streams: list[int] = [-1] * n_slots
        self.slot_weights: list[float] = [0.0] * n_slots
        self.candidate_weights: dict[int, float] = {}
        self.by_weight: bool = node.options["weights"] is not None
        if self.by_weight:  # slots are picked by weight, so each has its stream from the start
            self.reread(0)
            self.first: list[Activation | None] = [self.replace(slot, 0) for slot in range(n_slots)]

    @property
    def is_plain(self) -> bool:
        return not self.by_weight

    def drop_candidates(self) -> None:
        self.taken -= self.at - self.number
        super().drop_candidates()

    def reread(self, draw: int) -> None:
        """Take a function's weights for the period of a draw: for the open slots, and for the order of the rest."""
        if self.function and draw - draw % PERIOD != self.read:
            self.read, self.weights = self.weights_at(draw)
            self.drop_candidates()
            self.order, self.taken, self.skipped = None, 0, len(self.started)
            for slot in self.open_slots.copy():
                if self.slot_streams[slot] >= 0:
                    self.slot_weights[slot] = float(self.weights[self.slot_streams[slot]])
                elif draw:
                    self.first[slot] = self.replace(slot, draw)

    def replace(self, slot: int, draw: int) -> Activation | None:
        if self.function:
            self.reread(draw)
        found = next(self.candidates, None)
        if found is None and (self.order is None or self.taken < len(self.order)):
            self._more_streams()
            found = next(self.candidates, None)
        if self.by_weight:
            stream = self.slot_streams[slot] = -1 if found is None else found[0]
            self.slot_weights[slot] = self.candidate_weights.get(stream, 0.0)
            self.version += 1
        if self.function:
            if found is not None:
                self.started[found[0]] = None
            elif max(self.slot_streams) < 0:
                # A stream of no weight may have some in a later period; slots wait while others run.
                for waiting in self.open_slots.copy():
                    self.shut(waiting)
        elif found is None:
            self.shut(slot)
        return found

    @property
    def in_slots(self) -> list[int]:
        return self.slot_streams

    def save(self, opened: set[int]) -> dict[str, Any]:
        taken = self.taken - (self.at - self.number)
        return {
            **super().save(opened),
            "read": self.read,
            "taken": taken,
            "started": [*self.started],
            "skipped": self.skipped,
        }

    def load(self, state: dict[str, Any], loader: Loader, streams: dict[int, int]) -> None:
        super().load(state, loader, streams)
        self.read, self.taken, self.skipped = state["read"], state["taken"], state["skipped"]
        self.started = dict.fromkeys(state["started"])
        self.order = None
        if self.function:
            self.weights = self.weights_at(self.read)[1]
        if self.by_weight:
            n_slots = self.prepared.n_slots
            self.slot_streams = [streams.get(slot, -1) for slot in range(n_slots)]
            for slot, stream in enumerate(self.slot_streams):
                self.slot_weights[slot] = 0.0 if stream < 0 or self.weights is None else float(self.weights[stream])
            self.version += 1

    def _more_streams(self) -> None:
        """The next of the order as candidates."""
        if self.order is None:
            u = Words(self.place, f"order {max(self.read, 0)}").uniforms(0, len(self.node.of))
            order = successive(self.weights, u)
            before = list(self.started)[: self.skipped]
            self.order = order[~np.isin(order, before)] if before else order
        block: list[int] = self.order[self.taken : self.taken + 256].tolist()
        self.taken += len(block)
        if self.weights is not None:
            self.candidate_weights = dict(zip(block, self.weights[block].tolist(), strict=True))
        self.lay(block)
