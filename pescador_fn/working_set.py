"""The executor of `stochastic_mux`: opens the streams that the schedule names, and pulls them by its picks.

    for slot in index:
        for item in slots[slot]:    # islice(items, quota) of the stream that is active there
            yield item

is one frame, `drawing`. A slot that has nothing to give, since its stream has ended or its quota is used up, lets the
next stream in there and then, in the same frame, because calls are most of what an activation costs. Nothing is lost
with the frame: after an exception, which ends it, another goes on from the index, the slots and what is active.

How far a stream is tell the draws that fell on its slot, which are counted by block. A node may go on after an
exception, where an `islice` is dead: it is pulled by ``map(next, repeat(items, quota))``.
"""

from __future__ import annotations

from functools import partial
from itertools import chain, islice, repeat
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.below import PLAIN, Past, adopt, save_child
from pescador_fn.factory import Node, check_part
from pescador_fn.loop import Counts, Loop
from pescador_fn.running import EMPTY, FOREVER, Running, close_all, flow
from pescador_fn.schedule import Activation, Schedule
from pescador_fn.seeds import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pescador_fn.state import Loader, Saver

__all__ = ["WorkingSet"]

T = TypeVar("T")

# what the schedule named, what the items come from, what has its `close` if anything, its state if it is a node
Active = tuple[Activation, Any, Any, Running[Any] | None]


