"""Which waiting tasks start next: the costliest that fits into memory beside the running ones, and its batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from evo.evaluators.base import Task, TaskKey

MEMORY_SHARE = 0.85
"""How much of the free memory is planned with: estimates of what trainings need are not exact."""


class Planner:
    """Holds the waiting tasks. The longest starts first, which leaves little to wait for at the end (Graham, 1969).

    Args:
        batch: Which waiting tasks to start together with one; see `Setup.batch`.
    """

    def __init__(self, batch: Callable[[Task, Sequence[Task]], list[Task]] = lambda first, waiting: [first]) -> None:
        self.memory = math.inf
        self._batch = batch
        self._waiting: list[Task] = []
        self._waiting_alone: list[Task] = []
        self._running_alone: list[Task] = []
        self._unbatched: set[TaskKey] = set()
        self._limits: dict[TaskKey, float] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._waiting_alone)

    def limit_memory(self, free: float) -> None:
        """Plan with at most this many bytes, free before the first task."""
        self.memory = min(self.memory, MEMORY_SHARE * max(0.0, free))

    def add(self, task: Task) -> None:
        """Add a waiting task."""
        self._waiting.append(task)

    def put_back(self, tasks: Sequence[Task], *, single: bool = False) -> None:
        """Return tasks that were taken; they start next.

        Args:
            tasks: Which ones.
            single: Give each its own batch from now on: one of them may have harmed the others.
        """
        self._waiting[:0] = [replace(task, cost=math.inf) for task in tasks]
        self._unbatched |= {task.key for task in tasks if single}

    def clear(self) -> None:
        """Drop every waiting task."""
        self._waiting.clear()
        self._waiting_alone.clear()

    def take(self, running: Sequence[Task], is_welcome: Callable[[Task], bool] = lambda task: True) -> list[Task]:
        """Return the batch of tasks to start on one worker beside the running tasks; it is empty if none may start.

        If nothing is running, any task may start: only running it shows whether it really is too large.

        Args:
            running: Tasks in the same memory.
            is_welcome: Says which tasks may start on this worker.
        """
        batch = self._next(running, is_welcome)
        self._limits.update((task.key, self.memory) for task in batch)
        return batch

    def _next(self, running: Sequence[Task], is_welcome: Callable[[Task], bool]) -> list[Task]:
        if any(task in running for task in self._running_alone):
            return []
        used = sum(task.memory for task in running)
        fitting = [task for task in self._waiting if not running or used + task.memory <= self.memory]
        fitting = sorted(filter(is_welcome, fitting), key=lambda task: -task.cost)  # the first of equals stays first
        if fitting:
            batch = self._together(fitting[0], fitting[1:], used)
            for task in batch:
                self._waiting.remove(task)
            return batch
        alone = next(filter(is_welcome, self._waiting_alone), None)
        if running or alone is None:
            return []
        self._waiting_alone.remove(alone)
        self._running_alone.append(alone)
        return [alone]

    def _together(self, first: Task, others: Sequence[Task], used: float) -> list[Task]:
        """Return a task and those that belong to its batch, as far as memory allows."""
        batch, used = [first], used + first.memory
        if first.key in self._unbatched:
            return batch
        for task in self._batch(first, [task for task in others if task.key not in self._unbatched]):
            if task is not first and used + task.memory <= self.memory:
                batch.append(task)
                used += task.memory
        return batch

    def out_of_memory(self, task: Task, beside: Sequence[Task]) -> None:
        """Learn that a task did not fit beside others: plan with half of that memory, and run the task alone, last.

        Args:
            task: Which one.
            beside: Every task that ran beside it at some time. Together they never used more than was allowed when
                the task started.
        """
        used = min(task.memory + sum(other.memory for other in beside), self._limits.get(task.key, math.inf))
        self.memory = min(self.memory, used / 2)  # several that run out at the same time halve it once
        self.put_back_alone(task)

    def put_back_alone(self, task: Task) -> None:
        """Return a task that was taken; it runs last, with nothing beside it."""
        self._waiting_alone.append(task)
