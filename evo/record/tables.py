"""The tables of a run as pandas DataFrames, built from its records, and the CSV files they are written to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from evo.confusion import class_name
from evo.evaluation import Evaluation
from evo.files import replacing
from evo.individual import RUNG
from evo.numbers import deviation, mean
from evo.plain_text import inert
from evo.record.front import front_of, goals_of, has_front
from evo.record.history import HALL_OF_FAME, History
from evo.space import SearchSpace
from evo.space.genes import Categorical, Gene
from evo.space.genes.values import value_text

COUNTS = (
    "individual",
    "replicate",
    "generation",
    "rung",
    "seed",
    "parameters",
    "steps_trained",
    "shared_with",
    "images",
)
"""Columns of whole numbers also where a table has no rows, or none with a value."""

MEASURED_COLUMNS = (
    *("seed", "status", "fitness", "validation_accuracy", "train_accuracy", "test_accuracy", "loss"),
    *("parameters", "steps_trained", "seconds", "worker", "started", "engine", "precision"),
    *("shared_with", "error", "seconds_before"),
)
"""Columns of evaluations.csv after the genes, named as the fields of an `Evaluation`."""


def evaluations_table(run: History) -> pd.DataFrame:
    """Return one row per evaluation of the search, in the order of (individual, replicate)."""
    rows = [_evaluation_row(run, evaluation) for evaluation in run.search_evaluations]
    return _frame(rows, _evaluation_columns(run), _categorical(run))


def populations_table(run: History) -> pd.DataFrame:
    """Return who was in which population: generation, slot, individual, fitness in that generation."""
    rows = [
        {"generation": generation, "slot": slot, "individual": member, "fitness": run.fitness_in(generation, member)}
        for generation, members in sorted(run.generations.items())
        for slot, member in enumerate(members)
    ]
    return _frame(rows, ["generation", "slot", "individual", "fitness"])


def generations_table(run: History) -> pd.DataFrame:
    """Return one row per generation.

    `best` is the best fitness so far, races left out; mean, std (population's), min and max are over the members of
    the population; `seconds` is the sum of the trainings' times. Each part of a continued training counts in the
    generation that proposed it.
    """
    columns = ["generation", "evaluations", "best", "mean", "std", "min", "max", "diversity", "seconds"]
    trained = run.by_generation()
    rows: list[dict[str, Any]] = []
    best: list[tuple[bool, float]] = []  # a paused training is never better than a whole one
    for generation, members in sorted(run.generations.items()):
        # A race evaluates genomes again that were proposed long before: their own generation did not find them.
        found = [
            (evaluation.complete, evaluation.fitness)
            for proposal, evaluation, _ in trained[generation]
            if evaluation.succeeded and evaluation.fitness is not None and not proposal.replicate
        ]
        best = sorted(best + found, key=lambda entry: (entry[0], run.settings.sign * entry[1]))[-1:]
        rows.append(
            {
                "generation": generation,
                "evaluations": len(trained[generation]),
                "best": best[0][1] if best else None,
                **population_figures(run, generation, members),
                "seconds": sum(seconds for *_, seconds in trained[generation]),
            }
        )
    return _frame(rows, columns)


def population_figures(run: History, generation: int, members: Sequence[int]) -> dict[str, float | None]:
    """Return mean, std (the population's), min and max of the members' fitness, and the diversity of their genomes."""
    known = [value for member in members if (value := run.fitness_in(generation, member)) is not None]
    return {
        "mean": mean(known) if known else None,
        "std": deviation(known) if known else None,
        "min": min(known, default=None),
        "max": max(known, default=None),
        "diversity": run.space.diversity([run.individuals[member].genome for member in members]),
    }


def curves_table(run: History) -> pd.DataFrame:
    """Return all learning curves, the finalists' included."""
    columns = ["individual", "replicate", "step", "train_loss", "train_accuracy", "validation_accuracy"]
    columns += [*_test_column(run), "loss"]
    for hook in run.space.training.curve_hooks:
        columns += hook.measures
    rows = [
        {"individual": individual, "replicate": replicate, **point.to_dict()}
        for individual, replicate in sorted(run.evaluations.keys() | run.reported.keys())
        for point in run.curve_of(individual, replicate)
    ]
    return _frame(rows, list(dict.fromkeys(itertools.chain(columns, *rows))))


def hall_of_fame_table(run: History) -> pd.DataFrame:
    """Return the best genomes of the search, best first."""
    columns = ["rank", "individual", "generation", *run.space.genes, "fitness", "replicates"]
    columns += ["validation_accuracy", "train_accuracy", *_test_column(run), "loss", "parameters", "seconds"]
    columns += _named_columns(run).values()
    rows = [
        {
            "rank": rank,
            **_evaluation_row(run, entry.evaluation),
            **run.space.cells(entry.config),
            "fitness": entry.fitness,
            "replicates": max(1, len(entry.replicates)),
        }
        for rank, entry in enumerate(run.ranked()[:HALL_OF_FAME], start=1)
    ]
    return _frame(rows, columns, _categorical(run))


def finalists_table(run: History) -> pd.DataFrame:
    """Return the finalists' trainings on new seeds; `winner` marks the genome of the best mean fitness."""
    columns = ["individual", "replicate", "seed", "winner", *run.space.genes, "status", "fitness"]
    columns += ["validation_accuracy", "train_accuracy", "test_accuracy", "loss", "test_loss"]
    columns += [*_named_columns(run).values(), "seconds", "worker", "started", "error"]
    rows = []
    for evaluation in run.finalist_evaluations:
        test = run.tests.get((evaluation.individual, evaluation.replicate), {})
        row = _evaluation_row(run, evaluation) | run.space.cells(run.config_of(evaluation.individual))
        row |= {"winner": evaluation.individual == run.winner, "test_accuracy": run.test_accuracy_of(evaluation)}
        row |= {"test_loss": test.get("test_loss"), "error": evaluation.error or test.get("error", "")}
        rows.append(row)
    return _frame(rows, columns, _categorical(run))


def confusion_table(run: History) -> pd.DataFrame:
    """Return which classes the trainings take for which, with how many images; no row for none.

    It has the trainings whose result is not only for the search: of finalists and of listed configurations.
    """
    columns = ["individual", "replicate", "part", "class", "predicted", "images"]
    classes = (run.settings.dataset or {}).get("classes", [])
    rows = []
    for key in sorted(run.evaluations):
        part, counts = run.confusion_of(run.evaluations[key])
        for label, predicted, images in counts:
            names = {"class": class_name(classes, label), "predicted": class_name(classes, predicted)}
            rows.append({"individual": key[0], "replicate": key[1], "part": part, **names, "images": images})
    return _frame(rows, columns)


def front_table(run: History) -> pd.DataFrame:
    """Return the genomes that no other one beats in every objective, best first by the first objective."""
    goals = {name: _measure_column(run, name) for name in goals_of(run)}
    rows = [
        {"individual": entry.id, **run.space.cells(entry.config), **{goals[name]: own for name, own in values.items()}}
        for entry, values in front_of(run)
    ]
    return _frame(rows, ["individual", *run.space.genes, *goals.values()], _categorical(run))


BUILDERS: dict[str, Callable[[History], pd.DataFrame]] = {
    "evaluations": evaluations_table,
    "populations": populations_table,
    "generations": generations_table,
    "curves": curves_table,
    "hall_of_fame": hall_of_fame_table,
    "finalists": finalists_table,
    "confusion": confusion_table,
    "front": front_table,
}
"""What builds each table, by the name of its CSV file; the names are those of `evo.record.folder.TABLES`."""


def write_tables(run: History, folder: Path) -> None:
    """Write the CSV files of a run, each atomically.

    Of finalists and confusion only what has rows, or had some; a front only of several objectives.
    """
    paths = {name: folder / f"{name}.csv" for name in BUILDERS}
    tables = {name: build(run) for name, build in BUILDERS.items()}
    for name, table in tables.items():
        if name == "front":
            needed = has_front(run)
        else:
            needed = name not in ("finalists", "confusion") or bool(len(table)) or paths[name].exists()
        if needed or (name == "finalists" and run.finalists):
            write_csv(with_texts(table, run.space), paths[name])


def with_texts(table: pd.DataFrame, space: SearchSpace) -> pd.DataFrame:
    """Return a table in which choices that are None or tuples are texts, null and JSON lists, as in CSV files."""
    genes = {name for name, gene in space.genes.items() if isinstance(gene, Categorical) and name in table}
    nullable = _nullable(space.genes)
    texts = {
        name: pd.Series([_text_of(cell, name in nullable) for cell in table[name]], dtype=object, index=table.index)
        for name in genes
    }
    return table.assign(**texts)


def _text_of(cell: Any, nullable: bool) -> Any:
    """Return the text of a choice without one of its own; None is empty unless it is a choice."""
    return value_text(cell) if isinstance(cell, tuple) or (cell is None and nullable) else cell


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table atomically; text that a spreadsheet would take for a formula gets an apostrophe in front."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        write_csv_text(table, file)


def write_csv_text(table: pd.DataFrame, file: TextIO) -> None:
    """Write a table to an open file as `write_csv` does; a cell that is not a text is written as it is."""
    columns = {
        name: cells
        if pd.api.types.is_numeric_dtype(cells)
        # Without a dtype, pandas would turn the choices 0 and 0.5 into 0.0 and 0.5.
        else pd.Series([inert(c) if isinstance(c, str) else c for c in cells], dtype=object, index=cells.index)
        for name, cells in table.items()
    }
    pd.DataFrame(columns, columns=table.columns).to_csv(file, index=False, lineterminator="\n")


def _evaluation_columns(run: History) -> list[str]:
    columns = ["individual", "replicate", "generation", "parents", "operator", *_rung_column(run), *run.space.genes]
    columns += [name for name in MEASURED_COLUMNS if name != "test_accuracy" or _has_test_accuracy(run)]
    infeasible = any(evaluation.infeasible for evaluation in run.search_evaluations)
    return [*columns, *(["violation"] if infeasible else []), *_named_columns(run).values()]


def _has_test_accuracy(run: History) -> bool:
    """Return whether the search has measured test accuracy: told to select on it, or by its own function."""
    return bool(_test_column(run)) or any(one.test_accuracy is not None for one in run.search_evaluations)


def _named_columns(run: History) -> dict[str, str]:
    """Return the column of each measure that the function of a search has named, by its name."""
    names = dict.fromkeys(name for evaluation in run.search_evaluations for name in evaluation.named)
    return {name: _measure_column(run, name) for name in names}


def _measure_column(run: History, name: str) -> str:
    return f"{name} (measure)" if name in run.space.genes else name


def _test_column(run: History) -> list[str]:
    """The search measures test accuracy only when it was told to select on it."""
    return ["test_accuracy"] if run.settings.fitness == "test" else []


def _rung_column(run: History) -> list[str]:
    """Only strategies that begin with short trainings have rungs."""
    return ["rung"] if any(RUNG in individual.strategy_parameters for individual in run.individuals) else []


def _evaluation_row(run: History, evaluation: Evaluation) -> dict[str, Any]:
    individual, started = run.individuals[evaluation.individual], evaluation.started
    return {
        "individual": individual.id,
        "replicate": evaluation.replicate,
        "generation": individual.generation,
        "parents": ",".join(map(str, individual.parents)),
        "operator": individual.operator,
        "rung": individual.strategy_parameters.get(RUNG),
        **run.space.cells(individual.genome),
        **{name: getattr(evaluation, name) for name in MEASURED_COLUMNS},
        "seconds": round(evaluation.seconds, 3),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds") if started else "",
        "seconds_before": round(evaluation.seconds_before, 3),
        "violation": evaluation.violation,
        **{_measure_column(run, name): value for name, value in evaluation.named.items()},
    }


def _categorical(run: History) -> dict[str, float | None]:
    """Return the genes whose choices are not quantities, even where all of them are numbers, each with its empty cell.

    That is not a number where None is a choice.
    """
    nullable = _nullable(run.space.genes)
    genes = run.space.genes.items()
    return {name: math.nan if name in nullable else None for name, gene in genes if isinstance(gene, Categorical)}


def _nullable(genes: Mapping[str, Gene]) -> set[str]:
    """Return the names of the genes that may be None."""
    return {name for name, gene in genes.items() if isinstance(gene, Categorical) and None in gene.choices}


def _frame(
    rows: Iterable[dict[str, Any]], columns: list[str], as_written: Mapping[str, float | None] | None = None
) -> pd.DataFrame:
    """Return a table of the columns in their order; whole numbers stay whole where a cell is empty.

    Args:
        rows: Cells by column.
        columns: All columns.
        as_written: The empty cell of each of those whose cells keep their types: beside 0.5, the choice 0 does not
            become 0.0.
    """
    kept = as_written or {}
    records = list(rows)
    series: dict[str, Any] = {}
    for name in columns:
        cells = [record.get(name) for record in records]
        present = [cell for cell in cells if cell is not None]
        if name in kept:
            series[name] = pd.Series([record.get(name, kept[name]) for record in records], dtype=object)
        elif name in COUNTS or (present and all(isinstance(c, int) and not isinstance(c, bool) for c in present)):
            series[name] = pd.array(cells, dtype="Int64" if len(present) < len(cells) else "int64")
        elif present and all(isinstance(cell, float | int) and not isinstance(cell, bool) for cell in present):
            series[name] = pd.array(cells, dtype="float64")
        else:
            series[name] = pd.Series(cells, dtype=object)
    return pd.DataFrame(series, columns=columns)
