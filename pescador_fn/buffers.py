"""Buffers: shuffling and caching."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import pescador_fn.draws as draws
from pescador_fn.draws import Words
from pescador_fn.errors import check_count, check_number
from pescador_fn.factory import Factory, Node, check_part
from pescador_fn.items import ordinal
from pescador_fn.seeds import Place, check_seed
from pescador_fn.stream import FOREVER, Stage, flow

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cache", "shuffle"]

T = TypeVar("T")


class _Drawing(Stage[T]):
    """A stage that draws once for each item; its draws are numbered."""

    __slots__ = ("at", "index", "items", "over", "size", "words")

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place)
        self.words = Words(self.place, f"{node.build.__name__} {ordinal(node.build, node.of)}")
        self.at = 0  # draws before the block and in it
        self.index: Any = iter(())
        self.size = draws.block_sizes[0]
        self.items: Iterator[T] | None = None
        self.over = False  # whether a pull has found the end

    def __iter__(self) -> Iterator[T]:
        if self.items is None:
            self.items = iter(self.upstream)
        return flow(self.refill)

    def more(self) -> Iterator[T] | None:
        """Lay the draws on, until the stream below ends."""
        if self.over and not self.upstream.done:  # cut by a signal
            self.items = iter(self.upstream)
            self.over = False
        if not self.over and not self.index.__length_hint__():
            self.lay()
        return self.rest() if self.over else self.draw()

    def next_item(self) -> T:
        """The next item of the stream below."""
        assert self.items is not None
        try:
            return next(self.items)
        except StopIteration:
            self.over = True
            raise

    def next_draws(self, chances: int) -> Any:
        """Uniform numbers for the next draws, ``chances`` for each, in rows."""
        size = self.size
        self.size = min(size * 4, draws.block_sizes[1])
        self.at += size
        return self.words.uniforms((self.at - size) * chances, size * chances).reshape(size, chances)

    @property
    def drawn(self) -> int:
        """Draws so far."""
        return self.at - int(self.index.__length_hint__())

    def lay(self) -> None:
        """Set ``index`` to a block of draws."""
        raise NotImplementedError

    def draw(self) -> Iterator[T]:
        """The plumbing over ``index``."""
        raise NotImplementedError

    def rest(self) -> Iterator[T] | None:
        """What is handed out after the end of the stream below."""
        raise NotImplementedError


class _Shuffled(_Drawing[T]):
    __slots__ = ("buffer", "tail")

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place)
        self.buffer: list[T] = []  # one fewer than the size: the item in hand is the last
        self.tail: Any = None

    def lay(self) -> None:
        most = self.node.options["buffer_size"] - 1
        while len(self.buffer) < most and not self.over:
            self.cut = False
            try:
                self.buffer.extend(islice(self.items or (), most - len(self.buffer)))
                self.over = len(self.buffer) < most
            except StopIteration:  # raised by a function below; as everywhere, the end
                self.over = True
        self.cut = True
        if not self.over:
            self.index = iter((self.next_draws(1)[:, 0] * (most + 1)).astype(np.int64).tolist())

    def draw(self) -> Iterator[T]:
        return map(self.exchange, self.index)

    def exchange(self, slot: int) -> T:
        """Let one of the buffered items and the next one go; keep the others."""
        item = self.next_item()
        if slot == len(self.buffer):
            return item
        self.buffer[slot], item = item, self.buffer[slot]
        return item

    def rest(self) -> Iterator[T] | None:
        if self.tail is None:
            order = draws.permutation(self.words.uniforms(self.drawn, len(self.buffer))).tolist()
            self.tail = iter([self.buffer[k] for k in order])
            self.buffer = []
        return self.tail if self.tail.__length_hint__() else None

    @property
    def done(self) -> bool:
        return self.tail is not None and not self.tail.__length_hint__()


def shuffle(factory: Factory[T], buffer_size: int, *, seed: int | None = None) -> Node[T]:
    """Shuffle within a moving buffer: every item is swapped with a random one of ``buffer_size``, then the rest follow.

    Args:
        factory: of the items.
        buffer_size: items held, ``>= 1``. 1 changes nothing; the length of the stream or more makes every order equally
            likely.
        seed: fixes the whole stream below. ``None`` takes fresh entropy at each call.

    Raises:
        TypeError: when built, if an argument is of the wrong kind.
        ValueError: when built, if ``buffer_size < 1``.

    >>> list(shuffle(range(8).__iter__, 4, seed=0)())
    [2, 4, 0, 3, 5, 1, 7, 6]
    """
    size = check_count("shuffle", "buffer_size", buffer_size, 1)
    return Node(shuffle, _Shuffled, check_part("shuffle", factory), buffer_size=size, seed=check_seed("shuffle", seed))


class _Slots(dict[int, Any]):
    """Cached items by slot. A fresh draw of slot ``k`` is coded ``size + k``, which is never held, and so pulls.

    Not ``~k``: Python keeps its ints up to 256 ready-made, so that a small cache makes none.
    """

    __slots__ = ("size", "source")

    source: Iterator[Any]

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size: int = size

    def __missing__(self, code: int) -> Any:
        for item in self.source:  # as `next` does, without a call
            self[code - self.size if code >= self.size else code] = item
            return item
        raise StopIteration


class _Cached(_Drawing[T]):
    __slots__ = ("slots",)

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place)
        self.slots = _Slots(min(node.options["size"], FOREVER))  # codes stay within 64 bits

    def more(self) -> Iterator[T] | None:
        self.over = self.cut_short
        return super().more()

    @property
    def cut_short(self) -> bool:
        """Whether the plumbing has ended within a block, by a pull: an iterator that is exhausted has no position."""
        return self.at > 0 and len(self.index.__reduce__()) == 3

    def lay(self) -> None:
        size, first = self.slots.size, self.at
        u = self.next_draws(2)
        codes = (u[:, 0] * size).astype(np.int64)
        codes += np.multiply(u[:, 1] < self.node.options["prob"], size, dtype=np.int64)
        filling = max(0, min(size - first, len(codes)))  # the first draws fill the slots in order
        codes[:filling] = size + np.arange(first, first + filling)
        self.index = iter(codes.tolist())

    def draw(self) -> Iterator[T]:
        assert self.items is not None
        self.slots.source = self.items
        return map(self.slots.__getitem__, self.index)

    def rest(self) -> Iterator[T] | None:
        return None

    @property
    def done(self) -> bool:
        return self.cut_short and self.upstream.done


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
        ValueError: when built, if ``size < 1`` or ``prob`` is not in [0, 1].

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
