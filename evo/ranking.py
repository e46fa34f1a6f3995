"""How individuals rank: by what they were trained for, how far they came in a race, and their mean fitness."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import takewhile

from evo.evaluation import Evaluation, phase_of
from evo.individual import RUNG, Individual, genome_key
from evo.numbers import mean


def reach(proposal: Individual, *, paused: bool) -> tuple[bool, int]:
    """Return how far a training went, for comparisons: whole trainings come after paused ones, those by length."""
    if paused:
        return False, proposal.until or 0
    return True, int(proposal.strategy_parameters.get(RUNG, 0))


def standing(
    proposal: Individual,
    fitnesses: Sequence[float | None],
    turns: int = 0,
    *,
    paused: bool = False,
    sign: float = 1.0,
) -> tuple[int, int, int, float]:
    """Return what an individual is ranked by; higher is better, and the first number is below 0 if all failed.

    First comes whether any of its evaluations failed, then how far it was trained (see `reach`), then how far it came
    in the last race, whose rounds each keep the better half, then its mean fitness.

    Args:
        proposal: The one that its first evaluation answers.
        fitnesses: One per evaluation; None for one that failed.
        turns: Evaluations in the last race, see `raced`.
        paused: Whether its training paused before its end.
        sign: -1 where a lower fitness is better.
    """
    known = [fitness for fitness in fitnesses if fitness is not None]
    if not known:
        return -1, 0, 0, 0.0
    value = sign * mean(known)
    if len(known) < len(fitnesses):
        return 0, 0, turns, value
    whole, far = reach(proposal, paused=paused)
    return 1 + whole, far, turns, value


def raced(proposals: Sequence[Individual]) -> Counter[int]:
    """Return how often each individual was proposed again since the last new one: how far it came in the last race."""
    return Counter(proposal.id for proposal in takewhile(lambda proposal: proposal.replicate, reversed(proposals)))


def ranking(
    individuals: Sequence[Individual],
    proposals: Sequence[Individual],
    evaluations: Mapping[tuple[int, int], Evaluation],
    answered: Mapping[tuple[int, int], Individual],
    sign: float = 1.0,
    ties: Mapping[str, float] | None = None,
) -> list[tuple[int, tuple[float, ...]]]:
    """Return the individuals whose first evaluation did not fail, best first; of equal genomes only the first.

    Earlier results are not ranked: they are no trainings of this run.

    Args:
        individuals: By id.
        proposals: In their order.
        evaluations: By (individual, replicate).
        answered: The proposal that each of them answers.
        sign: -1 where a lower fitness is better.
        ties: The measures that decide between equals, 1 where higher is better and -1 where lower is; then the id does.

    Returns:
        Their ids, each with the fitness of its evaluations in the search.
    """
    measured: dict[int, list[float | None]] = defaultdict(list)
    for number, replicate in sorted(evaluations):
        evaluation = evaluations[number, replicate]
        if phase_of(replicate) == "search":
            measured[number].append(evaluation.fitness if evaluation.succeeded else None)
    turns = raced(proposals)
    standings = {
        number: standing(answered[number, 0], fitnesses, turns[number], paused=evaluations[number, 0].paused, sign=sign)
        for number, fitnesses in measured.items()
        if (number, 0) in evaluations and evaluations[number, 0].succeeded and not evaluations[number, 0].earlier
    }

    def place(number: int) -> tuple[float, ...]:
        others = _others(evaluations[number, 0], ties) if ties else ()
        return *(-part for part in standings[number]), *others, number

    best = sorted(standings, key=place)
    first_of_genome: dict[str, int] = {}
    for number in best:
        first_of_genome.setdefault(genome_key(individuals[number].genome), number)
    return [
        (number, tuple(fitness for fitness in measured[number] if fitness is not None))
        for number in first_of_genome.values()
    ]


def _others(evaluation: Evaluation, ties: Mapping[str, float]) -> list[float]:
    """Return what decides between equals; lower is better, and what was not measured comes last."""
    measured = evaluation.measures
    return [-sign * measured[name] if name in measured else math.inf for name, sign in ties.items()]
