"""The front of a search: the genomes that no other one beats in every objective."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from evo.record.history import History
from evo.record.ranked import RankedIndividual
from evo.space.settings import SIGNS


def goals_of(run: History) -> dict[str, str]:
    """Return "maximise" or "minimise" by the name of each objective, the first one first; else of the fitness."""
    settings = run.settings
    return dict(settings.objectives or {settings.goal: settings.direction})


def has_front(run: History) -> bool:
    """Return whether a search has several objectives, so that a front says more than the best genome."""
    return len(run.settings.objectives or ()) > 1


def points_of(run: History) -> list[tuple[RankedIndividual, dict[str, float]]]:
    """Return the genomes that have all objectives, best first by the first one, with their values by name."""
    points = []
    for entry in run.ranked():
        measured = {**entry.evaluation.measures, "fitness": entry.fitness, run.settings.goal: entry.fitness}
        measured["seconds"] = round(entry.evaluation.seconds, 3)  # as in the tables
        values = {name: measured.get(name) for name in goals_of(run)}
        if entry.evaluation.complete and None not in values.values():
            points.append((entry, {name: value for name, value in values.items() if value is not None}))
    return points


def front_of(run: History) -> list[tuple[RankedIndividual, dict[str, float]]]:
    """Return the points that no other one dominates, best first by the first objective."""
    points = points_of(run)
    signs = signs_of(goals_of(run))
    values = np.array([[signs[name] * value for name, value in own.items()] for _, own in points])
    return [point for point, is_best in zip(points, not_dominated(values), strict=True) if is_best]


def signs_of(goals: Mapping[str, str]) -> dict[str, float]:
    """Return 1 by the name of what is maximised and -1 by that of what is minimised."""
    return {name: SIGNS[direction] for name, direction in goals.items()}


def not_dominated(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which rows no other dominates: is at least as high everywhere and higher somewhere.

    Args:
        values: Of shape (evaluations, objectives); higher is better.
    """
    dominated = [np.any((values >= row).all(axis=1) & (values > row).any(axis=1)) for row in values]
    return ~np.array(dominated, dtype=bool)
