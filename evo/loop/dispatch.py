"""Between strategy and evaluator: answers proposals that are already known, and submits the rest with their costs."""

from __future__ import annotations

import math
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from evo.evaluation import MEASURES, OWN_MEASURES, Evaluation, fitness_from, phase_of
from evo.evaluators.base import Evaluator, Task
from evo.individual import Genome, Individual, training_seed
from evo.loop.cost import CostModel, cost_model, keep_speed, training_images
from evo.record.run import Run

RECENT = 32
"""The mean cost of this many last proposals stands for those to come."""
LATE = 0.1
"""An evaluation that should have ended is expected to take this share of its time from now on."""


class Dispatch:
    """Gives the proposals of a run to an evaluator; those that share a learning curve one after another.

    Args:
        run: Knows what was evaluated.
        evaluator: Evaluates the rest; already started.
        urgent: Individuals that start before all others.
    """

    def __init__(self, run: Run, evaluator: Evaluator, *, urgent: range = range(0)):
        self._run, self._evaluator, self._urgent = run, evaluator, urgent
        self._twins = Twins(run)
        self._cost = cost_of(run, self._twins)
        self._held: list[Individual] = []
        self._answers: deque[Evaluation] = deque()
        self._submitted: dict[tuple[int, int], Individual] = {}
        self._cost_here = cost_model(run.settings, run.space.training)
        self._predicted_at = self._ends = -math.inf

    @property
    def pending(self) -> int:
        """Proposals that were submitted and have no evaluation yet."""
        return len(self._held) + len(self._answers) + self._evaluator.pending

    def watch(self, is_wanted: Callable[[], object]) -> None:
        """See `Evaluator.is_wanted`."""
        self._evaluator.is_wanted = is_wanted

    @property
    def running(self) -> int:
        """Evaluations that run at this moment."""
        return self._evaluator.running

    @property
    def workers(self) -> int:
        """Evaluations that can run at a time; a cluster may have no workers at the moment."""
        return max(1, self._evaluator.workers)

    @property
    def restarts(self) -> bool:
        """Whether a pause ends worker processes, which take some time to start again."""
        return self._evaluator.restarts

    @property
    def cost(self) -> CostModel:
        """What is known of the costs of this run's trainings."""
        return self._cost

    def usual_seconds(self) -> float:
        """Return the predicted seconds of a proposal to come, the median of the last ones; 0 before the first."""
        recent = self._run.proposals[-RECENT:]
        return statistics.median(self._cost.seconds(one.trained_now) for one in recent) if recent else 0.0

    def seconds_in_hand(self) -> list[float]:
        """Return the predicted seconds to the end of each evaluation that runs now."""
        found = []
        for task, since in self._evaluator.in_hand():
            proposal = self._submitted.get((task.individual, task.replicate))
            if proposal is None:  # its evaluation is recorded already, from another worker
                continue
            whole = self._cost.seconds(proposal.trained_now)
            # One that takes longer than was predicted may take longer still.
            found.append(max(whole - since, LATE * max(whole, since)))
        return found

    def pause(self, seconds: float) -> list[Evaluation]:
        """Drop what has no evaluation yet, see `Evaluator.pause`; return what has finished meanwhile."""
        self._held.clear()
        self._answers.clear()
        known = self._run.evaluations
        late = [found.after(known.get((found.individual, found.replicate))) for found in self._evaluator.pause(seconds)]
        self._submitted.clear()
        return late

    def room(self) -> int:
        """Return how many more proposals are wanted now."""
        return max(0, self._evaluator.room() - len(self._held) - len(self._answers))

    def submit(self, *proposals: Individual) -> None:
        """Answer proposals from what is known, hold them until their twins are evaluated, or have them evaluated."""
        tasks: list[Task] = []
        for individual in proposals:
            if self._is_earlier(individual):
                self._answers.append(self._earlier(individual))
            elif self._twins.is_awaited(individual):
                self._held.append(individual)
            elif (known := self._twins.read(individual)) is not None:
                self._answers.append(known)
            else:
                tasks.append(self._task(individual))
        self._evaluator.submit(*tasks)

    def _is_earlier(self, individual: Individual) -> bool:
        return individual.id < len(self._run.settings.earlier) and not individual.replicate

    def _earlier(self, individual: Individual) -> Evaluation:
        """Return the result of a table that the search began with; it took no time of this run."""
        result = self._run.settings.earlier[individual.id]
        measures = {name: value for name, value in result.items() if name != "genome"}
        measures |= {name: round(value) for name, value in measures.items() if name == "parameters"}
        own = {name: value for name, value in measures.items() if name in ("fitness", *MEASURES, *OWN_MEASURES)}
        named = {name: value for name, value in measures.items() if name not in own}
        return Evaluation(individual.id, 0, seed=0, status="earlier", **own, named=named)

    def next_completed(self, timeout: float) -> Evaluation | None:
        """Return the next evaluation, or None if there was none within `timeout` seconds."""
        if self._answers:
            return self._answers.popleft()
        found = self._evaluator.next_completed(timeout)
        return found and found.after(self._run.evaluations.get((found.individual, found.replicate)))

    def recorded(self, evaluation: Evaluation) -> None:
        """Learn the cost of an evaluation that is now in the journal, and submit the twins that waited for it."""
        self._evaluator.recorded()
        self._submitted.pop((evaluation.individual, evaluation.replicate), None)
        for model in (self._cost, self._cost_here):
            _learn(model, evaluation, self._run, self._twins)
        held, self._held = self._held, []
        self.submit(*held)

    def seconds_left(self, total: int) -> float | None:
        """Return the seconds left of a search of `total` proposals and of its finalists; None if unknown.

        Proposals to come count as the mean of the last ones. Predicted at most once a second.
        """
        if not self._cost.trainings:
            return None
        now = time.monotonic()
        if now > self._predicted_at + 1.0:
            seconds = predicted_seconds(self._run, self._cost, list(self._submitted.values()), total, self.workers)
            self._predicted_at, self._ends = now, now + seconds
        return max(0.0, self._ends - now)

    def __enter__(self) -> Dispatch:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave what this command's trainings tell about this machine to later runs."""
        keep_speed(self._run.settings, self._cost_here)

    def _task(self, individual: Individual) -> Task:
        run, config = self._run, individual.trained_now
        self._submitted[individual.id, individual.replicate] = individual
        task = task_of(run, individual.id, individual.replicate, individual.config, keep_weights=False)
        continues = not individual.replicate and (run.shares_curves(individual.genome) or run.pauses(individual))
        state = run.last_state(task.seed) if continues else None
        cost = math.inf if individual.id in self._urgent else self._cost.seconds(config)
        memory = self._cost.memory(config)
        until = individual.until
        if until is not None and run.settings.objective is None:
            until = run.space.training.length(config, training_images(run.settings)).steps
        return replace(task, state=state, cost=cost, memory=memory, until=until)


