"""The schedule of `stochastic_mux` in which no stream is active twice at a time, and shares are exact all the same."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from pescador_fn.drawing import Ints, Table, Words
from pescador_fn.poisson import Law
from pescador_fn.schedule import Activation, Schedule

if TYPE_CHECKING:
    from pescador_fn.factory import Node
    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader

__all__ = ["SingleActive"]

PATIENCE = 1000  # candidates that are passed over beyond the time that a law stays for


class SingleActive(Schedule):
    """The active set is a conditional Poisson sample: a random member leaves, an outsider enters by its odds."""

    __slots__ = (
        "active",
        "law",
        "left_out",
        "lost",
        "members",
        "missing",
        "settled",
        "slot_table",
        "tabled",
        "tabled_at",
        "u",
    )

    cut: bool
    version: int

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__(node, place)
        weights = node.options["weights"]
        if self.prepared.law is None:
            self.prepared.law = Law(np.ones(len(node.of)) if weights is None else weights, self.prepared.n_slots)
        self.law: Law = self.prepared.law
        self.left_out: frozenset[int] = frozenset()  # the dead that the law leaves out
        self.tabled: int = 0  # how many they are
        self.tabled_at: int = 0  # since which candidate
        self.lost: float = 0.0  # the share of the active set that the other dead would have
        self.slot_table: Table | None = None
        self.u: list[float] = []  # the words of the candidates, where the law has a list
        self.active: dict[int, None] = {}  # a dict, since items of these come and go without a call
        self.missing: list[int] = []  # streams that are to be always active from now on, and are not yet
        self.members: list[int] = self._first_members(weights is None)
        self.active = dict.fromkeys(self.members)
        self.drop_candidates()
        self.lay(self.members)
        # Whether candidates need only be inactive: none is listed, dead or to be let in first.
        self.settled: bool = not self.law.heavy
        self.first: list[Activation | None] = list(self.candidates)
        self._weigh_slots()

    def _first_members(self, equal: bool) -> list[int]:
        """A sample with the right inclusions, then silent replacements: the inclusions alone are not the joint law."""
        law = self.law
        if equal:
            return self._sample(None, len(self.node.of), law.n_slots)
        members = sorted(law.certain)
        n = law.n_slots - len(members)
        if n:
            free = law.weights.copy()
            free[members] = 0.0
            members += self._sample(free, len(free), n)
            self.active = dict.fromkeys(members)
            slots = (Words(self.place, "mixing").uniforms(0, 16 * n) * n).astype(np.int64) + len(law.certain)
            for slot in slots.tolist():
                del self.active[members[slot]]
                found = self._outsider()
                assert found is not None
                members[slot] = found[0]
                self.active[members[slot]] = None
        return members

    def _outsider(self) -> Activation | None:
        """An inactive stream that is not always active, in proportion to its odds.

        ``None`` where a law that leaves out the dead has to find one: this law has none, or none of odds that count.
        """
        active, dead, table, last = self.active, self.dead, self.law.table, self._last()
        if self.law.heavy:
            return self._from_list()
        while table is not None:
            for found in self.candidates:
                if found[0] not in active and found[0] not in dead:
                    return found
                if found[1] >= last:
                    return None
            self.lay(table.indices(self.uniforms()).tolist())
        return None

    def _last(self) -> float:
        """The number of the candidate at which a search is given up. It depends on nothing but what a state has."""
        return self.tabled_at + self._spell + PATIENCE if len(self.dead) > self.tabled else float("inf")

    @property
    def _spell(self) -> int:
        """How many candidates a law stays for, though some of its streams are dead."""
        return len(self.node.of) // 4

    def _from_list(self) -> Activation | None:
        """The same where few draws by odds would fall on an inactive stream: the heavy are listed."""
        active, dead, table, last = self.active, self.dead, self.law.table, self._last()
        rest = [(stream, theta) for stream, theta in self.law.heavy if stream not in active and stream not in dead]
        sums = list(accumulate(theta for _, theta in rest))
        heavy = sums[-1] if sums else 0.0
        light = 0.0 if table is None else table.total * table.largest
        while True:
            for word, number, quota in self.candidates:
                x = self.u[word] * (heavy + light)
                if x < heavy or table is None:
                    return rest[min(bisect_right(sums, x), len(rest) - 1)][0], number, quota
                stream = int(table.indices(np.array([(x - heavy) / light]))[0])
                if stream not in active and stream not in dead:
                    return stream, number, quota
                if number >= last:
                    return None
            self.u = self.uniforms().tolist()
            self.lay(list(range(len(self.u))))

    def picks(self, draw: int, size: int) -> Ints:
        if self.slot_table is None:
            return super().picks(draw, size)
        return self.slot_table.indices(self.words["picks"].uniforms(draw, size))

    def replace(self, slot: int, draw: int) -> Activation | None:  # noqa: ARG002 - weights are fixed here
        stream, active = self.members[slot], self.active
        if stream in self.law.certain and stream not in self.dead:
            return self._again(stream)
        if stream in active:
            del active[stream]
        if self.settled:
            for one in self.candidates:
                if one[0] not in active:
                    self.members[slot] = one[0]
                    active[one[0]] = None
                    return one
        if len(self.dead) > self.tabled and (self.number - self.tabled_at >= self._spell or self.lost >= 0.25):
            self._rebuild()
        found = self._entering()
        self.members[slot] = -1 if found is None else found[0]
        if found is not None:
            active[found[0]] = None
        if self.law.certain and (found is None or found[0] in self.law.certain or stream in self.law.certain):
            self.cut = True
            self._weigh_slots()
            self.cut = False
        if found is None:
            self.shut(slot)
        return found

    def _again(self, stream: int) -> Activation:
        """The next candidate's number and quota, for a stream that is always active."""
        for _, number, quota in self.candidates:
            return stream, number, quota
        u = self.uniforms()
        self.u = u.tolist()
        table = None if self.law.heavy else self.law.table
        self.lay(list(range(len(u))) if table is None else table.indices(u).tolist())
        return self._again(stream)

    def _entering(self) -> Activation | None:
        law = self.law
        if len(self.active) >= law.n_slots:
            return None
        while self.missing:
            stream = self.missing[-1]
            found = None if stream in self.active or stream in self.dead else self._again(stream)
            del self.missing[-1]
            if found is not None:
                return found
        alive = law.count - (len(self.dead) - self.tabled)
        if alive <= len(self.active):
            return None
        found = self._outsider()
        if found is None:
            self._rebuild()
            return self._entering()
        return found

    @property
    def in_slots(self) -> list[int]:
        return self.members

    def save(self, opened: set[int]) -> dict[str, Any]:
        key = self.node.of.key
        return {
            **super().save(opened),
            "tabled": list(map(key, sorted(self.left_out))),
            "tabled_at": self.tabled_at,
            "lost": self.lost,
            "missing": list(map(key, self.missing)),
        }

    def load(self, state: dict[str, Any], loader: Loader, streams: dict[int, int]) -> None:
        super().load(state, loader, streams)
        parts = self.node.of
        self.left_out = frozenset(loader.indices(parts, state["tabled"]))
        self.tabled, self.tabled_at, self.lost = len(self.left_out), state["tabled_at"], state["lost"]
        if self.left_out:
            alive = self.law.weights.copy()
            alive[list(self.left_out)] = 0.0
            self.law = Law(alive, self.prepared.n_slots)
        self.missing = loader.indices(parts, state["missing"])
        self.members = [streams.get(slot, -1) for slot in range(self.prepared.n_slots)]
        self.active = {stream: None for stream in self.members if stream >= 0}
        self.settled = not self.law.heavy and not self.missing and len(self.dead) == self.tabled
        self._weigh_slots()

    def barren(self, stream: int) -> None:
        if stream not in self.dead:
            lost = self.lost + self.law.share(stream)
            self.lost, self.settled = lost, False
            self.dead.add(stream)

    def _rebuild(self) -> None:
        """Another law for the living, not at every death, since a law costs as much as many activations."""
        alive = self.law.weights.copy()
        alive[list(self.dead)] = 0.0
        if not alive.any():
            return
        law = Law(alive, self.prepared.n_slots)
        self.cut = True
        self.drop_candidates()
        self.law = law
        self.missing = sorted(law.certain - self.active.keys())
        self.left_out = frozenset(self.dead)
        self.tabled, self.tabled_at, self.lost = len(self.dead), self.number, 0.0
        self.settled = not law.heavy and not self.missing
        self._weigh_slots()
        self.cut = False

    def _weigh_slots(self) -> None:
        """Find what each slot is picked with; a new version of the picks where that has changed."""
        law = self.law
        # Where all are certain, a slot whose stream did not open is drawn too: one that is missing is to enter there.
        part = law.part or (float(law.weights[self.missing].mean()) if self.missing else 0.0)
        weights = np.full(self.prepared.n_slots, part)
        closed = set(range(len(weights))) - set(self.open_slots)
        for slot, stream in enumerate(self.members):
            if slot in closed or stream < 0:
                weights[slot] = 0.0
            elif stream in law.certain:
                weights[slot] = law.weights[stream]
        # What is shut is left out at once, as it was when it was being shut: a state knows only what is open.
        level = not (law.certain and closed) and np.ptp(weights[list(self.open_slots)]) == 0
        table = None if level or not weights.any() else Table(len(weights), weights)
        before = None if self.slot_table is None else self.slot_table.weights
        after = None if table is None else table.weights
        if not (before is after or (before is not None and after is not None and np.array_equal(before, after))):
            self.slot_table = table
            self.version += 1
