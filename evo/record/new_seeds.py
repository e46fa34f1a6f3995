"""What the trainings of a genome on new seeds have measured."""

from __future__ import annotations

from dataclasses import dataclass

from evo.record.history import History


@dataclass(frozen=True)
class NewSeeds:
    """The complete trainings of a genome on new seeds.

    Attributes:
        fitness: Of each.
        test_accuracy: Of each whose weights were measured on the test set, as fractions.
    """

    fitness: tuple[float, ...]
    test_accuracy: tuple[float, ...]


def on_new_seeds(run: History, individual: int) -> NewSeeds:
    """Return what the trainings of a finalist measured; nothing for other individuals."""
    trainings = [entry for entry in run.finalist_evaluations if entry.individual == individual and entry.complete]
    accuracies = [run.test_accuracy_of(entry) for entry in trainings]
    return NewSeeds(
        tuple(entry.fitness for entry in trainings if entry.fitness is not None),
        tuple(accuracy for accuracy in accuracies if accuracy is not None),
    )
