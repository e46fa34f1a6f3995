"""What every strategy promises, whatever its algorithm."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest

from evo.errors import ConfigurationError
from evo.genes import Boolean, Float, Integer
from evo.individual import Individual, genome_key
from evo.space import SearchSpace
from evo.strategies import make_strategy, strategy_names
from evo.strategies.base import Strategy
from tests.spaces import tiny_space
from tests.strategies.loops import evaluation_of, finish, lottery, make, space_for

STRATEGIES = strategy_names()
ON_ANY_SPACE = [name for name in STRATEGIES if name != "report2019"]


@pytest.fixture(params=STRATEGIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_four_strategies_have_names() -> None:
    assert set(STRATEGIES) >= {"ga", "random", "report2019", "report2019-fixed"}


# What is proposed.


@pytest.mark.parametrize("room", [1, 2, 7, 1000])
def test_proposals_depend_neither_on_the_room_nor_on_the_order_of_results(name: str, room: int) -> None:
    expected = finish(make(name))
    for seed in range(3):
        assert finish(make(name), room=room, order=random.Random(seed)) == expected


def test_asking_again_before_any_result_changes_nothing(name: str) -> None:
    strategy = make(name)
    asked = strategy.ask(3)
    while more := strategy.ask(2):
        asked += more
    assert strategy.ask(5) == []
    assert asked == finish(make(name))[: len(asked)]


def test_the_seed_decides_the_proposals(name: str) -> None:
    assert finish(make(name, seed=5)) == finish(make(name, seed=5))
    first, second = finish(make(name, seed=5)), finish(make(name, seed=6))
    assert all(a.genome != b.genome for a, b in zip(first, second, strict=True))


def test_results_decide_what_follows_them(name: str) -> None:
    first, second = finish(make(name)), finish(make(name), lambda individual: -lottery(individual))
    if name == "random":
        assert first == second
    else:
        assert first[:6] == second[:6]
        assert first[6:] != second[6:]


def test_ids_count_from_0_and_generations_never_fall(name: str) -> None:
    individuals = finish(make(name), room=4, order=random.Random(0))
    assert [individual.id for individual in individuals] == list(range(20))
    generations = [individual.generation for individual in individuals]
    assert generations == sorted(generations)
    assert set(generations) == set(range(generations[-1] + 1))


def test_parents_are_older_evaluated_and_of_an_earlier_generation(name: str) -> None:
    strategy, told = make(name), set()
    while not strategy.done():
        for individual in strategy.ask(3):
            assert told.issuperset(individual.parents)
            assert all(strategy.individuals[parent].generation < individual.generation for parent in individual.parents)
            assert len(set(individual.parents)) == len(individual.parents)
            strategy.tell(individual, lottery(individual))
            told.add(individual.id)
    assert name == "random" or any(individual.parents for individual in strategy.individuals)


@pytest.mark.parametrize("strategy", ON_ANY_SPACE)
def test_every_genome_is_legal_and_new(strategy: str) -> None:
    individuals = finish(make(strategy, budget=80))
    assert all(space_for(strategy).problems(individual.genome) == [] for individual in individuals)
    assert len({genome_key(individual.genome) for individual in individuals}) == 80


def test_what_is_proposed_survives_the_journal(name: str) -> None:
    for individual in finish(make(name)):
        assert Individual.from_dict(individual.to_dict()) == individual


# Where it ends.


@pytest.mark.parametrize("budget", [1, 5, 6, 7, 20])
def test_the_budget_is_met_exactly(name: str, budget: int) -> None:
    strategy = make(name, budget=budget)
    assert strategy.limit == budget
    assert len(finish(strategy, room=1000)) == budget


@pytest.mark.parametrize("generations", [1, 2, 4])
def test_the_generations_are_met_exactly(name: str, generations: int) -> None:
    strategy = make(name, budget=None, generations=generations)
    individuals = finish(strategy)
    assert len(individuals) == strategy.trainings_of(generations) == strategy.limit
    assert individuals[-1].generation == generations - 1
    assert len(strategy.populations()) == generations
    assert all(len(population) == 6 for population in strategy.populations())


def test_the_first_bound_that_is_reached_ends_the_search(name: str) -> None:
    one_generation = make(name, budget=None, generations=1).limit
    assert len(finish(make(name, budget=1000, generations=1))) == one_generation
    assert len(finish(make(name, budget=3, generations=1000))) == 3


def test_without_bounds_it_ends_all_the_same(name: str) -> None:
    limit = make_strategy(name, space_for(name)).limit
    assert limit is not None
    assert 1 <= limit <= 100


def test_nothing_is_proposed_after_the_end(name: str) -> None:
    strategy = make(name)
    finish(strategy)
    assert strategy.done()
    assert strategy.ask(10) == []
    assert len(strategy.individuals) == 20


def test_it_is_not_done_before_the_last_result(name: str) -> None:
    strategy = make(name, budget=4)
    asked = strategy.ask(10)
    for individual in reversed(asked):
        assert not strategy.done()
        strategy.tell(individual, 0.5)
    assert strategy.done()


@pytest.mark.parametrize("strategy", ON_ANY_SPACE)
@pytest.mark.parametrize("points", [1, 2, 5, 15])
def test_a_space_of_few_points_is_searched_once_and_ends(strategy: str, points: int) -> None:
    individuals = finish(make_strategy(strategy, tiny_space(points), population=4, budget=100), room=3)
    assert sorted(individual.genome["x"] for individual in individuals) == list(range(1, points + 1))


@pytest.mark.parametrize("strategy", ON_ANY_SPACE)
def test_conditions_that_leave_few_points_end_too(strategy: str) -> None:
    space = SearchSpace({"use": Boolean(), "x": Integer(1, 3, when={"use": True}), "y": Float(0.5, 0.5)})
    search = make_strategy(strategy, space, population=3, budget=50)
    assert len({genome_key(individual.genome) for individual in finish(search)}) == len(search.individuals) == 4
    assert search.populations()[-1]


# Failed trainings.


def failing(individual: Individual) -> float | None:
    failures: list[float | None] = [None, math.nan, math.inf, -math.inf]
    return lottery(individual) if individual.id % 5 == 4 else failures[individual.id % 5]


def test_failed_trainings_never_become_the_best(name: str) -> None:
    strategy = make(name)
    individuals = finish(strategy, failing, room=4, order=random.Random(0))
    best = max((individual for individual in individuals if individual.id % 5 == 4), key=lottery)
    assert strategy.best == best
    assert all(member.individual.id % 5 == 4 for member in strategy.hall_of_fame)


@pytest.mark.parametrize("fitness", [None, math.nan, math.inf, -math.inf])
def test_a_search_whose_every_training_fails_ends_without_a_best(name: str, fitness: float | None) -> None:
    strategy = make(name)
    assert len(finish(strategy, lambda _: fitness)) == 20
    assert strategy.best is None


def test_all_kinds_of_failure_are_the_same_to_a_strategy(name: str) -> None:
    without_result = finish(make(name), lambda individual: None if individual.id % 5 < 4 else lottery(individual))
    assert finish(make(name), failing) == without_result


def test_the_only_training_that_succeeds_is_the_best(name: str) -> None:
    strategy = make(name)
    finish(strategy, lambda individual: 0.1 if individual.id == 3 else None)
    assert strategy.best == strategy.individuals[3]


def test_the_best_is_that_of_the_highest_fitness(name: str) -> None:
    strategy = make(name)
    individuals = finish(strategy)
    assert strategy.best == max(individuals, key=lottery)


# Resume.


def test_replay_goes_on_as_if_nothing_had_happened(name: str) -> None:
    whole = make(name)
    individuals = finish(whole)
    for stop in range(len(individuals) + 1):
        needed = whole.required(stop - 1) if stop else 0
        for known in {needed, (needed + stop + 1) // 2, stop}:
            strategy = make(name)
            strategy.replay(individuals[:stop], [evaluation_of(individual) for individual in individuals[:known]])
            order, awaited = random.Random(stop), individuals[known:stop]
            assert finish(strategy, room=3, order=order, awaited=awaited) == individuals
            assert strategy.populations() == whole.populations()
            assert strategy.best == whole.best


def test_replay_reads_proposals_and_does_not_make_them(name: str) -> None:
    individuals = finish(make(name, seed=5))[:4]
    strategy = make(name, seed=6)
    strategy.replay(individuals, [])
    assert strategy.individuals == individuals


def test_a_larger_budget_goes_on_from_the_past(name: str) -> None:
    individuals = finish(make(name, budget=9))
    strategy = make(name, budget=20)
    strategy.replay(individuals, map(evaluation_of, individuals))
    assert not strategy.done()
    assert finish(strategy) == finish(make(name, budget=20))


# Populations.


def test_populations_are_complete_and_evaluated(name: str) -> None:
    strategy, told = make(name), set()
    for individual in _one_by_one(strategy):
        strategy.tell(individual, lottery(individual))
        told.add(individual.id)
        if not strategy.done():
            assert all(len(population) == 6 for population in strategy.populations())
        for population in strategy.populations():
            assert told.issuperset(population)
            assert len(set(population)) == len(population)
    assert set().union(*strategy.populations()) == told
    assert [max(population) for population in strategy.populations()][-1] == 19


def test_populations_never_change_once_they_are_finished(name: str) -> None:
    strategy, before = make(name), []
    for individual in _one_by_one(strategy):
        strategy.tell(individual, lottery(individual))
        assert strategy.populations()[: len(before)] == before
        before = strategy.populations()
    assert len(before) >= 3


def _one_by_one(strategy: Strategy) -> Iterator[Individual]:
    while asked := strategy.ask():
        yield from asked


# The world outside.


def test_the_global_generator_is_left_alone(name: str) -> None:
    random.seed(7)
    before = random.getstate()
    first = finish(make(name))
    assert random.getstate() == before
    random.seed(8)
    assert finish(make(name)) == first


def test_telling_twice_or_what_was_never_proposed_is_refused(name: str) -> None:
    strategy = make(name)
    with pytest.raises(ValueError, match="individual 0 was never proposed"):
        strategy.tell(0, 0.5)
    asked = strategy.ask(6)
    for number in (-1, 6, 1000):
        with pytest.raises(ValueError, match=f"individual {number} was never proposed"):
            strategy.tell(number, 0.5)
    for individual in asked:
        strategy.tell(individual, 0.5)
        with pytest.raises(ValueError, match=f"individual {individual.id} was told already"):
            strategy.tell(individual.id, 0.6)
    strategy.ask()
    with pytest.raises(ValueError, match="individual 0 was told already"):
        strategy.tell(0, 0.5)


@pytest.mark.parametrize("setting", ["population", "budget", "generations"])
@pytest.mark.parametrize("value", [0, -1])
def test_settings_below_one_are_refused_by_name(name: str, setting: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting}: must be at least 1, got {value}"):
        make(name, **{setting: value})


def test_an_unknown_strategy_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match=r'unknown strategy "randon"\. Did you mean "random"\? Known: ga, '):
        make_strategy("randon", tiny_space(3))


# Known configurations.


@pytest.mark.parametrize("strategy", ON_ANY_SPACE)
def test_known_configurations_come_first_and_are_completed(strategy: str) -> None:
    initial = [{"rate": 1e-3, "layers": (64, 32)}, {"use_dropout": True, "dropout": 0.5}, {"batch": 64}]
    individuals = finish(make(strategy, initial=initial))
    for individual, values in zip(individuals[:3], initial, strict=True):
        assert {name: individual.genome[name] for name in values} == values
        assert space_for(strategy).problems(individual.genome) == []
        assert individual.operator == "initial"
        assert individual.parents == ()
    assert all(individual.operator != "initial" for individual in individuals[3:])


@pytest.mark.parametrize("strategy", ON_ANY_SPACE)
def test_known_configurations_are_trained_once_and_no_more_than_a_population(strategy: str) -> None:
    initial = [{"x": 3}, {"x": 3}, {"x": 5}, {"x": 7}, {"x": 9}, {"x": 11}]
    individuals = finish(make_strategy(strategy, tiny_space(1000), population=4, budget=10, initial=initial))
    assert [individual.genome["x"] for individual in individuals[:3]] == [3, 5, 7]
    assert len({individual.genome["x"] for individual in individuals}) == 10


@pytest.mark.parametrize("strategy", ON_ANY_SPACE)
def test_known_configurations_that_do_not_fit_are_refused(strategy: str) -> None:
    with pytest.raises(ConfigurationError, match=r"initial\[1\]\.x: 9 is not in 1 to 3"):
        make_strategy(strategy, tiny_space(3), initial=[{"x": 1}, {"x": 9}])
