"""States of streams that run elsewhere: of the items delivered, whatever was made ahead."""

import itertools
import json
import time

import elsewhere
import pytest
from strategies import outcomes, pulls

from pescador_fn import (
    StateMismatch,
    batch,
    chain_mux,
    cycle,
    map_items,
    parallel,
    prefetch,
    resume,
    seeded,
    shuffle,
    shuffled_mux,
    source,
    stochastic_mux,
    take,
)
from pescador_fn.engines import notes

pytestmark = pytest.mark.usefixtures("nothing_left")


def in_thread(factory):
    return parallel(factory, engine="thread", max_bytes=500)


def ahead(factory):
    return prefetch(factory, 5)


ELSEWHERE = {"process": parallel, "thread": in_thread, "prefetch": ahead}


@source
def noise(n, *, rng):
    for _ in range(n):
        yield int(rng.integers(10**6))


def failing():
    yield from range(3)
    raise elsewhere.Fault(3)


def not_opening():
    raise elsewhere.Fault("closed")


NOISES = [noise(n) for n in (5, 0, 9, 3)]
FACTORIES = {
    "a source": lambda run: run(noise(600)),
    "a working set": lambda run: run(take(stochastic_mux(NOISES, 2, 3), 300)),
    "passes": lambda run: run(cycle(shuffle(noise(30), 5), 200)),
    "faults": lambda run: run(chain_mux([failing, not_opening, failing, noise(2)])),
    "nothing but faults": lambda run: run(not_opening),
    "below stages": lambda run: batch(shuffle(run(noise(50)), 4), 3, partial=True),
    "children": lambda run: take(shuffled_mux([run(noise(9)), run(failing)]), 60),
    "one inside the other": lambda run: run(take(run(noise(80)), 70)),
}


def shown(found):
    return [repr(one) for one in found]


def saved(stream):
    return json.loads(json.dumps(stream.state_dict()))


@pytest.mark.parametrize("engine", ELSEWHERE)
@pytest.mark.parametrize("name", FACTORIES)
def test_what_was_drawn_and_what_is_resumed_are_the_whole(name, engine):
    factory = seeded(FACTORIES[name](ELSEWHERE[engine]), 7)
    found, stream = [], factory()
    for n in (0, 2, 1, 25, 0, 4):
        found += outcomes(stream, n)
        state = saved(stream)
        stream.close()
        stream = resume(factory, state)()
        assert saved(stream) == state
    assert shown(found + outcomes(stream, 1000)) == shown(outcomes(factory(), 1000))


def test_the_engine_and_its_limits_may_be_others_where_it_is_resumed():
    whole = list(seeded(noise(500), 1)())
    runs = [parallel, in_thread, lambda f: parallel(f, max_bytes=1, max_restarts=0)]
    for one in runs:
        for other in runs:
            with seeded(one(noise(500)), 1)() as stream:
                head = outcomes(stream, 300)
                state = saved(stream)
            assert head + list(resume(seeded(other(noise(500)), 1), state)()) == whole


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_an_unseeded_stream_is_resumed_with_its_entropy(engine):
    factory = ELSEWHERE[engine](noise(40))
    stream = factory()
    outcomes(stream, 11)
    assert list(resume(factory, saved(stream))()) == list(stream)


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_a_long_stream_is_resumed_from_a_note(engine):
    factory = seeded(ELSEWHERE[engine](take(stochastic_mux(NOISES, 2, 3), 10**6)), 1)
    stream = factory()
    outcomes(stream, 60_000)
    snapshot, calls, over = saved(stream)["at"][1][1]
    assert snapshot is not None
    assert calls < 60_000
    assert not over
    assert outcomes(resume(factory, saved(stream))(), 100) == outcomes(stream, 100)
    stream.close()


@source
def noted(n, at, once, path, *, start=0):
    """``0, 1, …``; where it was begun is noted, and the first to come to item ``at`` is killed."""
    with open(path, "a") as file:
        file.write(f"{start}\n")
    for k in range(start, n):
        if k == at:
            time.sleep(0.05)
            elsewhere.strike(elsewhere.sigkill, once)
        yield k


def test_a_worker_that_follows_a_dead_one_begins_at_a_note(tmp_path):
    path = tmp_path / "starts"
    stream = parallel(noted(9000, 8000, str(tmp_path / "once"), str(path)))()
    assert list(stream) == list(range(9000))
    first, second = map(int, path.read_text().split())
    assert first == 0 < second <= 8000


def slow(x):
    time.sleep(0.02)
    return x


@pytest.mark.parametrize("engine", ["thread", "prefetch"])
def test_a_thread_in_the_middle_of_an_item_does_not_matter(engine):
    factory = map_items(ELSEWHERE[engine](map_items(range(30).__iter__, slow)), slow)
    with factory() as stream:
        for k in range(4):
            assert next(stream) == k
            assert next(resume(factory, stream.state_dict())()) == k + 1


@pytest.mark.parametrize("engine", ELSEWHERE)
def test_a_state_of_another_pipeline_is_told_before_anything_runs(engine):
    run = ELSEWHERE[engine]
    with seeded(run(take(stochastic_mux(NOISES, 2, 3), 300)), 1)() as stream:
        outcomes(stream, 200)
        state = saved(stream)
    with pytest.raises(StateMismatch, match="mode"):
        next(resume(seeded(run(take(stochastic_mux(NOISES, 2, 3, mode="exhaustive"), 300)), 1), state)())


def test_a_snapshot_that_fails_costs_nothing_but_itself():
    class Broken:
        def about(self):
            raise elsewhere.Fault

    pace = notes.Pace(0)
    assert pace.note(1, Broken()) is None
    assert pace.note(2, Broken()) is None


def test_where_a_stream_of_a_mux_runs_is_no_part_of_a_state():
    plain = shuffled_mux([noise(9) for _ in range(3)], seed=0)
    others = [
        shuffled_mux([over(noise(9)), noise(9), over(noise(9))], seed=0)
        for over in (lambda f: prefetch(f, 2), parallel, lambda f: parallel(f, engine="thread"))
    ]
    for saved, resumed in itertools.product([plain, *others], repeat=2):
        with saved() as stream:
            head = pulls(stream, 7)
            state = stream.state_dict()
        with resume(resumed, state)() as rest:
            assert head + pulls(rest, 30) == pulls(plain(), 37)
