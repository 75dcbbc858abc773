"""What can go wrong, and how it is said.

An error names the function, the value it got, the rule and the remedy. Checks run when a pipeline is built.

    RuntimeError
    └── WorkerError      something in a worker that could not reach the consumer as itself
        └── WorkerDied   a worker died again and again at the same item
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

__all__ = [
    "RemoteTraceback",
    "ReplayMismatch",
    "StateMismatch",
    "Unsettled",
    "WorkerDied",
    "WorkerError",
    "check_choice",
    "check_count",
    "check_number",
    "ended_early",
    "show",
]


class StateMismatch(ValueError):  # noqa: N818, as one says it
    """A state that does not fit the pipeline, or is no state: the message names the first place that differs."""


class ReplayMismatch(RuntimeError):  # noqa: N818, as one says it
    """A stream that is replayed did not give what it had given before: its factory is not pure."""


def ended_early(where: str, when: str = "before the item that it had reached") -> ReplayMismatch:
    """What to raise where a stream that is replayed gives fewer items than it had given."""
    return ReplayMismatch(f"{where}: the stream ended {when}; a factory must give the same items whenever it is called")


class Unsettled(RuntimeError):  # noqa: N818, it passes
    """A stream cannot be saved as it stands; after another pull it can."""


class WorkerError(RuntimeError):
    """An exception, or an item, that could not be brought from a worker as itself; it says which, and why."""


class WorkerDied(WorkerError):  # noqa: N818, as one says it
    """The process that ran a stream died again and again without an item between; it says how, and at which item."""


class RemoteTraceback(Exception):  # noqa: N818, it is no error of its own
    """What an exception from a worker has as its cause: the traceback there, as text."""

    def __str__(self) -> str:
        return "\n\n" + "".join(map(str, self.args)).rstrip()


def show(value: object, most: int = 60) -> str:
    """The ``repr`` of a value, cut to ``most`` characters; one that fails, as of a very deep list, is told of."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= most else text[: most - 1] + "…"


def check_count(function: str, name: str, value: Any, least: int) -> int:
    """An ``int >= least``, from any integer type but ``bool``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{function}: {name}={show(value)} is not an integer; give one that is at least {least}")
    if int(value) < least:
        raise ValueError(f"{function}: {name}={show(value)} is too small; give an integer that is at least {least}")
    if int(value) > 2**62:
        raise ValueError(f"{function}: {name}={show(value)} is too large; give an integer that is at most 2**62")
    return int(value)


def check_number(function: str, name: str, value: Any, least: float, most: float = float("inf")) -> float:
    """A finite ``int`` or ``float`` in ``[least, most]``, from any real number type but ``bool``."""
    span = f"from {least:g} to {most:g}" if most != float("inf") else f"of at least {least:g}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{function}: {name}={show(value)} is not a number; give one {span}")
    number = int(value) if isinstance(value, Integral) else float(value)
    if not least <= number <= most or number == float("inf"):
        raise ValueError(f"{function}: {name}={show(value)} is out of range; give a finite number {span}")
    return number


def check_choice(function: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    """One of a few words."""
    if value not in choices:
        raise ValueError(f"{function}: {name}={show(value)} is unknown; choose from {', '.join(map(repr, choices))}")
