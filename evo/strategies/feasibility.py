"""Where configurations are probably allowed: a Gaussian process learns it from those that were and those that were not.

What failed counts as not allowed, too. A bad fitness in their place would bend the model of the fitness, and let one
failure spoil its neighbourhood however many good results are in it. Here it is the probability that is learned, apart
from the fitness, as in constrained Bayesian optimisation (Gelbart, Snoek and Adams, UAI 2014); labels are regressed on,
which for choosing among candidates does as well as a classifier and needs no approximation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from evo.strategies.gaussian_process import Vectors

LIKELY, MAYBE = 0.92, 0.7
"""How probable it must be that a proposal is allowed; and what is enough for one in `ONE_IN` once none of the last
`CLEAN` results was refused, so that the search does not keep away from a boundary that lies further out."""
CLEAN, ONE_IN = 5, 4
NOISE = 0.2
"""Standard deviation of a label, from 0 to 1: near a boundary, or where failures have other causes, labels disagree."""
EXEMPT = 0.03
"""The share of proposals that may be anywhere, so that what was excluded by mistake is tried again."""
AWAITED = 0.4
"""The label of what is awaited: proposals that depend on the same guess are not made before it is known to be right."""
BEYOND = 1e6
"""By how much what is not probable enough is less promising, times what it lacks: more than any promise."""
FEW = 8
"""Candidates of which the one is tried that is farthest from what was refused: of many it would lie in a corner."""
MOST = 250
"""Configurations of each kind that are learned from: the last ones."""


class Feasibility:
    """How probably configurations are allowed.

    Args:
        allowed: Encoded genomes of evaluations that have a result, (n, columns).
        refused: Those of evaluations that failed or are not allowed, (m, columns).
        pending: Those of evaluations whose results are awaited, (k, columns).
        groups: For each column the number of its length scale, (columns,).
        recent: Whether each of the last evaluations was refused, the last one last.
    """

    def __init__(
        self, allowed: Vectors, refused: Vectors, pending: Vectors, groups: Sequence[int], recent: Sequence[bool]
    ):
        from evo.strategies.gaussian_process import GaussianProcess

        parts = [(allowed[-MOST:], 1.0), (refused[-MOST:], 0.0)]
        parts += [(pending, AWAITED)] if len(pending) else []
        vectors = np.vstack([part for part, _ in parts])
        labels = np.concatenate([np.full(len(part), label) for part, label in parts])
        is_clean = len(recent) >= CLEAN and not any(recent[-CLEAN:])
        is_turn = (len(recent) + len(pending)) % ONE_IN == 0
        self._threshold = MAYBE if is_clean and is_turn else LIKELY
        self._prior = float(labels.mean())
        self._model = GaussianProcess(vectors, labels - self._prior, groups, noise=NOISE**2)

    def probability(self, vectors: Vectors) -> Vectors:
        """Return how probably encoded genomes are allowed, (n,)."""
        from scipy.special import ndtr

        means, deviations = self._model.predict(vectors)
        found: Vectors = ndtr((means + self._prior - 0.5) / np.sqrt(deviations**2 + NOISE**2))
        return found

    def penalty(self, vectors: Vectors) -> Vectors:
        """Return what is to be added to the promise of encoded genomes: 0 for those that are probably allowed, (n,)."""
        return -BEYOND * np.maximum(0.0, self._threshold - self.probability(vectors))


def first_to_try(vectors: Vectors, refused: Vectors, violations: Sequence[float | None], groups: Sequence[int]) -> int:
    """Return which candidate to try while nothing is known to be allowed.

    Where violations are known, it is the one that may have the smallest; else one far from all that was refused.

    Args:
        vectors: The candidates, encoded.
        refused: What was tried, encoded.
        violations: How far each of these is from being allowed; None where that is not known.
        groups: See `Feasibility`.
    """
    from evo.strategies.gaussian_process import GaussianProcess, Warp

    known = [place for place, violation in enumerate(violations) if violation is not None][-MOST:]
    if len(known) < 2:
        distances = np.linalg.norm(vectors[:FEW, None, :] - refused[None, :, :], axis=2)
        return int(np.argmax(distances.min(axis=1)))
    # Not their logarithms: these would lead to the boundary only, and not beyond it.
    nearness = [-(violations[place] or 0.0) for place in known]
    warp = Warp(nearness)
    means, deviations = GaussianProcess(refused[known], warp.forward(nearness), groups).predict(vectors)
    return int(np.argmax(means + deviations))
