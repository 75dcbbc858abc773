"""What is active in the slots of a working set: how far it is, saved and opened again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.loop import Loop
from pescador_fn.past import Past, save_child
from pescador_fn.running import FOREVER, Running, close_all
from pescador_fn.schedule import Activation, Schedule
from pescador_fn.seeds import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pescador_fn.factory import Node
    from pescador_fn.state import Loader, Saver

__all__ = ["Activations"]

T = TypeVar("T")

# what the schedule named, what the items come from, what has its `close` if anything, its state if it is a node
Active = tuple[Activation, Any, Any, Running[Any] | None]


class Activations(Loop[T]):
    """The state of a working set. How far each stream is, and how it is held to its quota, is in the subclasses."""

    __slots__ = ("active", "draw", "factories", "following", "names", "past", "place", "redrawn", "schedule", "size")

    ended: bool
    cut: bool

    def __init__(self, node: Node[T], place: Place, schedule: type[Schedule]) -> None:
        super().__init__()
        self.node = node
        self.place: Place = place.pinned(node.options["seed"])
        self.schedule: Any = schedule(node, self.place)  # a Schedule; of ByWeight, an ExhaustiveByWeight
        self.factories: Any = node.of.items
        self.names: Any = node.of.names
        self.active: list[Active | None] = [None] * self.schedule.prepared.n_slots
        self.past: dict[int, tuple[Activation, Past, int]] = {}  # by slot, what a state says was open
        self.draw: int = 0  # the number of the block's first draw
        self.following: int = 0  # the number of the first draw after it
        self.size: int = drawing.block_sizes[0]
        self.redrawn: bool = False  # whether the next draw had been made, and falls on its slot again

    def calls(self) -> dict[int, int]:
        """How often the streams that are open were called, by slot."""
        raise NotImplementedError

    def limited(self, items: Any, found: Activation, n: int, running: Running[Any] | None) -> Any:
        """What an open stream has left of its quota after ``n`` calls."""
        raise NotImplementedError

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
        self.schedule.load(schedule, loader, open_streams)

    def reopen(self) -> None:
        """Open again what a state says was open."""
        for slot, (found, past, n) in [*self.past.items()]:  # as `Slots.reopen`
            try:
                items, owner, running = past.open()
            except Exception:  # what does not open again has ended, as under any stage
                self.past.clear()
                self.close()
                raise
            self.active[slot] = found, self.limited(items, found, n, running), owner, running
            del self.past[slot]

    def again(self, draw: int) -> None:
        """Make a draw of the block again."""
        self.redrawn, self.cut = True, False
        self.seek(draw - self.draw)

    def close(self) -> None:
        self.ended = True
        self.seek(len(self.block))
        owners = self.held()
        self.active[:] = [None] * len(self.active)
        close_all(owners)
