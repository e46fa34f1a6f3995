"""The benchmark of the report's searches: the share of the steps that is done, how it resumes, and what it compares."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import evo
from benchmarks.report import searches as module
from benchmarks.report.searches import STRATEGIES, TRAININGS, ShortTraining, accuracies_in_full
from evo.cli.app import app
from evo.errors import ConfigurationError


class Trainer:
    """Notes what it is asked to train."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], int]] = []

    def train(self, config: dict[str, Any], seed: int) -> Any:
        self.asked.append((config, seed))
        accuracy = by_learning_rate(config, seed)
        return SimpleNamespace(held_out=SimpleNamespace(accuracy=accuracy) if seed >= 0 else None)


def by_learning_rate(config: dict[str, Any], seed: int) -> float:
    return 0.5 - abs(float(config["learning_rate"]) - 0.001)


def test_a_share_of_the_steps_is_done_and_the_rest_of_the_genome_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainer = Trainer()
    monkeypatch.setattr(module, "_trainer", lambda data_dir: trainer)
    config = {"hidden_layers": (30,), "learning_rate": 0.002, "batch_size": 100, "steps": 1234}
    assert ShortTraining(tmp_path, 10)(config, 7) == 0.499
    assert trainer.asked == [({**config, "steps": 123}, 7)]
    assert ShortTraining(tmp_path, 9999)(config, -1) != ShortTraining(tmp_path, 9999)(config, -1), "NaN: it diverged"
    assert trainer.asked[-1][0]["steps"] == 1


def search(folder: Path, divisor: float = 10) -> None:
    """Make or resume the searches with a formula in place of their trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ShortTraining", lambda data_dir, divisor: by_learning_rate)
        patch.setattr("evo.data.prepared.prepare_dataset", lambda name, folder: None)
        module.run(Path("data"), folder, divisor=divisor, workers=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searches") / "runs"
    search(folder)
    return folder


@pytest.fixture
def searches(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder of the three searches."""
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def test_every_strategy_gets_as_many_trainings_and_a_complete_search_is_left_alone(searches: Path) -> None:
    before = {strategy: (searches / strategy / "journal.jsonl").read_bytes() for strategy in STRATEGIES}
    search(searches)
    for strategy in STRATEGIES:
        assert len(evo.load(searches / strategy).table) == TRAININGS
        assert (searches / strategy / "journal.jsonl").read_bytes() == before[strategy]


def test_a_search_is_not_resumed_with_another_share_of_the_steps_or_another_precision(
    searches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="was started with divisor 10, this is 20"):
        search(searches, divisor=20)
    monkeypatch.setattr(module, "resolve_precision", lambda asked, device: "other")
    monkeypatch.setattr(module, "resolve_engine", lambda asked, device, precision: "eager")
    with pytest.raises(ConfigurationError, match=r"was started with precision .* this is other"):
        search(searches)


def test_folders_without_a_note_of_their_machine_are_left_alone(searches: Path) -> None:
    (searches / "machine.json").unlink()
    with pytest.raises(ConfigurationError, match=r"no machine.json"):
        search(searches)


def test_the_comparison_has_each_search(searches: Path) -> None:
    module.report(searches)
    table = pd.read_csv(searches / "comparison.csv").set_index("strategy")
    assert list(table.index) == list(STRATEGIES)
    assert set(table["trainings"]) == {TRAININGS}
    run = evo.load(searches / "ga")
    assert table["validation"]["ga"] == 100 * max(run.table["fitness"])
    assert table["learning_rate"]["ga"] == run.best.config["learning_rate"]
    # Two operations per multiply-add: forward and weights of all layers, inputs of all but the first.
    layers = list(zip((3072, *run.best.config["hidden_layers"]), (*run.best.config["hidden_layers"], 10), strict=True))
    products = 3 * sum(before * after for before, after in layers) - layers[0][0] * layers[0][1]
    operations = 2 * run.best.config["steps"] * run.best.config["batch_size"] * products
    assert table["winner_petaflop"]["ga"] == pytest.approx(operations / 1e15)
    assert table["test"].isna().all(), "no winner was trained"
    assert (searches / "comparison.png").is_file()
    assert (searches / "comparison.svg").is_file()


def test_what_a_winner_reached_is_the_mean_over_its_seeds(searches: Path, cli: CliRunner, in_process: None) -> None:
    folder = searches / "ga-winner"
    # Three units in place of a winner, whose training would take minutes.
    flags = ["--hidden-layers", "3", "--steps", "60", "--evaluate-every", "10", "--fitness", "test"]
    words = ["train", *flags, "--dataset", "digits", "--seeds", "2", "--workers", "1", "-q", "-o", str(folder)]
    assert cli.invoke(app, words).exit_code == 0
    winner = evo.load(folder)
    found = accuracies_in_full(winner, {"hidden_layers": (3,), "steps": 60})
    assert found["seeds"] == 2
    assert found["test"] == pytest.approx(100 * winner.table["test_accuracy"].mean())
    assert found["train"] == pytest.approx(100 * winner.table["train_accuracy"].mean())
    medians = [one["test_accuracy"].iloc[-5:].median() for _, one in winner.curves.groupby("replicate")]
    assert found["test_median"] == pytest.approx(100 * sum(medians) / 2)
    with pytest.raises(ConfigurationError, match="another genome than its search's best"):
        module.report(searches)


def test_winners_are_trained_in_full_under_the_reports_protocol_and_resumed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    best = {"hidden_layers": (30, 20), "learning_rate": 0.002, "batch_size": 100, "steps": 1234}
    table = [0] * TRAININGS
    stub = SimpleNamespace(best=SimpleNamespace(config=best), table=table)
    commands: list[str] = []
    monkeypatch.setattr(module.evo, "load", lambda run: stub)
    monkeypatch.setattr(module.subprocess, "run", lambda words, check: commands.append(" ".join(words[2:])))
    (tmp_path / "ga-winner").mkdir()
    (tmp_path / "ga-winner" / "journal.jsonl").touch()
    module.winners(tmp_path / "data", tmp_path, seeds=2)
    assert len(commands) == len(STRATEGIES)
    assert "train --hidden-layers 30,20 --learning-rate 0.002 --batch-size 100 --steps 1234" in commands[0]
    assert "--preprocess subtract_mean_image --fitness test" in commands[0]
    assert f"--seeds 2 --output {tmp_path / 'report2019-winner'} --data-dir {tmp_path / 'data'}" in commands[0]
    assert f"resume {tmp_path / 'ga-winner'} --seeds 2" in commands[2]
    table.pop()
    with pytest.raises(ConfigurationError, match="has 45 of 46 trainings"):
        module.winners(tmp_path / "data", tmp_path)
