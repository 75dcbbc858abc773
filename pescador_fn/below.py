"""What lies below a stage: streams of the user's, and how the streams of a mux are opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import compress, islice, repeat
from types import BuiltinMethodType, FunctionType, GeneratorType, MethodType, MethodWrapperType
from typing import Any, Protocol, TypeVar

from pescador_fn.errors import show
from pescador_fn.legible import named
from pescador_fn.replaying import catch_up
from pescador_fn.running import EMPTY, FOREVER, Running
from pescador_fn.seeds import Place, Root
from pescador_fn.state import OPAQUE, Loader, Saver, plain

__all__ = [
    "OWN",
    "PLAIN",
    "SURE",
    "Leaf",
    "Opened",
    "Stage",
    "adopt",
    "begin",
    "described",
    "open_at",
    "open_child",
    "origin",
    "prepare",
    "stopped",
]

T = TypeVar("T")

PLAIN: set[type] = {partial, FunctionType}  # what is no node, whatever it holds


class _Own(dict[type, bool]):
    """Of a type of factories, whether it is one of this library's, which open at a place.

    Asked of the type: others may have methods of the same names, and a mock answers to any.
    """

    def __missing__(self, kind: type) -> bool:
        own = any("_begin" in vars(one) and str(one.__module__).startswith("pescador_fn.") for one in kind.__mro__)
        if own:  # no other is held: it may be of a notebook, made again and again
            self[kind] = True
        return own


OWN: dict[type, bool] = _Own.fromkeys([*PLAIN, MethodType, BuiltinMethodType, MethodWrapperType, type], False)

# Iterators that end for good where they raise.
SURE: set[type] = {GeneratorType, type(iter([])), type(iter(())), type(iter(range(0))), type(iter({})), type(iter(""))}


class Resumable(Protocol):
    """An iterator that saves and restores itself: PyTorch's ``Stateful``."""

    def __next__(self) -> Any: ...
    def __iter__(self) -> Any: ...
    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any, /) -> None: ...


def stopped(factory: object) -> RuntimeError:
    """What to raise for a factory that raises `StopIteration`, which would end whatever pulls."""
    return RuntimeError(
        f"the factory {named(factory)} raised StopIteration where it was called; return an empty iterable instead"
    )