def task_of(run: Run, individual: int, replicate: int, config: Genome, *, keep_weights: bool) -> Task:
    """Return the whole training of an individual's configuration on the seed of a replicate."""
    return Task(
        individual,
        replicate,
        training_seed(run.settings.seed, config, replicate),
        config,
        phase=phase_of(replicate),
        weights=run.weights(individual, replicate) if keep_weights else None,
        checkpoint=run.checkpoint(individual, replicate),
        folder=run.trial_folder(individual, replicate),
        confusion=run.counts_confusion(phase_of(replicate)),
    )


def cost_of(run: Run, twins: Twins) -> CostModel:
    """Return the cost model of a run, fitted to its trainings so far."""
    settings = run.settings
    model = cost_model(settings, run.space.training)
    here = settings.engine, settings.precision
    for evaluation in run.results:
        if settings.objective is not None or (evaluation.engine, evaluation.precision) == here:
            _learn(model, evaluation, run, twins)
    return model


def predicted_seconds(run: Run, cost: CostModel, waiting: Sequence[Individual], total: int, workers: int) -> float:
    """Return how long the rest of a search takes, with its finalists.

    Args:
        run: Has at least one proposal.
        cost: The cost model of the run.
        waiting: Proposals that are not evaluated yet.
        total: Proposals of the search. Those to come count as the mean of the last ones.
        workers: Trainings at a time.
    """
    settings, mean = run.settings, _mean_seconds(run, cost)
    submitted = sum(cost.seconds(individual.trained_now) for individual in waiting)
    finalists = settings.finalists * settings.finalist_seeds if settings.retrainable else 0
    if settings.finalists_by_cost:
        finalists = min(finalists, total)
    return (submitted + mean * (max(0, total - len(run.counted_proposals)) + finalists)) / workers


