"""Genes without an order: one of several choices, or true and false."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from evo.individual import GeneValue
from evo.plain_text import first_not_plain, inert
from evo.space.genes.base import STRICT, Choice, Condition, Gene, worded
from evo.space.genes.values import (
    alike,
    as_float,
    as_python,
    as_value,
    could_be,
    ordered,
    read_as,
    tuple_in,
    value_text,
)


def _check_choices(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    # 1 and "1" have the same text, and so have None and "null"; 1, 1.0 and true compare equal.
    if len({inert(value_text(choice)) for choice in choices}) < len(choices) or len(set(choices)) < len(choices):
        raise ValueError(f"must all differ, got {list(choices)}")
    if first_not_plain(choices) is not None:
        raise ValueError(f"must not hold control characters, got {list(choices)}")
    if "" in choices:
        raise ValueError("must not hold an empty text: it stands for an inactive gene in the results tables")
    first: dict[object, Any] = {}
    for choice in choices:
        if isinstance(choice, tuple):
            _check_tuple(choice, choices)
            continue
        read = read_as(choice) if isinstance(choice, str) else choice
        key = read if isinstance(read, bool | None) else (as_float(read),)
        other = first.setdefault(key, choice)
        if read is not None and type(other) is not type(choice):
            raise ValueError(f"must all differ when a CSV file is read: {other!r} and {choice!r} are the same there")
    return choices


def _check_tuple(choice: tuple[Any, ...], choices: tuple[Any, ...]) -> None:
    same = [other for other in choices if isinstance(other, str) and tuple_in(other) == choice]
    if same:
        raise ValueError(f"must all differ when a CSV file is read: {same[0]!r} and {choice!r} are the same there")


@worded
@dataclass(frozen=True, config=STRICT)
class Categorical(Gene):
    """One of several unordered choices.

    Attributes:
        choices: Numbers, texts, booleans, None, or tuples of these, all different. Lists become tuples.
        when: Active only where these other genes have these values.
    """

    choices: Annotated[
        tuple[Choice, ...], Field(min_length=1, strict=False), BeforeValidator(ordered), AfterValidator(_check_choices)
    ]
    when: Condition | None = None
    type: Literal["categorical"] = "categorical"

    def sample(self, rng: random.Random) -> GeneValue:
        value: GeneValue = rng.choice(self.choices)
        return value

    def contains(self, value: Any) -> bool:
        return any(alike(value, choice) for choice in self.choices)

    def repair(self, value: Any) -> GeneValue:
        value = as_value(value)
        if not self.contains(value):
            raise ValueError(f"expected one of {list(self.choices)}, got {value!r}")
        return value  # type: ignore[no-any-return]  # `contains` has just checked it

    @property
    def points(self) -> float:
        return len(self.choices)

    def describe(self) -> str:
        return " | ".join(self.to_text(choice) for choice in self.choices)

    def to_text(self, value: Any) -> str:
        return value_text(value)

    def from_cell(self, cell: Any) -> GeneValue:
        value = as_value(as_python(cell))
        if self.contains(value):
            return value  # type: ignore[no-any-return]  # `contains` has just checked it
        found = [choice for choice in self.choices if inert(value_text(choice)) == value]
        found = found or [choice for choice in self.choices if could_be(choice, value)]
        if len(found) > 1:
            raise ValueError(
                f"{value!r} may be any of {found}: these choices can only be told apart in a CSV file that is read "
                "as text (in pandas: dtype=str, keep_default_na=False)"
            )
        if not found:
            raise ValueError(f"expected one of {list(self.choices)}, got {value!r}")
        read: GeneValue = found[0]
        return read


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
