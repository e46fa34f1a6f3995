"""`ageing`: the child of the best of a sample takes the place of the oldest."""

from __future__ import annotations

import random
from statistics import mean
from typing import Any

import pytest

from evo.individual import Individual
from evo.strategies import make_strategy
from evo.strategies.base import Strategy
from tests.spaces import smooth_fitness, smooth_space
from tests.strategies.loops import finish, lottery, make


def ageing(**settings: Any) -> Strategy:
    return make("ageing", **{"budget": 60, "population": 10, **settings})


def test_with_everybody_in_the_sample_the_best_of_the_youngest_has_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evo.strategies.ageing.SAMPLE_SHARE", 1.0)
    strategy = ageing()
    individuals = finish(strategy, room=3, order=random.Random(0))
    for child in individuals[10:]:
        known = strategy.required(child.id)
        youngest = individuals[max(0, known - 10) : known]
        assert child.parents == (max(youngest, key=lottery).id,)
        assert child.operator == "mutation"


def test_parents_are_the_best_of_half_of_the_population() -> None:
    strategy = ageing(budget=200)
    individuals = finish(strategy)
    ranks = []
    for child in individuals[20:]:
        known = strategy.required(child.id)
        population = sorted(individuals[known - 10 : known], key=lottery, reverse=True)
        ranks.append(population.index(individuals[child.parents[0]]))
    # The best of 5 of 10: rank r with probability C(9 - r, 4) / C(10, 5), the mean 5 / 6.
    assert max(ranks) <= 5
    assert mean(ranks) == pytest.approx(5 / 6, abs=0.25)


def test_the_oldest_leaves_whatever_its_fitness() -> None:
    strategy = ageing()
    finish(strategy, room=4, order=random.Random(0))
    assert strategy.populations() == [tuple(range(10 * block, 10 * block + 10)) for block in range(6)]


def test_the_best_leaves_the_population_and_stays_the_best() -> None:
    strategy = ageing()
    finish(strategy, lambda individual: -float(individual.id))
    assert 0 not in strategy.populations()[1]
    assert strategy.best == strategy.individuals[0]


def test_who_has_left_has_no_more_children() -> None:
    individuals = finish(ageing(pending=1), lambda individual: -float(individual.id))
    assert all(child.id - 10 <= child.parents[0] < child.id for child in individuals[10:])


def test_a_child_differs_from_its_parent_and_from_everybody() -> None:
    individuals = finish(ageing(budget=150))
    assert len({str(individual.genome) for individual in individuals}) == 150


def test_it_finds_better_genomes_than_random_search() -> None:
    def best_of(name: str, seed: int) -> float:
        def smooth(individual: Individual) -> float:
            return smooth_fitness(individual.genome)

        return max(map(smooth, finish(make_strategy(name, smooth_space(), seed=seed, budget=100), smooth)))

    assert sum(best_of("ageing", seed) > best_of("random", seed) for seed in range(10)) >= 8


def test_a_budget_below_the_population_is_a_random_search() -> None:
    individuals = finish(ageing(budget=7))
    assert [individual.operator for individual in individuals] == ["random"] * 7
    assert all(not individual.parents for individual in individuals)
