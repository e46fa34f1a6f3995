"""`halving`: short trainings first, the best third goes on, and what is short is never ranked as if it were whole."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.errors import ConfigurationError
from evo.individual import STEPS, Individual, training_seed
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer
from evo.strategies import make_strategy
from evo.strategies.base import Strategy
from evo.strategies.halving import rungs_of, without_steps
from tests.spaces import smooth_fitness, smooth_space, tiny_space
from tests.strategies.loops import finish, lottery

pytestmark = pytest.mark.usefixtures("quick_models")

SPACE = SearchSpace({**smooth_space().genes, "steps": Integer(100, 1800, step=100)})


def halving(space: SearchSpace = SPACE, **settings: Any) -> Strategy:
    return make_strategy("halving", space, **{"seed": 1, "budget": 60, **settings})


def rung(individual: Individual) -> int:
    return int(individual.strategy_parameters["rung"])


def quality(individual: Individual) -> float:
    """What is trained longer reaches more."""
    return smooth_fitness(without_steps(individual.genome)) + float(individual.genome["steps"]) / 1800


@pytest.mark.parametrize(
    ("gene", "rungs"),
    [
        (Integer(100, 1800, step=100), [200, 600, 1800]),
        (Integer(100, 1600, log=True, step=100), [200, 500, 1600]),
        (Integer(200, 4050, log=True, step=100), [400, 1300, 4000]),
        (Integer(1, 9), [1, 3, 9]),
        (Integer(50, 900, step=50), [100, 300, 900]),
    ],
    ids=str,
)
def test_rungs_are_a_ninth_a_third_and_all_of_the_steps_on_their_grid(gene: Integer, rungs: list[int]) -> None:
    assert rungs_of(SearchSpace({"x": Float(0.0, 1.0), "steps": gene})) == rungs
    assert all(gene.contains(steps) for steps in rungs)


def test_every_proposal_is_trained_to_its_rung() -> None:
    individuals = finish(halving(), quality)
    assert {rung(individual) for individual in individuals} == {0, 1, 2}
    assert all(individual.genome["steps"] == [200, 600, 1800][rung(individual)] for individual in individuals)
    assert list(individuals[0].genome) == [name for name in SPACE.genes if name in individuals[0].genome]


def test_who_is_promoted_is_in_the_best_third_of_what_was_known_of_its_rung() -> None:
    strategy = halving(budget=90)
    individuals = finish(strategy, quality, room=4, order=random.Random(0))
    promotions = [individual for individual in individuals if individual.operator == "promotion"]
    assert len(promotions) > 15
    for promotion in promotions:
        if promotion.id >= 88:
            continue  # the last two train the best in full, whoever that is
        [parent] = promotion.parents
        known = individuals[: strategy.required(promotion.id)]
        below = sorted((i for i in known if rung(i) == rung(promotion) - 1), key=quality, reverse=True)
        assert individuals[parent] in below[: len(below) // 3]
    for individual in individuals:
        assert (rung(individual) > 0) == (individual.operator == "promotion")


def test_a_promotion_goes_on_where_its_training_stopped() -> None:
    individuals = finish(halving(), quality)
    for promotion in individuals:
        if promotion.operator == "promotion":
            parent = individuals[promotion.parents[0]]
            assert rung(promotion) == rung(parent) + 1
            assert without_steps(promotion.genome) == without_steps(parent.genome)
            assert training_seed(1, promotion.genome, 0) == training_seed(1, parent.genome, 0)


def test_nobody_is_promoted_twice_and_no_genome_begins_twice() -> None:
    individuals = finish(halving(budget=120), quality)
    begun = [str(without_steps(individual.genome)) for individual in individuals if not rung(individual)]
    promoted = [individual.parents for individual in individuals if rung(individual)]
    assert len(set(begun)) == len(begun)
    assert len(set(promoted)) == len(promoted)


def test_it_spends_a_fraction_of_the_steps_of_whole_trainings() -> None:
    individuals = finish(halving(budget=90), quality)
    furthest: dict[str, int] = {}
    for individual in individuals:
        key = str(without_steps(individual.genome))
        furthest[key] = max(furthest.get(key, 0), int(individual.genome[STEPS]))
    spent = sum(furthest.values())
    assert spent < sum(int(individual.genome[STEPS]) for individual in individuals)
    assert spent < 0.5 * 1800 * len(furthest)
    assert sum(steps == 1800 for steps in furthest.values()) >= 3


def test_a_short_training_never_ranks_above_a_whole_one() -> None:
    strategy = halving()
    finish(strategy, lambda individual: -float(individual.genome["steps"]) + lottery(individual))
    assert strategy.best is not None
    whole = [individual for individual in strategy.individuals if rung(individual) == 2]
    assert strategy.best == max(whole, key=lottery)


def test_the_rungs_are_those_of_the_ranking_of_a_run() -> None:
    run = evo.search(SPACE, lambda config: -float(config["steps"]), strategy="halving", budget=40, seed=1)
    assert run.best.config["steps"] == 1800
    ranking = [entry.config["steps"] for entry in run.ranked()]
    assert ranking == sorted(ranking, reverse=True)
    assert len(set(ranking)) == 3


def test_failures_are_never_promoted() -> None:
    individuals = finish(halving(), lambda individual: None if individual.id % 3 else quality(individual))
    assert all(parent % 3 == 0 for individual in individuals for parent in individual.parents)
    assert finish(halving(budget=30), lambda individual: None)[-1].operator == "random"


def test_the_furthest_are_the_population() -> None:
    strategy = halving(budget=90)
    individuals = finish(strategy, quality)
    last = strategy.populations()[-1]
    assert set(last) == {individual.id for individual in individuals if rung(individual) == 2}


def test_it_finds_better_whole_trainings_than_random_search_of_as_many_steps() -> None:
    for seed in range(2):
        strategy = halving(budget=90, seed=seed)
        individuals = finish(strategy, quality)
        spent = sum(
            int(i.genome[STEPS]) - (int(individuals[i.parents[0]].genome[STEPS]) if rung(i) else 0) for i in individuals
        )
        rng = random.Random(seed)
        drawn = [{**SPACE.sample(rng), STEPS: 1800} for _ in range(spent // 1800)]
        assert strategy.best is not None
        assert quality(strategy.best) > max(quality(Individual(0, genome)) for genome in drawn)


def test_known_configurations_begin_on_the_first_rung_whatever_their_steps() -> None:
    initial: list[dict[str, Any]] = [{"rate": 1e-3, "steps": 1800}, {"tanh": True}]
    first, second, third = halving(initial=initial).ask(3)
    assert [individual.operator for individual in (first, second, third)] == ["initial", "initial", "random"]
    assert (first.genome["rate"], second.genome["tanh"]) == (1e-3, True)
    assert first.genome["steps"] == second.genome["steps"] == 200


def test_the_same_configuration_with_other_steps_is_known_already() -> None:
    genome = {"layers": (8,), "rate": 1e-3, "batch": 16, "tanh": True}
    individuals = halving(initial=[{**genome, "steps": 1800}, {**genome, "steps": 900}, {"batch": 17}]).ask(3)
    assert [individual.operator for individual in individuals].count("initial") == 2
    assert len({str(individual.genome) for individual in individuals}) == 3


@pytest.mark.parametrize("points", [1, 2, 5, 15])
def test_a_space_of_few_points_is_trained_in_full_each_once_whatever_the_number_of_workers(points: int) -> None:
    space = SearchSpace({**tiny_space(points).genes, "steps": Integer(1, 9)})
    individuals = finish(halving(space, budget=100), lottery, room=3)
    for place in range(3):
        there = [individual.genome["x"] for individual in individuals if rung(individual) == place]
        assert sorted(there) == list(range(1, points + 1))
    assert finish(halving(space, budget=100), lottery, order=random.Random(1), room=2) == individuals


@pytest.mark.parametrize(
    "genes",
    [
        {"x": Float(0.0, 1.0)},
        {"x": Float(0.0, 1.0), "steps": Categorical([100, 900])},
        {"use": Boolean(), "steps": Integer(1, 9, when={"use": True})},
        {"steps": Integer(1, 9), "x": Float(0.0, 1.0, when={"steps": [1, 2]})},
    ],
    ids=["no steps", "steps of another kind", "steps with a condition", "a condition on the steps"],
)
def test_a_space_whose_steps_cannot_be_rungs_is_refused(genes: dict[str, Gene]) -> None:
    with pytest.raises(ConfigurationError, match="strategy halving: needs an integer gene steps without conditions"):
        halving(SearchSpace(genes))


@pytest.mark.parametrize("gene", [Integer(9, 9), Integer(5, 9), Integer(100, 300, step=100)], ids=str)
def test_too_few_values_of_steps_are_refused_with_the_remedy(gene: Integer) -> None:
    with pytest.raises(
        ConfigurationError, match=r"a ninth, a third and all of \d+ steps are not three different .*lower"
    ):
        halving(SearchSpace({"x": Float(0.0, 1.0), "steps": gene}))


def test_a_space_of_steps_alone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no gene but steps"):
        halving(SearchSpace({"steps": Integer(1, 9)}))


TRAINED = """
model = "mlp"
dataset = "digits"

