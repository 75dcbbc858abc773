"""Time: what was drawn, and what a resumed stream draws from there on, are the whole."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ALL, ROWS, Fault, Raises, Tree, grow, lengths, noise, numbers, outcomes, trees

from pescador_fn import resume, seeded, source


@source
def failing(k, after):
    """Leaf ``k``, which raises after some items."""
    yield from range(1000 * k, 1000 * k + after)
    raise Fault(k)


@source
def jumping(k, length, *, start=0):
    """Leaf ``k``, which knows how to begin anywhere."""
    yield from (
        numbers(k, length)() if not start else list(range(1000 * k, 1000 * (k + 1)))[start:][: (length or 1000) - start]
    )


def leaf(k, given_):
    if isinstance(given_, Raises):
        return failing(k, given_.after)
    return (numbers, noise, jumping)[k % 3](k, given_)


def shown(found):
    return [repr(x) if isinstance(x, Exception) else x for x in found]


def through_json(state):
    return json.loads(json.dumps(state))


def split(factory, stops, n=60):
    """What a stream gives that is stopped, saved and resumed at every stop, up to ``n`` pulls in all."""
    found, stream, done = [], factory(), 0
    for stop in sorted(stops):
        found += outcomes(stream, stop - done)
        done = stop
        state = through_json(stream.state_dict())
        stream = resume(factory, state)()
        assert through_json(stream.state_dict()) == state, "a state that was resumed and not drawn from"
    return found + outcomes(stream, n - done)


stops = st.lists(st.integers(0, 40), min_size=1, max_size=5)
faulty = lengths | st.integers(0, 4).map(Raises)


@pytest.mark.parametrize("name", ALL)
@given(data=st.data(), at=stops, seed=st.integers(0, 9))
def test_what_was_drawn_and_what_is_resumed_are_the_whole(name, blocks, data, at, seed):
    tree = Tree(name, [data.draw(faulty | trees(1, ALL, faulty)) for _ in range(ROWS[name].n)])
    factory = seeded(grow(tree, leaf), seed)
    assert shown(split(factory, at)) == shown(outcomes(factory()))


@given(tree=trees(3, ALL, faulty), at=stops, seed=st.integers(0, 9))
@settings(max_examples=200)
def test_of_any_pipeline(blocks, tree, at, seed):
    factory = seeded(grow(tree, leaf), seed)
    assert shown(split(factory, at)) == shown(outcomes(factory()))
