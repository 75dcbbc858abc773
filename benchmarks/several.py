"""Several workers: what is made, opened and waited for at once, and what splitting costs where nothing is slow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

import pescador_fn
from benchmarks.measure import Effort, Figure, figure
from benchmarks.report import Bar, Table, number
from benchmarks.soak import workers
from benchmarks.sources import listed
from pescador_fn import parallel, shuffled_mux, shutdown, stochastic_mux

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn import Factory

Engine = Literal["process", "thread"]


def slow_items(which: int) -> Iterator[int]:
    """Each item takes 10 ms of waiting."""
    while True:
        time.sleep(0.01)
        yield which


def slow_to_open(which: int) -> Iterator[int]:
    """Opening takes 200 ms of waiting, an item nothing."""
    time.sleep(0.2)
    while True:
        yield which


def rate(factory: Factory[object], n: int, before: int) -> float:
    """Items a second by the clock, of ``n`` that come after those ``before``."""
    with factory() as stream:
        deque(islice(stream, before), maxlen=0)
        start = time.perf_counter()
        deque(islice(stream, n), maxlen=0)
        return n / (time.perf_counter() - start)


def speed(factory: Factory[int], n_workers: int, engine: Engine, n: int) -> tuple[Figure, Figure]:
    """Items a second of several workers, and how many times the rate of one that is."""
    one = rate(parallel(factory, engine=engine), 150, 20)
    many = rate(parallel(factory, n_workers, engine=engine), n, 20)
    return figure([many]), figure([many / one])


def waits(factory: Factory[int], n: int) -> float:
    """The 99.9th percentile of the milliseconds that a consumer waits for an item, who takes 2.5 ms for each."""
    with factory() as stream:
        deque(islice(stream, 50), maxlen=0)
        found = []
        for _ in range(n):
            time.sleep(0.0025)
            start = time.perf_counter()
            next(stream)
            found.append(time.perf_counter() - start)
    return float(np.percentile(found, 99.9)) * 1e3


FIRST = """
import time
from pescador_fn import parallel, shuffled_mux
streams = shuffled_mux([range(3).__iter__] * 8, seed=0)
for _ in range(2):
    start = time.perf_counter()
    next(parallel(streams, 4)())
    print(time.perf_counter() - start)
"""


def first_items(rounds: int) -> tuple[Figure, Figure]:
    """Milliseconds to the first item of four workers in a fresh program, and to that of the next stream."""
    environment = dict(os.environ, PYTHONPATH=str(Path(pescador_fn.__file__).parent.parent))
    found: list[list[float]] = [[], []]
    for _ in range(rounds):
        command = [sys.executable, "-c", FIRST]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for times, told in zip(found, done.stdout.split(), strict=True):
            times.append(float(told) * 1e3)
    return figure(found[0]), figure(found[1])


def recovery(rounds: int, each: int = 20_000) -> Figure:
    """The longest wait for an item, in milliseconds, where one of three workers is killed after each ``each``."""
    shutdown()
    mux = shuffled_mux([range(k, 10**9, 30).__iter__ for k in range(30)], seed=0)
    expected, found = islice(mux(), each, None), []
    with parallel(mux, 3)() as stream:
        deque(islice(stream, each), maxlen=0)
        for turn in range(rounds):
            os.kill(sorted(workers())[turn % 3], signal.SIGKILL)
            longest = 0.0
            for _ in range(each):  # what was on its way comes first, then the wait
                start = time.perf_counter()
                item = next(stream)
                longest = max(longest, time.perf_counter() - start)
                if item != next(expected):
                    raise RuntimeError("items were lost or doubled")
            found.append(longest * 1e3)
    return figure(found)


def cheap(effort: Effort) -> Table:
    """Small dicts that are ready: in process, from one worker, and split."""
    muxes: dict[str, Factory[object]] = {
        "`stochastic_mux`, 1,000 streams, 100 active, rate 8": stochastic_mux(listed(1000), 100, 8, seed=0),
        "`shuffled_mux`, 100 streams": shuffled_mux(listed(100), seed=0),
    }
    n = 30_000 if effort.quick else 100_000
    rows = []
    for name, mux in muxes.items():
        ways = [mux, parallel(mux), parallel(mux, 2), parallel(mux, 4)]
        found = [sorted(rate(way, n, 5000) for _ in range(3))[1] for way in ways]
        rows.append([name, *(f"{number(one)} items/s" for one in found)])
    title = "What splitting costs where items cost nothing: the median of three runs, by the clock."
    return Table(title, ["", "in process", "one worker", "split over two", "split over four"], rows)


def several(effort: Effort) -> tuple[list[Bar], Table]:
    """The figures of several workers."""
    shuffled = shuffled_mux([partial(slow_items, k) for k in range(100)], seed=0)
    stochastic = stochastic_mux([partial(slow_items, k) for k in range(1000)], 100, 8, seed=0)
    muxes = {"`shuffled_mux`, 100 streams": shuffled, "`stochastic_mux`, 100 active of 1,000": stochastic}
    n = 1000 if effort.quick else 3000
    bars = []
    ways: list[tuple[int, Engine, float]] = [(4, "process", 3.5), (16, "thread", 14.0)]
    for n_workers, engine, least in ways:
        one = "worker" if engine == "process" else "thread"
        for name, mux in muxes.items():
            many, times = speed(mux, n_workers, engine, n)
            row = f"10 ms an item, {name}: {n_workers} {one}s"
            bars += [
                Bar(row, many, "items/s"),
                Bar(f"{row}, times the rate of one {one}", times, least=least),
            ]
    opened = stochastic_mux([partial(slow_to_open, k) for k in range(1000)], n_active=20, rate=50, seed=0)
    row = "200 ms to open a stream, 20 active, rate 50, a consumer of 2.5 ms an item: 99.9th percentile of its wait"
    n = 1500 if effort.quick else 3000  # so many that all that is open at first is replaced
    here, there = figure([waits(opened, n)]), figure([waits(parallel(opened, 2), n)])
    rounds = 3 if effort.quick else 9
    cold, warm = first_items(rounds)
    bars += [
        Bar(f"{row}, in process", here, "ms"),
        Bar(f"{row}, 2 workers", there, "ms", most=20),
        Bar("first item of 4 workers, in a fresh program", cold, "ms", most=600),
        Bar("first item of 4 workers, of the next stream", warm, "ms"),
        Bar("from SIGKILL of one of 3 workers to the next item", recovery(rounds), "ms", most=1000),
    ]
    table = cheap(effort)
    shutdown()
    return bars, table
