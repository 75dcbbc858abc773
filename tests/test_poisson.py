"""Odds of a conditional Poisson sample, against enumeration of all sets."""

import itertools
import time
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pescador_fn import poisson
from pescador_fn.poisson import odds, split_certain


def law_of(theta, n):
    """Each set of ``n`` with its probability, in proportion to the product of its members' odds."""
    sets = list(itertools.combinations(range(len(theta)), n))
    logs = np.array([np.log(theta[list(s)]).sum() for s in sets])
    chances = np.exp(logs - logs.max())
    return sets, chances / chances.sum()


def inclusion_of(theta, n):
    """How often each index is in a set, and how often it is not, both summed directly."""
    inside, outside = np.zeros(len(theta)), np.zeros(len(theta))
    for members, chance in zip(*law_of(theta, n), strict=True):
        inside += chance * np.isin(np.arange(len(theta)), members)
        outside += chance * ~np.isin(np.arange(len(theta)), members)
    return inside, outside


def law_of_size(chances, most):
    """The law of the number of successes in independent trials: sizes 0 to ``most``."""
    law = np.zeros(most + 1)
    law[0] = 1.0
    for p in chances:
        law[1:] = law[1:] * (1 - p) + law[:-1] * p
        law[0] *= 1 - p
    return law


def inclusion_by_leaving_out(theta, n, which):
    """The same for sets too many to list: the trial of one index against the sum of all the others."""
    p = theta / (1 + theta)
    rows = []
    for i in which:
        others = law_of_size(np.delete(p, i), n)
        inside, outside = p[i] * others[n - 1], (1 - p[i]) * others[n]
        rows.append((inside, outside) / (inside + outside))
    return np.array(rows).T


def scaled(weights, n):
    """Weights as inclusions below 1 that sum to ``n``; ``None`` where one would be certain."""
    certain, inclusion = split_certain(np.asarray(weights, dtype=float), n)
    return None if certain.any() else inclusion


CASES = {
    "equal": ([1] * 6, 3),
    "one of a pair": ([0.3, 0.7], 1),
    "naive gives 0.216 for 0.28": ([0.28, 0.24, 0.18, 0.12, 0.10, 0.08], 3),
    "all but one": ([1, 1.1, 1.2, 1.3], 3),
    "geometric": (0.8 ** np.arange(9), 3),
    "one nearly certain": ([0.4999, 0.2, 0.2, 0.1001], 2),
    "tiny beside large": ([1e-9, 1, 1, 1, 1], 2),
    "most nearly certain": ([0.2499, 0.2499, 0.2499, 0.1, 0.1, 0.0503], 4),
}


@pytest.mark.parametrize(("weights", "n"), CASES.values(), ids=CASES)
def test_odds_give_the_inclusions_asked_for(weights, n):
    wanted = scaled(weights, n)
    inside, outside = inclusion_of(odds(wanted, n), n)
    np.testing.assert_allclose(inside, wanted, rtol=1e-9)
    np.testing.assert_allclose(outside, 1 - wanted, rtol=1e-9)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.floats(1e-3, 1), min_size=2, max_size=9), st.data())
def test_odds_against_enumeration(weights, data):
    n = data.draw(st.integers(1, len(weights) - 1))
    wanted = scaled(weights, n)
    if wanted is None or (1 - wanted).min() < 1e-7:
        return
    inside, outside = inclusion_of(odds(wanted, n), n)
    np.testing.assert_allclose(inside, wanted, rtol=1e-8)
    np.testing.assert_allclose(outside, 1 - wanted, rtol=1e-8)


def test_one_of_many_has_odds_in_proportion_to_the_weights():
    weights = np.array([0.5, 0.25, 0.125, 0.125])
    theta = odds(weights, 1)
    np.testing.assert_allclose(theta / theta.sum(), weights, rtol=1e-10)


def test_naive_odds_fail_where_these_hold():
    weights = np.array([0.28, 0.24, 0.18, 0.12, 0.10, 0.08])
    naive = inclusion_of(weights, 3)[0] / 3
    assert abs(naive[0] - weights[0]) > 0.02
    assert abs(inclusion_of(odds(3 * weights, 3), 3)[0] / 3 - weights).max() < 1e-10


