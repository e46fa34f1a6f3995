"""What evaluators with several workers share: waiting tasks go to free workers in batches, evaluations come back."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluator, Setup, Task, TaskKey, failure
from evo.evaluators.planner import Planner

LOOK_AHEAD = 32
"""How many tasks per worker an evaluator wants: the longest can only start first among those it has."""


@dataclass(eq=False)
class Worker:
    """A worker and the batch that it has in hand.

    Attributes:
        name: What tables call it.
        batch: The tasks that it was given.
        tasks: Those of them that have not finished.
        beside: Tasks of other workers that ran in the same memory at some time during this batch.
        since: When it began the batch.
        deadline: When the batch takes too long.
    """

    name: str
    batch: list[Task] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    beside: list[Task] = field(default_factory=list)
    since: float = 0.0
    deadline: float = math.inf

    def begin(self, batch: list[Task], others: Iterable[Worker]) -> None:
        """Take a batch, which runs beside what the others, who share the memory, have in hand."""
        self.beside = []
        for other in others:
            if other.tasks:
                other.beside += batch
                self.beside += other.tasks
        self.batch, self.tasks, self.since = batch, list(batch), time.monotonic()

    def finish(self, evaluation: Evaluation) -> Task | None:
        """Return the task that an evaluation completes; None if the worker does not have it in hand."""
        for task in self.tasks:
            if task.has(evaluation):
                self.tasks.remove(task)
                if not self.tasks:
                    self.deadline = math.inf
                return task
        return None

    def company_of(self, task: Task) -> list[Task]:
        """Return every task that shared the memory with one of the batch."""
        return [*self.beside, *(other for other in self.batch if other.key != task.key)]

    def clear(self) -> None:
        """Forget the batch."""
        self.batch, self.tasks, self.beside, self.deadline = [], [], [], math.inf


class WorkersEvaluator(Evaluator):
    """Plans tasks, gives batches of them to free workers, and collects the evaluations.

    Args:
        setup: Builds the evaluation function in each worker.
        timeout: Seconds that a batch may take; evaluations that it leaves unfinished have the status "timeout".
    """

    def __init__(self, setup: Setup, timeout: float | None):
        self._setup, self._timeout = setup, timeout
        self._facts: dict[str, Any] | None = None
        self._planner = Planner(lambda first, waiting: self._setup.batch(first, waiting))
        self._finished: deque[Evaluation] = deque()
        self._losses: Counter[TaskKey] = Counter()

    def _decide(self, facts: dict[str, Any]) -> None:
        """Learn the facts of the search, which all workers follow from now on."""
        self._facts, self._setup = facts, self._setup.decided(facts)

    @abstractmethod
    def _all_workers(self) -> Sequence[Worker]:
        """Return the workers there are now."""

    @abstractmethod
    def _hand_out(self) -> None:
        """Give waiting tasks to free workers."""

    @abstractmethod
    def _serve(self, timeout: float | None) -> None:
        """Wait for news, for `timeout` seconds at most, and act on it; then hand out tasks."""

    @abstractmethod
    def _abandon(self, worker: Worker) -> None:
        """Stop waiting for a worker's batch, and make the worker free again."""

    def room(self) -> int:
        return max(0, LOOK_AHEAD * max(1, self.workers) - self.pending)

    def submit(self, *tasks: Task) -> None:
        for task in tasks:
            self._planner.add(task)
        self._hand_out()

    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        end = None if timeout is None else time.monotonic() + timeout
        # Other news than a result ends a call of `_serve`, too; only a result or the timeout ends this loop.
        while not self._finished and (end is not None or self.pending):
            left = None if end is None else max(0.0, end - time.monotonic())
            self._serve(left)
            if left == 0.0:
                break
        return self._finished.popleft() if self._finished else None

    def cancel(self) -> None:
        self._planner.clear()
        self._finished.clear()
        for worker in self._busy():
            self._abandon(worker)

    @property
    def pending(self) -> int:
        return len(self._planner) + self.running + len(self._finished)

    @property
    def restarts(self) -> bool:
        return True

    @property
    def running(self) -> int:
        return len(tasks_of(self._all_workers()))

    def in_hand(self) -> list[tuple[Task, float]]:
        now = time.monotonic()
        return [(task, now - worker.since) for worker in self._busy() for task in worker.tasks]

    def _taken(self) -> list[Evaluation]:
        """Return the evaluations that were not returned yet, and forget them."""
        finished = list(self._finished)
        self._finished.clear()
        return finished

    def _busy(self) -> list[Worker]:
        return [worker for worker in self._all_workers() if worker.tasks]

    def _deadline(self) -> float:
        """Return when a batch that begins now takes too long."""
        return time.monotonic() + self._timeout if self._timeout else math.inf

    def _patience(self, timeout: float | None) -> float | None:
        """Return how long to wait for news: until the first deadline, `timeout` seconds at most."""
        first = min((worker.deadline for worker in self._all_workers()), default=math.inf)
        wait = min(math.inf if timeout is None else timeout, max(0.0, first - time.monotonic()))
        return None if wait == math.inf else wait

    def _finish(self, worker: Worker, evaluation: Evaluation) -> bool:
        """Collect an evaluation; a task that ran out of memory beside others is run again by itself instead."""
        task = worker.finish(evaluation)
        if task is None:
            return False
        if evaluation.status == "out_of_memory" and (beside := worker.company_of(task)):
            self._planner.out_of_memory(task, beside)
            return False
        self._finished.append(replace(evaluation, worker=worker.name))
        return True

    def _lose(self, worker: Worker, tries: int, reason: str, *, lacked_memory: bool = False) -> None:
        """Return the unfinished tasks of a lost worker to the plan, or let them fail after too many losses.

        One loss says little about a task. A second one may be the system's answer to a lack of memory, so the task is
        then tried alone.

        Args:
            worker: The one that is lost.
            tries: How many losses are too many.
            reason: What a failed task records.
            lacked_memory: Whether the worker was ended as the system does it when memory is lacking.
        """
        again = []
        for task in worker.tasks:
            self._losses[task.key] += 1
            if self._losses[task.key] >= tries:
                self._finished.append(failure(task, "failed", reason, worker.name))
            elif lacked_memory and (beside := worker.company_of(task)):
                self._planner.out_of_memory(task, beside)
            elif self._losses[task.key] > 1:
                self._planner.put_back_alone(task)
            else:
                again.append(task)
        self._planner.put_back(again, single=True)

    def _end_overdue(self) -> None:
        for worker in self._all_workers():
            if time.monotonic() > worker.deadline:
                self._overdue(worker)

    def _overdue(self, worker: Worker) -> None:
        reason = f"took longer than --timeout {self._timeout:g} s"
        for task in worker.tasks:
            self._finished.append(failure(task, "timeout", reason, worker.name, self._timeout or 0.0))
        self._abandon(worker)


def tasks_of(workers: Iterable[Worker]) -> list[Task]:
    """Return every task that some workers have in hand."""
    return [task for worker in workers for task in worker.tasks]
