"""What every strategy is: it proposes individuals (`ask`) and learns from their results in the order of their ids.

A strategy is a function of its settings, its seed and the results: proposal k draws from a generator of its own, seeded
with (seed, k), and knows the results of the first `required(k)` individuals and no others, however many have arrived.
So neither the number of workers nor the order in which they finish nor a restart changes what it proposes.
"""

from __future__ import annotations

import math
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from deap import base, tools

from evo.errors import ConfigurationError, RunError, listed
from evo.individual import Evaluation, GeneValue, Genome, Individual, genome_key, raced, standing
from evo.space import SearchSpace
from evo.strategies.variation import make_toolbox

WORST_FITNESS = -sys.float_info.max
"""What DEAP sees of a failed training: finite, because its comparisons of NaN are true both ways."""


class Fitness(base.Fitness):  # type: ignore[misc]  # deap has no types
    """One number, higher is better."""

    weights = (1.0,)


@dataclass
class Member:
    """An evaluated individual, as DEAP's selection wants it: with a `fitness` that compares.

    Attributes:
        individual: What was proposed.
        fitness: Its result.
        measures: What else was measured, by name.
    """

    individual: Individual
    fitness: Fitness
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def genome(self) -> Genome:
        """The individual's genome."""
        return self.individual.genome

    @property
    def value(self) -> float:
        """The fitness as a number."""
        return float(self.fitness.values[0])


@dataclass(frozen=True)
class Result:
    """What was told of a proposal."""

    fitness: float | None
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """What a strategy proposes; the base class makes an `Individual` of it.

    Attributes:
        genome: A new genome, or that of the individual `again`.
        parents: Ids of the individuals it was made from.
        operator: What made it.
        strategy_parameters: See `Individual`.
        again: The id of an individual that is to be evaluated on another seed.
    """

    genome: Genome
    parents: tuple[int, ...] = ()
    operator: str = "random"
    strategy_parameters: dict[str, Any] = field(default_factory=dict)
    again: int | None = None


