"""Where genomes come from: the winner's line of better parents, and how often each operator improved on parents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from evo.reports.search_data import SearchData

OPERATOR_COLUMNS = (
    *("operator", "proposals", "complete", "compared", "better"),
    *("rate", "low", "high", "median_change", "new_bests"),
)


class Step(NamedTuple):
    """One individual of a lineage.

    Attributes:
        individual: Its id.
        generation: The generation that it was proposed in.
        operator: What made it.
        parents: All ids that it was made from.
        changes: Cells of its fittest parent and of itself, by the name of each gene in which they differ.
        fitness: Of its first evaluation; nan where it failed.
        change: Its fitness less that parent's; nan where either has none.
        parent: The parent of the best fitness, which the line continues with; None at the beginning.
    """

    individual: int
    generation: int
    operator: str
    parents: tuple[int, ...]
    changes: Mapping[str, tuple[Any, Any]]
    fitness: float
    change: float
    parent: int | None


def lineage_of(data: SearchData, individual: int | None) -> list[Step]:
    """Return the lineage of an individual, the oldest first: at every step the parent of the best fitness."""
    rows = data.first.set_index("individual")
    fitness = data.fitness.to_dict()
    line: list[Step] = []
    while individual is not None:
        row: Any = rows.loc[individual]
        parents = parents_in(row["parents"])
        parent = better_parent(fitness, parents, individual, data.sign)
        change, changes = float("nan"), {}
        if parent is not None:
            change = float(row["fitness"] - fitness[parent])
            genes = {name: (rows.at[parent, name], row[name]) for name in data.space.genes}
            changes = {name: pair for name, pair in genes.items() if _shown(pair[0]) != _shown(pair[1])}
        made = int(row["generation"]), str(row["operator"])
        line.append(Step(individual, *made, parents, changes, float(row["fitness"]), change, parent))
        individual = parent
    return line[::-1]


def parents_in(cell: Any) -> tuple[int, ...]:
    """Return the ids in a cell of the column `parents`."""
    return tuple(int(part) for part in str(cell).split(",")) if isinstance(cell, str) and cell else ()


def better_parent(fitness: Mapping[Any, float], parents: Sequence[int], child: int, sign: float = 1.0) -> int | None:
    """Return the parent of the best fitness, the first of equals; one that failed only where all did.

    Args:
        fitness: By individual; nan where it failed.
        parents: Of the child.
        child: The child's id.
        sign: -1 where a lower fitness is better.
    """
    # A child comes after its parents: a line that obeys this has an end.
    known = [parent for parent in parents if parent < child and parent in fitness]
    complete = [parent for parent in known if not math.isnan(fitness[parent])]
    return max(complete, key=lambda parent: sign * fitness[parent]) if complete else next(iter(known), None)


def _shown(cell: Any) -> str:
    return "" if pd.isna(cell) else str(cell)


def changes_table(data: SearchData) -> pd.DataFrame:
    """Return one row per individual with parents: `individual, operator, change`.

    `change` is its fitness less that of its best parent, both of their first evaluations; nan where either failed. A
    promotion (halving) does not change the genome and is left out. Where one was trained longer than the other (rungs),
    the change is not known.
    """
    reach = dict(zip(data.fitness.index, data.reach, strict=True))
    fitness = data.fitness.to_dict()  # a look-up in it takes no time
    rows = []
    for child, operator, cell in data.first[["individual", "operator", "parents"]].itertuples(index=False):
        parents = parents_in(cell)
        if parents and operator != "promotion":
            parent = better_parent(fitness, parents, child, data.sign)
            comparable = parent is not None and reach[parent] == reach[child]
            rows.append((child, operator, fitness[child] - fitness[parent] if comparable else np.nan))
    return pd.DataFrame(rows, columns=["individual", "operator", "change"]).astype({"change": float})


def operators_table(data: SearchData) -> pd.DataFrame:
    """Return one row per operator, the most frequent first.

    Columns: `operator`; `proposals`, individuals that it made; `complete`, of these; `compared`, those that are
    complete, as a parent is; `better`, those fitter than their best parent; `rate`, `better / compared`, with its 95 %
    interval from `low` to `high` (Wilson: Probable Inference, the Law of Succession, and Statistical Inference,
    Journal of the American Statistical Association 22, 1927); `median_change` of fitness against the best parent;
    `new_bests`, those that were better than all before.
    """
    from scipy.stats import binomtest

    changes = changes_table(data).dropna(subset="change")
    complete = (data.first["status"] == "complete").to_numpy()
    rows = []
    for operator, count in data.first["operator"].value_counts().items():
        mine = (data.first["operator"] == operator).to_numpy()
        change = changes.loc[changes["operator"] == operator, "change"]
        better, compared = int((data.sign * change > 0).sum()), len(change)
        row: dict[str, Any] = {"operator": operator, "proposals": int(count), "complete": int(complete[mine].sum())}
        row |= {"compared": compared, "new_bests": int(data.new_bests[mine].sum())}
        if compared:
            interval = binomtest(better, compared).proportion_ci(method="wilson")
            row |= {"better": better, "rate": better / compared, "median_change": float(change.median())}
            row |= {"low": float(interval.low), "high": float(interval.high)}
        rows.append(row)
    return pd.DataFrame(rows, columns=OPERATOR_COLUMNS)
