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
from types import GeneratorType
from typing import TYPE_CHECKING, TypeVar

import pescador_fn.drawing as drawing
from pescador_fn.activations import Activations
from pescador_fn.below import PLAIN, adopt, stopped
from pescador_fn.given import check_part
from pescador_fn.running import EMPTY, flow
from pescador_fn.seeds import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.schedule import Activation


__all__ = ["WorkingSet"]

T = TypeVar("T")


class WorkingSet(Activations[T]):
    """A slot whose quota is used up is noticed when it is drawn again; the next stream then takes its place."""

    __slots__ = ()

    cut: bool
    draw: int
    following: int
    opened: int
    size: int
    version: int

    def __iter__(self) -> Iterator[T]:
        self.reopen()
        return flow(partial(self.refill, [*map(self.pulls, range(len(self.active))), EMPTY]))

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
                    self.cut = True
                    self.again()

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
            factory = check_part("stochastic_mux", self.factories[found[0]], f"factories[{found[0]}]")
            if isinstance(error, StopIteration):
                raise stopped(factory) from error

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
