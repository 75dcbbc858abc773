"""Which part of a pipeline several workers can share: the streams of its muxes.

    batch ─ map_items(fn) ─ shuffled_mux ┬─ stochastic_mux ┬─ a ┐            batch ─ map ─ shuffled ┬─ stochastic ┬─ ▢
                                         │                 └─ b ┤  ──▶         (moved)              │             └─ ▢
                                         └─ stochastic_mux ─ c ─┘                                   └─ stochastic ─ ▢

The stages and the schedules stay where they are, the streams of the user's run elsewhere (▢), and functions that are
called item by item go along with them: over a mux they are the same as over its streams. Of a mux whose streams are all
open the streams that are muxes in their turn are split too; one that opens and closes its streams is split by these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pescador_fn.below import Stage
from pescador_fn.cycling import cycle
from pescador_fn.errors import show
from pescador_fn.factory import Data, Node, Parts
from pescador_fn.items import map_items, take
from pescador_fn.keys import keras_tuples, tuples
from pescador_fn.legible import named
from pescador_fn.mux import shuffled_mux
from pescador_fn.shape import seeded
from pescador_fn.state import ELSEWHERE
from pescador_fn.turns import round_robin_mux

if TYPE_CHECKING:
    from pescador_fn.running import Running
    from pescador_fn.seeds import Place

__all__ = ["Path", "Unit", "check_splits", "rebuilt", "units"]

T = TypeVar("T")

Path = tuple[int, ...]  # the way to a mux: which of the streams of the muxes above it
Function = Callable[[Any], Any]

_BY_ITEM = (map_items, tuples, keras_tuples)
_CLEAR = (take, cycle, seeded)  # stages that a function by item may pass
_ALL_OPEN = (shuffled_mux, round_robin_mux)


class Unit(NamedTuple):
    """One mux that is split, and what is called on the items of its streams, in this order."""

    node: Node[Any]
    functions: tuple[Function, ...]


def _function(node: Node[Any]) -> Function:
    """What a stage by item calls."""
    if node.build is map_items:
        fn: Function = node.options["fn"]
        return fn
    run: Any = node._run
    stage = run.__new__(run)  # without the stream below it
    stage.node = node
    pick: Function = stage.picker()
    return pick


def _is_mux(factory: Any) -> bool:
    return isinstance(factory, Node) and isinstance(factory.of, Parts)


def _mux_below(factory: Any) -> Node[Any] | None:
    """The first mux below some stages, if there is one."""
    while isinstance(factory, Node) and not _is_mux(factory):
        if factory.build.__name__ in ELSEWHERE or isinstance(factory.of, Data):
            return None
        factory = factory.of
    return factory if isinstance(factory, Node) else None


def check_splits(function: str, factory: Any, n_workers: int) -> None:
    """That there is a mux to split.

    Raises:
        ValueError: if there is none; it says what could be done.
    """
    if _mux_below(factory) is not None:
        return
    at, above = factory, ""
    while isinstance(at, Node) and not isinstance(at.of, Data) and at.build.__name__ not in ELSEWHERE:
        above, at = f"{at.build.__name__} over ", at.of
    what = "a mux of a factory of factories" if above.startswith("chain_mux") else named(at, 40)
    raise ValueError(
        f"{function}: n_workers={n_workers}, but {show(factory)} cannot be shared by several workers: "
        f"{above}{what} is one stream, whose items come one after the other; "
        f"divide it into streams below a mux, or use n_workers=1"
    )


def units(factory: Any, path: Path = (), functions: tuple[Function, ...] = ()) -> Iterator[tuple[Path, Unit]]:
    """Every mux that is split, with the way to it."""
    while isinstance(factory, Node) and not _is_mux(factory):
        if factory.build in _BY_ITEM:
            functions = (_function(factory), *functions)
        elif factory.build not in _CLEAR:
            functions = ()
        factory = factory.of
    yield path, Unit(factory, functions)
    for index in _descended(factory):
        yield from units(factory.of.items[index], (*path, index), functions)


def _descended(mux: Node[Any]) -> list[int]:
    """The streams of a mux that are split in their turn."""
    if mux.build not in _ALL_OPEN or not isinstance(mux.of.items, tuple):
        return []
    return [index for index, part in enumerate(mux.of.items) if _is_clear(part)]


def rebuilt(factory: Any, watch: Callable[[Path, Node[Any], Any, Place], Running[Any]], path: Path = ()) -> Node[Any]:
    """The pipeline with ``watch(path, mux, descended, place)`` in the place of what runs each mux that is split."""
    if _is_mux(factory):
        below = {index: rebuilt(factory.of.items[index], watch, (*path, index)) for index in _descended(factory)}
        return _like(factory, lambda node, place: watch(path, node, below, place), factory.of)
    moved = factory.build in _BY_ITEM and _is_clear(factory.of)
    return _like(factory, _Moved if moved else factory._run, rebuilt(factory.of, watch, path))


def _is_clear(factory: Any) -> bool:
    """Whether a function by item goes from above this down to a mux."""
    while isinstance(factory, Node) and not _is_mux(factory):
        if factory.build not in (*_BY_ITEM, *_CLEAR):
            return False
        factory = factory.of
    return isinstance(factory, Node)


def _like(node: Node[Any], run: Any, of: Any) -> Node[Any]:
    """A node that is the same to states, and runs otherwise."""
    found: Node[Any] = Node(node.build, run, of, **node.options)
    object.__setattr__(found, "_described", node.described)
    object.__setattr__(found, "_prepared", node._prepared)
    return found


class _Moved(Stage[T]):
    """A stage by item whose function is called where the items are made."""

    __slots__ = ()

    def __iter__(self) -> Iterator[T]:
        return iter(self.upstream)


class Split(Sequence[Any]):
    """The factories of a mux that is split, each made when it is asked for."""

    def __init__(self, count: int, below: dict[int, Any], make: Callable[[int], Any]) -> None:
        self.n = count
        self.below = below
        self.make = make

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        return self.below.get(index) or self.make(index)
