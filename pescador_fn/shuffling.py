"""Shuffling within a buffer."""

from __future__ import annotations

from collections import deque
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import pescador_fn.drawing as drawing
from pescador_fn.buffers import Drawing
from pescador_fn.errors import check_count, ended_early
from pescador_fn.factory import Factory, Node
from pescador_fn.given import check_part
from pescador_fn.seeds import Place, check_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.drawing import Ints
    from pescador_fn.state import Loader, Saver

__all__ = ["shuffle"]

T = TypeVar("T")


class _Shuffled(Drawing[T]):
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
            before = len(self.buffer)
            try:
                self.buffer.extend(islice(self.items or (), most - before))
                self.over = len(self.buffer) < most
            except StopIteration:  # raised by a function below; as everywhere, the end
                self.over = True
            except Exception:
                self.calls += 1
                raise
            except BaseException:
                self.spoil()
                raise
            finally:
                self.calls += len(self.buffer) - before + self.over
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
        # One frame for all draws, since a call for each costs more. Nothing is lost with it.
        buffer, last, items = self.buffer, self.n_slots, self.items
        assert items is not None
        for slot in self.index:
            try:
                for item in items:  # noqa: B007 - as `next` does, without a call
                    break
                else:
                    self.ages.missed.add(slot)
                    self.over = True
                    return
            except BaseException as error:
                self.missed(slot, error)
                raise
            if slot != last:
                buffer[slot], item = item, buffer[slot]
            yield item

    def rest(self) -> Iterator[T] | None:
        if self.tail is None:
            order = drawing.permutation(self.words.uniforms(self.drawn, len(self.buffer))).tolist()
            tail, n_tail = iter([self.buffer[k] for k in order]), len(order)
            self.tail, self.n_tail, self.buffer = tail, n_tail, []
        return self.tail if self.tail.__length_hint__() else None

    @property
    def done(self) -> bool:
        return self.closed or (self.tail is not None and not self.tail.__length_hint__())

    def save(self, saver: Saver) -> Any:
        del saver  # a snapshot speaks for itself
        if self.past is not None:
            return [self.tape.newest(self.tape.last, self), *self.past]
        given = None if self.tail is None else self.n_tail - self.tail.__length_hint__()
        return [self.snapshot(), self.drawn, self.calls, self.over, given]

    def load(self, state: Any, loader: Loader) -> None:
        found, *self.past = state
        self.tape.load(found, self, loader)

    def catch_up(self) -> None:
        draws, self.calls, over, given = self.past
        self.at = self.tape.last
        if self.at:
            lost: Any = None  # and exchanged again, all of it
            self.buffer = [lost] * self.n_slots
        else:
            again: Any = repeat(self.items, self.calls)
            failed = 0
            while again.__length_hint__():
                try:
                    self.buffer.extend(map(next, again))
                    break
                except Exception:
                    failed += 1
            if len(self.buffer) + failed < self.calls - (over and not draws):
                raise ended_early("shuffle")
        self.draw_again(draws, over=over)
        if given is not None:
            self.rest()
            deque(islice(self.tail, given), maxlen=0)


def shuffle(factory: Factory[T], buffer_size: int, *, seed: int | None = None) -> Node[T]:
    """Shuffle within a moving buffer: every item is swapped with a random one of ``buffer_size``, then the rest follow.

    Args:
        factory: of the items.
        buffer_size: items held, ``>= 1``. 1 changes nothing; the length of the stream or more makes every order equally
            likely.
        seed: fixes the whole stream below, and the order. ``None`` leaves them to the seed of the pipeline, or takes
            fresh entropy at each call, also over a stream that has a seed of its own.

    Raises:
        TypeError: when built, if an argument is of the wrong kind.
        ValueError: when built, if ``buffer_size < 1`` or ``seed`` is negative.

    >>> list(shuffle(range(8).__iter__, 4, seed=0)())
    [2, 4, 0, 3, 5, 1, 7, 6]
    """
    size = check_count("shuffle", "buffer_size", buffer_size, 1)
    return Node(shuffle, _Shuffled, check_part("shuffle", factory), buffer_size=size, seed=check_seed("shuffle", seed))
