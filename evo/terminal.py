"""What commands print on stdout: results, comparisons, search spaces."""

from __future__ import annotations

import math
import shlex
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evo.errors import SearchError, listed
from evo.progress import genome_text, model_option, short
from evo.reports.comparison import comparison_table, names_of
from evo.run import FIRST_FINALIST_REPLICATE, Run
from evo.settings import FINALIST_SEEDS, FINALISTS
from evo.space import SearchSpace

if TYPE_CHECKING:
    import pandas as pd

    from evo.replay import Replay

GENOME_COLUMN_FROM = 100
"""Columns that a terminal needs for the genome to stand in the table rather than below it."""
WIDE = 200
"""Columns of a table that no terminal shows: wide enough that nothing is cut off."""
SELECTED_ON_TEST = (
    "Fitness is TEST accuracy (--fitness test): the test set chose these genomes, so it no longer judges them."
)


def output_console() -> Console:
    """Return the console of stdout."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def error_console() -> Console:
    """Return the console of stderr."""
    return Console(stderr=True, highlight=False)


def print_result(run: Run) -> None:
    """Print the best genome of a finished run, where its results are, and what to do next."""
    console = output_console()
    if not run.ranked():
        raise SearchError(_nothing_complete(run))
    failed = sum(1 for evaluation in run.search_evaluations if not evaluation.complete)
    failures = f", {failed} of them failed" if failed else ""
    console.print(f"[bold]Best of {len(run.search_evaluations)} trainings[/bold]{failures} (individual {run.best.id}):")
    for name, value in run.best.config.items():
        console.print(f"  {name:<16} {short(run.space.genes[name].to_text(value))}", markup=False)
    row = next(row for row in comparison_table([run]).to_dict("records") if row["individual"] == run.best.id)
    label = "fitness" if run.settings.objective is not None else f"{run.settings.fitness} accuracy"
    console.print(f"  {label + ' in the search':<34} {run.best.fitness:.4f}", markup=False)
    if run.finalists and not _missing(row["retrained_fitness"]):
        console.print(f"  {label + ' on new seeds':<34} {row['retrained_fitness']:.4f}", markup=False)
    if row["n"] and run.settings.fitness == "validation":
        console.print(f"  {'test accuracy on new seeds':<34} {_mean_and_deviation(row)}", markup=False)
    if run.settings.fitness == "test":
        console.print(SELECTED_ON_TEST, style="bold yellow")
    seconds = sum(evaluation.seconds for evaluation in run.evaluations.values())
    console.print(f"  {'seconds of training in all':<34} {seconds:.1f}", markup=False)
    if run.path is not None:
        folder, model = shlex.quote(str(run.path)), model_option(run.settings)
        files = ["evaluations.csv", "hall_of_fame.csv", *(["finalists.csv"] if run.finalists else []), "…"]
        console.print(f"\nResults: {run.path}/{', '.join(files)}", markup=False, soft_wrap=True)
        console.print("Next:")
        for command, purpose in (
            (f"evo compare {folder}", "the best genomes, validation and test side by side"),
            (
                f"evo resume {folder} --budget {2 * len(run.search_evaluations)}{model}",
                "go on with twice the trainings",
            ),
            (f"evo replay {folder} {run.best.id}{model}", "train the best again and compare"),
        ):
            console.print(f"  {escape(command)}   [dim]# {purpose}[/dim]", soft_wrap=True)


def print_trainings(run: Run) -> None:
    """Print what listed configurations have reached, mean and deviation over their seeds, and where it is."""
    console = output_console()
    part = run.settings.fitness
    for individual in run.individuals:
        evaluations = [e for e in run.search_evaluations if e.individual == individual.id]
        complete = [evaluation for evaluation in evaluations if evaluation.complete]
        console.print(f"[bold]{escape(genome_text(run, individual.id))}[/bold]")
        for evaluation in evaluations:
            if not evaluation.complete:
                reason = f"{evaluation.status}: {evaluation.error}"
                console.print(f"  seed {evaluation.replicate + 1}: {reason}", style="yellow", markup=False)
        for label, values in (
            (f"{part} accuracy", [e.fitness for e in complete]),
            ("train accuracy", [e.train_accuracy for e in complete]),
            (f"{part} loss", [e.loss for e in complete]),
            ("seconds of training", [e.seconds for e in complete]),
        ):
            known = [value for value in values if value is not None]
            if known:
                console.print(f"  {label:<34} {_spread(known)}", markup=False)
    if not run.ranked():
        raise SearchError(_nothing_complete(run))
    folder, model = shlex.quote(str(run.path)), model_option(run.settings)
    console.print(f"\nResults: {run.path}/evaluations.csv, curves.csv, figures/", markup=False, soft_wrap=True)
    more = f"evo resume {folder} --seeds {min(run.settings.seeds + 2, FIRST_FINALIST_REPLICATE - 1)}{model}"
    console.print(f"Next:\n  {escape(more)}   [dim]# train on more seeds[/dim]", soft_wrap=True)


def print_table1(run: Run) -> None:
    """Print the reproduction of Table 1: the report's accuracies beside ours, measured in both ways."""
    from evo.reports.table1 import table1_table

    console = output_console()
    table = table1_table(run)
    for part in ("test", "train"):
        view = Table(show_edge=False, pad_edge=False, title=f"{part.capitalize()} accuracy", title_justify="left")
        view.add_column("row", overflow="fold")
        for heading in ("report", "as reported", "difference", "evaluation mode", "n"):
            view.add_column(heading, justify="right")
        rows = table[(table["part"] == part) & (table["point"] == "last step")]
        for name in rows["row"].unique():
            both = {row["measurement"]: row for row in rows[rows["row"] == name].to_dict("records")}
            reported, evaluation = both["as reported"], both["evaluation mode"]
            view.add_row(
                escape(name),
                f"{reported['report']:.1%}",
                _percent(reported),
                "" if _missing(reported["difference"]) else f"{100 * reported['difference']:+.1f}",
                _percent(evaluation),
                str(reported["n"]),
            )
        console.print(view)
        console.print()
    console.print(
        "as reported: without leaving training mode, train on the last minibatch. evaluation mode: train on all "
        "images. Mean ± standard deviation over n seeds after the last step; difference in percentage points.",
        style="dim",
    )
    if not run.ranked():
        raise SearchError(_nothing_complete(run))
    console.print(f"Results: {run.path}/table1.html, table1.csv, table1.md, figures/", markup=False, soft_wrap=True)


