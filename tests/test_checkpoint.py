"""A training that is interrupted goes on from its saved state as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from evo.data import PreparedDataset
from evo.errors import Interrupted
from evo.models import cnn, mlp
from evo.space_settings import TrainingSettings
from evo.training import Trainer, TrainingResult, batches

CONFIGS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden_layers": (16, 8), "dropout": 0.3, "batch_norm": True, "learning_rate": 1e-2, "batch_size": 200},
    "cnn": {"channels": (4, 6), "dropout": 0.3, "learning_rate": 1e-2, "batch_size": 100},
}
STEPS = 23


def trainer(digits: PreparedDataset, model: str, optimiser: str = "adam", decay: float = 0.0) -> Trainer:
    settings = TrainingSettings(evaluate_every=10, optimiser=optimiser, weight_decay=decay)  # type: ignore[arg-type]
    return Trainer(digits, settings, {"mlp": mlp, "cnn": cnn}[model].build)


class After:
    """Asks to stop after so many steps."""

    def __init__(self, steps: int):
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def in_parts(trainer: Trainer, config: dict[str, Any], path: Path, steps: int, parts: int = 100) -> TrainingResult:
    """Train with an interruption every so many steps."""
    for _ in range(parts):
        try:
            return trainer.train(config, 1, checkpoint=path, interrupted=After(steps))
        except Interrupted:
            assert path.is_file()
    raise AssertionError("the training makes no progress")


@pytest.mark.parametrize("steps", [1, 7, 10])
@pytest.mark.parametrize(
    ("model", "optimiser", "decay"),
    [("mlp", "adam", 0.0), ("mlp", "adam", 0.1), ("cnn", "adam", 0.0), ("mlp", "sgd", 0.0)],
)
def test_a_training_in_parts_equals_one_that_was_never_interrupted(
    digits: PreparedDataset, tmp_path: Path, model: str, optimiser: str, decay: float, steps: int
) -> None:
    config = CONFIGS[model] | {"steps": STEPS}
    whole = trainer(digits, model, optimiser, decay).train(config, 1)
    assert in_parts(trainer(digits, model, optimiser, decay), config, tmp_path / "state", steps) == whole


def test_the_seconds_of_all_parts_count(digits: PreparedDataset, tmp_path: Path) -> None:
    one = trainer(digits, "mlp")
    config = CONFIGS["mlp"] | {"steps": STEPS}
    with pytest.raises(Interrupted):
        one.train(config, 1, checkpoint=tmp_path / "state", interrupted=After(20))
    again = trainer(digits, "mlp")
    result = again.train(config, 1, checkpoint=tmp_path / "state")
    fresh = again.train(config, 1)
    assert result.seconds > 0
    assert fresh == result


@pytest.mark.parametrize("change", ["seed", "config", "precision", "bytes", "cut", "empty"])
def test_the_state_of_another_training_or_a_damaged_one_is_not_taken_up(
    digits: PreparedDataset, tmp_path: Path, change: str
) -> None:
    one, path = trainer(digits, "mlp"), tmp_path / "state"
    config, seed = CONFIGS["mlp"] | {"steps": STEPS}, 1
    with pytest.raises(Interrupted):
        one.train(config, seed, checkpoint=path, interrupted=After(12))
    content = path.read_bytes()
    if change == "seed":
        seed = 2
    elif change == "config":
        config["learning_rate"] = 2e-2
    elif change == "precision":
        one.precision = "bf16"
    else:
        path.write_bytes({"bytes": b"\xff" * 64 + content[64:], "cut": content[:-100], "empty": b""}[change])
    asked = After(10**6)
    result = one.train(config, seed, checkpoint=path, interrupted=asked)
    assert 10**6 - asked.left == STEPS, "it did not begin anew"
    assert result == one.train(config, seed)


def test_without_a_checkpoint_an_interruption_ends_the_training(digits: PreparedDataset) -> None:
    with pytest.raises(Interrupted):
        trainer(digits, "mlp").train(CONFIGS["mlp"] | {"steps": STEPS}, 1, interrupted=After(3))


def test_a_long_training_keeps_its_state_now_and_then(
    digits: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo.training.KEEP_EVERY_SECONDS", 0.0)
    one, path = trainer(digits, "mlp"), tmp_path / "state"
    config = CONFIGS["mlp"] | {"steps": STEPS}
    whole = one.train(config, 1, checkpoint=path)
    assert path.is_file()
    asked = After(10**6)
    assert one.train(config, 1, checkpoint=path, interrupted=asked) == whole
    assert 10**6 - asked.left < STEPS, "a killed training would have begun anew"


@pytest.mark.parametrize("skip", [0, 1, 4, 5, 6, 23])
def test_skipped_batches_are_those_that_came_first(skip: int) -> None:
    indices = torch.arange(53)
    whole, rest = batches(indices, 10, 7), batches(indices, 10, 7, skip=skip)
    for _ in range(skip):
        next(whole)
    for _ in range(12):
        assert torch.equal(next(whole), next(rest))
