"""A search ends with a race where the objective takes a seed: the best are evaluated again, within the budget."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import evo
from evo.individual import genome_key, training_seed
from evo.loop.deadline import Stop
from evo.strategies.surrogate import race_size

pytestmark = pytest.mark.usefixtures("quick_models")

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0), "deep": evo.Layers(depth=(1, 3), width=(2, 9))}, name="noisy")


def true_value(config: dict[str, Any]) -> float:
    return float(config["x"]) - len(config["deep"]) / 10


def noisy(config: dict[str, Any], seed: int) -> float:
    return true_value(config) + random.Random(seed).gauss(0.0, 0.3)


def quiet(config: dict[str, Any]) -> float:
    return true_value(config)


def search(objective: Any = noisy, **arguments: Any) -> evo.Run:
    return evo.search(SPACE, objective, **{"budget": 40, "seed": 1, "finalists": 0, **arguments})


@cache
def undisturbed(budget: int = 40) -> evo.Run:
    """Return the search that others are compared with; no test changes it."""
    return search(budget=budget)


def rows(run: evo.Run) -> list[dict[str, Any]]:
    table = run.table.drop(columns=["seconds", "started", "worker"])
    return [{k: None if pd.isna(v) else v for k, v in row.items()} for row in table.to_dict("records")]


@pytest.mark.parametrize("budget", [19, 20, 33, 40])
def test_the_race_is_in_the_table_and_in_the_budget(budget: int) -> None:
    run = undisturbed(budget)
    table = run.table
    assert len(table) == len(run.proposals) == budget
    again = table[table["replicate"] > 0]
    assert len(again) == race_size(budget)
    assert len(run.individuals) == budget - race_size(budget)
    assert len(set(zip(table["individual"], table["replicate"], strict=True))) == budget
    assert len(set(table["seed"])) == budget
    for row in again.itertuples():
        genome = run.individuals[row.individual].genome
        assert row.seed == training_seed(1, genome, row.replicate)
        assert row.fitness == noisy(genome, row.seed)


def test_the_best_are_evaluated_again_and_the_winner_by_its_mean() -> None:
    run = undisturbed()
    first = run.table[run.table["replicate"] == 0].set_index("individual")["fitness"]
    again = Counter(run.table[run.table["replicate"] > 0]["individual"])
    assert set(again) <= set(first.nlargest(2).index)
    most = [number for number, count in again.items() if count == max(again.values())]
    means = run.table[run.table["individual"].isin(most)].groupby("individual")["fitness"].mean()
    assert run.best.id == means.idxmax()
    assert run.best.fitness == pytest.approx(means.max())
    assert len(run.best.replicates) == max(again.values()) + 1


@pytest.mark.slow
def test_the_race_finds_truer_winners_than_the_luckiest_training() -> None:
    raced, luckiest = [], []
    for seed in range(10):
        run = search(budget=60, seed=seed)
        raced.append(true_value(run.best.config))
        luckiest.append(
            true_value(max(run.individuals, key=lambda one: run.evaluations[one.id, 0].fitness or 0).genome)
        )
    assert sum(raced) > sum(luckiest)


def test_an_objective_without_a_seed_is_called_once_a_genome() -> None:
    run = search(quiet)
    assert set(run.table["replicate"]) == {0}
    assert len({genome_key(one.genome) for one in run.individuals}) == len(run.table) == 40
    assert run.best.fitness == max(run.table["fitness"])


@pytest.mark.parametrize("strategy", ["ga", "random", "ageing"])
def test_other_strategies_do_not_race(strategy: str) -> None:
    assert set(search(strategy=strategy, budget=30).table["replicate"]) == {0}


@pytest.mark.parametrize("evaluated", [5, 35, 36, 37, 38, 39])
def test_a_search_that_is_interrupted_in_the_race_goes_on_to_the_same_table(tmp_path: Path, evaluated: int) -> None:
    whole = undisturbed()
    calls: list[int] = []

    def interrupted(config: dict[str, Any], seed: int) -> float:
        calls.append(1)
        if len(calls) > evaluated:
            raise KeyboardInterrupt
        return noisy(config, seed)

    interrupted.__qualname__ = "noisy"
    with pytest.raises(KeyboardInterrupt):
        search(interrupted, output=tmp_path / "run")
    assert len(evo.load(tmp_path / "run").search_evaluations) == evaluated
    resumed = evo.resume(tmp_path / "run", noisy)
    assert rows(resumed) == rows(whole)
    assert resumed.proposals == whole.proposals
    assert resumed.generations == whole.generations
    assert (resumed.best.id, resumed.best.fitness) == (whole.best.id, whole.best.fitness)


def test_a_search_that_is_stopped_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = undisturbed(24)
    checks = [0]

    def stop_soon() -> None:
        checks[0] += 1
        if checks[0] % 5 == 0:
            raise Stop("enough", 75)

    with pytest.raises(Stop):
        search(budget=24, output=tmp_path / "run", stop_check=stop_soon)
    for _ in range(20):
        try:
            resumed = evo.resume(tmp_path / "run", noisy, stop_check=stop_soon)
        except Stop:
            continue
        break
    assert rows(resumed) == rows(whole)


def test_an_extension_keeps_the_past_and_races_again(tmp_path: Path) -> None:
    short = search(budget=30, output=tmp_path / "run")
    longer = evo.resume(tmp_path / "run", noisy, budget=50)
    assert longer.proposals[:30] == short.proposals
    assert len(longer.table) == 50
    assert [one.replicate > 0 for one in longer.proposals[45:]] == [True] * 5


def test_the_number_of_workers_changes_nothing() -> None:
    assert rows(search(budget=24, workers=2)) == rows(undisturbed(24))


def test_an_asynchronous_search_keeps_its_budget_and_races() -> None:
    run = search(budget=30, asynchronous=True)
    assert len(run.table) == 30
    assert (run.table["replicate"] > 0).sum() == 3


def test_who_fails_in_the_race_does_not_win() -> None:
    def fragile(config: dict[str, Any], seed: int) -> float:
        if seed in failing:
            raise ValueError("unlucky")
        return noisy(config, seed)

    failing: set[int] = set()
    best = search(fragile).best
    failing |= {training_seed(1, best.config, replicate) for replicate in range(1, 9)}
    again = search(fragile)
    assert again.best.id != best.id
    assert len(again.table) == 40
    assert again.table["status"].tolist().count("failed") >= 1


def test_finalists_are_trained_besides_the_race() -> None:
    run = search(budget=20, finalists=2)
    assert len(run.table) == 20
    assert sorted({evaluation.replicate for evaluation in run.finalist_evaluations}) == [101, 102, 103]
    assert run.winner in run.finalists


def test_the_tables_of_a_race_are_written(tmp_path: Path) -> None:
    run = search(budget=20, output=tmp_path / "run")
    written = pd.read_csv(tmp_path / "run" / "evaluations.csv")
    assert sorted(written["replicate"]) == sorted(run.table["replicate"])
    assert run.hall_of_fame["individual"].iloc[0] == run.best.id
    assert set(run.populations["individual"]) <= set(range(18))


def test_the_hall_of_fame_is_in_the_order_of_what_it_shows() -> None:
    def noisy(config: dict[str, Any], seed: int) -> float:
        return -((config["x"] - 0.3) ** 2) + random.Random(seed).gauss(0, 0.2)

    run = evo.search(evo.SearchSpace({"x": evo.Float(0.0, 1.0)}), noisy, budget=40, seed=3, finalists=0)
    hall = run.hall_of_fame
    raced = hall[hall["replicates"] > 1]
    assert len(raced) > 1
    assert list(hall["individual"]) == [entry.id for entry in run.ranked()[: len(hall)]]
    assert list(hall["fitness"]) == [entry.fitness for entry in run.ranked()[: len(hall)]]
    assert hall["fitness"][0] == pytest.approx(statistics.fmean(run.best.replicates))


def test_generations_are_counted_in_individuals_also_after_a_race(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})

    def noisy(config: dict[str, Any], seed: int) -> float:
        return float(config["x"]) + random.Random(seed).gauss(0, 0.1)

    evo.search(space, noisy, budget=30, population=6, seed=1, finalists=0, output=tmp_path / "run")
    run = evo.resume(tmp_path / "run", noisy, budget=50)
    generations = Counter(individual.generation for individual in run.individuals)
    assert all(generations[number] == 6 for number in range(max(generations)))
