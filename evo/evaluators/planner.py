"""Which waiting task starts next: the costliest that fits into memory beside those that run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
        self._limits: dict[tuple[int, int, str], float] = {}

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

    def take(self, running: Sequence[Task], is_welcome: Callable[[Task], bool] = lambda task: True) -> Task | None:
        """Return the task that is to start beside those that run, or None if there is none.

        Where nothing runs, any task may start: only memory itself can say that one is too large.

        Args:
            running: Tasks in the same memory.
            is_welcome: Says which tasks may start where this one is to.
        """
        chosen = self._next(running, is_welcome)
        if chosen is not None:
            self._limits[chosen.individual, chosen.replicate, chosen.measure] = self.memory
        return chosen

    def _next(self, running: Sequence[Task], is_welcome: Callable[[Task], bool]) -> Task | None:
        if any(task in running for task in self._alone):
            return None
        used = sum(task.memory for task in running)
        fitting = [task for task in self._waiting if not running or used + task.memory <= self.memory]
        fitting = [task for task in fitting if is_welcome(task)]
        if fitting:
            chosen = max(fitting, key=lambda task: task.cost)  # the first of equals
            self._waiting.remove(chosen)
            return chosen
        alone = next((task for task in self._solitary if is_welcome(task)), None)
        if running or alone is None:
            return None
        self._solitary.remove(alone)
        self._alone.append(alone)
        return alone

    def out_of_memory(self, task: Task, beside: Sequence[Task]) -> None:
        """Learn that a task did not fit beside others: half as much may run at a time, and it starts alone, last.

        Args:
            task: Which one.
            beside: All that ran beside it at some time; no more ran at any time than could when it started.
        """
        limit = self._limits.get((task.individual, task.replicate, task.measure), math.inf)
        used = min(task.memory + sum(other.memory for other in beside), limit)
        self.memory = min(self.memory, used / 2)  # several that run out at the same time halve it once
        self.put_back_alone(task)

    def put_back_alone(self, task: Task) -> None:
        """Let a task wait again that is to start with nothing beside it, last."""
        self._solitary.append(task)
