"""Draws: random words by position, tables, samples, orders, quotas."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pescador_fn.drawing import Quota, Table, Words, permutation, successive, systematic
from pescador_fn.seeds import Place, Root

GRID = (np.arange(200_000) + 0.5) / 200_000  # what a uniform number can be, evenly


def words(seed=0, lane="picks"):
    return Words(Root(seed), lane)


def fits(counts, chances):
    """Whether counts are as likely as they should be, by chi-square."""
    counts, chances = np.asarray(counts), np.asarray(chances)
    assert counts[chances == 0].sum() == 0
    keep = chances > 0
    return stats.chisquare(counts[keep], chances[keep] * counts.sum()).pvalue > 1e-6


# words


def test_words_are_uniform():
    u = words().uniforms(0, 100_000)
    assert stats.kstest(u, "uniform").pvalue > 1e-6
    assert u.min() >= 0
    assert u.max() < 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 300)), max_size=20))
def test_reading_anywhere_in_any_order_is_reading_in_line(reads):
    whole = words().uniforms(0, 5300)
    jumping = words()
    for at, size in reads:
        assert jumping.uniforms(at, size).tolist() == whole[at : at + size].tolist()


def test_far_positions_are_reached_at_once():
    far = words()
    assert far.uniforms(2**62, 2).tolist() == words().uniforms(2**62 - 1, 3)[1:].tolist()
    assert far.uniforms(0, 2).tolist() == words().uniforms(0, 2).tolist()


def test_a_copy_reads_the_same_numbers_by_itself():
    one = words()
    one.uniforms(0, 10)
    other = one.copy()
    assert other.uniforms(100, 5).tolist() == words().uniforms(100, 5).tolist()
    assert one.uniforms(10, 5).tolist() == words().uniforms(10, 5).tolist()


def test_lanes_places_and_seeds_share_nothing():
    sequences = [
        tuple(Words(place, lane).uniforms(0, 4))
        for place in (Root(0), Root(1), Place(Root(0), "a", 0), Place(Root(0), "a", 1), Place(Root(0), "b", 0))
        for lane in ("picks", "streams")
    ]
    assert len(set(sequences)) == len(sequences)


def test_each_number_is_the_top_53_bits_of_one_raw_word():
    raw = Root(0).bits("picks").random_raw(1000)
    assert words(0).uniforms(0, 1000).tolist() == [int(word >> np.uint64(11)) / 2**53 for word in raw]


# tables

LAWS = {
    "equal": None,
    "equal, given": np.ones(7),
    "skewed": np.array([0.55] + 9 * [0.05]),
    "geometric": 0.5 ** np.arange(12),
    "zeros": np.array([0, 3, 0, 0, 1, 0]),
    "one": np.array([2.0]),
    "one of many": np.array([0, 0, 1e-9, 0]),
    "huge": np.array([1e308, 1e308, 1e308]),
    "tiny": np.array([5e-324, 5e-324]),
    "unscaled": np.array([3e200, 1e200, 6e200]),
}


@pytest.mark.parametrize("weights", LAWS.values(), ids=LAWS)
def test_a_table_gives_each_index_its_share(weights):
    n = 7 if weights is None else len(weights)
    table = Table(n, weights)
    shares = np.full(n, 1 / n) if weights is None else weights / weights.max() / (weights / weights.max()).sum()
    counts = np.bincount(table.indices(GRID), minlength=n)
    np.testing.assert_allclose(counts / len(GRID), shares, atol=2 / len(GRID) * n)
    np.testing.assert_allclose([table.share(i) for i in range(n)], shares, rtol=1e-12)


@pytest.mark.parametrize("weights", LAWS.values(), ids=LAWS)
def test_a_table_never_leaves_its_range_nor_draws_a_zero(weights):
    n = 7 if weights is None else len(weights)
    ends = np.array([0.0, 5e-324, 2.0**-53, 0.5, 1 - 2.0**-52, 1 - 2.0**-53])
    drawn = Table(n, weights).indices(ends)
    assert ((drawn >= 0) & (drawn < n)).all()
    if weights is not None:
        assert weights[drawn].all()


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.just(0.0), st.floats(5e-324, 1.7e308), st.floats(0.1, 1)), min_size=1, max_size=20).filter(
        any
    ),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20),
)
def test_any_weights_and_any_numbers(weights, u):
    weights = np.array(weights)
    drawn = Table(len(weights), weights).indices(np.array(u))
    assert weights[drawn].all()
    ordered = Table(len(weights), weights).indices(np.sort(u))
    assert (np.diff(ordered) >= 0).all()


@pytest.mark.parametrize("n", [65, 5000])
@pytest.mark.parametrize("skew", [0, 1, 6])
def test_how_many_are_drawn_at_once_changes_nothing(n, skew):
    weights = (1 + np.arange(n)) ** -float(skew)
    u = np.r_[words().uniforms(0, 5000), 0, 1 - 2.0**-53, np.cumsum(weights)[:-1] / weights.sum()]
    at_once = Table(n, weights).indices(u)
    one_by_one, small = Table(n, weights), Table(n, weights)
    assert at_once.tolist() == [int(one_by_one.indices(x)[0]) for x in u[:, None]]
    assert at_once.tolist() == np.concatenate([small.indices(part) for part in np.array_split(u, 7)]).tolist()


def test_a_million_light_beside_one_heavy():
    weights = np.r_[1.0, np.full(1_000_000, 1e-6)]
    drawn = Table(len(weights), weights).indices(words().uniforms(0, 100_000))
    assert fits([(drawn == 0).sum(), (drawn > 0).sum()], [0.5, 0.5])
    assert drawn[drawn > 0].mean() == pytest.approx(500_000, rel=0.01)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 2, 3, 4, 0])], ids=["equal", "skewed"])
def test_without_leaves_the_others_in_proportion(weights):
    table = Table(5, weights)
    rest = table.without({1, 3})
    shares = np.array([1, 0, 1, 0, 1.0]) if weights is None else np.array([1.0, 0, 3, 0, 0])
    counts = np.bincount(rest.indices(GRID), minlength=5)
    np.testing.assert_allclose(counts / len(GRID), shares / shares.sum(), atol=1e-4)
    assert table.share(1) > 0  # the first is as it was
    assert (weights is None) or weights.tolist() == [1, 2, 3, 4, 0]
    assert rest.without({0, 2, 4}) is None
    assert table.without(range(5)) is None


# samples and orders


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=15).filter(lambda w: max(w) > 1e-3),
    st.integers(1, 30),
    st.floats(0, 1, exclude_max=True),
    st.randoms(use_true_random=False),
)
def test_a_systematic_sample_is_the_shares_rounded_up_or_down(weights, size, start, random):
    shares = np.array(weights) / sum(weights)
    order = np.array(random.sample(range(len(weights)), len(weights)))
    counts = np.bincount(systematic(shares, size, start, order), minlength=len(weights))
    assert counts.sum() == size
    assert (counts >= np.floor(size * shares - 1e-9)).all()
    assert (counts <= np.ceil(size * shares + 1e-9)).all()


def test_a_systematic_sample_has_the_shares_on_average():
    shares, order = np.array([0.5, 0.3, 0.15, 0.05]), np.array([2, 0, 3, 1])
    starts = (np.arange(2000) + 0.5) / 2000
    counts = sum(np.bincount(systematic(shares, 3, start, order), minlength=4) for start in starts)
    np.testing.assert_allclose(counts / 2000, 3 * shares, atol=2e-3)


def test_a_permutation_is_uniform():
    orders = Counter(tuple(permutation(u)) for u in words().uniforms(0, 40_000).reshape(-1, 4))
    assert fits([orders[p] for p in itertools.permutations(range(4))], np.full(24, 1 / 24))


def successive_chances(weights):
    """The chance of each order: the next index in proportion to the weights of those left."""
    chances = {}
    for order in itertools.permutations(np.flatnonzero(weights).tolist()):
        left, chance = float(sum(weights)), 1.0
        for index in order:
            chance *= weights[index] / left
            left -= weights[index]
        chances[order] = chance
    return chances


@pytest.mark.parametrize("weights", [[5, 3, 2], [8, 1, 0, 1], [1, 2, 3, 4], None])
def test_successive_orders(weights):
    n = 3 if weights is None else len(weights)
    given = None if weights is None else np.array(weights, dtype=float)
    chances = successive_chances([1, 1, 1] if weights is None else weights)
    rows = words().uniforms(0, 12_000 * n).reshape(-1, n)
    orders = Counter(tuple(successive(given, u).tolist()) for u in rows)
    assert set(orders) <= set(chances)
    assert fits([orders[order] for order in chances], list(chances.values()))


def test_successive_with_weights_far_apart():
    u = words().uniforms(0, 3000).reshape(-1, 3)
    assert {tuple(successive(np.array([1e-10, 1e10, 1.0]), row).tolist()) for row in u} == {(1, 2, 0)}


# quotas


def spread(dist, rate, n):
    """Mean and variance as the formulas have them, a real ``m`` being rounded at random."""
    if dist == "constant":
        return rate, rate % 1 * (1 - rate % 1)
    if dist == "poisson" or n == 1:
        return rate, rate - 1
    stay = 1 - 1 / n
    part = (rate - 1) / stay % 1
    return rate, (rate - 1) * (1 - stay) + stay**2 * part * (1 - part)


RATES = (1, 1.25, 2, 2.5, 3, 8, 7.9, 100, 1000.5)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("dist", ["constant", "poisson", "binomial"])
def test_quotas_have_the_mean_and_variance_of_their_law(dist, rate, n):
    quota = Quota(dist, rate, n)
    mean, variance = spread(dist, rate, n)
    assert quota.mean == pytest.approx(rate, rel=1e-9)
    sizes = quota.sizes(GRID)  # the law, but for the ends of its tails
    assert sizes.min() >= 1
    assert sizes.mean() == pytest.approx(mean, rel=1e-4)
    assert sizes.var() == pytest.approx(variance, rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("rate", [1, 2, 2.5, 8])
@pytest.mark.parametrize("dist", ["constant", "poisson", "binomial"])
def test_quotas_as_drawn(dist, rate):
    sizes = Quota(dist, rate, 3).sizes(words().uniforms(0, 100_000))
    mean, variance = spread(dist, rate, 3)
    assert abs(sizes.mean() - mean) <= 5.5 * (variance / 1e5) ** 0.5
    assert sizes.var(ddof=1) == pytest.approx(variance, rel=0.03, abs=1e-9)


@pytest.mark.parametrize(
    ("dist", "rate", "n", "law"),
    [
        ("constant", 3, 4, {3: 1}),
        ("constant", 3.25, 4, {3: 0.75, 4: 0.25}),
        ("constant", 1, 4, {1: 1}),
        ("poisson", 1, 4, {1: 1}),
        ("poisson", 3, 4, {1 + k: stats.poisson.pmf(k, 2) for k in range(20)}),
        ("binomial", 1, 4, {1: 1}),
        ("binomial", 2.5, 2, {1 + k: stats.binom.pmf(k, 3, 0.5) for k in range(4)}),  # m = 3
        ("binomial", 2, 3, {1: (1 / 3 + 1 / 9) / 2, 2: (2 / 3 + 4 / 9) / 2, 3: 4 / 9 / 2}),  # m is 1 or 2
        ("binomial", 3, 1, {1 + k: stats.poisson.pmf(k, 2) for k in range(20)}),  # its limit
    ],
)
def test_the_law_of_quotas(dist, rate, n, law):
    counts = Counter(Quota(dist, rate, n).sizes(GRID).tolist())
    for size, chance in law.items():
        assert counts[size] / len(GRID) == pytest.approx(chance, abs=2e-5)
    assert set(counts) <= set(law)


def test_what_pescador_gives_would_fail():
    stay, rate, n = 2 / 3, 2, 3
    truncated = 1 + stats.binom.rvs(int((rate - 1) / stay), stay, size=100_000, random_state=0)
    assert truncated.mean() == pytest.approx(1.66, abs=0.01)
    assert abs(truncated.mean() - rate) > 5.5 * (spread("binomial", rate, n)[1] / 1e5) ** 0.5


@pytest.mark.parametrize("dist", ["constant", "poisson", "binomial"])
def test_large_rates(dist):
    quota = Quota(dist, 1e6, 10)
    assert quota.mean == pytest.approx(1e6, rel=1e-9)
    assert abs(quota.sizes(GRID).mean() - 1e6) < 1
