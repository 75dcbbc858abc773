"""The mux without chance and without turns: chain."""

from __future__ import annotations

from functools import partial
from itertools import chain, compress, repeat
from types import BuiltinMethodType, FunctionType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pescador_fn.errors import check_choice
from pescador_fn.factory import Factories, Factory, Node, Parts, check_part, check_parts
from pescador_fn.stream import EMPTY, FOREVER, Opened, Running, adopt, close_all, open_child, raising

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pescador_fn.seeds import Place

__all__ = ["chain_mux"]

T = TypeVar("T")

_CALLED = {FunctionType, MethodType, BuiltinMethodType, partial}  # factories that are plainly no nodes


class _Chained(Running[T]):
    """The executor of `chain_mux`.

    Of a generator, the common case, the items are counted, by the one count that runs through all streams: it has given
    ``since - left()``, and an exception besides where its ``gi_frame`` is gone. Of all else the ``calls`` are counted.
    """

    __slots__ = (
        "barren",
        "calls",
        "cycles",
        "ended",
        "gave",
        "index",
        "items",
        "left",
        "number",
        "of",
        "outer",
        "owner",
        "pending",
        "place",
        "running",
        "since",
        "source",
    )

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__()
        self.of: Any = node.of
        self.cycles = node.options["mode"] == "cycle"
        self.place = place
        self.number = 0  # the pass
        self.index = -1  # of the open stream
        self.items = repeat(True, FOREVER)  # one less for each item
        self.left: Callable[[], int] = self.items.__length_hint__
        self.since: int | None = None  # what was left when the open stream was opened, where it is a generator
        self.calls: repeat[Iterator[T]] | None = None  # of the open stream, where it is none
        self.owner: Any = None
        self.running: Running[T] | None = None
        self.source: Iterator[tuple[int, Any]] | None = None  # the factories left of the pass
        self.outer: Any = None  # what has their `close`
        self.pending: tuple[int, Any] | None = None  # what is being opened
        self.gave = False
        self.barren: set[int] = set()
        self.ended = False

    def __iter__(self) -> Iterator[T]:
        return compress(chain.from_iterable(self._streams()), self.items)

    def _streams(self) -> Iterator[Iterable[T]]:
        """The plumbing of one stream after the other.

        A generator, since going on with one is cheaper than a call, and opening is most of what short streams cost. Its
        frame holds nothing that lasts, so that a signal may end it; one cannot come between two assignments.
        """
        kind = None
        head: Any
        if self.since is not None:  # cut by a signal
            yield self.owner or EMPTY
        while True:
            head = None
            quick = self.calls is None and self.pending is None and not self.cut
            while quick:
                head = self.owner = self.since = None  # a generator that has ended has nothing to close
                try:
                    for found in self.source or ():
                        self.pending = found
                        self.index, factory = found
                        if type(factory) is not kind:
                            if type(factory) not in _CALLED:
                                break
                            kind = type(factory)
                        made: Any = factory()
                        if type(made) is not GeneratorType:
                            head = self._opened(adopt(made, factory))
                            break
                        self.owner, self.since, self.pending = made, self.left(), None
                        for head in made:  # the first item, to know whether there is one
                            self.gave = True
                            head = (head,)
                            break
                        if head is not None:
                            break
                        self.barren.add(self.index)
                        self.owner = self.since = None
                except BaseException as error:
                    self.gave = self.gave or self.since is not None  # what raises is not barren
                    failed = self.pending is not None and isinstance(error, Exception)
                    head = raising(self._unopened(error) if failed else error)
                if self.since is None:
                    break
                yield head
                head = None
                yield self.owner or EMPTY  # a parent may have closed it
            head = head or self.refill()
            if head is None:
                return
            yield head

    def more(self) -> Iterator[T] | None:
        calls, running = self.calls, self.running
        if calls is not None and not self.ended:
            if running is not None and not running.done:  # cut by a signal
                self.calls = repeat(iter(running), calls.__length_hint__())
                return map(next, self.calls)
            if FOREVER - calls.__length_hint__() > 1:  # the last call is the one that found the end
                self.gave = True
            else:
                self.barren.add(self.index)
            owner, self.calls, self.owner, self.running = self.owner, None, None, None
            self.cut = False
            if owner is not None:
                owner.close()
            return EMPTY
        if self.pending is not None and not self.ended:  # a signal came while it was opened
            return self._open()
        while not self.ended:
            self.cut = False
            if self.source is None:
                self._begin_pass()
                return EMPTY
            for found in self.source:
                self.pending = found
                return self._open()
            self.cut = True
            self._next_pass()
        return None

    def _open(self) -> Iterator[T]:
        """The items of the next stream."""
        assert self.pending is not None
        self.index, factory = self.pending
        self.cut = False
        try:
            return self._opened(open_child(factory, self.place, self._label(self.index), self.number))
        except Exception as error:
            raise self._unopened(error)  # noqa: B904 - it is the same one, or hides it

    def _opened(self, opened: Opened) -> Iterator[T]:
        items, owner, running = opened
        calls: repeat[Iterator[T]] = repeat(items, FOREVER)
        self.calls, self.owner, self.running, self.pending = calls, owner, running, None
        return map(next, calls)

    def _unopened(self, error: BaseException) -> BaseException:
        """What to raise for a stream that does not open; it is left out of later passes."""
        assert self.pending is not None
        (index, factory), self.pending = self.pending, None
        self.barren.add(index)
        try:
            check_part("chain_mux", factory, f"factories[{self._label(index)!r}]")
        except TypeError as wrong:
            one = "a factory alone is one of factories: for one stream pass [factory]"
            error = wrong if type(self.of) is Parts else TypeError(f"{wrong}; {one}")
            error.__suppress_context__ = True
        return error

    def _label(self, index: int) -> object:
        return self.of.label(index) if type(self.of) is Parts else index

    def _next_pass(self) -> None:
        """Begin again, or end."""
        if not self.cycles or not self.gave:
            self.close()
        self.number += 1
        self.gave = False
        self.source = self.outer = None

    def _begin_pass(self) -> None:
        """Open the factories of the pass."""
        of = self.of
        if isinstance(of, Parts):
            alive = [index for index in range(len(of)) if index not in self.barren] if self.barren else range(len(of))
            self.source = zip(alive, map(of.items.__getitem__, alive), strict=True)
            return
        try:
            items, self.outer, _ = open_child(of, self.place, "factories", self.number)
        except Exception:
            self.ended = True  # what does not open has ended
            raise
        self.source = enumerate(items)

    @property
    def done(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True
        owners = [self.owner, self.outer]
        self.owner = self.since = self.source = self.outer = None
        close_all(owners)


def chain_mux(
    factories: Factories[T] | Factory[Factory[T]], *, mode: Literal["exhaustive", "cycle"] = "exhaustive"
) -> Node[T]:
    """Run ``factories`` one after the other, each opened when the one before has ended.

    Args:
        factories: a sequence of zero-argument callables, which may be empty; a mapping of names to them; or a factory
            of factories, which is pulled only as far as the streams are.
        mode: ``"exhaustive"`` ends after the last; ``"cycle"`` begins again, with other randomness. A pass that gives
            nothing is the last.

    Raises:
        TypeError: when built, if ``factories`` is of the wrong kind; when pulled, if a factory of factories gives
            something else.
        ValueError: when built, if ``mode`` is unknown.

    Source: McFee et al., pescador 3.0, ``ChainMux``.

    >>> list(chain_mux([[1, 2].__iter__, [3].__iter__])())
    [1, 2, 3]
    >>> pages = lambda: (range(n).__iter__ for n in [1, 2, 3])
    >>> list(chain_mux(pages)())
    [0, 0, 1, 0, 1, 2]
    """
    check_choice("chain_mux", "mode", mode, ("exhaustive", "cycle"))
    if callable(factories):
        return Node(chain_mux, _Chained, check_part("chain_mux", factories, "factories"), mode=mode)
    return Node(chain_mux, _Chained, check_parts("chain_mux", factories, least=0), mode=mode)
