"""Conditional Poisson sampling: a working set without repeats whose shares are exact.

Given inclusion probabilities that sum to ``n``, there are odds ``theta`` such that sets of ``n`` drawn with probability
proportional to the product of their members' odds include each index just so often. "Drop a random member, add an
outsider with odds theta" keeps that law. The odds are found by iteration; each round needs the inclusions that the
present odds give, from the law of the number of successes in independent trials (a product of small polynomials).

Light indices (inclusion below a third) enter by power sums, of which few matter; heavy ones, of which there are at
most ``3 n``, by multiplying out, since the power series loses its digits where inclusions are near 1.

Source: Chen, Dempster and Liu, Weighted finite population sampling to maximize entropy, 1994.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["odds", "split_certain"]

Floats = NDArray[np.float64]

_HEAVY = 1 / 3
_CLOSE = 1e-11


def split_certain(weights: Floats, n_active: int) -> tuple[NDArray[np.bool_], Floats]:
    """Which indices are always in a set of ``n_active``, and the inclusion probabilities of all.

    An index whose weight is at least its share of the set is always in it; the rest share what is left, where the same
    may then hold for others.
    """
    certain = np.zeros(len(weights), dtype=np.bool_)
    while True:
        rest = weights[~certain]
        free = n_active - int(certain.sum())
        largest = rest.max(initial=0.0)
        wanted = certain.astype(np.float64)
        if largest > 0:
            wanted[~certain] = rest / largest * (free / (rest / largest).sum())
        more = (wanted >= 1 - 1e-12) & ~certain
        if not more.any():
            return certain, wanted
        certain |= more


def odds(inclusion: Floats, n: int) -> Floats:
    """The odds ``theta``, scaled so that independent trials would give ``n`` successes on average.

    Args:
        inclusion: shape ``(N,)``, each in (0, 1), summing to ``n``.
        n: the size of the set, ``1 <= n < N``.

    Returns:
        Shape ``(N,)``; the inclusions that they give differ from ``inclusion`` by less than 1e-9 of the smaller of it
        and its complement.
    """
    target = inclusion / (1 - inclusion)
    if np.ptp(inclusion) < 1e-15:
        return target
    theta = target.copy()
    step, before = 1.0, float("inf")
    for _ in range(200):
        inside, outside = _inclusion(theta, n, inclusion >= _HEAVY)
        ratio = target / (inside / outside)
        off = float(np.abs(ratio - 1).max())
        if off < _CLOSE:
            break
        if off > before / 3:
            step = (
                2 / 3
            )  # the log odds answer with a factor from 1 (many indices) to 2 (two): a third is left each time
        before = off
        theta *= ratio**step
    return theta


def _inclusion(theta: Floats, n: int, heavy: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The weights of the sets with each index and without it, up to a common factor."""
    strong, weak = theta[heavy], theta[~heavy]
    light = _light_law(weak, n)  # degrees 0 to n
    law = np.ones(1)
    for chance in strong / (1 + strong):
        law = np.convolve(law, [1 - chance, chance])
    both = np.convolve(law, light)[: n + 1]
    inside, outside = np.empty_like(theta), np.empty_like(theta)
    inside[~heavy], outside[~heavy] = _without_light(weak, both, n)
    if len(strong):
        inside[heavy], outside[heavy] = _without_heavy(strong, law, light, n)
    return inside, outside


def _light_law(theta: Floats, n: int) -> Floats:
    """Coefficients 0 to ``n`` of the product of ``1 + theta x``, scaled, by Newton's identities."""
    law = np.zeros(n + 1)
    law[0] = 1.0
    if not len(theta):
        return law
    sums: list[float] = []
    power, sign = theta.copy(), 1.0
    while len(sums) < n:
        sums.append(sign * float(power.sum()))
        if abs(sums[-1]) < 1e-18 * sums[0]:
            break
        power *= theta
        sign = -sign
    series = np.array(sums)
    for k in range(1, n + 1):
        reach = min(k, len(series))
        law[k] = max(0.0, float(series[:reach] @ law[k - reach : k][::-1]) / k)
        if law[k] > 1e200:
            law *= 1e-200
    scaled: Floats = law / law.max()
    return scaled


def _without_light(theta: Floats, law: Floats, n: int) -> tuple[Floats, Floats]:
    """For each index: theta times coefficient ``n - 1`` of the product of the others, and their coefficient ``n``."""
    terms = law[::-1] / law[n - 1]  # terms[1] is 1; terms[1 + j] weighs theta ** j
    rest = np.zeros_like(theta)
    reach = n
    bound = float(theta.max()) if len(theta) else 0.0
    for j in range(n):
        if terms[1 + j] * bound**j < 1e-18:
            reach = j
            break
    for j in range(reach - 1, -1, -1):
        rest = terms[1 + j] - theta * rest
    inside = theta * rest
    return inside, terms[0] - inside


def _without_heavy(theta: Floats, law: Floats, light: Floats, n: int) -> tuple[Floats, Floats]:
    """The same for the heavy ones: their product is divided by each factor.

    Division upwards keeps its digits while the ratio of neighbouring coefficients is above theta, downwards below it;
    the ratios fall, so each index has one place to change over.
    """
    win = theta / (1 + theta)
    lose = 1 - win
    top = len(theta)
    inside, outside = np.zeros_like(theta), np.zeros_like(theta)
    tiny = 1e-250

    def add(k: int, others: Floats) -> None:  # coefficient k of the product without one factor
        if 0 <= n - 1 - k < len(light):
            inside[:] += others * light[n - 1 - k]
        if 0 <= n - k < len(light):
            outside[:] += others * light[n - k]

    others = np.zeros_like(theta)
    for k in range(top):
        rising = law[k] > tiny and (np.ones_like(theta, dtype=np.bool_) if not k else law[k] >= theta * law[k - 1])
        others = np.where(rising, (law[k] - win * others) / lose, 0.0)
        if not others.any() and law[k] > tiny:
            break
        add(k, others)
    others = np.zeros_like(theta)
    for k in range(top - 1, -1, -1):
        falling = law[k + 1] > tiny and k > 0 and law[k] < theta * law[k - 1]
        others = np.where(falling, (law[k + 1] - lose * others) / win, 0.0)
        if not others.any() and law[k + 1] > tiny:
            break
        add(k, others)
    return theta * inside, outside
