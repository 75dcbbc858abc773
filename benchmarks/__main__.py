"""``python -m benchmarks``: print every ratio, and write them to ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import (
    batches,
    elsewhere,
    imports,
    muxes,
    out_of_core,
    peers,
    resume,
    soak,
    working_set,
)
from benchmarks.measure import QUICK, Effort
from benchmarks.report import page, write

# Those that weigh memory come first, before the peers are loaded.
TOPICS = {
    "import": imports.imports,
    "out_of_core": out_of_core.out_of_core,
    "million": working_set.first,
    "shuffled": muxes.shuffled,
    "working_set": working_set.samples,
    "children": working_set.children,
    "rng": working_set.injected,
    "round_robin": muxes.turns,
    "chain": muxes.chains,
    "nest": muxes.nests,
    "batch": batches.batches,
    "cache": batches.cached,
    "state": resume.states,
    "resume": resume.resumes,
    "elsewhere": elsewhere.elsewhere,
}
LIGHT = ("import", "out_of_core", "million")
REPORT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["soak"], help="ten million items from workers that are killed")
    parser.add_argument("--only", action="append", choices=TOPICS, help="one topic; may be given again")
    parser.add_argument("--quick", action="store_true", help="short slices, few rounds, no slow peers")
    parser.add_argument("--output", type=Path, help="where to write; a full run writes docs/benchmarks.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # temporary files are removed

    if options.what == "soak":
        soak.main(200_000 if options.quick else 10_000_000)
        return
    effort = QUICK if options.quick else Effort()
    names = [name for name in TOPICS if not options.only or name in options.only]
    with tempfile.TemporaryDirectory(prefix="benchmarks_") as cache:
        os.environ["HF_HOME"] = cache  # Hugging Face keeps a folder for every generator
        _run(names, effort, options.output or (None if options.only or options.quick else REPORT))


def _run(names: list[str], effort: Effort, path: Path | None) -> None:
    start = time.perf_counter()
    found = []
    loaded = False
    for name in names:
        if name not in LIGHT and not loaded:
            peers.load()
            loaded = True
        topic_start = time.perf_counter()
        found.append(TOPICS[name](effort))
        sys.stdout.write(f"{found[-1].markdown()}\n\n({name}: {time.perf_counter() - topic_start:.0f} s)\n\n")
        sys.stdout.flush()
    if path:
        command = " ".join(["python -m benchmarks", *sys.argv[1:]])
        write(page(found, effort, command, time.perf_counter() - start), path)
        sys.stdout.write(f"Written to {path}\n")


if __name__ == "__main__":
    main()
