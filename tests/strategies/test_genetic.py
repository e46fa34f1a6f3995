"""`ga`: elites stay, good parents have more children, and it finds more than random search."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean

import pytest

from evo.errors import ConfigurationError, RunError
from evo.individual import Individual
from evo.space.file import load_space
from evo.strategies import make_strategy
from tests.spaces import smooth_fitness, smooth_space
from tests.strategies.loops import evaluation_of, finish, lottery, make


def smooth(individual: Individual) -> float:
    return smooth_fitness(individual.genome)


def best_of(name: str, seed: int) -> float:
    strategy = make_strategy(name, smooth_space(), seed=seed, population=10, budget=80)
    return max(map(smooth, finish(strategy, smooth)))


def test_it_beats_random_search_on_a_smooth_objective() -> None:
    assert sum(best_of("ga", seed) > best_of("random", seed) for seed in range(20)) >= 16


def test_the_elites_stay_and_are_not_trained_again() -> None:
    strategy = make("ga", population=20, budget=74)
    individuals = finish(strategy)
    assert strategy.elites == 2
    populations = strategy.populations()
    assert len(populations) == 4
    for before, after in pairwise(populations):
        ranked = sorted(before, key=lambda number: -lottery(individuals[number]))
        assert set(ranked[:2]) == set(before) & set(after)


def test_parents_are_better_than_their_population() -> None:
    strategy = make("ga", population=20, budget=200)
    individuals = finish(strategy)
    chosen = [lottery(individuals[parent]) for individual in individuals for parent in individual.parents]
    in_populations = [lottery(individuals[number]) for numbers in strategy.populations()[:-1] for number in numbers]
    assert mean(chosen) > mean(in_populations) + 0.1


def test_operators_say_what_was_done() -> None:
    individuals = finish(make("ga", population=10, budget=200))
    for individual in individuals[10:]:
        assert individual.operator in ("crossover", "mutation", "crossover+mutation")
        assert len(individual.parents) == (2 if individual.operator.startswith("crossover") else 1)
    assert {individual.operator for individual in individuals} == {
        "random",
        "crossover",
        "mutation",
        "crossover+mutation",
    }


def test_replay_without_the_results_it_needs_is_refused() -> None:
    individuals = finish(make("ga"))
    with pytest.raises(RunError, match="proposal 6 needs the results of the first 6 proposals"):
        make("ga").replay(individuals[:7], map(evaluation_of, individuals[:5]))


def test_a_population_of_elites_alone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="population: ga keeps 1 and needs at least 2, got 1"):
        make("ga", population=1)


def test_on_the_report_space_it_stays_in_the_bounds_and_batches_do_not_grow() -> None:
    space = load_space("report")
    batches: list[list[float]] = [[] for _ in range(5)]
    for seed in range(50):
        strategy = make_strategy("ga", space, seed=seed, population=10, generations=5)
        individuals = finish(strategy, lambda individual: lottery(Individual(0, {"x": individual.genome["steps"]})))
        assert all(2e-6 <= individual.genome["learning_rate"] <= 2e-4 for individual in individuals)
        assert all(space.problems(individual.genome) == [] for individual in individuals)
        for generation, numbers in enumerate(strategy.populations()):
            batches[generation].append(mean(individuals[number].genome["batch_size"] for number in numbers))
    means = [mean(values) for values in batches]
    assert not all(later > earlier for earlier, later in pairwise(means))
    assert means == pytest.approx([549.5] * 5, rel=0.1)
