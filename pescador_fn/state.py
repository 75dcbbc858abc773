"""States: where a stream stands, as plain data, and back.

A state names what is open and how far it is. It does not hold items, so what was drawn is drawn again where it is
resumed: an opaque stream is pulled as often as it had been. Every stage writes its own part:

    {"pescador_fn": 2, "seed": …, "stages": […], "at": [which of the stages, its state], "sum": …}

The state of a stage has in it, in the same form, those of what is open below it.
``stages`` is a list because thousands of streams may be of a few kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pescador_fn.errors import StateMismatch, Unsettled, show
from pescador_fn.hashing import hashed
from pescador_fn.replaying import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "ELSEWHERE",
    "OPAQUE",
    "VERSION",
    "Loader",
    "Moment",
    "Saver",
    "check_state",
    "describe",
    "digest",
    "pack",
    "plain",
]

VERSION = 2
OPAQUE: dict[str, Any] = {"": "a factory"}  # what is known of a user's factory
ELSEWHERE = ("parallel", "prefetch")  # where items are made is not part of a state


class Saver:
    """Writes one state: ``verify`` asks for a checksum of every opaque stream that is open."""

    __slots__ = ("known", "numbers", "stages", "verify")

    def __init__(self, *, verify: bool = False) -> None:
        self.verify: bool = verify
        self.stages: list[dict[str, Any]] = []
        self.numbers: dict[str, int] = {}  # by how a description, which is plain data, is written
        self.known: dict[int, int] = {}  # by the identity of the description, which its node keeps

    def running(self, running: Any) -> list[Any]:
        """What a running stage or stream is, and its state."""
        if running.torn:
            raise Unsettled("state_dict: a signal has come between two items; pull the next one, then take the state")
        about = running.about()
        which = self.known.get(id(about))
        if which is None:
            which = self.numbers.setdefault(repr(about), len(self.stages))
            if which == len(self.stages):
                self.stages.append(about)
            self.known[id(about)] = which
        return [which, running.save(self)]

    def checksum(self, n: int, again: Callable[[], tuple[Iterator[Any], Any, Any]]) -> str:
        """A checksum of what ``n`` calls gave, of a stream that ``again`` opens once more."""
        items, owner, _ = again()
        try:
            return str(replay(items, n, "state_dict", verify=True, ended=True)[1])
        finally:
            if owner is not None:
                owner.close()


class Moment(Saver):
    """Tells one moment of a stream from another, in less time than a state takes."""

    __slots__ = ()

    def running(self, running: Any) -> list[Any]:
        """What a state would be of, without what is below a mux."""
        return [running.moment(self)]


class Loader:
    """Reads one state: holds what is read against the pipeline, and knows where in it the reading is."""

    __slots__ = ("notes", "path", "stages")

    def __init__(self, stages: list[dict[str, Any]]) -> None:
        self.stages: list[dict[str, Any]] = stages
        self.path: list[str] = []
        self.notes: list[str] = []  # what fits, and its user should know

    @property
    def where(self) -> str:
        """The way to the stage that is being read."""
        return " → ".join(self.path)

    def running(self, running: Any, saved: list[Any], label: Any = None) -> Any:
        """Let a running stage that has opened nothing stand where a saved one stood; what is to run in its place.

        The one may be made elsewhere and the other not: a note and the calls since, and where a stage stands by itself,
        say the same.
        """
        which, state = saved
        theirs, ours = self.stages[which], running.about()
        elsewhere = theirs[""] in ELSEWHERE, ours[""] in ELSEWHERE
        if label is not None:
            self.path[-1] += f"[{label!r}]"
        self.path.append(ours[""])
        if elsewhere == (False, True):
            state = [{"stages": self.stages, "at": saved}, 0, False]
        elif elsewhere == (True, False):
            running = running.behind()
        elif not elsewhere[0]:
            self._match(theirs, ours)
        running.load(state, self)
        self.path.pop()
        if label is not None:
            self.path[-1] = self.path[-1].removesuffix(f"[{label!r}]")
        return running

    def inner(self, stages: list[dict[str, Any]]) -> Loader:
        """A reader of a state that is kept in this one, below where this one is; it adds to the same notes."""
        found = Loader(stages)
        found.path, found.notes = [*self.path], self.notes
        return found

    def _match(self, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        if theirs == ours:
            return
        if theirs[""] != ours[""]:
            raise self.mismatch(f"the state has {theirs['']} here")
        names = theirs.get("names"), ours.get("names")
        renamed = None not in names and names[0] != names[1]
        if renamed and ours.get("mode") != "exhaustive":
            # Other streams, other odds: what is open goes on, and the draws are those of the new pipeline.
            self.notes.append(
                f"resume: {self.where}: streams were added or removed since the state was taken; "
                "those that are open go on, and draws from here on are not those of the saved run"
            )
            theirs, ours = ({**one, **dict.fromkeys(_BY_NAMES)} for one in (theirs, ours))
        for key in ["names", *ours, *theirs]:
            if theirs.get(key) != ours.get(key):
                raise self.mismatch(_differ(key, ours.get(key), theirs.get(key)))

    def mismatch(self, what: str) -> StateMismatch:
        """An error that says where in the pipeline the state does not fit."""
        return StateMismatch(f"resume: {self.where}: {what}; resume with the pipeline that the state was taken of")

    def indices(self, parts: Any, keys: list[Any]) -> list[int]:
        """Which of the factories some keys of the state mean, as far as there are any."""
        found = map(parts.index_of, keys)
        return [index for index in found if index is not None]

    def index(self, parts: Any, key: Any) -> int:
        """Which of the factories a key of the state means."""
        found = parts.index_of(key)
        if found is None:
            raise self.mismatch(f"the stream {key!r} is open in the state and not among the factories")
        return int(found)


_BY_NAMES = ("names", "order", "factories", "weights", "parts")  # what differs where streams were added or removed


def _differ(key: str, ours: Any, theirs: Any) -> str:
    if key == "factories":
        return f"{ours} factories, the state has {theirs}"
    if key == "names" and None in (ours, theirs):
        return "the factories are a sequence in one and a mapping in the other"
    if key == "names":
        return "other names; where every stream comes once, those that are done are known by their place only"
    if key == "order":
        return "the names are in another order, by which the draws go"
    if key == "parts":
        return "the factories are not those of the state"
    return f"{key}={ours}, the state has {key}={theirs}"


def _text(value: Any) -> str:
    """Plain data as JSON, always in the same way."""
    import json  # here, because few programs take a state, and all import this package

    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """A short digest of plain data."""
    return hashed(_text(value).encode(), 6).hexdigest()


def describe(value: Any) -> Any:
    """An option of a stage as plain data: what is large by a digest, functions and objects by their names."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return f"an array of {len(value)}, {hashed(np.ascontiguousarray(value).data, 6).hexdigest()}"
    if isinstance(value, Mapping):
        return {str(name): describe(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [describe(one) for one in value]
    if isinstance(value, partial):
        return ["partial", describe(value.func), describe(value.args), describe(value.keywords)]
    named = value if hasattr(value, "__qualname__") else type(value)
    return str(named.__qualname__)


def plain(state: Any) -> Any:
    """A state as `json` gives it back; ``None`` where that is another, or none."""
    import json

    try:
        same = json.loads(json.dumps(state))
    except (TypeError, ValueError):
        return None
    return same if same == state else None


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """A state with the checksum by which `check_state` knows it."""
    return {**state, "sum": _sum(state)}


def _sum(state: dict[str, Any]) -> str:
    return hashed(_text(state).encode(), 8).hexdigest()


def check_state(state: Any) -> dict[str, Any]:
    """A state as `pack` made it; anything else is refused."""
    remedy = "give what state_dict() returned, or the same after json.loads"
    if not isinstance(state, Mapping):
        raise TypeError(f"resume: state={show(state)} is not a dict; {remedy}")
    version = state.get("pescador_fn")
    if version is None:
        raise StateMismatch(f"resume: state={show(state)} is not a state of this library; {remedy}")
    if version != VERSION:
        raise StateMismatch(
            f"resume: the state is of version {show(version)} and this library reads version {VERSION}; "
            "resume it with the library that wrote it"
        )
    rest = {key: value for key, value in state.items() if key != "sum"}
    try:
        whole = state.get("sum") == _sum(rest)
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise StateMismatch(f"resume: the state was changed or cut since it was written; {remedy}")
    return {**state}