def _nothing_complete(run: Run) -> str:
    reasons = Counter(f"{evaluation.status}: {evaluation.error}" for evaluation in run.search_evaluations)
    heading = f"none of {len(run.search_evaluations)} trainings was complete (all rows: {run.path}/evaluations.csv):"
    return listed([f"{count} × {reason}" for reason, count in reasons.most_common(5)], heading)


def print_comparison(runs: Sequence[Run], table: pd.DataFrame) -> None:
    """Print the rows of a comparison table, the genome in one column so that narrow terminals show it."""
    console = output_console()
    view = Table(show_edge=False, pad_edge=False)
    wide = console.width >= GENOME_COLUMN_FROM
    for heading in ("run", "#", *(["genome"] if wide else []), "validation", "test", "n", "gap"):
        number = heading in ("#", "validation", "test", "n", "gap")
        view.add_column(heading, justify="right" if number else "left", overflow="fold", no_wrap=number)
    by_name = dict(zip(names_of(runs), runs, strict=True))
    for row in table.to_dict("records"):
        run = by_name[row["run"]]
        validation = row["validation_accuracy"] if run.settings.objective is None else row["fitness"]
        view.add_row(
            escape(str(row["run"])),
            f"{row['individual']}{'*' if row['winner'] else ''}",
            *([escape(genome_text(run, row["individual"]))] if wide else []),
            _number(validation),
            _mean_and_deviation(row),
            str(row["n"]),
            _number(row["gap"]),
        )
    console.print(view)
    if not wide:
        for row in table.to_dict("records"):
            genome = genome_text(by_name[row["run"]], row["individual"])
            console.print(f"{row['run']} #{row['individual']}: {genome}", markup=False)
    for name, run in by_name.items():
        if not run.ranked():
            console.print(f"{name}: no training is complete; see evaluations.csv for the reasons", markup=False)
        elif run.winner is None and run.settings.finalists and run.settings.retrainable:
            console.print(f"{name}: not finished, so no winner yet; evo resume goes on with it", markup=False)
    if len({str(variant) for variant in table["dataset"]}) > 1:
        console.print("These runs are on different data: their accuracies do not compare.", style="bold yellow")
    console.print(
        "* the winner, named by the mean over new seeds before the test set was read. "
        "test: mean ± standard deviation over n trainings on new seeds. gap: the search's accuracy minus test.",
        style="dim",
    )
    if any(run.settings.fitness == "test" for run in runs):
        names = ", ".join(name for name, run in by_name.items() if run.settings.fitness == "test")
        console.print(f"{names}: {SELECTED_ON_TEST}", style="bold yellow", markup=False)


