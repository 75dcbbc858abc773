"""From dicts to the tuples that frameworks take."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from pescador_fn.below import Stage
from pescador_fn.errors import show
from pescador_fn.factory import Factory, Node
from pescador_fn.given import check_part

__all__ = ["keras_tuples", "tuples"]


class _Mapper(Stage[Any]):
    """A stage whose function is made from its options."""

    __slots__ = ()

    def pick(self, item: Any) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return map(self.pick, iter(self.upstream))


def _get(function: str, item: Any, key: Any) -> Any:
    try:
        return item[key]
    except (KeyError, TypeError, IndexError) as error:
        what = f"the keys {show(list(item))}" if isinstance(item, Mapping) else f"the type {type(item).__name__}"
        raise type(error)(
            f"{function}: the item has no {key!r}, it has {what}; yield dicts that hold {key!r}"
        ) from error


class _Tuples(_Mapper):
    __slots__ = ()

    def pick(self, item: Any) -> tuple[Any, ...]:
        return tuple([_get("tuples", item, key) for key in self.node.options["*options"]])


def tuples(factory: Factory[Mapping[Any, Any]], *keys: Any) -> Node[tuple[Any, ...]]:
    """Turn dicts into tuples of the values under ``keys``.

    Args:
        factory: of dicts.
        keys: at least one; a tuple has one value for each, in this order.

    Raises:
        TypeError: when built, if ``factory`` is not a factory or a key cannot be one.
        ValueError: when built, without keys.
        KeyError: at an item that lacks a key.

    Source: McFee et al., pescador 3.0, ``maps.tuples``.

    >>> list(tuples([{"X": 1, "Y": 2}].__iter__, "Y", "X")())
    [(2, 1)]
    """
    if not keys:
        raise ValueError("tuples: keys is empty; name at least one key of the items")
    for key in keys:
        if not isinstance(key, Hashable):
            raise TypeError(f"tuples: {show(key)} can be no key; name keys one by one: tuples(factory, 'X', 'Y')")
    return Node(tuples, _Tuples, check_part("tuples", factory), **{"*options": keys})


class _KerasTuples(_Mapper):
    __slots__ = ()

    def pick(self, item: Any) -> tuple[Any, Any]:
        return self._side(item, self.node.options["inputs"]), self._side(item, self.node.options["outputs"])

    def _side(self, item: Any, keys: Any) -> Any:
        if keys is None:
            return None
        return (
            _get("keras_tuples", item, keys) if isinstance(keys, str) else [_get("keras_tuples", item, k) for k in keys]
        )


def keras_tuples(
    factory: Factory[Mapping[str, Any]],
    inputs: str | list[str] | tuple[str, ...] | None = None,
    outputs: str | list[str] | tuple[str, ...] | None = None,
) -> Node[tuple[Any, Any]]:
    """Turn dicts into the ``(inputs, outputs)`` that Keras takes.

    Args:
        factory: of dicts.
        inputs: a key gives its value, a list of keys a list of values, ``None`` gives ``None``.
        outputs: likewise.

    Raises:
        TypeError: when built, if ``factory`` is not a factory or a key is not a string.
        ValueError: when built, if both are ``None``, or one is an empty list.
        KeyError: at an item that lacks a key.

    Source: McFee et al., pescador 3.0, ``maps.keras_tuples``.

    >>> list(keras_tuples([{"X": 1, "Y": 2}].__iter__, "X", ["Y"])())
    [(1, [2])]
    """
    if inputs is None and outputs is None:
        raise ValueError("keras_tuples: inputs and outputs are both None; name the keys of at least one")
    for name, keys in (("inputs", inputs), ("outputs", outputs)):
        if keys is None or isinstance(keys, str):
            continue
        if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
            raise TypeError(f"keras_tuples: {name}={show(keys)} is not a key or a list of keys; give strings")
        if not keys:
            raise ValueError(f"keras_tuples: {name}={show(keys)} names no key; name at least one, or give None")
    sides = [tuple(keys) if isinstance(keys, list) else keys for keys in (inputs, outputs)]
    part = check_part("keras_tuples", factory)
    return Node(keras_tuples, _KerasTuples, part, inputs=sides[0], outputs=sides[1])
