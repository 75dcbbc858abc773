"""Repeating items from a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pescador_fn.buffers import Drawing
from pescador_fn.errors import check_count, check_number
from pescador_fn.factory import Factory, Node
from pescador_fn.given import check_part
from pescador_fn.running import FOREVER
from pescador_fn.seeds import Place, check_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.drawing import Ints
    from pescador_fn.state import Loader, Saver

__all__ = ["cache"]

T = TypeVar("T")

_EMPTY: Any = object()


class _Cached(Drawing[T]):
    """A draw is a slot, or ``n_slots`` more than it where the slot is refreshed.

    Not ``~slot``: Python keeps its ints up to 256 ready-made, so that a small cache makes none.
    """

    __slots__ = ("holes", "kept")

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place, min(node.options["size"], FOREVER))  # draws stay within 64 bits
        self.kept: list[Any] = []  # by slot; as long as the draws that are laid will make it
        self.holes: set[int] = set()  # slots that an exception left empty, if nothing has filled them since

    def lay_block(self, size: int) -> None:
        self.kept += [_EMPTY] * (min(self.at + size, self.n_slots) - len(self.kept))
        super().lay_block(size)

    def codes(self, size: int) -> Ints:
        first, most = self.at, self.n_slots
        u = self.words.uniforms(2 * first, 2 * size).reshape(size, 2)
        codes = (u[:, 0] * most).astype(np.int64)
        codes += np.multiply(u[:, 1] < self.node.options["prob"], most, dtype=np.int64)
        filling = max(0, min(most - first, size))  # the first draws fill the slots in order
        codes[:filling] = most + np.arange(first, first + filling)
        return codes

    def filled(self, codes: Ints) -> Ints:
        return codes - self.n_slots

    def n_held(self, drawn: int) -> int:
        return min(drawn, self.n_slots)

    @property
    def beside(self) -> Any:
        """The slots that an exception left empty."""
        return [slot for slot in sorted(self.holes) if self.kept[slot] is _EMPTY]

    def draw(self) -> Iterator[T]:
        # One frame for all draws: half of them would need a call of their own. Nothing is lost with it.
        kept, n_slots, items, empty = self.kept, self.n_slots, self.items, _EMPTY
        assert items is not None
        for slot in self.index:
            if slot < n_slots:
                item = kept[slot]
                if item is not empty:
                    yield item
                    continue
            else:
                slot -= n_slots
            try:
                for item in items:  # noqa: B007 - as `next` does, without a call
                    break
                else:
                    self.over = True
                    return
            except BaseException as error:
                self.missed(slot, error)
                self.holes.add(slot)
                raise
            kept[slot] = item
            yield item

    def rest(self) -> Iterator[T] | None:
        return None

    @property
    def done(self) -> bool:
        return self.closed or (self.over and self.upstream.done)

    def save(self, saver: Saver) -> Any:
        del saver
        if self.past is not None:
            return [self.tape.newest(self.tape.last, self), *self.past[:2]]
        return [self.snapshot(), self.drawn, self.over]

    def load(self, state: Any, loader: Loader) -> None:
        found, *past = state
        self.past = [*past, self.tape.load(found, self, loader) or []]

    def catch_up(self) -> None:
        draws, over, empty = self.past
        self.at = self.tape.last
        held = self.n_held(self.at)
        self.kept += [None] * held  # and drawn again, all that matters of it
        self.holes.update(empty)
        for slot in empty:
            self.kept[slot] = _EMPTY
        self.draw_again(draws, over=over)


def cache(factory: Factory[T], size: int, prob: float = 0.5, *, seed: int | None = None) -> Node[T]:
    """Repeat items from a cache: fewer pulls than items, for sources that are slow.

    The first ``size`` items come in order. Each later one is a random slot of the cache, refreshed first with
    probability ``prob``. Ends with its source.

    Args:
        factory: of the items.
        size: slots of the cache, ``>= 1``.
        prob: the chance that a draw pulls a fresh item, from 0 (none after the first ``size``, so that the stream never
            ends) to 1 (all: the stream as it is).
        seed: fixes the whole stream below. ``None`` takes fresh entropy at each call.

    Raises:
        TypeError: when built, if an argument is of the wrong kind.
        ValueError: when built, if ``size < 1``, ``prob`` is not in [0, 1] or ``seed`` is negative.

    Source: McFee et al., pescador 3.0, ``maps.cache``.

    >>> from pescador_fn import take
    >>> list(take(cache(range(100).__iter__, 4, 0.5, seed=0), 12)())
    [0, 1, 2, 3, 4, 5, 6, 5, 7, 8, 9, 7]
    """
    return Node(
        cache,
        _Cached,
        check_part("cache", factory),
        size=check_count("cache", "size", size, 1),
        prob=check_number("cache", "prob", prob, 0, 1),
        seed=check_seed("cache", seed),
    )
