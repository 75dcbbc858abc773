"""The schedules of `stochastic_mux`: which slot each draw falls on, which stream takes a slot, and for how many items.

A schedule opens nothing and pulls nothing. It is told what only running can tell, which streams turned out barren, and
can be copied to look ahead.

    picks(draw, size)    the slots of the next draws
    replace(slot, draw)  the stream, activation number and quota that take a slot from then on; None closes the slot
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from pescador_fn.draws import PERIOD, Floats, Quota, Table, Words, permutation, read_weights, successive, systematic
from pescador_fn.factory import Node
from pescador_fn.seeds import Place
from pescador_fn.stream import FOREVER

__all__ = ["Exhaustive", "Schedule", "WithReplacement"]

BLOCK = 256  # activations drawn ahead


class Prepared:
    """What a `stochastic_mux` derives from its options, once for all its streams."""

    __slots__ = ("law", "n_slots", "quota", "table")

    law: Any  # of single_active, which makes it

    def __init__(self, node: Node[Any]) -> None:
        options = node.options
        weights, n_active, count = options["weights"], options["n_active"], len(node.of)
        fixed = weights is None or callable(weights)
        positive = count if fixed else int(np.count_nonzero(weights))
        # Zero weights shrink the active set; more slots than streams is legal where streams may repeat.
        self.n_slots: int = n_active if n_active > count else min(n_active, positive)
        rate = options["rate"]
        self.quota = None if rate is None else Quota(options["dist"], rate, self.n_slots)
        self.table = None if callable(weights) else Table(count, weights)
        self.law = None


class Schedule:
    """What the three modes share: uniform picks, quotas, activation numbers."""

    __slots__ = ("dead", "function", "node", "number", "open_slots", "place", "prepared", "quotas", "version", "words")

    def __init__(self, node: Node[Any], place: Place) -> None:
        self.node = node
        self.place = place
        self.prepared: Prepared = node.prepared(Prepared)
        weights = node.options["weights"]
        self.function = weights if callable(weights) else None
        self.words = {lane: Words(place, lane) for lane in ("picks", "streams", "quotas")}
        self.quotas: Iterator[int] = iter(())
        self.number = 0  # of the next activation
        self.dead: set[int] = set()
        self.open_slots: list[int] = list(range(self.prepared.n_slots))
        self.version = 0  # of the law of `picks`

    def copy(self) -> Self:
        """A schedule that goes on from here by itself."""
        other = copy.copy(self)
        for name in {name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())}:
            value = getattr(self, name)
            if isinstance(value, list | set | Iterator):
                setattr(other, name, copy.copy(value))
        other.words = {lane: words.copy() for lane, words in self.words.items()}
        return other

    def picks(self, draw: int, size: int) -> list[int]:
        """The slots of the draws from ``draw`` on."""
        n = len(self.open_slots)
        found = (self.words["picks"].uniforms(draw, size) * n).astype(np.int64)
        if n < self.prepared.n_slots:
            found = np.asarray(self.open_slots)[found]
        return found.tolist()  # type: ignore[no-any-return]

    def replace(self, slot: int, draw: int) -> tuple[int, int, int] | None:
        """The next stream, activation number and quota of a slot."""
        stream = self.next_stream(slot, draw)
        if stream < 0:
            self.open_slots.remove(slot)
            self.version += 1
            return None
        number = self.number
        self.number = number + 1
        for quota in self.quotas:
            return stream, number, quota
        return stream, number, self._more_quotas(number)

    def next_stream(self, slot: int, draw: int) -> int:
        """The stream that takes a slot, or -1 where none is left."""
        raise NotImplementedError

    def barren(self, stream: int) -> None:
        """Never activate a stream again."""
        self.dead.add(stream)

    def _more_quotas(self, number: int) -> int:
        law = self.prepared.quota
        if law is None:
            return FOREVER
        sizes: list[int] = law.sizes(self.words["quotas"].uniforms(number, BLOCK)).tolist()
        self.quotas = iter(sizes)
        return next(self.quotas)

    def weights_at(self, draw: int) -> tuple[int, Floats]:
        """The weights that a function gives for the period of a draw, and where that begins."""
        assert self.function is not None
        start = draw - draw % PERIOD
        return start, read_weights("stochastic_mux", self.function(start), self.node.of)

    def _sample(self, shares: Floats | None, count: int, size: int) -> list[int]:
        """The first active set: in a random order, each stream as often as its share says, rounded up or down."""
        words = Words(self.place, "first")
        if shares is None and size <= count:
            return _sparse_sample(words.uniforms(0, size), count)
        order = permutation(words.uniforms(1, count))
        shares = np.ones(count) if shares is None else shares / shares.max()
        return systematic(shares, size, float(words.uniforms(0, 1)[0]), order).tolist()  # type: ignore[no-any-return]


def _sparse_sample(u: Floats, count: int) -> list[int]:
    """Some of ``count`` indices without repeats, in random order; a Fisher-Yates shuffle of which little is written."""
    moved: dict[int, int] = {}
    sample = []
    for k, x in enumerate(u.tolist()):
        j = k + int(x * (count - k))
        sample.append(moved.get(j, j))
        moved[j] = moved.get(k, k)
    return sample


class WithReplacement(Schedule):
    """Activations drawn by weight, independently of what is active."""

    __slots__ = ("at", "first", "lost", "read", "streams", "table")

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__(node, place)
        self.table: Table | None = self.prepared.table
        self.streams: Iterator[int] = iter(())
        self.at = 0  # words of the lane "streams" that the block before took
        self.lost = 0.0  # the share of the table that dead streams have
        self.read = -1
        self.first: list[int] = []
        if self.function:
            self._read(0)
        weights = None if self.table is None else self.table.weights
        self.first = self._sample(weights, len(node.of), self.prepared.n_slots)

    def next_stream(self, slot: int, draw: int) -> int:
        if self.function and draw - draw % PERIOD != self.read:
            self._read(draw)
        stream = self.first[slot]
        if stream >= 0:
            self.first[slot] = -1
            if stream not in self.dead:
                return stream
        while self.table is not None:
            for stream in self.streams:
                if stream not in self.dead:
                    return stream
            self._more_streams(BLOCK)
        return -1

    def _more_streams(self, size: int) -> None:
        assert self.table is not None
        self.streams = iter(self.table.indices(self.words["streams"].uniforms(self.at, size)).tolist())
        self.at += size

    def _retable(self, table: Table | None) -> None:
        """Draw from another table from the next word on."""
        self.at -= self.streams.__length_hint__()  # type: ignore[attr-defined]
        self.streams = iter(())
        self.table = table
        self.lost = 0.0

    def _read(self, draw: int) -> None:
        self.read, weights = self.weights_at(draw)
        self._retable(Table(len(weights), weights).without(self.dead))

    def barren(self, stream: int) -> None:
        if stream not in self.dead and self.table is not None:
            self.dead.add(stream)
            self.lost += self.table.share(stream)
            if self.lost >= 0.5:
                self._retable(self.table.without(self.dead))


class Exhaustive(Schedule):
    """Every stream of positive weight once, in successive-sampling order; draws by the weights of the open streams."""

    __slots__ = ("at", "members", "order", "read", "slot_weights", "started", "streams", "waiting", "weights")

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__(node, place)
        self.weights: Floats | None = None if self.function else node.options["weights"]
        self.started: set[int] = set()  # kept for a function only, by which the order is drawn anew
        self.read = -1
        self.at = 0  # how much of the order the blocks took
        self.order: Any = None
        self.streams: Iterator[int] = iter(())
        n_slots = self.prepared.n_slots
        self.members = [-1] * n_slots
        self.slot_weights = [0.0] * n_slots
        self.waiting = [False] * n_slots  # slots whose stream is chosen and not yet asked for
        if node.options["weights"] is not None:  # slots are picked by weight, so each has its stream from the start
            self.reread(0)
            for slot in range(n_slots):
                self._choose(slot)
                self.waiting[slot] = self.members[slot] >= 0
            self.open_slots = [slot for slot in self.open_slots if self.waiting[slot]]

    def reread(self, draw: int) -> None:
        """Take a function's weights for the period of a draw: for the open slots, and for the order of the rest."""
        if self.function and draw - draw % PERIOD != self.read:
            self.read, self.weights = self.weights_at(draw)
            self.order, self.at, self.streams = None, 0, iter(())
            for slot in self.open_slots:
                if self.members[slot] >= 0:
                    self.slot_weights[slot] = float(self.weights[self.members[slot]])

    def next_stream(self, slot: int, draw: int) -> int:
        if self.waiting[slot]:
            self.waiting[slot] = False
        else:
            self.reread(draw)
            self._choose(slot)
        return self.members[slot]

    def _choose(self, slot: int) -> None:
        stream = next(self.streams, -1)
        if stream < 0:
            self._more_streams()
            stream = next(self.streams, -1)
        if self.function:
            self.started.add(stream)
        self.members[slot] = stream
        self.slot_weights[slot] = 0.0 if stream < 0 else 1.0 if self.weights is None else float(self.weights[stream])
        self.version += self.node.options["weights"] is not None

    def _more_streams(self) -> None:
        if self.order is None:
            u = Words(self.place, f"order {max(self.read, 0)}").uniforms(0, len(self.node.of))
            order = successive(self.weights, u)
            self.order = order[~np.isin(order, list(self.started))] if self.started else order
        block = self.order[self.at : self.at + BLOCK].tolist()
        self.at += len(block)
        self.streams = iter(block)
