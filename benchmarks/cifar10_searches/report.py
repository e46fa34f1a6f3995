"""The page and the figure of the searches that have ended."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cifar10_searches.searches import SEARCHES, TASK, TESTED_AFTER, Row
from benchmarks.markdown import table
from evo.data.splits import validation_count
from evo.errors import ConfigurationError
from evo.individual import Genome, genome_from_json
from evo.loop.cost import counter

METHODS = "surrogate,optuna-tpe-multivariate,random"
IMAGES, SHAPE, CLASSES = 50_000, (3, 32, 32), 10
"""CIFAR-10's training images, of which evo holds out a tenth for validation."""


def paired_searches(output: Path) -> list[Row]:
    """Return the rows of the seeds for which every method has finished, in the order of `METHODS`.

    Raises:
        ConfigurationError: There is no such seed.
    """
    searches: dict[str, dict[int, list[Row]]] = {}
    for file in (output / SEARCHES).glob("*.jsonl"):
        rows: list[Row] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            row |= {name: genome_from_json(row[name]) for name in ("genome", "recommended")}
        searches.setdefault(rows[0]["method"], {})[rows[0]["seed"]] = rows
    known = METHODS.split(",")
    methods = sorted(searches, key=lambda name: (known.index(name) if name in known else len(known), name))
    seeds = sorted(set.intersection(*(set(searches[name]) for name in methods))) if methods else []
    if not seeds:
        raise ConfigurationError(f"{output / SEARCHES} has no seed for which every method has finished; use run first")
    return [row for name in methods for seed in seeds for row in searches[name][seed]]


def operations(genome: Genome) -> float:
    """Return the floating-point operations of the matrix products of a training and of measuring its curve."""
    held_out = validation_count(IMAGES)
    return counter("mlp", TASK.space().training, SHAPE, CLASSES, IMAGES - held_out, held_out)(genome).amounts[0]


def summary(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a Markdown page: means over seeds, and every search's final genome."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [
        "# Searches of whole trainings on CIFAR-10",
        "",
        "Test accuracy of the genome that a search recommends after so many trainings: mean and standard deviation",
        "over its paired seeds, of means over three trainings on new seeds. Of a search's trainings, mean: hours of",
        "one core as measured, on whatever machine made them, and PFLOP of arithmetic.",
        "",
    ]
    cells_of_methods = []
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        tests = _tests(own)
        cells = [method]
        for number in TESTED_AFTER:
            means = tests.get(number, [])
            deviation = f" ± {statistics.stdev(means):.4f}" if len(means) > 1 else ""
            cells.append(f"{statistics.fmean(means):.4f}{deviation}" if means else "")
        count = len({row["seed"] for row in own})
        cells.append(f"{sum(row['seconds'] for row in own) / 3600 / count:.2f}")
        cells.append(f"{sum(operations(row['genome']) for row in own) / 1e15 / count:.2f}")
        cells_of_methods.append(cells)
    lines += table(["method", *(f"after {number}" for number in TESTED_AFTER), "hours", "PFLOP"], cells_of_methods)
    cells_of_searches = []
    for row in rows:
        if row["number"] == max(TESTED_AFTER):
            test = ", ".join(f"{value:.4f}" for value in row["test"])
            genome = " ".join(f"{name}={_cell(value)}" for name, value in row["recommended"].items())
            cells_of_searches.append(
                [row["method"], str(row["seed"]), f"{row['recommended_accuracy']:.4f}", test, genome]
            )
    head = ["method", "seed", "validation of the search", "test, three seeds", "genome"]
    return [*lines, *table(head, cells_of_searches)]


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw accuracy of what is recommended against trainings, hours and arithmetic; a thin line is one search."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), layout="constrained")
    trainings, hours, arithmetic = figure.subplots(1, 3, sharey=True, width_ratios=(1.4, 1, 1))
    for place, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        color = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")[place % 4]
        look: dict[str, Any] = {
            "color": color,
            "linestyle": ("-", "--", ":", "-.")[place % 4],
            "drawstyle": "steps-post",
        }
        curves: list[list[float]] = []
        for seed in sorted({row["seed"] for row in rows if row["method"] == method}):
            own = [row for row in rows if (row["method"], row["seed"]) == (method, seed)]
            values = [row["recommended_accuracy"] for row in own]
            trainings.plot(range(1, len(own) + 1), values, linewidth=0.7, alpha=0.5, **look)
            hours.plot(_sums(row["seconds"] / 3600 for row in own), values, linewidth=1.4, **look)
            arithmetic.plot(_sums(operations(row["genome"]) / 1e15 for row in own), values, linewidth=1.4, **look)
            curves.append(values)
        means = [statistics.fmean(column) for column in zip(*curves, strict=False)]
        trainings.plot(range(1, len(means) + 1), means, linewidth=2.2, label=f"{method}, validation", **look)
        for number, accuracies in _tests([row for row in rows if row["method"] == method]).items():
            label = f"{method}, test (mean)" if number == TESTED_AFTER[0] else None
            trainings.plot([number], [statistics.fmean(accuracies)], "os^D"[place % 4], color=color, label=label)
    trainings.set(xlabel="trainings (thick: mean)", ylabel="accuracy of the genome recommended")
    hours.set(xlabel="hours of training on one core, as measured")
    arithmetic.set(xlabel="arithmetic of the trainings (PFLOP)")
    for axes in (trainings, hours, arithmetic):
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(file, dpi=110)


def _tests(rows: Sequence[Row]) -> dict[int, list[float]]:
    """Return a method's test accuracies, a mean over new seeds for each search, by the trainings they come after."""
    tested: dict[int, list[float]] = {}
    for row in rows:
        if "test" in row:
            tested.setdefault(row["number"], []).append(statistics.fmean(row["test"]))
    return tested


def _sums(amounts: Iterable[float]) -> list[float]:
    return list(itertools.accumulate(amounts))
