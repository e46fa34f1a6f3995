"""The constrained problems: where a configuration is allowed, and what it is worth; only the standard library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

GENES = ("x", "y")
LOW, HIGH = 0.0, 2.0


@dataclass(frozen=True)
class Problem:
    """Maximise x + y on [0, 2]², where some of the square is not allowed.

    Attributes:
        name: What the tables call it.
        best: The greatest value that is allowed.
        excess: How far a point is from being allowed; 0 or below where it is.
    """

    name: str
    best: float
    excess: Callable[[float, float], float]


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("disc", 2.5 + math.sqrt(0.5), lambda x, y: math.hypot(x - 1.3, y - 1.2) - 0.5),
        Problem("line", 3.0, lambda x, y: x + y - 3),
    )
}
"""An eighth of the square lies beyond the line; the disc covers a fifth of it."""


def value_of(config: Mapping[str, float]) -> float:
    """Return what is maximised."""
    return config["x"] + config["y"]


def violation_of(problem: Problem, config: Mapping[str, float]) -> float:
    """Return how far a configuration is from being allowed; 0 where it is."""
    return max(0.0, problem.excess(config["x"], config["y"]))
