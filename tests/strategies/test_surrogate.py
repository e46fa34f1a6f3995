"""`surrogate`: screened children, a race at the end, and everything it needs at a resume in the journal."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.individual import Genome, Individual
from evo.space import SearchSpace
from evo.space.genes import Float, Integer
from evo.strategies import make_strategy
from evo.strategies.base import Strategy
from evo.strategies.screening import TRUST_AFTER, Evidence
from evo.strategies.surrogate import place_in_round, race_size
from tests.spaces import smooth_fitness, smooth_space, space_of_every_kind
from tests.strategies.loops import evaluation_of, finish, lottery

quick = pytest.mark.usefixtures("quick_models")


def smooth(individual: Individual) -> float:
    return smooth_fitness(individual.genome)


def surrogate(space: SearchSpace | None = None, **settings: Any) -> Strategy:
    return make_strategy("surrogate", space or smooth_space(), **{"seed": 1, "budget": 20, **settings})


# The race by itself.


@given(st.integers(1, 2000))
def test_the_race_takes_the_last_tenth_and_nothing_of_a_small_budget(limit: int) -> None:
    assert race_size(limit) == (limit // 10 if limit >= 20 else 0)


def rounds(size: int) -> list[int]:
    """Return the size of each round, from the places of the evaluations in them."""
    starts = [place for place in range(size) if place_in_round(place, size) == 0]
    return [later - earlier for earlier, later in pairwise([*starts, size])]


@given(st.integers(1, 500))
def test_rounds_have_about_half_of_the_one_before(size: int) -> None:
    sizes = rounds(size)
    assert all(later <= max(2, math.ceil(earlier / 2)) for earlier, later in pairwise(sizes))
    assert sizes[0] == min(size, max(2, math.ceil(size / 2)))
    assert min(sizes) >= 1


@given(st.integers(1, 500))
def test_every_evaluation_of_the_race_has_its_place_in_a_round(size: int) -> None:
    places = [place_in_round(place, size) for place in range(size)]
    assert places == [place for count in rounds(size) for place in range(count)]


# The race in a search.


def lucky(individual: Individual) -> float:
    """The quality, and on the first seed luck that is greater than all differences of quality."""
    luck = random.Random(str(individual.genome)).random() if not individual.replicate else 0.0
    return smooth(individual) + 10 * luck


@quick
def test_the_winner_is_the_best_mean_of_the_race_and_not_the_luckiest() -> None:
    strategy = surrogate(budget=60, retrainable=True)

    def fitness(individual: Individual) -> float:
        """All draws are alike but number 7; number 11 was lucky once."""
        if individual.replicate:
            return {7: 0.9, 11: 0.1}.get(individual.id, 0.5)
        return {7: 0.92, 11: 0.99}.get(individual.id, 0.5 + 1e-3 * (individual.id % 7))

    proposals = finish(strategy, fitness, room=3, order=random.Random(0))
    assert max(strategy.individuals, key=fitness).id == 11
    assert strategy.best == strategy.individuals[7]
    again = Counter(proposal.id for proposal in proposals if proposal.replicate)
    assert again.total() == 6
    assert again[7] == max(again.values()) > 1


@quick
def test_the_first_round_takes_the_best_and_each_later_one_the_better_half() -> None:
    strategy = surrogate(budget=100, retrainable=True)
    proposals = finish(strategy, lucky)
    assert [proposal.replicate for proposal in proposals[:90]] == [0] * 90
    results: dict[int, list[float]] = {proposal.id: [lucky(proposal)] for proposal in proposals[:90]}
    runners = sorted(results, key=lambda number: -results[number][0])
    number = 90
    for size in rounds(10):
        chosen = proposals[number : number + size]
        assert [proposal.id for proposal in chosen] == runners[:size]
        for proposal in chosen:
            results[proposal.id].append(lucky(proposal))
        runners = sorted(runners[:size], key=lambda number: -fmean(results[number]))
        number += size
    assert strategy.best == strategy.individuals[runners[0]]


@quick
def test_a_round_waits_for_the_one_before_and_not_for_itself() -> None:
    strategy = surrogate(budget=100, retrainable=True)
    while len(strategy.proposals) < 90:
        for individual in strategy.ask():
            strategy.tell(individual, lucky(individual))
    first = strategy.ask(1000)
    assert [len(first), *rounds(10)[1:]] == rounds(10)
    for individual in first[:-1]:
        strategy.tell(individual, lucky(individual))
    assert strategy.ask(1000) == []
    strategy.tell(first[-1], lucky(first[-1]))
    assert len(strategy.ask(1000)) == rounds(10)[1]


@quick
def test_without_a_seed_there_is_no_race() -> None:
    assert not any(proposal.replicate for proposal in finish(surrogate(budget=40)))


@quick
def test_who_fails_in_the_race_does_not_win_it() -> None:
    strategy = surrogate(budget=40, retrainable=True)
    finish(
        strategy, lambda individual: None if individual.replicate and individual.id == 3 else -abs(individual.id - 3)
    )
    assert strategy.best is not None
    assert strategy.best.id in (2, 4)


@quick
def test_a_race_has_no_more_runners_than_there_are_results() -> None:
    strategy = surrogate(budget=40, retrainable=True)
    proposals = finish(strategy, lambda individual: 0.5 if individual.id in (5, 9) else None)
    assert {proposal.id for proposal in proposals if proposal.replicate} <= {5, 9}
    assert strategy.best == strategy.individuals[5]


@quick
def test_a_longer_search_races_all_over_again() -> None:
    """The winner of a first race does not keep out a better one that the extension finds."""

    def improving(individual: Individual) -> float:
        return float(individual.id >= 60) + 0.01 * lottery(individual)

    settings = {"space": space_of_every_kind(), "retrainable": True}
    short = surrogate(budget=60, **settings)
    past = finish(short, improving)
    longer = surrogate(budget=80, **settings)
    longer.replay(past, [evaluation_of(individual, improving) for individual in past])
    assert len(finish(longer, improving)) == 80
    assert longer.best is not None
    assert longer.best.id >= 60


@quick
def test_the_winner_of_an_earlier_race_is_beaten_by_better_ones_although_it_has_more_evaluations() -> None:
    def fitness(individual: Individual) -> float:
        """Number 3 wins the first race; 90 to 93, which the extension finds, are better."""
        return {3: 0.9, 90: 1.0, 91: 1.0, 92: 1.0, 93: 1.0}.get(individual.id, 0.1)

    past = finish(surrogate(budget=100, retrainable=True), fitness)
    assert Counter(proposal.id for proposal in past)[3] == 4
    longer = surrogate(budget=115, retrainable=True)
    longer.replay(past, [evaluation_of(individual, fitness) for individual in past])
    finish(longer, fitness)
    assert longer.best == longer.individuals[90]


# The search.


def best_of(name: str, seed: int, budget: int) -> float:
    return max(map(smooth, finish(make_strategy(name, smooth_space(), seed=seed, budget=budget), smooth)))


@pytest.mark.slow
def test_it_finds_far_better_genomes_than_random_search() -> None:
    ours = [best_of("surrogate", seed, 40) for seed in range(3)]
    assert all(best > best_of("random", seed, 40) for seed, best in enumerate(ours))
    assert fmean(ours) > fmean(best_of("random", seed, 80) for seed in range(3)), "with half of the evaluations"


@pytest.mark.parametrize("budget", [1, 2, 5, 15])
def test_it_works_from_the_smallest_budgets_on(budget: int) -> None:
    strategy = surrogate(budget=budget, retrainable=True)
    assert len(finish(strategy, smooth)) == budget
    assert strategy.best == max(strategy.individuals, key=smooth)


def test_a_few_evaluations_are_enough_to_learn_from() -> None:
    gains = [best_of("surrogate", seed, 25) - best_of("random", seed, 25) for seed in range(3)]
    assert sum(gain > 0 for gain in gains) >= 2
    assert fmean(gains) > 0


def test_the_first_genomes_are_spread_over_the_space() -> None:
    strategy = surrogate(SearchSpace({"x": Float(0.0, 1.0), "n": Integer(1, 1000, log=True)}), budget=50)
    count = sum(strategy.required(number) == 0 for number in range(50))
    first = strategy.ask(1000)
    assert len(first) >= count >= 4
    assert sorted(int(count * float(individual.genome["x"])) for individual in first[:count]) == list(range(count))


@quick
@pytest.mark.parametrize("value", [0.0, 0.5, -1e30])
def test_equal_fitness_everywhere_does_no_harm(value: float) -> None:
    proposals = finish(surrogate(space_of_every_kind()), lambda individual: value)
    assert len({str(individual.genome) for individual in proposals}) == 20


@quick
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_fitness_does_no_harm(scale: float) -> None:
    strategy = surrogate(budget=30)
    finish(strategy, lambda individual: scale * smooth(individual))
    assert strategy.best is not None
    assert smooth(strategy.best) > max(map(smooth, strategy.individuals[:6])) - 1e-12


@quick
@pytest.mark.parametrize("failure", [None, math.nan, math.inf])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_failed_evaluations_do_no_harm(failure: float | None, every: int) -> None:
    strategy = surrogate(retrainable=True)
    proposals = finish(strategy, lambda individual: failure if individual.id % every == 0 else smooth(individual))
    assert len(strategy.individuals) == 18
    assert len(proposals) == (18 if every == 1 else 20)
    assert not {parent for proposal in proposals for parent in proposal.parents if parent % every == 0}


@quick
def test_a_space_of_few_points_ends_without_a_race() -> None:
    strategy = surrogate(SearchSpace({"x": Integer(1, 12)}), budget=100, retrainable=True)
    assert sorted(int(proposal.genome["x"]) for proposal in finish(strategy, lottery)) == list(range(1, 13))


# What travels with the individuals.


@quick
def test_predictions_and_hyperparameters_travel_as_json() -> None:
    proposals = finish(surrogate(space_of_every_kind()), lottery)
    said = [proposal.strategy_parameters for proposal in proposals if proposal.strategy_parameters]
    assert len(said) > 5
    for parameters in said:
        assert set(parameters) == {"predicted", "hyperparameters"}
        assert math.isfinite(parameters["predicted"])
        assert np.isfinite(parameters["hyperparameters"]).all()
        assert json.loads(json.dumps(parameters, allow_nan=False)) == parameters


@quick
@pytest.mark.parametrize("size", [1e308, 1e-320])
def test_the_largest_and_smallest_numbers_leave_what_travels_finite(size: float) -> None:
    proposals = finish(surrogate(), lambda individual: size if individual.id % 2 else -size)
    for proposal in proposals:
        assert json.loads(json.dumps(proposal.strategy_parameters, allow_nan=False)) == proposal.strategy_parameters


@quick
@pytest.mark.parametrize("stop", [3, 9, 25, 37])
def test_a_search_read_back_from_json_goes_on_as_one_that_never_stopped(stop: int) -> None:
    whole = surrogate(budget=40, retrainable=True)
    proposals = finish(whole, lucky)
    text = json.dumps([proposal.to_dict() for proposal in proposals[:stop]])
    resumed = surrogate(budget=40, retrainable=True)
    past = [Individual.from_dict(values) for values in json.loads(text)]
    known = whole.required(stop - 1)
    resumed.replay(past, [evaluation_of(proposal, lucky) for proposal in past[:known]])
    assert finish(resumed, lucky, awaited=past[known:]) == proposals
    assert resumed.best == whole.best


@quick
def test_the_number_of_threads_of_the_machine_is_left_as_it_was() -> None:
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info()]

    finish(surrogate(budget=8), smooth)
    before = threads()
    finish(surrogate(budget=12), smooth)
    assert threads() == before


def test_predictions_come_near_what_is_reached() -> None:
    proposals = finish(surrogate(budget=40), smooth)
    late = [proposal for proposal in proposals[20:] if "predicted" in proposal.strategy_parameters]
    errors = [abs(proposal.strategy_parameters["predicted"] - smooth(proposal)) for proposal in late]
    spread = float(np.std([smooth(proposal) for proposal in proposals[:8]]))
    assert fmean(errors) < 0.5 * spread


# Trust.


def evidence(predictions: list[tuple[float, float]], count: int = 3) -> Evidence:
    return Evidence({n: {"x": n} for n in range(count)}, {n: float(n) for n in range(count)}, predictions=predictions)


def test_a_model_is_trusted_until_it_was_wrong_often_enough() -> None:
    right = [(float(n), n + 0.5) for n in range(20)]
    wrong = [(float(n), -n + 0.5) for n in range(20)]
    assert evidence([]).is_trustworthy()
    assert evidence(wrong[: TRUST_AFTER - 1]).is_trustworthy()
    assert not evidence(wrong[:TRUST_AFTER]).is_trustworthy()
    assert evidence(wrong + right).is_trustworthy()
    assert not evidence(right + wrong).is_trustworthy()
    assert evidence([(1.0, 0.5)] * 20).is_trustworthy(), "what cannot be ordered says nothing against it"


def test_parents_are_the_best_of_the_last_and_the_best_of_all() -> None:
    old = Evidence({n: {"x": n} for n in range(100)}, {n: float(-n) for n in range(100)})
    assert old.parents() == [0, 60, 61, 62, 63]
    assert evidence([]).parents() == [2, 1, 0]
    assert evidence([], 0).parents() == []


def test_the_model_is_fitted_to_a_bounded_number_of_evaluations_the_best_among_them() -> None:
    some = Evidence({n: {"x": n} for n in range(400)}, {n: float(-n) for n in range(400)})
    modelled = some.modelled()
    assert len(modelled) == len(set(modelled)) <= 250
    assert modelled == sorted(modelled)
    assert {0, 1, 2, 397, 398, 399} <= set(modelled)
    assert evidence([]).modelled() == [0, 1, 2]


# Costs.


def cost_of(genome: Genome) -> float:
    """Up to a thousand times as dear at one end of the space as at the other."""
    return float(10 ** (3 * genome["x"]))  # type: ignore[operator]  # a float


def proposed(cost: Callable[[Genome], float] | None, seed: int, **settings: Any) -> list[Individual]:
    space = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    strategy = surrogate(space, seed=seed, budget=25, cost=cost, **settings)
    finish(strategy, lambda individual: -abs(float(individual.genome["y"]) - 0.3))  # type: ignore[arg-type]
    return strategy.individuals


@quick
def test_with_costs_the_first_and_the_later_proposals_are_cheaper_where_that_costs_no_quality() -> None:
    for part in (slice(0, 6), slice(6, None)):
        plain, weighed = (
            [cost_of(individual.genome) for seed in range(5) for individual in proposed(cost, seed)[part]]
            for cost in (None, cost_of)
        )
        assert fmean(weighed) < 0.5 * fmean(plain)


@quick
def test_costs_in_another_unit_change_no_proposal_and_equal_costs_change_only_the_first() -> None:
    assert proposed(cost_of, 1) == proposed(lambda genome: 60 * cost_of(genome), 1)
    known = [{"x": place / 7, "y": 1 - place / 7} for place in range(8)]  # enough for a model from the start
    assert proposed(lambda genome: 2.0, 1, initial=known) == proposed(None, 1, initial=known)
