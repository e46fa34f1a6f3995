"""A search space as the plain parameters that peers understand, and genomes to and from their values."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from evo.individual import Genome
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Gene, Integer, Layers, Number


def parameters_of(space: SearchSpace) -> list[dict[str, Any]]:
    """Return the parameters of a space, parents before those whose conditions name them.

    A list of layers becomes its depth and one width a layer; a width has the condition that the list is long enough.
    Peers without conditions ignore them: then unused widths vary without effect.
    """
    parameters: list[dict[str, Any]] = []
    for name in space.order:
        gene = space.genes[name]
        when = {
            parent: list(wanted) if isinstance(wanted, list) else [wanted]
            for parent, wanted in (gene.when or {}).items()
        }
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
                values[width_name(name, place)] = value[min(place, len(value) - 1)]
        elif isinstance(gene, Layers):
            values[name] = gene.to_text(value)
        else:
            values[name] = value
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
        return list(gene.choices)
    assert isinstance(gene, Layers)
    return [gene.to_text(choice) for choice in gene.choices or ()]
