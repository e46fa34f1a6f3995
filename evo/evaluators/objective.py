"""Evaluation by a user-defined function: f(config) or f(config, seed), higher is better."""

from __future__ import annotations

import inspect
import math
import numbers
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evo.evaluators.base import Evaluate, Setup, StopRequest, Task, cell_text, one_by_one, reason_of
from evo.individual import Evaluation

Objective = Callable[..., Any]


def takes_seed(objective: Objective) -> bool:
    """Return whether an objective takes the seed: it has a parameter `seed`, or two without a default."""
    try:
        parameters = inspect.signature(objective).parameters
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [one for one in parameters.values() if one.default is one.empty and one.kind in positional]
    return "seed" in parameters or len(required) >= 2


def name_of(objective: Objective) -> str:
    """Return the name that a run records for a function; the function itself is never written."""
    return str(getattr(objective, "__qualname__", type(objective).__name__))


@dataclass(frozen=True)
class ObjectiveSetup(Setup):
    """Calls the user's function and makes an `Evaluation` of what it returns or raises."""

    objective: Objective
    threads: int | None = None

    needs_main = True

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        facts = {"device": "", "precision": "", "engine": "objective", "threads": self.threads}
        return one_by_one(self._evaluate), facts

    def _evaluate(self, task: Task) -> Evaluation:
        started, clock = time.time(), time.perf_counter()
        try:
            values = self._call(task)
        except Exception as problem:  # any failure of the user's function is a row with its reason
            status = "out_of_memory" if isinstance(problem, MemoryError) else "failed"
            values = {"status": status, "error": reason_of(problem)}
        values |= {"worker": "main", "engine": "objective", "started": started}
        return task.evaluation(**values, seconds=time.perf_counter() - clock)

    def _call(self, task: Task) -> dict[str, Any]:
        config = dict(task.config)
        if takes_seed(self.objective):
            named = "seed" in inspect.signature(self.objective).parameters
            value = self.objective(config, seed=task.seed) if named else self.objective(config, task.seed)
        else:
            value = self.objective(config)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return {"status": "failed", "error": cell_text(f"the objective returned {value!r}, expected a number")}
        if not math.isfinite(value):
            error = f"the objective returned {float(value)}, expected a finite number"
            return {"status": "failed", "error": error}
        return {"status": "complete", "fitness": float(value)}
