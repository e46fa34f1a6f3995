"""Which waiting task starts next: the costliest that fits into memory beside those that run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from evo.evaluators.base import Task

MEMORY_SHARE = 0.85
"""Of the free memory: what a training is said to need is not exact."""


class Planner:
    """Keeps the tasks that wait. The longest start first: little is then left to wait for at the end (Graham, 1969)."""

    def __init__(self) -> None:
        self.memory = math.inf
        self._waiting: list[Task] = []
        self._solitary: list[Task] = []
        self._alone: list[Task] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._solitary)

    def limit_memory(self, free: float) -> None:
        """Take how many bytes are free before the first task."""
        self.memory = MEMORY_SHARE * free

    def add(self, task: Task) -> None:
        """Let a task wait."""
        self._waiting.append(task)

    def put_back(self, task: Task) -> None:
        """Let a task that was taken be the next one."""
        self._waiting.insert(0, replace(task, cost=math.inf))

    def clear(self) -> None:
        """Forget every task."""
        self._waiting.clear()
        self._solitary.clear()

    def take(self, running: Sequence[Task]) -> Task | None:
        """Return the task that is to start beside those that run, or None if there is none.

        Where nothing runs, any task may start: only memory itself can say that one is too large.
        """
        if any(task in running for task in self._alone):
            return None
        used = sum(task.memory for task in running)
        fitting = [task for task in self._waiting if not running or used + task.memory <= self.memory]
        if fitting:
            chosen = max(fitting, key=lambda task: task.cost)  # the first of equals
            self._waiting.remove(chosen)
            return chosen
        if running or not self._solitary:
            return None
        self._alone.append(self._solitary.pop(0))
        return self._alone[-1]

    def out_of_memory(self, task: Task, beside: Sequence[Task]) -> None:
        """Learn that a task did not fit beside others: half as much may run at a time, and it starts alone, last."""
        used = task.memory + sum(other.memory for other in beside)
        self.memory = min(self.memory, used / 2)  # several that run out at the same time halve it once
        self.put_back_alone(task)

    def put_back_alone(self, task: Task) -> None:
        """Let a task wait again that is to start with nothing beside it, last."""
        self._solitary.append(task)
