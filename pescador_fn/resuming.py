"""Time: streams that go on where a saved one stood."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pescador_fn.below import Stage
from pescador_fn.errors import show
from pescador_fn.factory import Factory, Node
from pescador_fn.given import check_part
from pescador_fn.seeds import Root
from pescador_fn.state import Loader, check_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn.seeds import Place
    from pescador_fn.state import Saver

__all__ = ["resume"]

T = TypeVar("T")


class _Resumed(Stage[T]):
    """The stream below, begun at a state; its randomness is that of the stream that was saved."""

    __slots__ = ("notes", "root")

    def __init__(self, node: Node[T], place: Place) -> None:
        state = node.options["state"]
        self.root = Root(state["seed"])
        del place  # it had a place of its own
        super().__init__(node, self.root)
        loader = Loader(state["stages"])
        self.upstream = loader.running(self.upstream, state["at"])
        self.notes = loader.notes

    def __iter__(self) -> Iterator[T]:
        return iter(self.upstream)

    def save(self, saver: Saver) -> Any:
        return [self.root.entropy(), saver.running(self.upstream)]

    def load(self, state: Any, loader: Loader) -> None:
        self.root = self.place = Root(state[0])
        self.upstream = Stage(self.node, self.root).upstream
        self.upstream = loader.running(self.upstream, state[1])


def resume(factory: Factory[T], state: Mapping[str, Any]) -> Node[T]:
    """Go on where a stream stood when ``state_dict`` was called: the very next item, and all that follow.

    Nothing of the items is in a state. What is open is opened again, and pulled as often as it had been before: of a
    `stochastic_mux` about ``n_active * rate`` items, however many had passed; of a `shuffle`, a `cache` or an
    `unbatch`, what came since a note that is older than all it holds (notes are so far apart that they cost at most a
    fiftieth of the time); of what was made by `lift`, all. Sources that take ``start``, `rows` and `draws` are not
    pulled again. The streams can be saved and resumed in their turn.

    Where a mux has its factories by name, streams that are not open may have been added or removed since, but not to or
    from an exhaustive `stochastic_mux`; a warning says so, and what is drawn from then on is another sample.

    Args:
        factory: the pipeline that the state was taken of, built again: the same stages, options and numbers of
            factories.
        state: what ``Stream.state_dict()`` returned, or the same after ``json.loads(json.dumps(state))``.

    Raises:
        TypeError: when built, if ``factory`` is not a factory or ``state`` not a dict.
        StateMismatch: when built, if ``state`` is of another pipeline, naming the first place that differs; or was
            changed, cut, or written by a later version.
        ReplayMismatch: at the first item, if a stream gives less than it had given, or, where the state was taken with
            ``verify=True``, other items.

    >>> from pescador_fn import shuffle
    >>> cards = shuffle(range(52).__iter__, 52)
    >>> stream = cards()
    >>> dealt = [next(stream) for _ in range(5)]
    >>> rest = resume(cards, stream.state_dict())
    >>> list(rest()) == list(stream)
    True
    """
    if isinstance(factory, Mapping) and "pescador_fn" in factory:
        raise TypeError(f"resume: factory={show(factory)} is a state, which comes second: resume(factory, state)")
    part = check_part("resume", factory)
    if isinstance(part, Node) and part.build is resume:
        part = part.of
    node: Node[T] = Node(resume, _Resumed, part, state=check_state(state))
    for note in _Resumed(node, Root()).notes:
        warnings.warn(note, stacklevel=2)
    return node
