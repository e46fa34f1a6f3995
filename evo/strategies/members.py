"""What strategies work with: proposals in the making, and proposals with their results."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from deap import base

from evo.evaluation import Evaluation
from evo.individual import Genome, Individual

WORST_FITNESS = -sys.float_info.max
"""DEAP's fitness of a failed training: finite, because comparisons with NaN would go wrong."""


class Fitness(base.Fitness):  # type: ignore[misc]  # deap has no types
    """How allowed a configuration is, then one number; both are compared in this order, and higher is better."""

    weights = (1.0, 1.0)


@dataclass
class Member:
    """A proposal with its result, as DEAP's selection needs it: with a `fitness` that compares.

    Attributes:
        number: The place of the proposal among all proposals, from 0.
        individual: What was proposed.
        evaluation: Its result.
        fitness: What selection compares; by default `value`, under Deb's rules for constraints (CMAME 186, 2000): what
            is allowed before what is not, then the smaller violation. What failed comes last.
    """

    number: int
    individual: Individual
    evaluation: Evaluation
    fitness: base.Fitness = field(init=False)

    def __post_init__(self) -> None:
        self.fitness = Fitness((self._standing, self.value))

    @property
    def genome(self) -> Genome:
        """The individual's genome."""
        return self.individual.genome

    @property
    def _standing(self) -> float:
        """1 for a result; below 0 for what is not allowed, by its violation; the least number for what failed."""
        if self.evaluation.fitness is not None:
            return 1.0
        if not self.evaluation.infeasible:
            return WORST_FITNESS
        return -self.evaluation.violation if self.evaluation.violation is not None else WORST_FITNESS / 2

    @property
    def value(self) -> float:
        """The fitness as a number; `WORST_FITNESS` if there is none."""
        return self.evaluation.fitness if self.evaluation.fitness is not None else WORST_FITNESS


@dataclass(frozen=True)
class Draft:
    """A proposal in the making; the base class turns it into an `Individual`.

    Attributes:
        genome: A new genome; that of the known individual with `again` and `further`.
        parents: Ids of the individuals it was made from.
        operator: What made it.
        strategy_parameters: See `Individual`.
        again: The id of a known individual to evaluate on another seed.
        further: The id of a known individual whose paused training to continue, until `until`. The result of its
            last part must be among those that the proposal is made from.
        until: How far to train now, in steps or epochs as the genome has them; None trains all of them.
    """

    genome: Genome
    parents: tuple[int, ...] = ()
    operator: str = "random"
    strategy_parameters: dict[str, Any] = field(default_factory=dict)
    again: int | None = None
    further: int | None = None
    until: int | None = None
