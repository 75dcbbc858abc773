"""The schedules of `stochastic_mux`: which slot each draw falls on, which stream takes a slot, and for how many items.

A schedule opens nothing and pulls nothing. It is told what only running can tell, which streams turned out barren, and
can be copied to look ahead.

    picks(draw, size)    the slots of the next draws
    replace(slot, draw)  the stream, activation number and quota that take a slot from then on; None closes the slot
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import pescador_fn.drawing as drawing
from pescador_fn.drawing import PERIOD, Floats, Ints, Quota, Table, Words, permutation, read_weights, systematic
from pescador_fn.running import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader

__all__ = ["Activation", "Schedule", "WithReplacement"]


class Prepared:
    """What a `stochastic_mux` derives from its options, once for all its streams."""

    __slots__ = ("law", "n_slots", "quota", "table")

    law: Any  # of single_active, which makes it

    def __init__(self, node: Node[Any]) -> None:
        options = node.options
        weights: Any = options["weights"]
        n_active, count = options["n_active"], len(node.of)
        positive = int(np.count_nonzero(weights)) if isinstance(weights, np.ndarray) else count
        # Zero weights shrink the active set; more slots than streams is legal where streams may repeat.
        self.n_slots: int = n_active if n_active > count else min(n_active, positive)
        rate = options["rate"]
        self.quota: Quota | None = None if rate is None else Quota(options["dist"], rate, self.n_slots)
        self.table: Table | None = None if callable(weights) else Table(count, weights)
        self.law = None


Activation = tuple[int, int, int]  # stream, number, quota


class Schedule:
    """What the three modes share: uniform picks, and candidates, numbered, each with its quota.

    Candidate ``number`` is a function of the seed and the number; one that may not be activated is passed over.
    """

    __slots__ = (
        "at",
        "candidates",
        "cut",
        "dead",
        "first",
        "function",
        "laid",
        "node",
        "numbers",
        "open_slots",
        "place",
        "prepared",
        "ready",
        "size",
        "version",
        "words",
    )

    def __init__(self, node: Node[Any], place: Place) -> None:
        self.node: Node[Any] = node
        self.place: Place = place
        self.prepared: Prepared = node.prepared(Prepared)
        weights = node.options["weights"]
        self.function: Callable[[int], Any] | None = weights if callable(weights) else None
        self.words: dict[str, Words] = {lane: Words(place, lane) for lane in ("picks", "streams", "quotas")}
        self.at: int = 0  # the number of the first candidate that is not in the iterator
        self.candidates: Iterator[Activation] = iter(())
        self.ready: Iterator[Activation] = iter(())  # the same, where each may take any slot unless it is dead
        self.numbers: Any = iter(())  # those of the candidates, which tells how many are left
        self.dead: set[int] = set()
        self.open_slots: dict[int, None] = dict.fromkeys(range(self.prepared.n_slots))  # in order
        self.laid: list[int] = list(self.open_slots)  # the slots that picks fall on; on a shut one they are spent
        self.first: list[Activation | None] = [None] * self.prepared.n_slots  # by slot, until it is opened
        self.version: int = 0  # of the law of `picks`
        self.cut: bool = False  # whether it is being changed in steps that a signal must not come between
        self.size: int = drawing.block_sizes[0]

    @property
    def number(self) -> int:
        """The number of the next candidate."""
        return self.at - int(self.numbers.__length_hint__())

    def copy(self) -> Self:
        """A schedule that goes on from here by itself."""
        other = copy.copy(self)
        for name in {name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())}:
            value = getattr(self, name)
            if isinstance(value, list | set | dict):
                setattr(other, name, copy.copy(value))
        other.words = {lane: words.copy() for lane, words in self.words.items()}
        other.drop_candidates()
        return other

    @property
    def in_slots(self) -> list[int]:
        """The stream last named for each slot, -1 for none; empty where nothing depends on it."""
        return []

    def save(self, opened: set[int]) -> dict[str, Any]:
        """Where it stands, as plain data; ``opened`` are the slots whose streams are open."""
        key = self.node.of.key
        shut, laid = [slot for slot in range(self.prepared.n_slots) if slot not in self.open_slots], set(self.laid)
        waiting = [[slot, key(found[0]), *found[1:]] for slot, found in enumerate(self.first) if found is not None]
        in_slots = [(slot, stream) for slot, stream in enumerate(self.in_slots) if slot not in opened and stream >= 0]
        return {
            "number": self.number,
            "dead": list(map(key, sorted(self.dead))),
            "shut": shut,
            "unlaid": [slot for slot in shut if slot not in laid],
            "first": waiting,
            "unopened": [[slot, key(stream)] for slot, stream in in_slots if self.first[slot] is None],
        }

    def load(self, state: dict[str, Any], loader: Loader, streams: dict[int, int]) -> None:
        """Stand where ``save`` was called; ``streams`` are those that are open, by slot."""
        parts, shut, unlaid = self.node.of, set(state["shut"]), set(state["unlaid"])
        self.drop_candidates()
        self.at = state["number"]
        self.dead = set(loader.indices(parts, state["dead"]))
        self.open_slots = dict.fromkeys(slot for slot in range(self.prepared.n_slots) if slot not in shut)
        self.laid = [slot for slot in range(self.prepared.n_slots) if slot not in unlaid]
        self.first = [None] * self.prepared.n_slots
        for slot, name, number, quota in state["first"]:
            streams[slot] = loader.index(parts, name)
            self.first[slot] = streams[slot], number, quota
        for slot, name in state["unopened"]:
            streams.update((slot, stream) for stream in loader.indices(parts, [name]))

    def picks(self, draw: int, size: int) -> Ints:
        """The slots of the draws from ``draw`` on."""
        n = len(self.laid)
        found = (self.words["picks"].uniforms(draw, size) * n).astype(np.int64)
        return found if n == self.prepared.n_slots else np.asarray(self.laid)[found]

    def enter(self, slot: int, draw: int) -> Activation | None:
        """The stream that is the first in a slot: the one chosen for it at the start, where there is one."""
        found = self.first[slot]
        if found is not None:
            self.first[slot] = None
            if found[0] not in self.dead:
                return found
        return self.replace(slot, draw)

    @property
    def is_plain(self) -> bool:
        """Whether any candidate that is not dead may take any slot, and nothing else is noted of it."""
        return False

    def replace(self, slot: int, draw: int) -> Activation | None:
        """The stream that takes the place of another; ``None`` where none is left, and the slot is shut."""
        raise NotImplementedError

    def barren(self, stream: int) -> None:
        """Never activate a stream again."""
        self.dead.add(stream)

    def shut(self, slot: int) -> None:
        """Close a slot for good; the picks follow when half of what they fall on is shut."""
        if 2 * (len(self.open_slots) - 1) > len(self.laid):
            del self.open_slots[slot]
        else:
            others = [one for one in self.open_slots if one != slot]
            del self.open_slots[slot]
            self.laid = others
            self.version += 1

    def drop_candidates(self) -> None:
        """Derive the candidates that have not been looked at anew."""
        at, none = self.number, iter(())
        self.at, self.candidates, self.ready, self.numbers = at, none, none, none

    def uniforms(self) -> Floats:
        """Uniform numbers for the next candidates, in blocks that grow."""
        size, self.size = self.size, min(self.size * 4, max(1, drawing.block_sizes[1] // 4))
        return self.words["streams"].uniforms(self.at, size)

    def lay(self, streams: list[int]) -> None:
        """Set the next candidates: streams in order, each with the next number and its quota."""
        size, law = len(streams), self.prepared.quota
        quotas = [FOREVER] * size if law is None else law.sizes(self.words["quotas"].uniforms(self.at, size)).tolist()
        numbers = iter(range(self.at, self.at + size))
        candidates = zip(streams, numbers, quotas, strict=False)
        ready = candidates if self.is_plain else self.ready
        self.numbers, self.candidates, self.ready, self.at = numbers, candidates, ready, self.at + size

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

    __slots__ = ("lost", "read", "table", "tabled")

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__(node, place)
        self.table: Table | None = self.prepared.table
        self.tabled: frozenset[int] = frozenset()  # the dead that the table leaves out
        self.lost: float = 0.0  # the share of the table that dead streams have
        self.read: int = -1
        if self.function:
            self._read(0)
        weights = None if self.table is None else self.table.weights
        self.lay(self._sample(weights, len(node.of), self.prepared.n_slots))
        self.first: list[Activation | None] = list(self.candidates)

    @property
    def is_plain(self) -> bool:
        return self.function is None

    def replace(self, slot: int, draw: int) -> Activation | None:
        if self.function and draw - draw % PERIOD != self.read:
            self._read(draw)
        dead = self.dead
        for found in self.candidates:
            if found[0] not in dead:
                return found
        if self.table is None:
            self.shut(slot)
            return None
        self.lay(self.table.indices(self.uniforms()).tolist())
        return self.replace(slot, draw)

    def _read(self, draw: int) -> None:
        read, weights = self.weights_at(draw)
        self._retable(Table(len(weights), weights), self.dead)
        self.read = read

    def _retable(self, table: Table, dead: set[int]) -> None:
        """Draw from another table, without the dead, from the next candidate on."""
        alive, tabled = table.without(dead), frozenset(dead)
        self.drop_candidates()
        self.table, self.tabled, self.lost = alive, tabled, 0.0

    def save(self, opened: set[int]) -> dict[str, Any]:
        tabled = list(map(self.node.of.key, sorted(self.tabled)))
        return {**super().save(opened), "tabled": tabled, "lost": self.lost, "read": self.read}

    def load(self, state: dict[str, Any], loader: Loader, streams: dict[int, int]) -> None:
        super().load(state, loader, streams)
        self.read, self.lost = state["read"], state["lost"]
        self.tabled = frozenset(loader.indices(self.node.of, state["tabled"]))
        table = self.prepared.table
        if self.function:
            weights = self.weights_at(self.read)[1]
            table = Table(len(weights), weights)
        self.table = table.without(self.tabled) if self.tabled and table else table

    def barren(self, stream: int) -> None:
        if stream not in self.dead and self.table is not None:
            lost = self.lost + self.table.share(stream)
            if lost >= 0.5:
                self._retable(self.table, {*self.dead, stream})
            else:
                self.lost = lost
            self.dead.add(stream)
