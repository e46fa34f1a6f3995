"""What was measured of a genome after the search: its trainings on new seeds, and their test accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evo.run import Run
from evo.settings import Settings


@dataclass(frozen=True)
class NewSeeds:
    """The complete trainings of a genome on new seeds.

    Attributes:
        fitness: Of each.
        test_accuracy: Of each whose weights were measured on the test set, as fractions.
    """

    fitness: tuple[float, ...]
    test_accuracy: tuple[float, ...]


def on_new_seeds(run: Run, individual: int) -> NewSeeds:
    """Return what the trainings of a finalist measured; nothing for an individual that is none."""
    trainings = [entry for entry in run.finalist_evaluations if entry.individual == individual and entry.complete]
    accuracies = [
        entry.test_accuracy
        if entry.test_accuracy is not None
        else run.tests.get((individual, entry.replicate), {}).get("test_accuracy")
        for entry in trainings
    ]
    return NewSeeds(
        tuple(entry.fitness for entry in trainings if entry.fitness is not None),
        tuple(accuracy for accuracy in accuracies if accuracy is not None),
    )


def fitness_bounds(settings: Settings) -> tuple[float, float]:
    """Return what the fitness of a run can be: accuracies are fractions, an objective gives any number."""
    return (0.0, 1.0) if settings.objective is None else (-math.inf, math.inf)
