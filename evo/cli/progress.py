"""The numbers of a run that a person watches, kept up to date one evaluation at a time, and their texts."""

from __future__ import annotations

import bisect
import math
import statistics
import time
from collections import Counter, deque
from dataclasses import dataclass

from evo.individual import Evaluation, raced, standing
from evo.loop.search_loop import Stage
from evo.plain_text import made_plain
from evo.record.history import FIRST_FINALIST_REPLICATE
from evo.record.run import Run
from evo.record.settings import LISTED, Settings

RECENT = 5
"""Evaluations that are remembered for the rows under the summary."""
DIVERSITY_OF = 100
"""Members of the largest population whose diversity is computed while a search runs: it costs their square."""

LINE_ENDS = str.maketrans("\t\n\r", "   ")


@dataclass(frozen=True)
class Best:
    """The individual that leads, as `Run.ranked` has it."""

    individual: int
    fitness: float
    genome: str


@dataclass(frozen=True)
class Population:
    """The last whole population, as in generations.csv; before the first, everybody who was evaluated."""

    mean: float
    deviation: float
    diversity: float | None = None


@dataclass(frozen=True)
class Row:
    """One evaluation as a person reads it.

    Attributes:
        individual: Its id.
        stage: See `stage_of`.
        result: The fitness, or the status of an evaluation that is not complete.
        reason: Why it is not complete; empty if it is.
        seconds: Of its training; None where nothing was trained for it.
        genome: As one line.
    """

    individual: int
    stage: str
    result: str
    reason: str
    seconds: float | None
    genome: str


