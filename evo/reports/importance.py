"""How much each gene matters for fitness: permutation importance of a random forest.

Breiman: Random Forests (Machine Learning 45, 2001), section 10. A forest learns the rank of the fitness from the genes;
on evaluations that it has not seen, a gene's values are shuffled, and what the forest's R² loses by that is the gene's
importance. Ranks keep a few very bad genomes from deciding everything. Forest and folds are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from evo.reports.features import Feature, Floats, floats

FEWEST = 30
"""Fewer complete evaluations give no importance: each fold would be judged by fewer than six."""
FEW = 100
"""Fewer complete evaluations give an importance that is called uncertain."""
MOST = 600
"""More evaluations than this are sampled: the forest takes time, and by then it is certain."""
FOLDS, SHUFFLES, TREES = 5, 3, 40
LEAST_R2 = 0.1
"""A forest that predicts no better than this has found nothing to share out among genes."""


class Importance(NamedTuple):
    """How much each gene matters for fitness.

    Attributes:
        table: One row per gene, the most important first: `gene, importance, std` (mean and standard deviation over the
            folds of the loss of R²; may be below 0, which means none).
        evaluations: How many the forests were trained and judged on.
        r2: Mean R² of the forests on evaluations that they had not seen.
        reason: Why there is no table, or what makes it uncertain; empty where there is nothing to say.
    """

    table: pd.DataFrame
    evaluations: int
    r2: float = float("nan")
    reason: str = ""


def importance_of(features: Sequence[Feature], fitness: Floats, seed: int) -> Importance:
    """Return how much each gene matters; the same for the same evaluations and seed.

    Args:
        features: Of the genes; those of one gene are shuffled together.
        fitness: One number per evaluation, in the features' order; nan where it failed.
        seed: Of the forests and of the shuffling.
    """
    matrices = _matrices(features)
    rows = np.flatnonzero(np.isfinite(fitness))
    nothing = pd.DataFrame({"gene": [], "importance": [], "std": []})
    if len(rows) < FEWEST:
        return Importance(nothing, len(rows), reason=f"fewer than {FEWEST} evaluations are complete")
    if len(matrices) < 2 or len(np.unique(fitness[rows])) < 2:
        return Importance(nothing, len(rows), reason="fewer than two genes vary, or the fitness does not")
    generator = np.random.default_rng(seed)
    if len(rows) > MOST:
        rows = np.sort(generator.choice(rows, MOST, replace=False))
    target = floats(pd.Series(fitness[rows]).rank(pct=True))
    chosen = [matrix[rows] for matrix in matrices.values()]
    losses, scores = _losses(chosen, target, seed=int(generator.integers(2**31)))
    r2 = float(np.mean(scores))
    if r2 < LEAST_R2:
        reason = f"a forest predicts the fitness of unseen genomes hardly better than its mean (R² {r2:.2f})"
        return Importance(nothing, len(rows), r2, reason)
    table = pd.DataFrame({"gene": list(matrices), "importance": losses.mean(axis=0), "std": losses.std(axis=0, ddof=1)})
    table = table.sort_values("importance", ascending=False, kind="stable").reset_index(drop=True)
    few = f"uncertain: fewer than {FEW} evaluations" if len(rows) < FEW else ""
    return Importance(table, len(rows), r2, few)


def _matrices(features: Sequence[Feature]) -> dict[str, Floats]:
    """Return a matrix for each gene that varies: its features, a category as one column per choice."""
    columns: dict[str, list[Floats]] = {}
    for feature in features:
        own = [_of_ordinary_size(feature.scaled)]
        if len(feature.categories) > 2:
            inactive = np.isnan(feature.values)
            own = [np.where(inactive, np.nan, feature.values == n) for n in range(len(feature.categories))]
        columns.setdefault(feature.gene, []).extend(own)
    matrices = {gene: np.column_stack(own) for gene, own in columns.items()}
    # Two inactive genes, NaN, do not differ.
    return {gene: matrix for gene, matrix in matrices.items() if len(pd.DataFrame(matrix).drop_duplicates()) > 1}


def _of_ordinary_size(values: Floats) -> Floats:
    """Return values that scikit-learn's forests can hold, which are of single precision; only their order matters."""
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    return values if largest == 0 or 1e-30 < largest < 1e30 else values / largest


def _losses(matrices: Sequence[Floats], target: Floats, seed: int) -> tuple[Floats, list[float]]:
    """Return the loss of R² by fold (rows) and gene (columns), and the R² of each fold's forest.

    Unlike in scikit-learn's `permutation_importance`, all columns of a gene are shuffled together, and a forest
    predicts all shuffled copies in one call, because a hundred rows take as long as thousands.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.metrics import r2_score
    from sklearn.model_selection import KFold

    columns = np.hstack(matrices)
    losses, scores = [], []
    for fold, (train, test) in enumerate(KFold(FOLDS, shuffle=True, random_state=seed).split(columns)):
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=seed + fold)
        forest.fit(columns[train], target[train])
        copies = _shuffled_copies([matrix[test] for matrix in matrices], np.random.default_rng(seed + fold))
        predicted = forest.predict(np.vstack(copies)).reshape(len(copies), -1)
        r2 = [float(r2_score(target[test], values)) for values in predicted]
        losses.append(r2[0] - np.reshape(r2[1:], (len(matrices), SHUFFLES)).mean(axis=1))
        scores.append(r2[0])
    return np.array(losses), scores


def _shuffled_copies(matrices: Sequence[Floats], generator: np.random.Generator) -> list[Floats]:
    """Return the genes' matrices as one, and then for every gene copies in which its values are shuffled."""
    copies = [np.hstack(matrices)]
    for place, matrix in enumerate(matrices):
        for _ in range(SHUFFLES):
            copies.append(np.hstack([*matrices[:place], generator.permutation(matrix), *matrices[place + 1 :]]))
    return copies
