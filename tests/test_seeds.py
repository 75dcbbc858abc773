"""Seeds: a stream's randomness is a function of the root seed, its place below it, and which activation it is."""

import hashlib
import pickle
import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ALL, ROWS, Watched, grow, noise, numbers, outcomes, pulls, trees

from pescador_fn import (
    cache,
    chain_mux,
    cycle,
    filter_items,
    lift,
    map_items,
    round_robin_mux,
    seeded,
    shuffle,
    shuffled_mux,
    skip,
    source,
    stochastic_mux,
    take,
)


@source
def letters(k, n=20, *, rng):
    """Which stream it is, and a random word."""
    for _ in range(n):
        yield k, int(rng.integers(2**60))


@source
def words(*, rng):
    while True:
        yield int(rng.integers(2**60))


@source
def shuffled_letters(text, *, rng):
    yield from (text[k] for k in rng.permutation(len(text)))


def by_stream(items):
    found = defaultdict(list)
    for k, word in items:
        found[k].append(word)
    return found


PINNED = {
    "shuffled_mux": lambda fs, seed: shuffled_mux(fs, seed=seed),
    "with_replacement": lambda fs, seed: stochastic_mux(fs, 2, 3, seed=seed),
    "single_active": lambda fs, seed: stochastic_mux(fs, 2, 3, mode="single_active", seed=seed),
    "exhaustive": lambda fs, seed: stochastic_mux(fs, 2, 3, mode="exhaustive", seed=seed),
    "permuted_cycle": lambda fs, seed: round_robin_mux(fs, mode="permuted_cycle", seed=seed),
    "shuffle": lambda fs, seed: shuffle(chain_mux(fs), 5, seed=seed),
    "cache": lambda fs, seed: cache(chain_mux(fs), 5, seed=seed),
    "seeded": lambda fs, seed: seeded(chain_mux(fs), seed),
}
MUXES = list(PINNED)[:5]
LETTERS = [letters(k) for k in range(4)]


# A seed fixes all below it.


@pytest.mark.parametrize("name", PINNED)
@given(seed=st.integers(0, 2**70))
def test_one_seed_gives_one_stream(name, seed):
    built = PINNED[name](LETTERS, seed)
    assert pulls(built()) == pulls(built()) == pulls(PINNED[name](LETTERS, seed)())
    assert pulls(built()) != pulls(PINNED[name](LETTERS, seed + 1)())


@pytest.mark.parametrize("name", PINNED)
def test_without_a_seed_every_call_differs(name):
    built = PINNED[name](LETTERS, None)
    found = [tuple(pulls(built())) for _ in range(5)]
    assert len(set(found)) == 5
    orders = {tuple(pulls(PINNED[name]([numbers(k, 3) for k in range(9)], None)())) for _ in range(5)}
    assert len(orders) == (1 if name == "seeded" else 5)


