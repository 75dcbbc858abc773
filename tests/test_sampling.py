"""What `weights` and `rate` mean, measured: each law of the muxes that sample, beside samplers that break it."""

import itertools
from collections import Counter
from functools import partial
from itertools import islice, repeat

import numpy as np
import pytest
from scipy import stats

from pescador_fn import resume, seeded, shuffled_mux, stochastic_mux, take
from pescador_fn.drawing import Quota
from pescador_fn.poisson import odds

GRID = (np.arange(100_000) + 0.5) / 100_000
REPLACING = ("with_replacement", "single_active")
MODES = (*REPLACING, "exhaustive")
DISTS = ("binomial", "constant", "poisson")
HEAVY = [0.55] + 9 * [0.05]
NAIVE = [0.28, 0.24, 0.18, 0.12, 0.10, 0.08]


def endless(n):
    """Stream ``i`` yields ``i`` for ever."""
    return [partial(repeat, i) for i in range(n)]


def items(factory, n):
    return np.fromiter(islice(factory(), n), np.int64)


def normal(weights):
    weights = np.asarray(weights, dtype=float)
    return weights / weights.sum()


def fits(counts, chances):
    """Whether counts of independent draws are as likely as they should be, by chi-square."""
    counts, chances = np.asarray(counts), normal(chances)
    if counts[chances == 0].any():
        return False
    keep = chances > 0
    return keep.sum() == 1 or stats.chisquare(counts[keep], chances[keep] * counts.sum()).pvalue > 1e-6


def agrees(drawn, asked, parts=50, least=0.02):
    """Whether long-run shares are as asked, by the means of batches much longer than a working set's memory.

    The draws of one activation come from the same stream, so the draws are not independent; the batches nearly are.
    """
    n = len(asked)
    batches = np.array([np.bincount(part, minlength=n) / len(part) for part in np.array_split(drawn, parts)])
    error = batches.std(axis=0, ddof=1) / parts**0.5
    assert error.max() < least  # long enough to tell
    return bool((abs(batches.mean(axis=0) - asked) <= 5.5 * error + 1e-12).all())


class Watched:
    """Streams that note when they open and close, by a clock of the items of all of them."""

    def __init__(self, n, lengths=None):
        self.events = []
        self.now = 0
        self.open = set()
        self.factories = [partial(self.run, i, None if lengths is None else lengths[i]) for i in range(n)]

    def run(self, i, length):
        number = len(self.events)
        self.events.append((i, self.now, number, "open"))
        self.open.add((i, number))
        try:
            for _ in repeat(None) if length is None else repeat(None, length):
                self.now += 1
                yield i
        finally:
            self.open.discard((i, number))
            self.events.append((i, self.now, number, "close"))

    @property
    def opened(self):
        return [i for i, _, _, what in self.events if what == "open"]

    def slot(self):
        """When the activations of one slot began: a slot closes a stream just before it opens the next."""
        begun, following = [self.events[0][1]], self.events[0][2]
        for before, after in itertools.pairwise(self.events):
            if before[3] == "close" and before[2] == following:
                assert after[3] == "open"
                begun.append(after[1])
                following = after[2]
        return np.array(begun)


# What breaks the laws


def pescador_like(weights, n_active, rate, n, seed=0):
    """Activations drawn uniformly, picks inside the working set by weight."""
    rng = np.random.default_rng(seed)
    active, left, drawn = rng.integers(len(weights), size=n_active), np.full(n_active, rate), []
    while len(drawn) < n:
        chances = np.asarray(weights)[active]
        slot = rng.choice(n_active, p=chances / chances.sum())
        drawn.append(active[slot])
        left[slot] -= 1
        if not left[slot]:
            active[slot], left[slot] = rng.integers(len(weights)), rate
    return np.array(drawn)


def naive_single_active(weights, n_active, rate, n, seed=0):
    """A stream that is not active enters in proportion to its weight."""
    rng = np.random.default_rng(seed)
    active = list(rng.choice(len(weights), n_active, replace=False, p=weights))
    drawn = []
    while len(drawn) < n:
        slot = rng.integers(n_active)
        drawn += [active[slot]] * rate  # as good as spread out, for shares
        active[slot] = -1
        chances = np.array(weights)
        chances[[i for i in active if i >= 0]] = 0
        active[slot] = rng.choice(len(weights), p=chances / chances.sum())
    return np.array(drawn[:n])


def test_the_check_of_shares_tells_wrong_samplers():
    asked = np.array(HEAVY)
    wrong = pescador_like(asked, 5, 8, 40_000)
    assert (wrong == 0).mean() < 0.2
    assert not agrees(wrong, asked)
    asked = np.array(NAIVE)
    wrong = naive_single_active(asked, 3, 8, 100_000)
    assert (wrong == 0).mean() == pytest.approx(0.216 + 0.02, abs=0.03)
    assert not agrees(wrong, asked)
    right = np.random.default_rng(0).choice(6, size=12_500, p=asked).repeat(8)
    assert agrees(right, asked)


