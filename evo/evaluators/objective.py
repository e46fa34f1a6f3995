"""Evaluation by a user-defined function: f(config) or f(config, seed), higher is better."""

from __future__ import annotations

import inspect
import math
import numbers
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluate, Setup, StopRequest, Task, ends_the_search, one_by_one
from evo.plain_text import cell_text, reason_of, shown, text_of
from evo.tracebacks import traceback_of

Objective = Callable[..., Any]

EXIT_HINT = ": the objective wants to end its process; let it return a number or raise an error instead"
DURATIONS = ("m", "M")
"""NumPy's kinds of times: their numbers say nothing without the unit."""


def takes_seed(objective: Objective) -> bool:
    """Return whether an objective takes the seed: it has a parameter `seed`, or two without a default."""
    return _way_of_the_seed(objective) is not None


def _way_of_the_seed(objective: Objective) -> Literal["by name", "by position"] | None:
    try:
        parameters = list(inspect.signature(objective).parameters.values())
    except BaseException as problem:  # a callable without a signature, or whose own code for it fails
        if ends_the_search(problem):
            raise
        return None
    by_position = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if any(one.name == "seed" and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) for one in parameters):
        return "by name"
    required = [one for one in by_position if one.default is one.empty]
    is_second = len(by_position) > 1 and by_position[1].name == "seed"
    return "by position" if is_second or len(required) >= 2 else None


def name_of(objective: Objective) -> str:
    """Return the name that a run records for a function; the function itself is never written."""
    try:
        name = objective.__qualname__
    except Exception:  # an object that can be called, such as a functools.partial
        name = type(objective).__name__
    return cell_text(text_of(name))


class NoNumberError(Exception):
    """An objective has returned something that is not a fitness."""


def number_of(value: Any) -> float:
    """Return the finite number that an objective has returned.

    It may be any real number, a Decimal, or an array or tensor of one number and no dimension, as torch's losses are.

    Raises:
        NoNumberError: It is not a number, several numbers, or not finite.
        Exception: What the value's own methods raise.
    """
    number = value
    if hasattr(value, "shape") and hasattr(value, "tolist"):
        if shape := tuple(value.shape):
            raise NoNumberError(f"the objective returned {shown(value)} of the shape {shape}, expected one number")
        if getattr(getattr(value, "dtype", None), "kind", "") in DURATIONS:
            raise NoNumberError(f"the objective returned {shown(value)}, expected a number")
        number = value.detach() if hasattr(value, "detach") else value  # torch warns of a gradient that is lost
        number = number.tolist()  # a masked value becomes None
    if isinstance(number, bool) or not isinstance(number, numbers.Real | Decimal):
        raise NoNumberError(f"the objective returned {shown(value)}, expected a number")
    fitness = float(number)
    if not math.isfinite(fitness):
        raise NoNumberError(f"the objective returned {fitness}, expected a finite number")
    return fitness


@dataclass(frozen=True)
class ObjectiveSetup(Setup):
    """Calls the user's function and makes an `Evaluation` of what it returns or raises."""

    objective: Objective
    threads: int | None = None

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        facts = {"device": "", "precision": "", "engine": "objective", "threads": self.threads}
        return one_by_one(lambda task: self._evaluate(task, stop)), facts

    def _evaluate(self, task: Task, stop: StopRequest) -> Evaluation:
        started, clock = time.time(), time.perf_counter()
        try:
            values = self._call(task)
        except BaseException as problem:  # any failure of the user's function is a row with its reason
            if ends_the_search(problem):
                raise
            stop.end_if_obeyed_by(problem)
            status = "out_of_memory" if issubclass(type(problem), MemoryError) else "failed"
            hint = EXIT_HINT if issubclass(type(problem), SystemExit) else ""
            values = {"status": status, "error": reason_of(problem) + hint, "traceback": traceback_of(problem)}
        values |= {"worker": "main", "engine": "objective", "started": started}
        return task.evaluation(**values, seconds=time.perf_counter() - clock)

    def _call(self, task: Task) -> dict[str, Any]:
        config = dict(task.config)
        match _way_of_the_seed(self.objective):
            case "by name":
                value = self.objective(config, seed=task.seed)
            case "by position":
                value = self.objective(config, task.seed)
            case None:
                value = self.objective(config)
        try:
            return {"status": "complete", "fitness": number_of(value)}
        except NoNumberError as problem:
            return {"status": "failed", "error": str(problem)}
