"""`halving`: asynchronous successive halving over steps or epochs; paused trainings are continued, not repeated.

Li et al.: A System for Massively Parallel Hyperparameter Tuning (ASHA, MLSys 2020). Every genome is first trained for a
ninth of the steps (the first rung); the best third of those continues to a third of the steps, and the best third of
these to all steps.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evo.errors import ConfigurationError
from evo.individual import DURATION, EPOCHS, RUNG, STEPS, GeneValue, Genome, Individual, genome_key, without_duration
from evo.space import SearchSpace
from evo.space.genes import Integer
from evo.strategies.members import WORST_FITNESS, Draft, Member
from evo.strategies.screening import Evidence, Screening
from evo.strategies.steady_state import SteadyState
from evo.strategies.variation import make_toolbox, stratified

RATE, RUNGS = 3, 3
FEWEST_TO_LEARN_FROM = 6
"""New genomes are made from the results of the highest rung that has at least this many, else of the first rung."""


class Halving(SteadyState):
    """Promotes the best third of each rung to three times the steps; new genomes are children of the furthest.

    The `steps` (or `epochs`) of the space are not searched: its most are those of a full training. Short trainings are
    compared only with trainings of the same length.

    Args:
        space: The search space.
        continuations: Whether a promotion continues the training of the same individual. Otherwise it is a new
            individual with more `steps` and the same training seed, as in runs that began before there were
            continuations, and in searches of an objective that cannot be continued.
        max_steps: The steps of a full training of an objective that reports: then all genes are searched.
        **settings: Of `SteadyState`.
    """

    name = "halving"
    default_population = 9
    options = SteadyState.options | {"continuations", "max_steps"}
    takes_earlier = "none"  # it compares trainings of the same length only

    def __init__(
        self, space: SearchSpace, *, continuations: bool = False, max_steps: int | None = None, **settings: Any
    ):
        self.rungs = rungs_of(space) if max_steps is None else rungs_of_steps(max_steps)
        self.continuations = continuations or max_steps is not None
        self.duration = None if max_steps is not None else EPOCHS if EPOCHS in space.genes else STEPS
        super().__init__(space, max_steps=max_steps, **settings)
        self._reduced = space_without_duration(space) if max_steps is None else space
        self._screening = Screening(self._reduced, make_toolbox(self._reduced))
        self._design = stratified(self._reduced, self.first_size, random.Random(f"{self.seed}:{self.name}:design"))
        self._rung_members: list[list[Member]] = [[] for _ in self.rungs]
        self._reached: dict[str, int] = {}  # the highest rung proposed, by the key of a genome without steps

    @property
    def first_size(self) -> int:
        return max(1, min(self.population_size, self.limit - len(self.rungs) + 1))

    def required(self, number: int) -> int:
        return number if self._is_closing(number) or self._all_begun() else super().required(number)

    def _all_begun(self) -> bool:
        """Return whether no new genome is left, so that every further promotion waits for all results."""
        return len(self._reached) >= self._reduced.points

    def _is_closing(self, number: int) -> bool:
        """Return whether a proposal is one of the last, which train the best in full, however few results there are."""
        return number >= max(1, self.limit - len(self.rungs) + 1)

    def propose(self, number: int, rng: random.Random) -> Draft | None:
        closing = self._is_closing(number)
        draft = self._promotion(share=1 if closing else RATE)
        return draft or self._new(number, rng) or self._promotion(share=1)

    def _promotion(self, share: int) -> Draft | None:
        """Return the promotion of the best member of the furthest rung, if it is in the best 1 / share of that rung."""
        for rung in reversed(range(len(self.rungs) - 1)):
            members = sorted(self._rung_members[rung], key=lambda member: (-member.value, member.number))
            for member in members[: len(members) // share]:
                if member.value > WORST_FITNESS and self._reached[self._key(member.genome)] == rung:
                    number, genome = member.individual.id, member.genome
                    if self.continuations:
                        return self._on_rung(rung + 1, Draft(genome, further=number))
                    return self._on_rung(rung + 1, Draft(genome, (number,), "promotion"))
        return None

    def _new(self, number: int, rng: random.Random) -> Draft | None:
        """Return a genome that begins on the first rung."""
        if number < self.first_size:
            draft = Draft(self._design[number]) if self._is_unknown(self._design[number]) else None
        else:
            draft = self._screening.child(self._evidence(), self._is_unknown, rng)
        drawn = (self._reduced.sample(rng) for _ in range(200))
        draft = draft or next((Draft(genome) for genome in drawn if self._is_unknown(genome)), None)
        if draft is None:
            return None
        parents = tuple(self.proposals[parent].id for parent in draft.parents)
        return self._on_rung(0, replace(draft, parents=parents))

    def _on_rung(self, rung: int, draft: Draft) -> Draft:
        """Return a draft that trains to a rung."""
        if self.duration is None:
            return replace(draft, until=self.rungs[rung])
        values = {**draft.genome, self.duration: self.rungs[-1 if self.continuations else rung]}
        genome = {name: values[name] for name in self.space.genes if name in values}
        if self.continuations:
            return replace(draft, genome=genome, until=self.rungs[rung])
        return replace(draft, genome=genome, strategy_parameters={**draft.strategy_parameters, RUNG: rung})

    def _first_of_initial(self) -> Draft | None:
        draft = super()._first_of_initial()
        return self._on_rung(0, draft) if draft is not None and self._is_unknown(draft.genome) else None

    def _key(self, genome: Mapping[str, GeneValue]) -> str:
        """Return what the trainings of one genome on all rungs share."""
        return genome_key(self._without_duration(genome))

    def _without_duration(self, genome: Mapping[str, GeneValue]) -> Genome:
        return dict(genome) if self.duration is None else without_duration(genome)

    def _is_unknown(self, genome: Mapping[str, GeneValue]) -> bool:
        return self._key(genome) not in self._reached

    def _register(self, individual: Individual) -> None:
        super()._register(individual)
        self._reached[self._key(individual.genome)] = self._rung(individual)

    def _rung(self, individual: Individual) -> int:
        if individual.until is not None or self.duration is None:
            return self.rungs.index(individual.until or self.rungs[-1])
        return self.rungs.index(int(individual.genome[self.duration]))  # type: ignore[arg-type]  # a number

    def _evidence(self) -> Evidence:
        """Return the results of the furthest rung that has enough of them, by the number of the proposal."""
        rung = max(
            (place for place, members in enumerate(self._rung_members) if len(members) >= FEWEST_TO_LEARN_FROM),
            default=0,
        )
        fine = [member for member in self._rung_members[rung] if member.value > WORST_FITNESS]
        waiting: list[Genome] = []
        if rung == 0:  # trainings on lower rungs may never reach a higher one; do not count them as pending
            known = {self._key(member.genome) for member in self._rung_members[0]}
            waiting = [
                self._without_duration(entry.genome) for entry in self.proposals if self._key(entry.genome) not in known
            ]
        return Evidence(
            genomes={member.number: self._without_duration(member.genome) for member in fine},
            fitness={member.number: member.value for member in fine},
            pending=waiting,
        )

    def take(self, member: Member) -> None:
        rung, last = self._rung(member.individual), len(self.rungs) - 1
        self._rung_members[rung].append(member)
        if self.continuations and rung < last and not member.evaluation.paused:  # it has ended by itself, or failed
            self._reached[self._key(member.genome)] = last
            if member.value > WORST_FITNESS:
                self._rung_members[last].append(member)

    def members(self) -> Sequence[int]:
        furthest = next((members for members in reversed(self._rung_members) if members), [])
        return [member.individual.id for member in furthest]


def rungs_of_steps(most: int) -> list[int]:
    """Return the steps of each rung of an objective that reports: a ninth, a third, and all.

    Raises:
        ConfigurationError: There are too few steps for that.
    """
    rungs = [max(1, round(most / RATE**power)) for power in reversed(range(RUNGS))]
    if len(set(rungs)) < RUNGS:
        raise ConfigurationError(
            f"strategy halving: a ninth, a third and all of max_steps={most} are not three different numbers; report "
            "at finer steps, or take another strategy"
        )
    return rungs


def space_without_duration(space: SearchSpace) -> SearchSpace:
    """Return the space of all genes except the one that says how long to train."""
    genes = {name: gene for name, gene in space.genes.items() if name not in DURATION}
    if not genes:
        raise ConfigurationError(
            "strategy halving: the space has no gene but the length of a training, not searched here"
        )
    return SearchSpace(genes, name=space.name)


def rungs_of(space: SearchSpace) -> list[int]:
    """Return the steps (or epochs) of each rung, on the grid of the gene: a ninth, a third, and all.

    Raises:
        ConfigurationError: The space has no integer gene `steps` or `epochs` without a condition, or one with too few
            values.
    """
    name = EPOCHS if EPOCHS in space.genes else STEPS
    gene = space.genes.get(name)
    conditional = [other for other, child in space.genes.items() if name in (child.when or {})]
    if not isinstance(gene, Integer) or gene.when or conditional:
        raise ConfigurationError(
            "strategy halving: needs an integer gene steps or epochs without conditions; its most are a full training. "
            "(An objective of your own can take a trial instead: f(config, seed, trial) with max_steps)"
        )
    most = int(gene.scale.high)
    rungs = [int(gene.repair(round(most / RATE**power))) for power in reversed(range(RUNGS))]
    if len(set(rungs)) < RUNGS:
        remedy = f"let {name} begin lower" + (", or lower evaluate_every" if name == STEPS else "")
        raise ConfigurationError(
            f"strategy halving: a ninth, a third and all of {most} {name} are not three different values of "
            f"{gene.describe()}; {remedy}"
        )
    return rungs