class Progress:
    """What a run has done and found.

    Args:
        run: What it holds already is taken in.
        total: Trainings of the search at most.
        began: When what is watched began, in seconds since the epoch; None for now.

    Attributes:
        stage: What the run is at.
        busy: Evaluations that run at this moment.
        done: Evaluations of the search.
        best: The leader, or the winner once it is named; None before the first complete evaluation.
        population: Mean, spread and diversity; None before the first.
        generation: That of the newest individual that was evaluated.
        failures: Evaluations that are not complete, by status, the finalists' included.
        recent: The last evaluations, oldest first.
        ended: When it ended or stopped; None while it goes on.
        ends: When it is expected to end; None if one cannot say.
        finished: Whether nothing is left to do.
    """

    def __init__(self, run: Run, total: int, began: float | None = None):
        self.run, self.total = run, total
        self.began = time.time() if began is None else began
        self.ended: float | None = None
        self.ends: float | None = None
        self.finished = False
        self.stage: Stage = "search"
        self.busy = self.done = self.generation = 0
        self.best: Best | None = None
        self.population: Population | None = None
        self.failures: Counter[str] = Counter()
        self.recent: deque[Row] = deque(maxlen=RECENT)
        self._seconds: list[float] = []
        self._fitnesses: dict[int, dict[int, float | None]] = {}
        self._standings: dict[int, tuple[int, int, int, float]] = {}
        self._turns: Counter[int] = Counter()
        self._members: tuple[int, ...] | None = None
        for evaluation in run.results:
            self._count(evaluation)
        self._rank(set(self._fitnesses))
        self._measure_population()
        self.recent.extend(row_of(run, evaluation) for evaluation in run.results[-RECENT:])

    def take(self, evaluation: Evaluation, seconds_left: float | None = None) -> None:
        """Take in an evaluation that the run has recorded."""
        self._count(evaluation)
        self.recent.append(row_of(self.run, evaluation))
        self.ends = None if seconds_left is None else time.time() + seconds_left
        if evaluation.replicate < FIRST_FINALIST_REPLICATE:
            self._rank({evaluation.individual})
        self._measure_population()

    def work(self, stage: Stage, busy: int) -> None:
        """Take in what the run is at, and how many evaluations run at this moment."""
        self.stage, self.busy = stage, busy
        if self.run.generations:
            self._measure_population()
        winner = self.run.winner
        if stage == "test" and winner is not None and (self.best is None or self.best.individual != winner):
            self.best = Best(winner, self.run.entry(winner).fitness, genome_text(self.run, winner))

    @property
    def listed(self) -> bool:
        """Whether nothing is searched: the run trains a list of configurations."""
        return self.run.settings.strategy == LISTED

    @property
    def configurations_done(self) -> int:
        """Listed configurations that are trained on every seed."""
        return sum(len(known) >= self.run.settings.seeds for known in list(self._fitnesses.values()))

    @property
    def finalists_done(self) -> int:
        """Trainings of the finalists that are done."""
        return len(self.run.finalist_evaluations)

    @property
    def finalists_total(self) -> int:
        """Trainings of the finalists."""
        return len(self.run.finalists) * self.run.settings.finalist_seeds

    @property
    def median_seconds(self) -> float | None:
        """The median time of the trainings; of rows that were read from a curve there is none."""
        place, odd = divmod(len(self._seconds), 2)
        if not self._seconds:
            return None
        return self._seconds[place] if odd else (self._seconds[place - 1] + self._seconds[place]) / 2

    def elapsed(self, now: float) -> float:
        """Return the seconds since the beginning, until the end if there was one."""
        return max(0.0, (now if self.ended is None else self.ended) - self.began)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the expected end; None if one cannot say, or nothing goes on."""
        return None if self.ends is None or self.ended is not None else max(0.0, self.ends - now)

    def _count(self, evaluation: Evaluation) -> None:
        if evaluation.shared_with is None and evaluation.complete:
            bisect.insort(self._seconds, evaluation.seconds)
        if not evaluation.succeeded:
            self.failures[evaluation.status] += 1
        if evaluation.replicate < FIRST_FINALIST_REPLICATE:
            self.done += 1
            fitness = evaluation.fitness if evaluation.succeeded else None
            self._fitnesses.setdefault(evaluation.individual, {})[evaluation.replicate] = fitness
            self.generation = max(self.generation, self.run.individuals[evaluation.individual].generation)

    def _rank(self, changed: set[int]) -> None:
        """Find the leader again, looking at those alone whose standing may have changed."""
        turns = raced(self.run.proposals)
        changed |= (set(turns) | set(self._turns)) & set(self._fitnesses)
        self._turns = turns
        for number in changed:
            first = self.run.evaluations.get((number, 0))
            if first is not None and first.succeeded:
                individual, known = self.run.individuals[number], list(self._fitnesses[number].values())
                self._standings[number] = standing(individual, known, turns[number], first.paused_at)
        leader = self.best.individual if self.best else None
        candidates = set(self._standings) if leader in changed else changed & set(self._standings)
        if leader is not None:
            candidates.add(leader)
        if candidates:
            number = max(candidates, key=lambda number: (*self._standings[number], -number))
            fitnesses = [fitness for fitness in self._fitnesses[number].values() if fitness is not None]
            self.best = Best(number, statistics.fmean(fitnesses), genome_text(self.run, number))

    def _measure_population(self) -> None:
        generations = self.run.generations
        members = generations[max(generations)] if generations else None
        if members is not None and members == self._members:
            return
        self._members = members
        everybody = range(len(self.run.individuals)) if members is None else members
        first = (self.run.evaluations.get((member, 0)) for member in everybody)
        known = [entry.fitness for entry in first if entry and entry.succeeded and entry.fitness is not None]
        if not known:
            return
        diversity = None
        if members is not None and len(members) <= DIVERSITY_OF:
            diversity = self.run.space.diversity([self.run.individuals[member].genome for member in members])
        self.population = Population(statistics.fmean(known), statistics.pstdev(known), diversity)


def row_of(run: Run, evaluation: Evaluation) -> Row:
    """Return an evaluation as a person reads it."""
    return Row(
        evaluation.individual,
        stage_of(run, evaluation),
        f"{evaluation.fitness:.4f}" if evaluation.succeeded else evaluation.status.replace("_", " "),
        "" if evaluation.succeeded else printable(evaluation.error or "no reason was given"),
        evaluation.seconds if evaluation.shared_with is None else None,
        genome_text(run, evaluation.individual),
    )


def stage_of(run: Run, evaluation: Evaluation) -> str:
    """Return the part of the run that an evaluation belongs to: a generation, the race, a seed of a finalist."""
    if evaluation.replicate >= FIRST_FINALIST_REPLICATE:
        return f"finalist, seed {evaluation.replicate - FIRST_FINALIST_REPLICATE + 1}"
    if run.settings.strategy == LISTED:
        return f"seed {evaluation.replicate + 1}"
    if evaluation.replicate:
        return f"race, seed {evaluation.replicate + 1}"
    return f"generation {run.individuals[evaluation.individual].generation}"


def line_of(progress: Progress, evaluation: Evaluation) -> str:
    """Return the line that an evaluation writes where there is no live table."""
    row = row_of(progress.run, evaluation)
    cost = f"on the curve of #{evaluation.shared_with}" if row.seconds is None else f"in {row.seconds:.1f} s"
    best, left = progress.best, progress.seconds_left(time.time())
    best_text = f" | best {best.fitness:.4f} (#{best.individual})" if best and not progress.listed else ""
    left_text = f" | {duration(left)} left" if left is not None else ""
    result = row.result if evaluation.succeeded else f"{evaluation.status}: {row.reason}"
    return f"#{row.individual} {row.stage}: {result} {cost}{best_text}{left_text} | {row.genome}"


def title_of(run: Run) -> str:
    """Return what a run does, in a few words."""
    settings = run.settings
    if settings.strategy == LISTED:
        return counted(len(run.configurations), settings.seeds)
    return f"{settings.strategy} on the space {settings.space_name}"


def counted(configurations: int, seeds: int) -> str:
    """Return how many trainings of listed configurations there are, in words."""
    whose = "one configuration" if configurations == 1 else f"{configurations} configurations"
    return f"training {whose} on {'one seed' if seeds == 1 else f'{seeds} seeds'}"


def model_option(settings: Settings) -> str:
    """Return what a command that goes on with a run needs beside its folder: a model of the user's own, named again."""
    return f" --model {settings.model}" if settings.model is not None and ":" in settings.model else ""


def genome_text(run: Run, individual: int) -> str:
    """Return a genome as one line: gene=value gene=value."""
    genome = run.config_of(individual)
    return printable(
        " ".join(f"{name}={short(run.space.genes[name].to_text(value))}" for name, value in genome.items())
    )


def printable(text: str) -> str:
    """Return a text as one line that no terminal obeys: a run folder may be somebody else's."""
    return made_plain(text).translate(LINE_ENDS)


def short(text: str) -> str:
    """Return a number's text with three significant digits where it has a fraction; other text as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if not math.isfinite(number) or (number.is_integer() and "e" not in text) else f"{number:.3g}"


def duration(seconds: float) -> str:
    """Return a time as 0:42, 12:07 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def seconds_text(seconds: float) -> str:
    """Return the time of a training: 0.41 s, 12.3 s, 4:07."""
    if seconds >= 100:
        return duration(seconds)
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
