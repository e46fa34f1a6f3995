"""Conditions of a search space: what each means for the gene that it asks, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from evo.space.genes import Boolean, Categorical, Gene, Integer, Number
from evo.space.genes.conditions import SIGNS, Comparison
from evo.space.genes.values import alike, as_value, value_text

MOST_LISTED = 1000
"""Values of a whole-number gene that are listed."""


def with_conditions(gene: Gene, genes: Mapping[str, Gene]) -> Gene:
    """Return a gene with conditions as they are meant for the genes that they ask.

    A text such as ">= 2" is a comparison, and a list or tuple is several values, unless exactly that is a choice of the
    gene that is asked.
    """
    before = gene.when or {}
    when = {name: _resolved(wanted, genes[name]) if name in genes else wanted for name, wanted in before.items()}
    if all(type(wanted) is type(before[name]) and alike(wanted, before[name]) for name, wanted in when.items()):
        return gene
    asking = copy(gene)
    object.__setattr__(asking, "when", when)  # the gene itself takes texts for texts, and tuples for several values
    return asking


def _resolved(wanted: Any, parent: Gene) -> Any:
    if isinstance(wanted, list | tuple):
        one = as_value(wanted)
        return one if parent.contains(one) else list(wanted)
    if isinstance(wanted, str):
        plain = str.__str__(wanted)
        return plain if parent.contains(plain) else Comparison.read(plain) or plain
    return wanted


def wanted_values(gene: Gene, wanted: Any) -> list[Any]:
    """Return the values of a gene that a condition wants; none if they cannot be listed."""
    if isinstance(wanted, Comparison):
        return [value for value in values_of(gene) if wanted.holds(value)]
    return list(wanted) if isinstance(wanted, list) else [wanted]


def values_of(gene: Gene) -> list[Any]:
    """Return the values of a gene; none if there are too many to list them."""
    if isinstance(gene, Categorical):
        return list(gene.choices)
    if isinstance(gene, Boolean):
        return [False, True]
    if isinstance(gene, Integer) and gene.points < MOST_LISTED:
        return list(range(gene.low, gene.high + 1, gene.step or 1))
    return []


def condition_problems(wanted: Any, parent: Gene) -> list[str]:
    """Return what is wrong with what a condition wants of a gene."""
    if isinstance(wanted, Comparison):
        return _comparison_problems(wanted, parent)
    if not isinstance(parent, Boolean | Categorical | Integer):
        what = "a condition needs a boolean, categorical or integer gene"
        return [what + (', or a comparison with a number, such as "> 0.5"' * isinstance(parent, Number))]
    options = wanted if isinstance(wanted, list) else [wanted]
    problems = [] if options else ["must not be empty"]
    return problems + [
        f"{option!r} is not in {parent.describe()}{_hint(option, parent)}"
        for option in options
        if not parent.contains(option)
    ]


def _hint(option: Any, parent: Gene) -> str:
    """Return what may have been meant by a text that is not a value of a gene."""
    if not isinstance(option, str) or not (option.strip().startswith(SIGNS) or isinstance(parent, Number)):
        return ""
    if Comparison.read(option):
        return "; a comparison stands by itself, not in a list"
    return f'; a comparison is one of {", ".join(SIGNS)} and a number, as in ">= 2"'


def _comparison_problems(wanted: Comparison, gene: Gene) -> list[str]:
    """Return what is wrong with a comparison of a gene's values."""
    listed = values_of(gene)
    numbers = listed and all(isinstance(value, int | float) and not isinstance(value, bool) for value in listed)
    if not isinstance(gene, Number) and not numbers:
        return [f'"{wanted}" compares numbers, and the values are {gene.describe()}: list those that are meant']
    if isinstance(gene, Number) and not listed:
        number = wanted.number
        number = int(number) if isinstance(gene, Integer) and number == int(number) else number
        # All that a sign can tell apart: both bounds, what lies between them, and the number itself.
        middle = (gene.scale.low + gene.scale.high) / 2
        listed = [gene.scale.low, middle, gene.scale.high, *[number] * gene.contains(number)]
    held = [wanted.holds(value) for value in listed]
    if not any(held):
        return [f'"{wanted}" never holds for {gene.describe()}']
    # A gene with a condition of its own may be absent: then even this says something.
    if all(held) and not gene.when:
        return [f'"{wanted}" always holds for {gene.describe()}; leave it out']
    return []


def condition_text(conditions: Mapping[str, Any] | None) -> str:
    """Return conditions in words: depth >= 2 and optimiser = sgd or muon."""
    return " and ".join(
        f"{parent} {wanted}"
        if isinstance(wanted, Comparison)
        else f"{parent} = {' or '.join(map(value_text, wanted if isinstance(wanted, list) else [wanted]))}"
        for parent, wanted in (conditions or {}).items()
    )
