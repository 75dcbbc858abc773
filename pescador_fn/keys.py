"""From dicts to the tuples that frameworks take."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from pescador_fn.below import Stage
from pescador_fn.errors import show
from pescador_fn.factory import Factory, Node
from pescador_fn.given import check_part

__all__ = ["keras_tuples", "tuples"]


class _Mapper(Stage[Any]):
    """A stage that reads keys of its items, at once; an item that lacks one is looked at key by key, for the error."""

    __slots__ = ()

    def reader(self) -> Callable[[Any], Any]:
        """What reads an item, and raises as ``item[key]`` does."""
        raise NotImplementedError

    def look(self, item: Any) -> Any:
        """What ``reader`` reads, or an error that tells what is wrong."""
        raise NotImplementedError

    def picker(self) -> Callable[[Any], Any]:
        """What is called on each item."""
        return partial(_picked, self.reader(), self.look)

    def __iter__(self) -> Iterator[Any]:
        return map(self.picker(), iter(self.upstream))


def _picked(read: Callable[[Any], Any], look: Callable[[Any], Any], item: Any) -> Any:
    try:
        return read(item)
    except (KeyError, TypeError, IndexError):
        return look(item)


def _get(function: str, item: Any, key: Any) -> Any:
    try:
        return item[key]
    except (KeyError, TypeError, IndexError) as error:
        what = f"the keys {show(list(item))}" if isinstance(item, Mapping) else f"the type {type(item).__name__}"
        raise type(error)(
            f"{function}: the item has no {key!r}, it has {what}; yield dicts that hold {key!r}"
        ) from error


def _values(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """A reader of the values of some keys; of one, `itemgetter` would give the value without a tuple."""
    if len(keys) > 1:
        return itemgetter(*keys)
    (key,) = keys
    return lambda item: (item[key],)


class _Tuples(_Mapper):
    __slots__ = ()

    def reader(self) -> Callable[[Any], Any]:
        return _values(self.node.options["*options"])

    def look(self, item: Any) -> tuple[Any, ...]:
        return tuple([_get("tuples", item, key) for key in self.node.options["*options"]])


def tuples(factory: Factory[Mapping[Any, Any]], *keys: Any) -> Node[tuple[Any, ...]]:
    """Turn dicts into tuples of the values under ``keys``.

    Args:
        factory: of dicts.
        keys: at least one; a tuple has one value for each, in this order.

    Raises:
        TypeError: when built, if ``factory`` is not a factory or a key cannot be one; at an item that has no keys.
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

    def reader(self) -> Callable[[Any], Any]:
        inputs, outputs = (_side(self.node.options[name]) for name in ("inputs", "outputs"))
        return lambda item: (inputs(item), outputs(item))

    def look(self, item: Any) -> tuple[Any, Any]:
        return self._look(item, self.node.options["inputs"]), self._look(item, self.node.options["outputs"])

    def _look(self, item: Any, keys: Any) -> Any:
        if keys is None:
            return None
        return (
            _get("keras_tuples", item, keys) if isinstance(keys, str) else [_get("keras_tuples", item, k) for k in keys]
        )


def _side(keys: Any) -> Callable[[Any], Any]:
    """A reader of one side: a value, a list of values or ``None``."""
    if keys is None:
        return _nothing
    if isinstance(keys, str):
        return itemgetter(keys)
    values = _values(keys)
    return lambda item: list(values(item))


def _nothing(item: Any) -> None:
    del item


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
        TypeError: when built, if ``factory`` is not a factory or a key is not a string; at an item that has no keys.
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
