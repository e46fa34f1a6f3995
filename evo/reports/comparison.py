"""The comparison of runs: their best genomes, what the test set says of them, and which groups of runs are better."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evo.individual import Evaluation
from evo.record.history import RankedIndividual, fitness_bounds, on_new_seeds
from evo.record.run import Run
from evo.reports.run_groups import Grouping, grouped
from evo.reports.statistics import mean_estimate
from evo.reports.tables import is_number

TOP = 3
BEFORE_GENES = ("run", "individual")
AFTER_GENES = (
    *("train_accuracy", "validation_accuracy", "test_accuracy", "test_std", "n", "gap", "test_low", "test_high"),
    *("fitness", "retrained_fitness", "retrained_low", "retrained_high", "winner", "fitness_on", "strategy"),
    *("run_seed", "trainings", "seconds", "finalist_trainings", "finalist_seconds", "space", "model", "dataset"),
)
"""The columns beside the genes; a gene of such a name has "(gene)" after its own."""


@dataclass(frozen=True)
class Comparison:
    """What there is to say of several runs.

    Attributes:
        table: One row per genome, see `comparison_table`.
        grouping: Groups of runs that differ only in their seeds, and how they compare with each other.
    """

    table: pd.DataFrame
    grouping: Grouping


def compare_runs(runs: Sequence[Run], top: int = TOP, patterns: Mapping[str, str] | None = None) -> Comparison:
    """Return the best genomes of runs, and a statistical comparison of groups of them.

    Args:
        runs: Runs, of any spaces.
        top: Genomes of a run that has no finalists.
        patterns: User-defined groups: a pattern of run names by the group's name.

    Raises:
        ConfigurationError: No run has a name that matches a pattern.
    """
    names = names_of(runs)
    return Comparison(comparison_table(runs, top), grouped(dict(zip(names, runs, strict=True)), patterns))


def comparison_table(runs: Sequence[Run], top: int = TOP) -> pd.DataFrame:
    """Return one row per genome: the finalists of each run, or its best genomes where it has none.

    Columns: `run, individual`, the genes of all runs, `train_accuracy, validation_accuracy` (the search's),
    `test_accuracy, test_std, n` (mean and sample standard deviation over the finalists' trainings, and their number),
    `gap` (the search's accuracy minus `test_accuracy`: how optimistic the selection was), then `test_low, test_high`
    (the 95 % interval of `test_accuracy` over training seeds, Student's t), `fitness, retrained_fitness,
    retrained_low, retrained_high` (the search's, and mean and interval over the finalists' trainings), `winner,
    fitness_on, strategy, run_seed, trainings, seconds` (of the search), `finalist_trainings, finalist_seconds` (after
    it), `space, model, dataset`.
    Accuracies are fractions in [0, 1]; seconds are sums of the trainings' wall-clock times.

    Args:
        runs: Runs, of any spaces.
        top: Genomes of a run that has no finalists.
    """
    fixed = BEFORE_GENES + AFTER_GENES
    genes = {name: name if name not in fixed else f"{name} (gene)" for run in runs for name in run.space.genes}
    rows = [
        {"run": name, **_row(run, entry, genes)}
        for name, run in zip(names_of(runs), runs, strict=True)
        for entry in _entries(run, top)
    ]
    return pd.DataFrame(rows, columns=[*BEFORE_GENES, *genes.values(), *AFTER_GENES])


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return a name for every run that tells it from the others: its folder's, or, where two are alike, its path."""
    names = [run.name for run in runs]
    paths = [str(run.path) if run.path is not None and names.count(run.name) > 1 else run.name for run in runs]
    return [path if paths.count(path) == 1 else f"{path} ({place})" for place, path in enumerate(paths, start=1)]


def _entries(run: Run, top: int) -> list[RankedIndividual]:
    if run.finalists:
        return sorted(map(run.entry, run.finalists), key=lambda entry: entry.id != run.winner)
    return run.ranked()[:top]


def _row(run: Run, entry: RankedIndividual, genes: Mapping[str, str]) -> dict[str, Any]:
    settings, found = run.settings, on_new_seeds(run, entry.id)
    tests = found.test_accuracy
    test, test_low, test_high = mean_estimate(tests, (0, 1)).figures if tests else (None, None, None)
    bounds = fitness_bounds(settings)
    again, low, high = mean_estimate(found.fitness, bounds).figures if found.fitness else (None, None, None)
    texts = run.space.encode(entry.config)
    return {
        "individual": entry.id,
        **{
            column: entry.config[name] if is_number(entry.config.get(name)) else texts.get(name, "")
            for name, column in genes.items()
        },
        "train_accuracy": entry.evaluation.train_accuracy,
        # The mean over a race, as `gap` has it.
        "validation_accuracy": entry.fitness if settings.fitness == "validation" and not settings.objective else None,
        **{"test_accuracy": test, "test_low": test_low, "test_high": test_high, "n": len(tests)},
        "test_std": statistics.stdev(tests) if len(tests) > 1 else None,
        "gap": entry.fitness - test if test is not None else None,
        **{"fitness": entry.fitness, "retrained_fitness": again, "retrained_low": low, "retrained_high": high},
        "winner": entry.id == run.winner,
        "fitness_on": "objective" if settings.objective is not None else f"{settings.fitness} set",
        **{"strategy": settings.strategy, "run_seed": settings.seed, "space": settings.space_name},
        "trainings": len(run.search_evaluations),
        "seconds": _seconds(run.search_evaluations),
        "finalist_trainings": len(run.finalist_evaluations),
        "finalist_seconds": _seconds(run.finalist_evaluations),
        "model": settings.model or settings.objective,
        "dataset": (settings.dataset or {}).get("variant"),
    }


def _seconds(evaluations: Sequence[Evaluation]) -> float:
    return round(sum(evaluation.seconds for evaluation in evaluations), 1)
