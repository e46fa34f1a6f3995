"""After the search: the best genomes are trained on new seeds, a winner is named, then the test set is read."""

from __future__ import annotations

import shutil
from dataclasses import replace

from evo.evaluators.base import Evaluator, Task
from evo.individual import replicate_number
from evo.loop.dispatch import task_of
from evo.loop.search_loop import Observer, StopCheck, completed
from evo.loop.tasks import evaluate_tasks
from evo.numbers import mean
from evo.record.history import on_new_seeds
from evo.record.run import Run
from evo.record.settings import Settings


def judge_finalists(run: Run, evaluator: Evaluator, observer: Observer, stop_check: StopCheck = lambda: None) -> None:
    """Train the finalists on new seeds, name the winner by their mean fitness, then measure all on the test set.

    The order is the point: nothing measured on the test set can influence the choice. What the journal already holds
    is not done again.

    Args:
        run: A run whose search is done; open for writing.
        evaluator: Started.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end here, to be resumed.
    """
    finalists = finalists_of(run)
    if finalists != run.finalists:
        run.record_finalists(finalists)
    if not finalists:
        return
    tested = measures_test(run.settings)
    tasks = [
        task_of(run, number, replicate_number("finalist", place), run.config_of(number), keep_weights=tested)
        for number in finalists
        for place in range(run.settings.finalist_seeds)
    ]
    waiting = [task for task in tasks if (task.individual, task.replicate) not in run.evaluations]
    if waiting:
        noun = "finalist" if len(finalists) == 1 else "finalists"
        observer.notify(f"training {len(finalists)} {noun} on new seeds ({len(waiting)} trainings)")
    evaluate_tasks(run, evaluator, observer, stop_check, tasks)
    _name_winner(run)
    if tested:
        _measure_test(run, evaluator, observer, stop_check, tasks)
        if run.path is not None:
            shutil.rmtree(run.path / "weights", ignore_errors=True)
    run.write_tables()


def measures_test(settings: Settings) -> bool:
    """Return whether the finalists of a run are measured on the test set: not if the search was."""
    return settings.objective is None and settings.fitness == "validation"


def finalists_of(run: Run) -> tuple[int, ...]:
    """Return the ids of the genomes that are to be trained again after a search that ends as it stands now."""
    if not run.settings.retrainable:
        return ()
    ranking = run.ranked()
    # A genome that was trained for only part of the steps is not a finalist beside those that were trained in full.
    furthest = [entry for entry in ranking if entry.reach == ranking[0].reach]
    return tuple(entry.id for entry in furthest[: run.settings.finalists])


def _name_winner(run: Run) -> None:
    """Name the finalist of the best mean fitness over its complete trainings; the search's rank decides a tie."""
    found = {individual: on_new_seeds(run, individual).fitness for individual in run.finalists}
    means = {individual: mean(fitness) for individual, fitness in found.items() if fitness}
    if means and run.winner is None:
        run.record_winner(max(means, key=lambda individual: means[individual]))


def _measure_test(run: Run, evaluator: Evaluator, observer: Observer, stop_check: StopCheck, tasks: list[Task]) -> None:
    for task in tasks:
        key = (task.individual, task.replicate)
        if run.evaluations[key].complete and run.tests.get(key, {}).get("test_accuracy") is None:
            evaluator.submit(replace(task, measure="test", checkpoint=None))
    for evaluation in completed(evaluator, "test", observer, stop_check, is_left=lambda: evaluator.pending):
        run.record_test(evaluation)
