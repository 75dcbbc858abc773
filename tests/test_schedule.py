"""Schedules: pure, copyable to look ahead, and what the executor of a mux goes by."""

import itertools
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import islice, repeat
from math import inf
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pescador_fn import drawing, shuffled_mux, stochastic_mux
from pescador_fn.drawing import Table, Words
from pescador_fn.seeds import Root

N = 8
WEIGHTS = [0.3, 0.2, 0.15, 0.1, 0.1, 0.1, 0.05, 0]
HEAVY = [10, 1, 1, 1, 1, 1, 1, 1]


def ramp(n_draws):
    return [1 + n_draws / 1024 * i for i in range(N)]


# name: options of the mux, how many draws
CASES = {
    "with replacement": ({"mode": "with_replacement"}, 3000),
    "with replacement, weights": ({"mode": "with_replacement", "weights": WEIGHTS}, 3000),
    "with replacement, a function": ({"mode": "with_replacement", "weights": ramp}, 5000),
    "with replacement, constant": ({"mode": "with_replacement", "dist": "constant", "rate": 2.5}, 3000),
    "single active": ({"mode": "single_active"}, 3000),
    "single active, weights": ({"mode": "single_active", "weights": WEIGHTS}, 3000),
    "single active, one always": ({"mode": "single_active", "weights": HEAVY, "dist": "poisson"}, 3000),
    "single active, all but one": ({"mode": "single_active", "n_active": 7}, 3000),
    "exhaustive": ({"mode": "exhaustive"}, 100),
    "exhaustive, long quotas": ({"mode": "exhaustive", "rate": 300}, 3000),
    "exhaustive, weights": ({"mode": "exhaustive", "weights": WEIGHTS, "rate": 20}, 300),
    "exhaustive, a function": ({"mode": "exhaustive", "weights": ramp, "rate": 900}, 9000),
    "no rate": ({"mode": "single_active", "weights": WEIGHTS, "rate": None}, 500),
    "one active": ({"mode": "with_replacement", "n_active": 1, "rate": 1}, 500),
}
SIZES = [(1, 1), (4, 4), (12, 12), (16, 4096)]  # of blocks: most mistakes show at the small ones
LENGTHS = {
    "endless": [inf] * N,
    "short": [1, 2, 3, 4, 5, 6, 7, 8],
    "barren among them": [inf, 0, 5, 0, 1, 0, inf, 3],
    "most barren": [0, 0, 0, inf, 0, 0, 0, 0],
    "all barren": [0] * N,
}
cases = pytest.mark.parametrize(("options", "n"), CASES.values(), ids=CASES)


def never():
    raise AssertionError("a schedule opened a stream")


def mux_of(factories, options):
    return stochastic_mux(factories, **{"n_active": 3, "rate": 4, "seed": 1, **options})


def schedule_of(options, seed=1):
    """The schedule of a mux whose streams may not be opened."""
    return mux_of([never] * N, {**options, "seed": seed})._start(Root()).schedule


class Run:
    """What the executor does with a schedule, in plain Python; stream ``i`` has ``lengths[i]`` items when opened."""

    def __init__(self, schedule, lengths=None):
        self.schedule = schedule
        self.lengths = [inf] * N if lengths is None else lengths
        self.draw = 0
        self.active = {}  # slot: stream, what is left of its quota, what is left of it, whether it gave anything
        self.activations = []
        self.items = []

    def copy(self):
        other = Run(self.schedule.copy(), self.lengths)
        other.draw, other.active = self.draw, {slot: list(state) for slot, state in self.active.items()}
        return other

    @property
    def by_weight(self):
        return hasattr(self.schedule, "open_weights")

    def pick(self):
        schedule = self.schedule
        if not self.by_weight:
            return int(schedule.picks(self.draw, 1)[0])
        schedule.begin_block(self.draw)
        return schedule.open_weights.find(schedule.words["picks"].uniforms(self.draw, 1)[0])

    def step(self):
        """One draw."""
        slot = self.pick()
        if slot not in self.schedule.open_slots:  # shut: the draw is spent
            return
        while True:
            stream, quota, length, gave = self.active.get(slot, (None, 0, 0, True))
            if quota and length:
                self.active[slot] = [stream, quota - 1, length - 1, True]
                self.items.append(stream)
                return
            if not gave:
                self.schedule.barren(stream)
            found = (self.schedule.enter if stream is None else self.schedule.replace)(slot, self.draw)
            if found is None:  # the slot is shut now
                return
            self.activations.append(found)
            self.active[slot] = [found[0], found[2], self.lengths[found[0]], False]
            if self.by_weight and stream is not None:  # drawn by the weight of the stream before, so spent
                return

    def on(self, n):
        """Go on for ``n`` draws."""
        for _ in range(n):
            if self.schedule.open_slots:
                self.step()
                self.draw += 1
        return self


