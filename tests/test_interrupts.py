"""A signal may come at any moment, and costs no item.

Python looks for signals where a function is entered, after a call into C, and at the end of a loop. A tracer counts
these places in the library's own code while a stream is pulled, and raises at one of them; each has its turn. What then
comes is what would have come. Only the draw of an outer mux, which the signal passes through in C, is spent.
"""

import dis
import gc
import sys
from functools import cache, partial
from itertools import count, islice, pairwise

import numpy as np
import pytest

import pescador_fn
from pescador_fn import (
    batch,
    chain_mux,
    cycle,
    filter_items,
    map_items,
    resume,
    round_robin_mux,
    shuffle,
    shuffled_mux,
    skip,
    stochastic_mux,
    unbatch,
)
from pescador_fn import cache as cached

OWN = pescador_fn.__path__[0]
PLACES = 60  # tried of each pipeline, at most
N = 40


class Signal(BaseException):
    """What a handler raises."""


@cache
def after_calls(code):
    """The offsets of the instructions that follow a call."""
    instructions = list(dis.get_instructions(code))
    pairs = pairwise(instructions)
    return {after.offset for call, after in pairs if call.opname.startswith("CALL") and "INTRINSIC" not in call.opname}


class Tracer:
    """Raises at place number ``at``; ``places`` are those it has come to."""

    def __init__(self, at):
        self.at, self.places = at, 0
        self.entered = self.returned = None  # the frame that has just been entered, and that was returned to
        self.offsets = {}

    def __call__(self, frame, event, _):
        if event == "call":
            self.entered, self.returned = frame, None
            self.offsets[frame] = -1
            frame.f_trace_lines = False
            frame.f_trace_opcodes = frame.f_code.co_filename.startswith(OWN)
        elif event == "return":
            self.returned = frame.f_back
        elif event == "opcode":
            entered, from_python = self.entered is frame, self.returned is frame
            self.entered = self.returned = None
            back = frame.f_lasti < self.offsets[frame]
            self.offsets[frame] = frame.f_lasti
            if entered or back or (frame.f_lasti in after_calls(frame.f_code) and not from_python):
                self.places += 1
                if self.places == self.at:
                    sys.settrace(None)
                    raise Signal
        return self


def pulled(stream, n, at=0):
    """Some items, and whether a signal came at a place meanwhile; how many places there were."""
    found, tracer, cut = [], Tracer(at), False
    before = sys.gettrace()
    gc.disable()  # else streams that others have left are closed just now
    sys.settrace(tracer)
    try:
        for _ in range(n):
            found += islice(stream, 1)
    except Signal:
        cut = True
    finally:
        sys.settrace(before)
        gc.enable()
    return found, cut, tracer.places


pulls = []  # what the sources have given


def some(k, n):
    for i in range(n):
        pulls.append((k, i))
        yield k, i


