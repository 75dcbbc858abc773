"""Muxes without chance: round robin and chain."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pescador_fn import draws
from pescador_fn.draws import Words
from pescador_fn.errors import check_choice
from pescador_fn.factory import Factories, Factory, Node, Parts, check_part, check_parts
from pescador_fn.loop import Loop, Slots
from pescador_fn.seeds import Place, check_seed
from pescador_fn.stream import EMPTY, FOREVER, Running, close_all, flow, open_child, raising

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["chain_mux", "round_robin_mux"]

T = TypeVar("T")


class _RoundRobin(Loop[T]):
    """The executor of `round_robin_mux`."""

    __slots__ = ("at", "barren", "gave", "gone", "mode", "node", "number", "place", "ring", "size", "slots")

    def __init__(self, node: Node[T], place: Place) -> None:
        self.node = node
        self.place = place.pinned(node.options["seed"])
        self.slots = Slots(node.of, self.place)
        super().__init__(self.slots)
        self.slots.left = self.left
        self.mode = node.options["mode"]
        self.size = draws.block_sizes[0]
        self.number = 0  # the pass
        self.ring: Sequence[int] = range(len(node.of))  # the streams of this pass, in order
        self.at = 0  # where in the ring the next block begins
        self.gone: set[int] = set()  # those of the ring that have ended in this round
        self.barren: set[int] = set()
        self.gave = False

    def refill(self) -> Iterator[T] | None:
        try:
            if self.ended:
                return None
            left = self.left()
            if not left:
                self._lay()
                return None if self.ended else self.items
            position = len(self.block) - left - 1
            index = self.block[position]
            if index in self.gone:
                return self.items
            if self.slots.mended(index):
                self.seek(position)
                return self.items
            self.gone.add(index)
            if self.slots.barren(index):
                self.barren.add(index)
            else:
                self.gave = True
            if len(self.gone) == len(self.ring):
                self.seek(len(self.block) - 1)
            self.slots.shut(index, EMPTY)
            return self.items
        except BaseException as error:
            return raising(error)

    def _lay(self) -> None:
        """Lay the next block: a part of a round, or some whole rounds."""
        if self.at >= len(self.ring):
            self.at = 0
        if not self.at and self.gone:
            self.ring = [index for index in self.ring if index not in self.gone]
            self.gone.clear()
            if not self.ring:
                self._next_pass()
                if self.ended:
                    return
        rounds = 1 if self.at else max(1, self.size // len(self.ring))
        indices = list(self.ring[self.at : self.at + self.size]) * rounds
        self.at += len(indices)
        self.size = min(self.size * 4, draws.block_sizes[1])
        self.slots.fresh = -1
        self.lay(indices)

    def _next_pass(self) -> None:
        """Begin again with every stream that is not barren."""
        self.ring = [index for index in range(len(self.node.of)) if index not in self.barren]
        if self.mode == "exhaustive" or not self.gave or not self.ring:
            self.close()
            return
        self.gave = False
        self.number += 1
        self.slots.begin(self.number)
        if self.mode == "permuted_cycle":
            words = Words(self.place, f"order {self.number}")
            order = draws.permutation(words.uniforms(0, len(self.node.of)))
            self.ring = [index for index in order.tolist() if index not in self.barren]

    def close(self) -> None:
        self.ended = True
        self.seek(len(self.block))
        self.slots.close()


def round_robin_mux(
    factories: Factories[T],
    *,
    mode: Literal["exhaustive", "cycle", "permuted_cycle"] = "exhaustive",
    seed: int | None = None,
) -> Node[T]:
    """Take one item from each of ``factories`` in turn.

    A stream that ends leaves the round.

    Args:
        factories: ``k >= 1`` zero-argument callables, or a mapping of names to them.
        mode: ``"exhaustive"`` ends when all streams have ended; ``"cycle"`` then opens all of them again, with other
            randomness; ``"permuted_cycle"`` does so in a new random order. A pass that gives nothing is the last.
        seed: fixes the whole stream below this mux. ``None`` takes fresh entropy at each call.

    Raises:
        TypeError: when built, if ``factories`` or ``seed`` are of the wrong kind.
        ValueError: when built, if ``k == 0`` or ``mode`` is unknown.

    Source: McFee et al., pescador 3.0, ``RoundRobinMux``.

    >>> "".join(round_robin_mux(["ab".__iter__, "cde".__iter__, "fghi".__iter__])())
    'acfbdgehi'
    """
    check_choice("round_robin_mux", "mode", mode, ("exhaustive", "cycle", "permuted_cycle"))
    parts = check_parts("round_robin_mux", factories)
    return Node(round_robin_mux, _RoundRobin, parts, mode=mode, seed=check_seed("round_robin_mux", seed))


class _Chained(Running[T]):
    """The executor of `chain_mux`."""

    __slots__ = ("barren", "calls", "close_outer", "ended", "gave", "index", "node", "number", "open", "outer", "place")

    def __init__(self, node: Node[T], place: Place) -> None:
        self.node = node
        self.place = place
        self.number = 0  # the pass
        self.index = -1  # of the open stream
        self.open: tuple[Callable[[], object] | None, Running[T] | None] | None = None
        self.calls: repeat[Iterator[T]] | None = None
        self.outer: Iterator[tuple[int, Any]] | None = None
        self.close_outer: Callable[[], object] | None = None
        self.gave = False
        self.barren: set[int] = set()
        self.ended = False

    def __iter__(self) -> Iterator[T]:
        return flow(self.refill)

    def refill(self) -> Iterator[T] | None:
        try:
            if self.open is not None and not self.ended:
                close, running = self.open
                if running is not None and not running.done:
                    self.calls = repeat(iter(running), FOREVER)
                    return map(next, self.calls)
                self._leave()
                if close is not None:
                    close()
            return None if self.ended else self._open_next()
        except BaseException as error:
            return raising(error)

    def _leave(self) -> None:
        """Note whether the stream that has ended gave anything: the last call is the one that found its end."""
        self.open = None
        if self.calls is not None and FOREVER - self.calls.__length_hint__() > 1:
            self.gave = True
        else:
            self.barren.add(self.index)

    def _open_next(self) -> Iterator[T] | None:
        while True:
            if self.outer is None:
                self.outer, self.close_outer = self._factories()
            found = next(self.outer, None)
            if found is None:
                if self.node.options["mode"] == "exhaustive" or not self.gave:
                    self.close()
                    return None
                self.number += 1
                self.gave = False
                self.outer = None
                continue
            self.index, factory = found
            self.barren.add(self.index)  # until it has opened
            label = self.node.of.label(self.index) if isinstance(self.node.of, Parts) else self.index
            items, close, running = open_child(
                check_part("chain_mux", factory, f"factories[{label!r}]"), self.place, label, self.number
            )
            self.barren.discard(self.index)
            self.open = close, running
            self.calls = repeat(items, FOREVER)
            return map(next, self.calls)

    def _factories(self) -> tuple[Iterator[tuple[int, Any]], Callable[[], object] | None]:
        """The factories of one pass with their indices."""
        of = self.node.of
        if isinstance(of, Parts):
            barren = self.barren  # not `self`, which would hold an iterator that holds it
            return ((index, of.items[index]) for index in range(len(of)) if index not in barren), None
        try:
            items, close, _ = open_child(of, self.place, "factories", self.number)
        except Exception:
            self.ended = True  # what does not open has ended
            raise
        return enumerate(items), close

    @property
    def done(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True
        opened, self.open = self.open, None
        closers = [self.close_outer] if opened is None else [self.close_outer, opened[0]]
        self.close_outer = None
        close_all(closers)


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
