"""What is active in the slots of a working set: how far it is, saved and opened again."""

from __future__ import annotations

from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.below import Past, save_child
from pescador_fn.counts import Counts
from pescador_fn.loop import Loop
from pescador_fn.running import EMPTY, FOREVER, Running, close_all
from pescador_fn.schedule import Activation, Schedule
from pescador_fn.seeds import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pescador_fn.factory import Node
    from pescador_fn.state import Loader, Saver

__all__ = ["Activations"]

T = TypeVar("T")

# what the schedule named, what the items come from, what has its `close` if anything, its state if it is a node
Active = tuple[Activation, Any, Any, Running[Any] | None]


class Activations(Loop[T]):
    """The state of a working set.

    How far a stream is tell the draws that fell on its slot, which are counted by block. A node may go on after an
    exception, where an `islice` is dead: it is pulled by ``map(next, repeat(items, quota))``.
    """

    __slots__ = (
        "active",
        "counts",
        "draw",
        "end",
        "ends",
        "factories",
        "following",
        "names",
        "opened",
        "past",
        "place",
        "schedule",
        "size",
        "version",
    )

    ended: bool
    cut: bool

    def __init__(self, node: Node[T], place: Place, schedule: type[Schedule]) -> None:
        super().__init__()
        self.node = node
        self.place: Place = place.pinned(node.options["seed"])
        self.schedule: Any = schedule(node, self.place)  # a Schedule; of ByWeight, an Exhaustive
        self.factories: Any = node.of.items
        self.names: Any = node.of.names
        self.active: list[Active | None] = [None] * self.schedule.prepared.n_slots
        self.past: dict[int, tuple[Activation, Past, int]] = {}  # by slot, what a state says was open
        # How often each slot was drawn; ``None`` where picks are not known ahead, and the calls of a `repeat` tell.
        self.counts: Counts | None = self.counted(len(self.active))
        self.opened: int = -1  # the draw that a stream was last opened for
        self.ends: dict[int, Any] = {}  # by slot, without counts, for quotas of one item: spent where it was given
        self.end: int = -1  # where draws fall that are after the block's last
        self.draw: int = 0  # the number of the block's first draw
        self.following: int = 0  # the number of the first draw after it
        self.size: int = drawing.block_sizes[0]
        self.version: int = 0

    counted: Callable[[int], Counts | None] = Counts

    def calls(self) -> dict[int, int]:
        """How often the streams that are open were called, by slot."""
        slots = [slot for slot, active in enumerate(self.active) if active is not None]
        if self.counts is not None:
            return dict(zip(slots, self.counts.now(self.drawn, slots), strict=True))
        streams = [active for active in self.active if active is not None]
        return {slot: one[0][2] - one[1].__length_hint__() for slot, one in zip(slots, streams, strict=True)}

    def held(self) -> Iterable[Any]:
        return [active[2] for active in self.active if active is not None]

    def save(self, saver: Saver) -> Any:
        key, draw = self.node.of.key, self.following - self.left() + (self.left() > 0)
        streams = [
            [slot, key(found[0]), found[1], found[2] if found[2] < FOREVER else 0, past.save(saver), n]
            for slot, (found, past, n) in self.past.items()
        ]
        active, verify = self.active, saver.verify
        for slot, n in self.calls().items():
            (stream, number, quota), _, _, running = active[slot]  # type: ignore[misc]
            child: Any = n
            if running is not None or verify:
                place = Place(self.place, self.node.of.label(stream), number)
                child = save_child(saver, self.factories[stream], place, running, n)
            streams.append([slot, key(stream), number, quota if quota < FOREVER else 0, child, n])
        return [draw, self.ended, streams, self.schedule.save({one[0] for one in streams})]

    def load(self, state: Any, loader: Loader) -> None:
        draw, self.ended, streams, schedule = state
        self.draw = self.following = draw
        parts, open_streams = self.node.of, {}
        for slot, name, number, quota, child, n in streams:
            stream = loader.index(parts, name)
            place = Place(self.place, parts.label(stream), number)
            past = Past(self.factories[stream], place, child, loader, parts.label(stream))
            self.past[slot] = (stream, number, quota or FOREVER), past, n
            open_streams[slot] = stream
        if self.counts is not None:
            self.counts.load(list(self.past), [n for _, _, n in self.past.values()])
        self.schedule.load(schedule, loader, open_streams)

    def reopen(self) -> None:
        """Open again what a state says was open."""
        while self.past:
            slot, (found, past, n) = next(iter(self.past.items()))
            items, owner, running = past.open()
            sliced = self.counts is not None and running is None
            calls: Any = islice(items, found[2] - n) if sliced else repeat(items, found[2] - n)
            self.active[slot] = found, calls, owner, running
            if self.counts is None and found[2] == 1:
                self.ends[slot] = iter([EMPTY])
            del self.past[slot]

    def pulls(self, slot: int) -> Iterator[T]:
        """What the stream that is active in a slot has left to give."""
        active = self.active[slot]
        if active is None:
            return EMPTY
        _, calls, _, running = active
        if self.counts is not None and running is None:
            return calls  # type: ignore[no-any-return]
        return map(next, chain(calls, self.ends[slot]) if slot in self.ends else calls)

    def gave_nothing(self, slot: int) -> bool:
        """Whether a stream that has ended gave nothing, by its calls."""
        active = self.active[slot]
        assert active is not None
        (_, _, quota), calls, _, _ = active
        left = calls.__length_hint__()
        # One call, and that found the end. A quota of one is told apart by what comes after it.
        return quota - left == 1 and bool(left or self.ends.pop(slot).__length_hint__())

    def close(self) -> None:
        self.ended = True
        self.seek(len(self.block))
        owners = self.held()
        self.active[:] = [None] * len(self.active)
        close_all(owners)
