"""The report of searches: one HTML file that needs nothing else, and its figures as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd

from evo.files import write_text
from evo.record.run import Run
from evo.reports.captions import COMPARISON
from evo.reports.comparison import comparison_table, names_of
from evo.reports.figures import importance_of_run
from evo.reports.page import Block, Picture, Section, Table, Text, bytes_of_rows, page_text
from evo.reports.progress_figures import progress_figure
from evo.reports.search_data import SearchData
from evo.reports.search_sections import drawn, picture, search_sections, shown_evaluations
from evo.reports.style import make_figures_folder, save_figure
from evo.reports.summary import side_by_side

PAGE_BYTES = 4_900_000
"""Most that a page has."""
PICTURE_BYTES = 2_700_000
"""Most of that for figures; those that find no room are in figures/ alone."""
OTHER_BYTES = 200_000
"""What the page has beside figures and tables of all evaluations, for each run."""


def write_report(runs: Sequence[Run], folder: Path) -> Path:
    """Write report.html and figures/ of searches to a folder.

    Args:
        runs: One run, or several side by side.
        folder: Where to; for one run usually its own folder.

    Returns:
        The path of the HTML file.

    Raises:
        RunError: The folder of the figures is a link.
        StorageError: It cannot be written.
    """
    data = [SearchData(name, run) for name, run in zip(names_of(runs), runs, strict=True)]
    comparison = comparison_table(runs)
    winners = _winners(comparison)
    make_figures_folder(folder)
    svg = save_figure(progress_figure(data), folder / "figures" / "progress")
    progress = picture("progress", "progress", ", ".join(entry.name for entry in data), svg)
    room = (PICTURE_BYTES - len(progress.svg)) // len(data)
    sections = []
    for number, entry in enumerate(data, start=1):
        importance = importance_of_run(entry)
        suffix = f"-{number}" if len(data) > 1 else ""
        pictures = fitting(drawn(entry, importance, (folder / "figures").joinpath, suffix), room)
        used = len(progress.svg) // len(data) + sum(len(shown.svg) for shown in pictures.values())
        rows = _rows_that_fit(entry, PAGE_BYTES // len(data) - used - OTHER_BYTES)
        if len(data) == 1:
            pictures["progress"] = progress
        found = list(search_sections(entry, pictures, importance, winners.get(entry.name), rows))
        sections += found if len(data) == 1 else [Section(entry.name, sections=found)]
    if len(data) > 1:
        sections.insert(0, Section("Side by side", _side_by_side(comparison, data, winners, progress)))
    path = folder / "report.html"
    write_text(path, page_text("Report of " + ", ".join(entry.name for entry in data), sections))
    return path


def fitting(pictures: Mapping[str, Picture], room: int) -> dict[str, Picture]:
    """Return pictures for a page; those that would make it too large without their data.

    Args:
        pictures: By name, the most important first.
        room: Bytes for all of them.
    """
    fit: dict[str, Picture] = {}
    for name, shown in pictures.items():
        fits = len(shown.svg) <= room
        fit[name] = shown if fits else replace(shown, svg="")
        room -= len(shown.svg) if fits else 0
    return fit


def _rows_that_fit(data: SearchData, room: int) -> int:
    """Return how many evaluations a page has room for."""
    return sum(size <= room for size in accumulate(bytes_of_rows(shown_evaluations(data))))


def _winners(comparison: pd.DataFrame) -> dict[str, Mapping[Any, Any]]:
    """Return the first row of the comparison of each run that has one, by the run's name."""
    winners: dict[str, Mapping[Any, Any]] = {}
    for row in comparison.to_dict("records"):
        winners.setdefault(row["run"], row)
    return winners


def _side_by_side(
    comparison: pd.DataFrame,
    data: Sequence[SearchData],
    winners: Mapping[str, Mapping[Any, Any]],
    progress: Picture,
) -> list[Block]:
    columns = [
        "run",
        "individual",
        "winner",
        "validation_accuracy",
        "test_accuracy",
        "test_low",
        "test_high",
        "n",
        "gap",
    ]
    ordered = comparison[[*columns, *comparison.columns.difference(columns, sort=False)]]
    return [
        Table(side_by_side(data, winners), "Runs side by side"),
        progress,
        Text(COMPARISON),
        Table(ordered, "Best genomes of all runs"),
    ]
