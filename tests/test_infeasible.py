"""Configurations that are not allowed: how they rank, how they are counted, and what a search learns from them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import evo
from evo.display.progress import Progress
from evo.evaluation import Evaluation
from evo.individual import Individual
from evo.reports.comparison import compare_runs
from evo.reports.search_data import SearchData
from evo.strategies.members import Member
from evo.strategies.pareto import ParetoFitness

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 2.0), "y": evo.Float(0.0, 2.0)})


def below_the_line(config: dict[str, Any]) -> float:
    """Return x + y; more than 3 is not allowed."""
    total = float(config["x"] + config["y"])
    if total > 3:
        raise evo.Infeasible("more than 3", violation=total - 3)
    return total


def in_the_disc(config: dict[str, Any]) -> float:
    """Return x + y; only a disc of a fifth of the square is allowed."""
    distance = ((config["x"] - 1.3) ** 2 + (config["y"] - 1.2) ** 2) ** 0.5
    if distance > 0.5:
        raise evo.Infeasible("outside", violation=distance - 0.5)
    return float(config["x"] + config["y"])


def without_violation(config: dict[str, Any]) -> float:
    try:
        return in_the_disc(config)
    except evo.Infeasible:
        raise evo.Infeasible("outside") from None


def member(status: Any, fitness: float | None = None, violation: float | None = None) -> Member:
    return Member(0, Individual(0, {}), Evaluation(0, 0, 0, status, fitness=fitness, violation=violation))


def test_what_is_allowed_comes_before_what_is_not_then_the_smaller_violation() -> None:
    order = [
        member("complete", 2.0),
        member("complete", -1e300),
        member("infeasible", violation=0.5),
        member("infeasible", violation=7.0),
        member("infeasible"),
        member("failed"),
    ]
    for better, worse in itertools.pairwise(order):
        assert better.fitness > worse.fitness


def test_an_allowed_point_dominates_every_other_and_a_smaller_violation_a_larger_one() -> None:
    kind: type[ParetoFitness] = type("Two", (ParetoFitness,), {"weights": (1.0, -1.0)})
    allowed, near, far = kind((-9.0, 9.0)), kind.of_violation(0.1), kind.of_violation(3.0)
    for better, worse in ((allowed, near), (near, far), (allowed, far)):
        assert better.dominates(worse)
        assert not worse.dominates(better)
        assert better != worse


@pytest.mark.parametrize("strategy", [name for name in evo.strategy_names() if name not in ("report2019", "halving")])
def test_what_is_not_allowed_is_never_among_the_best(strategy: str) -> None:
    goals = {"fitness": "maximise", "seconds": "minimise"} if strategy == "pareto" else None
    run = evo.search(SPACE, below_the_line, strategy=strategy, objectives=goals, budget=30, seed=3)
    infeasible = set(run.table.loc[run.table["status"] == "infeasible", "individual"])
    assert infeasible
    assert run.best.fitness <= 3
    assert not infeasible & {*run.hall_of_fame["individual"], *run.finalists, *run.front["individual"]}


def test_an_evaluation_that_is_not_allowed_says_why_and_by_how_much(tmp_path: Path) -> None:
    run = evo.search(SPACE, below_the_line, strategy="random", budget=30, seed=3, output=tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "evaluations.csv")
    rows = table[table["status"] == "infeasible"]
    assert (rows["error"] == "more than 3").all()
    pd.testing.assert_series_equal(rows["violation"], rows["x"] + rows["y"] - 3, check_names=False)
    assert table.loc[table["status"] == "complete", "violation"].isna().all()
    assert "violation" not in evo.search(SPACE, lambda config: 0.0, strategy="random", budget=3).table
    pd.testing.assert_frame_equal(evo.load(tmp_path / "run").table, run.table)


def test_it_is_counted_apart_from_failures(tmp_path: Path) -> None:
    def objective(config: dict[str, Any]) -> float:
        if config["x"] < 0.3:
            raise RuntimeError(f"{config['x']} is too small")
        return below_the_line(config)

    run = evo.search(SPACE, objective, strategy="random", budget=40, seed=3, output=tmp_path / "run")
    failed, infeasible = ((run.table["status"] == status).sum() for status in ("failed", "infeasible"))
    assert failed
    assert infeasible
    [row] = compare_runs([run], top=1).table.to_dict("records")
    assert (row["failed"], row["infeasible"]) == (failed, infeasible)
    data = SearchData("run", run)
    assert (len(data.failed), len(data.infeasible)) == (failed, infeasible)
    progress = Progress(run, 40)
    assert (progress.failures.total(), progress.infeasible) == (failed, infeasible)
    assert f"{failed} failed, {infeasible} infeasible" in run._repr_html_()


@pytest.mark.parametrize("objective", [below_the_line, in_the_disc, without_violation])
def test_a_resumed_search_learns_the_same(tmp_path: Path, objective: Any) -> None:
    whole = evo.search(SPACE, objective, budget=30, seed=4, output=tmp_path / "whole")
    evo.search(SPACE, objective, budget=17, seed=4, output=tmp_path / "half")
    resumed = evo.resume(tmp_path / "half", objective, budget=30)
    two = evo.search(SPACE, objective, budget=30, seed=4, workers=2, output=tmp_path / "two")
    assert [one.genome for one in whole.proposals] == [one.genome for one in resumed.proposals]
    assert [one.genome for one in whole.proposals] == [one.genome for one in two.proposals]


BEFORE = [
    *[(1.6895963191690482, 0.2934728246014432, "c"), (1.404002363412678, 0.7374107439574794, "a")],
    *[(1.1201791721054073, 1.6344969145886157, "c"), (0.5189989224306305, 1.9028382504153667, "a")],
    *[(0.8867636688579935, 0.6457324733686792, "b"), (0.31239990850675403, 1.1492412671956782, "b")],
    *[(0.9938835165722145, 1.995183264721493, "c"), (1.9296867600484142, 1.9979881097824403, "c")],
    *[(0.11634243485450413, 1.6458470759871595, "c"), (1.0819092669330888, 1.7728037850432354, "c")],
    *[(0.5954079973638667, 1.9986899763505832, "c"), (1.9927165995541993, 1.9992486959462517, "b")],
]
"""The first proposals of version 0.1, which left failures out."""


def test_a_search_without_failures_proposes_what_it_did_before_it_learned_from_them() -> None:
    space = evo.SearchSpace({**SPACE.genes, "kind": evo.Categorical(["a", "b", "c"])})

    def proposed(**settings: Any) -> list[tuple[Any, ...]]:
        strategy = evo.make_strategy("surrogate", space, budget=24, seed=6, **settings)
        while not strategy.done():
            for individual in strategy.ask():
                config: dict[str, Any] = individual.config
                strategy.tell(individual, config["x"] * config["y"] - (config["kind"] == "a"))
        return [tuple(one.genome.values()) for one in strategy.proposals]

    found = proposed()
    assert found == proposed(learns_failures=False)
    for (x, y, kind), (*numbers, choice) in zip(BEFORE, found, strict=False):
        assert numbers == pytest.approx([x, y], rel=1e-9)
        assert choice == kind


def test_failures_are_learned_from_as_well() -> None:
    """An exception of the user's own marks the same region: few of the later proposals go there."""

    def objective(config: dict[str, Any]) -> float:
        if config["x"] + config["y"] > 3:
            raise ValueError(f"{config} is too large")
        return float(config["x"] + config["y"])

    run = evo.search(SPACE, objective, budget=40, seed=0)
    assert (run.table["status"] == "failed").sum() < 16
    assert run.best.fitness > 2.85


