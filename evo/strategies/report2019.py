"""`report2019`: the self-adaptive algorithm of the 2019 report, its faults included.

Source: V. Zuanazzi, Assignment 1 (University of Amsterdam, 2019), and its author's published code. Kept as they were:

- the step of the learning rate first moves by a normal of scale 0.01, fifty times the whole range of the learning rate,
  and is floored at 1e-5: learning rates leave the range at once, and many end at the floor of 1e-6;
- a mutation adds a uniform integer in [100, 1000) to the batch size and never takes anything away;
- nothing keeps a gene in its bounds, and nothing keeps a genome from being trained twice.

`report2019-fixed` keeps the idea without the faults.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from evo.errors import ConfigurationError
from evo.individual import Genome
from evo.space.file import load_space
from evo.strategies.generational import GenerationalStrategy
from evo.strategies.members import Draft, Member

FIRST_LAYERS: tuple[tuple[int, ...], ...] = ((5000,), (2500,), (1000,))
LAST_LAYERS: tuple[tuple[int, ...], ...] = ((1000, 10, 10, 10, 10), (500, 500, 500, 500, 500), (800, 400, 200, 100, 50))
LAYERS = (
    (5000,),
    (1000,),
    (1000, 500),
    (1000, 500, 250),
    (1000, 500, 250, 100),
    (500, 500),
    (500, 500, 250, 250),
    (500, 500, 250, 250, 100),
    (500, 1000),
)


class KeepTheBest(GenerationalStrategy):
    """The scheme of 2019: the best stays; each other is mated, one time in two with the best, then mutated.

    A child takes the place of the individual it was made from, whatever its fitness.
    """

    elites = 1
    default_population = 10
    default_generations = 5

    def best_slot(self) -> int:
        """Return the place of the best; of several equal ones the first."""
        return max(range(len(self.population)), key=lambda slot: (self.population[slot].fitness.wvalues, -slot))

    def succeed(self, children: Sequence[Member]) -> list[Member]:
        best = self.best_slot()
        arriving = iter(children)
        return [member if slot == best else next(arriving, member) for slot, member in enumerate(self.population)]

    def parents_of(self, number: int, rng: random.Random) -> tuple[Member, Member]:
        """Return the individual that proposal `number` replaces, and its mate."""
        best = self.best_slot()
        slots = [slot for slot in range(len(self.population)) if slot != best]
        own = self.population[slots[number - self.required(number)]]
        mate = self.population[best] if rng.random() < 0.5 else rng.choice(self.population)
        return own, mate


class Report2019(KeepTheBest):
    """The algorithm as it was; works on the `report` space only."""

    name = "report2019"
    takes_earlier = "none"

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        if self.space.genes != load_space("report").genes:
            raise ConfigurationError(
                f'strategy "report2019": its draws and steps are those of the space "report", got "{self.space.name}". '
                'Use `evo search report`, or the strategy "report2019-fixed" on any space.'
            )
        if self.initial:
            raise ConfigurationError(
                'strategy "report2019": draws its first population itself; leave out --initial-from'
            )

    def propose(self, number: int, rng: random.Random) -> Draft:
        if number < self.population_size:
            return self._first_generation(number, rng)
        own, mate = self.parents_of(number, rng)
        child: dict[str, Any] = dict(own.genome)
        strengths = dict(own.individual.strategy_parameters)
        self._mate(child, mate.genome, strengths["layers"], rng)
        self._mutate(child, strengths, rng)
        parents = tuple(dict.fromkeys((own.individual.id, mate.individual.id)))
        return Draft(child, parents, "crossover+mutation", strengths)

    def _first_generation(self, number: int, rng: random.Random) -> Draft:
        layers = {0: FIRST_LAYERS, self.population_size - 1: LAST_LAYERS}.get(number, LAYERS)
        genome: Genome = {
            "hidden_layers": rng.choice(layers),
            "learning_rate": rng.uniform(2e-6, 2e-4),
            "batch_size": rng.randrange(100, 1000),
            "steps": rng.randrange(1500, 5000),
        }
        strengths = {
            "layers": rng.uniform(0.1, 1.0),
            "learning_rate": rng.uniform(1e-7, 1e-5),
            "steps": rng.randrange(100, 1000),
            "batch_size": rng.randrange(100, 1000),
        }
        return Draft(genome, strategy_parameters=strengths)

    @staticmethod
    def _mate(child: dict[str, Any], mate: Genome, layers_probability: float, rng: random.Random) -> None:
        child["learning_rate"] = _between(child["learning_rate"], mate["learning_rate"], rng)
        for name in ("steps", "batch_size"):
            child[name] = round(_between(child[name], mate[name], rng))
        if rng.random() < layers_probability:
            child["hidden_layers"] = mate["hidden_layers"]

    @staticmethod
    def _mutate(child: dict[str, Any], strengths: dict[str, Any], rng: random.Random) -> None:
        for name, scale in (("layers", 0.01), ("learning_rate", 0.01), ("steps", 1.0), ("batch_size", 1.0)):
            strengths[name] = max(1e-5, strengths[name] + rng.gauss(0.0, scale))
        child["learning_rate"] = max(1e-6, child["learning_rate"] + rng.gauss(0.0, strengths["learning_rate"]))
        # A training needs a step: the only bound that is ours.
        child["steps"] = max(1, round(child["steps"] + rng.gauss(0.0, strengths["steps"])))
        child["batch_size"] += rng.randrange(100, 1000)
        if rng.random() < strengths["layers"]:
            child["hidden_layers"] = rng.choice(LAYERS)


def _between(first: Any, second: Any, rng: random.Random) -> float:
    return rng.uniform(min(first, second), max(first, second))
