"""A recorded individual that is trained again gives the recorded result, to the last bit, or it is said that not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import evo
from evo.cli import app
from evo.errors import ConfigurationError
from evo.replay import replay_individual
from evo.run import Run


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
    with pytest.raises(ConfigurationError, match="no evaluation of an individual 99; it has 0 to 9"):
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
