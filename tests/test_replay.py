"""A recorded individual that is trained again gives the recorded result, to the last bit, or it is said that not."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.errors import ConfigurationError
from evo.evaluation import Evaluation, replicate_number
from evo.individual import training_seed
from evo.loop.replay import Replay, replay_individual
from evo.record.run import Run


@pytest.mark.usefixtures("in_process")
def test_a_recorded_training_comes_back_to_the_last_bit(uninterrupted: Path) -> None:
    replay = replay_individual(uninterrupted, 5)
    assert replay.same
    assert replay.again.curve == replay.recorded.curve
    assert len(replay.again.curve) > 1
    assert replay.again.fitness == replay.recorded.fitness
    assert replay.again.seed == replay.recorded.seed


@pytest.mark.usefixtures("in_process")
def test_another_result_than_the_recorded_one_is_reported(uninterrupted: Path, tmp_path: Path, cli: CliRunner) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(uninterrupted, folder)
    run = Run.open(folder, warn=print)
    recorded = run.evaluations[0, 0]
    assert recorded.loss is not None
    run.record(replace(recorded, loss=recorded.loss + 1e-12))
    run.close()
    result = cli.invoke(app, ["replay", str(folder), "0"])
    assert result.exit_code == 1
    assert "NOT the same" in result.stdout


@pytest.mark.usefixtures("in_process")
def test_the_command_says_that_the_result_came_back(uninterrupted: Path, cli: CliRunner) -> None:
    result = cli.invoke(app, ["replay", str(uninterrupted), "0"])
    assert result.exit_code == 0
    assert "the same, to the last bit" in result.stdout


def test_an_unknown_individual_is_named_with_those_that_exist(uninterrupted: Path) -> None:
    with pytest.raises(ConfigurationError, match="no individual 99; it has 0 to 9"):
        replay_individual(uninterrupted, 99)


def test_a_run_of_an_objective_cannot_be_replayed(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    evo.search(space, lambda config: 1.0, budget=2, population=2, output=tmp_path / "run", strategy="random")
    with pytest.raises(ConfigurationError, match="objective"):
        replay_individual(tmp_path / "run", 0)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("recorded", [True, False], ids=["a folder of its own", "the default folder"])
@pytest.mark.parametrize("command", ["resume", "replay"])
def test_data_that_have_vanished_are_neither_fetched_nor_made_room_for(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CliRunner, command: str, recorded: bool
) -> None:
    folder, gone = tmp_path / "run", tmp_path / "gone"
    shutil.copytree(uninterrupted, folder)
    settings = json.loads((folder / "settings.json").read_text())
    settings["dataset"] |= {"name": "cifar10", "data_dir": str(gone) if recorded else None}
    (folder / "settings.json").write_text(json.dumps(settings))
    fetched: list[Path] = []
    monkeypatch.setattr("evo.data.cifar10._fetch", lambda root, notify: fetched.append(root))
    monkeypatch.setenv("EVO_DATA_DIR", str(gone))
    result = cli.invoke(app, [command, str(folder), *(["0"] if command == "replay" else [])])
    assert result.exit_code == 2, result.output
    assert "gone" in result.stderr
    assert "--data-dir" in result.stderr
    assert fetched == []
    assert not gone.exists()


def evaluation(fitness: float | None, loss: float = 0.5, **more: Any) -> Evaluation:
    status = "complete" if fitness is not None else "diverged"
    return Evaluation(0, 0, 1, **{"status": status, "fitness": fitness, "loss": loss, **more})


def test_where_nothing_has_changed_every_bit_must_come_back() -> None:
    replay = Replay(evaluation(0.9), evaluation(0.9, loss=0.5 + 1e-12), images=1000)
    assert replay.tolerance == 0
    assert not replay.same
    assert not replay.came_back


@pytest.mark.parametrize(("again", "came_back"), [(0.9, True), (0.919, True), (0.881, True), (0.92, False)])
def test_on_other_versions_two_standard_errors_of_the_accuracy_are_allowed(again: float, came_back: bool) -> None:
    replay = Replay(evaluation(0.9), evaluation(again, loss=0.6), ("torch 1 is now 2",), images=1000)
    assert replay.tolerance == pytest.approx(2 * math.sqrt(0.9 * 0.1 / 1000), rel=0.02)
    assert replay.came_back is came_back


def test_an_accuracy_of_one_has_a_tolerance_too_and_a_diverged_training_must_diverge_again() -> None:
    changed = ("torch 1 is now 2",)
    assert Replay(evaluation(1.0), evaluation(0.999), changed, images=1000).came_back
    assert Replay(evaluation(None, loss=1.0), evaluation(None, loss=2.0), changed).came_back
    assert not Replay(evaluation(None), evaluation(0.9), changed, images=1000).came_back


@pytest.mark.usefixtures("in_process")
def test_another_version_is_named_and_the_tolerance_holds(uninterrupted: Path, tmp_path: Path, cli: CliRunner) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    settings = json.loads((folder / "settings.json").read_text())
    settings["versions"]["torch"] = "1.0"
    (folder / "settings.json").write_text(json.dumps(settings))
    run = Run.open(folder, warn=print)
    recorded = run.evaluations[0, 0]
    assert recorded.loss is not None
    run.record(replace(recorded, loss=recorded.loss + 1e-6))
    run.close()
    result = cli.invoke(app, ["replay", str(folder), "0"])
    assert result.exit_code == 0, result.output
    assert "the same within the tolerance" in result.stdout
    assert "torch 1.0 is now" in result.stdout
    assert "on 150 images" in result.stdout


@pytest.mark.usefixtures("in_process")
def test_further_seeds_are_unused_ones_and_show_the_spread(uninterrupted: Path, cli: CliRunner) -> None:
    run = evo.load(uninterrupted)
    replay = replay_individual(uninterrupted, 2, seeds=3)
    genome = run.individuals[2].genome
    replicates = [replicate_number("replay", place) for place in range(3)]
    assert [other.seed for other in replay.others] == [training_seed(7, genome, number) for number in replicates]
    assert not {other.seed for other in replay.others} & {entry.seed for entry in run.evaluations.values()}
    assert len({other.loss for other in replay.others}) == 3
    assert replay.same
    result = cli.invoke(app, ["replay", str(uninterrupted), "2", "--seeds", "3"])
    assert result.exit_code == 0, result.output
    values = [other.fitness for other in replay.others if other.fitness is not None]
    assert f"on 3 new seeds: fitness {statistics.fmean(values):.4f} [" in result.stdout
    assert f"standard deviation {statistics.stdev(values):.4f}" in result.stdout
    assert "4/4: seed" in result.stderr
    assert "4/4: seed" not in result.stdout


@pytest.mark.usefixtures("in_process")
def test_a_finalists_training_comes_back_too(uninterrupted: Path) -> None:
    winner = evo.load(uninterrupted).winner
    assert winner is not None
    replay = replay_individual(uninterrupted, winner, replicate=102)
    assert replay.same
    assert replay.recorded.phase == "finalist"


def test_an_unknown_replicate_is_named_with_those_that_exist(uninterrupted: Path) -> None:
    winner = evo.load(uninterrupted).winner
    assert winner is not None
    with pytest.raises(ConfigurationError, match=r"no training of replicate 7; it has 0, 101, 102, 103"):
        replay_individual(uninterrupted, winner, replicate=7)


@pytest.mark.usefixtures("in_process")
def test_replaying_changes_nothing_in_the_run(uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    replay_individual(folder, 0, seeds=1, save=tmp_path / "model.safetensors")
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before
