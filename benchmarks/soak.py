"""Ten million items from several workers, one of which is killed every few seconds: ``python -m benchmarks soak``."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pescador_fn import parallel, shuffled_mux, shutdown, stochastic_mux

if TYPE_CHECKING:
    from pescador_fn import Factory

PART = 1000  # items of a stream


def workers() -> list[int]:
    """The worker processes of this program, busy or not."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        pids: list[str] = []
        with suppress(OSError):  # a thread that has just ended, as processes may below
            pids = (task / "children").read_text().split()
        for pid in pids:
            with suppress(OSError):
                if b"pescador_fn" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
    return found


def _numbers(part: int) -> range:
    return range(part * PART, (part + 1) * PART)


def whole(n: int) -> Factory[int]:
    """Every number below ``n``, once: streams that stay open, and others that take each other's places."""
    parts = [partial(_numbers, part) for part in range(n // PART)]
    some = stochastic_mux(parts[40:], n_active=40, rate=None, mode="exhaustive")
    return shuffled_mux([*parts[:40], some], weights=[1] * 40 + [len(parts) - 40], on_exhausted="drop", seed=0)


def soak(n: int = 10_000_000, n_workers: int = 3, every_s: float = 3.0) -> str:
    """What happened; an error if an item was lost, doubled or out of its place."""
    kills, longest, choose = 0, 0.0, random.Random(0)
    start = kill_at = time.perf_counter()
    expected, nexts, got = whole(n)(), list(range(0, n, PART)), 0
    with parallel(whole(n), n_workers)() as stream:
        while True:
            before = time.perf_counter()
            items = list(islice(stream, 5000))
            longest = max(longest, time.perf_counter() - before)
            if items != list(islice(expected, 5000)):
                raise RuntimeError(f"the items after {got:,} are not those that are made in process")
            if not items:
                break
            for item in items:  # the same by itself: each stream in its order, nothing left out
                if item != nexts[item // PART]:
                    raise RuntimeError(f"{item} came where {nexts[item // PART]} was due")
                nexts[item // PART] += 1
            got += len(items)
            if time.perf_counter() - kill_at > every_s and (pids := workers()):
                with suppress(ProcessLookupError):
                    os.kill(choose.choice(pids), signal.SIGKILL)
                    kills += 1
                kill_at = time.perf_counter()
    shutdown()
    if got != n:
        raise RuntimeError(f"{got:,} items came of {n:,}")
    return (
        f"{got:,} items from {n_workers} workers, every one once and in order; {kills} workers killed; "
        f"{time.perf_counter() - start:.0f} s; 5,000 items in {longest * 1e3:.0f} ms at most"
    )


def main(n: int = 10_000_000) -> None:
    """One worker, and several."""
    for n_workers in (1, 3):
        sys.stdout.write(soak(n, n_workers) + "\n")
        sys.stdout.flush()
