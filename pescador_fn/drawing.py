"""Draws: random words to indices, quotas and working sets. Pure: nothing here opens or pulls.

Every draw takes a fixed number of raw 64-bit words and maps them by inverse CDF, so draw ``n`` is reached at once and
orders do not depend on how numpy's ``Generator`` methods are written, which may change.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, ValuesView
from math import log
from numbers import Number
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pescador_fn.errors import show
from pescador_fn.legible import named

if TYPE_CHECKING:
    from numpy.random import PCG64
    from numpy.typing import NDArray

    from pescador_fn.factory import Parts
    from pescador_fn.seeds import Place

__all__ = ["PERIOD", "Quota", "Table", "Weights", "Words", "block_sizes", "check_weights", "successive", "systematic"]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"
Weights = Any  # a sequence, a mapping, an array, a function of the number of draws so far, or None

PERIOD = 1024  # draws; a weights function is read at its multiples

# Draws in the first and the largest block, which are four times the one before; no draw depends on them.
block_sizes: tuple[int, int] = (16, 4096)


class Words:
    """Uniform numbers in [0, 1), by position; hashed from a place when first asked for."""

    __slots__ = ("at", "bits", "lane", "place")

    def __init__(self, place: Place, lane: str) -> None:
        self.place: Place = place
        self.lane: str = lane
        self.at: int = 0
        self.bits: PCG64 | None = None

    def copy(self) -> Words:
        """The same numbers, to be read elsewhere."""
        return Words(self.place, self.lane)

    def uniforms(self, at: int, size: int) -> Floats:
        """Numbers ``at`` to ``at + size - 1``, each from one word."""
        bits, self.bits = self.bits, None  # while it moves: after a signal it is made anew
        if bits is None:
            bits, self.at = self.place.bits(self.lane), 0
        if at != self.at:
            bits.advance(at - self.at)
        raw: Any = bits.random_raw(size)
        self.bits, self.at = bits, at + size
        numbers: Floats = (raw >> np.uint64(11)) * 2.0**-53
        return numbers


class Table:
    """A discrete law over ``n`` indices by its cumulative weights; ``None`` for equal ones."""

    __slots__ = ("asked", "cumulative", "guide", "ids", "largest", "n", "total", "weights")

    def __init__(self, n: int, weights: Floats | None) -> None:
        self.n: int = n
        self.weights: Floats | None = weights
        self.largest: float = 1.0 if weights is None else float(weights.max())
        self.ids: Ints | None = None
        self.total: float = float(n)
        self.guide: Any = None
        self.asked: int = 0  # numbers looked for before there was a guide
        if weights is not None:
            # Only what can be drawn is in the table, so that rounding never picks a zero weight.
            if not weights.all():
                self.ids = np.flatnonzero(weights)
                weights = weights[self.ids]
            self.cumulative: Floats = np.cumsum(weights / self.largest)
            self.total = float(self.cumulative[-1])

    def indices(self, u: Floats) -> Ints:
        """One index for each uniform number."""
        if self.weights is None:
            return (u * self.n).astype(np.int64)
        n = len(self.cumulative)
        if self.guide is None:
            self.asked += len(u)
        # A guide takes as long to make as to find about as many numbers as it is made of without one.
        if n <= 8 or (self.guide is None and (len(u) < 1024 or self.asked < min(n, 2**16))):
            found = self.cumulative.searchsorted(u * self.total, side="right")
            found = np.minimum(found, n - 1)
        else:
            found = self._guided(u)
        return found if self.ids is None else self.ids[found]

    def _guided(self, u: Floats) -> Ints:
        """The same as `searchsorted`, from a table of where to begin: a binary search of many misses the caches."""
        cumulative, size = self.cumulative, min(4 * len(self.cumulative), 2**18)
        if self.guide is None:
            # A little low, since rounding may put a number and its place in the guide on two sides of a step.
            starts = np.arange(size) * (self.total / size * (1 - 1e-12))
            self.guide = np.minimum(cumulative.searchsorted(starts, side="right"), len(cumulative) - 1)
        x = u * self.total
        found = self.guide[(u * size).astype(np.int64)]
        for _ in range(8):
            low = cumulative[found] <= x
            if not low.any():
                return found  # type: ignore[no-any-return]
            found = np.minimum(found + low, len(cumulative) - 1)
        return np.minimum(cumulative.searchsorted(x, side="right"), len(cumulative) - 1)

    def without(self, dead: Any) -> Table | None:
        """The same law without some indices; ``None`` where nothing is left."""
        weights = np.ones(self.n) if self.weights is None else self.weights.copy()
        weights[list(dead)] = 0.0
        return Table(self.n, weights) if weights.any() else None

    def share(self, index: int) -> float:
        """The probability of one index."""
        return (1.0 if self.weights is None else float(self.weights[index]) / self.largest) / self.total


def check_weights(function: str, weights: Weights, parts: Parts[Any]) -> Floats | Callable[[int], Any] | None:
    """Weights as an array of the library's own; a function is left as it is."""
    if weights is None:
        return None
    if not callable(weights):
        return read_weights(function, weights, parts)
    found: Callable[[int], Any] = weights
    try:
        inspect.signature(found).bind(0)
    except ValueError:  # of some functions written in C, nothing is known
        pass
    except TypeError as error:
        raise TypeError(
            f"{function}: weights={named(weights)} cannot be called with one argument ({error}); "
            "take the number of draws so far, and return the weights"
        ) from None
    return found


