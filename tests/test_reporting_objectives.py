"""Objectives that report: their searches pause, continue, prune and resume, and tables show what they said."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import evo
from evo.errors import ConfigurationError
from evo.evaluators.base import Report
from evo.loop.search_loop import SilentObserver
from evo.record.run import Run

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0), "y": evo.Float(0.0, 1.0)}, name="square")
STEPS = 18
MACHINE = ["seconds", "worker", "started", "seconds_before"]


def value_at(config: dict[str, Any], step: int) -> float:
    return float((1 - (config["x"] - 0.3) ** 2 - (config["y"] - 0.6) ** 2) * (1 - 0.8**step))


def train(config: dict[str, Any], seed: int, trial: evo.Trial, pause: float = 0.0) -> float:
    """Continue from the folder, as user code does: save first, then report."""
    state, step, value = trial.folder / "state.json", 0, 0.0
    if state.exists():
        step, value = json.loads(state.read_text())
        trial.report(step, value, loss=1 - value)
    while step < trial.max_steps:
        step += 1
        value = value_at(config, step)
        time.sleep(pause)
        state.write_text(json.dumps([step, value]))
        trial.report(step, value, loss=1 - value)
    return value


def search(**options: Any) -> Run:
    return evo.search(SPACE, train, **{"max_steps": STEPS, "budget": 14, "seed": 2, "finalists": 1} | options)


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    kept = [name for name in one if name not in MACHINE]
    return bool(one[kept].equals(other[kept]))


WAYS: list[dict[str, Any]] = [{}, {"pruner": "median"}, {"strategy": "halving"}, {"strategy": "ga", "pruner": "median"}]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_table_does_not_depend_on_the_number_of_workers(way: dict[str, Any]) -> None:
    one, two = search(**way), search(**way, workers=2)
    assert same(one.table, two.table)
    assert same(one.curves, two.curves)
    assert one.winner == two.winner is not None


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_search_that_stops_in_the_middle_of_trainings_resumes_to_the_same_table(
    way: dict[str, Any], tmp_path: Path
) -> None:
    whole = search(**way)
    calls = 0

    def stopping(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        nonlocal calls
        calls += 1
        if calls % 3:
            return train(config, seed, trial)
        for step in range(trial.start + 1, trial.start + 2):  # one more step, then the end of the process
            value = value_at(config, step)
            (trial.folder / "state.json").write_text(json.dumps([step, value]))
            trial.report(step, value, loss=1 - value)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evo.search(
            SPACE,
            stopping,
            **{"max_steps": STEPS, "budget": 14, "seed": 2, "finalists": 1} | way,
            output=tmp_path / "run",
        )
    for _ in range(100):
        try:
            run = evo.resume(tmp_path / "run", stopping)
            break
        except KeyboardInterrupt:
            continue
    assert same(run.table, whole.table)
    assert same(run.curves, whole.curves)
    assert not (tmp_path / "run" / "trials").exists()


def test_a_training_whose_files_are_lost_starts_again_and_ends_with_the_same_table(tmp_path: Path) -> None:
    whole, calls = search(), 0

    def losing(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            trial.report(1, value_at(config, 1), loss=1 - value_at(config, 1))
            raise KeyboardInterrupt
        assert trial.start == 0
        return train(config, seed, trial)

    with pytest.raises(KeyboardInterrupt):
        evo.search(SPACE, losing, max_steps=STEPS, budget=14, seed=2, finalists=1, output=tmp_path / "run")
    assert same(evo.resume(tmp_path / "run", losing).curves, whole.curves)


def test_reports_are_on_disk_within_a_second(tmp_path: Path) -> None:
    seen: list[int] = []

    def look() -> None:
        run = Run.load(tmp_path / "run")
        seen.append(len(run.curves))

    def slow(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        trial.report(1, 0.5)
        trial.report(2, 0.6)
        time.sleep(0.9)
        if not seen:
            look()
        return 0.6

    evo.search(SPACE, slow, max_steps=5, budget=1, finalists=0, output=tmp_path / "run")
    assert seen == [2]


def test_an_observer_is_told_of_reports_when_they_are_recorded() -> None:
    told: list[tuple[int, int]] = []

    class Watching(SilentObserver):
        def reported(self, run: Run, report: Report) -> None:
            told.append((report.individual, report.points[-1].step))
            assert run.reported[report.individual, report.replicate][-1] == report.points[-1]

    search(observer=Watching(), budget=2, finalists=0)
    assert {individual for individual, _ in told} == {0, 1}
    assert max(step for _, step in told) == STEPS


def test_a_pruned_training_costs_less_and_is_never_best() -> None:
    run = search(budget=40, pruner="median")
    pruned = run.table[run.table.status == "partial"]
    assert len(pruned) > 0
    assert set(pruned.steps_trained) <= {STEPS // 16, STEPS // 8, STEPS // 4, STEPS // 2}
    assert run.best.evaluation.complete
    assert run.trainings == 40


def test_halving_continues_where_the_folder_holds_a_checkpoint() -> None:
    starts: list[int] = []

    def noting(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        starts.append(trial.start)
        return train(config, seed, trial)

    run = evo.search(SPACE, noting, max_steps=18, strategy="halving", budget=20, seed=1, finalists=0)
    assert set(starts) == {0, 2, 6}
    assert set(run.table.steps_trained) == {2, 6, 18}


def test_an_objective_may_return_nothing_after_its_last_report() -> None:
    run = evo.search(SPACE, lambda config, seed, trial: trial.report(3, 0.25), max_steps=5, budget=1, finalists=0)
    assert (run.table.fitness[0], run.table.steps_trained[0], run.table.status[0]) == (0.25, 3, "complete")


def test_a_report_from_another_thread_counts() -> None:
    def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        thread = threading.Thread(target=trial.report, args=(1, 0.5))
        thread.start()
        thread.join()
        return 0.5

    run = evo.search(SPACE, objective, max_steps=5, budget=1, finalists=0)
    assert run.table.steps_trained[0] == 1


def test_a_wrong_report_is_a_failed_row_with_its_reason() -> None:
    def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        trial.report(3, 0.5)
        trial.report(2, 0.5)
        return 0.5

    with pytest.raises(evo.SearchError, match="step 2 follows step 3; steps must grow"):
        evo.search(SPACE, objective, max_steps=5, budget=4, finalists=0)


def test_a_trial_used_after_its_objective_has_returned_is_refused() -> None:
    kept: list[evo.Trial] = []

    def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        kept.append(trial)
        return 0.5

    evo.search(SPACE, objective, max_steps=5, budget=1, finalists=0)
    with pytest.raises(ValueError, match="its trial is over"):
        kept[0].report(1, 0.5)


@pytest.mark.parametrize(
    ("objective", "options", "reason"),
    [
        (train, {}, "max_steps: missing"),
        (lambda config: 1.0, {"max_steps": 5}, "max_steps: the objective takes no trial"),
        (train, {"max_steps": 0}, "max_steps: must be a whole number of at least 1, got 0"),
        (train, {"max_steps": 5, "pruner": "mediam"}, 'Did you mean "median"?'),
        (train, {"max_steps": 1, "pruner": "median"}, "--pruner: needs at least 2 steps, got 1"),
        (train, {"max_steps": 2, "strategy": "halving"}, "are not three different numbers"),
        (train, {"max_steps": 9, "strategy": "halving", "pruner": "median"}, "decides itself how far to train"),
        (lambda config: 1.0, {"pruner": "median"}, "let the objective take a trial"),
    ],
)
def test_what_does_not_fit_an_objective_is_refused(objective: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        evo.search(SPACE, objective, budget=2, **options)
    assert reason in str(refused.value)


def test_a_run_continues_only_with_an_objective_of_its_kind(tmp_path: Path) -> None:
    search(output=tmp_path / "run", budget=2)
    with pytest.raises(ConfigurationError, match="its objective takes a trial, and the one given now takes none"):
        evo.resume(tmp_path / "run", lambda config: 0.5, budget=3)


def test_a_time_budget_pauses_the_training_that_runs(tmp_path: Path) -> None:
    def slow(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        return train(config, seed, trial, pause=0.2)

    began = time.monotonic()
    with pytest.raises(evo.Stop) as stopped:
        evo.search(SPACE, slow, max_steps=1000, budget=4, time_budget=0.5, finish=False, output=tmp_path / "run")
    assert time.monotonic() - began < 5
    assert stopped.value.exit_code == 75
    assert len(Run.load(tmp_path / "run").curves) > 0
    assert list((tmp_path / "run" / "trials").iterdir())


def test_the_files_of_the_winner_are_exported(tmp_path: Path) -> None:
    run = search(output=tmp_path / "run", budget=3)
    evo.export(tmp_path / "run", train, weights=tmp_path / "winner")
    step, value = json.loads((tmp_path / "winner" / "state.json").read_text())
    assert (step, value) == (STEPS, run.best.fitness)
    with pytest.raises(ConfigurationError, match=r"--weights .*winner: exists; choose another folder"):
        evo.export(tmp_path / "run", train, weights=tmp_path / "winner")
    with pytest.raises(ConfigurationError, match=r"evo\.export\(folder, objective, weights=FOLDER\)"):
        evo.export(tmp_path / "run", weights=tmp_path / "other")


def test_an_objective_without_a_trial_leaves_no_files(tmp_path: Path) -> None:
    def objective(config: dict[str, Any]) -> float:
        return float(config["x"])

    evo.search(SPACE, objective, budget=2, output=tmp_path / "run")
    with pytest.raises(ConfigurationError, match="takes no trial, so its trainings have no folder"):
        evo.export(tmp_path / "run", objective, weights=tmp_path / "winner")


def test_a_result_has_the_measures_of_its_last_report_and_what_is_returned() -> None:
    def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> dict[str, float]:
        trial.report(1, 0.25, cost=3.0, loss=2.0, size=4.0)
        return {"fitness": 0.5, "size": 5.0}

    [row] = evo.search(SPACE, objective, max_steps=5, budget=1, finalists=0).table.to_dict("records")
    assert (row["fitness"], row["loss"], row["size"], row["cost"]) == (0.5, 2.0, 5.0, 3.0)


def early(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
    """End by itself long before the last step."""
    trial.report(1, value_at(config, 1))
    trial.report(2, value_at(config, 2))
    return value_at(config, 2)


def test_halving_continues_no_training_that_has_ended_by_itself(tmp_path: Path) -> None:
    run = evo.search(SPACE, early, max_steps=27, strategy="halving", budget=12, finalists=0, output=tmp_path / "run")
    assert set(run.table["status"]) == {"complete"}
    assert same(evo.load(tmp_path / "run").table, run.table)


@pytest.mark.parametrize("way", [{}, {"pruner": "median"}, {"strategy": "halving"}], ids=str)
def test_what_is_reported_is_the_value_of_the_first_goal(way: dict[str, Any]) -> None:
    def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> dict[str, float]:
        for step in range(1, STEPS + 1):
            trial.report(step, -value_at(config, step))
        return {"error": -value_at(config, STEPS)}

    goals = {"error_rate": "minimise"}

    def named(config: dict[str, Any], seed: int, trial: evo.Trial) -> dict[str, float]:
        return {"error_rate": objective(config, seed, trial)["error"]}

    run = evo.search(SPACE, named, max_steps=STEPS, budget=14, finalists=0, objectives=goals, **way)
    assert set(run.table["status"]) <= {"complete", "partial"}
    assert (run.table["fitness"] == run.table["error_rate"]).all()


@pytest.mark.parametrize("strategy", ["surrogate", "ga", "random"])
def test_what_failed_under_a_pruner_is_tried_again_in_full(strategy: str, tmp_path: Path) -> None:
    def failing(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        if seed % 3 == 0:
            trial.report(1, value_at(config, 1))
            raise ValueError(f"no luck at {config}")
        return train(config, seed, trial)

    options: dict[str, Any] = {"strategy": strategy, "pruner": "median", "budget": 24, "finalists": 0}
    evo.search(SPACE, failing, max_steps=2 * STEPS, seed=2, output=tmp_path / "run", **options)
    failed = evo.load(tmp_path / "run").table.query("status == 'failed'")
    assert len(failed) > 2
    assert (failed["steps_trained"] == 1).all(), "what was reported before the failure is kept"
    run = evo.resume(tmp_path / "run", train, retry="failed")
    assert set(run.table.loc[failed.index, "status"]) == {"complete"}
    calls: list[int] = []

    def counting(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        calls.append(seed)
        return train(config, seed, trial)

    evo.resume(tmp_path / "run", counting)
    assert calls == [], "the run is done"


def test_the_folder_of_a_finalist_outlives_a_stop(tmp_path: Path) -> None:
    starts: list[int] = []

    def stopping(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        if trial.folder.parent.name.endswith("-101"):
            starts.append(trial.start)
            if len(starts) == 1:
                trial.report(1, value_at(config, 1), loss=1 - value_at(config, 1))
                (trial.folder / "state.json").write_text(json.dumps([1, value_at(config, 1)]))
                raise KeyboardInterrupt
        return train(config, seed, trial)

    with pytest.raises(KeyboardInterrupt):
        evo.search(SPACE, stopping, max_steps=STEPS, budget=6, finalists=1, output=tmp_path / "run")
    evo.resume(tmp_path / "run", stopping)
    assert starts == [0, 1]
