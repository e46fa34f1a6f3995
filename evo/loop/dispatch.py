"""Between the algorithm and the evaluator: what is known already is answered, the rest is submitted with its cost."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evo.evaluators.base import Evaluator, Task
from evo.individual import STEPS, Evaluation, Individual, training_seed
from evo.loop.cost import REMEMBERED, CostModel, cost_model, keep_speed
from evo.record.run import Run

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

    @property
    def running(self) -> int:
        """Evaluations that run at this moment."""
        return self._evaluator.running

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
        keep_speed(settings, here)

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


class Twins:
    """Finds the individuals of a run that share a learning curve.

    An objective of the user's own shares nothing, a model of the user's own only with equal genomes.
    """

    def __init__(self, run: Run):
        self._run = run
        self._seen = 0
        self._ids: dict[int, list[int]] = defaultdict(list)

    def is_awaited(self, individual: Individual) -> bool:
        """Return whether the evaluation of an earlier twin is still to come."""
        return any((twin, 0) not in self._run.evaluations for twin in self._earlier(individual))

    def goes_on(self, individual: Individual) -> bool:
        """Return whether an earlier twin was trained, so that the state after its last step may be there."""
        known = (self._run.evaluations.get((twin, 0)) for twin in self._earlier(individual))
        return any(evaluation is not None and evaluation.complete for evaluation in known)

    def read(self, individual: Individual) -> Evaluation | None:
        """Return the evaluation of an individual whose learning curve is known already; None if it is to be trained.

        A row that is read from the curve of a longer training has no `train_accuracy`: the curve does not hold it.
        """
        twins = self._earlier(individual)
        twins.sort(key=lambda twin: self._run.individuals[twin].genome != individual.genome)  # equals know everything
        for twin in twins:
            evaluation = self._run.evaluations[twin, 0]
            found = _part_of(evaluation, individual, self._run)
            if found is not None:
                origin = twin if evaluation.shared_with is None else evaluation.shared_with
                own = replace(found, individual=individual.id, shared_with=origin, started=time.time(), worker="")
                return replace(own, seconds=0.0, seconds_before=0.0)
        return None

    def _earlier(self, individual: Individual) -> list[int]:
        run = self._run
        if run.settings.objective is not None or individual.replicate:
            return []
        for other in run.individuals[self._seen :]:
            self._ids[training_seed(run.settings.seed, other.genome, replicate=0)].append(other.id)
        self._seen = len(run.individuals)
        seed = training_seed(run.settings.seed, individual.genome, replicate=0)
        return [number for number in self._ids[seed] if number < individual.id]


def _part_of(evaluation: Evaluation, individual: Individual, run: Run) -> Evaluation | None:
    """Return what the training that was evaluated says about the individual, if it says all that selection needs."""
    if evaluation.status not in ("complete", "diverged"):
        return None
    if run.individuals[evaluation.individual].genome == individual.genome:
        return evaluation
    if not run.shares_curves:
        return None
    steps = individual.genome.get(STEPS)
    for place, point in enumerate(evaluation.curve):
        accuracy, loss = (point.values.get(name) for name in (f"{run.settings.fitness}_accuracy", "loss"))
        measured: dict[str, Any] = {f"{run.settings.fitness}_accuracy": accuracy}
        if point.step == steps and accuracy is not None and loss is not None:
            return replace(
                evaluation,
                status="complete",
                fitness=accuracy,
                loss=loss,
                train_accuracy=None,
                steps_trained=point.step,
                curve=evaluation.curve[: place + 1],
                error="",
                **measured,
            )
    ended = evaluation.steps_trained
    on_the_grid = ended is not None and ended % run.space.training.evaluate_every == 0
    if evaluation.status == "diverged" and on_the_grid and isinstance(steps, int) and steps >= (ended or 0):
        return evaluation
    return None
