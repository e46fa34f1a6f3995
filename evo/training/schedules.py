"""The learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from evo.names import PREFIX_EXACT

Schedule: TypeAlias = Callable[[float, float, float], float]
"""From the fraction of the steps that is done, in [0, 1), and the fractions of warm-up and cooldown to a factor of the
learning rate, once the warm-up is over."""


def constant(done: float, warmup: float, cooldown: float) -> float:
    """Return 1: every step has the full rate."""
    return 1.0


def cosine(done: float, warmup: float, cooldown: float) -> float:
    """Fall from 1 to 0 along half a cosine (Loshchilov and Hutter, 2017, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * (done - warmup) / (1.0 - warmup)))


def one_cycle(done: float, warmup: float, cooldown: float) -> float:
    """Fall linearly to 0 (Smith and Topin, 2018, with one linear fall)."""
    return (1.0 - done) / (1.0 - warmup)


def trapezoid(done: float, warmup: float, cooldown: float) -> float:
    """Stay at 1, then fall linearly to 0 in the cooldown (Zhai et al., 2022)."""
    return min(1.0, (1.0 - done) / cooldown) if cooldown else 1.0


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "trapezoid": trapezoid,
}


def rate_factor(schedule: str, step: int, steps: int, warmup: float = 0.0, cooldown: float = 0.0) -> float:
    """Return what the learning rate of a step is multiplied by.

    Args:
        schedule: A name of `SCHEDULES`.
        step: Steps done before it.
        steps: Those of the whole training.
        warmup: Fraction of the steps in which the rate rises linearly; its first step has more than 0.
            A constant rate has none.
        cooldown: Fraction of the steps in which "trapezoid" falls.
    """
    if schedule not in PREFIX_EXACT and step + 1 < warmup * steps:
        return (step + 1) / (warmup * steps)
    return SCHEDULES[schedule](min(step / steps, 1.0), min(warmup, step / steps), cooldown)
