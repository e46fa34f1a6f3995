"""Genomes that differ in steps alone share one learning curve: what was trained once is read, not trained again.

Their trainings have the same seed (`training_seed` leaves the steps out), and with a constant learning rate a long one
passes through every shorter one, to the last bit. Who shares with whom follows from the order of the ids alone, so the
table does not depend on who finished first.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace

from evo.individual import STEPS, Evaluation, Individual, training_seed
from evo.record.run import Run


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
        accuracy = getattr(point, f"{run.settings.fitness}_accuracy")
        if point.step == steps and accuracy is not None and point.loss is not None:
            return replace(
                evaluation,
                status="complete",
                fitness=accuracy,
                loss=point.loss,
                train_accuracy=None,
                steps_trained=point.step,
                curve=evaluation.curve[: place + 1],
                error="",
                **{f"{run.settings.fitness}_accuracy": accuracy},
            )
    ended = evaluation.steps_trained
    on_the_grid = ended is not None and ended % run.space.training.evaluate_every == 0
    if evaluation.status == "diverged" and on_the_grid and isinstance(steps, int) and steps >= (ended or 0):
        return evaluation
    return None
