"""What is made elsewhere: a worker process against the peers' and against a copy, and a thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import pescador_fn
from benchmarks import peers
from benchmarks.measure import Effort, Figure, Missing, Outcome, Timing, figure, race, ratio, why
from benchmarks.report import OURS, Bar, Table, Topic, number
from benchmarks.several import several
from benchmarks.soak import workers
from benchmarks.sources import forever
from pescador_fn import parallel, prefetch, shutdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MB = 1_000_000
COPY = "np.copyto"
PESCADOR, TORCH, GRAIN = "pescador ZMQStreamer", "torch DataLoader", "grain mp_prefetch"


def ready(n: int) -> Iterator[object]:
    """Small dicts, 64 different ones over and over."""
    rows = [{"x": np.random.default_rng(k).random(16), "y": np.array(k)} for k in range(64)]
    for _ in range(n // 64):
        yield from rows


def made(n: int) -> Iterator[object]:
    """Small dicts whose arrays are made for each."""
    for k in range(n):
        yield {"x": np.full(16, 0.5), "y": np.array(k)}


def large(megabytes: int, n: int) -> Iterator[object]:
    """Dicts of one large array, four different ones over and over."""
    rows = [{"x": np.full(megabytes * MB // 8, float(k))} for k in range(4)]
    for k in range(n):
        yield rows[k % 4]


class Case(NamedTuple):
    """A stream of ``n`` items, of which the first few are not timed."""

    name: str
    source: Callable[[int], Iterator[object]]
    n: int
    megabytes: int = 0


CASES = [
    Case("small dicts, ready-made", ready, 64_000),
    Case("small dicts, arrays made by the generator", made, 64_000),
    Case("arrays of 1 MB", partial(large, 1), 1500, 1),
    Case("arrays of 16 MB", partial(large, 16), 100, 16),
    Case("arrays of 64 MB", partial(large, 64), 32, 64),
]


class Slice(NamedTuple):
    """Nanoseconds an item, on the clock and of both sides' processors."""

    clock: float
    processor: float


def _processor_s() -> float:
    """Seconds that this process and its children have used so far."""
    ticks, total = os.sysconf("SC_CLK_TCK"), time.process_time()
    pids: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            pids += (task / "children").read_text().split()
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def timed(stream: Iterator[object], n: int) -> Slice:
    """Pull all ``n`` items; the middle three quarters are timed."""
    first, last = n // 8, n - n // 8
    deque(islice(stream, first), maxlen=0)
    processor, start = _processor_s(), time.perf_counter()
    deque(islice(stream, last - first), maxlen=0)
    taken, used = time.perf_counter() - start, _processor_s() - processor
    rest = sum(1 for _ in stream)
    if rest != n - last:
        raise RuntimeError(f"{n - last - rest} items are missing")
    return Slice(taken / (last - first) * 1e9, used / (last - first) * 1e9)


