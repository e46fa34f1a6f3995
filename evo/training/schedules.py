"""The learning rate as a function of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Schedule: TypeAlias = Callable[[int, int], float]
"""From the steps done and the steps of the whole training to a factor of the learning rate."""


def constant(step: int, steps: int) -> float:
    """Return 1: every step has the full rate."""
    return 1.0


SCHEDULES: dict[str, Schedule] = {"constant": constant}
