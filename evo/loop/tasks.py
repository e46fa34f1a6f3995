"""A known list of trainings: each is evaluated once and recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from evo.evaluators.base import Evaluator, Task
from evo.loop.dispatch import Twins, cost_of
from evo.loop.search_loop import Observer, StopCheck, completed
from evo.record.run import Run


def evaluate_tasks(
    run: Run,
    evaluator: Evaluator,
    observer: Observer,
    stop_check: StopCheck,
    tasks: Sequence[Task],
    *,
    by_replicate: bool = False,
) -> None:
    """Evaluate those of a list of tasks that the journal does not hold yet, the costliest first.

    Args:
        run: Open for writing.
        evaluator: Started.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end here, to be resumed.
        tasks: What to train; their costs are filled in here.
        by_replicate: Start the tasks of a replicate after those of the one before: a run that is stopped in between has
            about as many trainings of each configuration.
    """
    cost = cost_of(run, Twins(run))
    known = [task for task in tasks if (task.individual, task.replicate) not in run.evaluations]
    priced = [replace(task, cost=cost.seconds(task.config), memory=cost.memory(task.config)) for task in known]
    waiting = deque(sorted(priced, key=lambda task: (task.replicate if by_replicate else 0, -task.cost)))
    left = {(task.individual, task.replicate): task for task in waiting}

    def submit() -> None:
        while waiting and evaluator.pending < evaluator.workers:  # not all at once: the evaluator would reorder them
            evaluator.submit(waiting.popleft())

    stage = tasks[0].phase
    for evaluation in completed(evaluator, stage, observer, stop_check, is_left=lambda: left, submit=submit):
        run.record(evaluation)
        task = left.pop((evaluation.individual, evaluation.replicate))
        if evaluation.complete:
            cost.learn(task.config, evaluation.seconds)
        seconds = sum(cost.seconds(task.config) for task in left.values())
        observer.evaluated(run, evaluation, seconds / max(1, evaluator.workers))
