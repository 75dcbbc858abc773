"""The mux without chance and without turns: chain."""

from __future__ import annotations

from typing import Literal, TypeVar

from pescador_fn.chained import Chained
from pescador_fn.errors import check_choice
from pescador_fn.factory import Factories, Factory, Node
from pescador_fn.given import check_part, check_parts

__all__ = ["chain_mux"]

T = TypeVar("T")


def chain_mux(
    factories: Factories[T] | Factory[Factory[T]], *, mode: Literal["exhaustive", "cycle"] = "exhaustive"
) -> Node[T]:
    """Run ``factories`` one after the other, each opened when the one before has ended.

    Args:
        factories: a sequence of zero-argument callables, which may be empty; a mapping of names to them; or a factory
            of factories, which is pulled only as far as the streams are.
        mode: ``"exhaustive"`` ends after the last; ``"cycle"`` begins again, with other randomness. A pass that gives
            nothing is the last.

    Raises:
        TypeError: when built, if ``factories`` is of the wrong kind; when pulled, if a factory of factories gives
            something else.
        ValueError: when built, if ``mode`` is unknown.

    Source: McFee et al., pescador 3.0, ``ChainMux``.

    >>> list(chain_mux([[1, 2].__iter__, [3].__iter__])())
    [1, 2, 3]
    >>> pages = lambda: (range(n).__iter__ for n in [1, 2, 3])
    >>> list(chain_mux(pages)())
    [0, 0, 1, 0, 1, 2]
    """
    check_choice("chain_mux", "mode", mode, ("exhaustive", "cycle"))
    if callable(factories):
        return Node(chain_mux, Chained, check_part("chain_mux", factories, "factories"), mode=mode)
    return Node(chain_mux, Chained, check_parts("chain_mux", factories, least=0), mode=mode)
