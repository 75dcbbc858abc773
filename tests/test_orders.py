"""Seeded orders are an interface: these must not change without a word in the changelog.

Where they are meant to change, ``python tests/test_orders.py`` prints the tables anew, to be put in place of ``ORDERS``
and ``DIGESTS``.
"""

import hashlib
from functools import partial
from itertools import islice, repeat

import pytest
from strategies import outcomes

from pescador_fn import (
    cache,
    chain_mux,
    cycle,
    map_items,
    round_robin_mux,
    seeded,
    shuffle,
    shuffled_mux,
    source,
    stochastic_mux,
)

NAMES = "abcdef"
LENGTHS = [1, 2, 5, 0, 9, 30]
WEIGHTS = [1, 2, 3, 4, 5, 15]
ENDLESS = [cycle([name].__iter__) for name in NAMES]
ENDING = [(name * length).__iter__ for name, length in zip(NAMES, LENGTHS, strict=True)]
ALPHABET = "abcdefghijklmnopqrstuvwxyz".__iter__
LETTERS = [cycle([name].__iter__) for name in ALPHABET()]


def curriculum(draw):
    return WEIGHTS if draw < 1024 else WEIGHTS[::-1]


@source
def word(*, rng):
    """A raw word of the generator, as three letters: how numpy makes other numbers of it may change."""
    while True:
        raw = int(rng.bit_generator.random_raw())
        yield "".join(NAMES[(raw >> shift) % 6] for shift in (60, 50, 40))


def sto(mode, dist="binomial", **options):
    rate = options.pop("rate", 3)
    return stochastic_mux(options.pop("of", ENDLESS), 3, rate, mode=mode, dist=dist, seed=0, **options)


PIPELINES = {
    "shuffled_mux": shuffled_mux(ENDLESS, seed=0),
    "shuffled_mux, another seed": shuffled_mux(ENDLESS, seed=1),
    "shuffled_mux, weights": shuffled_mux(ENDLESS, WEIGHTS, seed=0),
    "shuffled_mux, names": shuffled_mux(dict(zip(NAMES, ENDING, strict=True)), WEIGHTS, seed=0),
    "shuffled_mux, restart": shuffled_mux(ENDING, seed=0),
    "shuffled_mux, drop": shuffled_mux(ENDING, WEIGHTS, on_exhausted="drop", seed=0),
    "shuffled_mux, stop": shuffled_mux(ENDING[2:], on_exhausted="stop", seed=0),
    "shuffled_mux, function": shuffled_mux(ENDLESS, curriculum, seed=0),
    "with_replacement": sto("with_replacement"),
    "with_replacement, ending": sto("with_replacement", of=ENDING),
    "with_replacement, weights": sto("with_replacement", weights=WEIGHTS),
    "with_replacement, constant": sto("with_replacement", "constant", rate=2.5),
    "with_replacement, poisson": sto("with_replacement", "poisson"),
    "with_replacement, to the end": sto("with_replacement", of=ENDING, rate=None),
    "with_replacement, function": sto("with_replacement", weights=curriculum),
    "single_active": sto("single_active"),
    "single_active, ending": sto("single_active", of=ENDING),
    "single_active, weights": sto("single_active", weights=[1, 1, 2, 2, 3, 3]),
    "single_active, always active": sto("single_active", weights=WEIGHTS),
    "exhaustive": sto("exhaustive", rate=8),
    "exhaustive, ending": sto("exhaustive", of=ENDING, rate=None),
    "exhaustive, weights": sto("exhaustive", of=ENDING, rate=None, weights=WEIGHTS),
    "exhaustive, many open": stochastic_mux(LETTERS, 20, 4, weights=range(1, 27), mode="exhaustive", seed=0),
    "exhaustive, function": sto("exhaustive", rate=8, weights=curriculum),
    "round_robin_mux": round_robin_mux(ENDING, seed=0),
    "round_robin_mux, cycle": round_robin_mux(ENDING[:3], mode="cycle", seed=0),
    "round_robin_mux, permuted_cycle": round_robin_mux(ENDING[:3], mode="permuted_cycle", seed=0),
    "chain_mux": chain_mux(ENDING[:5]),
    "chain_mux, cycle": chain_mux(ENDING[:3], mode="cycle"),
    "shuffle": shuffle(ALPHABET, 5, seed=0),
    "shuffle, whole": shuffle(ALPHABET, 26, seed=0),
    "shuffle, cycle": cycle(shuffle("abcdefgh".__iter__, 8, seed=0)),
    "shuffle, stacked": shuffle(shuffle(ALPHABET, 5), 5, seed=0),
    "cache": cache(ALPHABET, 4, 0.5, seed=0),
    "cache, seldom": cache(cycle(ALPHABET), 4, 0.1, seed=0),
    "source": seeded(word(), 0),
    "source, in a mux": shuffled_mux([map_items(word(), lambda x, k=k: f"{k}:{x} ") for k in range(2)], seed=0),
    "nested": stochastic_mux([shuffled_mux(ENDLESS[:3]), shuffled_mux(ENDING[3:])], 2, 4, seed=0),
}

