"""30,000 files of 1 GB apparent size: open files, memory and samples a second of a working set over them.

The files are sparse, so they take next to no disk; they are memory-mapped, and removed at the end in every case.
"""

from __future__ import annotations

import mmap
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from benchmarks.measure import Effort, Figure, Missing, Opener, figure, race, ratio, why
from benchmarks.peers import peer
from benchmarks.report import BARE, OURS, Bar, Table, Topic, compare, number
from benchmarks.sources import N_ACTIVE, RATE, bare_working_set, schedule
from pescador_fn import source, stochastic_mux

if TYPE_CHECKING:
    from collections.abc import Iterator

N_FILES, ROW, APPARENT_BYTES = 30_000, 16, 10**9
SAMPLES, LOOKS = N_FILES * RATE, 20


class Handles:
    """How many files the source holds open now, held at most, and has opened."""

    now = most = total = 0

    @classmethod
    def enter(cls) -> None:
        """A file was opened."""
        cls.total += 1
        cls.now += 1
        cls.most = max(cls.most, cls.now)

    @classmethod
    def leave(cls) -> None:
        """A file was closed."""
        cls.now -= 1


def sample_file(path: Path, *, rng: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
    """Random rows of a memory-mapped file; copies, since a view would keep the file mapped."""
    rows = np.load(path, mmap_mode="r")
    rows.base.madvise(mmap.MADV_RANDOM)  # else the kernel may read megabytes ahead of every row
    Handles.enter()
    try:
        while True:
            yield {"x": np.array(rows[rng.integers(len(rows))])}
    finally:
        Handles.leave()


def make_files(folder: Path, n: int) -> list[Path]:
    """``n`` sparse files that each hold a header and a great many zeros."""
    length = APPARENT_BYTES // (8 * ROW)
    paths = [folder / f"{i:05}.npy" for i in range(n)]
    for path in paths:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (length, ROW)})
            file.truncate(file.tell() + length * ROW * 8)
    return paths


def mapped(folder: Path) -> int:
    """Files of ``folder`` that this process has mapped, as the kernel counts them."""
    maps = Path("/proc/self/maps")
    return sum(str(folder) in line for line in maps.read_text().splitlines()) if maps.exists() else 0


def _ours(paths: list[Path], seed: int) -> Iterator[object]:
    rows = source(sample_file)
    return stochastic_mux([rows(path) for path in paths], n_active=N_ACTIVE, rate=RATE, seed=seed)()


def _pescador(paths: list[Path]) -> Iterator[object]:
    pescador, rng = peer("pescador"), np.random.default_rng(0)
    streamers = [pescador.Streamer(sample_file, path, rng=rng) for path in paths]
    return pescador.StochasticMux(streamers, N_ACTIVE, RATE, random_state=0).iterate()


def _bare(paths: list[Path]) -> Iterator[object]:
    rng = np.random.default_rng(0)
    return bare_working_set([partial(sample_file, path, rng=rng) for path in paths], schedule(len(paths), None))


def out_of_core(effort: Effort) -> Topic:
    """The run over all files."""
    n, samples = (3_000, SAMPLES // 10) if effort.quick else (N_FILES, SAMPLES)
    with tempfile.TemporaryDirectory(prefix="out_of_core_") as name:
        start = time.perf_counter()
        paths = make_files(Path(name), n)
        made_s = time.perf_counter() - start
        try:
            bars, table = _watch(paths, samples)
        except Exception as error:
            bars, table = [Bar("run over all files", Missing(why(error)))], None
        openers: dict[str, Opener] = {
            OURS: partial(_ours, paths, 1),  # other rows than the run above has read
            BARE: partial(_bare, paths),
            "pescador StochasticMux": partial(_pescador, paths),
        }
        found = race(openers, effort, warm={OURS: 2 * N_ACTIVE * RATE, BARE: 2 * N_ACTIVE * RATE})
    bars.append(Bar("times a bare loop over the same files", ratio(found[OURS], found[BARE])))
    bars.append(Bar("pescador over ours", ratio(found["pescador StochasticMux"], found[OURS])))
    text = (
        f"{n:,} sparse `.npy` files of {APPARENT_BYTES / 1e9:g} GB apparent size, made in {number(made_s)} s, "
        f"memory-mapped by the source, `stochastic_mux(n_active={N_ACTIVE}, rate={RATE})`, {samples:,} samples. "
        "The source counts what it opens and closes; the kernel's own list of mappings is looked at from time to time."
    )
    tables = [*([table] if table else []), compare("A sample.", {"these files": found})]
    return Topic("Out of core", text, bars, tables)


def _watch(paths: list[Path], samples: int) -> tuple[list[Bar], Table]:
    process = psutil.Process()
    Handles.now = Handles.most = Handles.total = 0
    looks = []
    every = samples // LOOKS
    spent = 0.0
    start = time.perf_counter()
    stream = _ours(paths, 0)
    next(stream)
    first_s = time.perf_counter() - start
    for look in range(1, LOOKS + 1):
        start = time.perf_counter()
        for _ in range(every):
            next(stream)
        spent += time.perf_counter() - start
        looks.append((look * every, process.memory_info().rss / 1e6, mapped(paths[0].parent), process.num_fds()))
    opened, most = Handles.total, Handles.most
    del stream
    rss = [look[1] for look in looks]
    half = len(rss) // 2
    bars = [
        Bar("files open at once, counted by the source", _one(most), "files", most=N_ACTIVE),
        Bar("files mapped at once, seen by the kernel", _one(max(look[2] for look in looks)), "files", most=N_ACTIVE),
        Bar("files still open once the stream is dropped", _one(Handles.now), "files", most=0),
        Bar(
            "peak memory of the second half over that of the first",
            _one(max(rss[half:]) - max(rss[:half])),
            "MB",
            most=5,
        ),
        Bar("samples a second", _one(samples / spent), "a second"),
        Bar("first sample", _one(first_s), "s"),
        Bar("files opened", _one(opened), "in all"),
    ]
    rows = [[f"{at:,}", number(mb), str(maps), str(fds)] for at, mb, maps, fds in looks[1::2]]
    header = ["samples", "resident memory, MB", "files mapped", "file descriptors"]
    return bars, Table("Looked at on the way.", header, rows)


def _one(value: float) -> Figure:
    return figure([value])
