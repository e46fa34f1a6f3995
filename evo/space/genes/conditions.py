"""What a gene's `when` may say of another gene: one value, several, or a comparison."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable
from typing import Any

from evo.space.genes.values import as_python, gene_value, is_none_table, number_in, ordered

_OPERATORS = {
    **{"<=": operator.le, ">=": operator.ge, "==": operator.eq},
    **{"!=": operator.ne, "<": operator.lt, ">": operator.gt},
}
SIGNS = tuple(_OPERATORS)
_COMPARISON = re.compile(rf"\s*({'|'.join(_OPERATORS)})\s*(\S+)\s*")


class Comparison(str):
    """A condition such as ">= 2": it holds for the numbers that stand so to a number.

    It is its own text, which space files and runs hold.
    """

    __slots__ = ()

    @classmethod
    def read(cls, text: str) -> Comparison | None:
        """Return the comparison that a text writes, or None."""
        found = _COMPARISON.fullmatch(text)
        number = number_in(found[2]) if found else None
        return cls(text.strip()) if number is not None and math.isfinite(number) else None

    @property
    def sign(self) -> str:
        """How values are compared, one of `SIGNS`."""
        return self._parts()[0]

    @property
    def number(self) -> int | float:
        """What values are compared with."""
        return self._parts()[1]

    def holds(self, value: Any) -> bool:
        """Return whether it holds for a value; never for what is not a number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        sign, number = self._parts()
        return bool(_OPERATORS[sign](value, number))

    def _parts(self) -> tuple[str, int | float]:
        found = _COMPARISON.fullmatch(self)
        number = number_in(found[2]) if found else None
        if found is None or number is None:
            raise ValueError(f'not a comparison such as ">= 2": "{self}"')
        return found[1], number


def condition(given: Any) -> Any:
    """Return what a gene's `when` says of another gene: one value, or several as a list.

    A list may be one value of a gene whose choices are tuples, and a text a comparison: only a search space can tell.
    """
    value = as_python(given)
    if isinstance(value, str | bytes) or is_none_table(value) or not isinstance(value, Iterable):
        return gene_value(value)
    return [gene_value(entry) for entry in ordered(value)]


def meets(value: Any, wanted: Any) -> bool:
    """Return whether a value of a gene is one that a condition wants."""
    if isinstance(wanted, Comparison):
        return wanted.holds(value)
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)
