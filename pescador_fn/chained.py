"""The executor of `chain_mux`: streams one after the other."""

from __future__ import annotations

from collections import deque
from itertools import chain, compress, islice, repeat
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

from pescador_fn.below import PLAIN, adopt, open_child, stopped
from pescador_fn.factory import Node, Parts
from pescador_fn.given import check_part
from pescador_fn.past import Past, save_child
from pescador_fn.running import FOREVER, Running, close_all, raising
from pescador_fn.seeds import Place
from pescador_fn.state import Loader, Saver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Chained"]

T = TypeVar("T")


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


class Chained(Running[T]):
    """The executor of `chain_mux`.

    C goes from one stream to the next, and asks `streams`, one frame that gives them, where one has ended:

        compress(chain.from_iterable(streams), items)

    ``items`` is endless and counts, at less cost than calls have: a generator, the common case, has given
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
        "opening",
        "outer",
        "owner",
        "past",
        "place",
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
        self.factory: Any = None  # of the open stream
        self.factories: Iterator[tuple[int, Any]] | None = None  # what is left of the pass
        self.lazy: _Lazy | None = None  # what gets them from a lazy sequence
        self.outer: Any = None  # what has their `close`
        self.opening: bool = False  # whether the stream at the index is being opened
        self.gave: bool = False
        self.barren: set[int] = set()
        self.ended: bool = False
        self.past: Any = None  # what a state says was open, until it is opened again
        self.resumed: bool = False

    def __iter__(self) -> Iterator[T]:
        if self.resumed:
            self.reopen()
            self.resumed = False
        return compress(chain.from_iterable(self.streams()), self.items)

    def streams(self) -> Iterator[Iterable[T]]:
        """What is left of the stream that is open, and those that come after it; it raises signals only."""
        left, again = self.left, (self.index, self.factory) if self.opening else None
        while not self.ended:
            try:
                if self.since is not None:
                    yield self.owner
                elif self.calls is not None:
                    yield from self._counted()
                if self.factories is None:
                    self.factories = self._begin_pass(-1)
                for index, factory in chain([again], self.factories) if again else self.factories:
                    self.index, self.factory, self.opening = index, factory, True
                    self.since = again = None
                    # From here on, `open_child` without its calls; of what is plain, nothing is asked.
                    begin_at = None if type(factory) in PLAIN else getattr(factory, "_begin", None)
                    if begin_at is None:
                        since = left()
                        made = factory()
                        if type(made) is GeneratorType:
                            self.owner, self.since, self.opening = made, since, False
                            for item in made:  # the first, to know whether there is one
                                self.gave = True
                                yield (item,)
                                item = None  # it is not kept for as long as the stream lasts
                                yield made
                                break
                            else:
                                self.barren.add(index)
                            continue
                        items, owner, running = adopt(made, factory)
                    else:
                        items, owner, running = begin_at(Place(self.place, self._label(index), self.number))
                    self.calls, self.owner, self.running, self.opening = repeat(items, FOREVER), owner, running, False
                    yield from self._counted()
                again = None
                self._next_pass()
                continue
            except Exception as error:
                again = None
                failed = raising(self._unopened(error))
            yield failed

    def _counted(self) -> Iterator[Iterator[T]]:
        """The stream whose calls are counted, until it ends."""
        yield map(next, self.calls)
        while self.running is not None and not self.running.done:  # its plumbing was cut by a signal
            self.calls = repeat(iter(self.running), self.calls.__length_hint__())
            yield map(next, self.calls)
        if self.calls.__length_hint__() == FOREVER - 1:  # one call, and that found the end
            self.barren.add(self.index)
        else:
            self.gave = True
        owner = self.owner
        self.calls = self.owner = self.running = None
        if owner is not None:
            owner.close()

    def _label(self, index: int) -> object:
        of = self.node.of
        return of.label(index) if type(of) is Parts else index

    def _unopened(self, error: Exception) -> Exception:
        """What to raise for a stream that does not open, which is left out of later passes; or for another error."""
        if self.lazy is not None and self.lazy.missing is not None:
            self.barren.add(self.lazy.missing)
            self.lazy.missing = None
            return error
        if not self.opening:
            self.gave = self.gave or self.since is not None  # what raises is not barren
            return error
        self.opening = False
        self.barren.add(self.index)
        index, factory = self.index, self.factory
        try:
            check_part("chain_mux", factory, f"factories[{self._label(index)!r}]")
        except TypeError as wrong:
            one = "a factory alone is one of factories: for one stream pass [factory]"
            error = wrong if type(self.node.of) is Parts else TypeError(f"{wrong}; {one}")
            error.__suppress_context__ = True
        if isinstance(error, StopIteration):
            cause, error = error, stopped(factory)
            error.__cause__ = cause
        return error

    def _next_pass(self) -> None:
        """Begin again, or end."""
        if self.node.options["mode"] != "cycle" or not self.gave:
            self.close()
        self.number += 1
        self.gave = False
        self.factories = self.outer = None

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
        return enumerate(items)

    @property
    def opened(self) -> bool:
        """Whether the stream at the index is open, or was where it was saved."""
        return self.since is not None or self.calls is not None or self.past is not None

    @property
    def done(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True
        owners = [self.owner, self.outer]
        self.owner = self.since = self.outer = None
        close_all(owners)

    def held(self) -> Iterable[Any]:
        return self.owner, self.outer

    def save(self, saver: Saver) -> Any:
        key = self.node.of.key if type(self.node.of) is Parts else int
        before = self.index - self.opening  # a signal came while a stream was opened: it is to be opened yet
        index = key(before) if before >= 0 else None
        return [self.number, index, self.gave, self.ended, sorted(map(key, self.barren)), self._save_open(saver)]

    def _save_open(self, saver: Saver) -> Any:
        """The open stream, and how often it was called; ``None`` also for a generator that has raised."""
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
        self.number, name, self.gave, self.ended, barren, saved = state
        of = self.node.of
        self.index = -1
        if type(of) is not Parts:
            self.index, self.barren = -1 if name is None else name, set(barren)
            self.past = saved
        else:
            self.barren = set(loader.indices(of, barren))
            if name is not None:
                self.index = loader.index(of, name)
            if saved is not None:
                self.past = self._past(of.items[self.index], saved[0], loader), saved[1]
        self.resumed = True

    def _place(self, index: int) -> Place:
        return Place(self.place, self._label(index), self.number)

    def _past(self, factory: Any, saved: Any, loader: Loader) -> Past:
        return Past(factory, self._place(self.index), saved, loader, self._label(self.index))

    def reopen(self) -> None:
        """Open again what a state says was open."""
        if self.ended or self.index < 0:
            return
        of, factory, past = self.node.of, None, self.past
        if isinstance(of, Parts):
            self.factories = self._begin_pass(self.index)
            factory = of.items[self.index]
        else:
            self.factories = self._begin_pass(-1)
            factory = deque(islice(self.factories, self.index + 1), maxlen=1).pop()[1]
            if past is not None:
                loader = Loader(past["stages"])
                loader.path.append("chain_mux")
                past = self._past(factory, past["at"], loader), past["calls"]
        if past is not None:
            items, self.owner, self.running = past[0].open()
            self.factory = factory
            if type(items) is GeneratorType:
                self.since = self.left() + past[1]
                self.gave = True
            else:
                self.calls = repeat(items, FOREVER - past[1])
        self.past = None
