"""Buffers: shuffling and caching."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import pescador_fn.drawing as drawing
from pescador_fn.drawing import Ints, Words
from pescador_fn.errors import check_count, check_number
from pescador_fn.factory import Factory, Node, check_part
from pescador_fn.items import ordinal
from pescador_fn.seeds import Place, check_seed
from pescador_fn.stream import FOREVER, Stage, flow
from pescador_fn.tape import Ages, Tape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.state import Loader, Saver

__all__ = ["cache", "shuffle"]

T = TypeVar("T")


class _Drawing(Stage[T]):
    """A stage that draws once for each item; its draws are numbered.

    Where it is resumed it draws again, from a snapshot of the stream below on; what the buffer held then has gone since.
    """

    __slots__ = ("ages", "at", "index", "items", "n_slots", "over", "past", "size", "tape", "words")

    def __init__(self, node: Node[T], place: Place, n_slots: int) -> None:
        super().__init__(node, place)
        self.words = Words(self.place, f"{node.build.__name__} {ordinal(node.build, node.of)}")
        self.at = 0  # draws before the block and in it
        self.index: Any = iter(())
        self.size = drawing.block_sizes[0]
        self.items: Iterator[T] | None = None
        self.over = False  # whether a pull has found the end
        self.n_slots = n_slots
        self.ages = Ages()
        self.tape = Tape()
        self.past: Any = None  # what to draw again, until it is opened

    def __iter__(self) -> Iterator[T]:
        if self.items is None:
            self.items = self.tape.begin(self.upstream)
            if self.past is not None:
                self.catch_up(*self.past)
                self.past = None
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

    def lay(self) -> None:
        """Set ``index`` to a block of draws."""
        if self.tape.is_due(self.at, self.n_slots or 1):
            self.tape.note(self.at, self.upstream, self.beside)
            self.tape.prune(self.oldest)
        self.lay_block(self.size)
        self.size = min(self.size * 4, drawing.block_sizes[1])

    def lay_block(self, size: int) -> None:
        """Set ``index`` to the next draws."""
        codes = self.codes(size)
        self.ages.lay(self.filled(codes), self.at)
        self.index = iter(codes.tolist())
        self.at += size

    def draw_again(self, draws: int) -> None:
        """Draw on, up to a number of draws; exceptions come as they came, and items are dropped."""
        while self.at < draws:
            self.lay_block(min(draws - self.at, drawing.block_sizes[1]))
            while self.index.__length_hint__() and not self.over:
                with suppress(Exception):
                    deque(self.draw(), maxlen=0)
        next(self.index, None)  # after an exception it is at its end, and not exhausted

    @property
    def drawn(self) -> int:
        """Draws so far."""
        return self.at - int(self.index.__length_hint__())

    @property
    def oldest(self) -> int:
        """The draw that what is longest in the buffer came with; -1 where that was before all draws."""
        return self.ages.oldest(self.drawn - self.ages.first, self.n_held(self.drawn))

    def n_held(self, drawn: int) -> int:
        """How many slots hold an item."""
        raise NotImplementedError

    @property
    def beside(self) -> Any:
        """What to note beside a snapshot."""
        return None

    def codes(self, size: int) -> Ints:
        """The next draws."""
        raise NotImplementedError

    def filled(self, codes: Ints) -> Ints:
        """The slot that each draw fills, -1 for none."""
        raise NotImplementedError

    def draw(self) -> Iterator[T]:
        """The plumbing over ``index``."""
        raise NotImplementedError

    def rest(self) -> Iterator[T] | None:
        """What is handed out after the end of the stream below."""
        raise NotImplementedError

    def catch_up(self, *past: Any) -> None:
        """Come to where the saved stream was, from the snapshot on."""
        raise NotImplementedError


class _Shuffled(_Drawing[T]):
    __slots__ = ("buffer", "calls", "n_tail", "tail")

    def __init__(self, node: Node[T], place: Place) -> None:
        self.buffer: list[T] = []  # one fewer than the size: the item in hand is the last
        self.calls = 0  # of the stream below, to fill the buffer
        self.tail: Any = None
        self.n_tail = 0
        super().__init__(node, place, node.options["buffer_size"] - 1)

    def lay(self) -> None:
        most = self.n_slots
        while len(self.buffer) < most and not self.over:
            self.cut = False
            before = len(self.buffer)
            try:
                self.buffer.extend(islice(self.items or (), most - before))
                self.over = len(self.buffer) < most
            except StopIteration:  # raised by a function below; as everywhere, the end
                self.over = True
            except Exception:
                self.calls += 1
                raise
            finally:
                self.calls += len(self.buffer) - before + self.over
        self.cut = True
        if not self.over:
            super().lay()

    def codes(self, size: int) -> Ints:
        return (self.words.uniforms(self.at, size) * (self.n_slots + 1)).astype(np.int64)

    def filled(self, codes: Ints) -> Ints:
        return np.where(codes < self.n_slots, codes, -1)

    def n_held(self, drawn: int) -> int:
        del drawn
        return len(self.buffer) if self.tail is None else self.n_tail

    def draw(self) -> Iterator[T]:
        return map(self.exchange, self.index)

    def exchange(self, slot: int) -> T:
        """Let one of the buffered items and the next one go; keep the others."""
        try:
            item = self.next_item()
        except Exception:
            self.ages.missed.add(slot)
            raise
        if slot == len(self.buffer):
            return item
        self.buffer[slot], item = item, self.buffer[slot]
        return item

    def rest(self) -> Iterator[T] | None:
        if self.tail is None:
            order = drawing.permutation(self.words.uniforms(self.drawn, len(self.buffer))).tolist()
            self.tail = iter([self.buffer[k] for k in order])
            self.n_tail = len(order)
            self.buffer = []
        return self.tail if self.tail.__length_hint__() else None

    @property
    def done(self) -> bool:
        return self.tail is not None and not self.tail.__length_hint__()

    def save(self, saver: Saver) -> Any:
        del saver  # a snapshot speaks for itself
        if self.past is not None:
            return [self.tape.newest(self.tape.last), *self.past]
        given = None if self.tail is None else self.n_tail - self.tail.__length_hint__()
        return [self.tape.newest(self.oldest), self.drawn, self.calls, self.over, given]

    def load(self, state: Any, loader: Loader) -> None:
        found, *self.past = state
        self.tape.load(found, self.upstream, loader)

    def catch_up(self, draws: int, calls: int, over: bool, given: int | None) -> None:
        self.calls = calls
        self.at = self.tape.last
        if self.at:
            self.buffer = [None] * self.n_slots  # type: ignore[list-item] - all are exchanged again
        else:
            again: Any = repeat(self.items, calls)
            while again.__length_hint__():
                with suppress(Exception):
                    self.buffer.extend(map(next, again))
                    break
        self.draw_again(draws)
        self.over = over
        if given is not None:
            self.rest()
            deque(islice(self.tail, given), maxlen=0)


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

    __slots__ = ("ages", "size", "source")

    source: Iterator[Any]

    def __init__(self, size: int, ages: Ages) -> None:
        super().__init__()
        self.size: int = size
        self.ages: Ages = ages

    def __missing__(self, code: int) -> Any:
        slot = code - self.size if code >= self.size else code
        try:
            for item in self.source:  # as `next` does, without a call
                self[slot] = item
                return item
        except Exception:
            self.ages.missed.add(slot)
            raise
        raise StopIteration


class _Cached(_Drawing[T]):
    __slots__ = ("ended", "slots")

    def __init__(self, node: Node[T], place: Place) -> None:
        size = min(node.options["size"], FOREVER)  # codes stay within 64 bits
        self.ended = False  # before it was saved
        super().__init__(node, place, size)
        self.slots = _Slots(size, self.ages)

    def more(self) -> Iterator[T] | None:
        self.over = self.ended or self.cut_short
        return super().more()

    @property
    def cut_short(self) -> bool:
        """Whether the plumbing has ended within a block, by a pull: an iterator that is exhausted has no position."""
        return self.at > 0 and len(self.index.__reduce__()) == 3

    def codes(self, size: int) -> Ints:
        first, most = self.at, self.n_slots
        u = self.words.uniforms(2 * first, 2 * size).reshape(size, 2)
        codes = (u[:, 0] * most).astype(np.int64)
        codes += np.multiply(u[:, 1] < self.node.options["prob"], most, dtype=np.int64)
        filling = max(0, min(most - first, size))  # the first draws fill the slots in order
        codes[:filling] = most + np.arange(first, first + filling)
        return codes

    def filled(self, codes: Ints) -> Ints:
        return np.where(codes >= self.n_slots, codes - self.n_slots, -1)

    def n_held(self, drawn: int) -> int:
        return min(drawn, self.n_slots)

    @property
    def beside(self) -> Any:
        """The slots that an exception left empty."""
        held = range(self.n_held(self.at))
        return [slot for slot in held if slot not in self.slots] if len(self.slots) < len(held) else []

    def draw(self) -> Iterator[T]:
        assert self.items is not None
        self.slots.source = self.items
        return map(self.slots.__getitem__, self.index)

    def rest(self) -> Iterator[T] | None:
        return None

    @property
    def done(self) -> bool:
        return (self.ended or self.cut_short) and self.upstream.done

    def save(self, saver: Saver) -> Any:
        del saver
        if self.past is not None:
            return [self.tape.newest(self.tape.last), *self.past[:2]]
        return [self.tape.newest(self.oldest), self.drawn, self.over]

    def load(self, state: Any, loader: Loader) -> None:
        found, *past = state
        self.past = [*past, self.tape.load(found, self.upstream, loader) or []]

    def catch_up(self, draws: int, over: bool, empty: list[int]) -> None:
        self.at = self.tape.last
        self.slots.update(dict.fromkeys(set(range(self.n_held(self.at))).difference(empty)))
        self.draw_again(draws)
        self.ended = over


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
