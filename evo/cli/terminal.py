"""The consoles of stdout and stderr, and what commands print there: Table 1 and search spaces."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Collection

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evo.errors import SearchError, listed
from evo.record.run import Run
from evo.record.settings import FINALIST_SEEDS, FINALISTS
from evo.space import SearchSpace
from evo.space.conditions import condition_text
from evo.space.training_settings import ALWAYS_SHOWN

WIDE = 200
"""Columns of a table that is not printed on a terminal: wide enough for everything."""
SELECTED_ON_TEST = "Fitness is TEST accuracy (--fitness test): the test set chose these genomes and cannot judge them."


def output_console() -> Console:
    """Return the console of stdout."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, emoji=False)


def error_console() -> Console:
    """Return the console of stderr."""
    return Console(stderr=True, highlight=False, emoji=False)


def plain_table(*headings: str, numbers: Collection[str] = (), title: str | None = None) -> Table:
    """Return a table without a frame; columns of numbers are aligned to the right and never folded."""
    view = Table(show_edge=False, pad_edge=False, title=title, title_justify="left")
    for heading in headings:
        number = heading in numbers
        view.add_column(heading, justify="right" if number else "left", overflow="fold", no_wrap=number)
    return view


def print_table1(run: Run) -> None:
    """Print the reproduction of Table 1: the report's accuracies beside ours, measured both ways."""
    from evo.report2019.table import HEADINGS, accuracy_rows, table1_table

    console, table = output_console(), table1_table(run)
    shown = {place: name for place, name in enumerate(HEADINGS) if "median" not in name}
    for part in ("test", "train"):
        heads = [name.removesuffix(": last step").removesuffix(" (percentage points)") for name in shown.values()]
        view = plain_table(*heads, numbers=heads[1:], title=f"{part.capitalize()} accuracy (%)")
        for cells in accuracy_rows(run, table, part):
            view.add_row(*(escape(cells[place]) for place in shown))
        for column in view.columns:
            column.no_wrap = False  # else a narrow terminal has no room for the rows' names
        console.print(view, "")
    console.print(
        "as reported: in training mode, train on the last minibatch. evaluation mode: train on all images. Mean ± "
        "standard deviation over n seeds after the last step; difference in percentage points, and the tolerance.",
        style="dim",
    )
    check_complete(run)
    console.print(
        f"Results: {run.shown_path}/table1.html, table1.csv, table1.md, figures/", markup=False, soft_wrap=True
    )


def check_complete(run: Run) -> None:
    """Check that a run has a result.

    Raises:
        SearchError: It has none; with the causes of its failures, the most frequent first.
    """
    if run.ranked():
        return
    reasons = Counter(f"{evaluation.status}: {evaluation.error}" for evaluation in run.search_evaluations)
    heading = f"none of {run.trainings} trainings was complete (all rows: {run.shown_path}/evaluations.csv):"
    raise SearchError(listed([f"{count} × {reason}" for reason, count in reasons.most_common(5)], heading))


def print_spaces() -> None:
    """Print the shipped search spaces."""
    import tomllib

    from evo.space.file import shipped_spaces

    console = output_console()
    view = plain_table("space", "model", "dataset", "description")
    for name, file in shipped_spaces().items():
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        view.add_row(name, values.get("model", ""), values.get("dataset", ""), values.get("description", ""))
    console.print(view)
    console.print(
        "evo check SPACE shows one; evo search SPACE searches it; evo spaces --show SPACE prints its file.", style="dim"
    )


def print_space(space: SearchSpace) -> None:
    """Print the genes of a search space, its fixed settings, and what a search does by default."""
    from evo.strategies import DEFAULT_STRATEGY, make_strategy

    console = output_console()
    view = plain_table("gene", "kind", "values", "active")
    for name, gene in space.genes.items():
        condition = condition_text(gene.when)
        cells = (name, gene.type, gene.describe(), f"if {condition}" if condition else "always")
        view.add_row(*map(escape, cells))
    data = space.dataset or "no dataset"
    console.print(f"{space.name}: {space.model or 'no model'} on {data}; it is valid.", markup=False)
    console.print(view)
    points = f"{space.points:,.0f}" if math.isfinite(space.points) else "infinitely many"
    console.print(f"points: {points}. training: {_training_text(space)}.", markup=False)
    search, name = space.search, space.search.strategy or DEFAULT_STRATEGY
    sizes = {"population": search.population, "budget": search.budget, "generations": search.generations}
    algorithm = make_strategy(name, space, **sizes)
    size, limit = algorithm.population_size, algorithm.limit
    console.print(f"by default: {name}, population {size}, {limit} trainings.", markup=False)
    console.print(_estimate_text(space, limit), markup=False)


def _training_text(space: SearchSpace) -> str:
    """Return the settings that no gene decides: two that are always shown, and those that differ from the defaults."""
    usual = type(space.training)()
    decided = {name for name, gene in space.genes.items() if gene.when is None}
    fixed = {
        name: value
        for name, value in space.training.model_dump(exclude_none=True).items()
        if name not in decided and (name in ALWAYS_SHOWN or value != getattr(usual, name))
    }
    return ", ".join(f"{name} {value}" for name, value in fixed.items())


def _estimate_text(space: SearchSpace, trainings: int) -> str:
    from evo.loop.cost import estimate

    found = estimate(space)
    if found is None:
        return "estimate: none before model, dataset (cifar10 or digits), steps and batch size are known."
    finalists = FINALIST_SEEDS * (FINALISTS if space.search.finalists is None else space.search.finalists)
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
