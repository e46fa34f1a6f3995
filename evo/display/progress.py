"""The numbers of a watched run, updated with every evaluation, and their texts."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, deque
from dataclasses import dataclass

from evo.evaluation import Evaluation, phase_of, place_of
from evo.individual import GeneValue
from evo.loop.search_loop import Stage
from evo.numbers import deviation, mean, number_text
from evo.plain_text import made_plain
from evo.ranking import raced, standing
from evo.record.run import Run
from evo.record.settings import LISTED
from evo.space.genes import Gene
from evo.trial import VALUE

RECENT = 5
"""Evaluations that have a row under the summary."""
DIVERSITY_OF = 100
"""The largest population whose diversity is computed during a search: the time grows with its square."""

LINE_ENDS = str.maketrans("\t\n\r", "   ")


@dataclass(frozen=True)
class Best:
    """The individual that leads, as in `Run.ranked`."""

    individual: int
    fitness: float
    genome: str


@dataclass(frozen=True)
class Population:
    """The last complete population, as in generations.csv; before the first, all that were evaluated."""

    mean: float
    deviation: float
    diversity: float | None = None


class Progress:
    """What a run has done and found.

    Args:
        run: The run; may hold evaluations already.
        total: Most trainings of the search.
        began: When the clock started, in seconds since the epoch; None for now.

    Attributes:
        stage: What the run is doing.
        busy: Evaluations that are running.
        done: Evaluations of the search.
        best: The leader, or the winner once there is one; None before the first complete evaluation.
        population: Mean, spread and diversity; None before the first complete evaluation.
        generation: The latest generation of an evaluated individual.
        failures: Evaluations that failed, by status; includes the finalists'.
        infeasible: Evaluations of configurations that are not allowed.
        recent: The last evaluations, oldest first.
        ended: When it ended or stopped; None while it is running.
        ends: When it is expected to end; None if unknown.
        disk: Bytes of the states of trainings that are not done; None if it was not counted.
        finished: Whether nothing is left to do.
    """

    def __init__(self, run: Run, total: int, began: float | None = None):
        self.run, self.total = run, total
        self.began = time.time() if began is None else began
        self.ended: float | None = None
        self.ends: float | None = None
        self.disk: int | None = None
        self.finished = False
        self.stage: Stage = "search"
        self.busy = self.done = self.generation = self.infeasible = 0
        self.best: Best | None = None
        self.population: Population | None = None
        self.failures: Counter[str] = Counter()
        self.recent: deque[Evaluation] = deque(maxlen=RECENT)
        self._seconds: list[float] = []
        self._fitnesses: dict[int, dict[int, float | None]] = {}
        self._standings: dict[int, tuple[float, ...]] = {}
        self._turns: Counter[int] = Counter()
        self._members: tuple[int, ...] | None = None
        for evaluation in run.results:
            self._count(evaluation)
        self._rank(set(self._fitnesses))
        self._measure_population()
        self.recent.extend(run.results[-RECENT:])

    def take(self, evaluation: Evaluation, seconds_left: float | None = None) -> None:
        """Learn of an evaluation that the run has recorded."""
        self._count(evaluation)
        self.recent.append(evaluation)
        self.ends = None if seconds_left is None else time.time() + seconds_left
        if phase_of(evaluation.replicate) == "search":
            self._rank({evaluation.individual})
        self._measure_population()

    def work(self, stage: Stage, busy: int) -> None:
        """Learn what the run is doing, and how many evaluations are running."""
        self.stage, self.busy = stage, busy
        if self.run.generations:
            self._measure_population()
        winner = self.run.winner
        if stage == "test" and winner is not None and (self.best is None or self.best.individual != winner):
            self.best = Best(winner, self.run.entry(winner).fitness, genome_text(self.run, winner))

    @property
    def listed(self) -> bool:
        """Whether the run trains a list of configurations instead of searching."""
        return self.run.settings.strategy == LISTED

    @property
    def configurations_done(self) -> int:
        """Listed configurations that are trained on every seed."""
        return sum(len(known) >= self.run.settings.seeds for known in self._fitnesses.values())

    @property
    def counts(self) -> list[tuple[str, int, int]]:
        """Evaluations that are done and their total: those of the search and, once it is over, of the finalists."""
        counts = [(noun_of(self.run), self.done, self.total)]
        if self.stage != "search":
            total = len(self.run.finalists) * self.run.finalist_seeds
            counts.append(("finalists", len(self.run.finalist_evaluations), total))
        return counts

    @property
    def median_seconds(self) -> float | None:
        """The median time of the complete trainings; evaluations that were read from a curve have none."""
        return statistics.median(self._seconds) if self._seconds else None

    def elapsed(self, now: float) -> float:
        """Return the seconds from the beginning until now, or until the end if there was one."""
        return max(0.0, (now if self.ended is None else self.ended) - self.began)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the expected end; None if that is unknown, or nothing is running."""
        return None if self.ends is None or self.ended is not None else max(0.0, self.ends - now)

    @property
    def last_report(self) -> str:
        """What was reported last by a training that is not done; empty where nothing was."""
        for (individual, _), points in reversed(list(self.run.reported.items())):
            point = points[-1]
            return f"#{individual} at step {point.step}: {number_text(point.values.get(VALUE, math.nan))}"
        return ""

    def _count(self, evaluation: Evaluation) -> None:
        if evaluation.earlier:
            return
        if evaluation.shared_with is None and evaluation.complete:
            self._seconds.append(evaluation.seconds)
        self.infeasible += evaluation.infeasible
        if evaluation.failed:
            self.failures[evaluation.status] += 1
        if phase_of(evaluation.replicate) == "search":
            known = self._fitnesses.setdefault(evaluation.individual, {})
            # With a pruner, the parts of a training count once.
            self.done += self.run.settings.pruner is None or evaluation.replicate not in known
            known[evaluation.replicate] = evaluation.fitness if evaluation.succeeded else None
            self.generation = max(self.generation, self.run.proposal_of(evaluation).generation)

    def _rank(self, changed: set[int]) -> None:
        """Update the leader; only these individuals and those in a race may have a new standing."""
        turns = raced(self.run.proposals)
        changed |= (set(turns) | set(self._turns)) & set(self._fitnesses)
        self._turns = turns
        for number in changed:
            first = self.run.evaluations.get((number, 0))
            if first is not None and first.succeeded and not first.earlier:
                proposal, known = self.run.answered[number, 0], list(self._fitnesses[number].values())
                place = standing(proposal, known, turns[number], paused=first.paused, sign=self.run.settings.sign)
                self._standings[number] = *place, -number
            else:  # also of a paused training that led, and failed when it was continued
                self._standings.pop(number, None)
        self.best = None
        if self._standings:
            number = max(self._standings, key=self._standings.__getitem__)
            fitnesses = [fitness for fitness in self._fitnesses[number].values() if fitness is not None]
            self.best = Best(number, mean(fitnesses), genome_text(self.run, number))

    def _measure_population(self) -> None:
        latest = max(self.run.generations, default=None)
        members = self.run.generations[latest] if latest is not None else None
        if members is not None and members == self._members:
            return
        self._members = members
        everyone = range(len(self.run.individuals)) if members is None else members
        known = [found for member in everyone if (found := self.run.fitness_in(latest, member)) is not None]
        if not known:
            return
        diversity = None
        if members is not None and len(members) <= DIVERSITY_OF:
            diversity = self.run.space.diversity([self.run.individuals[member].genome for member in members])
        self.population = Population(mean(known), deviation(known), diversity)


