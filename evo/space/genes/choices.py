"""Genes without an order: one of several choices, or true and false."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from evo.individual import GeneValue
from evo.plain_text import inert, is_plain
from evo.space.genes.base import STRICT, Condition, Gene, Scalar, worded
from evo.space.genes.values import as_float, as_python, could_be, ordered, read_as


def _check_choices(choices: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    # 1 and "1" have the same text; 1, 1.0 and true compare equal.
    if len({inert(str(choice)) for choice in choices}) < len(choices) or len(set(choices)) < len(choices):
        raise ValueError(f"must all differ, got {list(choices)}")
    if any(isinstance(choice, str) and not is_plain(choice) for choice in choices):
        raise ValueError(f"must not hold control characters, got {list(choices)}")
    if "" in choices:
        raise ValueError("must not hold an empty text: it stands for an inactive gene in the results tables")
    first: dict[object, Scalar] = {}
    for choice in choices:
        read = read_as(choice) if isinstance(choice, str) else choice
        key = read if isinstance(read, bool | None) else (as_float(read),)
        other = first.setdefault(key, choice)
        if read is not None and type(other) is not type(choice):
            raise ValueError(f"must all differ when a CSV file is read: {other!r} and {choice!r} are the same there")
    return choices


@worded
@dataclass(frozen=True, config=STRICT)
class Categorical(Gene):
    """One of several unordered choices.

    Attributes:
        choices: Numbers, words or booleans, all different.
        when: Active only where these other genes have these values.
    """

    choices: Annotated[
        tuple[Scalar, ...], Field(min_length=1, strict=False), BeforeValidator(ordered), AfterValidator(_check_choices)
    ]
    when: Condition | None = None
    type: Literal["categorical"] = "categorical"

    def sample(self, rng: random.Random) -> GeneValue:
        return rng.choice(self.choices)

    def contains(self, value: Any) -> bool:
        return any(type(value) is type(choice) and value == choice for choice in self.choices)

    def repair(self, value: Any) -> GeneValue:
        if not self.contains(value):
            raise ValueError(f"expected one of {list(self.choices)}, got {value!r}")
        return value  # type: ignore[no-any-return]  # `contains` has just checked it

    @property
    def points(self) -> float:
        return len(self.choices)

    def describe(self) -> str:
        return " | ".join(self.to_text(choice) for choice in self.choices)

    def from_cell(self, cell: Any) -> GeneValue:
        value = as_python(cell)
        if self.contains(value):
            return value  # type: ignore[no-any-return]  # `contains` has just checked it
        found = [choice for choice in self.choices if inert(str(choice)) == value]
        found = found or [choice for choice in self.choices if could_be(choice, value)]
        if len(found) > 1:
            raise ValueError(
                f"{value!r} may be any of {found}: these choices can only be told apart in a CSV file that is read "
                "as text (in pandas: dtype=str, keep_default_na=False)"
            )
        if not found:
            raise ValueError(f"expected one of {list(self.choices)}, got {value!r}")
        return found[0]


@worded
@dataclass(frozen=True, config=STRICT)
class Boolean(Gene):
    """True or false.

    Attributes:
        when: Active only where these other genes have these values.
    """

    when: Condition | None = None
    type: Literal["boolean"] = "boolean"

    def sample(self, rng: random.Random) -> bool:
        return rng.random() < 0.5

    def contains(self, value: Any) -> bool:
        return isinstance(value, bool)

    def repair(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"expected true or false, got {value!r}")
        return value

    @property
    def points(self) -> float:
        return 2

    def describe(self) -> str:
        return "true | false"

    def from_cell(self, cell: Any) -> bool:
        value = as_python(cell)
        read = read_as(value) if isinstance(value, str) else value
        return self.repair(read if isinstance(read, bool) else value)