ORDERS = {
    "shuffled_mux": "efcdadcbdaddedfbcbdeeebfaeabfcacafffaecfabecddbbfdaeecc … fedfafaaafabedc",
    "shuffled_mux, another seed": "fbefaafedeaecfebbbaadffcdfabcbddbcfbfffceadbdcfaffcdeaf … bdfaeeccabbfebe",
    "shuffled_mux, weights": "ffefcfedfafffffdedffffdfcfccfebeafffbfefbcfeffddffaffee … ffffafbaafcdffe",
    "shuffled_mux, names": "ffefcfefafffffefffffcfccfebeafffbfefbcfeffffaffeeeeeeee … afbefccefcffeff",
    "shuffled_mux, restart": "efcacbaefbcbeeebfaeabfcacafffaecfabecbbfaeeccccccccbeef … bceaeececbfaeef",
    "shuffled_mux, drop": "ffefcfefafffffefffffcfccfebefffbfefcfeffffffeef … ",
    "shuffled_mux, stop": "efecececeeeefce … ",
    "shuffled_mux, function": "ffefcfedfafffffdedffffdfcfccfebeafffbfefbcfeffddffaffee … dcbdadaaadaadba",
    "with_replacement": "cceebeebebedcddbdbddddbdbdbcddcacffffcacfeaaddecadcaade … ddbddcaaaccccbb",
    "with_replacement, ending": "cceebeebebebcbcbaffcccfcfeacefcecccaececeeceecbbccfbbcb … acfccceeecbbaff",
    "with_replacement, weights": "ddfffffffdffdffdfcffffcfcfceffeaeffffeaeffcafffecfeccff … ffdffeccceeeedd",
    "with_replacement, constant": "cceebeebebdddbdbbdbddddcacaaffcfcffeaedcaacddeccceaeeec … eeaeececccaafff",
    "with_replacement, poisson": "cceebeebededbdbdddcbbbdbdbdabcacafffffceaadcccaadceddca … ffafafaaadccdaa",
    "with_replacement, to the end": "cceebeebeeeececeeebcbbececeecbeaeccfffcffffcccfffcfffee … eefefefffeffeff",
    "with_replacement, function": "ddfffffffdffdffdfcffffcfcfceffeaeffffeaeffcafffecfeccff … fbdbfaaaaaaaadd",
    "single_active": "cceebeebebedcdcbdafcccacaeaaefafadddcdeaccaeeeccabcffbb … aabacaccfdffdbb",
    "single_active, ending": "cceebeebebeeceabecebbacfbfbafececbbacbebccbffeccbecbbea … ccfabeabbebbeff",
    "single_active, weights": "ffcceddedcddfafcacafffcfceccefdfdeeedefeddefccddbfdbeff … ffdfcecbbebceda",
    "single_active, always active": "bdfbfbffefeeccdfffceddfdfcffcffffcccfefcffefeeffcefddff … ceecfcfffdffdbf",
    "exhaustive": "bbeeceececeebebcdcdbbbcfafaafdadafffadaddd … ",
    "exhaustive, ending": "bbeeceececeefefcecaffffffffffffffffffffffffffff … ",
    "exhaustive, weights": "feffcffffcffffefffffeffefecfefcfceeeffffffffbba … ",
    "exhaustive, many open": "nikoyxlpowoorevqsuxnvrqdyvypdlwkwfttrstpnuxuqtlhsssheur … ",
    "exhaustive, function": "feffcffffcfedecddeeeedcbccbddabbbabdaadaaa … ",
    "round_robin_mux": "abcefbcefcefcefcefefefefeffffffffffffffffffffff … ",
    "round_robin_mux, cycle": "abcbccccabcbccccabcbccccabcbccccabcbccccabcbccccabcbccc … abcbccccabcbccc",
    "round_robin_mux, permuted_cycle": "abcbccccbacbccccbcabcccccabcbcccbacbccccbcabccccbcabccc … bacbcccccbacbcc",
    "chain_mux": "abbccccceeeeeeeee … ",
    "chain_mux, cycle": "abbcccccabbcccccabbcccccabbcccccabbcccccabbcccccabbcccc … abbcccccabbcccc",
    "shuffle": "dfaebihgmkjpclqrunowxzytsv … ",
    "shuffle, whole": "qfwavlnzcirsdxymukebhpgjot … ",
    "shuffle, cycle": "fhacdebgcegfdhbacfbadhgebdcaghefcfbdeaghedgabchfcbahgde … febagdchadhbgce",
    "shuffle, stacked": "bafdhikpcjlgqnuwxrzesmvtoy … ",
    "cache": "abcdefgfhijhkklhkmlnoppqqkrssqtppuvwuuxtxyyxz … ",
    "cache, seldom": "abcdaedeeafeaabeaebbeffggaahhghffafiaaihihhigigaahaahag … ddaeezedzafgzdf",
    "source": "abaeeffcabeabcdedeaecfbcddcccdbdeafbcbfaccbeebcdbcbfffb … beeaefaeccdcacf",
    "source, in a mux": "1:cdd 1:bef 0:ebe 1:cba 0:bec 1:abf 0:ccf 0:bcc 1:bdd 0 … 1:aba 1:bbf 1:d",
    "nested": "ffbeaebafaeeeaaeefeefeaeaeacfbaafbaafafceeaeabefefebbef … abcaeefeeeeeeee",
}


