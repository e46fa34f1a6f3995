"""What a person sees of a running search: a live line on a terminal, one line an evaluation elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from evo.experiment import LISTED
from evo.individual import Evaluation
from evo.run import FIRST_FINALIST_REPLICATE, Run
from evo.settings import Settings


class TimeLeft(ProgressColumn):
    """The time left by the cost model's last estimate, counted down."""

    def render(self, task: Task) -> Text:
        """Return "1:02:03 left", or nothing while there is no estimate."""
        ends = task.fields["ends"]
        return Text("" if ends is None else f"{duration(ends - time.monotonic())} left", style="progress.remaining")


class TerminalObserver:
    """Shows generation, evaluations, the best so far and the time left, on stderr.

    Args:
        console: Writes to stderr.
        quiet: Show nothing but what a person must know.
    """

    def __init__(self, console: Console, *, quiet: bool = False):
        self._console, self._quiet = console, quiet
        self._total = self._done = 0
        self.path: Path | None = None
        self.model_option = ""
        self._best: tuple[float, int] | None = None
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> TerminalObserver:
        if self._console.is_terminal and not self._console.is_dumb_terminal and not self._quiet:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[best]}"),
                TimeLeft(),
                console=self._console,
                transient=True,
                expand=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def started(self, run: Run, total: int) -> None:
        """Take the run's folder and its number of trainings, and say what goes on."""
        self._total, self.path, self.model_option = total, run.path, model_option(run.settings)
        self._done = len(run.search_evaluations)
        self._best = next(((entry.fitness, entry.id) for entry in run.ranked()), None)
        settings = run.settings
        if settings.objective is not None:
            what = f"the objective {settings.objective}"
        else:
            dataset = settings.dataset or {}
            how = f"{settings.device} {settings.precision} {settings.engine}"
            what = f"{settings.model} on {dataset.get('variant')}, {how}"
        if settings.strategy == LISTED:
            self.notify(f"{_counted(len(settings.initial), settings.seeds)}, {what}")
            if self._done:
                self.notify(f"going on: {self._done} of {total} trainings are done")
            return
        self.notify(f"{settings.strategy} on the space {settings.space_name}: up to {total} trainings, {what}")
        if self._done:
            left = len(run.unevaluated())
            self.notify(f"going on: {self._done} of {total} trainings are done, {left} more were proposed")
        if settings.fitness == "test":
            self.warn(
                "fitness is TEST accuracy (--fitness test): the test set selects, so it will not judge the result"
            )

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Move the live line, or write one."""
        self._done += evaluation.phase == "search"
        found = evaluation.fitness
        if found is not None and evaluation.phase == "search" and (self._best is None or found > self._best[0]):
            self._best = (found, evaluation.individual)
        if self._progress is not None:
            self._update(run, evaluation, seconds_left)
        elif not self._quiet:
            self._console.print(
                _line(run, evaluation, self._best, seconds_left), highlight=False, markup=False, soft_wrap=True
            )

    def notify(self, message: str) -> None:
        """Write a line above the live one."""
        if not self._quiet:
            self.warn(message)

    def warn(self, message: str) -> None:
        """Write a line above the live one, also when quiet."""
        self._console.print(message, highlight=False, markup=False, soft_wrap=not self._console.is_terminal)

    def _update(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        assert self._progress is not None
        finalist = evaluation.phase == "finalist"
        total = len(run.finalists) * run.settings.finalist_seeds if finalist else self._total
        done = len(run.finalist_evaluations) if finalist else self._done
        description = "finalists" if finalist else _stage(run, evaluation)
        best_text = f"best {self._best[0]:.4f} (#{self._best[1]})" if self._best else "no result yet"
        ends = None if seconds_left is None else time.monotonic() + seconds_left
        fields: dict[str, Any] = {"best": best_text, "ends": ends}
        if self._task is None:
            self._task = self._progress.add_task(description, total=total, completed=done - 1, **fields)
        self._progress.update(self._task, description=description, total=total, completed=done, **fields)


def _line(run: Run, evaluation: Evaluation, best: tuple[float, int] | None, seconds_left: float | None) -> str:
    individual = run.individuals[evaluation.individual]
    finalist = f"finalist, seed {evaluation.replicate - FIRST_FINALIST_REPLICATE + 1}"
    where = finalist if evaluation.phase == "finalist" else _stage(run, evaluation)
    result = (
        f"{evaluation.fitness:.4f}" if evaluation.fitness is not None else f"{evaluation.status}: {evaluation.error}"
    )
    best_text = f" | best {best[0]:.4f} (#{best[1]})" if best and run.settings.strategy != LISTED else ""
    genome = genome_text(run, evaluation.individual)
    if evaluation.shared_with is None:
        cost = f"in {evaluation.seconds:.1f} s"
    else:
        cost = f"on the curve of #{evaluation.shared_with}"
    left = f" | {duration(seconds_left)} left" if seconds_left is not None else ""
    return f"#{individual.id} {where}: {result} {cost}{best_text}{left} | {genome}"


def _stage(run: Run, evaluation: Evaluation) -> str:
    """Return the part of the run that an evaluation belongs to: a generation, the race, a seed of a listed network."""
    if run.settings.strategy == LISTED:
        return f"seed {evaluation.replicate + 1}"
    if evaluation.replicate:
        return f"race, seed {evaluation.replicate + 1}"
    return f"generation {run.individuals[evaluation.individual].generation}"


def _counted(configurations: int, seeds: int) -> str:
    """Return how many trainings of listed configurations there are, in words."""
    whose = "one configuration" if configurations == 1 else f"{configurations} configurations"
    return f"training {whose} on {'one seed' if seeds == 1 else f'{seeds} seeds'}"


def model_option(settings: Settings) -> str:
    """Return what a command that goes on with a run needs beside its folder: a model of the user's own, named again."""
    return f" --model {settings.model}" if settings.model is not None and ":" in settings.model else ""


def genome_text(run: Run, individual: int) -> str:
    """Return a genome as one line: gene=value gene=value."""
    genome = run.config_of(individual)
    return " ".join(f"{name}={short(run.space.genes[name].to_text(value))}" for name, value in genome.items())


def short(text: str) -> str:
    """Return a number's text with three significant digits where it has a fraction; other text as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if number.is_integer() and "e" not in text else f"{number:.3g}"


def duration(seconds: float) -> str:
    """Return a time as 0:42, 12:07 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
