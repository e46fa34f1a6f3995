"""Typed crossover and mutation of genomes, registered in a DEAP toolbox: every gene stays legal by construction."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import singledispatch
from typing import Any, TypeVar

from deap import base, tools

from evo.individual import GeneValue, Genome
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Gene, Layers, Number

T = TypeVar("T")

# One gene.


@singledispatch
def mutate_gene(gene: Gene, value: Any, rng: random.Random, strength: float) -> Any:
    """Return a legal value near `value`, and different from it unless the gene has only one value.

    Args:
        gene: The gene; its kind decides the operator.
        value: A legal value.
        rng: Where every draw comes from.
        strength: Standard deviation of a number's move, as a fraction of its (log) range.
    """
    raise TypeError(f"no mutation is registered for genes of kind {type(gene).__name__}")


@singledispatch
def mate_gene(gene: Gene, first: Any, second: Any, rng: random.Random) -> Any:
    """Return a legal value made from those of two parents."""
    raise TypeError(f"no crossover is registered for genes of kind {type(gene).__name__}")


@mutate_gene.register
def _(gene: Number, value: float, rng: random.Random, strength: float) -> float:
    unit = gene.scale.to_unit(value)
    moved = gene.from_unit(unit + rng.gauss(0.0, strength))
    if moved == value and gene.points > 1:
        # The move was shorter than the grid: take a neighbour, inwards at the bounds.
        grid = gene.scale.step or 0.0
        step = rng.choice((-grid, grid))
        moved = gene.snap(value + step)
        if moved == value:
            moved = gene.snap(value - step)
    return moved


@mate_gene.register
def mate_numbers(gene: Number, first: float, second: float, rng: random.Random) -> float:
    """Return one of two numbers, or a number between them, each half of the time."""
    if rng.random() < 0.5 or first == second:
        return rng.choice((first, second))
    low, high = min(first, second), max(first, second)
    start, end = gene.scale.to_unit(low), gene.scale.to_unit(high)
    # Rounding may put the last digit outside the parents' range.
    return min(max(gene.from_unit(start + rng.random() * (end - start)), low), high)


@mutate_gene.register
def _(gene: Categorical, value: GeneValue, rng: random.Random, strength: float) -> GeneValue:
    mutant: GeneValue = _other(gene.choices, value, rng)
    return mutant


@mutate_gene.register
def _(gene: Boolean, value: bool, rng: random.Random, strength: float) -> bool:
    return not value


@mate_gene.register(Categorical)
@mate_gene.register(Boolean)
def _(gene: Gene, first: GeneValue, second: GeneValue, rng: random.Random) -> GeneValue:
    return rng.choice((first, second))


@mutate_gene.register
def _(gene: Layers, value: tuple[int, ...], rng: random.Random, strength: float) -> tuple[int, ...]:
    if gene.choices is not None:
        return _other(gene.choices, value, rng)
    edits = ["resize"] if gene.widths.points > 1 else []
    if not value:
        edits = []  # there is nothing to resize, duplicate or split
    if len(value) < gene.longest:
        edits += ["insert", "duplicate", "split"] if value else ["insert"]
    if len(value) > gene.shortest:
        edits += ["delete"]
    return edit_layers(gene, value, rng.choice(edits), rng, strength) if edits else value


@mate_gene.register
def _(gene: Layers, first: tuple[int, ...], second: tuple[int, ...], rng: random.Random) -> tuple[int, ...]:
    """Cross two layer lists: the child is as deep as one of them, and its layer i comes from their layers i."""
    if gene.choices is not None:
        return rng.choice((first, second))
    depth = len(rng.choice((first, second)))
    shared = min(len(first), len(second), depth)
    longer = first if len(first) >= len(second) else second
    mated = [int(mate_numbers(gene.widths, a, b, rng)) for a, b in zip(first[:shared], second[:shared], strict=True)]
    return (*mated, *longer[shared:depth])


def edit_layers(
    gene: Layers, layers: tuple[int, ...], edit: str, rng: random.Random, strength: float
) -> tuple[int, ...]:
    """Return `layers` after one edit: "resize", "insert", "duplicate", "split" or "delete" of one layer.

    A split layer becomes two of half its width. An inserted one is as wide as a draw between its neighbours; as the
    first or the last one it has only one, and its width is near that. The first layer of all has any width.
    """
    if edit == "insert":
        place = rng.randrange(len(layers) + 1)
        if not layers:
            width = gene.widths.sample(rng)
        elif 0 < place < len(layers):
            width = mate_numbers(gene.widths, layers[place - 1], layers[place], rng)
        else:
            width = mutate_gene(gene.widths, layers[0 if place == 0 else -1], rng, strength)
        return (*layers[:place], int(width), *layers[place:])
    place = rng.randrange(len(layers))
    before, width, after = layers[:place], layers[place], layers[place + 1 :]
    if edit == "resize":
        return (*before, mutate_gene(gene.widths, width, rng, strength), *after)
    if edit == "duplicate":
        return (*before, width, width, *after)
    if edit == "split":
        half = gene.widths.snap(width / 2)
        return (*before, half, half, *after)
    return before + after


def _other(choices: Sequence[T], value: T, rng: random.Random) -> T:
    """Return another choice than `value`, if there is one."""
    others = [choice for choice in choices if choice != value]
    return rng.choice(others) if others else value


# Whole genomes.


def mate(space: SearchSpace, first: Mapping[str, Any], second: Mapping[str, Any], rng: random.Random) -> Genome:
    """Return a child of two genomes; genes that are active in only one parent come from it."""

    def value_of(name: str, gene: Gene) -> Any:
        if name in first and name in second:
            return mate_gene(gene, first[name], second[name], rng)
        parent = first if name in first else second
        return parent[name] if name in parent else gene.sample(rng)

    return space.assemble(value_of)


def mutate(
    space: SearchSpace,
    genome: Mapping[str, Any],
    rng: random.Random,
    *,
    rate: float | None = None,
    count: int | None = None,
    strength: float | Callable[[Gene], float] = 0.15,
) -> Genome:
    """Return a mutant in which at least one active gene changed, unless every active gene has only one value.

    Args:
        space: The genes.
        genome: A legal genome.
        rng: Where every draw comes from.
        rate: Probability that a gene mutates; default: one divided by the number of active genes that have a choice.
        count: Instead of a rate: how many genes mutate.
        strength: Of each gene's mutation, see `mutate_gene`; a number, or one per gene.
    """
    names = [name for name in genome if space.genes[name].points > 1] or list(genome)
    if count is not None:
        chosen = set(rng.sample(names, min(count, len(names))))
    else:
        chosen = {name for name in names if rng.random() < (rate if rate is not None else 1 / len(names))}
    chosen = chosen or {rng.choice(names)}

    def value_of(name: str, gene: Gene) -> Any:
        if name not in genome:
            return gene.sample(rng)
        if name not in chosen:
            return genome[name]
        return mutate_gene(gene, genome[name], rng, strength(gene) if callable(strength) else strength)

    return space.assemble(value_of)


def make_toolbox(space: SearchSpace, tournament: int = 3) -> base.Toolbox:
    """Return a DEAP toolbox with `mate`, `mutate`, `select` and `best` for a space.

    `select` draws from the global `random`, as DEAP's operators do: call it within `lend`.
    """
    toolbox = base.Toolbox()
    toolbox.register("mate", mate, space)
    toolbox.register("mutate", mutate, space)
    toolbox.register("select", tools.selTournament, tournsize=tournament)
    toolbox.register("best", tools.selBest)
    return toolbox


@contextmanager
def lend(rng: random.Random) -> Iterator[None]:
    """Let DEAP's operators, which use the global `random`, draw from `rng`."""
    outside = random.getstate()
    random.setstate(rng.getstate())
    try:
        yield
    finally:
        rng.setstate(random.getstate())
        random.setstate(outside)


def stratified(space: SearchSpace, count: int, rng: random.Random) -> list[Genome]:
    """Return genomes spread over the space: each of `count` parts of a number's range is used once.

    Latin hypercube sampling (McKay, Beckman and Conover, 1979); depths of layer lists and choices are equally frequent.
    """
    columns = {name: _spread(gene, count, rng) for name, gene in space.genes.items()}
    return [space.complete({name: values[place] for name, values in columns.items()}, rng) for place in range(count)]


def _spread(gene: Gene, count: int, rng: random.Random) -> list[Any]:
    places = list(range(count))
    rng.shuffle(places)
    if isinstance(gene, Number):
        return [gene.from_unit((place + rng.random()) / count) for place in places]
    if isinstance(gene, Layers) and gene.choices is None:
        depths = gene.longest - gene.shortest + 1
        drawn = [
            [gene.widths.from_unit(rng.random()) for _ in range(gene.shortest + place % depths)] for place in places
        ]
        return [tuple(int(width) for width in widths) for widths in drawn]
    choices = [False, True] if isinstance(gene, Boolean) else list(getattr(gene, "choices", None) or ())
    rng.shuffle(choices)
    return [choices[place % len(choices)] for place in places] if choices else [gene.sample(rng) for _ in places]
