"""The processor time that an import takes, each in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.measure import Effort, Missing, Outcome, Timing, ratio
from benchmarks.peers import MODULES
from benchmarks.report import Bar, Table, Topic, number

CODE = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"


def _import_s(module: str) -> float:
    # As installed: packages from an index come with bytecode, and ours may write its own.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", CODE.format(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise ImportError(done.stderr.strip().splitlines()[-1])
    return float(done.stdout.split()[-1])


def _race(modules: tuple[str, ...], rounds: int) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    taken: dict[str, list[float]] = {}
    for turn in range(rounds + 1):  # the first round fills the disk's cache and the bytecode
        for module in modules:
            if module in found:
                continue
            try:
                seconds = _import_s(module)
            except ImportError as error:
                found[module] = Missing(str(error))
                continue
            if turn:
                taken.setdefault(module, []).append(seconds)
    return found | {module: Timing(tuple(seconds), 0) for module, seconds in taken.items()}


def imports(effort: Effort) -> Topic:
    """Ours over numpy's."""
    found = _race(("numpy", "pescador_fn"), effort.rounds)
    bars = [Bar("`import pescador_fn`: times `import numpy`", ratio(found["pescador_fn"], found["numpy"]), most=1.3)]
    found |= _race(MODULES, 1)
    rows = [
        [name, f"missing: {took.reason}" if isinstance(took, Missing) else f"{number(took.median * 1000)} ms"]
        for name, took in found.items()
    ]
    text = "In a fresh interpreter each, by turns, processor time without the start of the interpreter."
    return Topic("Import", text, bars, [Table("Milliseconds to import.", ["", ""], rows)])
