"""Goals of a search: the direction of its fitness, several objectives and their front."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import evo
from evo.cli.terminal import output_console
from evo.errors import ConfigurationError
from evo.loop.search_loop import SilentObserver
from evo.record.front import not_dominated
from evo.reports.comparison import compare_runs
from evo.reports.lineage import changes_table, lineage_of, operators_table
from evo.reports.search_data import SearchData
from evo.tracking.scalars import Scalars

SPACE = evo.SearchSpace(
    {
        "x": evo.Float(0.0, 2.0),
        "y": evo.Float(0.0, 2.0),
        "steps": evo.Integer(9, 90),
        "kind": evo.Categorical(["a", "b"]),
    }
)
NUMBERS = evo.SearchSpace({"x": evo.Float(0.0, 2.0), "y": evo.Float(0.0, 2.0)})
STRATEGIES = [name for name in evo.strategy_names() if name != "report2019"]


def gain(config: dict[str, Any]) -> float:
    """Return what is better higher; one in nine configurations fails."""
    if config["x"] * 9 % 1 > 0.9:
        raise RuntimeError("too much")
    return float(config["x"] * config["y"] - (config.get("kind") == "a"))


def cost(config: dict[str, Any]) -> float:
    return -gain(config)


def cost_on(config: dict[str, Any], seed: int) -> float:
    return -gain(config) + (seed % 7) / 50


def gain_on(config: dict[str, Any], seed: int) -> float:
    return -cost_on(config, seed)


def losses(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": (config["x"] - 1) ** 2 + config["y"], "size": 2.0 - config["x"], "other": config["y"]}


def searched(strategy: str, objective: Any, **settings: Any) -> evo.Run:
    space = NUMBERS if strategy == "cma" else SPACE
    if strategy == "pareto" and "objectives" not in settings:
        settings["objectives"] = {"fitness": settings.pop("direction", "maximise"), "seconds": "maximise"}
    return evo.search(space, objective, strategy=strategy, budget=24, seed=5, **settings)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "pareto"])
def test_a_cost_that_is_minimised_gives_the_mirrored_run(strategy: str) -> None:
    """Everything that is not a fitness is the same, to the last bit."""
    up, down = searched(strategy, gain_on), searched(strategy, cost_on, direction="minimise")
    assert [one.genome for one in up.proposals] == [one.genome for one in down.proposals]
    assert [one.strategy_parameters for one in up.proposals] == [one.strategy_parameters for one in down.proposals]
    ours = ["individual", "replicate", "operator", "parents", "status", "x", "y"]
    pd.testing.assert_frame_equal(up.table[ours], down.table[ours])
    for name in ("table", "hall_of_fame", "finalist_table", "populations"):
        first, second = (getattr(run, name)["fitness"].astype(float).to_numpy() for run in (up, down))
        np.testing.assert_array_equal(first, -second, err_msg=name)
    assert list(up.hall_of_fame["individual"]) == list(down.hall_of_fame["individual"])
    assert (up.best.id, up.winner, up.finalists) == (down.best.id, down.winner, down.finalists)
    np.testing.assert_array_equal(up.generation_table["best"], -down.generation_table["best"])
    np.testing.assert_array_equal(up.generation_table["min"], -down.generation_table["max"])


def test_the_reports_of_a_minimised_cost_are_mirrored(tmp_path: Path) -> None:
    up, down = (SearchData(name, run) for name, run in mirrored(tmp_path).items())
    np.testing.assert_array_equal(up.best_so_far, -down.best_so_far)
    np.testing.assert_array_equal(up.new_bests, down.new_bests)
    assert [step.individual for step in lineage_of(up, up.best)] == [
        one.individual for one in lineage_of(down, down.best)
    ]
    np.testing.assert_array_equal(changes_table(up)["change"], -changes_table(down)["change"])
    kept = ["operator", "compared", "better", "rate", "low", "high", "new_bests"]
    pd.testing.assert_frame_equal(operators_table(up)[kept], operators_table(down)[kept])
    bests = [[one.value for one in Scalars(data.run).new() if one.name == "search/best"] for data in (up, down)]
    assert bests[0] == [-value for value in bests[1]]
    assert down.fitness_label == "fitness (lower is better)"
    for figure in down.run.plot().values():
        assert figure is not None


def mirrored(folder: Path) -> dict[str, evo.Run]:
    runs = {"up": (gain, "maximise"), "down": (cost, "minimise")}
    return {
        name: evo.search(SPACE, objective, budget=24, seed=5, direction=direction, output=folder / name)
        for name, (objective, direction) in runs.items()
    }


def test_a_direction_is_part_of_what_a_run_is(tmp_path: Path) -> None:
    runs = list(mirrored(tmp_path).values())
    assert runs[0].settings.digest != runs[1].settings.digest
    compared = compare_runs(runs)
    assert list(compared.table["direction"].unique()) == ["maximise", "minimise"]
    assert {group.problem for group in compared.grouping.groups} == {0, 1}
    assert not compared.grouping.pairs
    assert "Of down, a lower fitness is better." in compared.grouping.notes


def test_groups_of_minimised_runs_are_compared_by_what_is_lower() -> None:
    runs = [
        evo.search(SPACE, cost, strategy=name, budget=30, seed=seed, direction="minimise", finalists=0)
        for name in ("surrogate", "random")
        for seed in range(6)
    ]
    grouping = compare_runs(runs).grouping
    first, second = grouping.groups
    assert (first.name, second.name) == ("surrogate", "random")
    assert first.mean.value < second.mean.value
    assert grouping.pairs[0].better is not None
    assert grouping.pairs[0].better.value > 0.5


def test_a_resumed_search_of_several_objectives_is_the_one_that_was_not_stopped(tmp_path: Path) -> None:
    goals = {"loss": "minimise", "size": "minimise"}
    whole = evo.search(NUMBERS, losses, objectives=goals, budget=30, seed=2, output=tmp_path / "whole")
    evo.search(NUMBERS, losses, objectives=goals, budget=17, seed=2, output=tmp_path / "half")
    resumed = evo.resume(tmp_path / "half", losses, budget=30)
    two = evo.search(NUMBERS, losses, objectives=goals, budget=30, seed=2, workers=2, output=tmp_path / "two")
    columns = ["individual", "x", "y", "fitness", "loss", "size", "other"]
    for run in (resumed, two):
        pd.testing.assert_frame_equal(whole.table[columns], run.table[columns])
        pd.testing.assert_frame_equal(whole.front, run.front)


def test_measures_are_columns_and_the_first_objective_is_the_fitness(tmp_path: Path) -> None:
    run = evo.search(
        NUMBERS, losses, objectives={"loss": "minimise", "size": "minimise"}, budget=20, output=tmp_path / "run"
    )
    assert (run.settings.strategy, run.settings.direction, run.settings.goal) == ("pareto", "minimise", "loss")
    assert list(run.table.columns[-2:]) == ["size", "other"]
    pd.testing.assert_series_equal(run.table["fitness"], run.table["loss"], check_names=False)
    assert {"loss", "size", "other"} <= {*pd.read_csv(tmp_path / "run" / "hall_of_fame.csv").columns}
    table = run.table.set_index("individual")
    assert list(run.front.columns) == ["individual", "x", "y", "loss", "size"]
    front = run.front["individual"]
    assert run.best.id == front[0]
    expected = table.index[not_dominated(-table[["loss", "size"]].to_numpy(dtype=float))]
    assert set(front) == set(expected)
    written = pd.read_csv(tmp_path / "run" / "front.csv")
    pd.testing.assert_frame_equal(written, run.front, check_dtype=False)
    assert run.best.fitness == table["loss"].min()


def test_of_equal_fitness_the_best_is_on_the_front() -> None:
    def tied(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": round(config["x"]), "size": config["y"]}

    run = evo.search(NUMBERS, tied, objectives={"loss": "minimise", "size": "minimise"}, budget=30, seed=1)
    assert run.best.id in set(run.front["individual"])
    lowest = run.table[run.table["fitness"] == run.table["fitness"].min()]
    assert run.best.evaluation.named["size"] == lowest["size"].min()


def test_finalists_of_several_objectives_are_of_the_front() -> None:
    def noisy(config: dict[str, Any], seed: int) -> dict[str, float]:
        return losses(config)

    run = evo.search(NUMBERS, noisy, objectives={"loss": "minimise", "size": "minimise"}, budget=30, finalists=3)
    assert set(run.finalists) <= set(run.front["individual"])
    assert run.best.id in set(run.front["individual"])
    assert run.finalist_table[["loss", "size", "other"]].notna().all(axis=None), "its trainings have all measures"


@pytest.mark.parametrize("strategy", ["surrogate", "ga", "random"])
def test_other_strategies_search_by_the_first_objective(strategy: str) -> None:
    goals = {"loss": "minimise", "size": "minimise"}
    several = evo.search(NUMBERS, losses, strategy=strategy, objectives=goals, budget=20)
    one = evo.search(NUMBERS, lambda config: losses(config)["loss"], strategy=strategy, direction="minimise", budget=20)
    assert [entry.genome for entry in several.proposals] == [entry.genome for entry in one.proposals]
    assert several.best.id == one.best.id
    assert several.best.id in set(several.front["individual"])


def test_one_objective_is_a_direction() -> None:
    run = evo.search(NUMBERS, losses, objectives={"loss": "minimise"}, budget=20)
    assert (run.settings.strategy, run.settings.direction) == ("surrogate", "minimise")
    assert run.best.fitness == run.table["loss"].min()
    assert list(run.front["individual"]) == [run.best.id]


@pytest.mark.parametrize(
    ("returned", "goals", "reason"),
    [
        ({"loss": 1.0}, None, 'returned no fitness; say which measure counts: objectives={"loss": "minimise"}'),
        ({"loss": 1.0}, {"loss": "minimise", "size": "minimise"}, "size was not measured"),
        ({"fitness": 1.0}, {"loss": "minimise"}, "a number or a fitness, and the search has the objectives loss"),
        (1.0, {"loss": "minimise"}, "a number or a fitness, and the search has the objectives loss"),
        ({"loss": float("nan")}, {"loss": "minimise"}, "expected a finite number"),
    ],
)
def test_a_measure_that_is_missing_is_a_failure_with_its_name(
    returned: Any, goals: dict[str, str] | None, reason: str
) -> None:
    def sometimes(config: dict[str, Any]) -> Any:
        known = dict.fromkeys(goals or ["fitness"], 1.0)
        return known if config["x"] < 1 else returned

    run = evo.search(NUMBERS, sometimes, objectives=goals, strategy="random", budget=20)
    failed = run.table[run.table["x"] >= 1]
    assert len(failed)
    assert (failed["status"] == "failed").all()
    assert failed["error"].str.contains(re.escape(reason)).all()
    assert (run.table.loc[run.table["x"] < 1, "status"] == "complete").all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"direction": "down"}, 'direction: unknown direction "down"'),
        ({"direction": "maximise", "objectives": {"loss": "minimise"}}, "direction: is that of the first objective"),
        ({"objectives": {}}, "must name what is measured"),
        ({"objectives": {"size": "minimise", "fitness": "maximise"}}, "fitness must be the first"),
        ({"objectives": {"step": "minimise"}}, '"step" cannot be the name of a measure'),
        ({"objectives": {"loss": "less"}}, 'must be "maximise" or "minimise"'),
        ({"strategy": "pareto"}, "name what your function measures"),
    ],
)
def test_goals_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        evo.search(NUMBERS, losses, budget=4, **settings)


def test_the_accuracy_of_trainings_is_not_minimised() -> None:
    with pytest.raises(ConfigurationError, match="direction: the fitness of a training is its accuracy: maximise, got"):
        evo.search("mlp", direction="minimise", budget=4)


def test_several_objectives_take_pareto_and_say_so() -> None:
    class Listener(SilentObserver):
        def notify(self, message: str) -> None:
            heard.append(message)

    heard: list[str] = []
    goals = {"loss": "minimise", "size": "minimise"}
    evo.search(NUMBERS, losses, objectives=goals, budget=4, observer=Listener())
    assert "note: several objectives, so the strategy is pareto" in heard


def test_a_loop_of_ones_own_minimises() -> None:
    strategy = evo.make_strategy("ga", NUMBERS, direction="minimise", budget=30, population=6)
    values = {}
    while not strategy.done():
        for individual in strategy.ask(3):
            values[individual.id] = individual.config["x"]
            strategy.tell(individual, values[individual.id])
    assert strategy.best is not None
    assert values[strategy.best.id] == min(values.values())


def test_a_result_says_what_was_minimised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from evo.cli.result import print_result

    run = evo.search(
        NUMBERS, losses, objectives={"loss": "minimise", "size": "minimise"}, budget=12, output=tmp_path / "r"
    )
    print_result(run, output_console())
    shown = capsys.readouterr().out
    assert "lowest loss in the search" in shown
    assert "front.csv" in shown
    assert re.search(r"Pareto front +\d+ genomes?, of loss against size", shown)
