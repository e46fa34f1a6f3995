"""What the values of a user's objective are worth: its fitness, or the goals that a search names among its measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evo.evaluation import SUCCESSES

FITNESS = "fitness"
MEASURED_BY_EVO = ("seconds",)
"""Goals that no objective needs to return."""


def judged(values: Mapping[str, Any], goals: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the fields of an evaluation with the fitness that the goals of its search give it.

    An evaluation that lacks a goal has failed: nothing says how good it is.

    Args:
        values: The fields of the evaluation, of an objective that has returned or paused.
        goals: "maximise" or "minimise" by the name of a measure; None where fitness is the only goal.
    """
    if values["status"] not in SUCCESSES:
        return dict(values)
    measured = {**values, **values.get("named", {})}
    if goals is None:
        return dict(values) if FITNESS in measured else _failed(values, _no_fitness(values))
    first = next(iter(goals))
    needed = [first] if values["status"] == "partial" else list(goals)  # a report has at least the first goal
    if FITNESS in measured and FITNESS not in goals and values["status"] == "complete":
        names = ", ".join(goals)
        reason = (
            f"the objective returned a number or a fitness, and the search has the objectives {names}; "
            "return a mapping of these"
        )
        return _failed(values, reason)
    if missing := [name for name in needed if name not in measured and name not in MEASURED_BY_EVO]:
        return _failed(values, f"{', '.join(missing)} was not measured, which the search has as an objective")
    return dict(values) if FITNESS in goals else {**values, FITNESS: measured[first]}


def _failed(values: Mapping[str, Any], reason: str) -> dict[str, Any]:
    return {**values, FITNESS: None, "status": "failed", "error": reason}


def _no_fitness(values: Mapping[str, Any]) -> str:
    names = [
        name
        for name in ("loss", "parameters", *values.get("named", {}))
        if name in {**values, **values.get("named", {})}
    ]
    name = names[0] if names else "loss"
    return f'the objective returned no fitness; say which measure counts: objectives={{"{name}": "minimise"}}'
