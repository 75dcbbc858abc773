"""Conditional Poisson sampling: a working set without repeats whose shares are exact.

Given inclusion probabilities that sum to ``n``, there are odds ``theta`` such that sets of ``n`` drawn with probability
proportional to the product of their members' odds include each index just so often. "Drop a random member, add an
outsider with odds theta" keeps that law. The odds are found by iteration; each round needs the inclusions that the
present odds give, from the law of the number of successes in independent trials (a product of small polynomials).

Light indices (inclusion below a third) enter by power sums, of which few matter; heavy ones, of which there are at
most ``3 n``, by multiplying out, since the power series loses its digits where inclusions are near 1. That takes
``n ** 2`` steps; where the number of successes is spread widely, the same comes from the few values of its
characteristic function that are not nothing.

Source: Chen, Dempster and Liu, Weighted finite population sampling to maximize entropy, 1994.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pescador_fn.drawing import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Law", "odds", "split_certain"]

Floats: TypeAlias = "NDArray[np.float64]"

_HEAVY = 1 / 3
_CLOSE = 1e-11
_PART = 65536  # indices worked on at a time
_SPREAD = 400.0  # the variance of the number of successes from which on the characteristic function serves


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
    """The odds ``theta``, scaled so that independent trials would give about ``n`` successes on average.

    Args:
        inclusion: shape ``(N,)``, each in (0, 1), summing to ``n``.
        n: the size of the set, ``1 <= n < N``.

    Returns:
        Shape ``(N,)``; the inclusions that they give differ from ``inclusion`` by less than 1e-9 of the smaller of it
        and its complement.
    """
    theta = inclusion / (1 - inclusion)
    if np.ptp(inclusion) < 1e-15:
        return theta
    heavy = inclusion >= _HEAVY
    many = float(heavy.sum()) ** 2 > 32 * len(theta) and inclusion @ (1 - inclusion) >= _SPREAD
    step, before = 1.0, float("inf")
    for _ in range(200):
        off = 0.0
        for part, inside, outside in _of_many(theta, n) if many else _inclusions(theta, n, heavy):
            ratio = inclusion[part] / (1 - inclusion[part]) * outside / inside
            off = max(off, float(np.abs(ratio - 1).max()))
            theta[part] *= ratio**step
        if off < _CLOSE:
            break
        if off > before / 3:
            step = (
                2 / 3
            )  # the log odds answer with a factor from 1 (many indices) to 2 (two): a third is left each time
        before = off
    return theta


def _inclusions(theta: Floats, n: int, heavy: NDArray[np.bool_]) -> Iterator[tuple[Any, Floats, Floats]]:
    """The weights of the sets with each index and without it, up to a common factor: in parts, to spare memory."""
    strong = theta[heavy]
    parts = [_light(heavy, start) for start in range(0, len(theta), _PART)]
    light = _light_law([theta[part] for part in parts], n)  # degrees 0 to n
    law = np.ones(1)
    for chance in strong / (1 + strong):
        law = np.convolve(law, [1 - chance, chance])
    both = np.convolve(law, light)[: n + 1]
    if len(strong):
        yield heavy, *_without_heavy(strong, law, light, n)
    for part in parts:
        if len(theta[part]):
            yield part, *_without_light(theta[part], both, n)


def _of_many(theta: Floats, n: int) -> Iterator[tuple[Any, Floats, Floats]]:
    """The same from integrals of the characteristic function, as sums of trapezoids.

    In units of ``scale`` it is below ``exp(-t**2 / 2.1)`` as far as the sums go, and nothing beyond; what a step of 0.4
    lets in from other sizes of sets is 15 deviations away.
    """
    parts = [slice(start, start + _PART) for start in range(0, len(theta), _PART)]
    scale = sum(float((theta[part] / (1 + theta[part]) ** 2).sum()) for part in parts) ** -0.5
    turns = [complex(np.exp(0.4j * k * scale)) for k in range(25)]
    terms = []
    for k, turn in enumerate(turns):
        size, angle = 0.0, -0.4 * k * scale * n
        for part in parts:
            win = theta[part] / (1 + theta[part])
            size += np.log1p(2 * (turn.real - 1) * win * (1 - win)).sum() / 2
            angle += np.arctan(win * turn.imag / (1 + win * (turn.real - 1))).sum()
        terms.append(np.exp(complex(size, angle)) * (2 if k else 1))
    for part in parts:
        some = theta[part]
        inside, outside = np.zeros_like(some), np.zeros_like(some)
        for turn, term in zip(turns, terms, strict=True):
            others = term / (1 + some * turn)
            inside += (turn * others).real
            outside += others.real
        yield part, some * inside, outside


def _light(heavy: NDArray[np.bool_], start: int) -> Any:
    """The light indices of a part, as a slice where they are all of it."""
    mask = heavy[start : start + _PART]
    return start + np.flatnonzero(~mask) if mask.any() else slice(start, start + len(mask))


def _light_law(parts: list[Floats], n: int) -> Floats:
    """Coefficients 0 to ``n`` of the product of ``1 + theta x``, scaled, by Newton's identities."""
    law = np.zeros(n + 1)
    law[0] = 1.0
    bound = max((float(part.max(initial=0.0)) for part in parts), default=0.0)
    if not bound:
        return law
    count = n if bound >= 1 else min(n, 2 + int(np.log(1e-18) / np.log(bound)))  # the later power sums are nothing
    sums = np.zeros(count)
    for part in parts:
        power = part.copy()
        for k in range(count):
            sums[k] += power.sum()
            power *= part
    sums[1::2] *= -1
    for k in range(1, n + 1):
        reach = min(k, count)
        law[k] = max(0.0, float(sums[:reach] @ law[k - reach : k][::-1]) / k)
        if law[k] > 1e200:
            law *= 1e-200
    scaled: Floats = law / law.max()
    return scaled