def build(config: Any, input_shape: Any, classes: int) -> Any:
    """Return a network, if it is small enough."""
    import torch

    if config["width"] > 100:
        raise evo.Infeasible("too wide", violation=config["width"] - 100)
    pixels = int(torch.tensor(input_shape).prod())
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(pixels, config["width"]),
        torch.nn.ReLU(),
        torch.nn.Linear(config["width"], classes),
    )


@pytest.mark.usefixtures("in_process")
def test_a_models_function_says_what_is_not_allowed(tmp_path: Path) -> None:
    space = evo.SearchSpace(
        {"width": evo.Categorical([10, 500]), "batch_size": evo.Integer(32, 64)},
        training={"steps": 5, "learning_rate": 0.001},
        dataset="digits",
    )
    reference = "tests.test_infeasible:build"
    run = evo.search(space, model=reference, strategy="random", budget=8, finalists=0, output=tmp_path / "run")
    by_width = run.table.set_index("width")
    assert set(by_width.index) == {10, 500}
    assert set(by_width.loc[[500], "status"]) == {"infeasible"}
    assert set(by_width.loc[[500], "error"]) == {"too wide"}
    assert set(by_width.loc[[500], "violation"]) == {400.0}
    assert set(by_width.loc[[10], "status"]) == {"complete"}


def test_a_search_in_which_nothing_is_allowed_says_so() -> None:
    def objective(config: dict[str, Any]) -> float:
        raise evo.Infeasible("never")

    run = evo.search(SPACE, objective, budget=4, finalists=0)
    with pytest.raises(evo.EvoError, match="all 4 evaluations of this run are infeasible"):
        _ = run.best
