"""The executor of `stochastic_mux`: opens the streams that the schedule names, and pulls them by its picks.

A slot of the working set is plumbing that goes through one activation after the other by itself:

    chain.from_iterable(map(renew, repeat(slot)))

Each ``renew`` gives ``map(next, repeat(items, quota))`` of the next stream; the `repeat` is quota and count in one.
Where a stream has ended or its quota is used up, C asks ``renew`` for the next and gives its first item to the draw.
``renew`` is one long function because calls are most of what an activation costs. Only where a slot has nothing to give
at all does the loop stop, and ``more`` looks into it.
"""

from __future__ import annotations

from functools import partial
from itertools import chain, repeat
from operator import getitem
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import proxy

import pescador_fn.drawing as drawing
from pescador_fn.below import Past, adopt, save_child
from pescador_fn.factory import Node, check_part
from pescador_fn.loop import Loop
from pescador_fn.running import EMPTY, FOREVER, Running, close_all, flow, raising
from pescador_fn.schedule import Activation, Schedule
from pescador_fn.seeds import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pescador_fn.state import Loader, Saver

__all__ = ["Row", "WorkingSet"]

T = TypeVar("T")

# what the schedule named, the calls left of its quota, what has its `close` if anything, its state if it is a node
Active = tuple[Activation, "repeat[Any]", Any, Running[Any] | None]


class Row(list["Iterator[T]"]):
    """The slots; ``onward`` gives the item of the next draw, in the place of a slot that is shut.

    It has them by a weak reference, being in them: a cycle would delay closing.
    """

    __slots__ = ("__weakref__", "onward")

    onward: Iterator[T]


