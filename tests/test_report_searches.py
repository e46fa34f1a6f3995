"""The benchmark of the report's searches: the share of the steps that is done, how it goes on, and what it compares."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import evo
from benchmarks.report import searches as report_searches
from benchmarks.report.searches import STRATEGIES, TRAININGS, ShortTraining
from evo.errors import ConfigurationError
from tests.command import run_command


class Trainer:
    """Notes what it is asked to train; better the nearer a learning rate is to 0.001."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], int]] = []

    def train(self, config: dict[str, Any], seed: int) -> Any:
        self.asked.append((config, seed))
        fitness = 0.5 - abs(config["learning_rate"] - 0.001)
        return SimpleNamespace(held_out=SimpleNamespace(accuracy=fitness) if seed >= 0 else None)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    one = Trainer()
    monkeypatch.setattr(report_searches, "_trainer", lambda data_dir: one)
    return one


def test_a_share_of_the_steps_is_done_and_the_rest_of_the_genome_kept(trainer: Trainer, tmp_path: Path) -> None:
    config = {"hidden_layers": (30,), "learning_rate": 0.002, "batch_size": 100, "steps": 1234}
    assert ShortTraining(tmp_path, 10)(config, 7) == 0.499
    assert trainer.asked == [({**config, "steps": 123}, 7)]
    assert ShortTraining(tmp_path, 9999)(config, -1) != ShortTraining(tmp_path, 9999)(config, -1), "NaN: it diverged"
    assert trainer.asked[-1][0]["steps"] == 1


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folder of the three searches; an objective that other processes can have in place of real trainings."""
    monkeypatch.setattr(report_searches, "ShortTraining", lambda data_dir, divisor: by_learning_rate)
    monkeypatch.setattr("evo.data.prepared.prepare_dataset", lambda name, folder: None)
    report_searches.run(tmp_path / "data", tmp_path / "runs", divisor=10, workers=1)
    return tmp_path / "runs"


def test_every_algorithm_gets_as_many_trainings_and_one_that_is_complete_is_left(searches: Path) -> None:
    before = {strategy: (searches / strategy / "journal.jsonl").read_bytes() for strategy in STRATEGIES}
    report_searches.run(searches.parent / "data", searches, divisor=10, workers=1)
    for strategy in STRATEGIES:
        assert len(evo.load(searches / strategy).table) == TRAININGS
        assert (searches / strategy / "journal.jsonl").read_bytes() == before[strategy]


def test_a_search_does_not_go_on_with_another_share_of_the_steps_or_another_precision(
    searches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="was begun with divisor 10, this is 20"):
        report_searches.run(searches.parent / "data", searches, divisor=20, workers=1)
    monkeypatch.setattr(report_searches, "resolve_precision", lambda asked, device: "other")
    monkeypatch.setattr(report_searches, "resolve_engine", lambda asked, device, precision: "eager")
    with pytest.raises(ConfigurationError, match=r"was begun with precision .* this is other"):
        report_searches.run(searches.parent / "data", searches, divisor=10, workers=1)


def test_folders_without_a_note_of_their_machine_are_left_alone(searches: Path) -> None:
    (searches / "machine.json").unlink()
    with pytest.raises(ConfigurationError, match=r"not their machine.json"):
        report_searches.run(searches.parent / "data", searches, divisor=10, workers=1)


def train_winner(folder: Path, seeds: int) -> None:
    """Train a network of three units in place of a winner, which would take minutes."""
    flags = [
        "--hidden-layers",
        "3",
        "--steps",
        "60",
        "--evaluate-every",
        "10",
        "--fitness",
        "test",
        "--dataset",
        "digits",
    ]
    assert run_command("train", *flags, "--seeds", str(seeds), "--workers", "1", "-q", "-o", folder).returncode == 0


def test_the_comparison_has_each_search(searches: Path) -> None:
    report_searches.report(searches)
    table = pd.read_csv(searches / "comparison.csv").set_index("strategy")
    assert list(table.index) == list(STRATEGIES)
    assert set(table["trainings"]) == {TRAININGS}
    run = evo.load(searches / "ga")
    assert table["validation"]["ga"] == 100 * max(run.table["fitness"])
    assert table["learning_rate"]["ga"] == run.best.config["learning_rate"]
    assert table["test"].isna().all(), "no winner was trained"
    assert (searches / "comparison.png").is_file()
    assert (searches / "comparison.svg").is_file()
    train_winner(searches / "ga-winner", 1)
    with pytest.raises(ConfigurationError, match="another genome than its search's best"):
        report_searches.report(searches)


def test_what_a_winner_reached_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    train_winner(tmp_path / "winner", 2)
    winner = evo.load(tmp_path / "winner")
    found = report_searches._in_full(winner, {"hidden_layers": (3,), "steps": 60})
    assert found["seeds"] == 2
    assert found["test"] == pytest.approx(100 * winner.table["test_accuracy"].mean())
    assert found["train"] == pytest.approx(100 * winner.table["train_accuracy"].mean())
    medians = [one["test_accuracy"].iloc[-5:].median() for _, one in winner.curves.groupby("replicate")]
    assert found["test_median"] == pytest.approx(100 * sum(medians) / 2)


def test_operations_are_those_of_all_steps() -> None:
    config = {"hidden_layers": (100,), "learning_rate": 0.001, "batch_size": 200, "steps": 1500}
    # Two a multiply-add: forward and weights of both layers, inputs of the second alone.
    assert report_searches._operations(config) == 1500 * 2 * 200 * (2 * 3072 * 100 + 3 * 100 * 10)


def by_learning_rate(config: dict[str, Any], seed: int) -> float:
    return 0.5 - abs(float(config["learning_rate"]) - 0.001)


def test_winners_are_trained_in_full_under_the_reports_protocol_and_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    best = {"hidden_layers": (30, 20), "learning_rate": 0.002, "batch_size": 100, "steps": 1234}
    table = [0] * TRAININGS
    search = SimpleNamespace(best=SimpleNamespace(config=best), table=table)
    commands: list[str] = []
    monkeypatch.setattr(report_searches.evo, "load", lambda run: search)
    monkeypatch.setattr(report_searches.subprocess, "run", lambda words, check: commands.append(" ".join(words[2:])))
    (tmp_path / "ga-winner").mkdir()
    (tmp_path / "ga-winner" / "journal.jsonl").touch()
    report_searches.winners(tmp_path / "data", tmp_path, seeds=2)
    assert len(commands) == len(STRATEGIES)
    assert "train --hidden-layers 30,20 --learning-rate 0.002 --batch-size 100 --steps 1234" in commands[0]
    assert "--preprocess subtract_mean_image --fitness test" in commands[0]
    assert f"--seeds 2 --output {tmp_path / 'report2019-winner'} --data-dir {tmp_path / 'data'}" in commands[0]
    assert f"resume {tmp_path / 'ga-winner'} --seeds 2" in commands[2]
    table.pop()
    with pytest.raises(ConfigurationError, match="has 45 of 46 trainings"):
        report_searches.winners(tmp_path / "data", tmp_path)
