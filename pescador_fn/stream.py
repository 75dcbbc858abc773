"""The stream that its user holds."""

from __future__ import annotations

import threading
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, cast

from pescador_fn.below import SURE
from pescador_fn.moment import is_busy
from pescador_fn.running import Running, raising
from pescador_fn.seeds import Place, Root
from pescador_fn.state import VERSION, Moment, Saver, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = ["Stream"]

T = TypeVar("T")

_BUSY = (
    "state_dict: the stream is in the middle of an item; take its state in the thread that iterates, between two items"
)


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
        running: Any = self._running
        root = self._root
        if hasattr(running, "root"):  # a resumed stream is saved as what it goes on with
            root, running = running.root, running.upstream
        if is_busy(self._running):
            raise RuntimeError(_BUSY)
        before = None if threading.active_count() == 1 else Moment().running(running)
        if before and is_busy(self._running):  # a pull that has begun meanwhile may end where the moment was taken
            raise RuntimeError(_BUSY)
        saver = Saver(verify=verify)
        at = saver.running(running)
        # Another thread may have pulled meanwhile.
        if before and (is_busy(self._running) or Moment().running(running) != before):
            raise RuntimeError(_BUSY)
        return pack({"pescador_fn": VERSION, "seed": root.entropy(), "stages": saver.stages, "at": at})

    @classmethod
    def _of(cls, factory: object, start: Callable[[Place], Running[T]]) -> Self:
        root = Root()
        running = start(root)
        rounds = _rounds(running)
        next(rounds)
        stream: Any = cls.from_iterable(rounds)
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


def _rounds(running: Running[T]) -> Iterator[Iterator[T]]:
    """Lay a running stream's plumbing, and again where a signal has cut it before the end.

    A generator that is begun at once: Python looks for signals where a function is entered, and an exception there
    would be the end of the `chain` that called it. Where a generator goes on, and in the inner loop, it is caught.
    """
    begun, laid = False, True
    failed: list[Iterator[T]] = []
    plumbing: list[Iterator[T]] = [iter(())]
    while True:
        try:
            while True:
                if failed:
                    yield failed[0]
                    del failed[:]
                    continue
                if not laid:
                    plumbing[:] = [iter(running)]
                    laid = True
                yield plumbing[0]  # once more where a signal comes before the next line, which changes nothing
                if begun and running.done:
                    running.close()  # what `take` has left unread
                    return
                begun, laid = True, False
        except GeneratorExit:
            return
        except Exception as error:  # what does not open has ended
            laid, plumbing[:], failed[:] = True, [iter(())], [raising(error)]
        except BaseException as error:
            failed[:] = [raising(error)]


SURE.add(Stream)
