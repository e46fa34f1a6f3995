"""`cma`: the covariance matrix adaptation evolution strategy of DEAP, for spaces of numbers.

Hansen and Ostermeier: Completely Derandomized Self-Adaptation in Evolution Strategies (Evolutionary Computation 9,
2001). It pays off with many evaluations: hundreds for a few genes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from deap import cma

from evo.errors import ConfigurationError
from evo.individual import Genome
from evo.space.genes import Number
from evo.strategies.generational import GenerationalStrategy
from evo.strategies.members import Draft, Fitness, Member

SIGMA = 0.25
"""First standard deviation, as a fraction of each gene's (log) range."""
TRIES = 20


class Point(list[float]):
    """A point of the unit cube, as DEAP wants it: a list with a fitness."""

    def __init__(self, values: Sequence[float], fitness: Fitness):
        super().__init__(values)
        self.fitness = fitness


class CovarianceMatrixAdaptation(GenerationalStrategy):
    """Draws each generation from a normal distribution that the previous generation has moved, stretched and rotated.

    Its points are the genes' places in their (log) ranges; points beyond a bound are reflected. It learns from the
    genomes as they were trained, rounded, so a resume needs only them.
    """

    name = "cma"
    elites = 0

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._cma = cma.Strategy([0.5] * len(self.space.genes), SIGMA, lambda_=self.population_size)

    def _check_settings(self) -> None:
        super()._check_settings()
        others = [name for name, gene in self.space.genes.items() if not isinstance(gene, Number) or gene.when]
        if others:
            raise ConfigurationError(
                f"strategy cma: evolves only numbers without conditions, and {', '.join(others)} "
                f"{'is' if len(others) == 1 else 'are'} not; take surrogate or ga"
            )
        if self.population_size < 4:
            raise ConfigurationError(f"population: cma needs at least 4, got {self.population_size}")

    def propose(self, number: int, rng: random.Random) -> Draft | None:
        for _ in range(TRIES):
            normal = np.array([rng.gauss(0.0, 1.0) for _ in self.space.genes])
            point = self._cma.centroid + self._cma.sigma * (self._cma.BD @ normal)
            genome: Genome = {
                name: gene.from_unit(float(place))
                for (name, gene), place in zip(self.space.genes.items(), point, strict=True)
                if isinstance(gene, Number)
            }
            if self.is_new(genome):
                return Draft(genome, tuple(member.individual.id for member in self.population), "sampling")
        return self.draft_new(rng)

    def learn(self, member: Member) -> None:
        before = len(self._populations)
        super().learn(member)
        if len(self._populations) > before:
            self._cma.update([Point(self._place(entry.genome), entry.fitness) for entry in self.population])

    def _place(self, genome: Genome) -> list[float]:
        return [
            gene.scale.to_unit(float(genome[name]))  # type: ignore[arg-type]  # the genes are numbers: `_check_settings`
            for name, gene in self.space.genes.items()
            if isinstance(gene, Number)
        ]
