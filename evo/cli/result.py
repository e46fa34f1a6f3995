"""Prints a finished run: its best genome, what that is worth, what it cost, and what to do next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from evo.cli.terminal import SELECTED_ON_TEST, check_complete, output_console
from evo.display.progress import duration, genome_text, noun_of, printable, short
from evo.evaluation import Evaluation, replicate_number
from evo.individual import genome_key
from evo.loop.finished import total_of
from evo.numbers import number_text
from evo.record.front import has_front
from evo.record.new_seeds import on_new_seeds
from evo.record.run import Run
from evo.reports.bounds import bounds_text
from evo.reports.statistics import mean_estimate

LABEL_WIDTH = 34
STACKED_BELOW = 72
"""In fewer columns, labels are only as wide as the longest of them."""
WIDEST = 100
CAUSES = 5
"""Causes of failure that are shown, the most frequent first."""

Rows: TypeAlias = list[tuple[str, str]]
"""Labels with their values."""
Section: TypeAlias = tuple[str, Rows]
"""A heading, which may be empty, with the rows below it."""


def print_result(run: Run, console: Console | None = None) -> None:
    """Print the best genome of a finished run, what it cost, where its results are, and what to do next.

    Args:
        run: A finished run.
        console: Where to print; by default stdout.

    Raises:
        SearchError: No training was complete.
    """
    check_complete(run)
    console = console or output_console()
    best = run.best
    genes = [(name, printable(short(run.space.genes[name], value))) for name, value in best.config.items()]
    title = f"Best of {run.trainings} {noun_of(run)}"
    worth, interval = _worth(run)
    _print_box(console, title, [("", [("individual", str(best.id)), *genes]), ("", worth), ("", _cost(run))], interval)
    if run.settings.fitness == "test":
        console.print(SELECTED_ON_TEST, style="bold yellow")
    if bounds := bounds_text(run):
        console.print(bounds, markup=False, soft_wrap=True)
    exhausted = _nothing_new_left(run)
    if exhausted:
        console.print("Nothing new is left to try in the search space.")
    files = ["evaluations.csv", "hall_of_fame.csv", *(["finalists.csv"] if run.finalists else [])]
    files += [*(["front.csv"] if has_front(run) else []), "…"]
    commands = {
        run.command("compare"): "the best genomes, validation and test side by side",
        run.command("report"): "figures and tables of the whole search, as one page",
    }
    if run.ended_early:
        commands[run.command("resume")] = f"continue the search: {run.trainings} of {total_of(run)} {noun_of(run)}"
    elif not exhausted:
        twice = run.command("resume", budget=2 * (len(run.counted_proposals) - len(run.settings.earlier)))
        commands[twice] = f"resume with twice the {noun_of(run)}"
    if run.settings.objective is None:
        commands[run.command("replay", str(best.id))] = "train the best again and compare"
        commands[run.command("export", output="best.toml")] = "a file of it, for evo train --config"
    _print_next(console, run, files, commands)


def print_trainings(run: Run, console: Console | None = None) -> None:
    """Print the results of listed configurations, mean and interval over their seeds, and where to find them.

    Args:
        run: A finished run.
        console: Where to print; by default stdout.

    Raises:
        SearchError: No training was complete.
    """
    console = console or output_console()
    sections: list[Section] = []
    several = False
    for individual in run.individuals:
        evaluations = [e for e in run.search_evaluations if e.individual == individual.id]
        complete = [evaluation for evaluation in evaluations if evaluation.complete]
        rows = [
            (f"seed {e.replicate + 1}", f"{e.status}: {printable(e.error)}")
            for e in evaluations
            if e.error or not e.complete  # a complete training may have a note, too
        ]
        for label, values, within in _measured(run, complete):
            known = [value for value in values if value is not None]
            several |= len(known) > 1
            if known:
                rows.append((label, mean_text(known, within)))
        sections.append((genome_text(run, individual.id), rows))
    sections.append(("", _cost(run)))
    count = len(run.search_evaluations)
    _print_box(console, f"{count} training{'s' if count > 1 else ''}", sections, several)
    check_complete(run)
    seeds = min(run.settings.seeds + 2, replicate_number("finalist") - 1)
    more = run.command("resume", seeds=seeds)
    _print_next(console, run, ["evaluations.csv", "curves.csv", "figures/"], {more: "train on more seeds"})


def _measured(run: Run, complete: Sequence[Evaluation]) -> list[tuple[str, list[float | None], tuple[float, float]]]:
    """Return the name, the values and the bounds of each measure of trainings."""
    settings = run.settings
    found: list[tuple[str, list[float | None], tuple[float, float]]] = [
        (f"{settings.fitness} accuracy", [e.accuracy for e in complete], (0.0, 1.0)),
        (settings.fitness_name, [e.fitness for e in complete], settings.fitness_bounds),
        ("train accuracy", [e.train_accuracy for e in complete], (0.0, 1.0)),
        (f"{settings.fitness} loss", [e.loss for e in complete], (0.0, math.inf)),
        ("seconds of training", [e.seconds for e in complete], (0.0, math.inf)),
    ]
    return [row for place, row in enumerate(found) if place != 1 or settings.measure != "accuracy"]


def _nothing_new_left(run: Run) -> bool:
    """Return whether a finished run has tried the whole space; a search that is done ends early for no other reason."""
    if run.ended_early or run.settings.closed:
        return False
    proposed = len(run.counted_proposals) - len(run.settings.earlier)
    if run.settings.generations is None and proposed < (run.settings.budget or 0):
        return True
    return len({genome_key(individual.genome) for individual in run.individuals}) >= run.space.points


def mean_text(values: Sequence[float], within: tuple[float, float]) -> str:
    """Return a mean with its 95 % interval and the number of values; a single value has no interval."""
    count = f" (n = {len(values)})" if len(values) > 1 else ""
    return mean_estimate(values, within).text() + count


def _test_problem(run: Run, individual: int) -> str:
    """Return why a finalist was not measured on the test set."""
    problems = (test.get("error", "") for (number, _), test in run.tests.items() if number == individual)
    return next(filter(None, problems), "")


def _worth(run: Run) -> tuple[Rows, bool]:
    """Return what was measured of the best genome, and whether there is an interval."""
    settings, best = run.settings, run.best
    label = settings.goal if settings.objective is not None else settings.fitness_name
    lowest = "lowest " if settings.sign < 0 else ""
    seeds = f" (n = {len(best.replicates)})" if best.replicates else ""
    rows = [(f"{lowest}{label} in the search", f"{number_text(best.fitness)}{seeds}")]
    found = on_new_seeds(run, best.id)
    if found.fitness:
        rows.append((f"{label} on new seeds", mean_text(found.fitness, settings.fitness_bounds)))
    if found.test_accuracy and settings.fitness != "test":
        rows.append(("test accuracy on new seeds", mean_text(found.test_accuracy, (0.0, 1.0))))
    elif problem := _test_problem(run, best.id):
        rows.append(("test accuracy on new seeds", f"none: {printable(problem)}"))
    if len(objectives := settings.objectives or {}) > 1:
        others = " and ".join(name for name in objectives if name != settings.goal)
        genomes = "1 genome" if (count := len(run.front)) == 1 else f"{count} genomes"
        rows.append(("Pareto front", f"{genomes}, of {settings.goal} against {others}; evo report shows them"))
    return rows, len(found.fitness) > 1


def _cost(run: Run) -> Rows:
    """Return what a run took, and what failed."""
    everything = [*run.search_evaluations, *run.finalist_evaluations]
    counted = {(evaluation.individual, evaluation.replicate) for evaluation in everything}
    parts = [result for result in run.results if (result.individual, result.replicate) in counted]
    finalists = len(run.finalist_evaluations)
    count = f"{run.trainings}{f' + {finalists} of the finalists' if finalists else ''}"
    seconds = sum(evaluation.seconds for evaluation in everything)
    rows = [
        (noun_of(run), count),
        ("time of training in all", duration_text(seconds)),
        ("on the clock, while training", duration_text(busy_seconds(parts))),
    ]
    if earlier := sum(evaluation.earlier for evaluation in everything):
        rows.insert(1, ("earlier results", f"{earlier} from a table, not trained here"))
    infeasible = sum(evaluation.infeasible for evaluation in everything)
    if infeasible:
        rows.append(("infeasible", f"{infeasible} of them are not allowed"))
    failed = [evaluation for evaluation in everything if evaluation.failed]
    if failed:
        causes = Counter(f"{evaluation.status}: {printable(evaluation.error)}" for evaluation in failed)
        rows.append(("failures", f"{len(failed)} of them failed"))
        rows += [(f"  {count} ×", cause) for cause, count in causes.most_common(CAUSES)]
        rows += [("", f"and {len(causes) - CAUSES} other causes")] if len(causes) > CAUSES else []
        if any(run.traceback(evaluation.individual, evaluation.replicate) for evaluation in failed[-CAUSES:]):
            rows.append(("", run.command("replay", str(failed[-1].individual), debug=True) + " shows where"))
    return rows


def duration_text(seconds: float) -> str:
    """Return a time below a minute as 4.2 s, a longer one as 12:07 or 1:02:03."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def busy_seconds(evaluations: Iterable[Evaluation]) -> float:
    """Return how many seconds at least one evaluation was running; pauses between two commands do not count."""
    total, until = 0.0, -math.inf
    for started, ended in sorted((e.started, e.ended) for e in evaluations if e.started):
        total += max(0.0, ended - max(started, until))
        until = max(until, ended)
    return total


