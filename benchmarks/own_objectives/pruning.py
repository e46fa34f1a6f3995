"""What a median pruner saves of the cost of a user's training loop, and what it costs in the final value.

The loop trains perceptrons on scikit-learn's digits for thirty epochs (`digits_loop.py`). Each pair of searches has one
seed: one with the pruner, one without.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path

from scipy.stats import t as student

import evo
from benchmarks.markdown import table
from benchmarks.own_objectives.digits_loop import EPOCHS, SPACE, objective
from evo.training.hardware import processor_name

HERE = Path(__file__).resolve().parent
BUDGET, SEEDS = 60, 20
PRUNERS = ("none", "median")


@dataclass(frozen=True)
class Row:
    """One search.

    Attributes:
        pruner: "none", or a name of `evo.names.PRUNERS`.
        seed: Of the search.
        trainings: Its budget.
        epochs: Trained in the search; the finalists' come on top, the same for both.
        pruned: Trainings that ended early.
        best: The best accuracy of the search in percent.
        final: The mean accuracy of the winner on three new seeds, in percent.
        seconds: Of the search and its finalists.
    """

    pruner: str
    seed: int
    trainings: int
    epochs: int
    pruned: int
    best: float
    final: float
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this experiment."""
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--workers", type=int, default=1, help="searches at a time; changes no result but the seconds")
    parser.add_argument("--output", type=Path, default=HERE / "results")


def run(given: argparse.Namespace) -> None:
    """Search with and without the pruner; write a row for each search, and a summary."""
    tasks = [(pruner, seed, given.budget) for seed in range(given.seeds) for pruner in PRUNERS]
    rows = []
    with ProcessPoolExecutor(given.workers) as pool:
        for row in pool.map(search, *zip(*tasks, strict=True)):
            rows.append(row)
            print(row, flush=True)
    given.output.mkdir(parents=True, exist_ok=True)
    with (given.output / "pruning.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (given.output / "pruning.md").write_text(summary(rows), encoding="utf-8")


def search(pruner: str, seed: int, budget: int) -> Row:
    """Search once."""
    began = time.monotonic()
    found = evo.search(
        SPACE,
        objective,
        max_steps=EPOCHS,
        pruner=None if pruner == "none" else pruner,
        budget=budget,
        seed=seed,
        finalists=3,
    )
    final = found.finalist_table.query("winner")["fitness"].mean()
    counted = found.table["steps_trained"].sum(), (found.table["status"] == "partial").sum()
    values = found.table.loc[found.table["status"] == "complete", "fitness"].max(), final, time.monotonic() - began
    return Row(pruner, seed, budget, *map(int, counted), *(round(float(value), 4) for value in values))


def summary(rows: Sequence[Row]) -> str:
    """Return a table of the means over the seeds, what is saved, and what it costs with its 95 % interval."""
    lines = []
    for pruner in PRUNERS:
        own = [row for row in rows if row.pruner == pruner]
        numbers = ([row.epochs for row in own], [row.pruned for row in own], [row.best for row in own])
        means = [f"{statistics.fmean(values):.1f}" for values in numbers[:2]]
        values = [f"{statistics.fmean(values):.2f}" for values in (numbers[2], [row.final for row in own])]
        lines.append([pruner, str(len(own)), *means, *values])
    heads = ["pruner", "searches", "epochs, mean", "trainings ended early", "best, %", "winner on new seeds, %"]
    plain, pruned = ([row for row in rows if row.pruner == pruner] for pruner in PRUNERS)
    saved = 1 - sum(row.epochs for row in pruned) / sum(row.epochs for row in plain)
    lost = [one.final - other.final for one, other in zip(plain, pruned, strict=True)]
    half = float(student.ppf(0.975, len(lost) - 1)) * statistics.stdev(lost) / len(lost) ** 0.5
    mean = statistics.fmean(lost)
    text = "\n".join(table(heads, lines))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "scikit-learn"))
    return (
        f"{text}\nSaved: {saved:.1%} of the epochs. The winner's accuracy is {mean:.2f} points lower, 95 % interval "
        f"{mean - half:.2f} to {mean + half:.2f} (paired, Student's t).\n\n{rows[0].trainings} trainings a search. "
        f"{processor_name()}; python {platform.python_version()}, evo {evo.__version__}, {versions}.\n"
    )
