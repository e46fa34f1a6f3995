"""`pruner="median"`: any strategy, whose trainings end early where they fall behind the best of those before them.

A median stopping rule: a training pauses at a sixteenth, an eighth, a quarter and half of its steps. It goes on if its
value there is at least the median of the values that the best earlier trainings had there. The original rule (Golovin
et al.: Google Vizier, KDD 2017, section 3.3.2) compares with all earlier trainings; a search that learns proposes
better and better ones, so that most would pass.

A training is compared with exactly those results that its proposal was made from, however many have arrived. So the
table depends neither on the number of workers nor on a restart.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from evo.errors import ConfigurationError, RunError
from evo.evaluation import Evaluation
from evo.individual import DURATION, EPOCHS, STEPS, Individual
from evo.space import SearchSpace
from evo.space.genes import Integer
from evo.strategies.base import Strategy
from evo.strategies.steady_state import DEFAULT_PENDING

SHARES = (16, 8, 4, 2)
"""A training pauses after its steps divided by each of these."""
BEST = 5
"""Trainings that the median is of: those that ended with the best values, after all their steps."""


class Pruned:
    """A strategy whose trainings can end early; everything that is not about pauses is the strategy's own.

    Args:
        strategy: Proposes, and learns the last result of each training.
        max_steps: The steps of a full training of an objective that reports; None where a gene says it.

    Raises:
        ConfigurationError: There are too few steps to pause, or nothing says how many there are.
    """

    def __init__(self, strategy: Strategy, max_steps: int | None = None):
        self._strategy, self._max_steps = strategy, max_steps
        most = max_steps if max_steps is not None else most_of(strategy.space)
        self.rungs = sorted({most // share for share in SHARES} - {0})
        if not self.rungs:
            raise ConfigurationError(f"--pruner: needs at least {min(SHARES)} steps, got {most}")
        self._numbers: dict[tuple[int, int], int] = {}  # the strategy's number of each (individual, replicate)
        self._last: dict[int, Individual] = {}  # the last proposal, by that number
        self._values: defaultdict[int, dict[int, float]] = defaultdict(dict)  # by number and rung
        self._paused: dict[int, Evaluation] = {}  # not decided yet, by number
        self._final: set[int] = set()
        self._reached: dict[int, float] = {}  # the values of trainings that were not ended early, by number
        self._ready: list[Individual] = []  # to continue
        self._ended: list[Individual] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def ask(self, room: int = 1) -> list[Individual]:
        """Return trainings to continue, then new proposals; see `Strategy.ask`."""
        continued, self._ready = self._ready[:room], self._ready[room:]
        for individual in continued:
            self._last[self._numbers[individual.id, individual.replicate]] = individual
        new = [self._begun(individual) for individual in self._strategy.ask(room - len(continued))]
        for individual in new:
            self._register(individual)
        return continued + new

    def tell(self, evaluation: Evaluation) -> None:
        """Learn the result of a part of a training; see `Strategy.tell`."""
        number = self._numbers.get((evaluation.individual, evaluation.replicate))
        if number is None or number in self._final:
            self._strategy.tell(evaluation)  # refuses it
            return
        self._take(number, evaluation)
        for last in self._settle({} if evaluation.paused else {number: evaluation}):
            self._strategy.tell(last)

    def done(self) -> bool:
        """Return whether everything was proposed and told."""
        return self._strategy.done() and not self._ready and not self._paused

    def ended(self) -> list[Individual]:
        """Return the trainings that have ended early since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def replay(
        self,
        proposals: Iterable[Individual],
        evaluations: Iterable[Evaluation],
        ended: Collection[tuple[int, int]] = (),
    ) -> None:
        """Bring it to the state in which the last proposal of a recorded run was made; see `Strategy.replay`.

        Args:
            proposals: In their order.
            evaluations: Their results; those of the parts of one training in their order.
            ended: The trainings, by (individual, replicate), of which it is recorded that they ended early.

        Raises:
            RunError: The strategy cannot have made the proposals.
        """
        parts: defaultdict[tuple[int, int], list[Evaluation]] = defaultdict(list)
        for evaluation in evaluations:
            parts[evaluation.individual, evaluation.replicate].append(evaluation)
        past: list[Individual] = []
        proposed: defaultdict[int, int] = defaultdict(int)
        for individual in proposals:
            key = individual.id, individual.replicate
            if key not in self._numbers:
                self._register(individual)
                past.append(replace(individual, until=None))
            number = self._numbers[key]
            self._last[number] = individual
            results = parts[key]
            if proposed[number] < len(results) and (found := results[proposed[number]]).paused:
                self._note(number, individual, found)
            proposed[number] += 1
        whole = {}
        for key, number in self._numbers.items():
            results = parts[key]
            if len(results) < proposed[number] or not results:
                continue
            if results[-1].paused and not key[1] and key not in ended:
                self._paused[number] = results[-1]
            else:
                whole[number] = results[-1]
        try:
            last = self._settle(whole)
        except (ValueError, LookupError, TypeError) as error:
            raise RunError(f"these are not the proposals of a pruned search: {error}") from error
        self._strategy.replay(past, last)

    def _begun(self, individual: Individual) -> Individual:
        """Return a proposal that pauses at its first rung, unless its result is known or it is for a race."""
        if individual.replicate or individual.id < len(self._strategy.earlier):
            return individual
        return replace(individual, until=self._after(individual, 0))

    def _after(self, individual: Individual, until: int) -> int | None:
        """Return where a training that was paused at a step pauses next; None for its end."""
        whole = self._max_steps
        if whole is None:
            whole = int(individual.genome.get(EPOCHS, individual.genome.get(STEPS, 0)))  # type: ignore[arg-type]  # a number
        return next((rung for rung in self.rungs if until < rung < whole), None)

    def _register(self, individual: Individual) -> None:
        number = len(self._numbers)
        self._numbers[individual.id, individual.replicate] = number
        self._last[number] = individual

    def _take(self, number: int, evaluation: Evaluation) -> None:
        if evaluation.paused:
            self._note(number, self._last[number], evaluation)
            self._paused[number] = evaluation

    def _note(self, number: int, proposal: Individual, evaluation: Evaluation) -> None:
        if proposal.until is not None and evaluation.fitness is not None:
            self._values[number][proposal.until] = evaluation.fitness

    def _settle(self, whole: dict[int, Evaluation]) -> list[Evaluation]:
        """Decide what can be decided; return the last results of trainings, these and those that end early."""
        last = list(whole.values())
        self._final |= whole.keys()
        self._reached |= {
            number: one.fitness for number, one in whole.items() if one.fitness is not None and not one.paused
        }
        while decided := [number for number in sorted(self._paused) if self._may_decide(number)]:
            for number in decided:
                evaluation, proposal = self._paused.pop(number), self._last[number]
                if self._goes_on(number, proposal.until or 0):
                    until = self._after(proposal, proposal.until or 0)
                    self._ready.append(replace(proposal, until=until))
                else:
                    self._final.add(number)
                    self._ended.append(proposal)
                    last.append(evaluation)
        return last

    def _known_to(self, number: int) -> int:
        """Return how many trainings, the first ones, a decision about a training may look at."""
        if self._strategy.asynchronous:
            return len(self._numbers)
        if self._strategy.eager:
            return max(0, number - DEFAULT_PENDING + 1)
        return min(number, self._strategy.required(number))

    def _may_decide(self, number: int) -> bool:
        if self._strategy.asynchronous:
            return True
        return all(other in self._final for other in range(self._known_to(number)))

    def _goes_on(self, number: int, rung: int) -> bool:
        """Return whether a training is at least as good as the median of the best that it may be compared with."""
        known = range(self._known_to(number))
        others = [other for other in known if other in self._reached and rung in self._values[other]]
        if len(others) < BEST:
            return True
        sign = self._strategy.sign
        best = sorted(others, key=lambda other: sign * self._reached[other], reverse=True)[:BEST]
        return sign * self._values[number][rung] >= statistics.median(
            sign * self._values[other][rung] for other in best
        )


def most_of(space: SearchSpace) -> int:
    """Return the most steps or epochs of a space.

    Raises:
        ConfigurationError: It has no integer gene of either name without a condition.
    """
    gene = next((space.genes[name] for name in DURATION if name in space.genes), None)
    if not isinstance(gene, Integer) or gene.when:
        raise ConfigurationError("--pruner: needs an integer gene steps or epochs without conditions")
    return int(gene.scale.high)