def copied(megabytes: int, n: int) -> Slice:
    """The same arrays by `numpy.copyto`."""
    sources = [np.full(megabytes * MB // 8, float(k)) for k in range(4)]
    target = np.empty_like(sources[0])
    start = time.perf_counter()
    for k in range(n):
        np.copyto(target, sources[k % 4])
    taken = time.perf_counter() - start
    return Slice(taken / n * 1e9, taken / n * 1e9)


def contend(case: Case, effort: Effort) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    """Clock and processor time of everyone, by rounds: each opens a stream, and sees it through to its end."""
    n = case.n // 8 // 64 * 64 if effort.quick and not case.megabytes else case.n
    source = partial(case.source, n)

    def ours() -> Slice:
        with parallel(source)() as stream:
            return timed(stream, n)

    # The slowest peers see fewer items.
    def peer(open_stream: Callable[[Any], Iterator[object]], share: int) -> Slice:
        few = max(16, n // share // 64 * 64 if not case.megabytes else n // share)
        return timed(open_stream(partial(case.source, few)), few)

    contenders: dict[str, Callable[[], Slice]] = {OURS: ours}
    slow = 4 if case.megabytes else 40
    contenders[PESCADOR] = partial(peer, peers.zmq_streamer, 1 if case.megabytes else 4)
    contenders[TORCH] = partial(peer, peers.torch_loader, slow)
    contenders[GRAIN] = partial(peer, peers.grain_prefetch, slow)
    if case.megabytes:
        contenders[COPY] = partial(copied, case.megabytes, n)
    found: dict[str, list[Slice]] = {name: [] for name in contenders}
    missing: dict[str, Outcome] = {}
    rounds = 3 if effort.quick else 5
    for turn in range(rounds + 1):  # the first fills the caches, and is not counted
        for name, run in contenders.items():
            if name in missing:
                continue
            try:
                taken = run()
            except Exception as error:  # a peer may fail in any way
                if name == OURS:
                    raise
                missing[name] = Missing(why(error))
                continue
            if turn:
                found[name].append(taken)
    clock, processor = dict(missing), dict(missing)
    for name, slices in found.items():
        if name not in missing:
            clock[name] = Timing(tuple(one.clock for one in slices), 0)
            processor[name] = Timing(tuple(one.processor for one in slices), 0)
    return clock, processor


FIRST = """
import time
from pescador_fn import parallel
start = time.perf_counter()
next(parallel(range(3).__iter__)())
print(time.perf_counter() - start)
start = time.perf_counter()
next(parallel(range(3).__iter__)())
print(time.perf_counter() - start)
"""


def first_items(rounds: int) -> tuple[Figure, Figure]:
    """Milliseconds to the first item in a fresh program, and to that of the next stream."""
    path = str(Path(pescador_fn.__file__).parent.parent)
    environment = dict(os.environ, PYTHONPATH=path)
    cold, warm = [], []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-c", FIRST], env=environment, capture_output=True, text=True, check=True
        )
        one, other = map(float, done.stdout.split())
        cold.append(one * 1e3)
        warm.append(other * 1e3)
    return figure(cold), figure(warm)


def recovery(rounds: int) -> Figure:
    """The longest wait for an item, in milliseconds, where a worker is killed after each 100,000."""
    found = []
    stream = parallel(range(10**9).__iter__)()
    deque(islice(stream, 100_000), maxlen=0)
    for _ in range(rounds):
        os.kill(workers()[0], signal.SIGKILL)
        before, longest = next(stream), 0.0
        for _ in range(100_000):  # what was on its way comes first, then the wait
            start = time.perf_counter()
            item = next(stream)
            longest = max(longest, time.perf_counter() - start)
            if item != before + 1:
                raise RuntimeError("items were lost or doubled")
            before = item
        found.append(longest * 1e3)
    stream.close()
    return figure(found)


def _rate(case: Case, outcome: Outcome) -> str:
    if isinstance(outcome, Missing):
        return f"missing: {outcome.reason}"
    if case.megabytes:
        return f"{number(case.megabytes / outcome.median * 1e9)} MB/s"
    return f"{number(1e9 / outcome.median)} items/s"


def _spent(outcome: Outcome) -> str:
    return "" if isinstance(outcome, Missing) else f"{number(outcome.median / 1000)} µs"


def elsewhere(effort: Effort) -> Topic:
    """One worker, the peers', a thread, and several workers."""
    bars: list[Bar] = []
    rows: list[list[str]] = []
    for case in CASES:
        clock, processor = contend(case, effort)
        against = {PESCADOR: {0: 10.0, 1: 3.0}.get(case.megabytes, 5.0)}
        if case.source is made:
            against = {PESCADOR: 6.0}
        elif case.megabytes == 1:
            against[TORCH] = 3.0
        elif case.megabytes:
            against[COPY] = 0.5
        bars += [
            Bar(f"{case.name}: times the rate of {name}", ratio(clock[name], clock[OURS]), least=least)
            for name, least in against.items()
        ]
        spent = ratio(processor[OURS], processor[PESCADOR])
        bars.append(Bar(f"{case.name}: processor time of both sides, times {PESCADOR}", spent, most=1))
        rows += [
            [case.name if name == OURS else "", name, _rate(case, clock[name]), _spent(processor[name])]
            for name in clock
        ]
    rounds = 3 if effort.quick else 9
    cold, warm = first_items(rounds)
    bars += [
        Bar("first item, in a fresh program", cold, "ms", most=300),
        Bar("first item, of the next stream", warm, "ms", most=30),
        Bar("from SIGKILL to the next item, 100,000 and more to repeat", recovery(rounds), "ms", most=1000),
    ]
    shutdown()
    bars += threads(effort)
    shared, cheap = several(effort)
    bars += shared
    text = (
        "One worker process that runs the whole stream; by the clock, since two processes share the work. A small dict "
        "is 16 floats and an array without dimensions; the consumer drops what it gets. In each round everyone opens a "
        "stream and sees it to its end; the middle three quarters are timed. torch is given tensors, which it moves "
        "through shared memory, and no batches; grain its arrays. Processor time is that of the consumer and the "
        "worker together. Where several workers share the streams of a mux, rates are by the clock over thousands of "
        "items, of one run each; what sleeps leaves the processor to the others, so that more workers than cores count."
    )
    title = "Items a second or megabytes a second by the clock, and processor time an item."
    return Topic("Elsewhere", text, bars, [Table(title, ["", "", "rate", "processor time"], rows), cheap])


def threads(effort: Effort) -> list[Bar]:
    """`prefetch` on small items, in processor time of both threads, and by the clock."""

    def ahead() -> Iterator[object]:
        return prefetch(partial(forever, 0), 256)()

    openers: Mapping[str, Any] = {OURS: ahead, "bare": partial(forever, 0)}
    found = race(openers, effort)
    ours = found[OURS]
    assert isinstance(ours, Timing)
    stream = ahead()
    taken = []
    for _ in range(effort.rounds):
        start = time.perf_counter()
        deque(islice(stream, 20_000), maxlen=0)
        taken.append((time.perf_counter() - start) / 20_000 * 1e6)
    spent = figure([ns / 1000 for ns in ours.ns])
    return [
        Bar("`prefetch(256)`, small items: processor time an item", spent, "µs", most=2),
        Bar("`prefetch(256)`, small items: an item, by the clock", figure(taken[1:]), "µs", most=2),
    ]