def order(built):
    """The first letters, and some beyond the first change of a curriculum."""
    items = list(islice(built(), 1044))
    return " … ".join(["".join(items[:55])[:55], "".join(items[1024:])[:15]])


def some(n, shortest=0):
    """Streams of 0 to 59 numbers, or of a few more."""
    return [partial(repeat, k, (7 * k) % 60 + shortest) for k in range(n)]


def zipf(n):
    return [1 / (k + 1) for k in range(n)]


def shifting(n):
    """Weights of which a quarter is 0, another quarter for each 1,024 draws."""
    return lambda draw: [0.0 if (k + draw // 1024) % 4 == 0 else 1.0 + k % 5 for k in range(n)]


def closed():
    raise OSError("it does not open")


def some_closed(n):
    return [closed if k % 5 == 3 else one for k, one in enumerate(some(n, 1))]


HEAVY = [40.0, 30.0, 1.0, *zipf(57)]  # of 8 open, some more than all the time

LONG = {
    "shuffled_mux, drop": shuffled_mux(some(400, 5), zipf(400), on_exhausted="drop", seed=0),
    "shuffled_mux, restart": shuffled_mux(some(400), zipf(400), seed=0),
    "with_replacement": stochastic_mux(some(300), 40, 8, weights=zipf(300), seed=0),
    "with_replacement, function": stochastic_mux(some(300), 40, 8, weights=shifting(300), seed=0),
    "single_active": stochastic_mux(some(300), 40, 8, mode="single_active", seed=0),
    "single_active, weights": stochastic_mux(some(300), 40, 8, weights=zipf(300), mode="single_active", seed=0),
    "single_active, heavy": stochastic_mux(some(60, 1), 8, 8, weights=HEAVY, mode="single_active", seed=0),
    "single_active, heavy, barren": stochastic_mux(some(60), 8, 8, weights=HEAVY, mode="single_active", seed=0),
    "single_active, all barren but few": stochastic_mux(
        [partial(repeat, k, 9 * (k % 7 == 0)) for k in range(200)], 20, 4, mode="single_active", seed=0
    ),
    "exhaustive": stochastic_mux(some(1500), 40, None, mode="exhaustive", seed=0),
    "exhaustive, weights": stochastic_mux(some(1500), 40, None, weights=zipf(1500), mode="exhaustive", seed=0),
    "exhaustive, quotas": stochastic_mux(some(1500), 40, 12, weights=zipf(1500), mode="exhaustive", seed=0),
    "exhaustive, function": stochastic_mux(some(900), 40, None, weights=shifting(900), mode="exhaustive", seed=0),
    "exhaustive, some closed": stochastic_mux(some_closed(900), 40, None, weights=zipf(900), mode="exhaustive", seed=0),
    "exhaustive, few, some closed": stochastic_mux(some_closed(90), 60, 5, weights=zipf(90), mode="exhaustive", seed=0),
    "single_active, some closed": stochastic_mux(some_closed(60), 8, 8, weights=HEAVY, mode="single_active", seed=0),
    "single_active, tight": stochastic_mux(
        some(9, 1), 8, 3, weights=[9, 1, 1, 1, 1, 1, 1, 1, 2], mode="single_active", seed=0
    ),
    "single_active, tight, barren": stochastic_mux(some(18), 8, 3, weights=zipf(18), mode="single_active", seed=0),
    "exhaustive, few of weight": stochastic_mux(some(16, 99), 12, 60, weights=shifting(16), mode="exhaustive", seed=0),
}

DIGESTS = {
    "shuffled_mux, drop": "7ca1e5b42946df52",
    "shuffled_mux, restart": "be317e72a9a1d219",
    "with_replacement": "ddc5bb1aea2bd7a8",
    "with_replacement, function": "328bde92c0e0e846",
    "single_active": "58af966100f20dc9",
    "single_active, weights": "5c46b64f648efc95",
    "single_active, heavy": "d219d8e4dbee52a9",
    "single_active, heavy, barren": "e3156afb2c06b7f2",
    "single_active, all barren but few": "e7010f9f2a593ab0",
    "exhaustive": "0610bffefcadf05e",
    "exhaustive, weights": "3e0f25e298d4a0a5",
    "exhaustive, quotas": "c71d9c455ed0011b",
    "exhaustive, function": "9c0f3d908646ed5c",
    "exhaustive, some closed": "ebebc5118e03f6c3",
    "exhaustive, few, some closed": "611021856c5ddbb7",
    "single_active, some closed": "15548a9177e9a18b",
    "single_active, tight": "99bf4306e48678f0",
    "single_active, tight, barren": "1cf768eb09e00683",
    "exhaustive, few of weight": "d0cceccc873544ac",
}


def digest(built):
    """Of the first 30,000 items, which go beyond everything that happens from time to time."""
    return hashlib.sha256(repr(outcomes(built(), 30_000)).encode()).hexdigest()[:16]


def table():
    lines = (f'    "{name}": "{order(built)}",' for name, built in PIPELINES.items())
    digests = (f'    "{name}": "{digest(built)}",' for name, built in LONG.items())
    return "\n".join(["ORDERS = {", *lines, "}", "", "DIGESTS = {", *digests, "}"])


@pytest.mark.parametrize("name", PIPELINES)
def test_orders_are_pinned(name, blocks):
    assert order(PIPELINES[name]) == ORDERS[name]


@pytest.mark.parametrize("name", LONG)
def test_long_orders_are_pinned(name):
    assert digest(LONG[name]) == DIGESTS[name]


def test_the_tables_are_whole():
    assert list(ORDERS) == list(PIPELINES)
    assert list(DIGESTS) == list(LONG)


if __name__ == "__main__":
    print(table())  # noqa: T201
