"""Number genes: real or whole, on a linear or a logarithmic scale, continuous or on a grid."""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import AfterValidator, Field, ValidationInfo, model_validator
from pydantic.dataclasses import dataclass

from evo.space.genes.base import EXACT, STRICT, Condition, Distances, Gene, Positive, Rows, worded
from evo.space.genes.values import cell_number, whole

Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Whole: TypeAlias = Annotated[int, Field(ge=-EXACT, le=EXACT)]


def _check_high(high: float, info: ValidationInfo) -> float:
    if "low" in info.data and high < info.data["low"]:
        raise ValueError(f"must not be below low, got low={info.data['low']}, high={high}")
    return high


def _check_log(log: bool, info: ValidationInfo) -> bool:
    if log and "low" in info.data and info.data["low"] <= 0:
        raise ValueError(f"log scale needs low > 0, got low={info.data['low']}")
    return log


NotBelowLow = AfterValidator(_check_high)
Log: TypeAlias = Annotated[bool, AfterValidator(_check_log)]


class Scale:
    """Maps the legal numbers between two bounds to [0, 1] and back, in linear or log space.

    On a grid (`step`) every legal number owns an interval of [0, 1]. On a linear scale the intervals have equal
    lengths, so a uniform draw gives every number the same probability, the bounds included.
    """

    def __init__(self, low: float, high: float, log: bool, step: float | None):
        self.low, self.log, self.step = low, log, step
        self.cells = math.floor((high - low) / step + 1e-9) if step else 0
        self.high = low + self.cells * step if step else high
        margin = step / 2 if step else 0.0
        # Half of the smallest float is zero.
        lower = max(self.low - margin, self.low / 2) or self.low if log else self.low - margin
        upper = self.high + margin
        self.start, self.end = (math.log(lower), math.log(upper)) if log else (lower, upper)

    def to_unit(self, value: float) -> float:
        """Return the place of `value` in [0, 1]; numbers outside the bounds count as the nearer bound."""
        value = min(max(value, self.low), self.high)
        place = math.log(value) if self.log else value
        return (place - self.start) / (self.end - self.start) if self.end > self.start else 0.5

    def from_unit(self, unit: float) -> float:
        """Return the legal number at `unit`, reflecting at 0 and 1: a step over a bound comes back."""
        unit = abs(unit) % 2.0
        unit = 2.0 - unit if unit > 1.0 else unit
        place = self.start + unit * (self.end - self.start)
        return self.snap(_exp(place) if self.log else place)

    def snap(self, value: float) -> float:
        """Return the legal number nearest to `value`."""
        if not self.step:
            return min(max(value, self.low), self.high)
        value = min(max(value, self.low), self.high)  # the difference to a number far outside may be infinite
        cell = min(max(round((value - self.low) / self.step), 0), self.cells)
        exact = self.low + cell * self.step
        # Twelve digits turn 0.1 + 2 * 0.1 into 0.3. Bounds with more digits stay as they are.
        return exact if isinstance(exact, int) else min(max(float(f"{exact:.12g}"), self.low), self.high)

    def holds(self, value: float) -> bool:
        """Return whether `value` is within the bounds and on the grid."""
        if not self.low <= value <= self.high:
            return False
        return not self.step or abs(self.snap(value) - value) <= 1e-9 * max(1.0, abs(value))


def _exp(place: float) -> float:
    """Return the exponential function; infinity where rounding has put it just above the largest float."""
    try:
        return math.exp(place)
    except OverflowError:
        return math.inf


class Number(Gene):
    """What real and whole numbers share: a scale, on which every value has a place."""

    low: float
    high: float
    log: bool
    step: float | None

    @cached_property
    def scale(self) -> Scale:
        """The map of the legal values to [0, 1]."""
        return Scale(self.low, self.high, self.log, self.step or (1 if self.type == "integer" else None))

    @abstractmethod
    def from_unit(self, unit: float) -> float:
        """Return the legal value at `unit`, reflecting at 0 and 1."""

    @abstractmethod
    def snap(self, value: float) -> float:
        """Return the legal value nearest to `value`."""

    def sample(self, rng: random.Random) -> float:
        return self.from_unit(rng.random())

    def repair(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
            raise ValueError(f"expected a finite number, got {value!r}")
        return self.snap(value)

    def place(self, value: Any) -> float:
        return self.scale.to_unit(value)

    def apart(self, places: Sequence[Any], first: Rows, second: Rows) -> Distances:
        table = np.array(places, dtype=float)
        return np.asarray(np.abs(table[first] - table[second]), dtype=float)

    @property
    def points(self) -> float:
        return self.scale.cells + 1 if self.scale.step or self.low == self.high else math.inf

    def describe(self) -> str:
        notes = [f"step {self.step:g}"] if self.step not in (None, 1) else []
        notes += ["log"] if self.log else []
        return f"{self.low:g} to {self.high:g}" + (f" ({', '.join(notes)})" if notes else "")


@worded
@dataclass(frozen=True, config=STRICT)
class Float(Number):
    """A real number in [low, high].

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Draw and vary values in log space; needs low > 0.
        step: Spacing of the grid low, low + step, …; None for a continuous gene.
        when: Active only where these other genes have these values.
    """

    low: Finite
    high: Annotated[Finite, NotBelowLow]
    log: Log = False
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    when: Condition | None = None
    type: Literal["float"] = "float"

    @model_validator(mode="after")
    def _check_span(self) -> Float:
        try:
            finite = math.isfinite(self.scale.end - self.scale.start)
        except OverflowError:  # so many steps that no float counts them
            finite = False
        if not finite:
            bounds = f"low={self.low}, high={self.high}" + (f", step={self.step}" if self.step else "")
            raise ValueError(f"high - low, and how many steps that is, must be below 1.8e308, got {bounds}")
        return self

    def from_unit(self, unit: float) -> float:
        return float(self.scale.from_unit(unit))

    def snap(self, value: float) -> float:
        return float(self.scale.snap(value))

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.scale.holds(value)

    def from_cell(self, cell: Any) -> float:
        return float(cell_number(cell))


@worded
@dataclass(frozen=True, config=STRICT)
class Integer(Number):
    """A whole number in [low, high].

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Draw and vary values in log space; needs low > 0.
        step: Spacing of the grid low, low + step, …. None means 1; for the gene `steps` of a space that trains
            networks, it means the grid of the learning curve (`evaluate_every`).
        when: Active only where these other genes have these values.
    """

    low: Whole
    high: Annotated[Whole, NotBelowLow]
    log: Log = False
    step: Positive | None = None
    when: Condition | None = None
    type: Literal["integer"] = "integer"

    def from_unit(self, unit: float) -> int:
        return round(self.scale.from_unit(unit))

    def snap(self, value: float) -> int:
        return round(self.scale.snap(value))

    def contains(self, value: Any) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (value - self.low) % (self.step or 1) == 0

    def from_cell(self, cell: Any) -> int:
        return whole(cell_number(cell))
