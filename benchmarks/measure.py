"""Timing by interleaved rounds, so that a busy machine slows every contender alike.

Each contender is opened, then pulled for a slice of time, in turn, round after round, starting with another one
each round. A figure is the median over the rounds of the ratio within a round, with the quartiles beside it.
Every slice starts with an untimed part, which refills the caches that the contender before it has emptied.
Time is the processor's, of all threads, so that the turns of other processes do not count.
The garbage collector stays on, as it is for users; what other contenders hold is frozen out of its sight.
"""

from __future__ import annotations

import gc
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

Pull = Callable[[int], object]
Opener = Callable[[], "Iterator[object] | Pull"]

_END = object()


@dataclass(frozen=True)
class Effort:
    """How long to measure: ``rounds`` slices of ``slice_s`` seconds for each contender."""

    rounds: int = 15
    slice_s: float = 0.02
    open_limit_s: float = 60.0
    quick: bool = False


QUICK = Effort(rounds=5, slice_s=0.01, open_limit_s=3.0, quick=True)


@dataclass(frozen=True)
class Timing:
    """One contender: nanoseconds a sample for each round, and seconds from opening to the first sample."""

    ns: tuple[float, ...]
    first_s: float

    @property
    def median(self) -> float:
        """The median nanoseconds a sample."""
        return statistics.median(self.ns)


@dataclass(frozen=True)
class Missing:
    """A contender that could not be measured, and why."""

    reason: str


Outcome = Timing | Missing


@dataclass(frozen=True)
class Figure:
    """A median over the rounds, with its quartiles."""

    value: float
    low: float
    high: float


def figure(values: list[float]) -> Figure:
    """The median and the quartiles of ``values``."""
    if len(values) == 1:
        return Figure(values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Figure(middle, low, high)


def ratio(above: Outcome, below: Outcome) -> Figure | Missing:
    """How many times ``below`` is ``above``, round by round."""
    if isinstance(above, Missing):
        return above
    if isinstance(below, Missing):
        return below
    return figure([a / b for a, b in zip(above.ns, below.ns, strict=True)])


def difference(more: Outcome, less: Outcome) -> Figure | Missing:
    """Nanoseconds a sample that ``more`` takes beyond ``less``, round by round."""
    if isinstance(more, Missing):
        return more
    if isinstance(less, Missing):
        return less
    return figure([a - b for a, b in zip(more.ns, less.ns, strict=True)])


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` in the block once it has taken ``seconds``."""

    def expire(*_: object) -> None:
        raise TimeoutError(f"no sample within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def consume(iterator: Iterator[object], n: int) -> None:
    """Pull ``n`` items and drop them, at the least cost that Python has."""
    if n and next(islice(iterator, n - 1, n), _END) is _END:
        raise RuntimeError("the stream ended")


def why(error: BaseException) -> str:
    """An error as one line, short enough for a table."""
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)  # without a path
    text = " ".join(told.split())
    text = text if isinstance(error, TimeoutError) else f"{type(error).__name__}: {text}"
    return text if len(text) <= 120 else text[:117] + "..."


@dataclass(frozen=True)
class _Runner:
    pull: Pull
    length: int
    first_s: float

    def ns(self, settle: int) -> float:
        """Nanoseconds a sample over one slice."""
        self.pull(min(max(self.length // 10, settle), self.length))
        return _seconds(self.pull, self.length) / self.length * 1e9


def _seconds(pull: Pull, n: int) -> float:
    start = time.process_time()
    pull(n)
    return time.process_time() - start


def _start(opener: Opener, warm: int, effort: Effort) -> _Runner:
    with time_limit(effort.open_limit_s):
        start = time.perf_counter()
        runner = opener()
        pull = runner if callable(runner) else partial(consume, runner)
        pull(1)
        first_s = time.perf_counter() - start
        pull(warm)
        n = 1
        while (taken := _seconds(pull, n)) < effort.slice_s / 4:
            n *= 2
    return _Runner(pull, max(1, round(n * effort.slice_s / taken)), first_s)


def race(
    openers: Mapping[str, Opener], effort: Effort, warm: Mapping[str, int] | None = None, settle: int = 0
) -> dict[str, Outcome]:
    """Measure contenders against each other.

    Args:
        openers: name -> a function that opens a contender: an endless iterator, or a function that pulls ``n`` samples.
            One that raises, or gives no sample in time, is reported as missing with the reason.
        effort: how long to measure.
        warm: name -> samples to draw before anything is timed, for those that open their streams at the first draw.
        settle: samples to draw before each slice, where the streams do not fit into the caches at once.
    """
    missing: dict[str, Outcome] = {}
    runners: dict[str, _Runner] = {}
    for name, opener in openers.items():
        try:
            runners[name] = _start(opener, (warm or {}).get(name, 0), effort)
        except Exception as error:  # a peer may fail in any way
            missing[name] = Missing(why(error))
    rounds: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    gc.collect()
    gc.freeze()
    try:
        for turn in range(effort.rounds):
            start = turn % max(1, len(names))
            for name in names[start:] + names[:start]:
                rounds[name].append(runners[name].ns(settle))
    finally:
        gc.unfreeze()
    timed = {name: Timing(tuple(ns), runners[name].first_s) for name, ns in rounds.items()}
    runners.clear()
    gc.collect()
    return {name: timed[name] if name in timed else missing[name] for name in openers}


def races(
    core: Mapping[str, Opener],
    peers: Mapping[str, Opener],
    effort: Effort,
    warm: Mapping[str, int] | None = None,
    settle: int = 0,
) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    """Two races: the contenders of the bars by themselves, for twice the rounds; then the same with the peers."""
    alone = race(core, replace(effort, rounds=2 * effort.rounds), warm, settle)
    return alone, race({**core, **peers}, effort, warm, settle) if peers else alone
