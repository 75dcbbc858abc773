"""Schedules: pure, copyable to look ahead, and what the executor of a mux goes by."""

from bisect import bisect_right
from functools import partial
from itertools import accumulate, islice, repeat

import numpy as np
import pytest

from pescador_fn import draws, stochastic_mux
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
cases = pytest.mark.parametrize(("options", "n"), CASES.values(), ids=CASES)


def never():
    raise AssertionError("a schedule opened a stream")


def mux_of(factories, options):
    return stochastic_mux(factories, **{"n_active": 3, "rate": 4, "seed": 1, **options})


def schedule_of(options, seed=1):
    """The schedule of a mux whose streams may not be opened."""
    return mux_of([never] * N, {**options, "seed": seed})._start(Root()).schedule


class Run:
    """What an executor does with a schedule, in plain Python, with streams that never end (but for the barren)."""

    def __init__(self, schedule, barren=(), draw=0, left=None):
        self.schedule, self.barren, self.draw = schedule, barren, draw
        self.left = {} if left is None else left
        self.stream = {}
        self.version = schedule.version
        self.activations = []
        self.items = []

    def copy(self):
        other = Run(self.schedule.copy(), self.barren, self.draw, dict(self.left))
        other.stream, other.version = dict(self.stream), self.version
        return other

    def pick(self):
        schedule = self.schedule
        if getattr(schedule, "by_weight", False):
            schedule.reread(self.draw)
            sums = list(accumulate(schedule.slot_weights))
            return bisect_right(sums, schedule.words["picks"].uniforms(self.draw, 1)[0] * sums[-1])
        return schedule.picks(self.draw, 1)[0]

    def fill(self, slot):
        """Let a stream take a slot; whether the draw is still good."""
        take = self.schedule.replace if slot in self.left else self.schedule.enter
        found = take(slot, self.draw)
        if found is None:
            return False
        self.activations.append(found)
        self.stream[slot], _, self.left[slot] = found
        if self.schedule.version != self.version:  # the draw was made by the law before
            self.version = self.schedule.version
            return False
        if self.stream[slot] in self.barren:
            self.schedule.barren(self.stream[slot])
            return self.fill(slot)
        return True

    def on(self, n):
        """Go on for ``n`` draws."""
        for _ in range(n):
            if not self.schedule.open_slots:
                break
            slot = self.pick()
            if self.left.get(slot, 0) or self.fill(slot):
                self.left[slot] -= 1
                self.items.append(self.stream[slot])
            self.version = self.schedule.version
            self.draw += 1
        return self


@cases
@pytest.mark.parametrize("sizes", [(1, 1), (4, 4), (12, 12), (16, 4096)], ids=str)
def test_the_executor_does_what_the_schedule_says(options, n, sizes, monkeypatch):
    monkeypatch.setattr(draws, "block_sizes", sizes)
    opened = []

    def run(i):
        opened.append(i)
        return repeat(i)

    items = list(islice(mux_of([partial(run, i) for i in range(N)], options)(), n))
    schedule = Run(schedule_of(options))
    while len(schedule.items) < len(items):
        schedule.on(1)
    assert items == schedule.items
    assert opened == [stream for stream, _, _ in schedule.activations]


@cases
def test_a_schedule_is_a_function_of_its_seed(options, n):
    one, same, other = (Run(schedule_of(options, seed)).on(n) for seed in (1, 1, 2))
    assert one.activations == same.activations
    assert one.items == same.items
    assert one.items != other.items


@cases
@pytest.mark.parametrize("at", [0, 1, 7, 60, 200])
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


@cases
def test_picks_are_reached_at_once_and_in_any_order(options, n):
    schedule = schedule_of(options)
    if getattr(schedule, "by_weight", False):
        pytest.skip("picked by weights that change")
    whole = schedule.picks(0, 1000)
    assert whole[600:640] == schedule.picks(600, 40)
    assert whole[10:11] == schedule.picks(10, 1)
    assert whole == schedule.copy().picks(0, 1000)
    assert set(whole) == set(schedule.open_slots)


@cases
def test_activation_numbers_are_never_used_twice(options, n):
    numbers = [number for _, number, _ in Run(schedule_of(options)).on(n).activations]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) >= 0


@cases
def test_quotas_are_at_least_one(options, n):
    assert all(quota >= 1 for _, _, quota in Run(schedule_of(options)).on(n).activations)


@pytest.mark.parametrize("options", [{"mode": "with_replacement"}, {"mode": "with_replacement", "weights": WEIGHTS}])
@pytest.mark.parametrize("barren", [{0}, {1, 3}, {0, 1, 2, 4, 5, 6}], ids=str)
def test_a_schedule_is_told_which_streams_are_barren(options, barren):
    run = Run(schedule_of(options), barren).on(2000)
    assert set(run.items) == {i for i in range(N) if "weights" not in options or WEIGHTS[i]} - barren
    streams = [(lambda: iter(())) if i in barren else partial(repeat, i) for i in range(N)]
    assert list(islice(mux_of(streams, options)(), len(run.items))) == run.items


def test_single_active_looks_ahead_without_repeats():
    run = Run(schedule_of({"mode": "single_active", "weights": WEIGHTS}))
    for _ in range(500):
        run.on(1)
        assert len(set(run.stream.values())) == len(run.stream)


def test_a_million_streams_are_scheduled_without_a_list():
    class Lazy:
        def __len__(self):
            return 1_000_000

        def __getitem__(self, index):
            raise AssertionError("indexed")

    from collections.abc import Sequence

    Sequence.register(Lazy)
    schedule = stochastic_mux(Lazy(), 100, 8, seed=0)._start(Root()).schedule
    activations = Run(schedule).on(5000).activations
    assert len({stream for stream, _, _ in activations}) > 0.99 * len(activations)
    assert np.mean([stream for stream, _, _ in activations]) == pytest.approx(500_000, rel=0.1)