def read_weights(function: str, weights: Any, parts: Parts[Any]) -> Floats:
    """The check of weights that are data."""
    if parts.names is not None and not isinstance(weights, Mapping) and hasattr(weights, "to_dict"):
        weights = weights.to_dict()  # a Series of pandas has its values by name, in an order of its own
    if isinstance(weights, Mapping):
        if parts.names is None:
            raise ValueError(
                f"{function}: weights is a mapping but factories is a sequence; give both by name, or both in order"
            )
        lacking = [name for name in parts.names if name not in weights]
        known = set(parts.names)
        extra = [name for name in weights if name not in known]
        if lacking or extra:
            wrong = [f"{which} {show(names)}" for which, names in (("lacks", lacking), ("names", extra)) if names]
            raise ValueError(
                f"{function}: weights {' and '.join(wrong)}; give one weight for each name in factories, and no other"
            )
        weights = [weights[name] for name in parts.names]
    elif isinstance(weights, ValuesView):
        weights = list(weights)
    if isinstance(weights, np.ma.MaskedArray) and np.ma.is_masked(weights):
        raise TypeError(f"{function}: weights={show(weights)} is masked in part; fill it, with 0 for what to leave out")
    try:
        raw = np.asarray(weights)
        if raw.dtype.kind not in "biuf" and not all(_is_real(value) for value in raw.flat):
            raise TypeError(f"dtype {raw.dtype}")
        given = np.array(raw, dtype=np.float64)
    except OverflowError as error:
        raise ValueError(f"{function}: weights={show(weights)} is not finite; give numbers like 0.5 or 3") from error
    except (TypeError, ValueError) as error:
        raise TypeError(f"{function}: weights={show(weights)} is not numbers; give one number per factory") from error
    if given.ndim != 1 or len(given) != len(parts):
        raise ValueError(
            f"{function}: weights has shape {given.shape} but there are {len(parts)} factories; give one number each"
        )
    bad = np.flatnonzero(~(given >= 0) | np.isinf(given))
    if bad.size:
        label = parts.label(int(bad[0]))
        raise ValueError(
            f"{function}: weights[{label!r}]={given[bad[0]]} is not finite and >= 0; give numbers like 0.5 or 3"
        )
    if not given.any():
        raise ValueError(f"{function}: weights are all 0, so nothing can be drawn; give at least one positive weight")
    least = given[given > 0].min()
    if given.max() > 1e150 or least < 1e-150 * max(1.0, given.max()):  # products and ratios stay within floats
        given = np.where(given > 0, np.maximum(given / given.max(), 1e-150), 0.0)
    given.setflags(write=False)
    return given