def _mean_seconds(run: Run, cost: CostModel) -> float:
    """Return the mean of the predicted seconds of the last proposals."""
    recent = run.proposals[-RECENT:]
    return sum(cost.seconds(individual.trained_now) for individual in recent) / len(recent)


def _learn(model: CostModel, evaluation: Evaluation, run: Run, twins: Twins) -> None:
    """Learn what a training costs, if all of its steps were done in one go.

    A training that began at a twin's state, or at a pause, took less than its configuration costs.
    """
    if not evaluation.succeeded or evaluation.earlier or evaluation.shared_with is not None:
        return
    individual = run.individuals[evaluation.individual]
    if evaluation.phase != "search":
        model.learn(run.config_of(individual.id), evaluation.seconds, evaluation.phase)
    elif individual.until is None and not twins.has_begun(individual):
        model.learn(individual.config, evaluation.seconds)
    elif individual.until is not None and evaluation.status == "partial" and not evaluation.seconds_before:
        model.learn(individual.trained_now, evaluation.seconds)


class Twins:
    """Finds the individuals of a run that share a learning curve: those whose genomes differ only in their steps.

    With an objective, nothing is shared; with a user-defined model, only equal genomes share.
    """

    def __init__(self, run: Run):
        self._run = run
        self._seen = 0
        self._ids: dict[int, list[int]] = defaultdict(list)

    def is_awaited(self, individual: Individual) -> bool:
        """Return whether an earlier twin has no evaluation yet."""
        return any((twin, 0) not in self._run.evaluations for twin in self._earlier(individual))

    def has_begun(self, individual: Individual) -> bool:
        """Return whether an earlier twin was trained, so that the state after its last step may be there."""
        known = (self._run.evaluations.get((twin, 0)) for twin in self._earlier(individual))
        return any(found is not None and found.succeeded and not found.earlier for found in known)

    def read(self, individual: Individual) -> Evaluation | None:
        """Return the evaluation of an individual whose learning curve is known; None if it must be trained.

        A row that is read from the curve of a longer training has no `train_accuracy`, because the curve has none.
        """
        twins = self._earlier(individual)
        twins.sort(key=lambda twin: self._run.individuals[twin].genome != individual.genome)  # equal genomes first
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
        # A training that pauses is answered by no other: it decides itself how it continues.
        if run.settings.objective is not None or individual.replicate or run.pauses(individual):
            return []
        for other in run.individuals[self._seen :]:
            self._ids[training_seed(run.settings.seed, other.genome, replicate=0)].append(other.id)
        self._seen = len(run.individuals)
        seed = training_seed(run.settings.seed, individual.genome, replicate=0)
        twins = [number for number in self._ids[seed] if number < individual.id]
        if run.shares_curves(individual.genome):
            return twins
        return [number for number in twins if run.individuals[number].genome == individual.genome]


def _part_of(evaluation: Evaluation, individual: Individual, run: Run) -> Evaluation | None:
    """Return what the evaluation of a twin says about an individual, if it says all that selection needs."""
    if evaluation.status not in ("complete", "diverged"):
        return None
    if run.individuals[evaluation.individual].genome == individual.genome:
        return evaluation
    if not run.shares_curves(individual.genome):
        return None
    _, steps, every = run.space.training.length(individual.genome, training_images(run.settings))
    measure = f"{run.settings.fitness}_accuracy"
    for place, point in enumerate(evaluation.curve, start=1):
        accuracy, loss = point.values.get(measure), point.values.get("loss")
        fitness = fitness_from(point.values, run.settings.fitness, run.settings.measure)
        if point.step == steps and accuracy is not None and loss is not None and fitness is not None:
            found: dict[str, Any] = {"fitness": fitness, measure: accuracy, "loss": loss, "train_accuracy": None}
            found |= {"steps_trained": point.step, "curve": evaluation.curve[:place]}
            return replace(evaluation, status="complete", error="", **found)
    ended = evaluation.steps_trained
    on_the_grid = ended is not None and ended % every == 0
    if evaluation.status == "diverged" and on_the_grid and steps >= (ended or 0):
        return evaluation
    return None
