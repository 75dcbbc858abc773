"""Grouping: items to batches and back."""

from __future__ import annotations

from functools import partial
from itertools import compress, islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from pescador_fn.apart import rows_of
from pescador_fn.below import Stage
from pescador_fn.errors import Unsettled, check_count, ended_early
from pescador_fn.factory import Factory, Node
from pescador_fn.forms import ODD, Collator
from pescador_fn.given import check_part
from pescador_fn.replaying import replay
from pescador_fn.running import FOREVER, flow, raising
from pescador_fn.tape import Tape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader, Saver

__all__ = ["batch", "unbatch"]


class _Batched(Stage[Any]):
    __slots__ = ("collate", "over", "partial", "rows", "size")

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__(node, place)
        self.rows: list[Any] = []
        self.over = False  # whether a pull has found the end: one call does, and is the last
        self.size: int = node.options["size"]
        self.partial: bool = node.options["partial"]
        self.collate: Collator = Collator(node.options["axis"])

    def __iter__(self) -> Iterator[Any]:
        self.over = False
        return map(self.gather, repeat(iter(self.upstream)))

    def gather(self, items: Iterator[Any]) -> Any:
        rows, collate = self.rows, self.collate
        try:
            if not self.over:
                rows.extend(islice(items, self.size - len(rows)))
            if len(rows) < self.size:
                self.over = True
                if not (self.partial and rows):
                    raise StopIteration
            form = collate.form
            try:
                made = form(rows)
            except ODD:
                made = None
            if made is None:
                made = collate(rows)
        except Exception:
            rows.clear()  # an exception costs its batch; a signal does not
            raise
        del rows[:]  # no call, after which a signal would cost the batch
        return made

    def jump(self, n: int) -> bool:
        return self.upstream.jump(n * self.size)

    def save(self, saver: Saver) -> Any:
        if self.rows:
            raise Unsettled("state_dict: batch: a signal left a batch half full; pull it, then take the state")
        return super().save(saver)


def batch(factory: Factory[Any], size: int, *, partial: bool = False, axis: int | None = None) -> Node[Any]:
    """Group ``size`` items into one: arrays are stacked, scalars and strings become arrays, dicts keep their keys.

    An item may be an array, a scalar, a string, a dict or a tuple of these, nested as it likes; a batch has the same
    form. What numpy can make an array of, as PyTorch's tensors, comes as one of numpy's. An exception upstream reaches
    the consumer and costs the batch that was being filled.

    Args:
        factory: of the items.
        size: items in a batch, ``>= 1``.
        partial: keep the last batch where it is short; else it is dropped.
        axis: ``None`` stacks arrays along a new first axis: ``size`` arrays of shape ``(a, b)`` give ``(size, a, b)``.
            An integer joins them along that axis instead.

    Raises:
        TypeError: when built, if an argument is of the wrong kind; at a batch of items of different kinds.
        ValueError: when built, if ``size < 1``; at a batch whose items differ in keys or shapes, naming the key, both
            shapes and the position.

    Source: McFee et al., pescador 3.0, ``buffer_stream``.

    >>> rows = [{"x": np.arange(2) + i, "y": i} for i in range(3)]
    >>> for b in batch(rows.__iter__, 2, partial=True)():
    ...     print(b["x"].tolist(), b["y"].tolist())
    [[0, 1], [1, 2]] [0, 1]
    [[2, 3]] [2]
    """
    part = check_part("batch", factory)
    if not isinstance(partial, bool | np.bool_):
        raise TypeError(f"batch: partial={partial!r} is not a bool; give True to keep a short last batch")
    if axis is not None:
        axis = check_count("batch", "axis", axis, -64)
    return Node(batch, _Batched, part, size=check_count("batch", "size", size, 1), partial=bool(partial), axis=axis)


class _Unbatched(Stage[Any]):
    __slots__ = ("found", "given", "items", "over", "pulled", "resumed", "since", "tape")

    def __init__(self, node: Node[Any], place: Place) -> None:
        super().__init__(node, place)
        self.found: list[Any] = []  # the batch in hand, until its rows are
        self.tape = Tape()
        self.over = False  # whether a pull has found the end
        self.pulled = 0  # batches, and exceptions in the place of one
        self.items: Any = repeat(True, FOREVER)  # one less for each row
        self.since: int | None = None  # what was left when the rows in hand began
        self.given: int | None = None  # rows of the batch in hand, where it is resumed
        self.resumed = False  # and not open yet

    def __iter__(self) -> Iterator[Any]:
        self.over = False
        batches = self.tape.begin(self.upstream)
        if self.resumed:
            self.pulled -= self.given is not None  # the batch in hand is pulled as any
            replay(batches, self.pulled - self.tape.last, "unbatch", ended=self.given is None)
            self.resumed = False
        return compress(flow(partial(self.next_rows, batches)), self.items)

    def next_rows(self, batches: Iterator[Any]) -> Iterator[Any] | None:
        try:
            if not self.found:
                if self.tape.is_due(self.pulled):
                    self.tape.note(self.pulled, self.upstream)
                    self.tape.prune(self.pulled)
                self.pull(batches)
            if not self.found:
                if self.given is not None:
                    self.given = None
                    raise ended_early("unbatch")
                self.over = True
                return None
            rows, since, given = rows_of(self.found[0]), self.items.__length_hint__(), self.given or 0
            if given:
                replay(rows, given, "unbatch")
            # At once, without a call: Python looks for signals there.
            del self.found[:]
            self.since, self.given = since + given, None
            return rows
        except Exception as error:
            self.found.clear()
            return raising(error)
        except BaseException as error:
            return raising(error)

    @property
    def done(self) -> bool:
        return self.over and self.upstream.done

    def pull(self, batches: Iterator[Any]) -> None:
        """Take the next batch in hand."""
        pulled = self.pulled + 1
        try:
            self.found.extend(islice(batches, 1))
        except BaseException as error:
            if self.found or isinstance(error, Exception):
                self.pulled, self.since = pulled, None
            raise
        self.pulled, self.since = pulled, None

    def save(self, saver: Saver) -> Any:
        del saver  # a snapshot speaks for itself
        if self.resumed:
            return [self.tape.newest(self.tape.last, self), self.pulled, self.given]
        if self.given is not None:  # opened, and not drawn from
            return [self.tape.newest(self.pulled, self), self.pulled + 1, self.given]
        if self.found:  # a signal has come before its rows
            return [self.tape.newest(self.pulled - 1, self), self.pulled - 1, None]
        if self.since is None:  # an exception came in the place of a batch, or nothing was pulled
            return [self.tape.newest(self.pulled, self), self.pulled, None]
        return [self.tape.newest(self.pulled - 1, self), self.pulled, self.since - self.items.__length_hint__()]

    def load(self, state: Any, loader: Loader) -> None:
        found, self.pulled, self.given = state
        self.tape.load(found, self, loader)
        self.resumed = True


def unbatch(factory: Factory[Any]) -> Node[Any]:
    """Take batches apart along their first axis: the inverse of `batch`.

    Args:
        factory: of batches: arrays, or dicts or tuples of arrays of one length, nested as they like.

    Raises:
        TypeError: when built, if ``factory`` is not a factory; at a batch that has no rows to take.
        ValueError: at a batch whose arrays differ in length.

    >>> batches = [{"x": np.array([1, 2])}, {"x": np.array([3])}]
    >>> [int(row["x"]) for row in unbatch(batches.__iter__)()]
    [1, 2, 3]
    """
    return Node(unbatch, _Unbatched, check_part("unbatch", factory))
