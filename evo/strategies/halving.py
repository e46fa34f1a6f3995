"""`halving`: asynchronous successive halving over training steps; paused trainings go on, none starts again.

Li et al.: A System for Massively Parallel Hyperparameter Tuning (ASHA, MLSys 2020). Every genome begins with a ninth of
the steps; the best third of those goes on to a third of the steps, and of these the best third to all of them. A genome
with more steps is a twin of the one with fewer: the same seed, so its training goes on where that one stopped.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evo.errors import ConfigurationError
from evo.individual import RUNG, STEPS, GeneValue, Genome, Individual, genome_key
from evo.space import SearchSpace
from evo.space.genes import Integer
from evo.strategies.base import WORST_FITNESS, Draft, Member
from evo.strategies.screening import Evidence, Screening
from evo.strategies.steady_state import SteadyState
from evo.strategies.variation import make_toolbox, stratified

RATE, RUNGS = 3, 3
FEWEST_TO_LEARN_FROM = 6
"""Results of a rung that new genomes are made from; with fewer, from the rung below."""


class Halving(SteadyState):
    """Promotes the best third of each rung to three times the steps; new genomes are children of the furthest.

    The `steps` of the space are not searched: its most are those of a full training. What a short training reaches is
    compared with equally short ones alone.
    """

    name = "halving"
    default_population = 9

    def __init__(self, space: SearchSpace, **settings: Any):
        self.rungs = rungs_of(space)
        super().__init__(space, **settings)
        self._reduced = space_without_steps(space)
        self._screening = Screening(self._reduced, make_toolbox(self._reduced))
        self._design = stratified(self._reduced, self.first_size, random.Random(f"{self.seed}:{self.name}:design"))
        self._rung_members: list[list[Member]] = [[] for _ in self.rungs]

    @property
    def first_size(self) -> int:
        return max(1, min(self.population_size, self.limit - len(self.rungs) + 1))

    def required(self, number: int) -> int:
        return number if self._is_closing(number) or self._all_begun() else super().required(number)

    def _all_begun(self) -> bool:
        """Return whether no genome is left to begin with: who goes on is then decided from all results."""
        return sum(_rung(individual) == 0 for individual in self.individuals) >= self._reduced.points

    def _is_closing(self, number: int) -> bool:
        """Return whether the search ends here: the last proposals train the best in full, however few there were."""
        return number >= max(1, self.limit - len(self.rungs) + 1)

    def propose(self, number: int, rng: random.Random) -> Draft | None:
        closing = self._is_closing(number)
        draft = self._promotion(share=1 if closing else RATE)
        # Where nothing new is left, what is there goes on.
        return draft or self._new(number, rng) or self._promotion(share=1)

    def _promotion(self, share: int) -> Draft | None:
        """Return the best that has not been promoted of the furthest rung, if it is in the best 1 / share of it."""
        for rung in reversed(range(len(self.rungs) - 1)):
            if (member := self._promotable(rung, share)) is not None:
                genome = {**member.genome, STEPS: self.rungs[rung + 1]}
                return Draft(genome, (member.individual.id,), "promotion", {RUNG: rung + 1})
        return None

    def _promotable(self, rung: int, share: int) -> Member | None:
        members = sorted(self._rung_members[rung], key=lambda member: (-member.value, member.individual.id))
        for member in members[: len(members) // share]:
            further = {**member.genome, STEPS: self.rungs[rung + 1]}
            if member.value > WORST_FITNESS and self.is_new(further):
                return member
        return None

    def _new(self, number: int, rng: random.Random) -> Draft | None:
        """Return a genome that begins on the first rung."""
        draft = None
        if number < self.first_size:
            if self._is_unknown(self._design[number]):
                draft = Draft(self._design[number])
        else:
            draft = self._screening.child(self._evidence(), self._is_unknown, rng)
        for _ in range(200):
            if draft is not None:
                return self._on_first_rung(draft)
            genome = self._reduced.sample(rng)
            draft = Draft(genome) if self._is_unknown(genome) else None
        return None

    def _on_first_rung(self, draft: Draft) -> Draft:
        values = {**draft.genome, STEPS: self.rungs[0]}
        genome = {name: values[name] for name in self.space.genes if name in values}
        return replace(draft, genome=genome, strategy_parameters={**draft.strategy_parameters, RUNG: 0})

    def _first_of_initial(self) -> Draft | None:
        draft = super()._first_of_initial()
        if draft is None:
            return None
        begun = self._on_first_rung(draft)
        return begun if self.is_new(begun.genome) else None

    def _is_unknown(self, genome: Mapping[str, GeneValue]) -> bool:
        return self.is_new({**genome, STEPS: self.rungs[0]})

    def _evidence(self) -> Evidence:
        """Return the results of the furthest rung that has enough of them, and who is on the way."""
        rung = max(
            (place for place, members in enumerate(self._rung_members) if len(members) >= FEWEST_TO_LEARN_FROM),
            default=0,
        )
        fine = [member for member in self._rung_members[rung] if member.value > WORST_FITNESS]
        known = {genome_key(without_steps(member.genome)) for member in self._rung_members[rung]}
        waiting = [without_steps(individual.genome) for individual in self.individuals if _rung(individual) == 0]
        return Evidence(
            genomes={member.individual.id: without_steps(member.genome) for member in fine},
            fitness={member.individual.id: member.value for member in fine},
            # Who is still on the way up is not expected to come to this rung at all.
            pending=[genome for genome in waiting if genome_key(genome) not in known] if rung == 0 else [],
        )

    def take(self, member: Member) -> None:
        self._rung_members[_rung(member.individual)].append(member)

    def members(self) -> Sequence[Member]:
        return next((members for members in reversed(self._rung_members) if members), [])


def _rung(individual: Individual) -> int:
    return int(individual.strategy_parameters.get(RUNG, 0))


def without_steps(genome: Mapping[str, GeneValue]) -> Genome:
    """Return a genome but for its steps."""
    return {name: value for name, value in genome.items() if name != STEPS}


def space_without_steps(space: SearchSpace) -> SearchSpace:
    """Return the space of all genes but the steps."""
    genes = {name: gene for name, gene in space.genes.items() if name != STEPS}
    if not genes:
        raise ConfigurationError("strategy halving: the space has no gene but steps, and these are not searched")
    return SearchSpace(genes, name=space.name)


def rungs_of(space: SearchSpace) -> list[int]:
    """Return the steps of each rung, on the grid of the learning curve: a ninth, a third, and all.

    Raises:
        ConfigurationError: The space has no integer gene `steps` without a condition, or one with too few values.
    """
    gene = space.genes.get(STEPS)
    conditional = [name for name, other in space.genes.items() if STEPS in (other.when or {})]
    if not isinstance(gene, Integer) or gene.when or conditional:
        raise ConfigurationError(
            "strategy halving: needs an integer gene steps without conditions; its most are a full training"
        )
    most = int(gene.scale.high)
    rungs = [int(gene.repair(round(most / RATE**power))) for power in reversed(range(RUNGS))]
    if len(set(rungs)) < RUNGS:
        raise ConfigurationError(
            f"strategy halving: a ninth, a third and all of {most} steps are not three different values of "
            f"{gene.describe()}; let steps begin lower, or lower evaluate_every"
        )
    return rungs
