"""Writes the report for any kind of run: searches, listed trainings, or the 2019 report's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evo.errors import ConfigurationError
from evo.record.run import Run
from evo.record.settings import LISTED
from evo.reports.html import write_report


def write_any_report(runs: Sequence[Run], output: Path | None) -> list[Path]:
    """Write the report of runs.

    Args:
        runs: Searches, which share one page, or trainings and reproductions of Table 1, which have a page each.
        output: The folder of the page; None for the folder of the (first) run.

    Returns:
        The HTML files.

    Raises:
        ConfigurationError: Searches are mixed with others, or there is an output folder for pages that belong in the
            folder of each run.
    """
    listed = [run for run in runs if run.settings.strategy == LISTED]
    if not listed:
        return [write_report(runs, output or runs[0].folder)]
    from evo.report2019.table1 import NAME  # here: it imports torch, which the report of a search does not need

    if len(listed) < len(runs):
        names = ", ".join(run.name for run in listed)
        raise ConfigurationError(f"report: {names}: not a search; report it separately from the searches")
    tables = [run for run in listed if run.settings.space_name == NAME]
    if output is not None and (len(listed) > 1 or tables):
        raise ConfigurationError(
            f"--output {output}: {', '.join(run.name for run in tables or listed)}: the pages of `evo table1` and of "
            "several trainings are written to their own folders; remove --output"
        )
    return [_page_of(run, output) for run in listed]


def _page_of(run: Run, output: Path | None) -> Path:
    from evo.report2019.page import write_table1
    from evo.report2019.reproduction import figure_runs
    from evo.report2019.table1 import NAME
    from evo.reports.training import write_training_page

    if run.settings.space_name == NAME:
        return write_table1(run, figure_runs(run.folder))
    return write_training_page(run, output or run.folder)
