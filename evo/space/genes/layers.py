"""The gene of a network's layers: a list of widths whose length evolves too."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from evo.space.genes.base import STRICT, Condition, Distances, Gene, Positive, Rows, worded
from evo.space.genes.numbers import Integer
from evo.space.genes.values import as_python, cell_number, ordered, whole

NO_LAYERS = "[]"
"""The cell of a list without layers: an empty one stands for an inactive gene."""
LARGEST_LOG = 700
"""exp(700) is a float, exp(710) is not."""
DEEPEST = 10**6
"""Most layers: a list of many more would fill the memory before anything is trained."""


def _check_range(bounds: tuple[int, int]) -> tuple[int, int]:
    if bounds[1] < bounds[0]:
        raise ValueError(f"must be [smallest, largest], got {list(bounds)}")
    return bounds


def _check_choices(choices: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    if len(set(choices)) < len(choices):
        raise ValueError("must all differ")
    return choices


Ordered = BeforeValidator(ordered)
Depth: TypeAlias = Annotated[int, Field(ge=0, le=DEEPEST)]
Depths: TypeAlias = Annotated[tuple[Depth, Depth], Field(strict=False), Ordered, AfterValidator(_check_range)]
Range: TypeAlias = Annotated[tuple[Positive, Positive], Field(strict=False), Ordered, AfterValidator(_check_range)]
Choice: TypeAlias = Annotated[tuple[Positive, ...], Field(strict=False), Ordered]
Choices: TypeAlias = Annotated[
    tuple[Choice, ...], Field(min_length=1, strict=False), Ordered, AfterValidator(_check_choices)
]


@worded
@dataclass(frozen=True, config=STRICT)
class Layers(Gene):
    """A list of layer widths: of a length within bounds, or one of several given lists.

    Attributes:
        depth: Fewest and most layers; without layers the value is ().
        width: Narrowest and widest layer.
        log: Draw and vary widths in log space.
        step: Spacing of the grid of widths; None means 1.
        choices: Instead of depth and width: the lists to choose from.
        when: Active only where these other genes have these values.
    """

    depth: Depths | None = None
    width: Range | None = None
    log: bool = False
    step: Positive | None = None
    choices: Choices | None = None
    when: Condition | None = None
    type: Literal["layers"] = "layers"

    @model_validator(mode="after")
    def _check_form(self) -> Layers:
        if self.choices is None and (self.depth is None or self.width is None):
            raise ValueError("needs depth = [fewest, most] and width = [narrowest, widest], or choices")
        if self.choices is not None and (self.depth or self.width or self.log or self.step):
            raise ValueError("choices replace depth, width, log and step: give one or the other")
        return self

    @cached_property
    def widths(self) -> Integer:
        """The gene of one layer's width; only without `choices`."""
        low, high = self.width or (1, 1)
        return Integer(low, high, log=self.log, step=self.step)

    @property
    def shortest(self) -> int:
        """Fewest layers."""
        return self.depth[0] if self.depth else min(map(len, self.choices or ()))

    @property
    def longest(self) -> int:
        """Most layers."""
        return self.depth[1] if self.depth else max(map(len, self.choices or ()))

    def sample(self, rng: random.Random) -> tuple[int, ...]:
        if self.choices is not None:
            return rng.choice(self.choices)
        return tuple(self.widths.from_unit(rng.random()) for _ in range(rng.randint(self.shortest, self.longest)))

    def contains(self, value: Any) -> bool:
        if not isinstance(value, tuple):
            return False
        if self.choices is not None:
            return value in self.choices
        return self.shortest <= len(value) <= self.longest and all(map(self.widths.contains, value))

    def repair(self, value: Any) -> tuple[int, ...]:
        if not isinstance(value, list | tuple) or (not value and not self.contains(())):
            raise ValueError(f"expected a list of layer widths, got {value!r}")
        if self.choices is not None:
            if tuple(value) not in self.choices:
                raise ValueError(f"expected one of {[list(choice) for choice in self.choices]}, got {list(value)}")
            return tuple(value)
        layers = tuple(int(self.widths.repair(width)) for width in value[: self.longest])
        return layers + layers[-1:] * (self.shortest - len(layers))

    def place(self, value: Any) -> tuple[float, ...]:
        return value if self.choices is not None else tuple(map(self.widths.place, value))

    def apart(self, places: Sequence[Any], first: Rows, second: Rows) -> Distances:
        """Return the mean differences of the widths, aligned by depth; a missing layer counts as 1."""
        if self.choices is not None:
            return super().apart(places, first, second)
        depths = np.array([len(place) for place in places])
        shared = np.zeros(len(first))
        for layer in range(self.longest):
            widths = np.array([place[layer] if layer < len(place) else np.nan for place in places])
            shared += np.nan_to_num(np.abs(widths[first] - widths[second]))
        missing = np.abs(depths[first] - depths[second])
        return np.asarray((shared + missing) / np.maximum(np.maximum(depths[first], depths[second]), 1), dtype=float)

    @property
    def points(self) -> float:
        if self.choices is not None:
            return len(self.choices)
        widths = self.widths.points
        if widths == 1:
            return self.longest - self.shortest + 1
        if self.longest * math.log(widths) > LARGEST_LOG:
            return math.inf
        return float(sum(widths**depth for depth in range(self.shortest, self.longest + 1)))

    def describe(self) -> str:
        if self.choices is not None:
            return " | ".join(self.to_text(choice) for choice in self.choices)
        return f"{self.shortest} to {self.longest} layers of width {self.widths.describe()}"

    def to_text(self, value: Any) -> str:
        return ",".join(map(str, value)) or NO_LAYERS

    def from_cell(self, cell: Any) -> tuple[int, ...]:
        value = as_python(cell)
        if value in (NO_LAYERS, [], ()) and self.contains(()):
            return ()
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        try:
            layers = tuple(whole(cell_number(part)) for part in parts)
        except ValueError:
            raise ValueError(f"expected layer widths such as 64,32, got {value!r}") from None
        # A spreadsheet may have made one number of several widths.
        if not layers or (isinstance(value, int | float) and not self.contains(layers)):
            raise ValueError(f"expected {self.describe()}, got {value!r}")
        return layers
