"""Streams: factories that run.

What runs has two halves. A ``Running`` is the state: where it stands, what is open. Its ``iter()`` is the plumbing, C
iterators that move items from that state on, and can be laid again. The plumbing holds the state; the state never
holds its own plumbing, so that dropping a stream frees it, and closes everything below it, at once.

    Stream ── plumbing ──▶ Running ──▶ its children's plumbing ──▶ their Running … ──▶ the user's iterators
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice, repeat
from types import GeneratorType, TracebackType
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar, cast

from pescador_fn.errors import show
from pescador_fn.legible import named
from pescador_fn.moment import is_busy
from pescador_fn.seeds import Place, Root
from pescador_fn.state import VERSION, Loader, Saver, catch_up, pack, plain

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

_BUSY = (
    "state_dict: the stream is in the middle of an item; take its state in the thread that iterates, between two items"
)
_OPAQUE = {"": "a factory"}  # what is known of a user's factory
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

    __slots__ = ("cut", "node")

    node: Any  # what runs

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

    def held(self) -> Iterable[Any]:
        """What is open directly below: the state of stages, and the user's iterators that can be closed."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """What this stage is, as plain data; the same object whenever it is asked."""
        described: dict[str, Any] = self.node.described
        return described

    def save(self, saver: Saver) -> Any:
        """Where this stage and what is below it stands, as plain data."""
        raise NotImplementedError

    def load(self, state: Any, loader: Loader) -> None:
        """Stand where ``save`` was called; what was open is opened again with the plumbing."""
        raise NotImplementedError


class Resumable(Protocol):
    """An iterator that saves and restores itself: PyTorch's ``Stateful``."""

    def __next__(self) -> Any: ...
    def __iter__(self) -> Any: ...
    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any, /) -> None: ...


def prepare(iterable: Any, factory: object) -> tuple[Iterator[Any], Any, Resumable | None]:
    """What a factory returned: as an iterator that ends for good where it raises; what has its ``close``; and itself,
    where it saves and restores itself.
    """
    if type(iterable) is GeneratorType:
        return iterable, iterable, None
    try:
        items = iter(iterable)
    except TypeError as error:
        raise TypeError(
            f"the factory {named(factory)} returned {show(iterable)}, which is not iterable; return an iterable"
        ) from error
    owner = items if hasattr(items, "close") else None
    if type(items) in _SURE or type(items) is Stream:
        return items, owner, None
    own = items if hasattr(items, "state_dict") and hasattr(items, "load_state_dict") else None
    # An islice is dead after an exception has passed: a user's iterator that raised has ended, whatever it is.
    return islice(items, None), owner, own


def adopt(iterable: Any, factory: object) -> Opened:
    """What a factory returned, as a mux holds it: only what saves itself has a state of its own."""
    if type(iterable) is GeneratorType:
        return iterable, iterable, None
    items, owner, own = prepare(iterable, factory)
    if own is None:
        return items, owner, None
    leaf: Leaf[Any] = Leaf(factory, None)
    leaf.calls, leaf.owner, leaf.own = repeat(items, FOREVER), owner, own
    return iter(leaf), leaf, leaf