class WorkingSet(Loop[T]):
    """A slot whose quota is used up is noticed when it is drawn again; the next stream then takes its place.

    The slots are in the plumbing, not in the state: they hold ``renew``, and so the state.
    """

    __slots__ = (
        "active",
        "dated",
        "draw",
        "ends",
        "factories",
        "following",
        "laid_at",
        "names",
        "past",
        "place",
        "schedule",
        "size",
        "version",
    )

    def __init__(self, node: Node[T], place: Place, schedule: type[Schedule]) -> None:
        super().__init__()
        self.node = node
        self.place = place.pinned(node.options["seed"])
        self.schedule = schedule(node, self.place)
        self.dated: bool = self.schedule.function is not None  # whether the schedule asks at which draw it is
        self.factories = node.of.items
        self.names = node.of.names
        self.active: list[Active | None] = [None] * self.schedule.prepared.n_slots
        self.past: dict[int, tuple[Activation, Past, int]] = {}  # by slot, what a state says was open
        self.ends: dict[int, Any] = {}  # by slot, for quotas of one item: spent where the item was given
        self.draw = 0  # the number of the block's first draw
        self.following = 0  # the number of the first draw after it
        self.size = drawing.block_sizes[0]
        self.version = 0
        self.laid_at = -1  # how much of the block was left when a slot was last laid

    def held(self) -> Iterable[Any]:
        return [active[2] for active in self.active if active is not None]

    def save(self, saver: Saver) -> Any:
        key, draw = self.node.of.key, self.following - self.left() + (self.left() > 0)
        streams = [
            [slot, key(found[0]), found[1], found[2] if found[2] < FOREVER else 0, past.save(saver), n]
            for slot, (found, past, n) in self.past.items()
        ]
        for slot, active in enumerate(self.active):
            if active is not None:
                (stream, number, quota), calls, _, running = active
                left = calls.__length_hint__()
                child: Any = quota - left
                if running is not None or saver.verify:
                    place = Place(self.place, self.node.of.label(stream), number)
                    child = save_child(saver, self.factories[stream], place, running, child)
                streams.append([slot, key(stream), number, quota if quota < FOREVER else 0, child, quota - left])
        return [draw, self.ended, streams, self.schedule.save({slot for slot, *_ in streams})]

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
        while self.past:
            slot, (found, past, n) = next(iter(self.past.items()))
            items, owner, running = past.open()
            self.active[slot] = found, repeat(items, found[2] - n), owner, running
            if found[2] == 1:
                self.ends[slot] = iter([EMPTY])
            del self.past[slot]

    def __iter__(self) -> Iterator[T]:
        self.reopen()
        slots: Row[T] = Row([EMPTY] * (len(self.active) + 1))
        for slot, active in enumerate(self.active):
            if active is not None:
                slots[slot] = self.pulls(slot)
        onward: Any = partial(getitem, proxy(slots))
        slots.onward = self.pulling(onward)
        return flow(partial(self.refill, slots, self.pulling(slots.__getitem__)))

    def pulling(self, slot: Callable[[Any], Iterator[T]]) -> Iterator[T]:
        """One item for each draw of the block, until a slot has nothing to give."""
        return map(next, map(slot, self.index))

    def more(self, slots: Row[T], items: Iterator[T]) -> Iterator[T] | None:
        left = self.left()
        if not left:
            if self.ended:
                return None
            if self.following == drawing.block_sizes[0] >= len(self.active) // 8:
                for slot in self.schedule.open_slots:
                    slots[slot] = self.pulls(slot)
            return self.lay_from(self.following, items)
        schedule = self.schedule
        position = len(self.block) - 1 - left  # -1 where the block was laid anew within the draw
        if position >= 0 and left != self.laid_at and self.block[position] in schedule.open_slots:
            # Drawn for the first time, or its plumbing was cut by a signal.
            self.laid_at = left
            slots[self.block[position]] = self.pulls(self.block[position])
            self.seek(position)
            return items
        # Nothing is left for this slot, and the draw is spent.
        if position >= 0 and self.block[position] not in schedule.open_slots:
            slots[self.block[position]] = slots.onward
        if schedule.open_slots and self.version == schedule.version:
            return items
        return self.lay_from(self.following - left + 1, items)

    def pulls(self, slot: int) -> Iterator[T]:
        """The plumbing of a slot, from what is active in it on."""
        renewed = chain.from_iterable(map(self.renew, repeat(slot)))
        active = self.active[slot]
        if active is None:
            return renewed
        calls = active[1]
        return chain(map(next, chain(calls, self.ends[slot]) if slot in self.ends else calls), renewed)

    def renew(self, slot: int) -> Iterator[T]:
        """The items of the stream that takes a slot; `StopIteration` where there is none.

        It raises nothing else: the plumbing of the slot is dead once it has raised.
        """
        if self.cut:
            return self.broken()
        self.cut = True
        schedule = self.schedule
        draw = self.following - self.left() if self.dated else 0
        try:
            before = self.active[slot]
            if before is None:
                found = schedule.enter(slot, draw)
            else:
                (stream, _, quota), calls, owner, running = before
                left = calls.__length_hint__()
                if left and running is not None and not running.done:  # its plumbing was cut by a signal
                    calls = repeat(iter(running), left)
                    self.active[slot] = before[0], calls, owner, running
                    self.cut = False
                    return map(next, calls)
                # Closed before the next is opened: never more than n_active are open.
                self.active[slot] = None
                # One call, and that found the end. A quota of one is told apart by what comes after it.
                if quota - left == 1 and (left or self.ends.pop(slot).__length_hint__()):
                    schedule.barren(stream)
                if owner is not None:
                    self.cut = False
                    owner.close()
                    self.cut = True
                found = schedule.replace(slot, draw)
            if found is not None:
                stream, number, quota = found
                factory = self.factories[stream]
                self.cut = False
                try:
                    begin_at = getattr(factory, "_begin", None)  # from here on, `open_child` without its calls
                    if begin_at is None:
                        items = owner = factory()
                        running = None
                        if type(items) is not GeneratorType:
                            items, owner, running = adopt(items, factory)
                    else:
                        label = stream if self.names is None else self.names[stream]
                        items, owner, running = begin_at(Place(self.place, label, number))
                except Exception:
                    schedule.barren(stream)  # what does not open is left out
                    check_part("stochastic_mux", factory, f"factories[{stream}]")
                    raise
                except BaseException:
                    schedule.first[slot] = found  # a signal: the slot's next draw opens it after all
                    raise
                self.cut = True
                calls = repeat(items, quota)
                self.active[slot] = found, calls, owner, running
                if self.version != schedule.version:
                    self.weigh(slot)
                self.cut = False
                if quota == 1:
                    self.ends[slot] = end = iter([EMPTY])
                    return map(next, chain(calls, end))
                return map(next, calls)
            self.cut = False
        except Exception as error:
            self.cut = False
            return raising(error)
        except BaseException as error:
            return raising(error)
        raise StopIteration

    def weigh(self, slot: int) -> None:
        """Follow the law of the picks, which a new stream in a slot has changed, from the next draw on."""
        del slot
        self.lay_block(self.following - self.left() + 1)

    def lay_from(self, draw: int, items: Iterator[T]) -> Iterator[T] | None:
        """Lay the block that begins with a draw; ``None`` where no slot is open."""
        if self.schedule.open_slots:
            self.lay_block(draw)
        if not self.schedule.open_slots:
            self.close()
            return None
        return items

    def lay_block(self, draw: int) -> None:
        """Lay the block that begins with a draw."""
        schedule = self.schedule
        if self.version != schedule.version:
            self.version = schedule.version
            self.size = min(max(drawing.block_sizes[0], 4 * len(schedule.open_slots)), drawing.block_sizes[1])
        self.draw, self.following = draw, draw + self.size
        self.laid_at = -1
        self.lay(schedule.picks(draw, self.size))
        self.size = min(self.size * 4, drawing.block_sizes[1])

    def close(self) -> None:
        self.ended = True
        self.seek(len(self.block))
        owners = self.held()
        self.active = [None] * len(self.active)
        close_all(owners)
