"""`cma`: the evolution strategy of DEAP behind `ask` and `tell`, only on numbers."""

from __future__ import annotations

import math
from statistics import mean
from typing import Any

import pytest

from evo.errors import ConfigurationError
from evo.individual import Individual
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer, Layers
from evo.strategies import make_strategy
from tests.strategies.loops import evaluation_of, finish

SPACE = SearchSpace(
    {
        "x": Float(-1.0, 1.0),
        "rate": Float(1e-5, 1e-1, log=True),
        "count": Integer(1, 1000, log=True),
        "fixed": Float(3.0, 3.0),
    }
)


def sphere(individual: Individual) -> float:
    """At most 0, where x = 0.3, rate = 1e-2 and count = 30."""
    values: dict[str, Any] = individual.genome
    return -(
        (values["x"] - 0.3) ** 2
        + (math.log10(values["rate"]) + 2) ** 2 / 4
        + (math.log10(values["count"]) - math.log10(30)) ** 2
    )


def search(name: str = "cma", seed: int = 1, **settings: Any) -> list[Individual]:
    return finish(make_strategy(name, SPACE, seed=seed, **{"budget": 120, **settings}), sphere)


def test_it_finds_the_top_of_a_sphere_far_better_than_random_search() -> None:
    for seed in range(5):
        assert max(map(sphere, search(seed=seed))) > max(map(sphere, search("random", seed, budget=240)))


def test_its_generations_close_in_on_the_top() -> None:
    values = list(map(sphere, search(budget=200)))
    assert mean(values[-40:]) > 0.1 * mean(values[:40])


def test_children_have_the_whole_generation_before_as_parents() -> None:
    individuals = search(budget=30, population=6)
    for child in individuals[6:]:
        block = 6 * (child.generation - 1)
        assert child.parents == tuple(range(block, block + 6))
        assert child.operator == "sampling"


def test_genomes_are_legal_and_new() -> None:
    individuals = search()
    assert all(SPACE.problems(individual.genome) == [] for individual in individuals)
    assert len({str(individual.genome) for individual in individuals}) == 120
    assert all(individual.genome["fixed"] == 3.0 for individual in individuals)


@pytest.mark.parametrize("stop", [10, 20, 47, 119])
def test_it_resumes_from_genomes_and_fitness_alone(stop: int) -> None:
    whole = search()
    past = [Individual.from_dict({**one.to_dict(), "strategy_parameters": {}}) for one in whole[:stop]]
    resumed = make_strategy("cma", SPACE, seed=1, budget=120)
    resumed.replay(past, [evaluation_of(one, sphere) for one in past])
    assert finish(resumed, sphere) == whole


@pytest.mark.parametrize("failing", [2, 1], ids=["half fail", "all fail"])
def test_failures_leave_it_numbers_to_go_on_with(failing: int) -> None:
    strategy = make_strategy("cma", SPACE, seed=1, budget=100)
    individuals = finish(strategy, lambda one: None if one.id % failing == 0 else sphere(one))
    assert len(individuals) == 100
    assert all(SPACE.problems(individual.genome) == [] for individual in individuals)


@pytest.mark.parametrize(
    ("genes", "names"),
    [
        ({"use": Boolean()}, "use is not"),
        ({"kind": Categorical([1, 2]), "layers": Layers(depth=(1, 2), width=(2, 4))}, "kind, layers are not"),
        ({"use": Boolean(), "x": Float(0.0, 1.0, when={"use": True})}, "use, x are not"),
    ],
)
def test_genes_that_are_no_numbers_are_refused_by_name(genes: dict[str, Gene], names: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"strategy cma: evolves only numbers .*, and {names}; take surrogate or ga"
    ):
        make_strategy("cma", SearchSpace({"y": Float(0.0, 1.0), **genes}))


@pytest.mark.parametrize("population", [1, 2, 3])
def test_a_population_that_says_nothing_of_a_covariance_is_refused(population: int) -> None:
    with pytest.raises(ConfigurationError, match=f"population: cma needs at least 4, got {population}"):
        make_strategy("cma", SPACE, population=population)


def test_a_budget_below_the_population_is_drawn_from_the_first_distribution() -> None:
    assert len(search(budget=3)) == 3