def _is_real(value: Any) -> bool:
    return isinstance(value, Number) and not isinstance(value, complex | np.timedelta64)


class Quota:
    """The law of the number of items that one activation may give: an offset and cumulative probabilities."""

    __slots__ = ("cumulative", "first")

    first: int

    def __init__(self, dist: str, rate: float, n_active: int) -> None:
        if dist == "constant":
            self.first, chances = int(rate), np.array([1.0 - rate % 1, rate % 1])
        elif dist == "poisson" or n_active == 1:
            self.first, chances = _poisson(rate - 1)
        else:
            # 1 + Binomial(m, 1 - 1/n_active) has the mean `rate` at a real m, so m is rounded at random.
            stay = 1 - 1 / n_active
            trials = (rate - 1) / stay
            low, lower = _binomial(int(trials), stay)
            high, higher = _binomial(int(trials) + 1, stay)
            self.first = min(low, high)
            chances = np.zeros(max(low + len(lower), high + len(higher)) - self.first)
            chances[low - self.first :][: len(lower)] += (1 - trials % 1) * lower
            chances[high - self.first :][: len(higher)] += trials % 1 * higher
        self.cumulative: Floats = np.cumsum(chances)
        self.cumulative /= self.cumulative[-1]

    def sizes(self, u: Floats) -> Ints:
        """One number of items for each uniform number."""
        found = self.cumulative.searchsorted(u, side="right")
        return self.first + np.minimum(found, len(self.cumulative) - 1)

    @property
    def mean(self) -> float:
        """The expected number of items."""
        return float(self.first + (1 - self.cumulative).sum())


def _law(first: int, last: int, step: Callable[[Floats], Floats]) -> tuple[int, Floats]:
    """``1 +`` a law on ``first`` to ``last``, from the logarithms of the ratios of neighbouring probabilities."""
    logs = np.concatenate([[0.0], np.cumsum(step(np.arange(first, last, dtype=np.float64)))])
    chances = np.exp(logs - logs.max())
    return 1 + first, chances / chances.sum()


def _window(mean: float, variance: float, most: float) -> tuple[int, int]:
    reach = 12 * variance**0.5 + 40  # beyond it lies less than a uniform number can tell
    return max(0, int(mean - reach)), int(min(most, mean + reach))


def _poisson(mean: float) -> tuple[int, Floats]:
    if mean <= 0:
        return 1, np.ones(1)
    first, last = _window(mean, mean, float("inf"))
    return _law(first, last, lambda k: log(mean) - np.log(k + 1))


def _binomial(trials: int, chance: float) -> tuple[int, Floats]:
    if not trials:
        return 1, np.ones(1)
    first, last = _window(trials * chance, trials * chance * (1 - chance), trials)
    return _law(first, last, lambda k: np.log((trials - k) / (k + 1)) + log(chance / (1 - chance)))


def systematic(shares: Floats, size: int, start: float, order: Ints) -> Ints:
    """``size`` indices such that index ``i`` comes ``size`` times its share of them, rounded up or down.

    Args:
        shares: shape ``(n,)``, ``>= 0``; divided by their sum.
        size: how many to draw.
        start: uniform in [0, 1).
        order: a permutation of the ``n`` indices, in which they are laid along the line.

    Source: Madow, On the theory of systematic sampling II, 1949.
    """
    cumulative = np.cumsum(shares[order])
    marks = (start + np.arange(size)) * (cumulative[-1] / size)
    chosen: Ints = order[np.minimum(cumulative.searchsorted(marks, side="right"), len(order) - 1)]
    return chosen


def permutation(u: Floats) -> Ints:
    """The order that sorts uniform numbers: every permutation is equally likely."""
    return np.argsort(u, kind="stable")


def successive(weights: Floats | None, u: Floats) -> Ints:
    """An order drawn without replacement, each next index in proportion to its weight; zero weights are left out.

    Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.
    """
    if weights is None:
        return permutation(u)
    ids = np.flatnonzero(weights)
    with np.errstate(over="ignore"):
        keys = -np.log1p(-u[ids]) / (weights[ids] / weights.max())
    return ids[permutation(keys)]
