"""Work elsewhere: a factory that runs in another process or thread, and yields what it yields.

    columns, encoder, wire    how items cross         slabs    shared memory
    launch    how a process begins and ends   worker   what it runs (line: its end of the socket)
    child     a worker as its parent sees it  ending   how streams and workers end
    outbox    when they are sent              delivery what has come
    pool      worker processes, kept warm     process  a stream in one of them
    thread    a stream in a thread (lane)     notes    where it stood, for states
    split     what several workers can share  team     the workers, and their streams (remote, ahead)
    hands     workers (processes, threads)    crew     what one of them runs (sharing: in a process)

(The package is not named after its function: ``pescador_fn.parallel`` is that function.) The engines are imported when
a stream first runs, so that a program that uses none does not pay for them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pescador_fn.errors import check_choice, check_count
from pescador_fn.factory import Factory, Node
from pescador_fn.given import check_part

if TYPE_CHECKING:
    from pescador_fn.running import Running
    from pescador_fn.seeds import Place

__all__ = ["parallel", "prefetch", "shutdown"]

T = TypeVar("T")

MAX_BYTES = 256_000_000


def _run_parallel(node: Node[T], place: Place) -> Running[T]:
    if node.options["n_workers"] > 1:
        from pescador_fn.engines.team import Shared

        if node.options["engine"] == "thread":
            from pescador_fn.engines.threads import Threads

            return Shared(node, place, Threads)
        from pescador_fn.engines.processes import Processes

        return Shared(node, place, Processes)
    if node.options["engine"] == "thread":
        from pescador_fn.engines.thread import InThread

        return InThread(node, place)
    from pescador_fn.engines.process import InProcess

    return InProcess(node, place)


def parallel(
    factory: Factory[T],
    n_workers: int = 1,
    *,
    engine: Literal["process", "thread"] = "process",
    open_ahead: int | None = None,
    max_bytes: int = MAX_BYTES,
    max_restarts: int | None = None,
) -> Node[T]:
    """Run ``factory`` in a worker: equal items in the same order, made ahead of need.

    Under ``"process"`` the factory is sent to a fresh interpreter by cloudpickle, so that lambdas, closures and what a
    notebook defines work, without a main guard. Arrays come through shared memory, writable; an item is what it was
    when it was yielded. An exception arrives as itself, at its place, with the traceback from the worker as its cause.
    A worker that dies is replaced, and the factory, which must yield the same at every call, goes on from a state that
    was taken shortly before. Workers are kept for the next stream; see `shutdown`.

    A state speaks of the items delivered, and is resumed under either engine and any limits.

    Under ``"thread"`` the items are the same objects. Python code gains nothing by it; reading and waiting do.

    Args:
        factory: what to run; it must not depend on what the program does meanwhile.
        engine: ``"process"`` or ``"thread"``.
        n_workers: ``>= 1``. One worker runs the whole factory. Several share the streams of its muxes, which they open
            and pull ahead in the order that the seed has fixed; the stages above the muxes stay here, but for
            functions by item next to a mux, which go along with its streams. For streams that are slow to make: of
            cheap ones more are made in process.
        open_ahead: ``>= 0``; how many streams of each mux may be open besides those that are active there. If
            ``None``, twice as many as are active, at least as many as there are workers, and at most 64. Only for
            several workers.
        max_bytes: ``>= 1``; the most bytes of items that are made and not yet delivered. One item is always let
            through, however large. For ``"thread"`` an estimate: arrays, strings and bytes are counted exactly, the
            rest as Python counts it.
        max_restarts: ``>= 0``; how many times a worker that dies is replaced without a new item between, before that
            is `WorkerDied` and the end. 3 if ``None``. At 0, what it had made and not yet sent is lost with it. Only
            for ``"process"``: a thread does not die.

    Raises:
        TypeError: when built, if an argument is of the wrong kind; when run, if the factory cannot be pickled.
        ValueError: when built, if ``engine`` is unknown, a number is too small, ``max_restarts`` is given for threads
            or ``open_ahead`` for one worker; or if ``factory`` has no mux that several workers could share.
        WorkerError: in the place of an item or an exception that cannot be pickled.
        WorkerDied: see ``max_restarts``. With several workers only the stream that was pulled when they died is over.

    >>> squares = parallel(lambda: (n * n for n in range(5)))
    >>> list(squares())
    [0, 1, 4, 9, 16]
    """
    part = check_part("parallel", factory)
    check_choice("parallel", "engine", engine, ("process", "thread"))
    check_count("parallel", "max_bytes", max_bytes, 1)
    n_workers = check_count("parallel", "n_workers", n_workers, 1)
    if open_ahead is not None:
        check_count("parallel", "open_ahead", open_ahead, 0)
    if n_workers > 1:
        from pescador_fn.engines.split import check_splits

        check_splits("parallel", part, n_workers)
    elif open_ahead is not None:
        raise ValueError(
            f"parallel: open_ahead={open_ahead} with n_workers=1; one worker runs the whole factory, which opens its "
            "streams when they are drawn; leave it out, or give more workers"
        )
    if max_restarts is not None:
        check_count("parallel", "max_restarts", max_restarts, 0)
        if engine == "thread":
            raise ValueError(
                f'parallel: max_restarts={max_restarts} with engine="thread"; a thread does not die; leave it out'
            )
    return Node(
        parallel,
        _run_parallel,
        part,
        n_workers=n_workers,
        engine=engine,
        open_ahead=open_ahead,
        max_bytes=int(max_bytes),
        max_restarts=max_restarts,
    )


def _run_prefetch(node: Node[T], place: Place) -> Running[T]:
    from pescador_fn.engines.thread import Prefetched

    return Prefetched(node, place)


def prefetch(factory: Factory[T], n_items: int) -> Node[T]:
    """Let a background thread make up to ``n_items`` items ahead of need.

    The items are the same objects in the same order; exceptions arrive in their places. An item is handed over as it
    is, so a stream that uses one buffer for all its items must copy. A state speaks of the items delivered.

    Args:
        factory: of the items.
        n_items: ``>= 1``; the most items that are made and not yet delivered.

    Raises:
        TypeError: when built, if ``factory`` is not a factory or ``n_items`` not an integer.
        ValueError: when built, if ``n_items < 1``.

    >>> list(prefetch(range(5).__iter__, 2)())
    [0, 1, 2, 3, 4]
    """
    part = check_part("prefetch", factory)
    return Node(prefetch, _run_prefetch, part, n_items=check_count("prefetch", "n_items", n_items, 1))


def shutdown() -> None:
    """End all workers, idle or not, and let go of all that belongs to them.

    It happens by itself when the program ends; an idle worker leaves after a minute. A stream of `parallel` or
    `prefetch` that is still open raises ``RuntimeError`` when it is pulled again. New streams start new workers.

    >>> shutdown()
    """
    for name in ("pool", "thread", "threads"):
        loaded: Any = sys.modules.get(f"{__name__}.{name}")
        if loaded is not None:
            loaded.shutdown()
