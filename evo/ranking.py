"""Who is best: individuals with what the search measured of them, in their order."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from evo.individual import RUNG, Evaluation, Genome, Individual, genome_key, raced, standing


@dataclass(frozen=True)
class RankedIndividual:
    """An individual with what the search measured of it."""

    individual: Individual
    evaluation: Evaluation

    replicates: tuple[float, ...] = ()
    """Fitness of each of its evaluations in the search, where there are several."""
    found: Genome = field(default_factory=dict)
    """Values that its training has found: the steps of the best checkpoint, where they are free."""

    def __repr__(self) -> str:
        return f"RankedIndividual({self.id}: fitness {self.evaluation.fitness}, {self.config})"

    @property
    def id(self) -> int:
        """The individual's id."""
        return self.individual.id

    @property
    def rung(self) -> int:
        """How far its training went, for strategies that begin with short ones."""
        return int(self.individual.strategy_parameters.get(RUNG, 0))

    @property
    def config(self) -> Genome:
        """The configuration: gene values by name, inactive genes absent."""
        return self.individual.config | self.found

    @property
    def fitness(self) -> float:
        """The fitness that the search measured; the mean, where it evaluated the individual several times."""
        if self.replicates:
            return statistics.fmean(self.replicates)
        assert self.evaluation.fitness is not None
        return self.evaluation.fitness


def ranking(
    individuals: Sequence[Individual], proposals: Sequence[Individual], evaluations: Sequence[Evaluation]
) -> list[tuple[int, tuple[float, ...]]]:
    """Return the individuals whose evaluation is complete, best first; the first of equal genomes only.

    Args:
        individuals: By id.
        proposals: In their order.
        evaluations: Of the search, in the order of (individual, replicate).

    Returns:
        Their ids, each with the fitness of its evaluations.
    """
    measured: dict[int, list[Evaluation]] = {}
    for evaluation in evaluations:
        measured.setdefault(evaluation.individual, []).append(evaluation)
    turns = raced(proposals)
    standings = {
        number: standing(
            individuals[number], [entry.fitness if entry.complete else None for entry in its], turns[number]
        )
        for number, its in measured.items()
        if its[0].complete and not its[0].replicate
    }
    ranked: list[tuple[int, tuple[float, ...]]] = []
    seen: set[str] = set()
    for number in sorted(standings, key=lambda number: (*(-part for part in standings[number]), number)):
        if (key := genome_key(individuals[number].genome)) not in seen:
            seen.add(key)
            known = [entry.fitness for entry in measured[number] if entry.complete and entry.fitness is not None]
            ranked.append((number, tuple(known)))
    return ranked