def prepare(iterable: Any, factory: object) -> tuple[Iterator[Any], Any, Resumable | None]:
    """What a factory returned, as an iterator that ends for good where it raises.

    Beside it what has its ``close``, and what saves and restores it, if anything.
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
    if type(items) in SURE:
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
    leaf: Leaf[Any] = Leaf(factory, Root())  # its place is asked for by sources only, which are no such iterators
    leaf.owner, leaf.own = owner, own
    leaf.count(items, 0)
    return iter(leaf), leaf, leaf


class Leaf(Running[T]):
    """A user's own stream, opened at the first item, its calls counted by a `repeat`.

    Those of a generator by what it gave, which costs half as much: after a call that gave nothing, it is over.
    """

    __slots__ = ("calls", "closed", "ended", "factory", "given", "items", "own", "owner", "past", "place", "where")

    def __init__(self, factory: Any, place: Place) -> None:
        super().__init__()
        self.factory: Any = factory
        self.place: Place = place
        self.calls: repeat[Any] | None = None
        self.items: Iterator[T] | None = None  # where it is what they gave that is counted
        self.given: repeat[Any] | None = None  # what counts that beside, where the iterator has a state of its own
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
        return map(next, self.calls) if self.items is None else compress(self.items, self.calls)

    def _open(self, n: int, how: str | None, known: Any) -> None:
        """Open the stream as it was after ``n`` calls."""
        items: Iterator[T] = EMPTY
        self.ended = how == "ended"
        if not self.ended:
            factory = self.factory
            start = factory._open if OWN[type(factory)] else None  # of a source
            jumps = start is not None and factory.function.wants_start
            try:
                made = factory() if start is None else start(self.place, n if jumps else 0)
            except StopIteration as error:
                raise stopped(factory) from error
            items, self.owner, self.own = prepare(made, factory)
            if how == "own" and self.own is not None:
                self.own.load_state_dict(known)
            elif not jumps:
                # Of a generator it is known whether the last call found the end.
                self.ended = catch_up(items, n, known, self.where, ended=type(items) is not GeneratorType)
        self.count(items, n)

    def count(self, items: Iterator[T], n: int) -> None:
        """Go on with the items after ``n`` calls."""
        if type(items) is GeneratorType:
            self.items, self.calls = items, repeat(True, FOREVER - n)
            return
        if self.own is not None:
            self.given = repeat(True, FOREVER - n)
            items = compress(items, self.given)
        self.items, self.calls = None, repeat(items, FOREVER - n)

    @property
    def done(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
        self.calls = self.items = None
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.close()

    def held(self) -> Iterable[Any]:
        return (self.owner,)

    def about(self) -> dict[str, Any]:
        return described(self.factory)

    def jump(self, n: int) -> bool:
        if self.calls is not None or self.closed or (self.past or (0, None))[1] is not None:
            return False
        if not OWN[type(self.factory)] or not self.factory.function.wants_start:
            return False
        self.past = n, None, None
        return True

    def save(self, saver: Saver) -> Any:
        """The calls so far; whether they have found the end, or a state of the iterator's own; what verifies them."""
        if self.past is not None:
            return list(self.past)
        n = 0 if self.calls is None else FOREVER - self.calls.__length_hint__()
        if self.closed or self.ended or (type(self.owner) is GeneratorType and self.owner.gi_frame is None):
            return [n, "ended", None]
        if self.given is not None and n > FOREVER - self.given.__length_hint__():  # a call that gave nothing
            return [n, "ended", None]
        own = None if self.own is None else plain(self.own.state_dict())
        if own is not None:
            return [n, "own", own]
        verify = saver.verify and n > 0  # what was not called need not be opened
        return [n, None, saver.checksum(n, partial(open_at, self.factory, self.place)) if verify else None]

    def load(self, state: Any, loader: Loader) -> None:
        self.past, self.where = tuple(state), loader.where


Opened = tuple[Iterator[Any], Any, "Running[Any] | None"]  # the items, what has their `close` if anything, the state


def open_child(factory: Any, above: Place, label: object, number: int) -> Opened:
    """Open one stream of a mux: its items, what closes it, and its state where it is a node."""
    begin_at = factory._begin if OWN[type(factory)] else None
    if begin_at is not None:
        opened: Opened = begin_at(Place(above, label, number))
        return opened
    try:
        made = factory()
    except StopIteration as error:
        raise stopped(factory) from error
    if type(made) is GeneratorType:  # as in `adopt`: the common case is spared a call
        return made, made, None
    return adopt(made, factory)


def open_at(factory: Any, place: Place) -> Opened:
    """Open a stream at its place."""
    begin_at = factory._begin if OWN[type(factory)] else None
    opened: Opened = open_child(factory, place, "", 0) if begin_at is None else begin_at(place)
    return opened


def begin(factory: Any, place: Place) -> Running[Any]:
    """The state of the stream below a stage; nothing is opened."""
    start = getattr(factory, "_start", None) if OWN[type(factory)] else None  # a source has none
    running: Running[Any] = Leaf(factory, place) if start is None else start(place)
    return running


def described(factory: Any) -> dict[str, Any]:
    """What a state is held against: of a factory of the user's, nothing is known."""
    about: dict[str, Any] = factory.described if OWN[type(factory)] else OPAQUE
    return about


def origin(factory: Any, place: Place) -> dict[str, Any]:
    """A snapshot of a stream that has not begun: where nothing else was noted, it tells which pipeline it was."""
    saver = Saver()
    at = saver.running(begin(factory, place))
    return {"stages": saver.stages, "at": at}


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
        self.upstream = loader.running(self.upstream, state)