# shuffled_mux

WEIGHTS = {
    "equal": [1] * 10,
    "one heavy": HEAVY,
    "geometric": (0.7 ** np.arange(10)).tolist(),
    "zeros": [0, 1, 0, 2, 3, 0, 1],
    "far apart": [1e6, 1, 1e6],
    "one": [0, 0, 4],
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_draws_of_shuffled_mux_are_independent_with_the_shares_asked_for(weights):
    n = len(weights)
    drawn = items(shuffled_mux(endless(n), weights, seed=1), 100_000)
    assert fits(np.bincount(drawn, minlength=n), weights)
    pairs = np.bincount(n * drawn[:-1:2] + drawn[1::2], minlength=n * n)
    expected = np.outer(normal(weights), normal(weights)).ravel() * pairs.sum()
    common = expected >= 5
    assert (
        stats.chisquare(
            np.r_[pairs[common], pairs[~common].sum()] + 1e-9, np.r_[expected[common], expected[~common].sum()] + 1e-9
        ).pvalue
        > 1e-6
    )


@pytest.mark.parametrize("weights", [None, {"a": 3, "b": 1, "c": 0}, {"c": 0, "b": 1, "a": 3}])
def test_shuffled_mux_by_name(weights):
    drawn = items(shuffled_mux(dict(zip("abc", endless(3), strict=True)), weights, seed=2), 50_000)
    assert fits(np.bincount(drawn, minlength=3), [1, 1, 1] if weights is None else [3, 1, 0])


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, partial(np.array, dtype=np.float32), partial(np.array, dtype=int)]
)
def test_weights_of_any_kind_are_left_as_they_were(kind):
    given = kind([1, 2, 5])
    before = list(given)
    drawn = items(shuffled_mux(endless(3), given, seed=3), 50_000)
    assert fits(np.bincount(drawn), [1, 2, 5])
    assert list(given) == before


def test_on_exhausted():
    letters = ["aaaa".__iter__, "bbbbbbbb".__iter__]
    drawn = "".join(take(shuffled_mux(letters, [3, 1], seed=0), 60_000)())
    assert fits([drawn.count("a"), drawn.count("b")], [3, 1])  # a restart costs no draw
    dropped = list(shuffled_mux(letters, [3, 1], on_exhausted="drop", seed=0)())
    assert Counter(dropped) == {"a": 4, "b": 8}
    stopping = shuffled_mux(letters, [3, 1], on_exhausted="stop")
    stopped = ["".join(seeded(stopping, seed)()) for seed in range(300)]
    assert all(text.count("a") == 4 or text.count("b") == 8 for text in stopped)
    # The mux ends at the draw that finds the end: negative binomial, ends where "a" is drawn a fifth time.
    mean = np.mean([len(text) for text in stopped if text.count("b") < 8])
    assert mean == pytest.approx(5 / 0.75 - 1, abs=0.4)


def test_after_a_drop_the_others_keep_their_proportions():
    few = [partial(repeat, 0, 50), *endless(3)[1:]]
    drawn = items(shuffled_mux(few, [5, 3, 2], on_exhausted="drop", seed=0), 60_000)
    last = np.flatnonzero(drawn == 0)[-1]
    assert (drawn == 0).sum() == 50
    assert fits(np.bincount(drawn[last + 1 :], minlength=3)[1:], [3, 2])


