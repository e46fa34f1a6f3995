"""`ga`: a generational genetic algorithm with tournament selection, elites, typed crossover and mutation.

The scheme is the textbook one (Eiben and Smith, Introduction to Evolutionary Computing, 2nd edition, chapters 3 and 5);
its operators are those of `evo.strategies.variation`.
"""

from __future__ import annotations

import random
from typing import Any

from evo.strategies.generational import GenerationalStrategy
from evo.strategies.members import Draft
from evo.strategies.variation import lend

CROSSOVER_PROBABILITY = 0.7
MUTATION_PROBABILITY = 0.8
TRIES = 50


class GeneticAlgorithm(GenerationalStrategy):
    """Tournaments of three choose the parents; a tenth of the population (at least one) is kept unchanged.

    A child whose genome was proposed before is mutated, with growing strength, until it is new.
    """

    name = "ga"

    def __init__(self, *args: Any, **settings: Any):
        population = settings.get("population")
        self.elites = max(1, (population if population is not None else self.default_population) // 10)
        super().__init__(*args, **settings)

    def propose(self, number: int, rng: random.Random) -> Draft | None:
        if not self.population:
            return self.draft_new(rng)
        with lend(rng):
            parents = list(self.toolbox.select(self.population, 2))
        crossed = rng.random() < CROSSOVER_PROBABILITY and parents[0] is not parents[1]
        if crossed:
            genome = self.toolbox.mate(parents[0].genome, parents[1].genome, rng)
        else:
            parents, genome = parents[:1], dict(parents[0].genome)
        mutated = not crossed or rng.random() < MUTATION_PROBABILITY
        if mutated:
            genome = self.toolbox.mutate(genome, rng)
        operator = "+".join(["crossover"] * crossed + ["mutation"] * mutated)
        ids = tuple(parent.individual.id for parent in parents)
        for attempt in range(TRIES):
            if self.is_new(genome):
                return Draft(genome, ids, operator)
            genome = self.toolbox.mutate(genome, rng, strength=0.15 * (1 + attempt / 10))
            operator = operator if operator.endswith("mutation") else f"{operator}+mutation"
        return self.draft_new(rng)
