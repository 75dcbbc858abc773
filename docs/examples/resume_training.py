"""Train a model, and go on training where it was killed.

Every ``--every`` batches the model and the state of its stream are written to one file, which replaces the one before
in a single step: whenever the process dies, the file holds a model and the place in the stream that belongs to it.
Started again with the same arguments, the program goes on from there.
"""

import argparse
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from pescador_fn import Factory, resume, source
from pescador_fn.curried import batch, pipe, stochastic_mux, take

Item = dict[str, np.ndarray]


def write_shards(folder: Path, n_shards: int = 120) -> None:
    """Write the scikit-learn digits, shuffled, as files of some fifteen images each."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    for i, rows in enumerate(np.array_split(order, n_shards)):
        np.savez(folder / f"{i:03}.npz", X=X[rows] / 16, y=y[rows])


@source
def images(path: Path, *, rng: np.random.Generator) -> Iterator[Item]:
    """Yield the images of a shard, in a new order each time that it is opened."""
    with np.load(path) as shard:
        X, y = shard["X"], shard["y"]
    for i in rng.permutation(len(X)):
        yield {"X": X[i], "y": y[i]}


def pipeline(folder: Path, n_batches: int) -> Factory[Item]:
    """Mix the shards of a folder, at most twenty of them open at a time."""
    return pipe(
        [images(path) for path in sorted(folder.glob("*.npz"))],
        stochastic_mux(n_active=20, rate=8, seed=0),
        batch(32),
        take(n_batches),
    )


def save(path: Path, model: SGDClassifier, n: int, state: dict[str, Any]) -> None:
    """Write model and state, and only then put them in the place of the last ones."""
    unfinished = path.with_suffix(".unfinished")
    with ZipFile(unfinished, "w") as checkpoint:
        checkpoint.writestr("model.pickle", pickle.dumps(model))
        checkpoint.writestr("state.json", json.dumps({"batches": n, "stream": state}))
    os.replace(unfinished, path)


def load(path: Path) -> tuple[SGDClassifier, int, dict[str, Any]]:
    """Read what ``save`` wrote."""
    with ZipFile(path) as checkpoint:
        saved = json.loads(checkpoint.read("state.json"))
        return pickle.loads(checkpoint.read("model.pickle")), saved["batches"], saved["stream"]


def train(folder: Path, path: Path, n_batches: int, every: int) -> None:
    """Fit a linear classifier to the shards of a folder, from the checkpoint at ``path`` on, if there is one."""
    batches = pipeline(folder, n_batches)
    if path.exists():
        model, done, state = load(path)
        batches = resume(batches, state)
    else:
        model, done = SGDClassifier(loss="log_loss", random_state=0), 0
    print(f"from batch {done}", flush=True)

    stream = batches()
    for n, item in enumerate(stream, done + 1):
        model.partial_fit(item["X"], item["y"], classes=np.arange(10))
        if n % every == 0:
            save(path, model, n, stream.state_dict())
        print(n, flush=True)


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description="Train a classifier of digits; go on where it was killed.")
    parser.add_argument("folder", type=Path, help="where the shards are")
    parser.add_argument("checkpoint", type=Path, help="the file that model and state are saved to")
    parser.add_argument("--batches", type=int, default=600, help="batches of 32, in all")
    parser.add_argument("--every", type=int, default=25, help="batches from one save to the next")
    options = parser.parse_args()
    train(options.folder, options.checkpoint, options.batches, options.every)


if __name__ == "__main__":
    main()
