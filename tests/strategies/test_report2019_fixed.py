"""`report2019-fixed`: the idea of 2019, within the bounds."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import correlation, mean, median

import pytest

from evo.individual import genome_key
from evo.space.file import load_space, shipped_spaces
from evo.strategies import make_strategy
from evo.strategies.report2019_fixed import STRONGEST, WEAKEST
from tests.spaces import smooth_fitness, smooth_space, space_of_every_kind
from tests.strategies.loops import finish, lottery, make


@pytest.mark.parametrize("name", list(shipped_spaces()))
def test_it_stays_in_the_bounds_of_every_shipped_space_and_trains_nothing_twice(name: str) -> None:
    space = load_space(name)
    individuals = finish(make_strategy("report2019-fixed", space, seed=1, population=10, generations=8))
    assert [space.problems(individual.genome) for individual in individuals] == [[]] * len(individuals)
    assert len({genome_key(individual.genome) for individual in individuals}) == len(individuals) == 73


def test_strengths_stay_within_their_limits_and_reach_both() -> None:
    individuals = finish(make("report2019-fixed", budget=400, population=10))
    strengths = [value for individual in individuals for value in individual.strategy_parameters.values()]
    assert min(strengths) == WEAKEST == 0.01
    assert max(strengths) == STRONGEST == 0.5
    assert all(set(individual.strategy_parameters) == set(space_of_every_kind().genes) for individual in individuals)


def test_strengths_travel_from_parent_to_child() -> None:
    individuals = finish(make("report2019-fixed", budget=200, population=10))
    pairs = [
        (math.log(individuals[child.parents[0]].strategy_parameters[name]), math.log(value))
        for child in individuals
        if child.parents
        for name, value in child.strategy_parameters.items()
    ]
    assert correlation(*zip(*pairs, strict=True)) > 0.6
    assert all(parent != child or child in (math.log(WEAKEST), math.log(STRONGEST)) for parent, child in pairs)


def test_known_configurations_without_strengths_have_children() -> None:
    individuals = finish(make("report2019-fixed", initial=[{"rate": 1e-3}]), lambda child: -child.id)
    assert individuals[0].strategy_parameters == {}
    assert any(0 in child.parents and child.strategy_parameters for child in individuals)


def test_learning_rates_of_the_report_space_are_spread_in_log_space() -> None:
    space = load_space("report")
    rates = []
    for seed in range(50):
        individuals = make_strategy("report2019-fixed", space, seed=seed).ask(10)
        rates += [math.log10(individual.genome["learning_rate"]) for individual in individuals]
    # Two decades: the middle is 2e-5, a quarter of the draws below 6.3e-6. Uniform draws have their median at 1e-4.
    assert median(rates) == pytest.approx(math.log10(2e-5), abs=0.12)
    assert mean(rate < math.log10(6.32e-6) for rate in rates) == pytest.approx(0.25, abs=0.06)


def test_the_best_is_kept_and_every_other_one_replaced() -> None:
    strategy = make("report2019-fixed", budget=21)
    individuals = finish(strategy)
    populations = strategy.populations()
    for before, after in pairwise(populations):
        best = max(before, key=lambda number: lottery(individuals[number]))
        assert set(before) & set(after) == {best}


def test_it_improves_on_its_first_population() -> None:
    gains = []
    for seed in range(10):
        individuals = finish(
            make_strategy("report2019-fixed", smooth_space(), seed=seed, population=10, budget=100),
            lambda individual: smooth_fitness(individual.genome),
        )
        fitness = [smooth_fitness(individual.genome) for individual in individuals]
        gains.append(max(fitness) > max(fitness[:10]))
    assert sum(gains) >= 9
