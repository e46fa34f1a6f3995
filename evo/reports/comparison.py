"""The comparison of runs, their best genomes and which groups are better: as data, cells, CSV, JSON and Markdown."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import pandas as pd
from pydantic_core import to_jsonable_python

from evo.evaluation import Evaluation
from evo.numbers import deviation, number_text
from evo.record.new_seeds import on_new_seeds
from evo.record.ranked import RankedIndividual
from evo.record.run import Run
from evo.record.tables import write_csv_text
from evo.reports.run_groups import Group, Grouping, grouped
from evo.reports.statistics import Estimate, mean_estimate
from evo.reports.tables import cell_text, is_number, markdown_escaped, markdown_table
from evo.space.search_space import renamed

TOP = 3
BEFORE_GENES = ("run", "individual")
AFTER_GENES = (
    *("train_accuracy", "validation_accuracy", "test_accuracy", "test_std", "n", "gap", "test_low", "test_high"),
    *("fitness", "retrained_fitness", "retrained_low", "retrained_high", "winner", "fitness_on", "paused_at"),
    *("strategy", "run_seed", "trainings", "seconds", "finalist_trainings", "finalist_seconds"),
    *("space", "model", "dataset", "direction", "failed", "infeasible"),
)
"""The columns beside the genes; a gene of such a name has "(gene)" after its own."""
MARKDOWN_COLUMNS = ("run", "individual", "winner", "validation", "test", "n", "gap", "trainings", "seconds")
"""Before the genes."""
GROUP_COLUMNS = ("group", "runs", "mean outcome", "trainings", "seconds")
"""Trainings and seconds are a search's, on average."""


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
    fitness_on`, `paused_at` (the step at which the search's training paused; empty for a whole one), `strategy,
    run_seed, trainings, seconds` (of the search), `finalist_trainings, finalist_seconds` (after it), `space, model,
    dataset`, `direction` (of the fitness: "maximise" or "minimise"), `failed, infeasible` (evaluations of the search).
    Accuracies are fractions in [0, 1]; seconds are sums of the trainings' wall-clock times.

    Args:
        runs: Runs, of any spaces.
        top: Genomes of a run that has no finalists.
    """
    fixed = BEFORE_GENES + AFTER_GENES
    genes = {name: name if name not in fixed else renamed(name) for run in runs for name in run.space.genes}
    rows = [
        {"run": name, **_row(run, entry, genes)}
        for name, run in zip(names_of(runs), runs, strict=True)
        for entry in _entries(run, top)
    ]
    table = pd.DataFrame(rows, columns=[*BEFORE_GENES, *genes.values(), *AFTER_GENES])
    # As they are: from the cells alone, pandas would take the choices 0 and 0.5 for the numbers 0.0 and 0.5.
    kept = (*genes.values(), "paused_at")
    return table.assign(**{name: pd.Series([row[name] for row in rows], dtype=object) for name in kept})


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return a name for every run that tells it from the others: its folder's, or, where two are alike, its path."""
    names = [run.name for run in runs]
    paths = [run.shown_path if run.path is not None and names.count(run.name) > 1 else run.name for run in runs]
    return [path if paths.count(path) == 1 else f"{path} ({place})" for place, path in enumerate(paths, start=1)]


def _entries(run: Run, top: int) -> list[RankedIndividual]:
    if run.finalists:
        return sorted(map(run.entry, run.finalists), key=lambda entry: entry.id != run.winner)
    return run.ranked()[:top]


def _row(run: Run, entry: RankedIndividual, genes: Mapping[str, str]) -> dict[str, Any]:
    settings, found = run.settings, on_new_seeds(run, entry.id)
    tests = found.test_accuracy
    test, test_low, test_high = astuple(mean_estimate(tests, (0, 1)))
    again, low, high = astuple(mean_estimate(found.fitness, settings.fitness_bounds))
    texts = run.space.encode(entry.config)
    # The mean over a race, where that is of accuracies.
    accuracy = entry.fitness if settings.measure == "accuracy" else entry.evaluation.validation_accuracy
    measured = "" if settings.measure == "accuracy" else f", {settings.fitness_name}"
    return {
        "individual": entry.id,
        **{
            column: entry.config[name] if is_number(entry.config.get(name)) else texts.get(name, "")
            for name, column in genes.items()
        },
        "train_accuracy": entry.evaluation.train_accuracy,
        "validation_accuracy": accuracy if settings.fitness == "validation" and not settings.objective else None,
        **{"test_accuracy": test, "test_low": test_low, "test_high": test_high, "n": len(tests)},
        "test_std": deviation(tests, of_sample=True) if len(tests) > 1 else None,
        "gap": accuracy - test if accuracy is not None else math.nan,
        **{"fitness": entry.fitness, "retrained_fitness": again, "retrained_low": low, "retrained_high": high},
        "winner": entry.id == run.winner,
        "fitness_on": "objective" if settings.objective is not None else f"{settings.fitness} set{measured}",
        "paused_at": entry.evaluation.paused_at,
        **{"strategy": settings.strategy, "run_seed": settings.seed, "space": settings.space_name},
        "trainings": run.trainings,
        "seconds": _seconds(run.search_evaluations),
        "finalist_trainings": len(run.finalist_evaluations),
        "finalist_seconds": _seconds(run.finalist_evaluations),
        "model": settings.model or settings.objective,
        "dataset": (settings.dataset or {}).get("variant"),
        "direction": settings.direction,
        "failed": sum(evaluation.failed for evaluation in run.search_evaluations),
        "infeasible": sum(evaluation.infeasible for evaluation in run.search_evaluations),
    }


def _seconds(evaluations: Sequence[Evaluation]) -> float:
    return round(sum(evaluation.seconds for evaluation in evaluations), 1)


def csv_text(comparison: Comparison) -> str:
    """Return the table of genomes as CSV."""
    buffer = io.StringIO()
    write_csv_text(comparison.table, buffer)
    return buffer.getvalue()


def json_text(comparison: Comparison) -> str:
    """Return everything as JSON: genomes, groups, pairs and notes; what is missing is null."""
    values = {"genomes": comparison.table.to_dict("records"), **asdict(comparison.grouping)}
    plain = to_jsonable_python(values, inf_nan_mode="null")
    return json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def markdown_text(comparison: Comparison) -> str:
    """Return everything as Markdown: a table of genomes, one of groups, and sentences."""
    grouping, columns = comparison.grouping, list(comparison.table.columns)
    genes = columns[2 : columns.index("train_accuracy")]
    rows = []
    for row in comparison.table.to_dict("records"):
        cells = genome_cells(row)
        rows.append([*(cells[name] for name in MARKDOWN_COLUMNS), *(cell_text(row[name]) for name in genes)])
    parts = ["## Best genomes\n", markdown_table([*MARKDOWN_COLUMNS, *genes], rows)]
    if grouping.groups:
        parts += ["## Groups of runs\n", markdown_table(GROUP_COLUMNS, map(group_cells, grouping.groups))]
    sentences = [*(pair.sentence for pair in grouping.pairs), *grouping.notes]
    parts += ["".join(f"- {markdown_escaped(sentence)}\n" for sentence in sentences)] if sentences else []
    return "\n".join(parts)


def genome_cells(row: Mapping[Any, Any]) -> dict[str, str]:
    """Return what people read of a genome's row, by column; validation is the fitness where there is an objective."""
    cells = {name: str(row[name]) for name in ("run", "individual", "n", "trainings", "seconds")}
    cells["gap"] = "" if pd.isna(row["gap"]) else number_text(row["gap"])
    cells["fitness"] = fitness_text(row, "fitness")
    cells["winner"] = "yes" if row["winner"] else ""
    cells["validation"] = fitness_text(row, "fitness" if row["fitness_on"] == "objective" else "validation_accuracy")
    for column, value, bounds in (("test", "test_accuracy", "test"), ("new seeds", "retrained_fitness", "retrained")):
        estimate = Estimate(row[value], row[f"{bounds}_low"], row[f"{bounds}_high"])
        cells[column] = "" if pd.isna(row[value]) else estimate.text()
    return cells


def fitness_text(row: Mapping[Any, Any], column: str = "fitness") -> str:
    """Return what the search measured of a genome, with the step of a training that paused there."""
    if pd.isna(row[column]):
        return ""
    paused = "" if row["paused_at"] is None else f" at step {row['paused_at']}"
    return f"{number_text(row[column])}{paused}"


def group_cells(group: Group) -> list[str]:
    """Return a group's cells under `GROUP_COLUMNS`."""
    cost = (f"{group.trainings:.0f}", f"{group.seconds:.1f}")
    return [group.name, str(len(group.runs)), group.mean.text(), *cost]