def reason_of(evaluation: Evaluation) -> str:
    """Return why an evaluation has no result; empty if it has one."""
    return "" if evaluation.succeeded else printable(evaluation.error or "no reason was given")


def traceback_text(evaluation: Evaluation, traceback: str) -> str:
    """Return the traceback of an evaluation that failed, under a line that says whose it is."""
    replicate = f", replicate {evaluation.replicate}" if evaluation.replicate else ""
    return f"individual {evaluation.individual}{replicate}: {made_plain(traceback)}".rstrip()


def result_of(evaluation: Evaluation) -> str:
    """Return the fitness of an evaluation, with the step of a paused one; or the status of a failed one."""
    at = f" at step {evaluation.paused_at}" if evaluation.paused_at is not None else ""
    return (
        f"{number_text(evaluation.fitness)}{at}"
        if evaluation.fitness is not None and evaluation.succeeded
        else evaluation.status.replace("_", " ")
    )


def stage_of(run: Run, evaluation: Evaluation) -> str:
    """Return the part of the run that an evaluation belongs to: a generation, the race, a seed of a finalist."""
    if phase_of(evaluation.replicate) == "finalist":
        return f"finalist, seed {place_of(evaluation.replicate) + 1}"
    if run.settings.strategy == LISTED:
        return f"seed {evaluation.replicate + 1}"
    if evaluation.replicate:
        return f"race, seed {evaluation.replicate + 1}"
    return f"generation {run.proposal_of(evaluation).generation}"


