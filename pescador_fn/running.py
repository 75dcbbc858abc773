"""Streams: factories that run.

What runs has two halves. A ``Running`` is the state: where it stands, what is open. Its ``iter()`` is the plumbing, C
iterators that move items from that state on, and can be laid again. The plumbing holds the state; the state never
holds its own plumbing, so that dropping a stream frees it, and closes everything below it, at once.

A signal may come wherever Python looks for one: where a function is entered, after a call, and at the end of a loop's
turn. So what changes a state is worked out first, and then set at once, in steps without a call; where a signal comes
between, nothing has been done, and the next pull does it.

    Stream ── plumbing ──▶ Running ──▶ its children's plumbing ──▶ their Running … ──▶ the user's iterators
"""

from __future__ import annotations

from collections import deque
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from pescador_fn.errors import ended_early

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pescador_fn.state import Loader, Saver

__all__ = ["EMPTY", "FOREVER", "Behind", "Running", "close_all", "flow", "raising"]

T = TypeVar("T")

EMPTY: Iterator[Any] = iter(())  # what an unopened or closed slot holds
FOREVER = 2**62  # calls; a count that no stream reaches, since only a bounded `repeat` tells how far it is


def raising(error: BaseException) -> Iterator[Any]:
    """An iterator that raises ``error`` once and keeps no reference to it, which would be a cycle."""
    return map(_throw, ([error],))


def _throw(box: list[BaseException]) -> NoReturn:
    raise box.pop()


def flow(refill: Callable[[], Iterator[T] | None]) -> Iterator[T]:
    """All items of the iterators that ``refill`` gives, until it gives ``None``.

    A refill does not raise: `chain` is dead once its source has raised. It returns ``raising(error)`` instead.
    """
    return chain.from_iterable(iter(refill, None))


def close_all(owners: Iterable[Any]) -> None:
    """Close every one that is not ``None``, also when one raises; the last error is raised, the others its context."""
    rest = iter(owners)
    for owner in rest:
        if owner is not None:
            try:
                owner.close()
            except BaseException:
                close_all(rest)
                raise


class Running(Generic[T]):
    """The state of an open stream; ``iter()`` gives plumbing that goes on from it."""

    __slots__ = ("cut", "node")

    node: Any  # what runs
    whole: bool = False  # whether `more` has nothing half done at any moment when a signal may come: it is called again

    def __init__(self) -> None:
        # Whether own code is changing the state: a signal that comes just then leaves it half changed, unless it is
        # `whole`. The mark is taken off where a user's code is called, which may well be interrupted.
        self.cut: bool = False

    def refill(self, *plumbing: Any) -> Iterator[T] | None:
        """More plumbing; ``None`` at the end. It is given what it needs of plumbing that the state must not hold."""
        if self.cut:
            return self.broken()
        self.cut = True
        try:
            items = self.more(*plumbing)
        except Exception as error:
            self.cut = False
            return raising(error)
        except BaseException as error:
            self.cut = not self.whole
            return raising(error)
        self.cut = False
        return items

    more: Callable[..., Iterator[T] | None]  # what `refill` does for this kind of stream

    def broken(self) -> Iterator[T]:
        """Plumbing of a state that is half changed: it raises, since it might go on wrongly."""
        return raising(
            RuntimeError(
                "the stream was interrupted by a signal, or pulled by another thread, while it changed; "
                "call its factory again, and pull it from one thread at a time"
            )
        )

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether plumbing that has ended means the end: a signal may have cut it."""
        raise NotImplementedError

    @property
    def torn(self) -> bool:
        """Whether a signal has come where the state does not tell what comes next; the next pull mends that."""
        return False

    def close(self) -> None:
        """Close everything open below; the plumbing then ends."""
        raise NotImplementedError

    def held(self) -> Iterable[Any]:
        """What is open directly below: the state of stages, and the user's iterators that can be closed."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """What this stage is, as plain data; the same object whenever it is asked."""
        described: dict[str, Any] = self.node.described
        return described

    def jump(self, n: int) -> bool:  # noqa: ARG002
        """Stand, before anything is pulled, where ``n`` calls would have led, without making them; whether it can."""
        return False

    def save(self, saver: Saver) -> Any:
        """Where this stage and what is below it stands, as plain data."""
        raise NotImplementedError

    def moment(self, saver: Saver) -> Any:
        """What is another after each pull, and need not be all that ``save`` tells."""
        return self.save(saver)

    def load(self, state: Any, loader: Loader) -> None:
        """Stand where ``save`` was called; what was open is opened again with the plumbing."""
        raise NotImplementedError

    def behind(self) -> Running[T]:
        """What runs in its place where it was saved as made elsewhere."""
        return Behind(self)


_ELSEWHERE = {"": "parallel"}


class Behind(Running[T]):
    """A stage that was saved where it ran elsewhere, at a note, and that has to make the calls since again."""

    __slots__ = ("calls", "over", "running", "state", "stood", "where")

    def __init__(self, running: Running[T]) -> None:
        super().__init__()
        self.running: Running[T] = running
        self.state: Any = None  # what was read, until it has caught up
        self.calls: repeat[Iterator[T]] = repeat(EMPTY, 0)  # to be made again
        self.over: bool = False
        self.stood: bool = False  # whether it is beyond where it was saved
        self.where: str = ""

    def __iter__(self) -> Iterator[T]:
        if self.over:
            return iter(())
        items = iter(self.running)
        self.calls = repeat(items, self.calls.__length_hint__())  # what a signal has left of them
        while self.calls.__length_hint__():
            try:
                deque(map(next, self.calls), maxlen=0)
            except Exception:  # as it was raised before
                continue
            if self.calls.__length_hint__():
                raise ended_early(self.where)
        self.stood = True
        return items

    @property
    def done(self) -> bool:
        return self.over or self.running.done

    def close(self) -> None:
        self.over = True
        self.running.close()

    def held(self) -> Iterable[Any]:
        return (self.running,)

    def about(self) -> dict[str, Any]:
        return self.running.about() if self.stood else _ELSEWHERE

    def save(self, saver: Saver) -> Any:
        return self.running.save(saver) if self.stood else self.state

    def load(self, state: Any, loader: Loader) -> None:
        self.state, self.where = state, loader.where
        snapshot, calls, self.over = state
        self.calls = repeat(EMPTY, calls)
        if snapshot is not None:
            inner = loader.inner(snapshot["stages"])
            inner.path.pop()  # what comes next is the same stage
            self.running = inner.running(self.running, snapshot["at"])