def _without_light(theta: Floats, law: Floats, n: int) -> tuple[Floats, Floats]:
    """For each index: theta times coefficient ``n - 1`` of the product of the others, and their coefficient ``n``."""
    terms = law[::-1] / law[n - 1]  # terms[1] is 1; terms[1 + j] weighs theta ** j
    rest = np.zeros_like(theta)
    reach = n
    bound = float(theta.max())
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


class Law:
    """Who is active beside whom: the streams that always are, and the odds of the others.

    ``scale`` times its weight is the inclusion probability of a stream that is not certain.
    """

    __slots__ = ("certain", "count", "heavy", "n_slots", "part", "scale", "table", "weights")

    def __init__(self, weights: Floats, n_active: int) -> None:
        self.weights: Floats = weights
        self.count: int = int(np.count_nonzero(weights))
        self.n_slots: int = min(n_active, self.count)
        certain, inclusion = split_certain(weights, self.n_slots)
        self.certain: frozenset[int] = frozenset(np.flatnonzero(certain).tolist())
        n = self.n_slots - len(self.certain)
        chosen: Any = (inclusion > 0) & ~certain
        if chosen.all():
            chosen = slice(None)
        free = float(weights[chosen].sum())
        # A slot whose stream is always active is picked by that stream's weight, the other slots in equal parts.
        self.part: float = free / n if n else 0.0
        self.scale: float = n / free if n else 0.0
        self.heavy: list[tuple[int, float]] = []
        self.table: Table | None = None
        if n and free:
            theta = np.zeros(len(weights))
            theta[chosen] = odds(inclusion[chosen], n)
            # A draw that falls on an active stream is repeated; where that is nearly all, the heavy are listed.
            if theta @ (1 - inclusion) < 0.05 * theta.sum():
                heavy = np.flatnonzero((inclusion > 0.5) & ~certain)
                self.heavy = list(zip(heavy.tolist(), theta[heavy].tolist(), strict=True))
                theta[heavy] = 0.0
            self.table = Table(len(weights), theta) if theta.any() else None

    def share(self, stream: int) -> float:
        """How much of the active set is a stream."""
        inclusion = 1.0 if stream in self.certain else float(self.weights[stream]) * self.scale
        return inclusion / self.n_slots