def line_of(progress: Progress, evaluation: Evaluation) -> str:
    """Return the line of an evaluation where there is no live table."""
    run, best, left = progress.run, progress.best, progress.seconds_left(time.time())
    curve = f"on the curve of #{evaluation.shared_with}"
    cost = f"in {evaluation.seconds:.1f} s" if evaluation.shared_with is None else curve
    result = ": ".join(filter(None, (result_of(evaluation), reason_of(evaluation))))
    parts = [f"#{evaluation.individual} {stage_of(run, evaluation)}: {result} {cost}"]
    parts += [f"best {number_text(best.fitness)} (#{best.individual})"] if best and not progress.listed else []
    parts += [f"{duration(left)} left"] if left is not None else []
    return " | ".join([*parts, genome_text(run, evaluation.individual)])


def conclusion(progress: Progress, now: float) -> str:
    """Return what a run has come to, on one line."""
    run, best = progress.run, progress.best
    parts = [f"{progress.done} {noun_of(run)} in {duration(progress.elapsed(now))}"]
    if failed := sum(progress.failures.values()):
        parts.append(f"{failed} of them failed")
    if best is not None and not progress.listed:
        parts.append(f"best {number_text(best.fitness)} (#{best.individual}) {best.genome}")
    return ", ".join(parts)


def title_of(run: Run) -> str:
    """Return what a run does, in a few words."""
    settings = run.settings
    if settings.strategy == LISTED:
        return f"training {_counted('configuration', len(run.configurations))} on {_counted('seed', settings.seeds)}"
    return f"{settings.strategy} on the space {settings.space_name}"


def _counted(noun: str, count: int) -> str:
    return f"one {noun}" if count == 1 else f"{count} {noun}s"


def noun_of(run: Run) -> str:
    """Return what an evaluation of a run is called."""
    return "trainings" if run.settings.objective is None else "evaluations"


def genome_text(run: Run, individual: int) -> str:
    """Return a genome on one line: gene=value gene=value."""
    genes, genome = run.space.genes, run.config_of(individual)
    return printable(" ".join(f"{name}={short(genes[name], value)}" for name, value in genome.items()))


def best_text(run: Run) -> str:
    """Return the best of an unfinished search on one line; empty if there is none, or nothing is searched."""
    ranking = run.ranked() if run.settings.strategy != LISTED else []
    if not ranking:
        return ""
    best = ranking[0]
    done = f"{run.trainings} {noun_of(run)}"
    return f"best of {done} so far: #{best.id} {result_of(best.evaluation)} {genome_text(run, best.id)}"


def printable(text: str) -> str:
    """Return a text on one line, without control characters: a run folder may come from someone else."""
    return made_plain(text).translate(LINE_ENDS)


def short(gene: Gene, value: GeneValue) -> str:
    """Return the text of a gene's value; a number with a fraction has three significant digits."""
    text = gene.to_text(value)
    return f"{value:.3g}" if isinstance(value, float) and (not value.is_integer() or "e" in text) else text


def size_text(count: int) -> str:
    """Return a number of bytes as people read it: 512 B, 3.4 MB."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


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
