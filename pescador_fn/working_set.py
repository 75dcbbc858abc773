"""The executor of `stochastic_mux`: opens the streams that the schedule names, and pulls them by its picks.

    for slot in index:
        for item in slots[slot]:    # islice(items, quota) of the stream that is active there
            yield item

is one frame, `drawing`. A slot that has nothing to give, since its stream has ended or its quota is used up, lets the
next stream in there and then, in the same frame, because calls are most of what an activation costs. Nothing is lost
with the frame: after an exception, which ends it, another goes on from the index, the slots and what is active.
"""

from __future__ import annotations

from functools import partial
from itertools import islice, repeat
from types import FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.activations import Activations
from pescador_fn.below import OWN, adopt, stopped
from pescador_fn.counts import Counts
from pescador_fn.given import check_part
from pescador_fn.running import EMPTY, flow
from pescador_fn.seeds import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.factory import Node
    from pescador_fn.running import Running
    from pescador_fn.schedule import Activation, Schedule
    from pescador_fn.state import Loader


__all__ = ["WorkingSet"]

T = TypeVar("T")


class WorkingSet(Activations[T]):
    """A slot whose quota is used up is noticed when it is drawn again; the next stream then takes its place.

    How far a stream is tell the draws that fell on its slot, which are counted by block. A node may go on after an
    exception, where an `islice` is dead: it is pulled by ``map(next, repeat(items, quota))``.
    """

    __slots__ = ("counts", "forced", "opened", "version")

    whole = True
    blocks: int
    draw: int
    following: int
    size: int

    def __init__(self, node: Node[T], place: Place, schedule: type[Schedule]) -> None:
        super().__init__(node, place, schedule)
        self.counts: Counts = Counts(len(self.active))  # how often each slot was drawn
        self.opened: int = -1  # the draw that a stream was last opened for, where that was in another frame
        self.version: int = 0
        self.forced: bool = False  # whether the slot of the block's first draw had been drawn before

    def __iter__(self) -> Iterator[T]:
        self.reopen()
        return flow(partial(self.refill, [*map(self.pulls, range(len(self.active))), EMPTY]))

    def more(self, slots: list[Iterator[T]]) -> Iterator[T] | None:
        if self.schedule.cut:
            return self.broken()
        left = self.left()
        if not self.schedule.open_slots and not self.ended:
            self.close()
        if self.ended:
            return None
        if not left:
            self.lay_block(self.following)
        elif (
            self.version != self.schedule.version
        ):  # the law of the picks has changed: the rest is drawn by that of now
            self.lay_block(self.following - left + 1, self.block[-left] if self.redrawn else -1)
        self.redrawn = False
        return self.drawing(slots)

    @property
    def torn(self) -> bool:
        if self.ended:
            return False
        changed = self.version != self.schedule.version
        return (self.redrawn and changed) or (self.forced and self.left() == len(self.block))

    def calls(self) -> dict[int, int]:
        slots = [slot for slot, active in enumerate(self.active) if active is not None]
        return dict(zip(slots, self.counts.now(self.drawn, slots), strict=True))

    def load(self, state: Any, loader: Loader) -> None:
        super().load(state, loader)
        self.counts.load(list(self.past), [n for _, _, n in self.past.values()])

    def limited(self, items: Any, found: Activation, n: int, running: Running[Any] | None) -> Any:
        return (islice if running is None else repeat)(items, found[2] - n)

    def pulls(self, slot: int) -> Iterator[T]:
        """What the stream that is active in a slot has left to give."""
        active = self.active[slot]
        if active is None:
            return EMPTY
        _, calls, _, running = active
        return calls if running is None else map(next, calls)

    def drawing(self, slots: list[Iterator[T]]) -> Iterator[T]:
        """The items of the draws that are left of the block."""
        schedule, active, factories, left = self.schedule, self.active, self.factories, self.left
        dead, open_slots, began, version = schedule.dead, schedule.open_slots, self.counts.began, self.version
        opened, following = self.opened, self.following
        for slot in self.index:
            # A signal comes after a call or at the end of a loop: not between a draw and its item.
            for item in slots[slot]:
                yield item
                break
            else:
                if slot < 0:
                    return
                before, draw = active[slot], -1
                if before is None and slot not in open_slots:
                    continue  # no stream takes it any more, and the draw is spent
                try:
                    draw = following - left()
                    if before is None:
                        found = schedule.enter(slot, draw)
                    else:
                        found, calls, owner, running = before
                        if running is not None and not running.done and calls.__length_hint__():
                            active[slot] = found, repeat(iter(running), calls.__length_hint__()), owner, running
                            slots[slot] = self.pulls(slot)  # a signal has cut its plumbing
                            self.seek(draw - self.draw)
                            continue
                        if opened == draw:
                            schedule.barren(found[0])
                        # Closed before the next is opened: never more than n_active are open.
                        active[slot] = None
                        if owner is not None:
                            owner.close()
                        for found in schedule.ready:  # as `replace` does, without its call
                            if found[0] not in dead:
                                break
                        else:
                            found = schedule.replace(slot, draw)
                    if found is None:
                        if open_slots and version == schedule.version:
                            continue
                        self.again(draw)
                        return
                    stream, number, quota = found
                    try:
                        factory = factories[stream]
                        # From here on, `open_child` without its calls; of what is plain, nothing is asked.
                        kind = type(factory)
                        begin_at = None if kind is partial or kind is FunctionType or not OWN[kind] else factory._begin
                        if begin_at is None:
                            items = owner = factory()
                            running = None
                            if type(items) is not GeneratorType:
                                items, owner, running = adopt(items, factory)
                        else:
                            label = stream if self.names is None else self.names[stream]
                            items, owner, running = begin_at(Place(self.place, label, number))
                        # For the draw for which it is opened, a barren stream gives nothing.
                        began[slot] = opened = draw
                        if running is None:
                            slots[slot] = calls = islice(items, quota)
                            active[slot] = found, calls, owner, None
                        else:
                            calls = repeat(items, quota)
                            slots[slot] = map(next, calls)
                            active[slot] = found, calls, owner, running
                    except Exception as error:
                        self.unopened(found, error)
                        raise
                    except BaseException:
                        schedule.first[slot] = found
                        raise
                    if version != schedule.version:
                        self.opened = draw
                        self.again(draw)
                        return
                except BaseException as error:
                    if not isinstance(error, Exception):  # after a signal the draw is made again
                        self.opened = opened
                        self.again(draw if draw >= 0 else following - left())
                    raise
                for item in slots[slot]:
                    yield item
                    break
                else:
                    self.opened = draw
                    self.seek(draw - self.draw)

    def unopened(self, found: Activation, error: Exception) -> None:
        """Leave out what does not open, which costs the draw."""
        self.schedule.barren(found[0])
        if isinstance(error, TypeError):  # it may be no factory
            check_part("stochastic_mux", self.factories[found[0]], f"factories[{found[0]}]")
        if isinstance(error, StopIteration):
            raise stopped(self.factories[found[0]]) from error

    def lay_block(self, draw: int, slot: int = -1) -> None:
        """Lay the block that begins with a draw, which falls on ``slot`` where that is known."""
        schedule, size = self.schedule, self.size
        if self.version != schedule.version:
            size = min(max(drawing.block_sizes[0], 4 * len(schedule.open_slots)), drawing.block_sizes[1])
        picks = schedule.picks(draw, size)
        if slot >= 0:
            picks[0] = slot
        block, later = [*picks.tolist(), -1], min(size * 4, drawing.block_sizes[1])
        counts = self.counts
        counts.count(self.drawn)
        # At once: Python looks for signals where something is called.
        counts.block, counts.numbers = picks, draw
        self.version, self.size, self.draw, self.following = schedule.version, later, draw, draw + size
        self.forced = slot >= 0
        self.blocks += 1
        self.block[:] = block
        self.seek(0)
