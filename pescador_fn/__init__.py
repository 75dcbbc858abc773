"""Streams of data for machine learning, sampled exactly as meant.

A factory is any zero-argument callable that returns an iterable. A combinator takes factories and returns a factory.
Nothing is opened, loaded or drawn until the factory is called, and each call starts afresh.
"""

from pescador_fn.batches import batch, unbatch
from pescador_fn.caching import cache
from pescador_fn.chain import chain_mux
from pescador_fn.curried import pipe
from pescador_fn.cycling import cycle
from pescador_fn.engines import parallel, prefetch, shutdown
from pescador_fn.errors import ReplayMismatch, StateMismatch, WorkerDied, WorkerError
from pescador_fn.factory import Factories, Factory, Node
from pescador_fn.indexed import draws, rows
from pescador_fn.items import filter_items, map_items, skip, take
from pescador_fn.keys import keras_tuples, tuples
from pescador_fn.mux import shuffled_mux
from pescador_fn.resuming import resume
from pescador_fn.shape import label, lift, seeded
from pescador_fn.shuffling import shuffle
from pescador_fn.sources import Source, source
from pescador_fn.stochastic import stochastic_mux
from pescador_fn.stream import Stream
from pescador_fn.turns import round_robin_mux

__all__ = [
    "Factories",
    "Factory",
    "Node",
    "ReplayMismatch",
    "Source",
    "StateMismatch",
    "Stream",
    "WorkerDied",
    "WorkerError",
    "batch",
    "cache",
    "chain_mux",
    "cycle",
    "draws",
    "filter_items",
    "keras_tuples",
    "label",
    "lift",
    "map_items",
    "parallel",
    "pipe",
    "prefetch",
    "resume",
    "round_robin_mux",
    "rows",
    "seeded",
    "shuffle",
    "shuffled_mux",
    "shutdown",
    "skip",
    "source",
    "stochastic_mux",
    "take",
    "tuples",
    "unbatch",
]