class Leaf(Running[T]):
    """A user's own stream, opened at the first item, its calls counted by a `repeat`."""

    __slots__ = ("calls", "closed", "ended", "factory", "own", "owner", "past", "place", "where")

    def __init__(self, factory: Any, place: Place | None) -> None:
        super().__init__()
        self.factory = factory
        self.place = place
        self.calls: repeat[Iterator[T]] | None = None
        self.owner: Any = None
        self.own: Resumable | None = None
        self.closed: bool = False
        self.ended: bool = False  # before it was saved
        self.past: tuple[int, str | None, Any] | None = None  # what it resumes, until it is opened
        self.where: str = ""

    def __iter__(self) -> Iterator[T]:
        if self.closed:
            return iter(())
        if self.calls is None:
            try:
                self._open(*(self.past or (0, None, None)))
            except Exception:
                self.closed, self.past = True, None  # what does not open has ended
                raise
            self.past = None
        assert self.calls is not None
        return map(next, self.calls)

    def _open(self, n: int, how: str | None, known: Any) -> None:
        """Open the stream as it was after ``n`` calls."""
        items: Iterator[T] = EMPTY
        self.ended = how == "ended"
        if not self.ended:
            factory = self.factory
            start = getattr(factory, "_open", None)
            jumps = start is not None and factory.function.wants_start
            made = factory() if start is None else start(self.place, n if jumps else 0)
            items, self.owner, self.own = prepare(made, factory)
            if how == "own" and self.own is not None:
                self.own.load_state_dict(known)
            elif not jumps:
                self.ended = catch_up(items, n, known, self.where, ended=True)
        self.calls = repeat(items, FOREVER - n)

    @property
    def done(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
        self.calls = None
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.close()

    def held(self) -> Iterable[Any]:
        return (self.owner,)

    def about(self) -> dict[str, Any]:
        described: dict[str, Any] = getattr(self.factory, "described", _OPAQUE)
        return described

    def save(self, saver: Saver) -> Any:
        """The calls so far; whether they have found the end, or a state of the iterator's own; what verifies them."""
        if self.past is not None:
            return list(self.past)
        n = 0 if self.calls is None else FOREVER - self.calls.__length_hint__()
        if self.closed or self.ended or (type(self.owner) is GeneratorType and self.owner.gi_frame is None):
            return [n, "ended", None]
        own = None if self.own is None else plain(self.own.state_dict())
        if own is not None:
            return [n, "own", own]
        return [n, None, saver.checksum(n, partial(open_at, self.factory, self.place)) if saver.verify else None]

    def load(self, state: Any, loader: Loader) -> None:
        self.past, self.where = tuple(state), loader.where


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


def open_at(factory: Any, place: Place) -> Opened:
    """Open a stream at its place."""
    begin_at = getattr(factory, "_begin", None)
    opened: Opened = adopt(factory(), factory) if begin_at is None else begin_at(place)
    return opened


def begin(factory: Any, place: Place) -> Running[Any]:
    """The state of the stream below a stage; nothing is opened."""
    start = getattr(factory, "_start", None)
    running: Running[Any] = Leaf(factory, place) if start is None else start(place)
    return running


class Past:
    """A stream of a mux that a state names: read, and not open yet."""

    __slots__ = ("factory", "known", "n", "place", "running", "where")

    def __init__(self, factory: Any, place: Place, saved: Any, loader: Loader, label: object) -> None:
        self.factory = factory
        self.place: Place = place
        self.where: str = f"{loader.where}[{label!r}]"
        self.running: Running[Any] | None = None
        self.n, self.known = (saved, None) if isinstance(saved, int) else saved
        if isinstance(self.known, str | None):
            if hasattr(factory, "_start"):
                raise loader.mismatch(f"{named(factory, 20)} at {label!r}, where the state has a stream of the user's")
        else:
            self.running = begin(factory, place)
            loader.running(self.running, saved, label)

    def save(self, saver: Saver) -> Any:
        """The state that it was read from."""
        if self.running is not None:
            return saver.running(self.running)
        return self.n if self.known is None else [self.n, self.known]

    def open(self) -> Opened:
        """Open it, and bring it to where it was."""
        if self.running is not None:
            return iter(self.running), self.running, self.running
        opened = open_at(self.factory, self.place)
        catch_up(opened[0], self.n, self.known, self.where)
        return opened


def save_child(saver: Saver, factory: Any, place: Place, running: Running[Any] | None, calls: int) -> Any:
    """The state of one open stream of a mux, from which ``Past`` opens it again."""
    if running is not None:
        return saver.running(running)
    return [calls, saver.checksum(calls, partial(open_at, factory, place))] if saver.verify else calls


class Stage(Running[T]):
    """A stage over one stream: what it adds to the stream below is in its subclasses."""

    __slots__ = ("place", "upstream")

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

    def held(self) -> Iterable[Any]:
        return (self.upstream,)

    def save(self, saver: Saver) -> Any:
        return saver.running(self.upstream)

    def load(self, state: Any, loader: Loader) -> None:
        loader.running(self.upstream, state)


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
    __slots__ = ("__weakref__", "_factory", "_root", "_running")

    _factory: object
    _root: Root
    _running: Running[T]

    def __init__(self, *_: object) -> None:
        if not hasattr(self, "_running"):
            raise TypeError("Stream: call a factory for a stream, such as take(factory, n)(); it is not made by itself")

    def state_dict(self, *, verify: bool = False) -> dict[str, Any]:
        """Where the stream stands, between two items: plain data, for ``json.dumps`` and `resume`.

        Taking it changes nothing. It is for the thread that iterates, and not for the stream's own functions.

        Args:
            verify: add a checksum of every open stream that will have to be replayed, at the cost of replaying it now;
                a resume then tells a factory that is not pure.

        Raises:
            RuntimeError: if the stream is closed, or is in the middle of an item.

        >>> from pescador_fn import resume, shuffled_mux
        >>> mux = shuffled_mux(["ab".__iter__, "cde".__iter__], seed=0)
        >>> stream = mux()
        >>> [next(stream) for _ in range(3)]
        ['c', 'd', 'a']
        >>> rest = resume(mux, stream.state_dict())()
        >>> next(stream) == next(rest)
        True
        """
        if isinstance(self, _Closed):
            raise RuntimeError("state_dict: the stream is closed; take its state before it is closed")
        root, running = self._root, self._running
        if hasattr(running, "root"):  # a resumed stream is saved as what it goes on with
            root, running = running.root, running.upstream
        if is_busy(self._running):
            raise RuntimeError(_BUSY)
        saver = Saver(verify=verify)
        at = saver.running(running)
        # Another thread may have pulled meanwhile.
        if threading.active_count() > 1 and (
            is_busy(self._running) or Saver(verify=False).running(running)[1] != at[1]
        ):
            raise RuntimeError(_BUSY)
        return pack({"pescador_fn": VERSION, "seed": root.entropy(), "stages": saver.stages, "at": at})

    @classmethod
    def _of(cls, factory: object, start: Callable[[Place], Running[T]]) -> Self:
        root = Root()
        running = start(root)
        stream: Any = cls.from_iterable(iter(_Rounds(running).again, None))
        stream._factory = factory
        stream._root = root
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