@pytest.mark.parametrize("name", PINNED)
def test_seeds_of_any_integer_type_are_the_same(name):
    orders = [pulls(PINNED[name](LETTERS, seed)()) for seed in (7, np.int64(7), np.uint8(7))]
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.parametrize(
    ("seed", "error", "words"),
    [
        (np.random.default_rng(), TypeError, ["generator changes", "int >= 0"]),
        (np.random.RandomState(), TypeError, ["generator changes"]),
        (np.random.PCG64(), TypeError, ["generator changes"]),
        (np.random.SeedSequence(1), TypeError, ["not an integer"]),
        (random.Random(1), TypeError, ["not an integer"]),
        ("7", TypeError, ["'7' is not an integer"]),
        (7.0, TypeError, ["7.0 is not an integer"]),
        (True, TypeError, ["True is not an integer"]),
        (-1, ValueError, ["-1 is negative"]),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", PINNED)
def test_a_seed_is_a_plain_number(name, seed, error, words):
    with pytest.raises(error, match="seed=") as raised:
        PINNED[name](LETTERS, seed)
    for word in words:
        raised.match(word)


@pytest.mark.parametrize("name", PINNED)
def test_a_seed_inside_is_not_moved_by_one_outside(name):
    inside = PINNED[name](LETTERS, 3)
    alone = pulls(inside(), 20)
    for outside in (0, 1, None):
        assert pulls(seeded(inside, outside)(), 20) == alone
        assert pulls(shuffled_mux([inside], seed=outside)(), len(alone)) == alone
        assert pulls(chain_mux([cycle(inside)])(), len(alone)) == alone


# No two streams share randomness.


def distinct(items):
    """No random word comes twice."""
    found = [word for _, word in items]
    return len(found) == len(set(found)) > 1


@pytest.mark.parametrize("name", ["shuffled_mux", "with_replacement", "single_active", "permuted_cycle"])
def test_siblings_and_activations_differ(name):
    items = pulls(PINNED[name]([letters(k, 3) for k in range(4)], 0)(), 400)
    assert len(items) == 400
    assert distinct(items)


def test_equal_sources_side_by_side_differ():
    for name in MUXES:
        assert distinct(pulls(PINNED[name]([letters(0)] * 4, 0)(), 20))


@pytest.mark.parametrize("name", ["round_robin_mux, cycle", "chain_mux, cycle", "cycle"])
def test_passes_differ(name):
    row = ROWS[name]
    assert distinct(pulls(seeded(row.build([letters(k, 3) for k in range(row.n)]), 0)(), 100))


def test_levels_differ():
    inner = [shuffled_mux([letters((j, k), 3) for k in range(3)]) for j in range(3)]
    assert distinct(pulls(stochastic_mux(inner, 2, 4, seed=0)(), 500))
    deep = cycle(take(shuffled_mux([cycle(take(cycle(letters(0, 2)), 3)), letters(1)]), 5))
    assert distinct(pulls(seeded(deep, 1)(), 300))


def test_passes_of_a_stream_pinned_inside_differ():
    inner = seeded(letters(0, 3), 5)
    for outer in (cycle(inner), shuffled_mux([inner], seed=0), stochastic_mux([inner], 1, 2, seed=0)):
        assert distinct(pulls(outer(), 30))
        assert pulls(outer(), 30) == pulls(outer(), 30)


def test_names_are_places():
    by_name = {name: letters(name) for name in "abc"}
    whole = by_stream(pulls(round_robin_mux(by_name, seed=1)()))
    assert by_stream(pulls(round_robin_mux({name: by_name[name] for name in "cb"}, seed=1)())) == {
        name: whole[name] for name in "cb"
    }
    by_index = by_stream(pulls(round_robin_mux(list(by_name.values()), seed=1)()))
    assert by_index["a"] != whole["a"]


@pytest.mark.parametrize("weights", [[1, 9], [9, 1], [1, 99]])
def test_the_other_streams_do_not_matter(weights):
    """A mux of open streams numbers the passes of each, so that what the others do changes nothing."""
    alone = by_stream(pulls(shuffled_mux([letters(0, 5), letters(1)], [1, 0], seed=1)(), 200))
    shared = by_stream(pulls(shuffled_mux([letters(0, 5), letters(1, 3)], weights, seed=1)(), 200))
    assert shared[0] == alone[0][: len(shared[0])] != []


# Stages.


def test_two_stacked_shuffles_differ():
    items = list(range(50))
    once = shuffle(items.__iter__, 50)
    twice = shuffle(once, 50)
    order = list(seeded(once, 1)())
    again = list(seeded(twice, 1)())
    assert sorted(again) == items
    assert [order[k] for k in order] != again  # the same permutation twice


@lift
def dice(items, *, rng):
    for item in items:
        yield *item, int(rng.integers(2**60))


@source
def throws(*, rng):
    for _ in range(5):
        yield (int(rng.integers(2**60)),)


def test_what_is_lifted_has_randomness_of_its_own():
    """Its own at every level and in every stream, fixed by the seed and the place, whatever is added outside."""
    line = dice(dice(throws()))
    found = list(seeded(line, 0)())
    assert found == list(seeded(line, 0)()) != list(seeded(line, 1)())
    assert [one[:2] for one in found] == list(seeded(dice(throws()), 0)())
    assert found == [one[:3] for one in seeded(dice(map_items(line, tuple)), 0)()]
    everything = [number for one in shuffled_mux([line] * 3, on_exhausted="drop", seed=0)() for number in one]
    everything += [number for one in cycle(seeded(line, 5), 15)() for number in one]
    assert len(set(everything)) == len(everything) == 90


def test_two_stacked_caches_and_cycles_differ():
    one, two = seeded(cache(words(), 3), 1), seeded(cache(cache(words(), 3), 3), 1)
    assert pulls(one(), 50) != pulls(two(), 50)
    assert distinct(pulls(seeded(cycle(take(cycle(letters(0, 3)), 7)), 1)(), 200))


OUTSIDE = {
    "map_items": lambda f: map_items(f, lambda x: x),
    "filter_items": lambda f: filter_items(f, lambda x: True),
    "take": lambda f: take(f, 60),
    "skip": lambda f: skip(f, 0),
    "cycle": cycle,
    "cycle twice": lambda f: cycle(cycle(f)),
    "shuffle of one": lambda f: shuffle(f, 1),
    "cache of all": lambda f: cache(f, 1, 1.0),
}


@pytest.mark.parametrize("inner", ALL)
@pytest.mark.parametrize("outer", OUTSIDE)
def test_a_stage_added_outside_reseeds_nothing(outer, inner):
    row = ROWS[inner]
    built = row.build([noise(k, 30) for k in range(row.n)])
    n = len(outcomes(seeded(built, 1)()))
    assert outcomes(seeded(OUTSIDE[outer](built), 1)(), n) == outcomes(seeded(built, 1)(), n)


def test_a_shuffle_added_outside_moves_no_shuffle_inside():
    inner = shuffle(range(100).__iter__, 10)
    outer = shuffle(inner, 1)
    assert list(seeded(outer, 1)()) == list(seeded(inner, 1)())


# Restarts.


@pytest.mark.parametrize(
    "build",
    [
        lambda f: cycle(f),
        lambda f: shuffled_mux([f]),
        lambda f: round_robin_mux([f], mode="cycle"),
        lambda f: chain_mux([f], mode="cycle"),
        lambda f: stochastic_mux([f], 1, None),
        lambda f: stochastic_mux([f], 1, None, mode="single_active"),
    ],
)
def test_a_restart_gives_another_order_reproducibly(build):
    epoch = 20
    inner = shuffle(range(epoch).__iter__, epoch)
    for factory in (seeded(build(inner), 3), build(seeded(inner, 3))):
        orders = [tuple(pulls(factory(), 10 * epoch)[epoch * k : epoch * (k + 1)]) for k in range(10)]
        assert len(set(orders)) == 10
        assert all(sorted(order) == list(range(epoch)) for order in orders)
    assert pulls(seeded(build(inner), 3)(), 100) == pulls(seeded(build(inner), 3)(), 100)


@pytest.mark.parametrize("mode", ["with_replacement", "single_active"])
def test_a_seeded_mux_inside_does_not_replay_its_beginning(mode):
    """Elsewhere a seeded sub-mux replays its prefix at each activation: ``agdagdagd…``."""
    inner = [shuffled_mux([[x].__iter__ for x in text], seed=k) for k, text in enumerate(["abcdefg", "ABCDEFG"])]
    found = "".join(pulls(stochastic_mux(inner, 1, 3, mode=mode, dist="constant", seed=0)(), 300))
    threes = {text for text in (found[k : k + 3] for k in range(0, 300, 3)) if text.islower()}
    assert len(threes) > 20


def test_a_seeded_mux_does_not_repeat_its_order_every_epoch():
    mux = shuffled_mux([[x].__iter__ for x in range(9)], on_exhausted="drop", seed=0)
    epochs = pulls(cycle(mux)(), 90)
    assert len({tuple(epochs[k : k + 9]) for k in range(0, 90, 9)}) == 10


def test_sources_reshuffle_at_each_activation():
    found = "".join(pulls(stochastic_mux([shuffled_letters("abcdefgh")], 1, None, seed=0)(), 80))
    assert len({found[k : k + 8] for k in range(0, 80, 8)}) == 10


# The generator that a source is given.


def test_an_injected_generator_is_whole():
    seen = []

    @source
    def looks(*, rng):
        seen.append(rng)
        children = rng.spawn(3)
        yield [int(child.integers(2**60)) for child in [rng, *children, *rng.spawn(1), *children[0].spawn(2)]]
        yield rng.normal(), rng.choice(5), rng.permutation(4).tolist()
        yield int(pickle.loads(pickle.dumps(rng)).integers(2**60)) == int(rng.integers(2**60))

    one, other = (list(seeded(looks(), 1)()) for _ in range(2))
    assert one == other
    assert len(set(one[0])) == 7
    assert one[2]
    assert all(isinstance(rng, np.random.Generator) for rng in seen)
    assert seen[0] is not seen[1]
    assert list(seeded(looks(), 2)()) != one


def test_streams_are_statistically_apart():
    """Neighbouring places, seeds and lanes give words without correlation."""
    place = [pulls(f(), 1)[0] for k in range(500) for f in [seeded(words(), k)]]
    siblings = pulls(round_robin_mux([words()] * 500, seed=0)(), 500)
    for found in (place, siblings):
        u = np.array(found) / 2**60
        assert abs(u.mean() - 0.5) < 4 * (1 / 12 / 500) ** 0.5
        assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / 500**0.5


# No global random state.


@given(tree=trees(3))
def test_no_global_random_state_is_read_or_written(tree):
    def states():
        return hashlib.sha256(pickle.dumps((random.getstate(), np.random.get_state()))).digest()

    built = seeded(grow(tree, noise), 1)
    random.seed(1)
    np.random.seed(1)
    before = states()
    one = outcomes(built())
    assert states() == before
    random.seed(2)
    np.random.seed(2)
    assert list(map(repr, outcomes(built()))) == list(map(repr, one))


def test_global_seeds_do_not_fix_an_unseeded_stream():
    found = []
    for _ in range(2):
        random.seed(1)
        np.random.seed(1)
        found.append(pulls(words()(), 5))
    assert found[0] != found[1]


def test_nothing_is_hashed_until_something_asks(monkeypatch):
    from pescador_fn import seeds

    class Hashed(BaseException):
        pass

    def refuse(*_, **__):
        raise Hashed

    monkeypatch.setattr(seeds, "hashed", refuse)
    monkeypatch.setattr(seeds.os, "urandom", refuse)
    plain = [Watched(range(3)) for _ in range(3)]
    assert len(pulls(chain_mux([round_robin_mux(plain), take(cycle(plain[0]), 9)], mode="cycle")(), 30)) == 30
    with pytest.raises(Hashed):
        next(words()())
