"""Streams: factories that run.

What runs has two halves. A ``Running`` is the state: where it stands, what is open. Its ``iter()`` is the plumbing, C
iterators that move items from that state on, and can be laid again. The plumbing holds the state; the state never
holds its own plumbing, so that dropping a stream frees it, and closes everything below it, at once.

    Stream ── plumbing ──▶ Running ──▶ its children's plumbing ──▶ their Running … ──▶ the user's iterators
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, repeat
from types import GeneratorType, TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar, cast

from pescador_fn.errors import show
from pescador_fn.legible import named
from pescador_fn.seeds import Place

__all__ = [
    "EMPTY",
    "FOREVER",
    "Leaf",
    "Opened",
    "Running",
    "Stage",
    "Stream",
    "adopt",
    "begin",
    "close_all",
    "flow",
    "open_child",
    "raising",
]

T = TypeVar("T")

EMPTY: Iterator[Any] = iter(())  # what an unopened or closed slot holds
FOREVER = 2**62  # calls; a count that no stream reaches, since only a bounded `repeat` tells how far it is

_SURE = {GeneratorType, type(iter([])), type(iter(())), type(iter(range(0))), type(iter({})), type(iter(""))}


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

    __slots__ = ("cut",)

    def __init__(self) -> None:
        # Whether own code is changing the state: a signal that comes just then leaves it half changed. The mark is
        # taken off where a user's code is called, which may well be interrupted.
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
            return raising(error)
        self.cut = False
        return items

    more: Callable[..., Iterator[T] | None]  # what `refill` does for this kind of stream

    def broken(self) -> Iterator[T]:
        """Plumbing of a state that is half changed: it raises, since it might go on wrongly."""
        return raising(RuntimeError("the stream was interrupted by a signal while it changed; call its factory again"))

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether plumbing that has ended means the end: a signal may have cut it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close everything open below; the plumbing then ends."""
        raise NotImplementedError


def adopt(iterable: Any, factory: object) -> tuple[Iterator[Any], Any, None]:
    """What a factory returned, as an iterator that ends for good where it raises, and what has its ``close``."""
    if type(iterable) is GeneratorType:
        return iterable, iterable, None
    try:
        items = iter(iterable)
    except TypeError as error:
        raise TypeError(
            f"the factory {named(factory)} returned {show(iterable)}, which is not iterable; return an iterable"
        ) from error
    # An islice is dead after an exception has passed: a user's iterator that raised has ended, whatever it is.
    sure = type(items) in _SURE or type(items) is Stream
    return items if sure else islice(items, None), items if hasattr(items, "close") else None, None


class Leaf(Running[T]):
    """A user's own stream, opened at the first item, its calls counted by a `repeat`."""

    __slots__ = ("calls", "closed", "factory", "owner", "place")

    def __init__(self, factory: Callable[[], Iterable[T]], place: Place) -> None:
        super().__init__()
        self.factory: Callable[[], Iterable[T]] = factory
        self.place: Place = place
        self.calls: repeat[Iterator[T]] | None = None
        self.owner: Any = None
        self.closed: bool = False

    def __iter__(self) -> Iterator[T]:
        if self.closed:
            return iter(())
        if self.calls is None:
            start = getattr(self.factory, "_begin", None)
            try:
                items, self.owner, _ = adopt(self.factory(), self.factory) if start is None else start(self.place)
            except Exception:
                self.closed = True  # what does not open has ended
                raise
            self.calls = repeat(items, FOREVER)
        return map(next, self.calls)

    @property
    def done(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
        self.calls = None
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.close()


Opened = tuple[Iterator[Any], Any, "Running[Any] | None"]  # the items, what has their `close` if anything, the state


def open_child(factory: Any, above: Place, label: object, number: int) -> Opened:
    """Open one stream of a mux: its items, what closes it, and its state where it is a node."""
    begin_at = getattr(factory, "_begin", None)
    if begin_at is not None:
        opened: Opened = begin_at(Place(above, label, number))
        return opened
    made = factory()
    if type(made) is GeneratorType:  # as in `adopt`: the common case is spared a call
        return made, made, None
    return adopt(made, factory)


def begin(factory: Any, place: Place) -> Running[Any]:
    """The state of the stream below a stage; nothing is opened."""
    start = getattr(factory, "_start", None)
    running: Running[Any] = Leaf(factory, place) if start is None else start(place)
    return running


class Stage(Running[T]):
    """A stage over one stream: what it adds to the stream below is in its subclasses."""

    __slots__ = ("node", "place", "upstream")

    def __init__(self, node: Any, place: Place) -> None:
        super().__init__()
        self.node: Any = node
        self.place: Place = place.pinned(node.options.get("seed"))
        self.upstream: Running[Any] = begin(node.of, self.place)

    @property
    def done(self) -> bool:
        return self.upstream.done

    def close(self) -> None:
        self.upstream.close()


class Stream(chain[T]):
    """A running factory: a single-pass iterator that can be closed, by hand or as a context manager.

    Calling a factory of this library gives one. Nothing is opened before the first ``next``. When it is closed, or
    dropped, everything below it is closed too, generators with their ``finally``. An exception in a user's stream
    passes through as itself, and the stream may be pulled again.

    >>> from pescador_fn import take
    >>> with take([1, 2, 3].__iter__, 2)() as stream:
    ...     next(stream)
    1
    >>> list(stream)
    []
    """

    # A subclass of `chain`, so that `next` is the C function of `chain` and costs no frame.
    __slots__ = ("__weakref__", "_factory", "_running")

    _factory: object
    _running: Running[T]

    def __init__(self, *_: object) -> None:
        if not hasattr(self, "_running"):
            raise TypeError("Stream: call a factory for a stream, such as take(factory, n)(); it is not made by itself")

    @classmethod
    def _of(cls, factory: object, running: Running[T]) -> Self:
        stream: Any = cls.from_iterable(iter(_Rounds(running).again, None))
        stream._factory = factory
        stream._running = running
        return cast("Self", stream)

    def close(self) -> None:
        """Close every open stream below; further pulls end at once. Errors of ``finally`` blocks are raised."""
        if type(self) is Stream:
            self.__class__ = _Closed  # the C `next` has no switch; another class does
            self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{'closed' if isinstance(self, _Closed) else 'open'} stream of {self._factory!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Stream: a running stream is single-pass and cannot be copied or pickled; pass its factory")


class _Closed(Stream[T]):
    """What a stream is once it is closed."""

    __slots__ = ()

    def __next__(self) -> NoReturn:
        raise StopIteration


class _Rounds:
    """Lays a running stream's plumbing, and again where a signal has cut it before the end."""

    __slots__ = ("laid", "running")

    def __init__(self, running: Running[Any]) -> None:
        self.running = running
        self.laid = False

    def again(self) -> Iterator[Any] | None:
        try:
            if self.laid and self.running.done:
                return None
            items = iter(self.running)
        except Exception as error:  # what does not open has ended
            self.laid = True
            return raising(error)
        except BaseException as error:
            return raising(error)
        self.laid = True
        return items
