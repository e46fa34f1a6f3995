"""Writes what the rows of the search quality benchmark say: a summary in Markdown, tables as CSV, one figure."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.markdown import table
from benchmarks.search_quality.analysis import (
    Comparison,
    Curves,
    band,
    comparisons,
    level_estimates,
    levels,
    paired_curves,
    regret_curve,
    regret_curve_by_steps,
)
from evo.errors import ConfigurationError

AXES = {"trainings": regret_curve, "steps": regret_curve_by_steps}
UNITS = {"trainings": "trainings", "steps": "full trainings' worth of steps"}
FLOOR = 1e-3
"""Smaller regrets are drawn here: a logarithmic axis has no zero."""
MARKERS, LINES = ("", "o", "s", "^"), ("-", "--", "-.", ":")


def write_report(
    rows: Sequence[Mapping[str, Any]],
    output: Path,
    *,
    budget: int,
    axis: str,
    stem: str,
    against: Sequence[str] = (),
    at: int | None = None,
) -> list[Path]:
    """Write summary, tables and figure; return their paths, the summary's first.

    Args:
        rows: One per run, all of one budget.
        output: Folder.
        budget: Trainings of a run.
        axis: What is counted: "trainings" or "steps".
        stem: Names the files.
        against: Methods that all others are compared with; all by default.
        at: Trainings, at most the budget, at which methods are compared; by default the budget.

    Raises:
        ConfigurationError: An unknown axis, a comparison outside the budget, or no task and seed that every method has.
    """
    if axis not in AXES:
        raise ConfigurationError(f"--axis: must be trainings or steps, got {axis}")
    at = budget if at is None else at
    if not 1 <= at <= budget:
        raise ConfigurationError(f"--at: must be from 1 to the budget of {budget}, got {at}")
    used = [row for row in rows if axis == "trainings" or "steps" in row]
    methods, curves = paired_curves(used, budget, AXES[axis])
    if not curves:
        raise ConfigurationError("no task and seed that all these methods have; name fewer with --methods or --tasks")
    output.mkdir(parents=True, exist_ok=True)
    pairs = [pair for pair in comparisons(methods, curves, at) if not against or pair.second in against]
    tables = {
        "levels": levels_table(methods, curves, budget, used),
        "tasks": tasks_table(methods, curves, budget),
        "comparisons": comparisons_table(pairs),
    }
    files = [output / f"summary-{stem}.md", output / f"curves-{stem}.png"]
    files[0].write_text(
        "\n".join([*summary(curves, pairs, tables["levels"], tables["tasks"], budget, axis, at), versions(used), ""]),
        encoding="utf-8",
    )
    draw(methods, curves, files[1], UNITS[axis])
    for name, entries in tables.items():
        files.append(output / f"{name}-{stem}.csv")
        entries.to_csv(files[-1], index=False, float_format="%.6g")
    return files


def checkpoints(budget: int) -> list[int]:
    """Return the numbers of trainings at which levels are given."""
    return sorted({number for number in (25, 50, 100, 200, 300) if number < budget} | {budget})


def levels_table(
    methods: Sequence[str], curves: Curves, budget: int, rows: Iterable[Mapping[str, Any]]
) -> pd.DataFrame:
    """Return each method's mean regret over tasks after some trainings, and its seconds per proposal; best first."""
    seconds: dict[str, list[list[float]]] = {}
    for row in rows:
        seconds.setdefault(row["method"], []).append(row["seconds"])
    entries = []
    for method, estimates in zip(methods, level_estimates(curves, checkpoints(budget)), strict=True):
        entry: dict[str, Any] = {"method": method}
        for number, estimate in zip(checkpoints(budget), estimates, strict=True):
            names = (f"regret_at_{number}", f"low_at_{number}", f"high_at_{number}")
            entry |= dict(zip(names, astuple(estimate), strict=True))
        entry["seconds_a_proposal"] = float(np.mean([block for run in seconds[method] for block in run]))
        entry["seconds_a_proposal_last_ten"] = float(np.mean([run[-1] for run in seconds[method]]))
        entries.append(entry)
    return pd.DataFrame(entries).sort_values(f"regret_at_{budget}", ignore_index=True)


def tasks_table(methods: Sequence[str], curves: Curves, budget: int) -> pd.DataFrame:
    """Return each method's mean regret on each task at the end, with its interval over seeds."""
    entries = []
    for number, method in enumerate(methods):
        for task, runs in curves.items():
            mean, low, high = (float(figures[-1]) for figures in band(runs[number]))
            figures = {"regret": mean, "low": low, "high": high, "median": float(np.median(runs[number, :, -1]))}
            entries.append({"method": method, "task": task, "seeds": runs.shape[1], "at": budget} | figures)
    return pd.DataFrame(entries)