def compare(build, lengths, n):
    """A mux of streams of these lengths opens and yields what its schedule says, for ``n`` items."""
    opened = []

    def open_stream(i):
        opened.append(i)
        return repeat(i) if lengths[i] == inf else repeat(i, lengths[i])

    items = list(islice(build([partial(open_stream, i) for i in range(len(lengths))])(), n))
    run = Run(build([never] * len(lengths))._start(Root()).schedule, lengths)
    while run.schedule.open_slots and len(run.items) < n:
        run.on(1)
    assert items == run.items
    assert opened == [stream for stream, _, _ in run.activations]


@cases
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_the_executor_does_what_the_schedule_says(options, n, lengths, sizes, monkeypatch):
    monkeypatch.setattr(drawing, "block_sizes", sizes)
    compare(lambda factories: mux_of(factories, options), lengths, min(n, 2500))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from([0, 0, 1, 2, 3, 7, inf]), min_size=1, max_size=8), st.data())
def test_any_mux_does_what_its_schedule_says(lengths, data):
    n, draw = len(lengths), data.draw
    mode = draw(st.sampled_from(["with_replacement", "single_active", "exhaustive"]))
    build = partial(
        stochastic_mux,
        n_active=draw(st.integers(1, n + 2 * (mode == "with_replacement"))),
        rate=draw(st.sampled_from([1, 1.5, 3, None])),
        weights=draw(st.none() | st.lists(st.sampled_from([0, 1, 2, 5, 100]), min_size=n, max_size=n).filter(any)),
        mode=mode,
        dist=draw(st.sampled_from(["binomial", "constant", "poisson"])),
        seed=draw(st.integers(0, 5)),
    )
    with mock.patch.object(drawing, "block_sizes", draw(st.sampled_from(SIZES))):
        compare(build, lengths, 200)


@cases
def test_a_schedule_is_a_function_of_its_seed(options, n):
    one, same, other = (Run(schedule_of(options, seed)).on(n) for seed in (1, 1, 2))
    assert one.activations == same.activations
    assert one.items == same.items
    assert one.items != other.items


@cases
@pytest.mark.parametrize("at", [0, 7, 200])
def test_looking_ahead_in_a_copy_disturbs_nothing(options, n, at):
    whole = Run(schedule_of(options)).on(n)
    run = Run(schedule_of(options)).on(at)
    ahead = run.copy().on(n // 2)
    again = run.copy().on(n // 2)
    assert ahead.activations == again.activations
    ahead.schedule.barren(2)
    ahead.copy().on(50)
    head, items = list(run.activations), list(run.items)
    run.on(n - at)
    assert run.items == whole.items
    assert run.activations == whole.activations
    seen = head + again.activations
    assert seen == whole.activations[: len(seen)]
    assert items + again.items == whole.items[: len(items + again.items)]


@cases
def test_a_copy_of_a_copy_goes_on_from_where_it_is(options, n):
    whole = Run(schedule_of(options)).on(n)
    run, items = Run(schedule_of(options)), []
    for _ in range(n // 25):
        run = run.copy().on(25)
        items += run.items
    assert items == whole.items[: len(items)]


@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("exhaustive, weights", "exhaustive, a function")]
)
def test_picks_are_reached_at_once_and_in_any_order(name):
    schedule = schedule_of(CASES[name][0])
    whole = schedule.picks(0, 1000).tolist()
    assert whole[600:640] == schedule.picks(600, 40).tolist()
    assert whole[10:11] == schedule.picks(10, 1).tolist()
    assert whole == schedule.copy().picks(0, 1000).tolist()
    assert set(whole) == set(schedule.open_slots)


@cases
def test_activation_numbers_are_never_used_twice(options, n):
    numbers = [number for _, number, _ in Run(schedule_of(options)).on(n).activations]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) >= 0


