"""Where a genome comes from: its line of better parents, and what each change brought."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evo.reports.search_data import SearchData


@dataclass(frozen=True)
class Step:
    """One individual of a lineage.

    Attributes:
        individual: Its id.
        generation: The generation that it was proposed in.
        operator: What made it.
        fitness: Of its first evaluation; nan where it failed.
        parents: All ids that it was made from.
        parent: The parent of the highest fitness, which the line continues with; None at the beginning.
        change: Its fitness less that parent's; nan where either has none.
        changes: Cells of that parent and of itself, by the name of each gene in which they differ.
    """

    individual: int
    generation: int
    operator: str
    fitness: float
    parents: tuple[int, ...]
    parent: int | None
    change: float
    changes: Mapping[str, tuple[Any, Any]]


def lineage_of(data: SearchData) -> list[Step]:
    """Return the lineage of the best genome, the oldest first: at every step the parent of the highest fitness."""
    rows = data.first.set_index("individual")
    fitness = data.fitness_by_individual
    line: list[Step] = []
    place = data.best
    while place is not None:
        row: Any = rows.loc[place]
        parents = parents_in(row["parents"])
        parent = better_parent(fitness, parents, place)
        change, changes = float("nan"), {}
        if parent is not None:
            change = float(row["fitness"] - fitness[parent])
            genes = {name: (rows.at[parent, name], row[name]) for name in data.space.genes}
            changes = {name: pair for name, pair in genes.items() if _shown(pair[0]) != _shown(pair[1])}
        made = int(row["generation"]), str(row["operator"]), float(row["fitness"])
        line.append(Step(place, *made, parents, parent, change, changes))
        place = parent
    return line[::-1]


def parents_in(cell: Any) -> tuple[int, ...]:
    """Return the ids in a cell of the column `parents`."""
    return tuple(int(part) for part in str(cell).split(",")) if isinstance(cell, str) and cell else ()


def better_parent(fitness: Mapping[int, float], parents: Sequence[int], child: int) -> int | None:
    """Return the parent of the highest fitness, the first of equals; one that failed only where all did.

    Args:
        fitness: By individual; nan where it failed.
        parents: Of the child.
        child: The child's id.
    """
    # A child comes after its parents: a line that obeys this has an end.
    known = [parent for parent in parents if parent < child and parent in fitness]
    complete = [parent for parent in known if not math.isnan(fitness[parent])]
    return max(complete, key=lambda parent: fitness[parent]) if complete else next(iter(known), None)


def _shown(cell: Any) -> str:
    return "" if pd.isna(cell) else str(cell)