class Strategy(ABC):
    """An algorithm behind `ask` and `tell`.

    Args:
        space: The search space.
        seed: Seed of every draw.
        population: Individuals of a generation.
        budget: Most trainings of the search.
        generations: Most generations. Without either bound, the strategy's default holds.
        initial: Known genomes for the first population; genes they leave out are drawn. Default: the space's own.
        retrainable: Whether an evaluation takes a seed, so that one of the same genome again says something new.

    Raises:
        ConfigurationError: The settings do not fit the strategy or the space.
    """

    name: ClassVar[str]
    default_population: ClassVar[int] = 20
    default_generations: ClassVar[int | None] = None
    default_budget: ClassVar[int] = 100
    eager: ClassVar[bool] = False
    """Whether results are learned as they come, because no proposal depends on them."""
    options: ClassVar[frozenset[str]] = frozenset()
    """Settings of its own that the strategy takes beside those of every strategy."""
    asynchronous = False
    """Whether results are learned in the order in which they arrive."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        population: int | None = None,
        budget: int | None = None,
        generations: int | None = None,
        initial: Sequence[Mapping[str, GeneValue]] | None = None,
        retrainable: bool = False,
    ):
        self.space, self.seed, self.retrainable = space, seed, retrainable
        self.population_size = population if population is not None else self.default_population
        if budget is None and generations is None:
            generations = self.default_generations
            budget = self.default_budget if generations is None else None
        self.budget, self.generations = budget, generations
        self.initial = list(space.initial if initial is None else initial)
        self._check_settings()
        self.toolbox = make_toolbox(space)
        self.proposals: list[Individual] = []
        self.individuals: list[Individual] = []
        self.hall_of_fame = tools.HallOfFame(10, similar=lambda a, b: a.genome == b.genome)
        self._keys: set[str] = set()
        self._fitnesses: dict[int, list[float | None]] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._told: dict[int, Result] = {}
        self._learned: set[int] = set()
        self._next = 0
        self._exhausted = False

    # What a strategy defines.

    @abstractmethod
    def required(self, number: int) -> int:
        """Return how many results, in the order of ids, proposal `number` is made from."""

    @abstractmethod
    def generation_of(self, number: int) -> int:
        """Return the generation of proposal `number`, from 0."""

    @abstractmethod
    def propose(self, number: int, rng: random.Random) -> Draft | None:
        """Return proposal `number`, or None if the space has no genome left that is new."""

    @abstractmethod
    def learn(self, member: Member) -> None:
        """Take in the first result of an individual; called in the order of the proposals."""

    def learn_again(self, member: Member) -> None:  # noqa: B027  # most strategies propose nothing again
        """Take in the result of an individual that was proposed again; called in the order of the proposals."""

    @abstractmethod
    def trainings_of(self, generations: int) -> int:
        """Return how many trainings that many generations take."""

    @abstractmethod
    def populations(self) -> list[tuple[int, ...]]:
        """Return the ids of every finished generation's members; once done, also of a last, incomplete one."""

    # What a loop calls.

    @property
    def limit(self) -> int:
        """Most trainings: the smaller of `budget` and what `generations` take; one of them is always set."""
        bounds = [] if self.budget is None else [self.budget]
        bounds += [] if self.generations is None else [self.trainings_of(self.generations)]
        return min(bounds)

    def ask(self, room: int = 1) -> list[Individual]:
        """Return up to `room` new individuals; fewer, or none, while results are awaited or at the end."""
        proposals: list[Individual] = []
        while len(proposals) < room:
            individual = self._ask_one()
            if individual is None:
                break
            proposals.append(individual)
        return proposals

    def tell(
        self,
        individual: Individual | int,
        fitness: float | None,
        replicate: int = 0,
        measures: Mapping[str, float] | None = None,
    ) -> None:
        """Report a result, in any order.

        Args:
            individual: What `ask` returned, or its id.
            fitness: Higher is better; None, NaN and infinities stand for a failed training.
            replicate: With an id: which of the individual's evaluations it is.
            measures: What else was measured, by name (`evo.individual.MEASURES`), for strategies of several objectives.

        Raises:
            ValueError: No such individual was proposed, or it was told already.
        """
        key = (individual, replicate) if isinstance(individual, int) else (individual.id, individual.replicate)
        name = f"individual {key[0]}" + (f", replicate {key[1]}," if key[1] else "")
        if key not in self._numbers:
            raise ValueError(f"{name} was never proposed")
        number = self._numbers[key]
        if number in self._told or number in self._learned:
            raise ValueError(f"{name} was told already")
        self._told[number] = Result(fitness, measures or {})
        self._after_telling(number)

    def done(self) -> bool:
        """Return whether everything was proposed and told."""
        return self._all_proposed() and len(self._learned) == len(self.proposals)

    def replay(self, proposals: Iterable[Individual], evaluations: Iterable[Evaluation]) -> None:
        """Take in the recorded past of a run: its proposals as they were made, and their results.

        Proposals are read, never made again; afterwards the strategy is as it was when the last one was recorded.

        Raises:
            RunError: The strategy cannot have made them: a proposal was made from a result that is not among
                `evaluations`, or lacks what the strategy would have noted in it.
        """
        try:
            self._replay(list(proposals), evaluations)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise RunError(f"these are not the proposals of the strategy {self.name}: {error}") from error

    def _replay(self, past: list[Individual], evaluations: Iterable[Evaluation]) -> None:
        numbers = {(individual.id, individual.replicate): number for number, individual in enumerate(past)}
        for evaluation in evaluations:
            if (number := numbers.get((evaluation.individual, evaluation.replicate))) is not None:
                self._told[number] = Result(evaluation.fitness, evaluation.measures)
        for number, individual in enumerate(past):
            needed = self.required(number)
            if not self._learn_until(needed):
                raise ValueError(f"proposal {number} needs the results of the first {needed} proposals")
            self._register(individual)
        for number in sorted(self._told):
            self._after_telling(number)

    @property
    def best(self) -> Individual | None:
        """The individual that stands best by the results learned so far (see `standing`); None before the first."""
        turns = raced(self.proposals)
        standings = {n: standing(self.individuals[n], known, turns[n]) for n, known in self._fitnesses.items()}
        number = max(standings, key=lambda number: (*standings[number], -number), default=None)
        return self.individuals[number] if number is not None and standings[number][0] >= 0 else None

    # How.

    def _check_settings(self) -> None:
        for value, name in (
            (self.population_size, "population"),
            (self.budget, "budget"),
            (self.generations, "generations"),
        ):
            if value is not None and value < 1:
                raise ConfigurationError(f"{name}: must be at least 1, got {value}")
        problems = [
            f"initial[{number}].{problem}"
            for number, values in enumerate(self.initial)
            for problem in self.space.problems(values, complete=False)
        ]
        if problems:
            raise ConfigurationError(listed(problems, "the known configurations do not fit the search space"))

    def _all_proposed(self) -> bool:
        return self._exhausted or len(self.proposals) >= self.limit

    def _ask_one(self) -> Individual | None:
        number = len(self.proposals)
        if self._all_proposed() or not self._learn_until(self.required(number)):
            return None
        draft = self._first_of_initial() or self.propose(number, random.Random(f"{self.seed}:{self.name}:{number}"))
        if draft is None:
            self._exhausted = True
            self._learn_until(len(self.proposals))
            return None
        if draft.again is not None:
            replicate = sum(1 for proposal in self.proposals if proposal.id == draft.again)
            individual = replace(self.individuals[draft.again], replicate=replicate)
            self._register(individual)
            return individual
        individual = Individual(
            id=len(self.individuals),
            genome=draft.genome,
            generation=self.generation_of(number),
            parents=draft.parents,
            operator=draft.operator,
            strategy_parameters=draft.strategy_parameters,
        )
        self._register(individual)
        return individual

    def _first_of_initial(self) -> Draft | None:
        """Return the next known configuration that was not proposed before, completed by draws."""
        number = len(self.individuals)
        if number >= self.population_size:
            return None
        rng = random.Random(f"{self.seed}:initial:{number}")
        for values in self.initial[number:] if number < len(self.initial) else []:
            genome = self.space.complete(values, rng)
            if self.is_new(genome):
                return Draft(genome, operator="initial")
        return None

    def _after_telling(self, number: int) -> None:
        """Learn what was told, if nobody waits for what came before it."""
        if self.asynchronous:
            self._learn(number)
        elif self.eager or self._all_proposed():
            self._learn_until(len(self.proposals))

    def _register(self, individual: Individual) -> None:
        self._numbers[individual.id, individual.replicate] = len(self.proposals)
        self.proposals.append(individual)
        if not individual.replicate:
            self.individuals.append(individual)
            self._keys.add(genome_key(individual.genome))

    def _learn_until(self, number: int) -> bool:
        """Learn the results before `number` in order; return whether all of them are known."""
        while self._next < number:
            if self._next not in self._learned:
                if self._next not in self._told:
                    return False
                self._learn(self._next)
            self._next += 1
        return True

    def _learn(self, number: int) -> None:
        result = self._told.pop(number, None)
        if result is None:
            return
        self._learned.add(number)
        member = Member(self.proposals[number], Fitness((_finite(result.fitness),)), result.measures)
        fine = member.value > WORST_FITNESS
        self._fitnesses.setdefault(member.individual.id, []).append(member.value if fine else None)
        if member.individual.replicate:
            self.learn_again(member)
            return
        if fine:
            self.hall_of_fame.update([member])
        self.learn(member)

    def is_new(self, genome: Mapping[str, GeneValue]) -> bool:
        """Return whether no individual of this run has had the genome."""
        return genome_key(genome) not in self._keys

    def sample_new(self, rng: random.Random, tries: int = 200) -> Genome | None:
        """Draw a genome that no individual had; None if that many draws found none."""
        for _ in range(tries):
            genome = self.space.sample(rng)
            if self.is_new(genome):
                return genome
        return None


def _finite(fitness: float | None) -> float:
    return fitness if fitness is not None and math.isfinite(fitness) else WORST_FITNESS
