"""How much goes into a message: what is faster on the machine."""

import random

import pytest

from pescador_fn.engines.load import FEW, MANY, TERM, Load


def sizes(load, n, seconds_a_byte, seconds_a_message):
    """How heavy ``n`` messages are, on a machine where one in three comes late."""
    chance, found = random.Random(0), []
    for _ in range(n):
        n_bytes = load.n_bytes
        found.append(n_bytes)
        late = 3 if chance.random() < 1 / 3 else 1
        load.tell(n_bytes, late * (n_bytes * seconds_a_byte(n_bytes) + seconds_a_message))
    return found


def with_caches(n_bytes):
    return 30e-12 if n_bytes <= 8 * 2**20 else 45e-12


def without(n_bytes):
    return 75e-12


@pytest.mark.parametrize(
    ("machine", "wanted"), [((with_caches, 20e-6), FEW), ((without, 80e-6), MANY)], ids=["caches", "slow messages"]
)
def test_the_faster_size_is_found_and_kept(machine, wanted):
    found = sizes(Load(), TERM, *machine)
    assert set(found) == {FEW, MANY}
    assert found.count(wanted) > 0.95 * TERM


def test_the_size_follows_the_machine():
    load = Load()
    assert sizes(load, TERM, with_caches, 20e-6)[-1] == FEW
    assert sizes(load, TERM, without, 80e-6)[-1] == MANY
    assert sizes(load, TERM, with_caches, 20e-6)[-1] == FEW
