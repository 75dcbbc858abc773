"""Item by item: what needs no memory but a count."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from pescador_fn.below import Stage
from pescador_fn.errors import check_count, show
from pescador_fn.factory import Factory, Node
from pescador_fn.given import check_part, takes
from pescador_fn.legible import named
from pescador_fn.running import EMPTY, flow, raising

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pescador_fn.seeds import Place
    from pescador_fn.state import Loader, Saver

__all__ = ["filter_items", "map_items", "ordinal", "skip", "take"]

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


def ordinal(build: Callable[..., Any], factory: object) -> int:
    """How many stages of this kind lie below in the line, so that a stage added outside reseeds nothing."""
    count = 0
    while isinstance(factory, Node):
        count += factory.build is build
        factory = factory.of
    return count


class _Mapped(Stage[T]):
    __slots__ = ()

    def __iter__(self) -> Iterator[T]:
        return map(self.node.options["fn"], iter(self.upstream))


def map_items(factory: Factory[A], fn: Callable[[A], B]) -> Node[B]:
    """Call ``fn`` on every item.

    An exception in ``fn`` reaches the consumer and costs that item; the stream may be pulled again. A ``StopIteration``
    in ``fn`` ends the stream, as it does with the built-in ``map``.

    Args:
        factory: of the items.
        fn: from one item to one item; pure, where the stream is to be repeated or resumed. What draws at random is made
            by ``lift``.

    Raises:
        TypeError: when built, if ``factory`` is not a factory, or ``fn`` not callable with one argument.

    >>> list(map_items([1, 2, 3].__iter__, lambda x: x * 10)())
    [10, 20, 30]
    """
    return Node(map_items, _Mapped, check_part("map_items", factory), fn=_callable("map_items", "fn", fn))


class _Filtered(Stage[T]):
    __slots__ = ()

    def __iter__(self) -> Iterator[T]:
        return filter(self.node.options["predicate"], iter(self.upstream))


def filter_items(factory: Factory[T], predicate: Callable[[T], object]) -> Node[T]:
    """Keep the items for which ``predicate`` is true.

    Args:
        factory: of the items.
        predicate: from an item to a truth value; an exception in it costs that item.

    Raises:
        TypeError: when built, if ``factory`` is not a factory, or ``predicate`` not callable with one argument.

    >>> list(filter_items(range(6).__iter__, lambda x: x % 2)())
    [1, 3, 5]
    """
    part = check_part("filter_items", factory)
    return Node(filter_items, _Filtered, part, predicate=_callable("filter_items", "predicate", predicate))


def _callable(function: str, name: str, value: Any) -> Any:
    if not callable(value):
        raise TypeError(f"{function}: {name}={show(value)} is not callable; pass a function of one item")
    if takes(value, 1) is False:
        raise TypeError(
            f"{function}: {name}={named(value)} cannot be called with one argument, the item; "
            "bind the others with functools.partial or a lambda"
        )
    return value


class _Taken(Stage[T]):
    __slots__ = ("calls",)

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place)
        self.calls: repeat[Any] = repeat(None, node.options["n"])

    def __iter__(self) -> Iterator[T]:
        # Not `islice`, which is dead once an exception has passed. What gives nothing opens nothing.
        left = self.calls.__length_hint__()
        self.calls = repeat(iter(self.upstream) if left else EMPTY, left)
        return map(next, self.calls)

    @property
    def done(self) -> bool:
        return not self.calls.__length_hint__() or self.upstream.done

    def jump(self, n: int) -> bool:
        most = self.node.options["n"]
        if not self.upstream.jump(min(n, most)):
            return False
        self.calls = repeat(None, most - min(n, most))
        return True

    def save(self, saver: Saver) -> Any:
        return [self.calls.__length_hint__(), saver.running(self.upstream)]

    def load(self, state: Any, loader: Loader) -> None:
        self.calls = repeat(None, state[0])
        self.upstream = loader.running(self.upstream, state[1])


def take(factory: Factory[T], n: int) -> Node[T]:
    """The first ``n`` items; exactly ``n`` are pulled.

    Args:
        factory: of the items.
        n: how many, ``>= 0``. A pull that raises is one of them.

    Raises:
        TypeError: when built, if ``factory`` is not a factory or ``n`` not an integer.
        ValueError: when built, if ``n`` is negative.

    >>> list(take(range(10).__iter__, 3)())
    [0, 1, 2]
    """
    return Node(take, _Taken, check_part("take", factory), n=check_count("take", "n", n, 0))


class _Skipped(_Taken[T]):
    __slots__ = ("over",)

    def __init__(self, node: Node[T], place: Place) -> None:
        super().__init__(node, place)
        self.over = False  # whether all of the head is passed over

    @property
    def done(self) -> bool:
        return self.over and self.upstream.done

    def __iter__(self) -> Iterator[T]:
        left = self.calls.__length_hint__()
        if left and left == self.node.options["n"]:  # nothing has been pulled
            self.jump(0)  # twice is as good as once, if a signal comes between
            left = self.calls.__length_hint__()
        items = iter(self.upstream)
        self.calls = repeat(items, left)
        self.over = not left
        return flow(_Skip(self, items).refill) if left else items

    def jump(self, n: int) -> bool:
        if not self.upstream.jump(self.node.options["n"] + n):
            return False
        self.calls = repeat(None, 0)
        return True


class _Skip:
    """Passes over the head, then hands out the rest once."""

    __slots__ = ("head", "rest", "state")

    def __init__(self, state: _Skipped[Any], rest: Iterator[Any]) -> None:
        self.state = state
        self.head = map(next, state.calls)
        self.rest: Iterator[Any] | None = rest

    def refill(self) -> Iterator[Any] | None:
        try:
            left = self.state.calls.__length_hint__()
            last = deque(enumerate(self.head, 1), maxlen=1)
        except BaseException as error:
            return raising(error)
        self.state.over, rest, self.rest = True, self.rest, None
        return None if left > (last[0][0] if last else 0) else rest  # one call finds the end, and is the last


def skip(factory: Factory[T], n: int) -> Node[T]:
    """All but the first ``n`` items, which are pulled and dropped at the first ``next``.

    Where the place of an item is known they are not pulled: `rows`, `draws` and sources that take ``start`` begin at
    item ``n``, at no cost, also below `take`, `skip`, `seeded` and `batch`. What is left out is then not read, so it is
    taken to be sound: an exception that it would have raised is not. Other stages, such as `map_items`, are pulled.

    Args:
        factory: of the items.
        n: how many, ``>= 0``. A pull that raises is one of them, and its exception is raised.

    Raises:
        TypeError: when built, if ``factory`` is not a factory or ``n`` not an integer.
        ValueError: when built, if ``n`` is negative.

    >>> list(skip(range(5).__iter__, 3)())
    [3, 4]
    """
    return Node(skip, _Skipped, check_part("skip", factory), n=check_count("skip", "n", n, 0))