def print_replay(replay: Replay) -> None:
    """Print what was recorded and what came out now."""
    console = output_console()
    recorded, again = replay.recorded, replay.again
    console.print(f"individual {recorded.individual}, seed {recorded.seed}, {again.engine}, {again.precision}")
    console.print(
        f"  recorded: {recorded.status}, fitness {recorded.fitness}, loss {recorded.loss}, {recorded.seconds:.1f} s"
    )
    console.print(f"  again:    {again.status}, fitness {again.fitness}, loss {again.loss}, {again.seconds:.1f} s")
    if again.error:
        console.print(f"  {again.error}", markup=False)
    console.print("the same, to the last bit" if replay.same else "NOT the same")


def print_spaces() -> None:
    """Print the shipped search spaces."""
    import tomllib

    from evo.space_file import shipped_spaces

    console = output_console()
    view = Table(show_edge=False, pad_edge=False)
    for heading in ("space", "model", "dataset", "description"):
        view.add_column(heading, overflow="fold")
    for name, file in shipped_spaces().items():
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        view.add_row(name, values.get("model", ""), values.get("dataset", ""), values.get("description", ""))
    console.print(view)
    console.print("evo check SPACE shows one; evo search SPACE searches it.", style="dim")


def print_space(space: SearchSpace) -> None:
    """Print the genes of a search space, its fixed settings, and what a search does by default."""
    from evo.strategies import DEFAULT_STRATEGY, make_strategy

    console = output_console()
    view = Table(show_edge=False, pad_edge=False)
    for heading in ("gene", "kind", "values", "active"):
        view.add_column(heading, overflow="fold")
    for name, gene in space.genes.items():
        condition = " and ".join(f"{parent} = {wanted}" for parent, wanted in (gene.when or {}).items())
        cells = (name, type(gene).__name__.lower(), gene.describe(), f"if {condition}" if condition else "always")
        view.add_row(*map(escape, cells))
    console.print(
        f"{space.name}: {space.model or 'no model'} on {space.dataset or 'no dataset'}; it is valid.", markup=False
    )
    console.print(view)
    points = f"{space.points:,.0f}" if math.isfinite(space.points) else "infinitely many"
    settings = ", ".join(f"{name} {value}" for name, value in space.training.model_dump(exclude_none=True).items())
    console.print(f"points: {points}. training: {settings}.", markup=False)
    name = space.search.strategy or DEFAULT_STRATEGY
    defaults = space.search
    algorithm = make_strategy(
        name, space, population=defaults.population, budget=defaults.budget, generations=defaults.generations
    )
    console.print(
        f"by default: {name}, population {algorithm.population_size}, {algorithm.limit} trainings.", markup=False
    )
    console.print(_estimate_text(space, algorithm.limit), markup=False)


def _estimate_text(space: SearchSpace, trainings: int) -> str:
    from evo.estimate import estimate

    found = estimate(space)
    if found is None:
        return "estimate: none before model, dataset (cifar10 or digits), steps and batch size are known."
    wanted = space.search.finalists if space.search.finalists is not None else FINALISTS
    finalists = wanted * FINALIST_SEEDS
    source = f"fitted to {found.trainings} trainings on this machine" if found.trainings else "a guess"
    together = _time(found.total(trainings + finalists))
    return (
        f"estimate ({source}): a training takes {_time(found.mean)} on average, of 200 random genomes "
        f"{_time(found.longest)} at most; {trainings} of them and {finalists} of the finalists take {together} "
        f"with {found.cores} workers. Memory of a training beside the data: at most {found.memory / 1e6:.1f} MB."
    )


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.4f} (n = {len(values)})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{deviation}"


def _percent(row: Mapping[Any, Any]) -> str:
    if _missing(row["ours"]):
        return ""
    return f"{row['ours']:.1%}" + ("" if _missing(row["std"]) else f" ± {100 * row['std']:.1f}")


def _number(value: float | None) -> str:
    return "" if _missing(value) else f"{value:.4f}"


def _mean_and_deviation(row: Mapping[Any, Any]) -> str:
    if _missing(row["test_accuracy"]):
        return ""
    deviation = "" if _missing(row["test_std"]) else f" ± {row['test_std']:.4f}"
    return f"{row['test_accuracy']:.4f}{deviation}"


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
