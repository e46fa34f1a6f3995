"""Which genomes are trained again after a search, and on how many seeds: what was asked for, or what cost allows."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evo.evaluation import Evaluation, replicate_number
from evo.individual import STEPS, genome_key, without_duration
from evo.loop.cost import CostModel, guessed_cost
from evo.record.front import front_of, has_front
from evo.record.ranked import RankedIndividual
from evo.record.run import Run


@dataclass(frozen=True)
class Plan:
    """The finalists of a run.

    Attributes:
        individuals: Best first.
        seeds: Trainings of each.
    """

    individuals: tuple[int, ...]
    seeds: int

    @property
    def text(self) -> str:
        """The plan in words."""
        finalists = f"{len(self.individuals)} finalist{'s' if len(self.individuals) != 1 else ''}"
        return f"{finalists} on {self.seeds} new seed{'s' if self.seeds != 1 else ''}"

    def down_to_one(self) -> Iterator[Plan]:
        """Yield this plan and ever smaller ones: of fewer finalists, then of the best one on fewer seeds."""
        yield self
        for count in range(len(self.individuals) - 1, 0, -1):
            yield Plan(self.individuals[:count], self.seeds)
        for seeds in range(self.seeds - 1, 0, -1):
            yield Plan(self.individuals[:1], seeds)

    def first_that(self, fits: Callable[[Plan], bool]) -> Plan:
        """Return the largest plan that fits, or the smallest there is."""
        plan = self
        for plan in self.down_to_one():  # the last one is kept
            if fits(plan):
                break
        return plan

    def trainings(self) -> list[tuple[int, int]]:
        """Return (individual, replicate) of each training."""
        return [(one, replicate_number("finalist", place)) for one in self.individuals for place in range(self.seeds)]


def plan_of(run: Run, *, by_cost: bool = True) -> Plan:
    """Return the finalists of a search that ends as it stands now: the same on every machine.

    Where no number was given by hand, they cost no more than the search, unless `by_cost` is False. Both costs are
    counted work at the rates that evo ships, never measured seconds; for an objective they are numbers of calls.
    """
    settings = run.settings
    asked = Plan(_candidates(run), settings.finalist_seeds)
    if not (by_cost and settings.finalists_by_cost and asked.individuals):
        return asked
    cost = guessed_cost(settings, run.space.training)
    allowed = _work_of_search(run, cost)
    each = {number: cost.seconds(run.config_of(number), "finalist") for number in asked.individuals}
    return asked.first_that(lambda plan: plan.seeds * sum(each[number] for number in plan.individuals) <= allowed)


def seconds_of(run: Run, plan: Plan, cost: CostModel, workers: int) -> float:
    """Return how long those trainings of a plan take that are not recorded yet."""
    missing = [number for number, replicate in plan.trainings() if (number, replicate) not in run.evaluations]
    return makespan([cost.seconds(run.config_of(number), "finalist") for number in missing], workers)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return how long some workers take for trainings of so many seconds, if the longest start first."""
    busy = [0.0] * max(1, workers)
    for one in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy)


def _candidates(run: Run) -> tuple[int, ...]:
    """Return the ids of the best genomes, as many as there are to be finalists."""
    settings = run.settings
    if not settings.retrainable:
        return ()
    ranking = run.ranked()
    if has_front(run) and "direction" not in settings.absent:  # else older, and chosen by fitness alone
        ranking = [entry for entry, _ in front_of(run)] or ranking
    # A genome that was trained for only part of the steps is not a finalist beside those that were trained in full.
    furthest = [entry for entry in ranking if entry.reach == ranking[0].reach]
    first: dict[str, int] = {}
    for entry in furthest:
        first.setdefault(_key(entry) if settings.distinct_finalists else str(entry.id), entry.id)
    return tuple(first.values())[: settings.finalists]


def _key(entry: RankedIndividual) -> str:
    """Return what genomes share that differ only in how long they train."""
    return genome_key(without_duration(entry.individual.genome))


def _work_of_search(run: Run, cost: CostModel) -> float:
    """Return the counted work of a search's trainings. Of those that share a learning curve, the longest counts."""
    work: dict[object, float] = {}
    for evaluation in run.search_evaluations:
        if evaluation.earlier:
            continue
        genome = run.individuals[evaluation.individual].genome
        shared = not evaluation.replicate and run.shares_curves(genome)
        key = evaluation.seed if shared else (evaluation.individual, evaluation.replicate)
        work[key] = max(work.get(key, 0.0), _work_of(run, evaluation, cost))
    return sum(work.values())


def _work_of(run: Run, evaluation: Evaluation, cost: CostModel) -> float:
    config = run.individuals[evaluation.individual].config
    if run.settings.max_steps is not None and evaluation.paused:
        config = config | {STEPS: evaluation.steps_trained or 0}
    if run.settings.objective is None and not evaluation.complete:
        if not evaluation.steps_trained:  # failed before a step was recorded
            return 0.0
        config = without_duration(config) | {STEPS: evaluation.steps_trained}
    return cost.seconds(config)
