"""States and resuming: what a state costs, and what is pulled again."""

from __future__ import annotations

import json
import statistics
import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import peers
from benchmarks.measure import Effort, Missing, consume, figure, why
from benchmarks.report import Bar, Table, Topic, number
from benchmarks.sources import N_ACTIVE, RATE, Lazy, listed
from pescador_fn import resume, shuffle, shuffled_mux, source, stochastic_mux

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pescador_fn import Factory, Stream

BUFFER = 10_000
WIDE = 30_000
APART = 10 * BUFFER  # so that the oldest item of a buffer is hardly ever the same at two places


class Counted:
    """Sources whose items say which source and which item of it they are, and that count every pull."""

    def __init__(self) -> None:
        self.pulled = 0

    def source(self, which: int) -> Iterator[tuple[int, int]]:
        """An endless source."""
        n = 0
        while True:
            self.pulled += 1
            yield which, n
            n += 1

    def listed(self, n: int) -> list[Callable[[], Iterator[tuple[int, int]]]]:
        """``n`` of them."""
        return [partial(self.source, which) for which in range(n)]


class Resumed(NamedTuple):
    """What one resume took: seconds to the first item, pulls, and whether the items were those that follow."""

    seconds: float
    pulled: int
    exact: bool


def states(effort: Effort) -> Topic:
    """What ``state_dict()`` costs."""
    repeats = 20 * effort.rounds
    bars = []
    mux = shuffled_mux([stochastic_mux(Lazy(10_000), N_ACTIVE, RATE) for _ in range(3)], seed=0)
    stream, drawn = mux(), 0
    for n in (0, 10_000, 100_000 if effort.quick else 1_000_000):
        consume(stream, n - drawn)
        drawn = n
        took = figure([second * 1e3 for second in _seconds(stream.state_dict, repeats)])
        size = len(json.dumps(stream.state_dict())) / 1e3
        case = f"`shuffled_mux` of three `stochastic_mux({N_ACTIVE}, {RATE})` over 10,000 sources, after {n:,} samples"
        bars += [
            Bar(f"{case}: `state_dict()`", took, unit="ms", most=1),
            Bar(f"{case}: its JSON", figure([size]), unit="KB", most=20),
        ]
    del stream

    wide = shuffled_mux(listed(WIDE), seed=0)()
    consume(wide, WIDE * 14)  # of 30,000 streams all but a few hundredths are open
    took = figure([second / WIDE * 1e6 for second in _seconds(wide.state_dict, effort.rounds)])
    size = len(json.dumps(wide.state_dict())) / WIDE
    case = f"`shuffled_mux` of {WIDE:,} open streams, a stream"
    bars += [
        Bar(f"{case}: `state_dict()`", took, unit="µs", most=0.5),
        Bar(f"{case}: its JSON", figure([size]), unit="bytes", most=20),
    ]
    text = "A state is taken between two items, again and again at the same place. A KB is 1,000 bytes."
    return Topic("States", text, bars)


