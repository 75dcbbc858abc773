"""What the tests share: the sizes of blocks, and a watch over tests that may hang."""

import gc
import signal
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

from pescador_fn import drawing

settings.register_profile(
    "suite",
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("suite")

BLOCKS = [(1, 1), (4, 4), (12, 12), drawing.block_sizes]


def set_blocks(monkeypatch, sizes):
    monkeypatch.setattr(drawing, "block_sizes", sizes)


@pytest.fixture(params=BLOCKS, ids=lambda sizes: f"blocks {sizes[0]}")
def blocks(request, monkeypatch):
    """Draws in the first and the largest block: nothing depends on them, and most mistakes show at the small ones."""
    set_blocks(monkeypatch, request.param)
    return request.param


@pytest.fixture
def no_gc():
    """Without the collector of cycles: what closes must close by itself."""
    gc.disable()
    yield
    gc.enable()


class Hang(BaseException):
    """Raised where a test takes too long; no pipeline may keep it to itself."""


@contextmanager
def within(seconds):
    """Raise ``Hang`` where the block takes longer."""

    def give_up(*_):
        raise Hang(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def within_seconds():
    """Fails a test that does not end within ten seconds."""
    with within(10):
        yield
