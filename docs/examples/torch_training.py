"""A stream as a PyTorch dataset: batches are made by two workers of the pipeline, and trained on here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pescador_fn import batch, parallel, shuffled_mux, source, take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pescador_fn import Factory


class Streamed(IterableDataset):
    """Any factory, as a dataset."""

    def __init__(self, factory: Factory[Any]) -> None:
        self.factory = factory

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:  # each of them would give every item
            raise RuntimeError("use num_workers=0 here, and parallel(…, n_workers) in the pipeline")
        return iter(self.factory())


@source
def points(label: int, *, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Points about one of three centres."""
    while True:
        yield {"x": rng.normal(2 * label, size=4).astype(np.float32), "label": label}


if __name__ == "__main__":
    mux = shuffled_mux([points(label) for label in range(3)], seed=0)
    batches = take(batch(parallel(mux, n_workers=2), 64), 200)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for found in DataLoader(Streamed(batches), batch_size=None):  # the batches are made, and come as tensors
        optimizer.zero_grad()
        predicted = model(found["x"])
        torch.nn.functional.cross_entropy(predicted, found["label"]).backward()
        optimizer.step()
    share = (predicted.argmax(1) == found["label"]).float().mean().item()
    print(f"of the last batch, {share:.0%} are told right")
