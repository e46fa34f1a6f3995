"""The throughput benchmark: its arithmetic on tables with known answers, and that it runs from end to end."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import evo
from benchmarks.throughput import __main__ as throughput
from benchmarks.throughput import ladder, usual_loop
from benchmarks.throughput.analysis import (
    evaluations_of_search,
    interleaved,
    interval_of,
    overhead_table,
    problem_of_work,
    ratios_table,
)
from benchmarks.throughput.machine import step_operations
from benchmarks.throughput.populations import GA1, MEMBERS, make_population
from benchmarks.throughput.report import Results
from benchmarks.throughput.rungs import Measured
from evo.data import PreparedDataset
from evo.errors import ConfigurationError
from evo.evaluators import Evaluator, InProcessEvaluator, Setup
from tests.command import ROOT

# Two workers; generation 0 is the trainings of 4, 6 and 1 s, generation 1 those of 3 and 2 s.
SEARCH = pd.DataFrame(
    [
        ("worker-0", 100.0, 4.0, 0),
        ("worker-1", 101.0, 6.0, 0),
        ("worker-0", 104.5, 1.0, 0),
        ("worker-0", 107.25, 3.0, 1),
        ("worker-1", 107.5, 2.0, 1),
    ],
    columns=["worker", "started", "seconds", "generation"],
)
PARTS = {
    "training": 4 + 6 + 1 + 3 + 2,
    "idle: waiting for the last training of a generation": 107 - 105.5,
    "between that and the worker's first training of the next generation": 0.25 + 0.5,
    "other gaps between two trainings of one worker": 0.5,
    "before a worker's first training": 1.0,
    "idle: after a worker's last training": 110.25 - 109.5,
}


def test_rungs_are_interleaved_forwards_and_backwards() -> None:
    assert interleaved("ABCD", 3) == [list("ABCD"), list("DCBA"), list("ABCD")]


def test_the_interval_of_ratios_is_students_over_their_logarithms() -> None:
    found = interval_of([1.0, 4.0])
    half = 12.7062047 * (math.log(4) / math.sqrt(2)) / math.sqrt(2)  # the quantile of one degree of freedom
    assert found["ratio"] == pytest.approx(2.0)
    assert found["low"] == pytest.approx(2.0 * math.exp(-half), rel=1e-6)
    assert found["high"] == pytest.approx(2.0 * math.exp(half), rel=1e-6)
    assert (found["median"], found["min"], found["max"]) == (2.5, 1.0, 4.0)


def test_a_single_ratio_has_no_interval() -> None:
    found = interval_of([3.0])
    assert found["ratio"] == pytest.approx(3.0)
    assert math.isnan(found["low"])
    assert math.isnan(found["high"])


def test_ratios_pair_the_repeats_and_leave_void_times_out() -> None:
    rows = [("small", "usual", 1, 8.0, ""), ("small", "usual", 2, 6.0, ""), ("small", "usual", 3, 9.0, "")]
    rows += [
        ("small", "evo-eager", 1, 4.0, ""),
        ("small", "evo-eager", 2, 3.0, ""),
        ("small", "evo-eager", 3, 1.0, "?"),
    ]
    table = ratios_table(
        pd.DataFrame(rows, columns=["population", "rung", "repeat", "wall_seconds", "void"]), ("usual",)
    )
    [row] = table.to_dict("records")
    assert (row["base"], row["rung"], row["repeats"]) == ("usual", "evo-eager", 2)
    assert (row["ratio"], row["low"], row["high"]) == pytest.approx((2.0, 2.0, 2.0))


def test_the_parts_of_a_searchs_time_are_known_and_add_up() -> None:
    table = overhead_table(SEARCH.sample(frac=1, random_state=1))
    seconds = dict(zip(table["part"], table["worker_seconds"], strict=True))
    whole = seconds.popitem()[1]
    assert seconds == pytest.approx(PARTS)
    assert whole == pytest.approx(2 * 10.25)
    assert sum(seconds.values()) == pytest.approx(whole)
    assert table["share"].iloc[:-1].sum() == pytest.approx(1.0)


def test_the_finalists_are_no_part_of_the_search() -> None:
    finalist = pd.DataFrame([("worker-0", 200.0, 9.0, 0, "finalist")], columns=[*SEARCH.columns, "phase"])
    both = pd.concat([SEARCH.assign(phase="search"), finalist])
    pd.testing.assert_frame_equal(overhead_table(both), overhead_table(SEARCH))


def test_the_times_of_a_search_come_from_its_run_folder(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    run = evo.search(space, objective=lambda config, seed: 0.5, budget=4, population=2, output=tmp_path / "run")
    table = evaluations_of_search(tmp_path / "run")
    assert len(table) == len(run.search_evaluations) == 4
    assert table["generation"].tolist() == run.table["generation"].tolist()
    assert overhead_table(table)["share"].iloc[-1] == 1.0


@pytest.mark.parametrize(
    ("done", "problem"),
    [
        ({0: (5, 50, 2.0), 1: (5, 100, 2.2)}, ""),
        ({0: (5, 50, 2.0)}, "trained the members"),
        ({0: (5, 50, 2.0), 1: (4, 100, 2.2)}, "member 1: 4 steps"),
        ({0: (5, 50, 2.0), 1: (5, 90, 2.2)}, "member 1: 5 steps of 90 images"),
        ({0: (5, 50, 2.0), 1: (5, 100, math.nan)}, "not finite"),
        ({0: (5, 50, 2.0), 1: (5, 100, 4.0)}, "mean loss 3"),
    ],
)
def test_other_work_voids_a_time(done: dict[int, tuple[int, int, float]], problem: str) -> None:
    found = problem_of_work(dict(done), {0: (5, 50), 1: (5, 100)}, 2.0)
    assert found.startswith(problem) if problem.startswith(("trained", "member", "mean")) else problem in found
    assert bool(found) == bool(problem)


def test_operations_of_linear_layers_are_those_of_the_formula() -> None:
    widths = [3 * 32 * 32, 1000, 500, 250, 100, 10]
    products = [left * right for left, right in itertools.pairwise(widths)]
    assert step_operations("mlp", dict(GA1), (3, 32, 32), 10, 1609) == 2 * 1609 * (3 * sum(products) - products[0])


def test_operations_of_convolutions_count_every_pixel() -> None:
    config = {"channels": (8,), "single_blocks": 1, "batch_norm": False}
    convolution, linear = 32 * 32 * 9 * 3 * 8, 8 * 10
    assert step_operations("cnn", config, (3, 32, 32), 10, 4) == 2 * 4 * (2 * convolution + 3 * linear)


@pytest.mark.parametrize("name", MEMBERS)
def test_populations_are_fixed_and_a_smaller_one_is_the_beginning(name: str) -> None:
    whole, beginning = make_population(name), make_population(name, 2)
    assert len(whole.members) == MEMBERS[name]
    assert whole.members[:2] == beginning.members
    assert whole.tasks(5)[:2] == beginning.tasks(5)
    assert len({task.seed for task in whole.tasks(5)}) == len(whole.members)
    assert all("steps" not in member for member in whole.members)


def test_times_beside_other_work_are_marked() -> None:
    quiet = {"population": "small", "rung": "usual", "other_cores": 0.02}
    assert Results({}, timings=[quiet, quiet | {"other_cores": None}]).disturbed == ""
    assert "1 of 2 times" in Results({}, timings=[quiet, quiet | {"other_cores": 0.9}]).disturbed


COMMANDS = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for file in sorted((ROOT / "benchmarks").rglob("*.py"))
    if 'if __name__ == "__main__"' in file.read_text() and "peers" not in file.parts
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_how_to_use_it(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    for name in (command, f"{command}.__main__"):
        monkeypatch.delitem(sys.modules, name, raising=False)  # as in a new process
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(command, run_name="__main__", alter_sys=True)
    assert not ended.value.code
    assert f"python -m {command} [" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(setup: Setup, workers: int) -> Evaluator:
        return InProcessEvaluator(setup)

    monkeypatch.setattr(ladder, "ProcessPoolEvaluator", make)


@pytest.mark.usefixtures("without_processes")
def test_the_whole_program_runs_on_the_digits(
    digits: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "evaluations_of_search", lambda folder: SEARCH)
    words = ["--dataset", "digits", "--populations", "small,cnn,pooled", "--members", "2", "--steps", "2", "--quick"]
    words += ["--workers", "1", "--device", "cpu", "--precision", "bf16", "--output", str(tmp_path / "out")]
    assert throughput.main([*words, "--search-run", "a-run"]) == 0, capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("throughput.csv", "ratios.csv", "peaks.csv", "growth.csv", "workers.csv", "overhead.csv"),
        *("hardware.json", "summary.md", "ladder.png", "growth.png"),
    }
    timings = pd.read_csv(tmp_path / "out" / "throughput.csv")
    expected = {"usual", "resident", "resident-bf16", "evo-eager", "evo-eager-bf16"}
    assert expected <= set(timings["rung"])
    assert ("optuna" in set(timings["rung"])) == (importlib.util.find_spec("optuna") is not None)
    assert (timings["member_steps"] == 4).all()
    assert timings.groupby("population")["images"].nunique().eq(1).all()
    hardware = json.loads((tmp_path / "out" / "hardware.json").read_text())
    assert str(tmp_path) not in hardware["command"]
    assert throughput.main(words) == 2
    assert "not empty" in capsys.readouterr().err


def test_the_usual_loop_gets_the_fastest_number_of_loader_workers(
    digits: PreparedDataset, without_processes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    paces = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr(ladder, "pace_of", lambda *given, **more: next(paces))
    plan = ladder.Plan(digits, "cpu", "fp32", ("eager",), 1, 1.0, 1, None, lambda line: None, {"small": [1.0]})
    usual = ladder.with_best_loader(plan, make_population("small", 1), ladder.Rung("usual", "usual", "fp32"))
    assert usual.loader_workers == ladder.LOADER_WORKERS[1]
    resident = ladder.Rung("resident", "resident", "fp32")
    assert ladder.with_best_loader(plan, make_population("small", 1), resident) == resident


def test_the_usual_loop_of_pooled_networks_has_their_whole_recipe() -> None:
    population = make_population("pooled", 2)
    recipe = population.training.recipe(population.members[0] | {"steps": 5}, 1000)
    [group] = usual_loop.optimiser_of(recipe, torch.nn.Linear(2, 2)).param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.85, True, 5e-4)
    assert group["lr"] == recipe.learning_rate
    images = torch.arange(32.0 * 32.0).view(1, 1, 32, 32).expand(4, 3, 32, 32)
    augment = usual_loop.augmentation_of(recipe, 32)
    torch.manual_seed(0)
    changed = [augment(images) for _ in range(20)]
    assert all(image.shape == images.shape for image in changed)
    assert len({float(image[0, 0, 16, 16]) for image in changed}) > 10
    assert all(member["block"] == "pooled" for member in population.members)


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="Optuna is not installed")
def test_optunas_processes_train_every_member_once(digits: PreparedDataset) -> None:
    population = make_population("small", 5)
    costs = {"small": [1.0, 5.0, 3.0, 2.0, 4.0]}
    plan = ladder.Plan(digits, "cpu", "fp32", ("eager",), 2, 1.0, 1, 3, lambda line: None, costs)
    row = ladder.time_rung(plan, population, ladder.Rung("optuna", "optuna", "fp32", 2), 3, watch_memory=False)
    assert row["void"] == ""
    assert row["member_steps"] == 15


def test_an_engine_other_than_the_one_asked_for_voids_the_time(
    digits: PreparedDataset, without_processes: None
) -> None:
    plan = ladder.Plan(digits, "cpu", "fp32", ("eager",), 1, 1.0, 1, 1, lambda line: None, {"small": [1.0]})
    rung = ladder.Rung("evo-eager", "evo", "fp32")
    row = ladder.time_rung(plan, make_population("small", 1), rung, 1, watch_memory=False)
    assert row["void"] == ""
    done = [Measured(0, 0, 0, "complete", 2.3, steps_trained=1, engine="eager", images=row["images"])]
    wrong = ladder.work_row(plan, make_population("small", 1), replace(rung, engine="onednn"), 1, done)
    assert wrong["void"] == "computed by eager, not onednn"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data-dir", "nowhere"], "nowhere"),
        ([], "--data-dir"),
        (["--dataset", "digits", "--populations", "smal"], 'Did you mean "small"'),
        (["--dataset", "digits", "--repeats", "0"], "--repeats"),
        (["--parts", "none", "--search-run", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert throughput.main([*words, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_an_unknown_population_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="Known: report"):
        make_population("large")
