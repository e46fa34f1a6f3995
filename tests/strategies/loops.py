"""Loops around a bare strategy: the cheapest possible evaluations, finished in any order."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from evo.evaluation import Evaluation, Status
from evo.individual import Individual, genome_key
from evo.space import SearchSpace
from evo.space.file import load_space
from evo.strategies import Strategy, make_strategy
from tests.spaces import GRIDS, NUMBERS, space_of_every_kind

FitnessOf = Callable[[Individual], float | None]


def space_for(name: str) -> SearchSpace:
    """A space on which the strategy works, with as many kinds of genes as it takes."""
    if name == "cma":
        return SearchSpace({**NUMBERS, **GRIDS})
    return load_space("report") if name == "report2019" else space_of_every_kind()


def make(name: str, **settings: Any) -> Strategy:
    """The strategy on its space: three generations and a bit of six individuals."""
    return make_strategy(name, space_for(name), **{"seed": 1, "population": 6, "budget": 20, **settings})


def lottery(individual: Individual) -> float:
    """A fitness in [0, 1) that depends on the genome, but not on any single gene."""
    return random.Random(genome_key(individual.genome)).random()


def finish(
    strategy: Strategy,
    fitness: FitnessOf = lottery,
    *,
    room: int = 1,
    order: random.Random | None = None,
    awaited: Sequence[Individual] = (),
) -> list[Individual]:
    """Run to the end with up to `room` individuals at a time, told in random order; return all proposals."""
    pending = list(awaited)
    while not strategy.done():
        pending += strategy.ask(room - len(pending))
        if not pending:
            assert strategy.done(), "nothing to wait for, and not done"
            break
        individual = pending.pop(order.randrange(len(pending)) if order else 0)
        strategy.tell(individual, fitness(individual), measures=measures_of(individual))
    return strategy.proposals


def measures_of(individual: Individual) -> dict[str, float]:
    """What an evaluation reports beside the fitness."""
    return {"parameters": round(1e6 * random.Random(f"size of {genome_key(individual.genome)}").random())}


def evaluation_of(individual: Individual, fitness: FitnessOf = lottery) -> Evaluation:
    """The journal's record of one evaluation."""
    parameters = int(measures_of(individual)["parameters"])
    status: Status = "partial" if individual.pauses else "complete"
    steps, value = individual.until, fitness(individual)
    return Evaluation(individual.id, individual.replicate, 0, status, value, parameters=parameters, steps_trained=steps)