def comparisons_table(pairs: Iterable[Comparison]) -> pd.DataFrame:
    """Return a row per pair of methods over all tasks, and one per pair and task."""
    entries: list[dict[str, Any]] = []
    for pair in pairs:
        named = {"method": pair.first, "against": pair.second, "at": pair.at}
        entry: dict[str, Any] = named | {"task": "all"}
        for name in ("better", "evaluations", "evaluations_median"):
            names = (name, f"{name}_low", f"{name}_high")
            entry |= dict(zip(names, astuple(getattr(pair, name)), strict=True))
        entries.append(entry)
        entries += [
            named | {"task": task, "better": better, "evaluations": evaluations}
            for task, (better, evaluations) in pair.by_task.items()
        ]
    return pd.DataFrame(entries)


def summary(
    curves: Curves,
    pairs: Sequence[Comparison],
    levels: pd.DataFrame,
    tasks: pd.DataFrame,
    budget: int,
    axis: str,
    at: int,
) -> list[str]:
    """Return the lines of the summary in Markdown."""
    order, unit, points = list(levels["method"]), UNITS[axis], checkpoints(budget)
    against = [method for method in order if any(pair.second == method for pair in pairs)]
    lines = [
        f"# Search quality at a budget of {budget}",
        "",
        "Normalised regret of the genome that a method recommends: 0 is the best known, 1 about a random draw; mean "
        "over tasks of means over paired seeds. Brackets: 95 % bootstrap intervals over tasks and seeds.",
        "",
        "Tasks (seeds): " + ", ".join(f"{task} ({runs.shape[1]})" for task, runs in curves.items()) + ".",
        "",
        f"## Mean regret after so many {unit}",
        "",
    ]
    rows = []
    for _, entry in levels.iterrows():
        cells = [bracketed(entry[f"regret_at_{n}"], entry[f"low_at_{n}"], entry[f"high_at_{n}"]) for n in points]
        times = [f"{entry['seconds_a_proposal']:.3f}", f"{entry['seconds_a_proposal_last_ten']:.3f}"]
        rows.append([entry["method"], *cells, *times])
    lines += table(["method", *(f"{point}" for point in points), "seconds per proposal", "of the last ten"], rows)
    found = {(pair.first, pair.second): pair for pair in pairs}
    after = f"{unit[0].upper()}{unit[1:]} after which the row's method is where the column's is at {at}"
    for title, part, digits in (
        (f"Probability that the row's method is better than the column's at {at}", "better", 2),
        (f"{after}: mean regret over tasks", "evaluations", 0),
        (f"{after}: median over tasks", "evaluations_median", 0),
    ):
        rows = []
        for first in order:
            cells = [
                getattr(found[first, second], part).text(digits) if (first, second) in found else ""
                for second in against
            ]
            rows.append([first, *cells])
        lines += [f"## {title}", "", *table(["", *against], rows)]
    lines += ["A dash: not reached within the budget.", "", f"## Mean regret at {budget}, task by task", ""]
    cell = tasks.set_index(["method", "task"])
    rows = []
    for method in order:
        entries = [cell.loc[(method, task)] for task in curves]
        rows.append([method, *(bracketed(entry["regret"], entry["low"], entry["high"]) for entry in entries)])
    return [*lines, *table(["method", *curves], rows)]


def bracketed(value: float, low: float, high: float) -> str:
    """Return a regret with its interval as text."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def versions(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a line of the versions that the runs report."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, version in row["versions"].items():
            found.setdefault(name, set()).add(version)
    named = ", ".join(f"{name} {'/'.join(sorted(known))}" for name, known in sorted(found.items()))
    return f"Versions: {named}; Python {platform.python_version()}."


def draw(methods: Sequence[str], curves: Curves, file: Path, unit: str) -> None:
    """Draw the anytime curves of all tasks together and of each; line styles distinguish methods in grey, too."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    from evo.reports.style import plain_log_axis

    mean_levels = levels(curves.values())
    order = list(np.argsort(mean_levels[:, -1]))
    panels = [None, *curves] if len(curves) > 1 else list(curves)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(max(6.5, 4.6 * columns), 3.4 * lines + 0.8), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(order)))
    trainings = np.arange(1, mean_levels.shape[1] + 1)
    for panel, axis in zip(panels, axes.flat, strict=False):
        for rank, number in enumerate(order):
            mean = np.maximum(mean_levels[number], FLOOR)
            if panel is not None:
                mean, low, high = (np.maximum(part, FLOOR) for part in band(curves[panel][number], draws=300))
                axis.fill_between(trainings, low, high, color=colours[rank], alpha=0.12, linewidth=0)
            axis.plot(
                trainings,
                mean,
                # Neighbours in the order differ in line, marker and lightness.
                linestyle=LINES[rank % len(LINES)],
                marker=MARKERS[(rank + rank // len(LINES)) % len(MARKERS)],
                markevery=max(1, len(trainings) // 8),
                markersize=4,
                color=colours[rank],
                label=methods[number],
            )
        axis.set_title("mean over tasks" if panel is None else panel, fontsize=10)
        axis.set_xlabel(unit, fontsize=8)
        axis.set_ylabel("normalised regret", fontsize=8)
        plain_log_axis(axis, "y")
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(file, dpi=110)
