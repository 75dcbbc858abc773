"""The mux with a bounded working set."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, repeat
from operator import mul
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pescador_fn.draws as draws
from pescador_fn.draws import PERIOD, Weights, check_weights
from pescador_fn.errors import check_choice, check_count, check_number
from pescador_fn.factory import Factories, Node, check_part, check_parts
from pescador_fn.loop import Loop
from pescador_fn.schedule import Activation, Exhaustive, Schedule, WithReplacement
from pescador_fn.seeds import Place, check_seed
from pescador_fn.single_active import SingleActive
from pescador_fn.stream import EMPTY, Running, adopt, close_all

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["stochastic_mux"]

T = TypeVar("T")

_MODES: dict[str, type[Schedule]] = {
    "with_replacement": WithReplacement,
    "single_active": SingleActive,
    "exhaustive": Exhaustive,
}

# what the schedule named, the calls left of its quota, what has its `close` if anything, its state if it is a node
Active = tuple[Activation, "repeat[Any]", Any, Running[Any] | None]


class _Stochastic(Loop[T]):
    """The executor: opens the streams that the schedule names, and pulls them by its picks.

    A slot holds ``map(next, repeat(stream, quota))``: quota and count in one. A slot whose quota is used up is noticed
    when it is drawn again; the next stream then takes its place and the draw.
    `more` is one long function because calls are most of what an activation costs.
    """

    by_weight = False
    sums: list[float]

    __slots__ = (
        "active",
        "draw",
        "factories",
        "following",
        "fresh",
        "names",
        "node",
        "place",
        "schedule",
        "size",
        "slots",
        "version",
    )

    def __init__(self, node: Node[T], place: Place) -> None:
        self.node = node
        self.place = place.pinned(node.options["seed"])
        self.schedule = _MODES[node.options["mode"]](node, self.place)
        self.factories = node.of.items
        self.names = node.of.names
        count = self.schedule.prepared.n_slots
        self.slots: list[Iterator[T]] = [EMPTY] * (count + 1)
        super().__init__(self.slots)
        self.active: list[Active | None] = [None] * count
        self.draw = 0  # the number of the block's first draw
        self.following = 0  # the number of the first draw after it
        self.size = draws.block_sizes[0]
        self.version = 0
        self.fresh = -1  # how much of the block was left when a stream was last opened

    def more(self) -> Iterator[T] | None:
        left = self.left()
        if not left:
            return None if self.ended else self.lay_from(self.following)
        schedule = self.schedule
        position = self.following - self.draw - left
        slot = self.block[position]
        if self.by_weight:
            slot = bisect_right(self.sums, slot * self.sums[-1])
        before = self.active[slot]
        if before is None:
            if slot not in schedule.open_slots:
                return self.items  # shut: the draw is spent
            found = schedule.enter(slot, self.draw + position)
        else:
            running = before[3]
            if running is not None and not running.done and before[1].__length_hint__():
                return self.revive(slot, before, position)
            # Closed before the next is opened: never more than n_active are open.
            self.active[slot] = None
            self.slots[slot] = EMPTY
            if left == self.fresh:
                schedule.barren(before[0][0])
            if before[2] is not None:
                self.cut = False
                before[2].close()
                self.cut = True
            found = schedule.replace(slot, self.draw + position)
        if found is None:
            if schedule.open_slots and self.version == schedule.version:
                return self.items  # the draw is spent
            return self.weigh_from(slot, position) if self.by_weight else self.lay_from(self.draw + position + 1)
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
        self.slots[slot] = map(next, calls)
        if self.version != schedule.version:
            return self.weigh_from(slot, position)
        self.fresh = left
        self.seek(position)
        return self.items

    def revive(self, slot: int, cut: Active, position: int) -> Iterator[T]:
        """Lay a stream again whose plumbing a signal has cut."""
        found, calls, owner, running = cut
        assert running is not None
        calls = repeat(iter(running), calls.__length_hint__())
        self.active[slot] = found, calls, owner, running
        self.slots[slot] = map(next, calls)
        self.seek(position)
        return self.items

    def weigh_from(self, slot: int, position: int) -> Iterator[T] | None:
        """Go on from a draw, which is the slot's, after that has changed the law of the picks."""
        items = self.lay_from(self.draw + position)
        self.block[0] = slot
        self.fresh = self.following - self.draw
        return items

    def lay_from(self, draw: int) -> Iterator[T] | None:
        """Lay the block that begins with a draw; ``None`` where no slot is open."""
        schedule = self.schedule
        if not schedule.open_slots:
            self.close()
            return None
        if self.version != schedule.version:
            self.version = schedule.version
            self.size = draws.block_sizes[0]
        self.draw, self.following = draw, draw + self.size
        self.fresh = -1
        self.lay(schedule.picks(draw, self.size))
        self.size = min(self.size * 4, draws.block_sizes[1])
        return self.items

    @property
    def done(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True
        self.seek(len(self.block))
        owners = [active[2] for active in self.active if active is not None]
        self.active = [None] * len(self.active)
        close_all(owners)


class _Weighted(_Stochastic[T]):
    """The executor of an exhaustive mux with weights, whose picks change with every stream that opens.

    The block holds uniform numbers; `bisect` in the running sums of the open streams' weights makes slots of them, one
    draw at a time and in C. The draw that found a stream at its end is spent: it was drawn by the weight of that one.
    """

    __slots__ = ("sums",)

    by_weight = True
    schedule: Exhaustive

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place)
        self.sums = [1.0]

    def weigh_from(self, slot: int, position: int = 0) -> Iterator[T] | None:
        """Lay the rest of the block over the weights of the streams that are open now, changed from ``slot`` on."""
        del position  # where the block stands already
        if not self.schedule.open_slots:
            self.close()
            return None
        self.version = self.schedule.version
        sums, weights = self.sums, self.schedule.slot_weights
        if slot:
            sums[slot - 1 :] = accumulate(weights[slot:], initial=sums[slot - 1])
        else:
            sums[:] = accumulate(weights)
        if not sums[-1]:
            self.close()
            raise ValueError(
                f"stochastic_mux: weights({self.schedule.read}) is 0 for every open stream, so nothing can be drawn; "
                "keep the weight of a stream positive until it has ended"
            )
        slots = map(bisect_right, repeat(sums), map(mul, self.index, repeat(sums[-1])))
        self.items = map(next, map(self.slots.__getitem__, slots))
        return self.items

    def lay_from(self, draw: int) -> Iterator[T] | None:
        schedule = self.schedule
        if not schedule.open_slots:
            self.close()
            return None
        span = min(self.size, PERIOD - draw % PERIOD)
        schedule.reread(draw)
        self.draw, self.following = draw, draw + span
        self.fresh = -1
        self.block[:] = schedule.words["picks"].uniforms(draw, span).tolist()
        self.block.append(2.0)  # beyond every sum: the slot that is always empty
        self.seek(0)
        self.size = min(self.size * 4, draws.block_sizes[1])
        return self.weigh_from(0)


