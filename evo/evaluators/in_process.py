"""Evaluates in this process, one task after another: for user-defined objectives."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from evo.errors import Interrupted
from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluate, Evaluator, Setup, StopRequest, Task
from evo.processes import noting_interrupts

CHECK_SECONDS = 0.1
"""How often a training that reports asks whether it is to go on."""


class InProcessEvaluator(Evaluator):
    """Evaluates a task when its result is asked for.

    Args:
        setup: Builds the evaluation function.
        stop_check: Called while a training reports; what it raises ends the training, and is raised by
            `next_completed`.
    """

    def __init__(self, setup: Setup, stop_check: Callable[[], None] = lambda: None):
        self._setup = setup
        self._evaluate: Evaluate | None = None
        self._tasks: deque[Task] = deque()
        self._stop = _Stop(stop_check, lambda: self.is_wanted())
        self._stop.send = lambda report: self.on_report(report)
        self._began: float | None = None

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
        self._began = time.monotonic()
        try:
            with noting_interrupts(self._note_interrupt):
                [evaluation] = self._evaluate([self._tasks[0]])
        except Interrupted:
            if self._stop.problem is None:  # it is no longer wanted: a resume continues it
                self._tasks.popleft()
                return None
            raise self._stop.problem from None
        finally:
            self._began = None
        self._tasks.popleft()
        return evaluation

    def _note_interrupt(self) -> None:
        self._stop.interrupted = True

    def in_hand(self) -> list[tuple[Task, float]]:
        return [] if self._began is None else [(self._tasks[0], time.monotonic() - self._began)]

    def cancel(self) -> None:
        self._tasks.clear()

    def close(self) -> None:
        self._tasks.clear()

    @property
    def pending(self) -> int:
        return len(self._tasks)


class _Stop(StopRequest):
    """Asks, from within a training, what the search would ask between two evaluations.

    Attributes:
        problem: What the stop check has raised.
    """

    def __init__(self, stop_check: Callable[[], None], is_wanted: Callable[[], object]):
        super().__init__()
        self._stop_check, self._is_wanted = stop_check, is_wanted
        self.problem: BaseException | None = None
        self._asked_at = time.monotonic()

    @property
    def requested(self) -> bool:
        now = time.monotonic()
        if now < self._asked_at + CHECK_SECONDS:
            return False
        self._asked_at = now
        try:
            self._stop_check()
        except BaseException as problem:  # raised where the user's code cannot catch it
            self.problem = problem
            return True
        return not self._is_wanted()
