"""How often each operator of the search made a child that is better than its parents, and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evo.reports.lineage import better_parent, parents_in
from evo.reports.search_data import SearchData

COLUMNS = [
    "operator",
    "proposals",
    "complete",
    "compared",
    "better",
    "rate",
    "low",
    "high",
    "median_change",
    "new_bests",
]


def changes_table(data: SearchData) -> pd.DataFrame:
    """Return one row per individual with parents: `individual, operator, change`.

    `change` is its fitness less that of its best parent, both of their first evaluations; nan where either failed. A
    promotion (halving) does not change the genome and is left out. Where one was trained longer than the other (rungs),
    the change is not known.
    """
    rung = dict(zip(data.fitness.index, data.rungs, strict=True))
    fitness = data.fitness_by_individual
    rows = []
    columns = (data.first[name] for name in ("individual", "operator", "parents"))
    for child, operator, cell in zip(*columns, strict=True):
        parents = parents_in(cell)
        if parents and operator != "promotion":
            change = np.nan
            parent = better_parent(fitness, parents, child)
            if parent is not None and rung[parent] == rung[child]:
                change = fitness[child] - fitness[parent]
            rows.append({"individual": child, "operator": operator, "change": change})
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
    before = data.best_so_far.shift(1, fill_value=-np.inf).fillna(-np.inf)
    new_best = (data.comparable > before).to_numpy()
    complete = (data.first["status"] == "complete").to_numpy()
    rows: list[dict[str, Any]] = []
    for operator, count in data.first["operator"].value_counts().items():
        mine = (data.first["operator"] == operator).to_numpy()
        change = changes.loc[changes["operator"] == operator, "change"]
        better, compared = int((change > 0).sum()), len(change)
        row = {"operator": operator, "proposals": int(count), "complete": int(complete[mine].sum())}
        row |= {"compared": compared, "new_bests": int(new_best[mine].sum())}
        if compared:
            interval = binomtest(better, compared).proportion_ci(method="wilson")
            row |= {"better": better, "rate": better / compared, "median_change": float(change.median())}
            row |= {"low": float(interval.low), "high": float(interval.high)}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)
