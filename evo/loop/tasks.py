"""A known list of trainings: each is evaluated once and recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluator, Task
from evo.loop.deadline import SUSPEND_SECONDS, StopCheck
from evo.loop.dispatch import Twins, cost_of
from evo.loop.search_loop import Observer, completed
from evo.record.run import Run


def evaluate_tasks(
    run: Run,
    evaluator: Evaluator,
    observer: Observer,
    stop_check: StopCheck,
    tasks: Sequence[Task],
    *,
    by_replicate: bool = False,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Evaluate those of a list of tasks that the journal does not hold yet, the costliest first.

    Args:
        run: Open for writing.
        evaluator: Started.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end here, to be resumed.
        tasks: What to train; the order of their costs, and their memory, are filled in here.
        by_replicate: Start the tasks of a replicate after those of the one before: a run that is stopped in between has
            about as many trainings of each configuration.
        is_over: Says whether to end here with what is done; trainings in flight save their state.
    """
    cost = cost_of(run, Twins(run))
    missing = [task for task in tasks if (task.individual, task.replicate) not in run.evaluations]
    missing.sort(key=lambda task: (task.replicate if by_replicate else 0, -cost.seconds(task.config, task.phase)))
    left = {(task.individual, task.replicate): task for task in missing}
    # The evaluator starts the costliest first: as costs, negative places keep this order.
    waiting = deque(replace(task, cost=-n, memory=cost.memory(task.config)) for n, task in enumerate(missing))

    def submit() -> None:
        evaluator.submit(*(waiting.popleft() for _ in range(min(len(waiting), evaluator.room()))))

    def record(evaluation: Evaluation) -> None:
        run.record(evaluation)
        task = left.pop((evaluation.individual, evaluation.replicate))
        if evaluation.complete:
            cost.learn(task.config, evaluation.seconds, task.phase)
        seconds = sum(cost.seconds(task.config, task.phase) for task in left.values())
        observer.evaluated(run, evaluation, seconds / max(1, evaluator.workers))

    def is_left() -> bool:
        return bool(left) and not is_over()

    for evaluation in completed(evaluator, tasks[0].phase, observer, stop_check, is_left=is_left, submit=submit):
        record(evaluation)
    if left:
        for evaluation in evaluator.pause(SUSPEND_SECONDS):
            record(evaluation)
