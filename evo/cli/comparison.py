"""Prints what `evo compare` found: genomes, groups of runs, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.markup import escape

from evo.cli.terminal import SELECTED_ON_TEST, plain_table
from evo.display.progress import genome_text
from evo.loop.finished import is_finished
from evo.record.run import Run
from evo.reports.comparison import GROUP_COLUMNS, Comparison, genome_cells, group_cells, names_of
from evo.reports.run_groups import Grouping

GENOME_COLUMN_FROM = 110
"""From this many columns, the table has a column for genomes; in fewer, they go below the table."""
TEXTS = {"run", "genome", "group"}
"""Columns that are aligned to the left; the others hold numbers."""


def print_comparison(runs: Sequence[Run], comparison: Comparison, console: Console) -> None:
    """Print a comparison; genomes are in a column if the terminal is wide enough, else on lines of their own."""
    by_name = dict(zip(names_of(runs), runs, strict=True))
    _print_genomes(by_name, comparison.table, console)
    for name, run in by_name.items():
        if not run.ranked():
            console.print(f"{name}: no training is complete; see evaluations.csv for the reasons", markup=False)
        elif not is_finished(run):
            console.print(
                f"{name}: not finished{_winner_text(run)}; to continue it:  {run.command('resume')}", markup=False
            )
        elif run.ended_early:
            console.print(f"{name}: its search was ended early; to continue it:  {run.command('resume')}", markup=False)
        _print_without_result(name, run, console)
    if len({str(variant) for variant in comparison.table["dataset"]}) > 1:
        console.print("These runs are on different data: their accuracies cannot be compared.", style="bold yellow")
    measured, before, gap = "new seeds", "", ""
    if _tested(comparison.table):
        measured, before, gap = "test", " before the test set was read", " gap: the search's accuracy minus test."
    console.print(
        f"* the winner, named by the mean over new seeds{before}. {measured}: mean and 95 % interval (Student's t) "
        f"over n trainings on new seeds.{gap} trainings, seconds: of the search.",
        style="dim",
    )
    if selected := [name for name, run in by_name.items() if run.settings.fitness == "test"]:
        console.print(f"{', '.join(selected)}: {SELECTED_ON_TEST}", style="bold yellow", markup=False)
    _print_groups(comparison.grouping, console)


def _print_without_result(name: str, run: Run, console: Console) -> None:
    """Print how many evaluations of a search failed, and how many configurations were not allowed."""
    counts = {what: sum(getattr(one, what) for one in run.search_evaluations) for what in ("failed", "infeasible")}
    if parts := [f"{count} {what}" for what, count in counts.items() if count]:
        console.print(f"{name}: {', '.join(parts)} of {run.trainings}", markup=False, style="dim")


def _winner_text(run: Run) -> str:
    """Return which winner an unfinished run has, as the end of a clause."""
    if run.winner is not None:
        return ", so its winner is that of the shorter search"
    return ", so no winner yet" if run.settings.finalists and run.settings.retrainable else ""


def _print_genomes(runs: Mapping[str, Run], table: pd.DataFrame, console: Console) -> None:
    wide = console.width >= GENOME_COLUMN_FROM
    fitness = "validation" if any(run.settings.objective is None for run in runs.values()) else "fitness"
    measured = ("test", "n", "gap") if _tested(table) else ("new seeds",)
    more = ["fitness"] if any(run.settings.measure != "accuracy" for run in runs.values()) else []
    columns = ["run", "#", *(["genome"] if wide else []), *more, fitness, *measured]
    columns += ["trainings", "seconds"] if wide else []
    view = plain_table(*columns, numbers=set(columns) - TEXTS)
    genomes = {}
    for row in table.to_dict("records"):
        cells = genome_cells(row)
        genomes[row["run"], row["individual"]] = genome = genome_text(runs[row["run"]], row["individual"])
        cells |= {"#": f"{row['individual']}{'*' if row['winner'] else ''}", "genome": genome}
        view.add_row(*(escape(cells[column]) for column in columns))
    console.print(view)
    if wide:
        return
    for (name, individual), genome in genomes.items():
        console.print(f"{name} #{individual}: {genome}", markup=False)
    for name, run in runs.items():
        seconds = sum(evaluation.seconds for evaluation in run.search_evaluations)
        console.print(f"{name}: {run.trainings} trainings, {seconds:.1f} s", markup=False)


def _print_groups(grouping: Grouping, console: Console) -> None:
    if grouping.pairs or any(len(group.runs) > 1 for group in grouping.groups):
        view = plain_table(*GROUP_COLUMNS, numbers=set(GROUP_COLUMNS) - TEXTS)
        for group in grouping.groups:
            view.add_row(*map(escape, group_cells(group)))
        console.print()
        console.print(view)
    for pair in grouping.pairs:
        console.print(pair.sentence, markup=False)
    for note in grouping.notes:
        console.print(note, style="dim", markup=False)


def _tested(table: pd.DataFrame) -> bool:
    """Return whether any genome was measured on the test set after the search."""
    return bool(table["test_accuracy"].notna().any())