def _run(node: Node[T], place: Place) -> Running[T]:
    weighted = node.options["mode"] == "exhaustive" and node.options["weights"] is not None
    return (_Weighted if weighted else _Stochastic)(node, place)


def stochastic_mux(
    factories: Factories[T],
    n_active: int,
    rate: float | None,
    *,
    weights: Weights = None,
    mode: Literal["with_replacement", "single_active", "exhaustive"] = "with_replacement",
    dist: Literal["binomial", "constant", "poisson"] = "binomial",
    seed: int | None = None,
) -> Node[T]:
    """Draw from a working set of ``n_active`` open streams, each replaced by another after about ``rate`` items.

    In the modes that replace, the long-run share of stream ``i`` in the items is ``weights[i] / sum(weights)``, as
    long as streams outlast their quota. One that ends sooner is replaced sooner: with replacement, its share is in
    proportion to ``weights[i]`` times the mean of what it gives at a time; where no stream is open twice, somewhat
    more, since it comes back sooner. A stream that gives nothing when it is opened is left out from then on.

    Args:
        factories: ``k >= 1`` zero-argument callables, or a mapping of names to them. A lazy sequence is indexed only.
        n_active: the most streams open at a time, ``>= 1``. Streams of weight 0 shrink the set.
        rate: mean number of items that an activation gives, ``>= 1``, fractions allowed; ``None`` runs every stream to
            its end.
        weights: shape ``(k,)``, unitless, ``>= 0``, not all zero, divided by their sum; a mapping by name where
            ``factories`` is one; ``None`` for equal shares; a function of the number of draws so far, read at multiples
            of 1,024 draws, except in ``"single_active"``; a stream of weight 0 may have some later, but the mux ends
            where all that have weight have ended.
        mode: ``"with_replacement"`` activates by weight alone, so that a stream may be open twice;
            ``"single_active"`` has no stream open twice, and ones of weight above ``1 / n_active`` open all the time;
            ``"exhaustive"`` opens every stream of positive weight once, draws by the weights of the open ones, and
            ends.
        dist: the law of the number of items of an activation: ``"constant"``; ``"poisson"``, ``1 + Poisson(rate - 1)``;
            ``"binomial"``, ``1 + Binomial(m, 1 - 1 / n_active)``. Each has the mean ``rate``.
        seed: fixes the whole stream below this mux. ``None`` takes fresh entropy at each call.

    Raises:
        TypeError: when built, if an argument is of the wrong kind.
        ValueError: when built, if ``k == 0``, ``n_active < 1``, ``rate < 1``, ``weights`` do not fit, ``mode`` or
            ``dist`` is unknown, or, outside ``"with_replacement"``, ``n_active > k``.

    Source: McFee et al., pescador 3.0, ``StochasticMux``; Chen, Dempster and Liu, 1994, for ``"single_active"``.

    >>> from pescador_fn import take
    >>> files = [[name] * 100 for name in "abcd"]
    >>> mux = stochastic_mux([rows.__iter__ for rows in files], n_active=2, rate=3, seed=0)
    >>> "".join(take(mux, 20)())
    'ddadaaccacbbcccaaacc'
    """
    name = "stochastic_mux"
    parts = check_parts(name, factories)
    check_choice(name, "mode", mode, tuple(_MODES))
    check_choice(name, "dist", dist, ("binomial", "constant", "poisson"))
    n_active = check_count(name, "n_active", n_active, 1)
    if n_active > len(parts) and mode != "with_replacement":
        raise ValueError(
            f"{name}: n_active={n_active} but there are {len(parts)} factories; "
            f'use n_active <= {len(parts)}, or mode="with_replacement"'
        )
    if callable(weights) and mode == "single_active":
        raise ValueError(
            f'{name}: weights={weights!r} is a function, which mode="single_active" cannot follow; '
            'give fixed weights, or mode="with_replacement"'
        )
    return Node(
        stochastic_mux,
        _run,
        parts,
        n_active=n_active,
        rate=None if rate is None else check_number(name, "rate", rate, 1, 1e9),
        weights=check_weights(name, weights, parts),
        mode=mode,
        dist=dist,
        seed=check_seed(name, seed),
    )
