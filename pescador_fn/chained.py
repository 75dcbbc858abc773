"""The executor of `chain_mux`: streams one after the other."""

from __future__ import annotations

from functools import partial
from itertools import chain, compress, repeat
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

from pescador_fn.below import OWN, adopt, stopped
from pescador_fn.factory import Parts
from pescador_fn.given import check_part
from pescador_fn.links import Links
from pescador_fn.running import EMPTY, FOREVER, close_all, raising
from pescador_fn.seeds import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Chained"]

T = TypeVar("T")


class Chained(Links[T]):
    """The executor of `chain_mux`.

    C goes from one stream to the next, and asks `streams`, one frame that gives them, where one has ended:

        compress(chain.from_iterable(streams), items)

    ``items`` is endless, and counts.
    """

    __slots__ = ()

    calls: Any
    factory: Any
    gave: bool
    index: int
    number: int
    outer: Any
    owner: Any
    past: Any
    pulls: Any

    def __iter__(self) -> Iterator[T]:
        if self.resumed:
            try:
                self.reopen()
            except Exception:  # what does not open again has ended, as under any stage
                self.past = None
                self.close()
                raise
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
                    self.index, self.factory, self.since = index, factory, None
                    again = None
                    # From here on, `open_child` without its calls; of what is plain, nothing is asked.
                    kind = type(factory)
                    if kind is partial or not OWN[kind]:
                        since = left()
                        made = factory()
                        if type(made) is GeneratorType:
                            self.owner, self.since = made, since
                            for item in made:  # the first, to know whether there is one
                                self.gave = True
                                yield (item,)
                                item = None  # it is not kept for as long as the stream lasts
                                yield made
                                break
                            else:
                                self._leave_out(index)
                            continue
                        items, owner, running = adopt(made, factory)
                    else:
                        items, owner, running = factory._begin(Place(self.place, self._label(index), self.number))
                    self.calls, self.owner, self.running = repeat(items, FOREVER), owner, running
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
            self._leave_out(self.index)
        else:
            self.gave = True
        owner = self.owner
        self.calls = self.owner = self.running = None
        self.factory = EMPTY
        if owner is not None:
            owner.close()

    def _leave_out(self, index: int) -> None:
        """Open a stream no more; a factory of factories has others in each pass."""
        if type(self.node.of) is Parts:
            self.barren.add(index)

    def _unopened(self, error: Exception) -> Exception:
        """What to raise for a stream that does not open, which is left out; or for another error."""
        if self.lazy is not None and self.lazy.missing is not None:
            self.barren.add(self.lazy.missing)
            self.lazy.missing = None
            return error
        if not self.opening:
            self.gave = self.gave or self.since is not None  # what raises is not barren
            return error
        index, factory = self.index, self.factory
        self.factory = EMPTY
        self._leave_out(index)
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
        self.index = -1
        self.gave = False
        self.factories = self.outer = None
        self.pulls = repeat(None, FOREVER)

    @property
    def done(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True
        owners = [self.owner, self.outer]
        self.owner = self.since = self.outer = None
        self.factory = EMPTY
        close_all(owners)

    def held(self) -> Iterable[Any]:
        return self.owner, self.outer
