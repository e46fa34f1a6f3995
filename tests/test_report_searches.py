"""The benchmark of the report's searches: the share of the steps that is done, and that it goes on where it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import evo
from benchmarks import report_searches
from benchmarks.report_searches import STRATEGIES, TRAININGS, ShortTraining


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


def test_every_algorithm_gets_as_many_trainings_and_one_that_is_complete_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # An objective that other processes can have, in place of real trainings.
    monkeypatch.setattr(report_searches, "ShortTraining", lambda data_dir, divisor: by_learning_rate)
    for _ in range(2):
        report_searches.run(tmp_path / "data", tmp_path / "runs", divisor=10, workers=1)
        for strategy in STRATEGIES:
            found = evo.load(tmp_path / "runs" / strategy)
            assert len(found.table) == TRAININGS


def by_learning_rate(config: dict[str, Any], seed: int) -> float:
    return 0.5 - abs(float(config["learning_rate"]) - 0.001)


def test_winners_are_trained_in_full_under_the_reports_protocol(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    best = {"hidden_layers": (30, 20), "learning_rate": 0.002, "batch_size": 100, "steps": 1234}
    commands: list[list[str]] = []
    monkeypatch.setattr(report_searches.evo, "load", lambda run: SimpleNamespace(best=SimpleNamespace(config=best)))
    monkeypatch.setattr(report_searches.subprocess, "run", lambda command, check: commands.append(command))
    (tmp_path / "ga-winner").mkdir()
    report_searches.winners(tmp_path / "data", tmp_path)
    assert [Path(command[-1]).name for command in commands] == ["report2019-winner", "report2019-fixed-winner"]
    line = " ".join(commands[0][2:])
    assert "--hidden-layers 30,20 --learning-rate 0.002 --batch-size 100 --steps 1234" in line
    assert "--preprocess subtract_mean_image --fitness test" in line
