"""After the search: the best genomes are trained on new seeds, a winner is named, then the test set is read."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

from evo.evaluation import replicate_number
from evo.evaluators.base import Evaluator, Task
from evo.files import remove_file
from evo.loop.deadline import Deadline
from evo.loop.dispatch import Twins, cost_of, task_of
from evo.loop.ending import plan_in, seconds_of_test
from evo.loop.plan import Plan, plan_of, seconds_of
from evo.loop.search_loop import Observer, completed
from evo.loop.tasks import evaluate_tasks
from evo.numbers import mean
from evo.record.new_seeds import on_new_seeds
from evo.record.run import Run
from evo.record.settings import Settings


def judge_finalists(
    run: Run,
    evaluator: Evaluator,
    observer: Observer,
    deadline: Deadline,
    *,
    ended_early: bool = False,
    in_time: bool = False,
) -> None:
    """Train the finalists on new seeds, name the winner by their mean fitness, then measure all on the test set.

    The order is the point: nothing measured on the test set can influence the choice. What the journal already holds
    is not done again.

    Args:
        run: A run whose search is done, or ends here; open for writing.
        evaluator: Started.
        observer: Watches.
        deadline: Called often; raises `Stop` to end here, to be resumed.
        ended_early: Whether the search could go on.
        in_time: Whether to train no more finalists, on no more seeds, than the time allows.
    """
    asked = plan_of(run)
    plan = _plan_in_time(run, evaluator, deadline) if in_time and deadline.left < math.inf else asked
    _settle(run, plan, ended_early=ended_early or plan != asked)
    if not plan.individuals:
        return
    _say_what_is_trained(run, plan, asked, observer)
    tested = measures_test(run.settings)
    _train(run, evaluator, observer, deadline, plan, in_time=in_time)
    _name_winner(run)
    if tested:
        # A winner is worth the seconds that its test may take beyond the time: only a signal ends it.
        _measure_test(run, evaluator, observer, deadline)
    run.write_tables()


def measures_test(settings: Settings) -> bool:
    """Return whether the finalists of a run are measured on the test set: not if the search was."""
    return settings.objective is None and settings.fitness == "validation"


def _plan_in_time(run: Run, evaluator: Evaluator, deadline: Deadline) -> Plan:
    return plan_in(deadline.left, run, cost_of(run, Twins(run)), max(1, evaluator.workers))


def _settle(run: Run, plan: Plan, *, ended_early: bool) -> None:
    """Record who the finalists are, if the journal does not say so yet."""
    seeds = plan.seeds if plan.individuals else run.finalist_seeds
    if (run.finalists, run.finalist_seeds, run.ended_early) != (plan.individuals, seeds, ended_early):
        run.record_finalists(plan.individuals, seeds, ended_early=ended_early)


def _say_what_is_trained(run: Run, plan: Plan, asked: Plan, observer: Observer) -> None:
    settings = run.settings
    waiting = sum(key not in run.evaluations for key in plan.trainings())
    if not waiting:
        return
    noun = "finalist" if len(plan.individuals) == 1 else "finalists"
    observer.notify(f"training {len(plan.individuals)} {noun} on new seeds ({waiting} trainings)")
    if plan != asked:
        observer.notify(f"note: {plan.text}: there is no time for {asked.text}; the rest:  {run.command('resume')}")
    elif settings.finalists_by_cost and (plan.seeds < settings.finalist_seeds or _left_out_for_cost(run, plan)):
        observer.notify(
            f"note: {plan.text}, so that they cost no more than the search; --finalists {settings.finalists} "
            f"trains {settings.finalists} on {settings.finalist_seeds} seeds each"
        )


def _left_out_for_cost(run: Run, plan: Plan) -> bool:
    return len(plan.individuals) < len(plan_of(run, by_cost=False).individuals)


def _train(
    run: Run, evaluator: Evaluator, observer: Observer, deadline: Deadline, plan: Plan, *, in_time: bool
) -> None:
    """Train the finalists of a plan; if the time is over before, those that are trained are the finalists."""
    is_limited = in_time and deadline.left < math.inf
    workers = max(1, evaluator.workers)
    test = seconds_of_test(run, seconds_of(run, plan, cost_of(run, Twins(run)), workers)) if is_limited else 0.0

    def is_over() -> bool:
        return is_limited and deadline.left <= test and bool(_trained(run, plan).individuals)

    evaluate_tasks(run, evaluator, observer, deadline, _tasks(run, plan), by_replicate=is_limited, is_over=is_over)
    trained = _trained(run, plan)
    if is_limited and trained != plan:
        observer.notify(f"note: {trained.text}: the time is over; the rest of {plan.text}:  {run.command('resume')}")
        _settle(run, trained, ended_early=True)


def _trained(run: Run, plan: Plan) -> Plan:
    """Return as much of a plan as is recorded.

    That is all finalists, on as many seeds as all of them have; else, on one seed, those that have the first.
    """
    for seeds in range(plan.seeds, 0, -1):
        part = Plan(plan.individuals, seeds)
        if all(key in run.evaluations for key in part.trainings()):
            return part
    first = replicate_number("finalist")
    return Plan(tuple(number for number in plan.individuals if (number, first) in run.evaluations), 1)


def _tasks(run: Run, plan: Plan) -> list[Task]:
    tested = measures_test(run.settings)
    return [
        task_of(run, number, replicate, run.config_of(number), keep_weights=tested)
        for number, replicate in plan.trainings()
    ]


def _name_winner(run: Run) -> None:
    """Name the finalist of the best mean fitness over its complete trainings; the search's rank decides a tie."""
    found = {individual: on_new_seeds(run, individual).fitness for individual in run.finalists}
    means = {individual: mean(fitness) for individual, fitness in found.items() if fitness}
    if means and run.winner is None:
        run.record_winner(max(means, key=lambda individual: run.settings.sign * means[individual]))


def _measure_test(run: Run, evaluator: Evaluator, observer: Observer, deadline: Deadline) -> None:
    """Measure the trained finalists on the test set; their weights are not needed after that.

    Those of finalists that the time has cut off are tested after a resume.
    """
    tasks = _tasks(run, Plan(run.finalists, run.finalist_seeds))
    for task in tasks:
        key = (task.individual, task.replicate)
        if run.evaluations[key].complete and run.tests.get(key, {}).get("test_accuracy") is None:
            evaluator.submit(replace(task, measure="test", checkpoint=None))
    for evaluation in completed(evaluator, "test", observer, deadline.stop_check, is_left=lambda: evaluator.pending):
        run.record_test(evaluation)
    for task in tasks:
        if task.weights is not None and run.ended_early:
            remove_file(Path(task.weights))
    if run.path is not None and not run.ended_early:
        shutil.rmtree(run.path / "weights", ignore_errors=True)