class WorkingSet(Loop[T]):
    """A slot whose quota is used up is noticed when it is drawn again; the next stream then takes its place."""

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

    @property
    def drawn(self) -> int:
        """How many draws of the block are done, the one after its last among them."""
        return len(self.block) - self.left()

    def held(self) -> Iterable[Any]:
        return [active[2] for active in self.active if active is not None]

    def save(self, saver: Saver) -> Any:
        key, draw = self.node.of.key, self.following - self.left() + (self.left() > 0)
        streams = [
            [slot, key(found[0]), found[1], found[2] if found[2] < FOREVER else 0, past.save(saver), n]
            for slot, (found, past, n) in self.past.items()
        ]
        for slot, n in self.calls().items():
            active = self.active[slot]
            assert active is not None
            (stream, number, quota), _, _, running = active
            child: Any = n
            if running is not None or saver.verify:
                place = Place(self.place, self.node.of.label(stream), number)
                child = save_child(saver, self.factories[stream], place, running, n)
            streams.append([slot, key(stream), number, quota if quota < FOREVER else 0, child, n])
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

    def __iter__(self) -> Iterator[T]:
        self.reopen()
        return flow(partial(self.refill, [*map(self.pulls, range(len(self.active))), EMPTY]))

    def pulls(self, slot: int) -> Iterator[T]:
        """What the stream that is active in a slot has left to give."""
        active = self.active[slot]
        if active is None:
            return EMPTY
        _, calls, _, running = active
        if self.counts is not None and running is None:
            return calls  # type: ignore[no-any-return]
        return map(next, chain(calls, self.ends[slot]) if slot in self.ends else calls)

    def more(self, slots: list[Iterator[T]]) -> Iterator[T] | None:
        if not self.left() and not self.ended:
            if self.schedule.open_slots:
                self.lay_block(self.following)
            if not self.schedule.open_slots:
                self.close()
        return None if self.ended else self.drawing(slots)

    def picked(self) -> Iterator[int]:
        """The slots of the draws that are left of the block."""
        return self.index

    def drawing(self, slots: list[Iterator[T]]) -> Iterator[T]:
        """The items of the draws that are left of the block."""
        schedule, counts, active, factories, end, left = (
            self.schedule,
            self.counts,
            self.active,
            self.factories,
            self.end,
            self.left,
        )
        for slot in self.picked():
            # A signal comes after a call or at the end of a loop: not between a draw and its item.
            for item in slots[slot]:
                yield item
                break
            else:
                if slot == end:
                    return
                self.cut = True
                draw = self.following - left()
                try:
                    before = active[slot]
                    if before is None:
                        found = schedule.enter(slot, draw) if slot in schedule.open_slots else None
                    else:
                        found, calls, owner, running = before
                        if running is not None and not running.done and calls.__length_hint__():
                            active[slot] = found, repeat(iter(running), calls.__length_hint__()), owner, running
                            slots[slot] = self.pulls(slot)  # a signal has cut its plumbing
                            self.again()
                            continue
                        if (self.opened == draw) if counts is not None else self.gave_nothing(slot):
                            schedule.barren(found[0])
                        # Closed before the next is opened: never more than n_active are open.
                        active[slot] = None
                        if owner is not None:
                            self.cut = False
                            owner.close()
                            self.cut = True
                        for found in schedule.ready:  # as `replace` does, without its call
                            if found[0] not in schedule.dead:
                                break
                        else:
                            found = schedule.replace(slot, draw)
                    if found is None:
                        self.shut(slot, draw)
                        continue
                    stream, number, quota = found
                    factory = factories[stream]
                    self.cut = False
                    try:
                        # From here on, `open_child` without its calls; of what is plain, nothing is asked.
                        begin_at = None if type(factory) in PLAIN else getattr(factory, "_begin", None)
                        if begin_at is None:
                            items = owner = factory()
                            running = None
                            if type(items) is not GeneratorType:
                                items, owner, running = adopt(items, factory)
                        else:
                            label = stream if self.names is None else self.names[stream]
                            items, owner, running = begin_at(Place(self.place, label, number))
                    except BaseException as error:
                        self.unopened(slot, draw, found, error)
                        raise
                    self.cut = True
                    if counts is not None:
                        # For the draw for which it is opened, a barren stream gives nothing.
                        counts.began[slot] = self.opened = draw
                    if running is None and counts is not None:
                        slots[slot] = calls = islice(items, quota)
                        active[slot] = found, calls, owner, None
                    else:
                        active[slot] = found, repeat(items, quota), owner, running
                        if counts is None and quota == 1:
                            self.ends[slot] = iter([EMPTY])
                        slots[slot] = self.pulls(slot)
                    if self.version != schedule.version:
                        self.weigh(slot, draw, spent=False)
                        self.cut = False
                        continue
                    self.cut = False
                except Exception:
                    self.cut = False
                    raise
                for item in slots[slot]:
                    yield item
                    break
                else:
                    self.again()

    def gave_nothing(self, slot: int) -> bool:
        """Whether a stream that has ended gave nothing, by its calls."""
        active = self.active[slot]
        assert active is not None
        (_, _, quota), calls, _, _ = active
        left = calls.__length_hint__()
        # One call, and that found the end. A quota of one is told apart by what comes after it.
        return quota - left == 1 and bool(left or self.ends.pop(slot).__length_hint__())

    def again(self) -> None:
        """Make the draw again."""
        self.seek(len(self.block) - 1 - self.left())
        self.cut = False

    def shut(self, slot: int, draw: int) -> None:
        """No stream takes a slot any more; the draw is spent."""
        if not self.schedule.open_slots:
            self.close()
        elif self.version != self.schedule.version:
            self.weigh(slot, draw, spent=True)
        self.cut = False

    def unopened(self, slot: int, draw: int, found: Activation, error: BaseException) -> None:
        """Leave out what does not open, which costs the draw; after a signal, let the draw open it after all."""
        schedule, failed = self.schedule, isinstance(error, Exception)
        if failed:
            schedule.barren(found[0])
        else:
            schedule.first[slot] = found
        if self.version != schedule.version:
            self.weigh(slot, draw, spent=failed)
        elif not failed:
            self.again()
        if failed:
            check_part("stochastic_mux", self.factories[found[0]], f"factories[{found[0]}]")

    def weigh(self, slot: int, draw: int, *, spent: bool) -> None:
        """Follow the law of the picks, which has changed, after a draw; one that is not spent falls on its slot."""
        if spent:
            self.lay_block(draw + 1)
        else:
            self.seek(len(self.block) - 1 - self.left())
            self.lay_block(draw, slot)

    def lay_block(self, draw: int, slot: int = -1) -> None:
        """Lay the block that begins with a draw, which falls on ``slot`` where that is known."""
        schedule = self.schedule
        if self.version != schedule.version:
            self.version = schedule.version
            self.size = min(max(drawing.block_sizes[0], 4 * len(schedule.open_slots)), drawing.block_sizes[1])
        assert self.counts is not None
        self.counts.count(self.drawn)
        picks = schedule.picks(draw, self.size)
        if slot >= 0:
            picks[0] = slot
        self.draw, self.following = draw, draw + self.size
        self.counts.lay(picks, draw)
        self.lay(picks.tolist())
        self.size = min(self.size * 4, drawing.block_sizes[1])

    def close(self) -> None:
        self.ended = True
        self.seek(len(self.block))
        owners = self.held()
        self.active[:] = [None] * len(self.active)
        close_all(owners)
