"""Several workers for one pipeline: its stages and schedules stay here, the streams of its muxes run ahead in them.

    consumer's thread                                          workers
    ┌───────────────────────────────────────┐ open, pull, want ┌────────┐
    │ stages ─ executor of a mux ─ Remote   │ ───────────────▶ │ crew   │
    │             │ foresee        ▲        │ ◀─────────────── ├────────┤
    │             └─ Ahead ────────┴─ Team  │     outcomes     │ crew   │
    └───────────────────────────────────────┘                  └────────┘

There is no thread here: when a stream that is pulled has nothing, all workers are listened to.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pescador_fn.below import begin
from pescador_fn.engines.ahead import Ahead, Part
from pescador_fn.engines.lane import SHUT
from pescador_fn.engines.notes import ABOUT
from pescador_fn.engines.split import Path, Split, Unit, rebuilt, units
from pescador_fn.factory import Node, Parts
from pescador_fn.running import Behind, Running, flow, raising
from pescador_fn.state import Loader, Saver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pescador_fn.engines.hands import Hand, Hands
    from pescador_fn.engines.remote import Remote
    from pescador_fn.seeds import Place

__all__ = ["Shared", "Team"]

T = TypeVar("T")

GRACE_S = 0.25  # for a stream to be closed, before its worker is ended


class Team:
    """The workers of one stream, and which of them has what.

    As a context, it is what may be half changed when a signal comes, or something fails: all is then begun again where
    it was delivered. What is raised where nothing is half done takes the mark off first.
    """

    def __init__(self, node: Node[Any], place: Place, hands: type[Hands]) -> None:
        self.node = node
        self.place = place
        self.n_workers: int = node.options["n_workers"]
        self.units: dict[Path, Unit] = dict(units(node.of))
        self.hands: Hands = hands(self)
        self.muxes: list[Ahead] = []
        self.cut: bool = False
        self.pulled: Remote[Any] | None = None  # what the executor is pulling, while it is looked ahead
        self.failure: BaseException | None = None  # why nothing can be made
        self.over: bool = False
        self.shut: bool = False  # by `shutdown`
        self.owner: int = os.getpid()

    def __enter__(self) -> Self:
        if self.owner != os.getpid():
            raise RuntimeError(
                "parallel: the stream was opened before a fork and belongs to the parent; call its factory again"
            )
        if self.cut:
            self.hands.abandon()
        self.cut = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.cut = False  # else as it was: a signal while this waits costs nothing

    def watch(self, path: Path, node: Node[Any], below: dict[int, Any], place: Place) -> Running[Any]:
        """Run a mux here whose streams run elsewhere."""
        unit = self.units[path]
        ahead = Ahead(self, path, unit, below)
        split = Split(len(node.of), below, lambda stream: Part(ahead, stream))
        mux: Node[Any] = Node(node.build, unit.node._run, Parts(split, node.of.names, node.of.by_name), **node.options)
        object.__setattr__(mux, "_described", node.described)
        object.__setattr__(mux, "_prepared", unit.node._prepared)
        running: Running[Any] = unit.node._run(mux, place)
        object.__setattr__(unit.node, "_prepared", mux._prepared)
        ahead.watch(running, self.node.options["open_ahead"])
        if not self.over:
            self.muxes = [other for other in self.muxes if not other.running.done] + [ahead]
        return running

    def begin(self) -> None:
        """Get ready, once: what was open is opened, and all that can be foreseen is begun."""
        self.place.key  # noqa: B018, it fixes the entropy of an unseeded root: every worker must draw the same
        self.hands.prepare()
        for ahead in self.muxes:
            for child in ahead.children.values():
                if child.hand is None:
                    self.post(child)
            ahead.plan()

    def post(self, child: Remote[Any]) -> Hand:
        """Give a stream to the worker that has the least to do."""
        hand = min(self.hands.all, key=lambda hand: hand.load)
        hand.open(child)
        return hand

    def open(self, child: Remote[Any]) -> None:
        """Wait until a stream is open, so that the mux sees one that does not open."""
        with self:
            ahead = child.ahead
            ahead.make_room(child)
            hand: Hand = child.hand or self.post(child)
            ahead.opened(child)
            if ahead.sight is None:  # a mux that has just been opened itself
                ahead.plan()
                ahead.stale = True
            while not child.opened:
                if self.over:
                    child.over = child.opened = True
                    return
                if child.failing and child.outcomes:
                    failed: Any = child.outcomes.popleft()
                    child.over = True
                    ahead.children.pop(child.key, None)
                    hand.forget(child)
                    self.cut = False
                    raise failed.box.pop()
                self.fetch(child)

    def fetch(self, child: Remote[Any], *, wanted: bool = True) -> None:
        """Wait for some outcomes and take them in."""
        if self.failure is not None:
            failure, self.failure, self.over = self.failure, None, True
            self.cut = False
            raise failure
        if self.over:
            child.over = True
            return
        if not self.shut:
            if wanted:
                child.hand.want(child)
            self.hands.exchange(child.hand)
        if self.shut:  # which may have come meanwhile, from another thread
            for ahead in self.muxes:
                for one in ahead.children.values():
                    one.let_go()
            self.cut = False
            raise RuntimeError(SHUT)

    def end(self, child: Remote[Any]) -> None:
        """Close a stream in its worker; one that does not stop is ended with it."""
        ahead = child.ahead
        if self.over or child.hand is None or ahead.children.pop(child.key, None) is not child:
            return
        with self:
            child.empty()
            if not child.closed and not child.complete:
                child.hand.drop(child)
            until = time.monotonic() + GRACE_S
            while not child.closed and not self.over and not self.shut and self.failure is None:
                if time.monotonic() > until:
                    child.hand.replace(child)
                    break
                self.fetch(child, wanted=False)
            child.hand.forget(child)
        late, child.late = child.late, None
        if late is not None:
            raise late

    def close(self) -> None:
        """Stop everything."""
        self.over = True
        if self.owner == os.getpid():
            if self.cut:  # a message may be half taken
                self.hands.abandon()
            if not self.shut:
                self.hands.take()
            late = None
            for ahead in self.muxes:
                ahead.running = None
                for child in ahead.children.values():
                    child.over = True
                    child.let_go()
                    late = late or (child.late if child.adopted else None)
            self.hands.stop()
            if late is not None:
                raise late


class Shared(Running[T]):
    """The consumer's side of a stream that several workers make."""

    __slots__ = ("begun", "laid", "place", "team", "upstream")

    def __init__(self, node: Node[T], place: Place, hands: type[Hands]) -> None:
        super().__init__()
        self.node = node
        self.place: Place = place
        self.team: Team = Team(node, place, hands)
        self.upstream: Running[Any] = begin(rebuilt(node.of, self.team.watch), place)
        self.begun: bool = False
        self.laid: bool = False  # whether the pipeline has been, so that `done` speaks of its end

    def __iter__(self) -> Iterator[T]:
        if not self.begun:
            with self.team:
                self.team.begin()
            self.begun = True
        return flow(self.refill)

    def more(self) -> Iterator[T] | None:
        """The pipeline; at its end its workers are free."""
        if self.team.shut:
            return raising(RuntimeError(SHUT))
        if self.laid and self.upstream.done:
            self.close()
            return None
        self.laid = True
        return iter(self.upstream)

    def broken(self) -> Iterator[T]:
        self.cut = False  # a signal came while `more` ran, which can be done again
        return iter(())

    @property
    def done(self) -> bool:
        return self.upstream.done

    def held(self) -> Iterable[Any]:
        return (self.upstream,)

    def about(self) -> dict[str, Any]:
        return ABOUT["parallel"]

    def save(self, saver: Saver) -> Any:
        """Where the pipeline stands; what was made ahead is no part of it."""
        if isinstance(self.upstream, Behind) and not self.upstream.stood:
            return self.upstream.state
        inner = Saver(verify=saver.verify)
        muxes = self.team.muxes
        try:
            at = inner.running(self.upstream)
        finally:  # a buffer tells where it began by a mux that is never opened
            for ahead in self.team.muxes:
                if ahead not in muxes:
                    ahead.running = None
            self.team.muxes = muxes
        return [{"stages": inner.stages, "at": at}, 0, False]

    def load(self, state: Any, loader: Loader) -> None:
        self.upstream = self.upstream.behind()
        self.upstream.load(state, loader)

    def close(self) -> None:
        team = self.team
        if not team.over:
            team.over = True
            try:
                self.upstream.close()
            finally:
                team.close()

    def __del__(self, is_late: Callable[[], bool] = sys.is_finalizing) -> None:
        if hasattr(self, "upstream") and not is_late():
            self.close()
