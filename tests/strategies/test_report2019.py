"""`report2019`: the algorithm as it was, its faults included."""

from __future__ import annotations

import random
from itertools import pairwise
from statistics import mean

import pytest

from evo.errors import ConfigurationError
from evo.individual import Individual
from evo.space import SearchSpace
from evo.space.file import load_space
from evo.strategies import Strategy, make_strategy
from evo.strategies.report2019 import FIRST_LAYERS, LAST_LAYERS, LAYERS, Report2019
from tests.spaces import space_of_every_kind
from tests.strategies.loops import finish, lottery

SEEDS = range(50)


def search(seed: int) -> Strategy:
    strategy = make_strategy("report2019", load_space("report"), seed=seed)
    finish(strategy)
    return strategy


@pytest.fixture(scope="module")
def searches() -> list[Strategy]:
    return [search(seed) for seed in SEEDS]


def test_five_generations_of_ten_train_46_networks(searches: list[Strategy]) -> None:
    for strategy in searches:
        generations = [individual.generation for individual in strategy.individuals]
        assert [generations.count(generation) for generation in range(5)] == [10, 9, 9, 9, 9]
        assert [len(population) for population in strategy.populations()] == [10] * 5


def test_the_first_generation_is_drawn_from_the_ranges_of_2019(searches: list[Strategy]) -> None:
    genomes = [individual.genome for strategy in searches for individual in strategy.individuals[:10]]
    assert all(2e-6 <= genome["learning_rate"] <= 2e-4 for genome in genomes)
    assert all(100 <= genome["batch_size"] < 1000 for genome in genomes)
    assert all(1500 <= genome["steps"] < 5000 for genome in genomes)
    # Uniform, not log-uniform: half of the draws lie above the middle of the range.
    assert mean(genome["learning_rate"] > 1.01e-4 for genome in genomes) == pytest.approx(0.5, abs=0.08)


def test_the_first_and_the_last_individual_draw_from_lists_of_their_own(searches: list[Strategy]) -> None:
    first = {strategy.individuals[0].genome["hidden_layers"] for strategy in searches}
    last = {strategy.individuals[9].genome["hidden_layers"] for strategy in searches}
    others = {individual.genome["hidden_layers"] for strategy in searches for individual in strategy.individuals[1:9]}
    assert first == set(FIRST_LAYERS) == {(5000,), (2500,), (1000,)}
    assert last == set(LAST_LAYERS)
    assert others == set(LAYERS)
    assert len(LAYERS) == 9


def test_learning_rates_leave_their_range_far_and_end_at_the_floor(searches: list[Strategy]) -> None:
    rates = [individual.genome["learning_rate"] for strategy in searches for individual in strategy.individuals[10:]]
    assert min(rates) == 1e-6
    assert max(rates) > 100 * 2e-4
    assert mean(not 2e-6 <= rate <= 2e-4 for rate in rates) > 0.5


def test_the_learning_rates_step_jumps_to_fifty_times_its_range(searches: list[Strategy]) -> None:
    first = [strategy.individuals[i].strategy_parameters["learning_rate"] for strategy in searches for i in range(10)]
    later = [strategy.individuals[i].strategy_parameters["learning_rate"] for strategy in searches for i in (12, 30)]
    assert max(first) <= 1e-5
    assert min(later) == 1e-5
    assert max(later) > 0.01


def test_a_mutation_never_lowers_a_batch_size() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        child = {"hidden_layers": (1000,), "learning_rate": 1e-4, "batch_size": 500, "steps": 2000}
        strengths = {"layers": 0.5, "learning_rate": 1e-6, "steps": 500, "batch_size": 500}
        Report2019._mutate(child, strengths, rng)
        assert 600 <= child["batch_size"] < 1500
        assert child["learning_rate"] >= 1e-6
        assert child["steps"] >= 1
        assert all(strength >= 1e-5 for strength in strengths.values())
        assert child["hidden_layers"] in LAYERS


def test_mating_draws_between_the_parents() -> None:
    rng = random.Random(0)
    mate = {"hidden_layers": (5000,), "learning_rate": 2e-4, "batch_size": 200, "steps": 4000}
    for probability, layers in ((0.0, (1000,)), (1.0, (5000,))):
        child = {"hidden_layers": (1000,), "learning_rate": 1e-4, "batch_size": 500, "steps": 2000}
        Report2019._mate(child, mate, probability, rng)
        assert child["hidden_layers"] == layers
        assert 1e-4 < child["learning_rate"] < 2e-4
        assert 200 <= child["batch_size"] <= 500
        assert 2000 <= child["steps"] <= 4000


def test_the_populations_batch_sizes_rise_every_generation(searches: list[Strategy]) -> None:
    means = [
        mean(
            strategy.individuals[number].genome["batch_size"]
            for strategy in searches
            for number in strategy.populations()[generation]
        )
        for generation in range(5)
    ]
    assert means == sorted(means)
    assert means[0] == pytest.approx(560, rel=0.05)
    assert means[-1] == pytest.approx(2200, rel=0.1)


def test_the_best_is_kept_untouched_and_every_other_one_replaced(searches: list[Strategy]) -> None:
    for strategy in searches:
        populations = strategy.populations()
        for before, after in pairwise(populations):
            best = max(before, key=lambda number: lottery(strategy.individuals[number]))
            assert set(before) & set(after) == {best}
            assert before.index(best) == after.index(best)


def test_children_stand_in_the_place_of_their_first_parent_and_half_mate_with_the_best(
    searches: list[Strategy],
) -> None:
    with_best = []
    for strategy in searches:
        populations = strategy.populations()
        for before, after in pairwise(populations):
            best = max(before, key=lambda number: lottery(strategy.individuals[number]))
            children = [(old, strategy.individuals[new]) for old, new in zip(before, after, strict=True) if old != best]
            assert all(child.parents[0] == old for old, child in children)
            with_best += [best in child.parents for _, child in children]
    # One half, and one time in ten of the other half.
    assert mean(with_best) == pytest.approx(0.55, abs=0.05)


def test_of_equal_individuals_the_first_is_kept() -> None:
    strategy = make_strategy("report2019", load_space("report"), generations=2)
    finish(strategy, lambda individual: 0.5)
    assert strategy.populations()[1][0] == 0


@pytest.mark.parametrize("space", [load_space("mlp_classic"), load_space("cnn_classic"), space_of_every_kind()])
def test_another_space_is_refused(space: SearchSpace) -> None:
    with pytest.raises(ConfigurationError, match=r'"report2019": its draws and steps .* "report2019-fixed"'):
        make_strategy("report2019", space)


def test_known_configurations_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="draws its first population itself"):
        make_strategy("report2019", load_space("report"), initial=[{"batch_size": 200}])


def test_a_diverged_best_does_not_stay() -> None:
    def fitness(individual: Individual) -> float:
        return float("nan") if individual.id == 0 else lottery(individual)

    strategy = make_strategy("report2019", load_space("report"), generations=2)
    finish(strategy, fitness)
    assert 0 not in strategy.populations()[1]
