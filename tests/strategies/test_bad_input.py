"""What a user may do wrong, with every strategy: budgets and spaces that are too small, objectives that fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import evo
from evo.errors import SearchError
from evo.individual import genome_key
from evo.loop.search_loop import SilentObserver
from evo.space import SearchSpace
from evo.space.genes import Gene, Integer
from evo.strategies import strategy_names
from tests.strategies.loops import space_for

pytestmark = pytest.mark.usefixtures("quick_models")

STRATEGIES = strategy_names()
ON_FEW_POINTS = [name for name in STRATEGIES if name != "report2019"]


class Listener(SilentObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def notify(self, message: str) -> None:
        self.notes.append(message)


def search(name: str, objective: Any, space: SearchSpace | None = None, **arguments: Any) -> evo.Run:
    """Search with a strategy; `pareto` has the only other objective that a function has."""
    if name == "pareto":
        arguments["objectives"] = {"fitness": "maximise", "seconds": "minimise"}
    settings = {"budget": 12, "population": 4, "seed": 1, "finalists": 0, **arguments}
    return evo.search(space or space_for(name), objective, strategy=name, **settings)


def few_points(name: str, points: int) -> SearchSpace:
    genes: dict[str, Gene] = {"x": Integer(1, points)}
    return SearchSpace(genes | ({"steps": Integer(1, 9)} if name == "halving" else {}))


def fine(config: dict[str, Any]) -> float:
    return float(len(str(config)))


def raising() -> float:
    raise RuntimeError("the disk is full")


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("budget", [1, 2, 3])
def test_a_budget_below_the_first_population_is_kept_and_said(name: str, budget: int) -> None:
    listener = Listener()
    run = search(name, fine, budget=budget, observer=listener)
    assert len(run.table) == budget
    if name != "halving":
        assert run.best.fitness == max(run.table["fitness"])
    said = [note for note in listener.notes if "nothing evolves" in note]
    if name == "halving" and budget > 1:
        assert [individual.operator for individual in run.individuals][-1] == "promotion"
        assert said == []
        return
    assert all(not individual.parents for individual in run.individuals)
    assert len(said) == (name != "random")


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "random"])
def test_no_note_says_that_nothing_evolves_where_something_does(name: str) -> None:
    listener = Listener()
    run = search(name, fine, budget=9, population=8, observer=listener)
    evolves = any(individual.parents for individual in run.individuals)
    assert evolves == (not listener.notes)
    listener = Listener()
    run = search(name, fine, budget=8, population=8, observer=listener)
    assert any(individual.parents for individual in run.individuals) == (not listener.notes)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: "good", "expected a number"),
        (lambda: None, "expected a number"),
        (lambda: math.nan, "expected a finite"),
        (lambda: -math.inf, "expected a finite"),
        (raising, "RuntimeError: the disk is full"),
    ],
    ids=["text", "nothing", "nan", "infinity", "error"],
)
def test_an_objective_that_fails_now_and_then_costs_its_rows_alone(
    name: str, answer: Callable[[], Any], reason: str
) -> None:
    calls: list[int] = []

    def objective(config: dict[str, Any]) -> Any:
        calls.append(1)
        return answer() if len(calls) % 3 == 0 else fine(config)

    run = search(name, objective)
    table = run.table
    failed = [number for number in range(12) if number % 3 == 2]
    assert list(table["individual"][table["status"] == "failed"]) == failed
    assert all(reason in error for error in table["error"][failed])
    assert run.best.id not in failed
    assert not {parent for individual in run.individuals for parent in individual.parents} & set(failed) or name in (
        "ga",
        "cma",
        "report2019",
        "report2019-fixed",
        "ageing",
    )


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("answer", [lambda: "good", lambda: math.nan, raising], ids=["text", "nan", "error"])
def test_an_objective_that_always_fails_ends_the_search_with_its_reasons(name: str, answer: Callable[[], Any]) -> None:
    with pytest.raises(SearchError, match=r"the first three evaluations all failed, so the search was stopped"):
        search(name, lambda config: answer())


@pytest.mark.parametrize("name", ON_FEW_POINTS)
@pytest.mark.parametrize("points", [1, 3, 7])
def test_a_space_of_fewer_points_than_the_budget_is_searched_once_and_ends(name: str, points: int) -> None:
    run = search(name, fine, few_points(name, points), budget=40)
    begun = {individual.genome["x"] for individual in run.individuals}
    assert begun == set(range(1, points + 1))
    assert len({genome_key(individual.genome) for individual in run.individuals}) == len(run.table) < 40
    assert run.best.fitness == max(entry.fitness for entry in run.ranked())


@pytest.mark.parametrize("name", ON_FEW_POINTS)
def test_a_space_of_one_point_has_its_finalist_all_the_same(name: str) -> None:
    run = search(name, lambda config, seed: float(seed % 7), few_points(name, 1), budget=40, finalists=3)
    # Of `halving` the one that was trained in full.
    assert len(run.individuals) == (3 if name == "halving" else 1)
    assert run.winner == len(run.individuals) - 1
    assert [evaluation.replicate for evaluation in run.finalist_evaluations] == [101, 102, 103]
    assert len({evaluation.seed for evaluation in run.finalist_evaluations}) == 3


@pytest.mark.parametrize("name", ["surrogate", "halving"])
def test_a_space_of_as_many_points_as_the_budget_is_no_problem_of_a_race(name: str) -> None:
    run = search(name, lambda config, seed: float(seed % 7), few_points(name, 30), budget=30)
    assert len(run.table) == 30
    assert len(set(zip(run.table["individual"], run.table["replicate"], strict=True))) == 30


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "halving"])
def test_of_equal_results_the_first_is_the_best(name: str) -> None:
    assert search(name, lambda config: 0.5).best.id == 0