def test_many_streams_all_open():
    n, size = 3000, 300_000
    weights = 1 / (10.0 + np.arange(n))
    streams = [partial(repeat, i, 20) if i % 3 else partial(repeat, i) for i in range(n)]
    drawn = items(shuffled_mux(streams, weights, seed=32), size)
    assert fits(np.bincount(drawn, minlength=n), weights)
    assert fits(np.bincount(drawn[size // 2 :], minlength=n), weights)


# stochastic_mux, the modes that replace

WORKING_SETS = {
    "equal": ([1] * 10, 3),
    "equal, all": ([1] * 5, 5),
    "one heavy, alone": (HEAVY, 1),
    "one heavy, 2": (HEAVY, 2),
    "one heavy, 5": (HEAVY, 5),
    "naive fails": (NAIVE, 3),
    "geometric": ((0.7 ** np.arange(10)).tolist(), 4),
    "zeros": ([0, 1, 0, 2, 3, 0, 1, 1], 2),
    "zeros, more slots than streams left": ([0, 3, 0, 2, 1], 4),
    "two always open": ([8, 4, 2, 1, 1], 3),
    "just above 1 / n_active": ([0.34, 0.33, 0.11, 0.11, 0.11], 3),
    "all but one open": ([5, 4, 4, 4], 3),
    "two streams": ([0.3, 0.7], 1),
    "twenty of 21": ([1] * 10 + [0.97] * 11, 20),
    "nine nearly always open": ([0.099] * 9 + [0.109 / 31] * 31, 10),
}


@pytest.mark.parametrize("dist", DISTS)
@pytest.mark.parametrize("mode", REPLACING)
@pytest.mark.parametrize(("weights", "n_active"), WORKING_SETS.values(), ids=WORKING_SETS)
def test_long_run_shares_are_the_weights(weights, n_active, mode, dist):
    mux = stochastic_mux(endless(len(weights)), n_active, 8, weights=weights, mode=mode, dist=dist, seed=4)
    assert agrees(items(mux, 150_000), normal(weights))


@pytest.mark.parametrize("rate", [1, 1.5, 2, 30])
@pytest.mark.parametrize("mode", REPLACING)
def test_shares_at_any_rate(mode, rate):
    mux = stochastic_mux(endless(6), 3, rate, weights=NAIVE, mode=mode, seed=5)
    assert agrees(items(mux, 150_000), NAIVE)


@pytest.mark.parametrize("mode", MODES)
def test_weights_by_name(mode):
    names = {"cat": partial(repeat, 0), "dog": partial(repeat, 1), "owl": partial(repeat, 2)}
    weights = {"owl": 1, "cat": 3, "dog": 2}
    n_active = 3 if mode == "exhaustive" else 1
    rate = None if mode == "exhaustive" else 4
    drawn = items(stochastic_mux(names, n_active, rate, weights=weights, mode=mode, seed=6), 100_000)
    assert agrees(drawn, normal([3, 2, 1]))


@pytest.mark.parametrize("mode", REPLACING)
@pytest.mark.parametrize(("weights", "n_active"), WORKING_SETS.values(), ids=WORKING_SETS)
@pytest.mark.parametrize("at", [0, 25])
def test_shares_are_right_from_the_first_item(weights, n_active, mode, at):
    n = len(weights)
    mux = stochastic_mux(endless(n), n_active, 4, weights=weights, mode=mode)
    drawn = [next(islice(seeded(mux, seed)(), at, None)) for seed in range(1500)]
    assert fits(np.bincount(drawn, minlength=n), weights)


@pytest.mark.parametrize("dist", DISTS)
@pytest.mark.parametrize("n_active", [1, 4])
def test_activations_with_replacement_are_independent(n_active, dist):
    watched = Watched(10)
    mux = stochastic_mux(watched.factories, n_active, 3, weights=HEAVY, dist=dist, seed=7)
    items(mux, 60_000)
    opened = np.array(watched.opened[n_active:])  # the first set is drawn otherwise
    assert fits(np.bincount(opened, minlength=10), HEAVY)
    heavy = opened == 0
    pairs = np.bincount(2 * heavy[:-1:2].astype(int) + heavy[1:][::2][: len(heavy[:-1:2])], minlength=4)
    assert fits(pairs, [0.45**2, 0.45 * 0.55, 0.45 * 0.55, 0.55**2])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_first_active_set_holds_every_stream_once(n, mode):
    for seed in range(20):
        mux = stochastic_mux(endless(n), n, 1000, mode=mode, dist="constant", seed=seed)
        assert set(items(mux, 60 * n)) == set(range(n))  # quotas that outlast the look


@pytest.mark.parametrize(
    ("weights", "n_active", "least"),
    [([2, 1, 1], 4, [2, 1, 1]), ([2, 1, 1], 8, [4, 2, 2]), ([1, 1], 5, [2, 2]), (HEAVY, 5, [2] + 9 * [0])],
)
def test_the_first_active_set_is_as_even_as_the_weights_allow(weights, n_active, least):
    for seed in range(20):
        watched = Watched(len(weights))
        mux = stochastic_mux(watched.factories, n_active, 1000, weights=weights, dist="constant", seed=seed)
        items(mux, 60 * n_active)
        counts = np.bincount(watched.opened, minlength=len(weights))
        assert counts.sum() == n_active
        assert (counts >= least).all()
        assert (counts <= np.array(least) + (0 if sum(least) == n_active else 1)).all()


@pytest.mark.parametrize("weights", [None, [2] * 5], ids=["none", "equal"])
@pytest.mark.parametrize("mode", MODES)
def test_every_first_active_set_of_equal_streams_is_equally_likely(mode, weights):
    mux = stochastic_mux(endless(5), 2, 1000, weights=weights, mode=mode, dist="constant")
    seen = Counter(tuple(sorted(set(items(seeded(mux, seed), 40)))) for seed in range(2000))
    assert fits([seen[pair] for pair in itertools.combinations(range(5), 2)], [1] * 10)


@pytest.mark.parametrize("mode", REPLACING)
@pytest.mark.parametrize("n_active", [2, 3, 5])
def test_a_zero_weight_is_never_opened_and_shrinks_the_set(n_active, mode):
    watched = Watched(5)
    weights = [1, 0, 1, 0, 1]
    stream = stochastic_mux(watched.factories, n_active, 2, weights=weights, mode=mode, seed=8)()
    drawn = np.fromiter(islice(stream, 20_000), int)
    assert len(drawn) == 20_000
    assert len(watched.open) == min(n_active, 3)
    assert set(watched.opened) == {0, 2, 4}
    assert agrees(drawn, normal(weights))


@pytest.mark.parametrize("weights", [[2, 1], [2, 1, 0]])
def test_more_slots_than_streams_with_replacement(weights):
    watched = Watched(3)
    stream = stochastic_mux(watched.factories[: len(weights)], 6, 4, weights=weights, seed=9)()
    drawn = np.fromiter(islice(stream, 60_000), int)
    assert len(watched.open) == 6
    assert agrees(drawn, normal([2, 1]))


@pytest.mark.parametrize("mode", REPLACING)
def test_many_streams_of_which_few_are_open(mode):
    n, n_active = 3000, 50
    weights = normal(1 / (40.0 + np.arange(n)))
    drawn = items(stochastic_mux(endless(n), n_active, 2, weights=weights, mode=mode, seed=33), 400_000)
    groups = np.searchsorted([1, 3, 10, 30, 100, 300, 1000], np.arange(n), side="right")
    assert agrees(groups[drawn], np.bincount(groups, weights))


# single_active: the joint law


def sets_of(weights, n):
    """Each set with its chance under the conditional Poisson law of these inclusions."""
    theta = odds(n * normal(weights), n)
    sets = list(itertools.combinations(range(len(weights)), n))
    return sets, normal([np.prod(theta[list(s)]) for s in sets])


@pytest.mark.parametrize("rate", [1, 2.5])
def test_the_working_set_is_conditional_poisson_over_time(rate):
    sets, chances = sets_of(NAIVE, 3)
    watched = Watched(6)
    stream = stochastic_mux(watched.factories, 3, rate, weights=NAIVE, mode="single_active", seed=10)()
    next(islice(stream, 100, None))
    seen = Counter()
    for _ in range(6000):  # so far apart that every slot has been refilled several times
        next(islice(stream, int(25 * rate), None))
        seen[tuple(sorted(i for i, _ in watched.open))] += 1
    assert fits([seen[s] for s in sets], chances)
    assert sum(seen.values()) == sum(seen[s] for s in sets)


def test_the_working_set_is_conditional_poisson_at_the_start():
    sets, chances = sets_of(NAIVE, 3)
    mux = stochastic_mux(endless(6), 3, 1000, weights=NAIVE, mode="single_active", dist="constant")
    seen = Counter(tuple(sorted(set(items(seeded(mux, seed), 80)))) for seed in range(7000))
    assert fits([seen[s] for s in sets], chances)


def test_the_inclusions_alone_would_not_do():
    """A systematic sample has the same inclusions, and the check above tells it."""
    sets, chances = sets_of(NAIVE, 3)
    rng, seen = np.random.default_rng(0), Counter()
    for _ in range(4000):
        marks = np.cumsum(3 * np.array(NAIVE)).searchsorted(rng.random() + np.arange(3), side="right")
        seen[tuple(np.minimum(marks, 5))] += 1
    assert not fits([seen[s] for s in sets], chances)


@pytest.mark.parametrize(("weights", "n_active"), WORKING_SETS.values(), ids=WORKING_SETS)
def test_no_stream_is_open_twice(weights, n_active):
    watched = Watched(len(weights))
    stream = stochastic_mux(watched.factories, n_active, 2, weights=weights, mode="single_active", seed=11)()
    slots = min(n_active, np.count_nonzero(weights))
    next(islice(stream, 40 * slots, None))  # until every slot has been drawn
    for _ in range(300):
        next(stream)
        assert len({i for i, _ in watched.open}) == len(watched.open) == slots


def test_a_stream_heavier_than_a_slot_is_always_open_and_opened_again_after_its_quota():
    watched = Watched(10)
    stream = stochastic_mux(watched.factories, 5, 8, weights=HEAVY, mode="single_active", dist="constant", seed=12)()
    list(islice(stream, 200))
    for _ in range(500):
        next(stream)
        assert 0 in {i for i, _ in watched.open}
    drawn = 700
    assert watched.opened.count(0) == pytest.approx(0.55 * drawn / 8, rel=0.2)


# exhaustive


@pytest.mark.parametrize("dist", DISTS)
@pytest.mark.parametrize(("weights", "n_active"), WORKING_SETS.values(), ids=WORKING_SETS)
def test_exhaustive_opens_each_once_and_ends(weights, n_active, dist):
    watched = Watched(len(weights))
    mux = stochastic_mux(watched.factories, n_active, 8, weights=weights, mode="exhaustive", dist=dist, seed=13)
    drawn = list(mux())
    assert sorted(watched.opened) == np.flatnonzero(weights).tolist()
    assert set(drawn) == set(watched.opened)
    assert not watched.open
    if dist == "constant":
        assert set(Counter(drawn).values()) == {8}


@pytest.mark.parametrize("weights", [None, [1, 1, 1]])
def test_equal_weights_draw_every_open_stream_alike_from_the_first_item(weights):
    """The first of three ends at once: then each of the others is the next as often as the other, and so on."""
    streams = [partial(repeat, k, length) for k, length in enumerate((1, 9, 9))]
    mux = stochastic_mux(streams, 3, None, weights=weights, mode="exhaustive")
    counts = Counter(tuple(islice(mux(), 3)) for _ in range(6000))
    after = [counts[0, i, j] for i in (1, 2) for j in (1, 2)]
    assert stats.chisquare(after).pvalue > 1e-4
    assert stats.binomtest(sum(after), 6000, 1 / 3).pvalue > 1e-4


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_exhaustive_draws_by_the_weights_of_the_open_streams(weights):
    n = len(weights)
    mux = stochastic_mux(endless(n), n, None, weights=weights, mode="exhaustive", seed=14)
    assert fits(np.bincount(items(mux, 50_000), minlength=n), weights)


def orders_of(weights):
    """Each order with its chance: the next stream in proportion to the weights of those left."""
    chances = {}
    for order in itertools.permutations(range(len(weights))):
        left, chance = float(sum(weights)), 1.0
        for i in order:
            chance *= weights[i] / left
            left -= weights[i]
        chances[order] = chance
    return chances


@pytest.mark.parametrize("weights", [None, [5, 3, 2], [1, 1, 8]])
def test_exhaustive_opens_in_successive_sampling_order(weights):
    chances = orders_of(weights or [1, 1, 1])
    mux = stochastic_mux(endless(3), 1, 1, weights=weights, mode="exhaustive", dist="constant")
    orders = Counter(tuple(seeded(mux, seed)()) for seed in range(4000))
    assert fits([orders[order] for order in chances], list(chances.values()))


@pytest.mark.parametrize("weights", [None, [4, 3, 2, 1]])
def test_exhaustive_with_two_open(weights):
    asked = normal(weights or [1, 1, 1, 1])
    pairs, draws = Counter(), {}
    mux = stochastic_mux(endless(4), 2, None, weights=weights, mode="exhaustive")
    for seed in range(2000):
        drawn = items(seeded(mux, seed), 40)
        pair = tuple(sorted(set(drawn.tolist())))
        if len(pair) == 2:
            pairs[pair] += 1
            counts = draws.setdefault(pair, np.zeros(2, int))
            counts += [(drawn == i).sum() for i in pair]
    chances = [
        sum(chance for order, chance in orders_of(asked).items() if set(order[:2]) == set(pair))
        for pair in sorted(pairs)
    ]
    assert fits([pairs[pair] for pair in sorted(pairs)], chances)
    for pair, counts in draws.items():
        assert fits(counts, asked[list(pair)])


def test_weights_equal_to_lengths_make_one_well_mixed_pass():
    lengths = [6000, 3000, 1000, 10]
    streams = [partial(repeat, i, length) for i, length in enumerate(lengths)]
    mux = partial(stochastic_mux, streams, 4, None, mode="exhaustive", seed=15)
    mixed = np.array(list(mux(weights=lengths)()))
    assert np.bincount(mixed).tolist() == lengths
    for part in np.split(mixed[:8000], 8):
        assert fits(np.bincount(part, minlength=4), lengths)
    equal = np.array(list(mux()()))
    assert np.bincount(equal).tolist() == lengths
    assert not fits(np.bincount(equal[:1000], minlength=4), lengths)


def test_weights_far_apart_run_one_after_the_other():
    streams = [partial(repeat, "a", 50), partial(repeat, "b", 50)]
    for seed in range(20):
        for n_active in (1, 2):
            mux = stochastic_mux(streams, n_active, None, weights=[1e10, 1e-10], mode="exhaustive", seed=seed)
            assert "".join(mux()) == 50 * "a" + 50 * "b"


EXTREMES = [[1e308] * 3, [5e-324] * 3, [1, 5e-324, 0], [1e308, 5e-324, 5e-324], [1, 1e-320, 1e-320], [1e308, 1, 1e-308]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_active", [1, 2, 3])
@pytest.mark.parametrize("weights", EXTREMES, ids=str)
def test_the_ends_of_the_range_of_floats(weights, n_active, mode):
    mux = stochastic_mux(endless(3), n_active, 2, weights=weights, mode=mode, dist="constant", seed=16)
    drawn = items(mux, 300)
    assert len(drawn) == (2 * np.count_nonzero(weights) if mode == "exhaustive" else 300)
    if mode != "exhaustive":
        assert fits(np.bincount(drawn, minlength=3)[:1], [1]) or len(set(weights)) == 1
        assert len(set(drawn)) == (3 if len(set(weights)) == 1 else 1)


# quotas and waiting times


def expected(dist, rate, n):
    """The variance of a quota; its mean is the rate."""
    if dist == "constant":
        return rate % 1 * (1 - rate % 1)
    if dist == "poisson" or n == 1:
        return rate - 1
    stay = 1 - 1 / n
    part = (rate - 1) / stay % 1
    return (rate - 1) / n + stay**2 * part * (1 - part)


def mean_and_variance_agree(sample, mean, variance):
    sample = np.asarray(sample, dtype=float)
    centred = sample - mean
    found = (centred**2).mean()
    error = ((centred**4).mean() - found**2).clip(0) ** 0.5 / len(sample) ** 0.5
    return (
        abs(centred.mean()) <= 5.5 * (variance / len(sample)) ** 0.5 + 1e-9
        and abs(found - variance) <= 5.5 * error + 1e-9
    )


RATES = [(1, 3), (2, 3), (2.5, 3), (8, 1), (2.5, 1), (8, 5), (7.3, 10)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dist", DISTS)
@pytest.mark.parametrize(("rate", "n_active"), RATES)
def test_an_activation_gives_as_many_items_as_its_quota_says(rate, n_active, dist, mode):
    n = 3000
    if mode == "exhaustive":
        streams, count = endless(n), 10**6
    else:  # each opening has a number of its own; the last ones may be unfinished, and some before them
        numbers = itertools.count()
        streams, count = 12 * [lambda: repeat(next(numbers))], int(rate * n * 1.5)
    sizes = np.bincount(items(stochastic_mux(streams, n_active, rate, mode=mode, dist=dist, seed=17), count))[:n]
    assert len(sizes) == n
    assert mean_and_variance_agree(sizes, rate, expected(dist, rate, n_active))
    assert Quota(dist, rate, n_active).mean == pytest.approx(rate, rel=1e-9)


def test_a_truncated_binomial_would_fail():
    truncated = 1 + stats.binom.rvs(1, 2 / 3, size=3000, random_state=0)  # of mean 1.66, where 2 was asked for
    assert not mean_and_variance_agree(truncated, 2, expected("binomial", 2, 3))


@pytest.mark.parametrize("mode", REPLACING)
@pytest.mark.parametrize("dist", DISTS)
@pytest.mark.parametrize(("rate", "n_active"), [(4, 4), (2.5, 3), (8, 1), (1, 5)])
def test_waiting_times_to_a_replacement(rate, n_active, dist, mode):
    watched = Watched(12)
    n = 1500
    stream = stochastic_mux(watched.factories, n_active, rate, mode=mode, dist=dist, seed=18)()
    list(islice(stream, int(rate * n_active * n * 1.4)))
    waits = np.diff(watched.slot())[:n]
    assert len(waits) == n
    p = 1 / n_active
    variance = (rate * (1 - p) + expected(dist, rate, n_active)) / p**2
    assert mean_and_variance_agree(waits, rate / p, variance)


@pytest.mark.parametrize("dist", DISTS)
def test_rates_that_mean_hardly_ever(dist):
    for rate in (1e6, 1e8, 1e9):
        drawn = items(stochastic_mux(endless(9), 3, rate, dist=dist, seed=31), 1000)
        assert len(set(drawn)) == 3


def test_no_rate_runs_every_stream_to_its_end():
    streams = [partial(repeat, i, 5 + i) for i in range(6)]
    drawn = Counter(stochastic_mux(streams, 2, None, mode="exhaustive", seed=19)())
    assert drawn == {i: 5 + i for i in range(6)}
    watched = Watched(6, lengths=range(5, 11))
    items(stochastic_mux(watched.factories, 2, None, seed=19), 5000)
    closed = Counter(i for i, _, _, what in watched.events if what == "close")
    assert sum((5 + i) * closed[i] for i in range(6)) == pytest.approx(5000, abs=25)


# streams that end before their quota


def kept(dist, rate, n_active, lengths):
    """E[min(R, length)] of each stream."""
    sizes = Quota(dist, rate, n_active).sizes(GRID)
    return np.array([np.minimum(sizes, np.inf if length is None else length).mean() for length in lengths])


@pytest.mark.parametrize("dist", DISTS)
@pytest.mark.parametrize("n_active", [1, 3])
def test_early_ends_with_replacement(n_active, dist):
    weights, lengths = [4, 3, 2, 1], [2, 5, 9, None]
    watched = Watched(4, lengths)
    mux = stochastic_mux(watched.factories, n_active, 6, weights=weights, dist=dist, seed=20)
    asked = normal(np.array(weights) * kept(dist, 6, n_active, lengths))
    assert agrees(items(mux, 100_000), asked)


@pytest.mark.parametrize("dist", DISTS)
@pytest.mark.parametrize("n_active", [1, 2, 3])
def test_early_ends_with_no_stream_open_twice(n_active, dist):
    """The working set stays conditional Poisson, with odds in proportion to how long each stream stays."""
    lengths = [2, 5, 9, None, None, None]
    theta = odds(n_active * np.array(NAIVE), n_active) * kept(dist, 6, n_active, lengths)
    sets = list(itertools.combinations(range(6), n_active))
    chances = normal([np.prod(theta[list(s)]) for s in sets])
    asked = np.array([sum(c for s, c in zip(sets, chances, strict=True) if i in s) for i in range(6)]) / n_active
    watched = Watched(6, lengths)
    mux = stochastic_mux(watched.factories, n_active, 6, weights=NAIVE, mode="single_active", dist=dist, seed=21)
    drawn = items(mux, 150_000)
    assert agrees(drawn, asked)
    if n_active == 1:
        assert agrees(drawn, normal(NAIVE * kept(dist, 6, n_active, lengths)))


def test_early_ends_of_many_streams_of_which_few_are_open():
    lengths = [2] * 100 + [None] * 100
    watched = Watched(200, lengths)
    mux = stochastic_mux(watched.factories, 4, 8, mode="single_active", dist="constant", seed=22)
    drawn = items(mux, 150_000) < 100
    assert drawn.mean() == pytest.approx(2 / (2 + 8), abs=0.01)


def test_a_stream_as_long_as_its_quota_loses_nothing():
    streams = [partial(repeat, 0, 4), partial(repeat, 1)]
    mux = stochastic_mux(streams, 2, 4, dist="constant", seed=23)
    assert agrees(items(mux, 60_000), [0.5, 0.5])


# curricula


@pytest.mark.parametrize("mode", ["shuffled", "with_replacement", "exhaustive"])
@pytest.mark.parametrize("kind", [dict, np.array, tuple])
def test_a_function_may_give_what_weights_may_be(kind, mode):
    def weights(n_draws):
        return {"b": 1, "a": 3} if kind is dict else kind([3, 1])

    streams = dict(zip("ab", endless(2), strict=True))
    if mode == "shuffled":
        mux = shuffled_mux(streams, weights, seed=34)
    else:
        mux = stochastic_mux(streams, 2, None if mode == "exhaustive" else 2, weights=weights, mode=mode, seed=34)
    assert agrees(items(mux, 60_000), [0.75, 0.25])


@pytest.mark.parametrize("mode", ["shuffled", "with_replacement", "exhaustive"])
def test_a_function_is_read_at_multiples_of_1024_draws(mode):
    read = []

    def weights(n_draws):
        read.append(n_draws)
        return [1, 1 + n_draws]

    if mode == "shuffled":
        mux = shuffled_mux(endless(2), weights, seed=24)
    else:
        rate = None if mode == "exhaustive" else 2
        mux = stochastic_mux(endless(2), 2, rate, weights=weights, mode=mode, seed=24)
    assert read == []
    items(mux, 10 * 1024)
    assert read == [1024 * k for k in range(10)]


def curve(n_draws):
    """From the first stream to the last, with a zero for each at some time."""
    return ([1, 0, 0], [1, 1, 2], [0, 3, 1], [0, 0, 1])[min(n_draws // 4096, 3)]


def test_shuffled_mux_follows_a_function():
    drawn = items(shuffled_mux(endless(3), curve, seed=25), 4 * 4096)
    for k, part in enumerate(np.split(drawn, 4)):
        assert fits(np.bincount(part, minlength=3), curve(4096 * k))


def test_activations_follow_a_function():
    watched = Watched(3)
    items(stochastic_mux(watched.factories, 2, 2, weights=curve, seed=26), 4 * 4096)
    opened = np.array([(i, at) for i, at, _, what in watched.events if what == "open"][2:])
    for k in range(4):
        during = opened[opened[:, 1] // 4096 == k, 0]
        assert len(during) > 1500
        assert fits(np.bincount(during, minlength=3), curve(4096 * k))


def test_exhaustive_draws_follow_a_function():
    def weights(n_draws):
        return [1, 1 + n_draws / 1024, 3]

    drawn = items(stochastic_mux(endless(3), 3, None, weights=weights, mode="exhaustive", seed=27), 8 * 1024)
    for k, part in enumerate(np.split(drawn, 8)):
        assert fits(np.bincount(part, minlength=3), weights(1024 * k))


def test_exhaustive_opens_what_a_function_names_first():
    streams = [partial(repeat, i, 1024) for i in range(6)]

    def weights(n_draws):  # the last ones first
        return [1e-9 if i < 3 and n_draws < 2 * 1024 else 1 for i in range(6)]

    drawn = list(stochastic_mux(streams, 1, None, weights=weights, mode="exhaustive", seed=28)())
    assert Counter(drawn) == dict.fromkeys(range(6), 1024)
    assert min(drawn[: 2 * 1024]) >= 3


@pytest.mark.parametrize("n_active", [1, 2])
def test_exhaustive_opens_a_stream_whose_weight_comes_later(n_active):
    streams = [partial(repeat, i, 3000) for i in range(2)]

    def weights(n_draws):
        return [1, 0] if n_draws < 1024 else [1, 1]

    drawn = list(stochastic_mux(streams, n_active, None, weights=weights, mode="exhaustive", seed=35)())
    assert Counter(drawn) == {0: 3000, 1: 3000}
    assert set(drawn[:1024]) == {0}


def test_single_active_takes_no_function():
    with pytest.raises(ValueError, match=r"stochastic_mux: .*single_active"):
        stochastic_mux(endless(3), 2, 8, weights=curve, mode="single_active")


# streams that have nothing to give


def nothing():
    return iter(())


BARREN = {
    "one": ([3, 2, 2, 1, 1], [1]),
    "the heaviest": ([5, 2, 2, 1, 1], [0]),
    "most": ([1, 2, 3, 4, 5], [0, 1, 3]),
    "all but one": ([1, 2, 3, 4, 5], [0, 1, 2, 3]),
    "half of many": ([1 + i % 3 for i in range(40)], range(0, 40, 2)),
}


@pytest.mark.parametrize(("weights", "barren"), BARREN.values(), ids=BARREN)
@pytest.mark.parametrize("n_active", [1, 2, 4])
@pytest.mark.parametrize("mode", ["shuffled", *MODES])
def test_barren_streams_leave_the_others_their_proportions(mode, n_active, weights, barren):
    opened = Counter()

    def empty(i):
        opened[i] += 1
        return iter(())

    streams = endless(len(weights))
    for i in barren:
        streams[i] = partial(empty, i)
    if mode == "shuffled":
        mux = shuffled_mux(streams, weights, seed=29)
    elif mode == "exhaustive":
        mux = stochastic_mux(streams, len(weights), None, weights=weights, mode=mode, seed=29)
    else:
        mux = stochastic_mux(streams, n_active, 4, weights=weights, mode=mode, seed=29)
    drawn = items(mux, 110_000)[10_000:]  # once all the barren have been met
    asked = np.array(weights, dtype=float)
    asked[list(barren)] = 0
    assert agrees(drawn, normal(asked))
    most = n_active if mode == "with_replacement" else 1  # those of the first set may stand in it several times
    assert all(1 <= opened[i] <= most for i in barren)


# How many are active, the weights of heavy streams, which of these are barren; all but the light ones find a slot.
BARREN_HEAVY = {
    "odds of those that are active": (17, 20 * [1], 4),
    "the heaviest are listed": (100, [0.3, *101 * [1], 0.3], 4),
    "the law has no light ones": (5, 5 * [1], 1),
}


@pytest.mark.parametrize("rate", [2, None])
@pytest.mark.parametrize(("n_active", "heavy", "barren"), BARREN_HEAVY.values(), ids=BARREN_HEAVY)
def test_light_streams_take_the_slots_of_heavy_barren_ones(n_active, heavy, barren, rate, blocks):
    streams = barren * [nothing] + endless(len(heavy) + 1000)[barren:]
    weights = [*heavy, *1000 * [1e-18]]
    mux = stochastic_mux(streams, n_active, rate, weights=weights, mode="single_active", seed=0)
    stream = mux()
    assert set(islice(stream, 6000)) >= set(range(barren, len(heavy)))
    rest = resume(mux, stream.state_dict())()
    assert list(islice(rest, 1000)) == list(islice(stream, 1000))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("n_active", "n_broken", "weights"), [(2, 1, 3 * [1]), (5, 3, 6 * [1]), (5, 3, [10, 1, 1, 1, 1, 1])]
)
def test_the_slot_of_a_stream_that_does_not_open_goes_to_another(n_active, n_broken, weights, seed, blocks):
    def broken():
        raise OSError("broken")

    count = len(weights)
    streams = n_broken * [broken] + endless(count)[n_broken:]
    mux = stochastic_mux(streams, n_active, 2, weights=weights, mode="single_active", seed=seed)
    stream, rests, drawn = mux(), [], []
    while len(drawn) < 1200:
        try:
            drawn.append(next(stream))
        except OSError:
            rests.append((len(drawn), resume(mux, stream.state_dict())()))
    shares = np.bincount(drawn[200:]) / 1000
    assert abs(shares[n_broken:] - 1 / (count - n_broken)).max() < 0.15
    at, rest = rests[-1]
    assert list(islice(rest, 200)) == drawn[at : at + 200]


@pytest.mark.parametrize("weights", [None, [1, 2, 3, 4], [1, 0, 0, 9], [97, 1, 1, 1], [50, 48, 1, 1]])
@pytest.mark.parametrize("n_active", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", MODES)
def test_all_barren_ends(mode, n_active, weights):
    for seed in range(20):
        opened = []
        streams = [partial(lambda i, log: log.append(i) or iter(()), i, opened) for i in range(4)]
        mux = stochastic_mux(streams, n_active, 4, weights=weights, mode=mode, seed=seed)
        assert list(mux()) == []
        positive = set(range(4)) if weights is None else set(np.flatnonzero(weights))
        assert set(opened) == positive
        assert len(opened) <= (4 if mode != "with_replacement" else 4 * n_active)


def test_hierarchies_multiply():
    cats, dogs = endless(2), [partial(repeat, 2 + i) for i in range(3)]
    animals = shuffled_mux(
        {"cat": stochastic_mux(cats, 1, 4, weights=[1, 3]), "dog": stochastic_mux(dogs, 2, 4, mode="single_active")},
        {"cat": 3, "dog": 1},
        seed=30,
    )
    assert agrees(items(animals, 100_000), [3 / 16, 9 / 16, 1 / 12, 1 / 12, 1 / 12])