FEW = [partial(some, k, 3 + k % 3) for k in range(8)]
LONG = [partial(some, k, 10**9) for k in range(8)]
EMPTY = partial(some, 8, 0)
SKEWED = [1 / (k + 1) for k in range(8)]
DRAWN = {
    "with_replacement": stochastic_mux(LONG, 4, 3, seed=0),
    "with_replacement, an empty one": stochastic_mux([EMPTY, *FEW], 4, 3, seed=0),
    "with_replacement, weights": stochastic_mux(LONG, 4, 3, weights=SKEWED, seed=0),
    "with_replacement, weights function": stochastic_mux(FEW, 4, 3, weights=lambda n: np.ones(8) + n % 2, seed=0),
    "single_active": stochastic_mux(FEW, 4, 3, mode="single_active", seed=0),
    "single_active, a heavy one": stochastic_mux(
        FEW, 4, 3, weights=[8, 1, 1, 1, 1, 1, 1, 1], mode="single_active", seed=0
    ),
    "exhaustive": cycle(stochastic_mux(FEW, 4, 3, mode="exhaustive", seed=0)),
    "exhaustive, weights": cycle(stochastic_mux(FEW, 4, 3, weights=SKEWED, mode="exhaustive", seed=0)),
    "chain_mux": chain_mux(FEW, mode="cycle"),
    "shuffle": shuffle(partial(some, 0, 50), 10, seed=0),
    "cache": cached(partial(some, 0, 10**9), 10, seed=0),
    "cycle": cycle(partial(some, 0, 3)),
    "cycle, counted": cycle(partial(some, 0, 3), 35),
    "map, filter, skip": skip(filter_items(map_items(LONG[0], lambda item: item[1]), lambda i: i % 2), 2),
    "unbatch": unbatch(lambda: ({"x": np.arange(3) + k} for k in count())),
    "batch": batch(LONG[0], 3),
}
SPENDING = {  # a stream is opened inside the C loop, or is a mux itself
    "shuffled_mux": shuffled_mux(FEW, seed=0),
    "shuffled_mux, weights": shuffled_mux(LONG, SKEWED, seed=0),
    "shuffled_mux, drop": shuffled_mux(FEW, on_exhausted="drop", seed=0),
    "shuffled_mux, stop": shuffled_mux(FEW, on_exhausted="stop", seed=0),
    "round_robin_mux": round_robin_mux(FEW),
    "round_robin_mux, cycle": round_robin_mux(FEW, mode="cycle"),
    "round_robin_mux, permuted_cycle": round_robin_mux(FEW, mode="permuted_cycle", seed=0),
    "a mux of working sets": shuffled_mux([stochastic_mux(LONG, 3, 2), stochastic_mux(FEW, 4, 2)], seed=0),
    "a working set of muxes": stochastic_mux([shuffled_mux(FEW[k : k + 3]) for k in range(5)], 3, 3, seed=0),
    "a working set of working sets": stochastic_mux(
        [stochastic_mux(FEW[k : k + 3], 2, 2, mode="exhaustive") for k in range(5)], 3, 3, seed=0
    ),
}


def cuts(factory):
    """Streams that a signal has cut, each at another place, and what they gave before."""
    places = [pulled(factory(), N)[2] for _ in range(2)][-1]  # Python tells a first tracer less
    tried = range(1, places + 1, max(1, places // PLACES))
    n_cut = 0
    for at in tried:
        pulls.clear()
        stream = factory()
        found, cut, _ = pulled(stream, N, at)
        if cut:  # some Pythons do not tell every run of each place, and the last may not be come to
            n_cut += 1
            yield at, stream, found
    assert n_cut >= len(tried) // 2 > 10


@pytest.mark.parametrize("name", DRAWN)
def test_a_signal_at_any_place_costs_nothing(name, blocks):
    whole = list(map(repr, islice(DRAWN[name](), N)))
    for at, stream, found in cuts(DRAWN[name]):
        found += islice(stream, N - len(found))
        assert (at, list(map(repr, found))) == (at, whole)


@pytest.mark.parametrize("name", SPENDING)
def test_a_signal_at_any_place_costs_a_draw_at_most(name, blocks):
    whole = list(islice(SPENDING[name](), N))
    for at, stream, found in cuts(SPENDING[name]):
        found += islice(stream, N - len(found))
        assert (at, found) == (at, pulls)
        assert len(found) == len(whole) or name.endswith("stop")


@pytest.mark.parametrize("name", [name for name in DRAWN if name not in ("cycle, counted", "unbatch")])
def test_a_state_after_a_signal_goes_on_with_what_comes(name, blocks):
    """Or there is none: what it would say is not known."""
    factory = DRAWN[name]
    for at, stream, _ in cuts(factory):
        try:
            state = stream.state_dict()
        except RuntimeError:
            continue
        resumed = list(map(repr, islice(resume(factory, state)(), 20)))
        assert (at, resumed) == (at, list(map(repr, islice(stream, 20))))
