"""Evaluates in this process, one task after another: for user-defined objectives."""

from __future__ import annotations

from collections import deque
from typing import Any

from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluate, Evaluator, Setup, StopRequest, Task
from evo.processes import noting_interrupts


class InProcessEvaluator(Evaluator):
    """Evaluates a task when its result is asked for."""

    def __init__(self, setup: Setup):
        self._setup = setup
        self._stop = StopRequest()
        self._evaluate: Evaluate | None = None
        self._tasks: deque[Task] = deque()

    def start(self) -> dict[str, Any]:
        self._evaluate, facts = self._setup.build(self._stop)
        return facts

    def room(self) -> int:
        return max(0, 1 - len(self._tasks))

    def submit(self, *tasks: Task) -> None:
        self._tasks.extend(tasks)

    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        if not self._tasks:
            return None
        if self._evaluate is None:
            self.start()
        assert self._evaluate is not None
        with noting_interrupts(self._note_interrupt):
            [evaluation] = self._evaluate([self._tasks[0]])
        self._tasks.popleft()
        return evaluation

    def _note_interrupt(self) -> None:
        self._stop.interrupted = True

    def cancel(self) -> None:
        self._tasks.clear()

    def close(self) -> None:
        self._tasks.clear()

    @property
    def pending(self) -> int:
        return len(self._tasks)