@cases
def test_quotas_are_at_least_one(options, n):
    assert all(quota >= 1 for _, _, quota in Run(schedule_of(options)).on(n).activations)


def test_single_active_looks_ahead_without_repeats():
    run = Run(schedule_of({"mode": "single_active", "weights": WEIGHTS}))
    for _ in range(500):
        run.on(1)
        streams = [stream for stream, *_ in run.active.values()]
        assert len(set(streams)) == len(streams)


def test_a_million_streams_are_scheduled_without_a_list():
    class Lazy(Sequence):
        def __len__(self):
            return 1_000_000

        def __getitem__(self, index):
            raise AssertionError("indexed")

    schedule = stochastic_mux(Lazy(), 100, 8, seed=0)._start(Root()).schedule
    activations = Run(schedule, [inf] * 1_000_000).on(5000).activations
    assert len({stream for stream, _, _ in activations}) > 0.99 * len(activations)
    assert np.mean([stream for stream, _, _ in activations]) == pytest.approx(500_000, rel=0.1)


# shuffled_mux has no schedule but its draws: the plain loop over them


def plain(lengths, weights, rule, n):
    """Items of a `shuffled_mux` as ``(stream, pass, position)``."""
    words, table = Words(Root(1), "picks"), Table(len(lengths), None if weights is None else np.array(weights, float))
    at, dead, lost, items = [(0, 0)] * len(lengths), set(), 0.0, []
    for draw in itertools.count():
        if table is None or len(items) == n:
            return items
        i = int(table.indices(words.uniforms(draw, 1))[0])
        if i in dead:
            continue
        number, position = at[i]
        if position == lengths[i] and position and rule == "restart":
            number, position = number + 1, 0
        if position < lengths[i]:
            items.append((i, number, position))
            at[i] = number, position + 1
        elif position and rule == "stop":
            return items
        else:  # left out; the table is made anew when half of it is dead
            dead.add(i)
            lost += table.share(i)
            if lost >= 0.5:
                table, lost = table.without(dead), 0.0


@pytest.mark.parametrize("rule", ["restart", "drop", "stop"])
@pytest.mark.parametrize("weights", [None, WEIGHTS, HEAVY], ids=["equal", "weights", "heavy"])
@pytest.mark.parametrize("sizes", [*SIZES, (1, 64)], ids=str)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_shuffled_mux_is_the_plain_loop_over_its_draws(lengths, sizes, weights, rule, monkeypatch):
    monkeypatch.setattr(drawing, "block_sizes", sizes)
    passes = Counter()

    def run(i):
        passes[i] += 1
        return zip(repeat(i), repeat(passes[i] - 1), itertools.count() if lengths[i] == inf else range(lengths[i]))

    items = list(islice(shuffled_mux([partial(run, i) for i in range(N)], weights, on_exhausted=rule, seed=1)(), 600))
    assert items == plain(lengths, weights, rule, 600)


def counting(length, opens):
    """Yields how often it was called."""

    def items():
        n = 0
        while n < length:
            n += 1
            yield n

    def factory():
        if not opens:
            raise OSError("does not open")
        return items()

    return factory


@given(
    seed=st.integers(0, 10**6),
    mode=st.sampled_from(["with_replacement", "single_active", "exhaustive"]),
    kinds=st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 8, inf]), st.integers(0, 4)), min_size=1, max_size=6),
    weighted=st.booleans(),
    rate=st.sampled_from([1, 2, 5, None]),
    data=st.data(),
)
@settings(max_examples=100)
def test_the_draws_on_a_slot_tell_how_often_its_stream_was_called(blocks, seed, mode, kinds, weighted, rate, data):
    weights = [data.draw(st.sampled_from([0.1, 1, 2, 5])) for _ in kinds] if weighted else None
    factories = [counting(length, opens > 0) for length, opens in kinds]
    n_active = data.draw(st.integers(1, len(kinds)))
    stream = stochastic_mux(factories, n_active, rate, mode=mode, weights=weights, seed=seed)()
    for _ in range(25):
        with suppress(OSError):
            if next(stream, None) is None:
                break
        calls = stream._running.calls()
        open_now = {slot: active[2] for slot, active in enumerate(stream._running.active) if active is not None}
        told = {slot: calls[slot] for slot, items in open_now.items() if items.gi_frame is not None}
        assert told == {slot: open_now[slot].gi_frame.f_locals.get("n", 0) for slot in told}
