"""The mux with a bounded working set: its options and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from pescador_fn.by_weight import ByWeight
from pescador_fn.drawing import Weights, check_weights
from pescador_fn.errors import check_choice, check_count, check_number
from pescador_fn.exhaustive import Exhaustive, ExhaustiveByWeight
from pescador_fn.factory import Factories, Node
from pescador_fn.given import check_parts
from pescador_fn.legible import named
from pescador_fn.schedule import Schedule, WithReplacement
from pescador_fn.seeds import check_seed
from pescador_fn.single_active import SingleActive
from pescador_fn.working_set import WorkingSet

if TYPE_CHECKING:
    from pescador_fn.running import Running
    from pescador_fn.seeds import Place

__all__ = ["stochastic_mux"]

T = TypeVar("T")

MOST = 2**24  # streams open at a time

_MODES: dict[str, type[Schedule]] = {
    "with_replacement": WithReplacement,
    "single_active": SingleActive,
    "exhaustive": Exhaustive,
}


def _run(node: Node[T], place: Place) -> Running[T]:
    mode = node.options["mode"]
    if mode == "exhaustive" and node.options["weights"] is not None:
        return ByWeight(node, place, ExhaustiveByWeight)
    return WorkingSet(node, place, _MODES[mode])


def stochastic_mux(
    factories: Factories[T],
    n_active: int,
    rate: float | None,
    *,
    weights: Weights = None,
    mode: Literal["with_replacement", "single_active", "exhaustive"] = "with_replacement",
    dist: Literal["binomial", "constant", "poisson"] = "binomial",
    seed: int | None = None,
) -> Node[T]:
    """Draw from a working set of ``n_active`` open streams, each replaced by another after about ``rate`` items.

    In the modes that replace, the long-run share of stream ``i`` in the items is ``weights[i] / sum(weights)``, as
    long as streams outlast their quota. One that ends sooner is replaced sooner: with replacement, its share is in
    proportion to ``weights[i]`` times the mean of what it gives at a time; where no stream is open twice, somewhat
    more, since it comes back sooner. A stream that gives nothing when it is opened is left out from then on.

    A stream that comes back is opened again, at its start. So of one that is read in order, only about the first
    ``rate`` items are met: let it draw at random, or give ``rate=None``.

    Args:
        factories: ``k >= 1`` zero-argument callables, or a mapping of names to them. A lazy sequence is indexed only.
        n_active: the most streams open at a time, from 1 to ``2**24``. Streams of weight 0 shrink the set.
        rate: mean number of items that an activation gives, from 1 to 1e9, fractions allowed; ``None`` runs every
            stream to its end.
        weights: shape ``(k,)``, unitless, ``>= 0``, not all zero, divided by their sum; or by name in a mapping, where
            ``factories`` is one; ``None`` for equal shares; a function of the number of draws so far, read at multiples
            of 1,024 draws, except in ``"single_active"``; a stream of weight 0 may have some later, but the mux ends
            where all that have weight have ended.
        mode: ``"with_replacement"`` activates by weight alone, so that a stream may be open twice;
            ``"single_active"`` has no stream open twice, and opens one whose share is above ``1 / n_active`` again at
            once after each quota;
            ``"exhaustive"`` opens every stream of positive weight once, draws by the weights of the open ones, and
            ends.
        dist: the law of the number of items of an activation: ``"constant"``; ``"poisson"``, ``1 + Poisson(rate - 1)``;
            ``"binomial"``, ``1 + Binomial(m, 1 - 1 / n_active)``. Each has the mean ``rate``.
        seed: fixes the whole stream below this mux. ``None`` takes fresh entropy at each call.

    Raises:
        TypeError: when built, if an argument is of the wrong kind.
        ValueError: when built, if ``k == 0``, ``n_active`` or ``rate`` is out of range, ``weights`` do not fit,
            ``mode`` or ``dist`` is unknown, ``seed`` is negative, or, outside ``"with_replacement"``, ``n_active > k``;
            when run, if what a function of weights returns does not fit.

    Source: McFee et al., pescador 3.0, ``StochasticMux``; Chen, Dempster and Liu, 1994, for ``"single_active"``.

    >>> from pescador_fn import take
    >>> files = [[name] * 100 for name in "abcd"]
    >>> mux = stochastic_mux([rows.__iter__ for rows in files], n_active=2, rate=3, seed=0)
    >>> "".join(take(mux, 20)())
    'ddadaaccacbbcccaaacc'
    """
    name = "stochastic_mux"
    parts = check_parts(name, factories)
    check_choice(name, "mode", mode, tuple(_MODES))
    check_choice(name, "dist", dist, ("binomial", "constant", "poisson"))
    n_active = check_count(name, "n_active", n_active, 1)
    if n_active > MOST:
        raise ValueError(f"{name}: n_active={n_active} is over {MOST:,}, and each takes memory; give fewer")
    if n_active > len(parts) and mode != "with_replacement":
        raise ValueError(
            f"{name}: n_active={n_active} but there are {len(parts)} factories; "
            f'use n_active <= {len(parts)}, or mode="with_replacement"'
        )
    if callable(weights) and mode == "single_active":
        raise ValueError(
            f'{name}: weights={named(weights)} is a function, which mode="single_active" cannot follow; '
            'give fixed weights, or mode="with_replacement"'
        )
    return Node(
        stochastic_mux,
        _run,
        parts,
        n_active=n_active,
        rate=None if rate is None else check_number(name, "rate", rate, 1, 1e9),
        weights=check_weights(name, weights, parts),
        mode=mode,
        dist=dist,
        seed=check_seed(name, seed),
    )
