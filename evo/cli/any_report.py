"""What depends on the kind of run (search, trainings, Table 1): its report, and what a command prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evo.errors import ConfigurationError
from evo.record.run import Run
from evo.record.settings import LISTED
from evo.report2019 import NAME


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
    from evo.reports.html import write_report
    from evo.reports.training import write_training_page

    listed = [run for run in runs if run.settings.strategy == LISTED]
    if not listed:
        return [write_report(runs, output or runs[0].folder)]
    if len(listed) < len(runs):
        names = ", ".join(run.name for run in listed)
        raise ConfigurationError(f"report: {names}: not a search; report it separately from the searches")
    tables = [run for run in listed if run.settings.space_name == NAME]
    if output is not None and (len(listed) > 1 or tables):
        raise ConfigurationError(
            f"--output {output}: {', '.join(run.name for run in tables or listed)}: the pages of `evo table1` and of "
            "several trainings are written to their own folders; remove --output"
        )
    from evo.report2019.page import write_table1  # here: it imports torch, which the report of a search does not need

    return [write_table1(run) if run in tables else write_training_page(run, output or run.folder) for run in listed]


def show_result(run: Run, *, write_figures: bool = False) -> None:
    """Print what a finished run has found; if asked, first write the figures of a run that searched nothing."""
    from evo.cli.result import print_result, print_trainings
    from evo.cli.terminal import print_table1

    if run.settings.strategy != LISTED:
        print_result(run)
        return
    from evo.report2019.page import write_table1
    from evo.reports.training import write_training

    write, show = (write_table1, print_table1) if run.settings.space_name == NAME else (write_training, print_trainings)
    if write_figures:
        write(run)
    show(run)
