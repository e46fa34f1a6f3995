"""`surrogate`: steady-state evolution whose children are screened by a Gaussian process before they are trained.

See `evo.strategies.screening` for how a child is chosen. The search ends with a race of the best: sequential halving
(Karnin, Koren and Somekh, ICML 2013). Each round evaluates its runners on a new seed, and the better half enters the
next. The best single training is partly the luckiest one; the winner of a race was good several times.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from evo.individual import Genome
from evo.numbers import mean
from evo.strategies.members import WORST_FITNESS, Draft, Member
from evo.strategies.screening import CostOf, Evidence, Screening
from evo.strategies.steady_state import SteadyState
from evo.strategies.variation import stratified

FIRST = 6
"""Proposals made without a model; ten were worse after 25 and after 100 trainings, on the tuning half."""
CHEAP = 2
"""Where costs are weighed, so many times as many first proposals are drawn, and the cheapest are made."""


class SurrogateEvolution(SteadyState):
    """Proposes genomes spread over the space, then children that a model finds promising; races the best at the end.

    The model's predictions and hyperparameters are kept in `strategy_parameters`, so that a resumed search continues as
    if it had not stopped.

    Args:
        *args: Of `SteadyState`.
        cost: What a training costs, for searches that are bound by time and not by a number of trainings: first
            proposals and children are then cheap ones, and dearer ones where these promise more for their cost.
        learns_failures: Whether it learns from evaluations without a result where configurations are probably allowed.
            Searches that began before it did do not.
        **settings: Of `SteadyState`.
    """

    name = "surrogate"
    default_population = 10
    takes_earlier = "all"
    options = SteadyState.options | {"cost", "learns_failures"}

    def __init__(self, *args: Any, cost: CostOf | None = None, learns_failures: bool = False, **settings: Any):
        super().__init__(*args, **settings)
        self._learns_failures = learns_failures
        self._refused: dict[int, float | None] = {}  # violations of what failed or is not allowed, by individual
        self._screening = Screening(self.space, self.toolbox, cost)
        self._values: dict[int, list[float]] = {}
        self._cost = cost

    @cached_property
    def _design(self) -> list[Genome]:
        """The genomes of the first proposals; made when they are needed, since the costs may not be known before."""
        spread = max(1, self.first_size - len(self.initial) - len(self.earlier))
        rng = random.Random(f"{self.seed}:{self.name}:design")
        if (cost := self._cost) is None:
            return stratified(self.space, spread, rng)
        drawn = stratified(self.space, CHEAP * spread, rng)
        cheapest = sorted(range(len(drawn)), key=lambda place: cost(drawn[place]))[:spread]
        return [drawn[place] for place in sorted(cheapest)]

    @property
    def first_size(self) -> int:
        known = min(len(self.initial), self.population_size)
        return min(max(FIRST, known + len(self.earlier)), self.limit)

    @property
    def race_start(self) -> int:
        """The number of the first proposal of the race."""
        return self.limit - (race_size(self.limit - len(self.earlier)) if self.retrainable else 0)

    def required(self, number: int) -> int:
        if number < self.race_start:
            return super().required(number)
        return number - self._place_in_round(number)

    def propose(self, number: int, rng: random.Random) -> Draft | None:
        if number >= self.race_start:
            return self._next_in_race(number)
        if number < self.first_size:
            first = self._design[min(max(0, number - len(self.initial) - len(self.earlier)), len(self._design) - 1)]
            draft = Draft(first) if self.is_new(first) else None
        else:
            draft = self._screening.child(self._evidence(), self.is_new, rng)
        return draft or self.draft_new(rng)

    def take(self, member: Member) -> None:
        self._values[member.individual.id] = [member.value]
        if self._learns_failures and member.value == WORST_FITNESS:
            self._refused[member.individual.id] = member.evaluation.violation
        if len(member.individual.parents) == 1:
            [parent] = member.individual.parents
            better = member.value > self._mean(parent)
            self._screening.adapt(self.individuals[parent].genome, member.genome, better=better)

    def learn_again(self, member: Member) -> None:
        self._values[member.individual.id].append(member.value)

    def members(self) -> Sequence[int]:
        return self._evidence().parents()

    def _place_in_round(self, number: int) -> int:
        return place_in_round(number - self.race_start, self.limit - self.race_start)

    def _mean(self, number: int) -> float:
        values = self._values[number]
        return mean(values) if min(values) > WORST_FITNESS else WORST_FITNESS

    def _evidence(self) -> Evidence:
        fine = [number for number in self._values if self._mean(number) > WORST_FITNESS]
        predicted = [entry for entry in self.individuals if "predicted" in entry.strategy_parameters]
        told = [entry for entry in predicted if entry.id in self._values]
        return Evidence(
            genomes={number: self.individuals[number].genome for number in fine},
            fitness={number: self._mean(number) for number in fine},
            pending=[entry.genome for entry in self.individuals if entry.id not in self._values],
            predictions=[(entry.strategy_parameters["predicted"], self._mean(entry.id)) for entry in told],
            hyperparameters=predicted[-1].strategy_parameters["hyperparameters"] if predicted else None,
            refused=[self.individuals[number].genome for number in self._refused],
            violations=list(self._refused.values()),
            recent=[number in self._refused for number in self._values],
        )

    def _next_in_race(self, number: int) -> Draft | None:
        """Return the individual to evaluate again: one of the best so far, in later rounds of the round before."""
        place = self._place_in_round(number)
        runners = [runner for runner in self._evidence().fitness if runner >= len(self.earlier)]
        entered = Counter(proposal.id for proposal in self.proposals[self.race_start : number - place])
        runners.sort(key=lambda runner: (-entered[runner], -self._mean(runner), runner))
        if place >= len(runners):
            return None
        return Draft(self.individuals[runners[place]].genome, again=runners[place])


SMALLEST_BUDGET = 20
SHARE = 10
"""One of this many evaluations is for the race."""


def race_size(limit: int) -> int:
    """Return how many of `limit` evaluations the race takes: the last tenth, or none if there are fewer than twenty."""
    return limit // SHARE if limit >= SMALLEST_BUDGET else 0


def place_in_round(place: int, size: int) -> int:
    """Return the place of an evaluation in its round, from its place in a race of `size` evaluations.

    Each round evaluates its runners once. The first round has about half of `size`, each later round half as many
    runners as the round before, but at least two.
    """
    runners = max(2, -(-size // 2))
    while place >= runners:
        place -= runners
        runners = max(2, -(-runners // 2))
    return place
