"""Between the algorithm and the evaluator: what is known already is answered, the rest is submitted with its cost."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence

from evo.cost import REMEMBERED, CostModel, cost_model, keep_rates
from evo.evaluators.base import Evaluator, Task
from evo.individual import Evaluation, Individual, training_seed
from evo.record.run import Run
from evo.twins import Twins

RECENT = 32
"""Individuals whose mean cost stands for those that are not proposed yet."""


class Dispatch:
    """Gives the individuals of a run to an evaluator; those that share a learning curve one after another.

    Args:
        run: Knows what was evaluated.
        evaluator: Evaluates the rest; is started.
        urgent: Individuals that are to start before all others.
    """

    def __init__(self, run: Run, evaluator: Evaluator, *, urgent: range = range(0)):
        self._run, self._evaluator, self._urgent = run, evaluator, urgent
        self._twins = Twins(run)
        self._cost = cost_of(run, self._twins)
        self._held: list[Individual] = []
        self._answers: deque[Evaluation] = deque()
        self._submitted: set[tuple[int, int]] = set()
        self._trained_here: deque[Evaluation] = deque(maxlen=REMEMBERED)
        self._predicted_at = self._ends = -math.inf

    @property
    def pending(self) -> int:
        """Individuals that were submitted and have no evaluation yet."""
        return len(self._held) + len(self._answers) + self._evaluator.pending

    def room(self) -> int:
        """Return how many more individuals are wanted now."""
        return max(0, self._evaluator.room() - len(self._held) - len(self._answers))

    def submit(self, individual: Individual) -> None:
        """Answer an individual from what is known, hold it until its twin is evaluated, or have it evaluated."""
        if self._twins.is_awaited(individual):
            self._held.append(individual)
        elif (known := self._twins.read(individual)) is not None:
            self._answers.append(known)
        else:
            self._evaluate(individual)

    def next_completed(self, timeout: float) -> Evaluation | None:
        """Return the next evaluation, or None if there was none within `timeout` seconds."""
        return self._answers.popleft() if self._answers else self._evaluator.next_completed(timeout)

    def recorded(self, evaluation: Evaluation) -> None:
        """Take in that an evaluation is in the journal: twins that waited for it go on, and the cost is learned."""
        self._evaluator.recorded()
        individual = self._run.individuals[evaluation.individual]
        self._submitted.discard((evaluation.individual, evaluation.replicate))
        _learn(self._cost, evaluation, individual, self._twins)
        self._trained_here.append(evaluation)
        held, self._held = self._held, []
        for waiting in held:
            self.submit(waiting)

    def seconds_left(self, total: int) -> float | None:
        """Return how long the rest of a search of so many individuals takes, with its finalists; None if unknown.

        Individuals that are not proposed yet count as the mean of the last that were. Predicted at most once a second.
        """
        if not self._cost.trainings:
            return None
        now = time.monotonic()
        if now > self._predicted_at + 1.0:
            self._predicted_at, self._ends = now, now + self._predict(total)
        return max(0.0, self._ends - now)

    def _predict(self, total: int) -> float:
        individuals = self._run.individuals
        waiting = [individuals[number] for number, _ in self._submitted]
        workers = max(1, self._evaluator.workers)  # of a cluster they come and go
        return predicted_seconds(self._run, self._cost, waiting, total, workers)

    def __enter__(self) -> Dispatch:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave what this command's trainings say of this machine for later runs."""
        settings = self._run.settings
        here = cost_model(settings, self._run.space.training)
        for evaluation in self._trained_here:
            _learn(here, evaluation, self._run.individuals[evaluation.individual], self._twins)
        keep_rates(settings, here)

    def _evaluate(self, individual: Individual) -> None:
        run = self._run
        self._submitted.add((individual.id, individual.replicate))
        seed = training_seed(run.settings.seed, individual.genome, individual.replicate)
        self._evaluator.submit(
            Task(
                individual.id,
                individual.replicate,
                seed,
                individual.config,
                checkpoint=run.checkpoint(individual.id, individual.replicate),
                state=run.last_state(seed) if not individual.replicate else None,
                cost=math.inf if individual.id in self._urgent else self._cost.seconds(individual.config),
                memory=self._cost.memory(individual.config),
            )
        )


def cost_of(run: Run, twins: Twins) -> CostModel:
    """Return the cost model of a run, fitted to its trainings so far."""
    model = cost_model(run.settings, run.space.training)
    settings = run.settings
    for (number, _), evaluation in run.evaluations.items():
        if settings.objective is not None or (evaluation.engine, evaluation.precision) == (
            settings.engine,
            settings.precision,
        ):
            _learn(model, evaluation, run.individuals[number], twins)
    return model


def predicted_seconds(run: Run, cost: CostModel, waiting: Sequence[Individual], total: int, workers: int) -> float:
    """Return how long the rest of a search takes, with its finalists.

    Args:
        run: Has one proposal at least.
        cost: The cost model of the run.
        waiting: Who was proposed and is not evaluated yet.
        total: Individuals of the search. Those that are not proposed yet count as the mean of the last that were.
        workers: Trainings at a time.
    """
    proposals, settings = run.proposals, run.settings
    recent = proposals[-RECENT:]
    mean = sum(cost.seconds(individual.genome) for individual in recent) / len(recent)
    submitted = sum(cost.seconds(individual.genome) for individual in waiting)
    finalists = settings.finalists * settings.finalist_seeds if settings.retrainable else 0
    return (submitted + mean * (max(0, total - len(proposals)) + finalists)) / workers


def _learn(model: CostModel, evaluation: Evaluation, individual: Individual, twins: Twins) -> None:
    """Learn from a whole training alone: one that went on from a twin's state took less than its genome costs."""
    if (
        evaluation.complete
        and evaluation.shared_with is None
        and not (evaluation.phase == "search" and twins.goes_on(individual))
    ):
        model.learn(individual.config, evaluation.seconds)
