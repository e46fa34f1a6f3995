"""A comparison as files for other programs: CSV, JSON and Markdown."""

from __future__ import annotations

import html
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from evo.record.tables import write_csv_text
from evo.reports.comparison import Comparison
from evo.reports.run_groups import Group, Pair
from evo.reports.statistics import Estimate

MARKDOWN_COLUMNS = ("run", "individual", "winner", "validation", "test", "n", "gap", "trainings", "seconds")
"""Before the genes; validation is the fitness where a run has an objective of the user's own."""
GROUP_COLUMNS = ("group", "runs", "mean outcome", "trainings", "seconds")
"""Trainings and seconds are a search's, on average."""


def csv_text(comparison: Comparison) -> str:
    """Return the table of genomes as CSV."""
    buffer = io.StringIO()
    write_csv_text(comparison.table, buffer)
    return buffer.getvalue()


def json_text(comparison: Comparison) -> str:
    """Return everything as JSON: genomes, groups, pairs and notes; what is missing is null."""
    grouping = comparison.grouping
    values = {
        "genomes": [_plain(row) for row in comparison.table.to_dict("records")],
        "groups": [_group(group) for group in grouping.groups],
        "pairs": [_pair(pair) for pair in grouping.pairs],
        "notes": list(grouping.notes),
    }
    return json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def markdown_text(comparison: Comparison) -> str:
    """Return everything as Markdown: a table of genomes, one of groups, and sentences."""
    grouping = comparison.grouping
    genes = list(comparison.table.columns[2 : list(comparison.table.columns).index("train_accuracy")])
    rows = [_genome_cells(_plain(row), genes) for row in comparison.table.to_dict("records")]
    parts = ["## Best genomes\n", _table([*MARKDOWN_COLUMNS, *genes], rows)]
    if grouping.groups:
        cells = [group_cells(group) for group in grouping.groups]
        parts += ["## Groups of runs\n", _table(GROUP_COLUMNS, cells)]
    sentences = [*(pair.sentence for pair in grouping.pairs), *grouping.notes]
    parts += ["".join(f"- {_escaped(sentence)}\n" for sentence in sentences)] if sentences else []
    return "\n".join(parts)


def group_cells(group: Group) -> list[str]:
    """Return a group's cells under `GROUP_COLUMNS`."""
    cost = (f"{group.trainings:.0f}", f"{group.seconds:.1f}")
    return [group.name, str(len(group.runs)), estimate_text(group.mean), *cost]


def estimate_text(estimate: Estimate, digits: int = 4) -> str:
    """Return a figure with its interval, or alone where it has none."""
    return estimate.text(digits) if math.isfinite(estimate.low) else f"{estimate.value:.{digits}f}"


def _genome_cells(row: dict[str, Any], genes: Sequence[str]) -> list[Any]:
    validation = row["validation_accuracy"] if row["validation_accuracy"] is not None else row["fitness"]
    test = ""
    if row["test_accuracy"] is not None:
        bounds = (row["test_low"], row["test_high"])
        low, high = (math.nan if bound is None else bound for bound in bounds)
        test = estimate_text(Estimate(row["test_accuracy"], low, high))
    known = [row["run"], row["individual"], "yes" if row["winner"] else "", f"{validation:.4f}", test, row["n"]]
    gap = "" if row["gap"] is None else f"{row['gap']:.4f}"
    own = (row[name] for name in genes)
    return [*known, gap, row["trainings"], row["seconds"], *(f"{v:.4g}" if isinstance(v, float) else v for v in own)]


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    first, *others = ([_escaped(str(cell)) for cell in line] for line in (headings, *rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in (first, ["---"] * len(headings), *others))


def _escaped(text: str) -> str:
    """Return a text that Markdown shows as it is: no markup, no HTML, no new cell, one line."""
    shown = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|~#" else sign for sign in shown)


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    """Return a cell as JSON has it: NumPy's numbers as Python's, what is no finite number as None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "problem": group.problem,
        "runs": list(group.runs),
        "seeds": list(group.seeds),
        "outcome": group.outcome,
        "outcomes": list(group.outcomes),
        "mean": _estimate(group.mean),
        "trainings": group.trainings,
        "seconds": round(group.seconds, 1),
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "first": pair.first,
        "second": pair.second,
        "runs": list(pair.runs),
        "paired": pair.paired,
        "better": None if pair.better is None else _estimate(pair.better),
        "p_value": pair.p_value,
        "sentence": pair.sentence,
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {name: _plain_value(getattr(estimate, name)) for name in ("value", "low", "high")}
