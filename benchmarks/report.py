"""Figures against their bars, as Markdown."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from benchmarks.measure import Effort, Figure, Missing, Outcome, ratio
from benchmarks.peers import DISTRIBUTIONS

if TYPE_CHECKING:
    from pathlib import Path

TIMES = "\N{MULTIPLICATION SIGN}"

BARE = "the bare loop"
INLINE = "the same without `yield`"
OURS = "pescador_fn"


def number(value: float) -> str:
    """Three digits that say something."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 0.1 else f"{value:.{1 if value >= 10 else 2}f}"


@dataclass(frozen=True)
class Bar:
    """A figure and what it must not exceed, or must reach."""

    row: str
    figure: Figure | Missing
    unit: str = TIMES
    most: float | None = None
    least: float | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the figure keeps to the bar; ``None`` where there is no bar, or no figure."""
        if isinstance(self.figure, Missing) or (self.most is None and self.least is None):
            return None
        if self.most is not None and self.figure.value > self.most:
            return False
        return self.least is None or self.figure.value >= self.least

    def cells(self) -> list[str]:
        """The row of a table."""
        must = "" if self.most is None else f"≤ {self.most:g} {self.unit}"
        must = must if self.least is None else f"≥ {self.least:g} {self.unit}"
        if isinstance(self.figure, Missing):
            return [self.row, f"not measured: {self.figure.reason}", "", must, ""]
        verdict = {True: "yes", False: "**no**", None: ""}[self.passed]
        low, high = number(self.figure.low), number(self.figure.high)
        spread = "" if low == high else f"{low} to {high}"
        return [self.row, f"{number(self.figure.value)} {self.unit}", spread, must, verdict]


@dataclass(frozen=True)
class Table:
    """A plain table."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """As Markdown."""
        return f"{self.title}\n\n" + grid(self.header, self.rows)


@dataclass(frozen=True)
class Topic:
    """What one module of benchmarks found."""

    title: str
    text: str
    bars: list[Bar] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def markdown(self) -> str:
        """As a section."""
        parts = [f"## {self.title}", self.text]
        if self.bars:
            parts.append(grid(["", "measured", "quartiles", "must be", "kept"], [bar.cells() for bar in self.bars]))
        parts += [table.markdown() for table in self.tables]
        return "\n\n".join(parts)


def grid(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def cell(outcome: Outcome, base: Outcome | None) -> str:
    """Nanoseconds a sample, times the base, and the time to the first sample where that is long."""
    if isinstance(outcome, Missing):
        return f"missing: {outcome.reason}"
    text = f"{number(outcome.median)} ns"
    times = ratio(outcome, base) if base is not None and base is not outcome else None
    if isinstance(times, Figure):
        text += f", {number(times.value)} {TIMES}"
    return text if outcome.first_s < 1 else f"{text} (first sample after {number(outcome.first_s)} s)"


def compare(title: str, columns: dict[str, dict[str, Outcome]], base: str = BARE, extra: str = "") -> Table:
    """Contenders by cases: nanoseconds a sample, and how many times ``base`` of the same case."""
    names = list(dict.fromkeys(name for outcomes in columns.values() for name in outcomes))
    rows = [
        [name, *(cell(found[name], found.get(base)) if name in found else "" for found in columns.values())]
        for name in names
    ]
    return Table(f"{title} Nanoseconds, and times {base}.{extra}", ["", *columns], rows)


def versions() -> list[list[str]]:
    """The version of everything that took part."""

    def found(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    return [[name, found(name)] for name in ("pescador-fn", "numpy", *DISTRIBUTIONS)]


def page(topics: list[Topic], effort: Effort, command: str, took_s: float) -> str:
    """The whole report."""
    bars = [bar for topic in topics for bar in topic.bars]
    kept = sum(bar.passed is True for bar in bars)
    missed = [[topic.title, *bar.cells()[:4]] for topic in topics for bar in topic.bars if bar.passed is False]
    unknown = sum(isinstance(bar.figure, Missing) for bar in bars)
    today = datetime.now(UTC).date().isoformat()
    parts = [
        "# Benchmarks",
        f"Written by `{command}` on {today}, in {took_s / 60:.1f} minutes; nothing here is typed by hand. "
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores. "
        "The machine is a shared virtual one: a ratio says more than a time.",
        f"Every figure is taken in one run, by turns: {effort.rounds} rounds, each giving every contender a slice of "
        f"about {effort.slice_s * 1000:g} ms of processor time; the contenders of a bar by themselves, for twice the "
        "rounds, and then again among the peers. A ratio is the median over the rounds of the ratio within the round, "
        "and its quartiles stand beside it. The garbage collector is on. Sources are generator functions that yield a "
        "ready-made dict of two small arrays. The bare loop is a generator over precomputed indices, "
        "`for i in indices: yield next(streams[i])`, pulled in the same way as the rest. "
        f"A peer that gives no sample within {effort.open_limit_s:g} s, or fails, is named as missing.",
        f"{kept} bars are kept, {len(missed)} are not, {unknown} could not be measured.",
    ]
    if missed:
        parts.append(grid(["missed", "", "measured", "quartiles", "must be"], missed))
    parts += [topic.markdown() for topic in topics]
    parts += ["## Versions", grid(["", "version"], [*versions(), ["Python", sys.version.split()[0]]])]
    return "\n\n".join(parts) + "\n"


def write(text: str, path: Path) -> None:
    """Write the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
