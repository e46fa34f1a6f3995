"""The best genomes of one or several runs side by side, what the test set says of them, and which runs are better."""

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

TOP = 3
FIXED = (
    "run",
    "individual",
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "test_std",
    "n",
    "gap",
    "test_low",
    "test_high",
    "fitness",
    "retrained_fitness",
    "retrained_low",
    "retrained_high",
    "winner",
    "fitness_on",
    "strategy",
    "run_seed",
    "trainings",
    "seconds",
    "finalist_trainings",
    "finalist_seconds",
    "space",
    "model",
    "dataset",
)
"""The columns beside the genes, which stand after the second; a gene of such a name has "(gene)" after its own."""


@dataclass(frozen=True)
class Comparison:
    """What there is to say of several runs.

    Attributes:
        table: One row a genome, see `comparison_table`.
        grouping: Groups of runs that differ in their seeds alone, and how they stand against each other.
    """

    table: pd.DataFrame
    grouping: Grouping


def compare_runs(runs: Sequence[Run], top: int = TOP, patterns: Mapping[str, str] | None = None) -> Comparison:
    """Return the best genomes of runs, and a statistical comparison of groups of them.

    Args:
        runs: Runs, of any spaces.
        top: Genomes of a run that has no finalists.
        patterns: Groups of the user's own: a pattern of run names by the group's name.

    Raises:
        ConfigurationError: No run has a name of such a pattern.
    """
    names = names_of(runs)
    return Comparison(comparison_table(runs, top), grouped(dict(zip(names, runs, strict=True)), patterns))


def comparison_table(runs: Sequence[Run], top: int = TOP) -> pd.DataFrame:
    """Return one row a genome: the finalists of each run, or its best genomes where it has none.

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
    genes = {name: name if name not in FIXED else f"{name} (gene)" for run in runs for name in run.space.genes}
    rows = [
        {"run": name, **_row(run, entry, genes)}
        for name, run in zip(names_of(runs), runs, strict=True)
        for entry in _entries(run, top)
    ]
    return pd.DataFrame(rows, columns=[*FIXED[:2], *genes.values(), *FIXED[2:]])


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return a name for every run that tells it from the others: its folder's, or, where two are alike, its path."""
    names = [run.name for run in runs]
    paths = [str(run.path) if run.path is not None and names.count(run.name) > 1 else run.name for run in runs]
    return [path if paths.count(path) == 1 else f"{path} ({place})" for place, path in enumerate(paths, start=1)]


def _entries(run: Run, top: int) -> list[RankedIndividual]:
    if run.finalists:
        entries = [run.entry(number) for number in run.finalists]
        return sorted(entries, key=lambda entry: entry.id != run.winner)
    return run.ranked()[:top]


def _row(run: Run, entry: RankedIndividual, genes: Mapping[str, str]) -> dict[str, Any]:
    found = on_new_seeds(run, entry.id)
    tests = found.test_accuracy
    test = mean_estimate(tests, (0, 1)) if tests else None
    again = mean_estimate(found.fitness, fitness_bounds(run.settings)) if found.fitness else None
    texts = run.space.encode(entry.config)
    return {
        "individual": entry.id,
        **{
            column: entry.config[name] if _is_number(entry.config.get(name)) else texts.get(name, "")
            for name, column in genes.items()
        },
        "train_accuracy": entry.evaluation.train_accuracy,
        # The mean over a race, as `gap` has it.
        "validation_accuracy": entry.fitness
        if run.settings.fitness == "validation" and not run.settings.objective
        else None,
        "test_accuracy": test.value if test else None,
        "test_std": statistics.stdev(tests) if len(tests) > 1 else None,
        "n": len(tests),
        "gap": entry.fitness - test.value if test else None,
        "test_low": test.low if test else None,
        "test_high": test.high if test else None,
        "fitness": entry.fitness,
        "retrained_fitness": again.value if again else None,
        "retrained_low": again.low if again else None,
        "retrained_high": again.high if again else None,
        "winner": entry.id == run.winner,
        "fitness_on": "objective" if run.settings.objective is not None else f"{run.settings.fitness} set",
        "strategy": run.settings.strategy,
        "run_seed": run.settings.seed,
        "trainings": len(run.search_evaluations),
        "seconds": _seconds(run.search_evaluations),
        "finalist_trainings": len(run.finalist_evaluations),
        "finalist_seconds": _seconds(run.finalist_evaluations),
        "space": run.settings.space_name,
        "model": run.settings.model or run.settings.objective,
        "dataset": (run.settings.dataset or {}).get("variant"),
    }


def _seconds(evaluations: Sequence[Evaluation]) -> float:
    return round(sum(evaluation.seconds for evaluation in evaluations), 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)
