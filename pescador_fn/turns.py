"""Muxes without chance: round robin and chain."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pescador_fn.draws as draws
from pescador_fn.draws import Words
from pescador_fn.errors import check_choice
from pescador_fn.factory import Factories, Factory, Node, Parts, check_part, check_parts
from pescador_fn.loop import Open
from pescador_fn.seeds import Place, check_seed
from pescador_fn.stream import EMPTY, FOREVER, Running, close_all, flow, open_child

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["chain_mux", "round_robin_mux"]

T = TypeVar("T")


class _RoundRobin(Open[T]):
    """The executor of `round_robin_mux`."""

    __slots__ = ("at", "barren", "gave", "gone", "mode", "node", "number", "place", "ring", "size")

    def __init__(self, node: Node[T], place: Place) -> None:
        self.node = node
        self.place = place.pinned(node.options["seed"])
        super().__init__(node, self.place)
        self.mode = node.options["mode"]
        self.size = draws.block_sizes[0]
        self.number = 0  # the pass
        self.ring: Sequence[int] = range(len(node.of))  # the streams of this pass, in order
        self.at = 0  # where in the ring the next block begins
        self.gone: set[int] = set()  # those of the ring that have ended in this round
        self.barren: set[int] = set()
        self.gave = False

    def more(self) -> Iterator[T] | None:
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
        self.cut = False
        mended = self.slots.mended(index)
        self.cut = True
        if mended:
            self.seek(position)
            return self.items
        self.gone.add(index)
        if self.slots.barren(index):
            self.barren.add(index)
        else:
            self.gave = True
        if len(self.gone) == len(self.ring):
            self.seek(len(self.block) - 1)
        owner = self.slots.shut(index, EMPTY)
        self.cut = False
        close_all([owner])
        return self.items

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
        if self.size == draws.block_sizes[1]:
            self.widen()
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

    __slots__ = (
        "barren",
        "calls",
        "cycles",
        "ended",
        "gave",
        "index",
        "number",
        "of",
        "outer",
        "owner",
        "pending",
        "place",
        "running",
    )

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__()
        self.of: Any = node.of
        self.cycles = node.options["mode"] == "cycle"
        self.place = place
        self.number = 0  # the pass
        self.index = -1  # of the open stream
        self.calls: repeat[Iterator[T]] | None = None  # of the open stream
        self.owner: Any = None
        self.running: Running[T] | None = None
        self.outer: tuple[Iterator[tuple[int, Any]], Any] | None = None  # the factories left of the pass
        self.pending: tuple[int, Any] | None = None  # what is being opened
        self.gave = False
        self.barren: set[int] = set()
        self.ended = False

    def __iter__(self) -> Iterator[T]:
        return flow(self.refill)

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
        if self.pending is not None and not self.ended:  # a signal came while it was opened
            self.cut = False
            return self._open(*self.pending)
        while not self.ended:
            if self.outer is None:
                self.cut = False
                self.outer = self._factories()
            self.cut = False
            for found in self.outer[0]:
                self.pending = found
                return self._open(*found)
            self.cut = True
            self._next_pass()
        return None

    def _open(self, index: int, factory: Any) -> Iterator[T]:
        """The items of the next stream; one that does not open is left out of later passes."""
        self.index = index
        label = index if type(self.of) is not Parts or self.of.names is None else self.of.names[index]
        try:
            items, self.owner, self.running = open_child(factory, self.place, label, self.number)
        except Exception:
            self.barren.add(index)
            self.pending = None
            try:
                check_part("chain_mux", factory, f"factories[{label!r}]")
            except TypeError as error:
                one = (
                    ""
                    if type(self.of) is Parts
                    else "; a factory alone is one of factories: for one stream pass [factory]"
                )
                raise TypeError(f"{error}{one}") from None
            raise
        self.cut = True
        self.pending = None
        self.calls = calls = repeat(items, FOREVER)
        return map(next, calls)

    def _next_pass(self) -> None:
        """Begin again, or end."""
        if not self.cycles or not self.gave:
            self.close()
        self.number += 1
        self.gave = False
        self.outer = None

    def _factories(self) -> tuple[Iterator[tuple[int, Any]], Any]:
        """The factories of one pass with their indices, and what has their `close`."""
        of = self.of
        if isinstance(of, Parts):
            alive = [index for index in range(len(of)) if index not in self.barren] if self.barren else range(len(of))
            return zip(alive, map(of.items.__getitem__, alive), strict=True), None
        try:
            items, owner, _ = open_child(of, self.place, "factories", self.number)
        except Exception:
            self.ended = True  # what does not open has ended
            raise
        return enumerate(items), owner

    @property
    def done(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True
        owners = [self.owner, None if self.outer is None else self.outer[1]]
        self.owner = self.outer = None
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
