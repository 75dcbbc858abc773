"""Which streams of a split mux to open and pull ahead.

    executor ──▶ Part ── _begin ──▶ Remote ◀── outcomes ── Team
                                      ▲
    foresee ──▶ Ahead ── opens, lists calls

Nothing that is drawn depends on what was foreseen: a stream that is needed and was not is opened then, and one that was
foreseen wrongly is dropped.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

from pescador_fn.engines.remote import Remote
from pescador_fn.foresight import Draw, foresee, most_open
from pescador_fn.running import FOREVER
from pescador_fn.seeds import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.below import Opened
    from pescador_fn.engines.hands import Host
    from pescador_fn.engines.split import Path, Unit
    from pescador_fn.running import Running

__all__ = ["Ahead", "Part"]

FIRST, MOST = 1024, 4096  # draws that are foreseen, at first and later
MOST_AHEAD = 64  # streams, where nothing else is said


class Part:
    """A factory whose streams run elsewhere."""

    __slots__ = ("ahead", "stream")

    def __init__(self, ahead: Ahead, stream: int) -> None:
        self.ahead: Ahead = ahead
        self.stream: int = stream

    @property
    def of(self) -> Any:
        """What runs there."""
        return self.ahead.unit.node.of.items[self.stream]

    def __call__(self) -> Any:
        raise TypeError("parallel: the streams of a split mux open at their places only")

    def _start(self, place: Place) -> Remote[Any]:
        child = self.ahead.child(self.stream, place)
        child.adopted = True
        return child

    def _begin(self, place: Place) -> Opened:
        child = self._start(place)
        return iter(child), child, child


class Ahead:
    """What of one running mux is open elsewhere, and what is to be."""

    def __init__(self, team: Host, path: Path, unit: Unit, below: Any) -> None:
        self.team: Host = team
        self.path = path
        self.unit = unit
        self.below = below  # streams that are split in their turn
        self.running: Any = None
        self.most: int = 0  # streams open at a time
        self.children: dict[tuple[int, int], Remote[Any]] = {}
        self.dropped: int = 0  # streams that were let go and are not closed yet
        self.sight: Iterator[Draw] | None = None
        self.stale: bool = True  # whether what was foreseen is known to be wrong
        self.counts: dict[tuple[int, int], int] = {}  # calls by activation, up to what is foreseen
        self.held: dict[tuple[int, int], Draw] = {}  # foreseen, with no room to be open
        self.drawn: int = 0
        self.seen: int = 0  # draws that are foreseen
        self.span: int = FIRST
        self.due: int = 0  # at which draw to look again

    def watch(self, running: Running[Any], open_ahead: int | None) -> None:
        """Look ahead of an executor."""
        self.running = running
        active = most_open(running)
        # Streams that were opened together end together, so more than one set of them is opened ahead.
        usual = min(max(2 * active, self.team.n_workers), MOST_AHEAD)
        self.most = active + (usual if open_ahead is None else open_ahead)

    def child(self, stream: int, place: Place) -> Remote[Any]:
        """The activation at a place, which may be open by now."""
        key = stream, place.number
        found = self.children.get(key)
        if found is None:
            if key in self.held:
                self.due = 0  # one has ended, so that there may be room for others too
            else:
                self.stale = True
            found = self.children[key] = Remote(self, stream, place)
        return found

    def opened(self, child: Remote[Any]) -> None:
        """Let the calls be made that were foreseen of a stream when it had no room."""
        draw = self.held.get(child.key)
        if draw is not None:
            self._list(draw, 0)

    def left(self, stream: int, number: int) -> int | None:
        """How many items an activation has left for later draws, if that is known."""
        child = self.children.get((stream, number))
        return None if child is None or child.length is None else child.length - self._drawn(child)

    def _drawn(self, child: Remote[Any]) -> int:
        """The calls that the executor has made, with the one that it is making."""
        return child.delivered + (child is self.team.pulled)

    def handed(self, child: Remote[Any]) -> None:
        """Count what was handed out; look further ahead from time to time."""
        self.drawn += child.given[1]
        self.look(child)

    def look(self, child: Remote[Any]) -> None:
        """Look further ahead, when the executor is pulling a stream, if it is time to."""
        if self.drawn >= self.due or (self.stale and child.received >= child.listed):
            self.team.pulled = child
            self.plan()
            self.team.pulled = None

    def plan(self) -> None:
        """Let the workers open and pull what is foreseen."""
        if self.running.done:
            return
        if self.stale:
            self.sight = foresee(self.running, self.left)
            self.stale, self.seen = False, self.drawn
            self.counts, self.held = {}, {}
        assert self.sight is not None
        # A function of the user's may be called, for weights; what a signal cuts short is foreseen anew.
        self.team.cut, self.stale = False, True
        found = list(islice(self.sight, self.drawn + self.span - self.seen))
        self.team.cut, self.stale = True, False
        self.seen += len(found)
        if self.seen < self.drawn + self.span:
            self.stale = True  # nothing more can be known now
        draws = [draw for draw in found if draw[0] not in self.below] if self.below else found
        self._give_out(draws)
        for draw in [draw for draw in self.held.values() if draw[:2] in self.children]:
            self._list(draw, 0)
        for draw in draws:
            self._list(draw, 1)
        self.span = min(2 * self.span, MOST)
        self.due = self.drawn + self.span // 4
        for child in list(self.children.values()):
            if not child.adopted and child.key not in self.counts:
                self.drop(child)

    def _give_out(self, draws: list[Draw]) -> None:
        """Give the new streams that there is room for to workers; those with many calls first, for even loads."""
        calls = Counter(draws)
        new: dict[Draw, Remote[Any]] = {}
        for draw in (*self.held.values(), *calls):
            stream, number, quota = draw
            if (stream, number) in self.children:
                continue
            if not self.has_room():
                break
            place = Place(self.running.place, self.unit.node.of.label(stream), number)
            child = self.children[stream, number] = new[draw] = Remote(self, stream, place)
            child.quota = None if quota > FOREVER // 2 else quota
            calls[draw] += self.counts.get((stream, number), 0)  # what was foreseen when it had no room
        if not new:
            return
        for draw, n in calls.items():
            known = self.children.get(draw[:2])
            if known is not None and known.hand is not None:
                known.hand.promised += n
        for draw in sorted(new, key=calls.__getitem__, reverse=True):
            self.team.post(new[draw]).promised += calls[draw]
        for child in self.children.values():
            if child.hand is not None:
                child.hand.promised = 0  # from here on they are listed

    def _list(self, draw: Draw, more: int) -> None:
        """Let a call be made, or as many as are foreseen of a stream that had no room."""
        key = draw[:2]
        child = self.children.get(key)
        before = self.counts.get(key)
        if before is None:
            before = 0 if child is None else self._drawn(child)
        calls = self.counts[key] = before + more
        if child is None:
            self.held[key] = draw
            return
        self.held.pop(key, None)
        hand = child.hand or self.team.post(child)
        if calls > child.listed and child.length is None:
            hand.pull(child, calls - child.listed)

    def has_room(self) -> bool:
        """Whether one more stream may be open."""
        return len(self.children) + self.dropped < self.most

    def make_room(self, child: Remote[Any]) -> None:
        """Drop a stream that was opened ahead if a stream that is needed has no room."""
        while len(self.children) + self.dropped > self.most:
            last = next((one for one in reversed(self.children.values()) if not one.adopted), None)
            if last is not None:
                self.drop(last)
            elif self.dropped:
                self.team.fetch(child, wanted=False)
            else:
                return

    def drop(self, child: Remote[Any]) -> None:
        """Let go of a stream that was foreseen wrongly."""
        del self.children[child.key]
        child.over = True
        if child.hand is not None and not child.closed:
            self.dropped += 1
            child.hand.drop(child)
        child.empty()
