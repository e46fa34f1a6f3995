"""The Pareto front of a search with several objectives: the evaluations that no other dominates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from evo.reports.features import Floats
from evo.reports.search_data import SearchData


def objectives_table(data: SearchData) -> pd.DataFrame:
    """Return the complete first evaluations that have all objectives: `individual`, one column each, and `front`.

    The front is that of all evaluations; the last population of the search may have no room for all of it.
    """
    objectives = data.settings.objectives or {}
    columns = [name for name in objectives if name in data.first]
    table = data.first.loc[data.first["status"] == "complete", ["individual", *columns]]
    table = table.astype(dict.fromkeys(columns, float)).dropna().reset_index(drop=True)
    signs = [1.0 if objectives[name] == "maximise" else -1.0 for name in columns]
    table["front"] = not_dominated(table[columns].to_numpy(dtype=float) * signs)
    return table


def not_dominated(values: Floats) -> npt.NDArray[np.bool_]:
    """Return which rows no other dominates: is at least as high everywhere and higher somewhere.

    Args:
        values: Of shape (evaluations, objectives); higher is better.
    """
    dominated = [np.any((values >= row).all(axis=1) & (values > row).any(axis=1)) for row in values]
    return ~np.array(dominated, dtype=bool)
