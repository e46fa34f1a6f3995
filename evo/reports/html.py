"""The report of searches: one HTML file that needs no other, and its figures as PNG and SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from evo.record.run import Run
from evo.reports.comparison import comparison_table, names_of
from evo.reports.figures import figures_of_search
from evo.reports.page import Block, Picture, Section, Text, table_of, write_page
from evo.reports.progress_figures import progress_figure
from evo.reports.search_data import SearchData
from evo.reports.search_sections import search_sections
from evo.reports.style import save_figure, svg_for_page

ROWS = 3000
"""Most evaluations that a page lists, of all its runs: about a megabyte."""
COMPARISON = (
    "The best genomes of each run. Test accuracy: mean over n trainings on new seeds, low and high its 95 % interval. "
    "Gap: the search's accuracy less test accuracy."
)
FIRST = ["run", "individual", "winner", "validation_accuracy", "test_accuracy", "test_low", "test_high", "n", "gap"]


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
    winners = {row["run"]: row for row in reversed(comparison.to_dict("records"))}
    names = ", ".join(entry.name for entry in data)
    sections = []
    progress = picture(folder, "progress", f"Progress: {names}", progress_figure.__doc__, progress_figure(data))
    for number, entry in enumerate(data, start=1):
        suffix = f"-{number}" if len(data) > 1 else ""
        pictures: dict[str, list[Block]] = defaultdict(list, {} if suffix else {"Progress": [progress]})
        for name, plot, figure in figures_of_search(entry):
            title, caption = f"{plot.title}: {entry.name}", plot.draw.__doc__
            pictures[plot.heading].append(picture(folder, f"{name}{suffix}", title, caption, figure))
        found = search_sections(entry, pictures, winners.get(entry.name), ROWS // len(data))
        sections += [Section(entry.name, sections=found)] if suffix else found
    if len(data) > 1:
        blocks: list[Block] = [table_of(_side_by_side(data, winners), "Runs side by side"), progress, Text(COMPARISON)]
        ordered = comparison[[*FIRST, *comparison.columns.difference(FIRST, sort=False)]]
        sections.insert(0, Section("Side by side", [*blocks, table_of(ordered, "Best genomes of all runs")]))
    return write_page(folder / "report.html", f"Report of {names}", sections)


def picture(folder: Path, name: str, title: str, caption: str | None, figure: Figure) -> Picture:
    """Write a figure into the folder `figures` of a report and return it for the page; a docstring can be a caption."""
    svg = save_figure(figure, folder / "figures" / name)
    return Picture(title, " ".join((caption or "").split()), svg_for_page(svg))


def _side_by_side(data: Sequence[SearchData], winners: Mapping[str, Mapping[Any, Any]]) -> pd.DataFrame:
    """Return one row per run: its winner, what that scored, and what the search cost.

    Args:
        data: The searches.
        winners: Rows of the comparison by run; those of runs without a complete evaluation are missing.
    """
    columns = ["individual", "fitness", "retrained_fitness", "test_accuracy", "test_low", "test_high", "n", "gap"]
    return pd.DataFrame(
        {"run": entry.name, "strategy": entry.settings.strategy}
        | {name: winners.get(entry.name, {}).get(name) for name in columns}
        | {"evaluations": len(entry.evaluations), "failures": len(entry.failed)}
        | ({"infeasible": len(entry.infeasible)} if any(len(one.infeasible) for one in data) else {})
        | {"seconds": entry.seconds}
        for entry in data
    )