def _print_box(console: Console, title: str, sections: Sequence[Section], interval: bool) -> None:
    """Print sections: in a frame on a terminal, as plain lines elsewhere."""
    note = "[low, high]: 95 % interval of the mean over n seeds (Student's t)" if interval else ""
    if not console.is_interactive:
        lines = [f"{title}:"]
        for heading, rows in sections:
            lines += [heading] if heading else []
            lines += [f"  {label:<{LABEL_WIDTH}} {value}" for label, value in rows]
        lines += [f"  {note}"] if note else []
        console.print("\n".join(lines), markup=False, soft_wrap=True)
        return
    width = min(console.width, WIDEST)
    parts: list[RenderableType] = []
    for heading, rows in sections:
        parts += [Rule(style="dim")] if parts else []
        parts += [Text(heading, style="bold")] if heading else []
        parts += _lines(rows, width - 4)
    parts += [Rule(style="dim"), Text(note, style="dim")] if note else []
    top = Text(title, style="bold green")
    console.print(Panel(Group(*parts), title=top, title_align="left", box=box.ROUNDED, width=width))


def _lines(rows: Rows, width: int) -> list[Text]:
    """Return labels beside their values; a value that does not fit goes below its label."""
    longest = max((len(label) for label, _ in rows), default=0)
    beside = LABEL_WIDTH if width >= STACKED_BELOW else longest
    texts = []
    for label, value in rows:
        fits = beside + 2 + len(value) <= width
        texts.append(Text.assemble((f"{label:<{beside}}  " if fits else f"{label}\n  ", "dim"), value, overflow="fold"))
    return texts


def _print_next(console: Console, run: Run, files: Sequence[str], commands: Mapping[str, str]) -> None:
    """Print where the results are and what can be done with the folder: outside the frame, so it can be copied."""
    if run.path is None:
        return
    console.print(f"\nResults: {run.shown_path}/{', '.join(files)}", markup=False, soft_wrap=True)
    console.print("Next:")
    for command, purpose in commands.items():
        console.print(f"  {escape(command)}   [dim]# {purpose}[/dim]", soft_wrap=True)
