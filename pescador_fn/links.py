"""Where a chain of streams stands: which one is open, saved and opened again."""

from __future__ import annotations

from contextlib import suppress
from itertools import repeat
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

from pescador_fn.below import open_child
from pescador_fn.errors import ended_early
from pescador_fn.factory import Node, Parts
from pescador_fn.past import Past, save_child
from pescador_fn.running import EMPTY, FOREVER, Running
from pescador_fn.seeds import Place
from pescador_fn.state import Loader, Saver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Links"]

T = TypeVar("T")

_END = -2, None


class _Lazy:
    """Gets factories of a lazy sequence, and knows which one could not be had."""

    def __init__(self, items: Any) -> None:
        self.items: Any = items
        self.missing: int | None = None

    def __call__(self, index: int) -> tuple[int, Any]:
        try:
            return index, self.items[index]
        except Exception:
            self.missing = index
            raise


class Links(Running[T]):
    """The state of a chain.

    ``items`` counts what is given, at less cost than calls have: a generator, the common case, has given
    ``since - left()`` items, and an exception besides where its frame is gone. Of all else the ``calls`` are counted.
    """

    __slots__ = (
        "barren",
        "calls",
        "ended",
        "factories",
        "factory",
        "gave",
        "index",
        "items",
        "lazy",
        "left",
        "number",
        "outer",
        "owner",
        "past",
        "place",
        "pulls",
        "resumed",
        "running",
        "since",
    )

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__()
        self.node = node
        self.place: Place = place
        self.number: int = 0  # the pass
        self.index: int = -1  # of the open stream
        self.items: repeat[bool] = repeat(True, FOREVER)
        self.left: Callable[[], int] = self.items.__length_hint__
        self.since: int | None = None  # what was left when the open stream was opened, where it is a generator
        self.calls: Any = None  # of the open stream, where it is none
        self.owner: Any = None
        self.running: Running[T] | None = None
        self.factory: Any = EMPTY  # of the stream that is open, or being opened
        self.factories: Iterator[tuple[int, Any]] | None = None  # what is left of the pass
        self.lazy: _Lazy | None = None  # what gets them from a lazy sequence
        self.pulls: Any = repeat(None, FOREVER)  # of a factory of factories, in this pass
        self.outer: Any = None  # what has their `close`
        self.gave: bool = False
        self.barren: set[int] = set()  # what is left out of later passes
        self.ended: bool = False
        self.past: Any = None  # what a state says was open, until it is opened again
        self.resumed: bool = False

    def _label(self, index: int) -> object:
        of = self.node.of
        return of.label(index) if type(of) is Parts else index

    def _begin_pass(self, index: int) -> Iterator[tuple[int, Any]]:
        """The factories of the pass that come after ``index``, each with its index."""
        of = self.node.of
        if isinstance(of, Parts):
            after: Iterable[int] = range(index + 1, len(of))
            if type(of.items) is tuple and index < 0 and not self.barren:  # as below, at less cost
                return enumerate(of.items)
            alive = [index for index in after if index not in self.barren] if self.barren else after
            self.lazy = _Lazy(of.items)
            return map(self.lazy, alive)
        try:
            items, self.outer, _ = open_child(of, self.place, "factories", self.number)
        except Exception:
            self.ended = True  # what does not open has ended
            raise
        self.pulls = repeat(items, FOREVER)
        return enumerate(map(next, self.pulls))

    @property
    def opened(self) -> bool:
        """Whether the stream at the index is open, or was where it was saved."""
        return self.since is not None or self.calls is not None or self.past is not None

    @property
    def opening(self) -> bool:
        """Whether the stream at the index is being opened: a signal may come meanwhile."""
        return self.factory is not EMPTY and self.since is None and self.calls is None

    def save(self, saver: Saver) -> Any:
        key = self.node.of.key if type(self.node.of) is Parts else int
        before = self.index - self.opening  # a signal came while a stream was opened: it is to be opened yet
        index = key(before) if before >= 0 else None
        pulled = FOREVER - self.pulls.__length_hint__() - self.opening
        left_out = sorted(map(key, self.barren)) if type(self.node.of) is Parts else pulled
        return [self.number, index, self.gave, self.ended, left_out, self._save_open(saver)]

    def _save_open(self, saver: Saver) -> Any:
        """The open stream, and how often it was called; ``None`` also for a generator that has raised."""
        if self.ended:  # closed with what was open
            return None
        if isinstance(self.past, tuple):
            return [self.past[0].save(saver), self.past[1]]
        if self.past is not None:
            return self.past
        if self.since is not None:
            n = None if self.owner.gi_frame is None else self.since - self.left()
        else:
            n = None if self.calls is None else FOREVER - self.calls.__length_hint__()
        if n is None:
            return None
        place = self._place(self.index)
        if type(self.node.of) is Parts:
            return [save_child(saver, self.factory, place, self.running, n), n]
        inner = Saver(verify=saver.verify)  # what a factory of factories gives is known when it is pulled
        child = save_child(inner, self.factory, place, self.running, n)
        return {"stages": inner.stages, "at": child, "calls": n}

    def load(self, state: Any, loader: Loader) -> None:
        self.number, name, self.gave, self.ended, left_out, saved = state
        of = self.node.of
        self.index = -1
        if type(of) is not Parts:
            self.index, self.pulls = -1 if name is None else name, repeat(None, FOREVER - left_out)
            self.past = saved
        else:
            self.barren = set(loader.indices(of, left_out))
            if name is not None:
                self.index = loader.index(of, name)
            if saved is not None:
                self.past = self._past(of.items[self.index], saved[0], loader), saved[1]
        self.resumed = True

    def _pull_again(self, left: int) -> Any:
        """Bring a factory of factories to where ``left`` of its pulls are left; the last one that it gives."""
        self.factories, found = self._begin_pass(-1), (-1, None)
        while self.pulls.__length_hint__() > left and found is not _END:
            with suppress(Exception):  # as it was raised before
                found = next(self.factories, _END)
        if found[0] != self.index:
            raise ended_early("chain_mux", f"before factory {self.index}, which had been drawn from it")
        return found[1]

    def _place(self, index: int) -> Place:
        return Place(self.place, self._label(index), self.number)

    def _past(self, factory: Any, saved: Any, loader: Loader) -> Past:
        return Past(factory, self._place(self.index), saved, loader, self._label(self.index))

    def reopen(self) -> None:
        """Open again what a state says was open."""
        left = self.pulls.__length_hint__()
        if self.ended or (self.index < 0 and left == FOREVER):
            return
        of, factory, past = self.node.of, None, self.past
        if isinstance(of, Parts):
            self.factories = self._begin_pass(self.index)
            factory = of.items[self.index]
        else:
            factory = self._pull_again(left)
            if past is not None:
                loader = Loader(past["stages"])
                loader.path.append("chain_mux")
                past = self._past(factory, past["at"], loader), past["calls"]
        if past is not None:
            items, self.owner, self.running = past[0].open()
            # At once, without a call: Python looks for signals there.
            if type(items) is GeneratorType:
                since = self.left() + past[1]
                self.factory, self.since, self.gave = factory, since, True
            else:
                calls = repeat(items, FOREVER - past[1])
                self.factory, self.calls = factory, calls
        self.past = None
