"""A search space as the plain parameters that peers understand, and genomes to and from their values."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from evo.individual import GeneValue, Genome
from evo.space import SearchSpace
from evo.space.conditions import wanted_values
from evo.space.genes import Boolean, Categorical, Gene, Integer, Layers, Number
from evo.space.genes.values import alike, value_text


def parameters_of(space: SearchSpace) -> list[dict[str, Any]]:
    """Return the parameters of a space, parents before those whose conditions name them.

    A list of layers becomes its depth and one width a layer; a width has the condition that the list is long enough.
    Choices that are None or tuples become texts. A condition is a list of values, or a sign and a number where the
    values are too many to list. Peers without conditions ignore them: then unused widths vary without effect.
    """
    parameters: list[dict[str, Any]] = []
    for name in space.order:
        gene = space.genes[name]
        when = {parent: _wanted(space.genes[parent], wanted) for parent, wanted in (gene.when or {}).items()}
        if isinstance(gene, Layers) and gene.choices is None:
            parameters.append(_number(depth_name(name), "integer", gene.shortest, gene.longest, False, when))
            for place in range(gene.longest):
                long_enough = {depth_name(name): list(range(place + 1, gene.longest + 1))}
                condition = when | (long_enough if place >= gene.shortest else {})
                widths = gene.widths
                parameters.append(
                    _number(width_name(name, place), "integer", widths.low, widths.high, gene.log, condition)
                )
        elif isinstance(gene, Number):
            kind = "integer" if isinstance(gene, Integer) else "float"
            parameters.append(_number(name, kind, gene.low, gene.high, gene.log, when))
        else:
            parameters.append({"name": name, "kind": "categorical", "choices": _choices(gene), "when": when})
    return parameters


def encode(space: SearchSpace, genome: Mapping[str, Any]) -> dict[str, Any]:
    """Return a genome as values of all parameters; those that are not active get some legal value."""
    values: dict[str, Any] = {}
    filler = space.complete(genome, random.Random(0))
    for name, gene in space.genes.items():
        value = filler.get(name, gene.sample(random.Random(0)))
        if isinstance(gene, Layers) and gene.choices is None:
            assert isinstance(value, tuple)
            values[depth_name(name)] = len(value)
            for place in range(gene.longest):
                values[width_name(name, place)] = value[min(place, len(value) - 1)] if value else gene.widths.low
        elif isinstance(gene, Layers):
            values[name] = gene.to_text(value)
        else:
            values[name] = _as_scalar(value)
    return values


def decode(space: SearchSpace, values: Mapping[str, Any]) -> Genome:
    """Return the genome of a peer's values; what is not active may be there or not.

    Raises:
        KeyError: A value that is active is missing.
    """
    genome: Genome = {}
    for name in space.order:
        gene = space.genes[name]
        if not gene.is_active(genome):
            continue
        if isinstance(gene, Layers) and gene.choices is None:
            depth = int(values[depth_name(name)])
            genome[name] = gene.repair([int(values[width_name(name, place)]) for place in range(depth)])
        elif isinstance(gene, Layers):
            genome[name] = gene.from_cell(values[name])
        elif isinstance(gene, Categorical):
            [genome[name]] = [choice for choice in gene.choices if alike(_as_scalar(choice), values[name])]
        else:
            genome[name] = gene.repair(values[name])
    return {name: genome[name] for name in space.genes if name in genome}


def depth_name(gene: str) -> str:
    """Return the name of the parameter that says how many layers a list has."""
    return f"{gene}_depth"


def width_name(gene: str, place: int) -> str:
    """Return the name of the parameter that says how wide a layer is."""
    return f"{gene}_width_{place}"


def _number(name: str, kind: str, low: float, high: float, log: bool, when: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "kind": kind, "low": low, "high": high, "log": log, "when": dict(when)}


def _choices(gene: Gene) -> list[Any]:
    if isinstance(gene, Boolean):
        return [False, True]
    if isinstance(gene, Categorical):
        return [_as_scalar(choice) for choice in gene.choices]
    assert isinstance(gene, Layers)
    return [gene.to_text(choice) for choice in gene.choices or ()]


def _as_scalar(choice: GeneValue) -> float | str:
    """Return a choice as peers take it: None and tuples as their texts, which no other choice has."""
    return value_text(choice) if choice is None or isinstance(choice, tuple) else choice


def _wanted(parent: Gene, wanted: Any) -> list[Any] | dict[str, Any]:
    """Return a condition: the values of the parent, or a sign and a number; strict signs for whole numbers."""
    if listed := wanted_values(parent, wanted):
        return [_as_scalar(value) for value in listed]
    sign, number = wanted.sign, wanted.number
    if isinstance(parent, Integer) and sign in ("<=", ">="):
        return {"sign": sign[0], "number": number + (1 if sign == "<=" else -1)}
    return {"sign": sign, "number": number}
