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
    """Return one row an individual with parents: `individual, operator, change`.

    `change` is its fitness less that of its best parent, both of their first evaluations; nan if either failed, or if
    halving trained one of them longer than the other. Promotions of older runs of halving do not change the genome and
    are left out.
    """
    rungs = data.first["rung"].astype(float).fillna(0).to_numpy() if "rung" in data.first else np.zeros(len(data.first))
    paused = data.first["steps_trained"].where(data.first["status"] == "partial").astype(float).fillna(0).to_numpy()
    reach = dict(zip(data.fitness.index, zip(rungs, paused, strict=True), strict=True))
    fitness = data.fitness_by_individual
    rows = []
    for number, operator, cell in zip(
        *(data.first[name] for name in ("individual", "operator", "parents")), strict=True
    ):
        parents = parents_in(cell)
        if parents and operator != "promotion":
            parent = better_parent(fitness, parents, number)
            change = np.nan
            if parent is not None and reach[parent] == reach[number]:
                change = fitness[number] - fitness[parent]
            rows.append({"individual": number, "operator": operator, "change": change})
    return pd.DataFrame(rows, columns=["individual", "operator", "change"]).astype({"change": float})


def operators_table(data: SearchData) -> pd.DataFrame:
    """Return one row an operator, the most frequent first.

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
    rows: list[dict[str, Any]] = []
    for operator, count in data.first["operator"].value_counts().items():
        mine = (data.first["operator"] == operator).to_numpy()
        change = changes.loc[changes["operator"] == operator, "change"]
        better, compared = int((change > 0).sum()), len(change)
        interval = binomtest(better, compared).proportion_ci(method="wilson") if compared else None
        rows.append(
            {
                "operator": operator,
                "proposals": int(count),
                "complete": int((data.first["status"] == "complete").to_numpy()[mine].sum()),
                "compared": compared,
                "better": better if interval else None,
                "rate": better / compared if compared else None,
                "low": float(interval.low) if interval else None,
                "high": float(interval.high) if interval else None,
                "median_change": float(change.median()) if compared else None,
                "new_bests": int(new_best[mine].sum()),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)
