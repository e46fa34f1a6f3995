"""`pareto`: NSGA-II, for several objectives at once, such as accuracy against parameters.

Deb, Pratap, Agarwal and Meyarivan: A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II (IEEE Transactions on
Evolutionary Computation 6, 2002); selection, ranks and crowding are DEAP's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from deap import base, tools

from evo.errors import ConfigurationError
from evo.space.settings import FITNESS, SIGNS, check_objectives
from evo.strategies.members import WORST_FITNESS, Draft, Member
from evo.strategies.steady_state import SteadyState
from evo.strategies.variation import lend

DEFAULT_OBJECTIVES = {FITNESS: "maximise", "parameters": "minimise"}
CROSSOVER_PROBABILITY = 0.7
TRIES = 50


class ParetoFitness(base.Fitness):  # type: ignore[misc]  # deap has no types
    """Several objectives, under Deb's rules for constraints (CMAME 186, 2000).

    What is allowed dominates what is not; of what is not, the smaller violation dominates.

    Attributes:
        violation: How far it is from being allowed; 0 for what is.
    """

    violation = 0.0

    @classmethod
    def of_violation(cls, violation: float) -> ParetoFitness:
        """Return the fitness of what is not allowed."""
        fitness = cls([-sign * violation for sign in cls.weights])
        fitness.violation = violation
        return fitness

    def dominates(self, other: ParetoFitness, obj: slice = slice(None)) -> bool:
        """Return whether this fitness is better."""
        if self.violation or other.violation:
            return self.violation < other.violation
        return bool(super().dominates(other, obj))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ParetoFitness) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[float, ...]:
        return (self.violation, *self.wvalues)


class Pareto(SteadyState):
    """Keeps the individuals of the best fronts; of the last front that has room in the population the least crowded.

    It proposes one child at a time, which Durillo et al. (2009) found better than whole generations.

    Args:
        *args: Of `Strategy`.
        objectives: "maximise" or "minimise" by the name of what is measured: "fitness", one of `MEASURES`, or what an
            objective calls it. Default: high fitness and few parameters.
        **settings: Of `SteadyState`.
    """

    name = "pareto"
    options = SteadyState.options | {"objectives"}

    def __init__(self, *args: Any, objectives: Mapping[str, str] | None = None, **settings: Any):
        self.objectives = dict(objectives or DEFAULT_OBJECTIVES)
        check_objectives(self.objectives, recorded=True, own=True)  # those of an older run, too
        weights = tuple(SIGNS[direction] for direction in self.objectives.values())
        self._fitness: type[ParetoFitness] = type("ParetoFitness", (ParetoFitness,), {"weights": weights})
        super().__init__(*args, **settings)
        self._population: list[Member] = []

    def propose(self, number: int, rng: random.Random) -> Draft | None:
        if number < self.first_size or len(self._population) < 2:
            return self.draft_new(rng)
        few = len(self._population) < 4
        four = rng.choices(self._population, k=4) if few else rng.sample(self._population, 4)
        with lend(rng):
            first, second, *_ = tools.selTournamentDCD(four, 4)
        crossed = rng.random() < CROSSOVER_PROBABILITY and first is not second
        genome = self.toolbox.mate(first.genome, second.genome, rng) if crossed else dict(first.genome)
        parents = (first.individual.id, second.individual.id) if crossed else (first.individual.id,)
        for attempt in range(TRIES):
            genome = self.toolbox.mutate(genome, rng, strength=0.15 * (1 + attempt / 10))
            if self.is_new(genome):
                return Draft(genome, parents, "crossover+mutation" if crossed else "mutation")
        return self.draft_new(rng)

    def take(self, member: Member) -> None:
        measures = member.evaluation.measures
        missing = [name for name in self.objectives if name != FITNESS and name not in measures]
        if missing and member.value > WORST_FITNESS and not self._population:
            raise ConfigurationError(
                f"objectives: individual {member.individual.id} reports no {', '.join(missing)}; it reports fitness"
                + "".join(f", {name}" for name in measures)
            )
        # An individual that lacks a measure which others have counts as failed.
        if member.value > WORST_FITNESS and not missing:
            values = {FITNESS: self.sign * member.value, **measures}
            member.fitness = self._fitness(tuple(values[name] for name in self.objectives))
        elif (violation := member.evaluation.violation) is not None:
            member.fitness = self._fitness.of_violation(violation)
        else:
            return
        self._population = tools.selNSGA2([*self._population, member], self.population_size)

    def members(self) -> Sequence[int]:
        return [member.individual.id for member in self._population]

    @property
    def front(self) -> list[int]:
        """The ids of the individuals that no other dominates, the fittest first."""
        feasible = [member for member in self._population if member.evaluation.violation is None]
        if not feasible:
            return []
        [first, *_] = tools.sortNondominated(feasible, len(feasible), first_front_only=True)
        return [member.individual.id for member in sorted(first, key=lambda member: -member.value)]
