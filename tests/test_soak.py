"""A short form of ``python -m benchmarks soak``."""

import pytest

from benchmarks.soak import soak, workers


@pytest.mark.skipif("sys.platform != 'linux'")
@pytest.mark.parametrize("n_workers", [1, 3])
def test_workers_that_are_killed_lose_and_double_nothing(n_workers):
    told = soak(80_000, n_workers, every_s=0.5 if n_workers > 1 else 0.05)
    assert f"80,000 items from {n_workers} workers, every one once and in order" in told
    assert not workers()