[training]
evaluate_every = 10
batch_size = 64

[genes.hidden_layers]
type = "layers"
depth = [1, 2]
width = [4, 16]

[genes.learning_rate]
type = "float"
low = 1e-3
high = 1e-1
log = true

[genes.steps]
type = "integer"
low = 10
high = 90
"""


@pytest.mark.usefixtures("in_process", "digits")
def test_trainings_go_on_and_their_curves_are_those_of_whole_ones(tmp_path: Path) -> None:
    (tmp_path / "trained.toml").write_text(TRAINED)
    run = evo.search(
        tmp_path / "trained.toml",
        strategy="halving",
        budget=16,
        seed=1,
        finalists=0,
        workers=1,
        output=tmp_path / "run",
    )
    promotions = [individual for individual in run.individuals if individual.operator == "promotion"]
    assert len(promotions) >= 2
    for promotion in promotions:
        short, long = (run.evaluations[number, 0] for number in (promotion.parents[0], promotion.id))
        assert short.steps_trained is not None
        assert long.steps_trained == promotion.genome["steps"] == 3 * short.steps_trained
        assert long.curve[: len(short.curve)] == short.curve
        assert long.seed == short.seed
    rungs = [int(entry.individual.strategy_parameters["rung"]) for entry in run.ranked()]
    assert rungs == sorted(rungs, reverse=True)
