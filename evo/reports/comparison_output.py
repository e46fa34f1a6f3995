"""A comparison for people and for other programs: cells as text, and the whole as CSV, JSON and Markdown."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
from pydantic_core import to_jsonable_python

from evo.record.tables import write_csv_text
from evo.reports.comparison import Comparison
from evo.reports.run_groups import Group
from evo.reports.statistics import Estimate
from evo.reports.tables import cell_text, markdown_escaped, markdown_table

MARKDOWN_COLUMNS = ("run", "individual", "winner", "validation", "test", "n", "gap", "trainings", "seconds")
"""Before the genes."""
GROUP_COLUMNS = ("group", "runs", "mean outcome", "trainings", "seconds")
"""Trainings and seconds are a search's, on average."""


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
    validation = row["fitness"] if row["fitness_on"] == "objective" else row["validation_accuracy"]
    cells = {name: str(row[name]) for name in ("run", "individual", "n", "trainings", "seconds")}
    cells |= {name: "" if pd.isna(row[name]) else f"{row[name]:.4f}" for name in ("fitness", "gap")}
    cells["winner"] = "yes" if row["winner"] else ""
    cells["validation"] = "" if pd.isna(validation) else f"{validation:.4f}"
    for column, value, bounds in (("test", "test_accuracy", "test"), ("new seeds", "retrained_fitness", "retrained")):
        estimate = Estimate(row[value], row[f"{bounds}_low"], row[f"{bounds}_high"])
        cells[column] = "" if pd.isna(row[value]) else estimate_text(estimate)
    return cells


def group_cells(group: Group) -> list[str]:
    """Return a group's cells under `GROUP_COLUMNS`."""
    cost = (f"{group.trainings:.0f}", f"{group.seconds:.1f}")
    return [group.name, str(len(group.runs)), estimate_text(group.mean), *cost]


def estimate_text(estimate: Estimate, digits: int = 4) -> str:
    """Return a figure with its interval, or only the figure where it has none."""
    return estimate.text(digits) if math.isfinite(estimate.low) else f"{estimate.value:.{digits}f}"