def _seconds(call: Callable[[], object], repeats: int) -> list[float]:
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def resumes(effort: Effort) -> Topic:
    """What is pulled again, and for how long, after many samples; then the peers."""
    n = 100_000 if effort.quick else 10_000_000
    repeats = max(1, effort.rounds // 3)
    places = 2 * effort.rounds
    bars = []

    counted = Counted()
    mux = stochastic_mux(counted.listed(WIDE), N_ACTIVE, RATE, seed=0)
    case = f"`stochastic_mux({N_ACTIVE}, {RATE})` over {WIDE:,} opaque sources"
    bars += _bars(case, _resumed(mux, n, repeats, counted), most=2 * N_ACTIVE * RATE, most_s=1)

    counted = Counted()
    case = f"`shuffle({BUFFER:,})` over one opaque source"
    bars += _bars(case, _resumed(shuffle(partial(counted.source, 0), BUFFER, seed=0), n, repeats, counted), most=None)

    counted = Counted()
    mixed = stochastic_mux(counted.listed(WIDE), N_ACTIVE, RATE, seed=0)
    case = f"`shuffle({BUFFER:,})` over `stochastic_mux({N_ACTIVE}, {RATE})`"
    found = _resumed(shuffle(mixed, BUFFER, seed=0), n, repeats, counted, places)
    bars += _bars(case, found, most=15 * BUFFER, worst=True)

    counted = Counted()
    jumped = source(_from)(counted)
    case = f"`shuffle({BUFFER:,})` over a source that takes `start`"
    found = _resumed(shuffle(jumped, BUFFER, seed=0), n, repeats, counted, places)
    bars += _bars(case, found, most=15 * BUFFER, worst=True)

    case = "`shuffled_mux` of 10 `draws`"
    try:
        bars += _bars(case, _resumed(_indexed(10), n, repeats), most=None, most_s=0.2)
    except Exception as error:
        bars.append(Bar(f"{case}: to the first item", Missing(why(error)), unit="s", most=0.2))

    text = (
        f"A stream is saved after {n:,} samples, the state sent through JSON, and resumed; the 1,000 items that follow "
        "are held against those of the stream that was saved. Pulls are counted in the sources, up to the first item; "
        "seconds are from the call of `resume` to the first item, with what the sources themselves cost, which is next "
        "to nothing here. The age of the oldest item of a buffer is a matter of chance, about 10 buffers, so "
        f"shuffles are resumed at {places} places. One opaque source has no place to begin at but its start: it is "
        "pulled from there, whatever lies above it."
    )
    return Topic("Resuming", text, bars, [_against(effort)])


def _from(counted: Counted, *, start: int = 0) -> Iterator[tuple[int, int]]:
    while True:
        counted.pulled += 1
        yield 0, start
        start += 1


def _indexed(n: int) -> Factory[Any]:
    """A mix of random rows of something indexable."""
    from pescador_fn import draws

    return shuffled_mux([draws(range(i * 1000, (i + 1) * 1000)) for i in range(n)], seed=0)


def _bars(
    case: str, found: list[Resumed], *, most: int | None, most_s: float | None = None, worst: bool = False
) -> list[Bar]:
    took = figure([one.seconds for one in found])
    pulled = figure([float(one.pulled) for one in found])
    if not all(one.exact for one in found):
        return [Bar(case, Missing("the items that followed were others"), unit="items", most=most)]
    bars = [Bar(f"{case}: to the first item", took, unit="s", most=most_s)]
    if worst:
        largest = figure([float(max(one.pulled for one in found))])
        bars.append(Bar(f"{case}: pulled at the worst of {len(found)} places", largest, unit="items", most=most))
    return [Bar(f"{case}: pulled", pulled, unit="items", most=most), *bars] if pulled.high else bars


def _resumed(
    factory: Factory[Any], n: int, repeats: int, counted: Counted | None = None, places: int = 1
) -> list[Resumed]:
    """Resume a stream after ``n`` samples, ``repeats`` times; or once at each of several places from there on."""
    counted = counted or Counted()
    stream: Stream[Any] = factory()
    consume(stream, n)
    found = []
    for place in range(places):
        if place:
            consume(stream, APART)
        again = partial(_again, factory, json.loads(json.dumps(stream.state_dict())))
        after = list(islice(stream, 1000))
        found += [_once(again, after, counted) for _ in range(repeats if places == 1 else 1)]
    return found


def _again(factory: Factory[Any], state: dict[str, Any]) -> Iterator[Any]:
    return resume(factory, state)()


def _once(opener: Callable[[], Iterator[Any]], after: list[Any], counted: Counted) -> Resumed:
    before = counted.pulled
    start = time.perf_counter()
    stream = opener()
    first = next(stream)
    taken, pulled = time.perf_counter() - start, counted.pulled - before
    return Resumed(taken, pulled, [first, *islice(stream, len(after) - 1)] == after)


def _ours(streams: int, counted: Counted) -> Iterator[Any]:
    return shuffled_mux(counted.listed(streams), seed=0)()


def _ours_saved(streams: int, counted: Counted, stream: Stream[Any]) -> Callable[[], Iterator[Any]]:
    state = json.loads(json.dumps(stream.state_dict()))
    return lambda: resume(shuffled_mux(counted.listed(streams), seed=0), state)()


def _torchdata(streams: int, counted: Counted) -> Any:
    nodes = peers.peer("torchdata.nodes")

    class Source:
        def __init__(self, which: int) -> None:
            self.which = which

        def __iter__(self) -> Iterator[Any]:
            return counted.source(self.which)

    node = nodes.MultiNodeWeightedSampler(
        {str(i): nodes.IterableWrapper(Source(i)) for i in range(streams)},
        {str(i): 1.0 for i in range(streams)},
        stop_criteria=nodes.StopCriteria.CYCLE_FOREVER,
    )
    node.reset()
    return node


def _torchdata_saved(streams: int, counted: Counted, stream: Any) -> Callable[[], Iterator[Any]]:
    state = stream.state_dict()

    def again() -> Iterator[Any]:
        node = _torchdata(streams, counted)
        node.reset(state)
        return node

    return again


SAVING: Mapping[str, tuple[Callable[..., Any], Callable[..., Callable[[], Iterator[Any]]]]] = {
    "pescador_fn": (_ours, _ours_saved),
    "torchdata.nodes MultiNodeWeightedSampler": (_torchdata, _torchdata_saved),
}


def _against(effort: Effort) -> Table:
    """A weighted mix, saved and resumed by everyone who can."""
    cases = [(streams, n) for streams in (10, 1_000) for n in (10_000, 100_000)]
    rows = []
    repeats = max(1, effort.rounds // 3)
    found: dict[str, list[list[Resumed] | str]] = {name: [] for name in SAVING}
    saves: dict[str, list[str]] = {name: [] for name in SAVING}
    for streams, n in cases:
        openers: dict[str, tuple[Callable[[], Iterator[Any]], list[Any], Counted]] = {}
        for name, (start, save) in SAVING.items():
            counted = Counted()
            try:
                stream = start(streams, counted)
                consume(stream, n)
                saves[name].append(f"{number(statistics.median(_seconds(stream.state_dict, 5)) * 1e3)} ms")
                again = save(streams, counted, stream)
                openers[name] = again, list(islice(stream, 1000)), counted
            except Exception as error:
                found[name].append(f"missing: {why(error)}")
        taken: dict[str, list[Resumed]] = {name: [] for name in openers}
        for _ in range(repeats):
            for name, opener in openers.items():
                taken[name].append(_once(*opener))
        for name, those in taken.items():
            found[name].append(those)
    for name, columns in found.items():
        rows.append([name, *map(_cell, columns)])
    rows.append(["lhotse mux, infinite_mux", *[f"missing: {_lhotse()}"] * len(cases)])
    rows += [[f"{name}: taking the state", *cells] for name, cells in saves.items()]
    header = ["", *(f"{streams:,} streams, after {n:,} samples" for streams, n in cases)]
    title = (
        "A mix with equal weights over endless opaque sources, resumed: items pulled from the sources up to the first "
        "item, that one included, and seconds. torchdata's state is taken from the node itself, without a `Loader`, "
        "and handed to the same process without being written."
    )
    return Table(title, header, rows)


def _cell(found: list[Resumed] | str) -> str:
    if isinstance(found, str):
        return found
    pulled = statistics.median(one.pulled for one in found)
    text = f"{pulled:,.0f} items, {number(statistics.median(one.seconds for one in found))} s"
    return text if all(one.exact for one in found) else f"{text}; other items follow"


def _lhotse() -> str:
    """Why lhotse has no place here, looked up in what is installed."""
    try:
        lazy = peers.peer("lhotse.lazy")
        made = lazy.LazyIteratorMultiplexer, lazy.LazyInfiniteApproximateMultiplexer
    except Exception as error:
        return why(error)
    if any(hasattr(mux, "state_dict") or hasattr(mux, "get_state") for mux in made):
        return "it has a state now, which this does not measure yet"
    return "its muxes have no `state_dict`; a sampler over them goes on by drawing all from the start"
