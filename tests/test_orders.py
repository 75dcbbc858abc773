"""Seeded orders are an interface: these must not change without a word in the changelog.

Where they are meant to change, ``python tests/test_orders.py`` prints the table anew, to be put in place of ``ORDERS``.
"""

from itertools import islice

import pytest

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
    "exhaustive": "cceebeebebeececbdbdccfbfbfaafdadaffadaaddd … ",
    "exhaustive, ending": "cceebeebefeececfefacfffffffffffffffffffffffffff … ",
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


def table():
    lines = (f'    "{name}": "{order(built)}",' for name, built in PIPELINES.items())
    return "\n".join(["ORDERS = {", *lines, "}"])


@pytest.mark.parametrize("name", PIPELINES)
def test_orders_are_pinned(name, blocks):
    assert order(PIPELINES[name]) == ORDERS[name]


def test_the_table_is_whole():
    assert list(ORDERS) == list(PIPELINES)


if __name__ == "__main__":
    print(table())  # noqa: T201
