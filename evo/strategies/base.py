"""The base of every strategy: it proposes individuals (`ask`) and learns from their results in the order of proposals.

A strategy is a function of its settings, its seed and the results: proposal k draws from its own generator, seeded with
(seed, k), and is made from the results of exactly the first `required(k)` proposals, however many have arrived. So its
proposals depend neither on the number of workers, nor on the order in which they finish, nor on a restart.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar, Literal

from evo.errors import ConfigurationError, RunError, listed
from evo.evaluation import MEASURES, OWN_MEASURES, Evaluation, Status
from evo.individual import EARLIER, GeneValue, Genome, Individual, genome_key
from evo.names import DIRECTIONS, check_name
from evo.numbers import whole_number
from evo.ranking import ranking
from evo.space import SearchSpace
from evo.space.search_space import configurations
from evo.space.settings import SIGNS
from evo.strategies.members import Draft, Member
from evo.strategies.variation import make_toolbox


class Strategy(ABC):
    """An algorithm behind `ask` and `tell`.

    Args:
        space: The search space.
        seed: Seed of every draw.
        population: Individuals of a generation.
        budget: Most trainings of the search.
        generations: Most generations. Without either bound, the strategy's default holds.
        initial: Known genomes for the first population; missing genes are drawn. Default: those of the space.
        retrainable: Whether evaluations take a seed, so that evaluating a genome again gives new information.
        max_steps: The steps of a full training, where no gene says how long to train.
        earlier: Genomes whose results are known already, worst first: they become the first proposals, beyond the
            budget, of a strategy that takes any number of them, else the best of them that a population has room for.
        direction: Whether a higher or a lower fitness is better: "maximise" or "minimise".

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
    """The settings that this strategy takes besides those of every strategy."""
    takes_earlier: ClassVar[Literal["all", "population", "none"]] = "population"
    """How many earlier results it can begin with."""
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
        max_steps: int | None = None,
        earlier: Sequence[Genome] = (),
        direction: str = DIRECTIONS[0],
    ):
        self.space, self.seed, self.retrainable, self.max_steps = space, seed, retrainable, max_steps
        self.sign = SIGNS[check_name("direction", direction, DIRECTIONS)]
        self.population_size = population if population is not None else self.default_population
        if budget is None and generations is None:
            generations = self.default_generations
            budget = self.default_budget if generations is None else None
        self.budget, self.generations = budget, generations
        self.initial = list(space.initial) if initial is None else configurations(initial)
        self.earlier = self._earlier_of(earlier)
        self._check_settings()
        self.toolbox = make_toolbox(space)
        self.proposals: list[Individual] = []
        self.individuals: list[Individual] = []
        self._keys: set[str] = set()  # of all but the earlier ones
        self._earlier_keys = {genome_key(genome) for genome in self.earlier}
        self._numbers: dict[tuple[int, int], int] = {}  # the last proposal of each (individual, replicate)
        self._told: dict[int, Evaluation] = {}  # by the number of the proposal, until it is learned
        self._learned: set[int] = set()
        self._results: dict[tuple[int, int], Evaluation] = {}  # learned, by individual and replicate
        self._answered: dict[tuple[int, int], Individual] = {}  # the proposals of these
        self._next = 0
        self._repeats = 0  # proposals of known individuals on another seed
        self._exhausted = False

    # What a strategy defines.

    @abstractmethod
    def required(self, number: int) -> int:
        """Return how many results, in the order of the proposals, proposal `number` is made from."""

    def generation_of(self, number: int) -> int:
        """Return the generation of proposal `number`, from 0: by default, a block of `population` proposals."""
        return (number - self._repeats) // self.population_size

    @abstractmethod
    def propose(self, number: int, rng: random.Random) -> Draft | None:
        """Return proposal `number`, or None if the space has no new genome left."""

    @abstractmethod
    def learn(self, member: Member) -> None:
        """Learn the result of an individual on its first seed, and again that of each part of a continued training.

        Called in the order of the proposals, or of arrival with `asynchronous`; so is `learn_again`.
        """

    def learn_again(self, member: Member) -> None:  # noqa: B027  # most strategies propose nothing again
        """Learn the result of an individual on another seed."""

    def trainings_of(self, generations: int) -> int:
        """Return how many trainings that many generations take."""
        return generations * self.population_size

    @abstractmethod
    def populations(self) -> list[tuple[int, ...]]:
        """Return the ids of every finished generation's members; once done, also of a last, incomplete one."""

    # What a loop calls.

    @property
    def limit(self) -> int:
        """Most proposals: the smaller of `budget` and what `generations` take; one of them is always set.

        Earlier results are among them, and do not count to the budget.
        """
        budget = self.budget + len(self.earlier) if self.budget is not None else None
        bounds = budget, self.trainings_of(self.generations) if self.generations is not None else None
        return min(bound for bound in bounds if bound is not None)

    def ask(self, room: int = 1) -> list[Individual]:
        """Return up to `room` new proposals; fewer, or none, while results are awaited or at the end."""
        return list(islice(iter(self._ask_one, None), max(0, room)))

    def tell(
        self,
        evaluation: Evaluation | Individual | int,
        fitness: float | None = None,
        replicate: int = 0,
        measures: Mapping[str, float] | None = None,
    ) -> None:
        """Report a result, in any order: a whole evaluation, or only the fitness of an individual.

        Args:
            evaluation: The evaluation; or what `ask` returned, or its id, followed by the other arguments.
            fitness: As measured, whatever the direction; None, NaN and infinities stand for a failed training.
            replicate: With an id: which of the individual's evaluations it is.
            measures: What else was measured, by name, for strategies with several objectives.

        Raises:
            ValueError: No such individual was proposed, or its result was told already.
        """
        if isinstance(evaluation, int):
            key = evaluation, replicate
        elif isinstance(evaluation, Individual):
            key = evaluation.id, evaluation.replicate
        else:
            key = evaluation.individual, evaluation.replicate
        name = f"individual {key[0]}" + (f", replicate {key[1]}," if key[1] else "")
        if key not in self._numbers:
            raise ValueError(f"{name} was never proposed")
        number = self._numbers[key]
        if number in self._told or number in self._learned:
            raise ValueError(f"{name} was told already")
        if not isinstance(evaluation, Evaluation):
            evaluation = self._evaluation_of(self.proposals[number], fitness, measures or {})
        self._hear(number, evaluation)
        self._after_telling(number)

    def ended(self) -> list[Individual]:
        """Return the paused trainings that were given up since the last call, and will not be continued."""
        return []

    def done(self) -> bool:
        """Return whether everything was proposed and told."""
        return self._all_proposed() and len(self._learned) == len(self.proposals)

    def replay(self, proposals: Iterable[Individual], evaluations: Iterable[Evaluation]) -> None:
        """Bring the strategy to the state in which the last proposal of a recorded run was made.

        Proposals are read, never made again.

        Args:
            proposals: In their order.
            evaluations: Their results; those of the parts of one training in their order.

        Raises:
            RunError: The strategy cannot have made the proposals: the result that one was made from is not among
                `evaluations`, or a proposal lacks what the strategy would have noted in it.
        """
        past = list(proposals)
        numbers: dict[tuple[int, int], deque[int]] = defaultdict(deque)
        for number, individual in enumerate(past):
            numbers[individual.id, individual.replicate].append(number)
        for evaluation in evaluations:
            if waiting := numbers.get((evaluation.individual, evaluation.replicate)):
                self._hear(waiting.popleft(), evaluation)
        try:
            for number, individual in enumerate(past):
                needed = self._needed(number)
                if not self._learn_until(needed):
                    raise ValueError(f"proposal {number} needs the results of the first {needed} proposals")
                self._register(individual)
            for number in sorted(self._told):
                self._after_telling(number)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise RunError(f"these are not the proposals of the strategy {self.name}: {error}") from error

    @property
    def best(self) -> Individual | None:
        """The individual that ranks first by the results learned so far (see `ranking`); None before the first."""
        best = ranking(self.individuals, self.proposals, self._results, self._answered)
        return self.individuals[best[0][0]] if best else None

    # How.

    def _check_settings(self) -> None:
        for name in ("population_size", "budget", "generations"):
            if (value := getattr(self, name)) is not None:
                setattr(self, name, whole_number(name.removesuffix("_size"), value, 1))
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
        if self._all_proposed() or not self._learn_until(self._needed(number)):
            return None
        draft = (
            self._next_earlier()
            or self._first_of_initial()
            or self.propose(number, random.Random(f"{self.seed}:{self.name}:{number}"))
        )
        if draft is None:
            self._exhausted = True
            self._learn_until(len(self.proposals))
            return None
        individual = self._individual(draft)
        self._register(individual)
        return individual

    def _individual(self, draft: Draft) -> Individual:
        if draft.again is not None:
            replicate = 1 + max(proposal.replicate for proposal in self.proposals if proposal.id == draft.again)
            return replace(self.individuals[draft.again], replicate=replicate, until=draft.until)
        generation = self.generation_of(len(self.proposals))
        if draft.further is not None:
            return replace(self.individuals[draft.further], generation=generation, until=draft.until)
        origin = draft.parents, draft.operator, draft.strategy_parameters
        return Individual(len(self.individuals), draft.genome, generation, *origin, until=draft.until)

    def _needed(self, number: int) -> int:
        """Return how many results a proposal is made from: see `required`."""
        return 0 if number < len(self.earlier) else self.required(number)

    def _earlier_of(self, earlier: Sequence[Genome]) -> list[Genome]:
        """Return the earlier genomes that this strategy begins with."""
        if earlier and self.takes_earlier == "none":
            raise ConfigurationError(
                f"strategy {self.name}: cannot begin with the results of a table; give --initial-from the folder of a "
                "run, or take another strategy"
            )
        room = len(earlier) if self.takes_earlier == "all" else self.population_size
        return list(earlier[-room:]) if room > 0 else []

    def _next_earlier(self) -> Draft | None:
        number = len(self.proposals)
        return Draft(self.earlier[number], operator=EARLIER) if number < len(self.earlier) else None

    def _first_of_initial(self) -> Draft | None:
        """Return the next known configuration that was not proposed before, completed by draws."""
        number = len(self.proposals) - self._repeats - len(self.earlier)
        if number >= self.population_size:
            return None
        rng = random.Random(f"{self.seed}:initial:{number}")
        known = (self.space.complete(values, rng) for values in self.initial[number:])
        return next(
            (Draft(genome, operator="initial") for genome in known if genome_key(genome) not in self._keys), None
        )

    def _hear(self, number: int, evaluation: Evaluation) -> None:
        """Take in what was told. From here on, a higher fitness is better, whatever the direction of the search."""
        if self.sign < 0 and evaluation.fitness is not None:
            evaluation = replace(evaluation, fitness=-evaluation.fitness)
        self._told[number] = evaluation

    def _after_telling(self, number: int) -> None:
        """Learn what was told, unless a proposal still waits for what came before it."""
        if self.asynchronous:
            self._learn(number)
        elif self.eager or self._all_proposed():
            self._learn_until(len(self.proposals))

    def _register(self, individual: Individual) -> None:
        self._numbers[individual.id, individual.replicate] = len(self.proposals)
        self.proposals.append(individual)
        self._repeats += individual.replicate > 0
        if individual.id == len(self.individuals):
            self.individuals.append(individual)
            if individual.id >= len(self.earlier):
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
        evaluation = self._told.pop(number, None)
        if evaluation is None:
            return
        self._learned.add(number)
        member = Member(number, self.proposals[number], evaluation)
        key = member.individual.id, member.individual.replicate
        self._results[key], self._answered[key] = evaluation, member.individual
        if member.individual.replicate:
            self.learn_again(member)
        else:
            self.learn(member)

    def is_new(self, genome: Mapping[str, GeneValue]) -> bool:
        """Return whether no individual of this run has had the genome."""
        key = genome_key(genome)
        return key not in self._keys and key not in self._earlier_keys

    def sample_new(self, rng: random.Random, tries: int = 200) -> Genome | None:
        """Draw a genome that no individual has had; None if that many draws found none."""
        drawn = (self.space.sample(rng) for _ in range(tries))
        return next((genome for genome in drawn if self.is_new(genome)), None)

    def draft_new(self, rng: random.Random) -> Draft | None:
        """Return a draft of a new, random genome, see `sample_new`."""
        genome = self.sample_new(rng)
        return Draft(genome) if genome is not None else None

    def _evaluation_of(self, proposal: Individual, fitness: float | None, measures: Mapping[str, float]) -> Evaluation:
        """Return the evaluation that a fitness stands for; it is paused if the proposal says so."""
        # What was not measured must not look measured: an evaluation turns NaN into None.
        own = {name: measures[name] for name in (*MEASURES, *OWN_MEASURES) if name in measures}
        named = {name: value for name, value in measures.items() if name not in own}
        known: dict[str, Any] = {"seconds": math.nan, **own, "named": named}
        if fitness is not None:
            known |= {"fitness": float(fitness), "steps_trained": proposal.until}
        pauses = proposal.pauses or (self.max_steps or 0) > (proposal.until or math.inf)
        status: Status = "failed" if fitness is None else "partial" if pauses else "complete"
        return Evaluation(proposal.id, proposal.replicate, seed=0, status=status, **known)