@pytest.mark.parametrize(
    "inclusion",
    [
        np.r_[np.full(50, 0.999), np.full(100, 0.05 / 100)],
        np.r_[np.full(50, 0.999), np.full(10, 0.505)],
        np.r_[np.full(50, 0.999), np.full(1, 0.05)],
        np.r_[np.full(30, 1 - 1e-6), np.full(30, 1e-6)],
        np.r_[np.full(5, 0.999), np.full(2000, 1.005 / 2000)],
        np.r_[np.linspace(0.01, 0.99, 99), 0.5],
        np.r_[np.full(100, 0.99), np.full(2, 0.5)],
        np.r_[np.full(60, 1 / 3), np.full(60, 1 / 3 + 1e-9), np.full(60, 1 / 3 - 1e-9)],
    ],
    ids=[
        "fifty heavy",
        "heavy and half",
        "one light",
        "extremes",
        "few heavy",
        "all degrees",
        "one gap",
        "at the border",
    ],
)
def test_inclusions_near_one_keep_their_digits(inclusion):
    n = round(inclusion.sum())
    assert inclusion.sum() == pytest.approx(n)
    theta = odds(inclusion, n)
    which = np.unique(np.r_[0, 1, len(inclusion) // 2, len(inclusion) - 1])
    inside, outside = inclusion_by_leaving_out(theta, n, which)
    np.testing.assert_allclose(inside, inclusion[which], rtol=1e-7)
    np.testing.assert_allclose(outside, 1 - inclusion[which], rtol=1e-7)


@pytest.mark.parametrize("n", [1, 2, 10, 100, 300])
@pytest.mark.parametrize("size", [301, 1000])
def test_many_sizes(size, n):
    weights = np.linspace(1, 3, size) if n < 300 else np.linspace(1, 1.002, size)
    wanted = scaled(weights, n)
    which = [0, size // 3, size - 1]
    inside, outside = inclusion_by_leaving_out(odds(wanted, n), n, which)
    np.testing.assert_allclose(inside, wanted[which], rtol=1e-8)
    np.testing.assert_allclose(outside, 1 - wanted[which], rtol=1e-8)


@pytest.mark.parametrize("law", ["uniform", "zipf", "few heavy"])
def test_a_million_streams(law):
    size, n = 1_000_000, 100
    weights = {
        "uniform": lambda: np.random.default_rng(0).random(size) + 0.01,
        "zipf": lambda: 1 / np.arange(100, size + 100),
        "few heavy": lambda: np.r_[np.full(80, 1 / 101), np.full(size - 80, (1 - 80 / 101) / (size - 80))],
    }[law]()
    start = time.perf_counter()
    wanted = scaled(weights, n)
    theta = odds(wanted, n)
    assert time.perf_counter() - start < 8
    p = theta / (1 + theta)
    for i in (0, 1000, size - 1):
        fewer, full = two_sizes(np.delete(p, i), n)
        inside, outside = p[i] * fewer, (1 - p[i]) * full
        assert inside / (inside + outside) == pytest.approx(wanted[i], rel=1e-8)


def two_sizes(p, n):
    """The chances of ``n - 1`` and ``n`` successes, from the characteristic function: another way altogether."""
    m = 1024  # more than any size that has a chance
    z = np.exp(2j * np.pi * np.arange(m) / m) - 1
    heavy, light = p[p > 0.2], p[p <= 0.2]
    logs = np.log1p(np.multiply.outer(heavy, z)).sum(axis=0)
    power = np.ones_like(light)
    for k in range(1, 40):
        power = power * light
        logs -= (-z) ** k / k * power.sum()
    law = np.fft.fft(np.exp(logs)).real / m
    return law[n - 1], law[n]


@pytest.mark.parametrize(
    ("weights", "n", "certain", "inclusion"),
    [
        ([1, 1, 1, 1], 2, [0, 0, 0, 0], [0.5] * 4),
        ([1, 1, 1, 1], 4, [1, 1, 1, 1], [1] * 4),
        ([6, 1, 1, 1, 1], 2, [1, 0, 0, 0, 0], [1, 0.25, 0.25, 0.25, 0.25]),
        ([5, 2, 1, 1, 1], 2, [1, 0, 0, 0, 0], [1, 0.4, 0.2, 0.2, 0.2]),
        ([8, 4, 2, 1, 1], 3, [1, 1, 0, 0, 0], [1, 1, 0.5, 0.25, 0.25]),  # the second only once the first is out
        ([3, 0, 1, 0, 1], 2, [1, 0, 0, 0, 0], [1, 0, 0.5, 0, 0.5]),
        ([1, 0, 1], 2, [1, 0, 1], [1, 0, 1]),
        ([2, 1, 1], 2, [1, 0, 0], [1, 0.5, 0.5]),  # exactly 1 / n
        ([0.55] + [0.05] * 9, 1, [0] * 10, [0.55] + [0.05] * 9),
    ],
)
def test_split_certain(weights, n, certain, inclusion):
    given = np.array(weights, dtype=float)
    found, wanted = split_certain(given, n)
    assert found.tolist() == [bool(x) for x in certain]
    np.testing.assert_allclose(wanted, inclusion, rtol=1e-12)
    assert given.tolist() == weights


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(any), st.data())
def test_split_certain_sums_to_n_and_keeps_proportions(weights, data):
    weights = np.array(weights)
    n = data.draw(st.integers(1, int(np.count_nonzero(weights))))
    certain, inclusion = split_certain(weights, n)
    assert inclusion.sum() == pytest.approx(n)
    assert ((inclusion >= 0) & (inclusion <= 1)).all()
    assert (inclusion[certain] == 1).all()
    assert (inclusion[weights == 0] == 0).all()
    free = ~certain
    if weights[free].sum() > 0 and n > certain.sum():
        np.testing.assert_allclose(
            inclusion[free], weights[free] / weights[free].sum() * (n - certain.sum()), rtol=1e-9, atol=1e-300
        )


def test_enumeration_itself():
    sets, chances = law_of(np.ones(5), 2)
    assert len(sets) == comb(5, 2)
    assert chances.sum() == pytest.approx(1)


@pytest.mark.parametrize(("count", "n"), [(3000, 1500), (6000, 1500), (2000, 1700)])
def test_the_odds_of_a_large_set_are_those_of_either_way(monkeypatch, count, n):
    inclusion = scaled(1 + np.random.default_rng(0).random(count) ** 3 * (0.1 if n >= count / 2 else 20), n)
    found = []
    for spread in (0.0, np.inf):
        monkeypatch.setattr(poisson, "_SPREAD", spread)
        found.append(odds(inclusion, n))
    many, few = found
    assert np.ptp(np.log(many / few)) < 1e-10
    which = [int(inclusion.argmin()), int(inclusion.argmax()), 7]
    inside, outside = inclusion_by_leaving_out(many, n, which)
    assert inside == pytest.approx(inclusion[which], rel=1e-9)
    assert outside == pytest.approx(1 - inclusion[which], rel=1e-9)
