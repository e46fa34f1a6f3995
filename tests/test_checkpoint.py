"""A training that is interrupted continues from its saved state as if nothing had happened."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from evo.data import PreparedDataset
from evo.errors import Interrupted
from evo.evaluators.base import StopRequest, Task
from evo.evaluators.training_task import TrainingTask
from evo.models import cnn, mlp
from evo.space.training_settings import TrainingSettings
from evo.training.batches import batches
from evo.training.engines.onednn import usable
from evo.training.jobs import Job, TrainingResult
from evo.training.trainer import Trainer

CONFIGS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden_layers": (16, 8), "dropout": 0.3, "batch_norm": True, "learning_rate": 1e-2, "batch_size": 200},
    "cnn": {"channels": (4, 6), "dropout": 0.3, "learning_rate": 1e-2, "batch_size": 100},
}
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {"optimiser": "sgd", "momentum": 0.9, "schedule": "one_cycle", "augment": "flip_crop", "crop_padding": 1},
    "adam": {"schedule": "trapezoid", "warmup": 0.1, "label_smoothing": 0.1, "augment": "flip", "weight_decay": 0.1},
    "muon": {"optimiser": "muon", "schedule": "cosine", "cutout": 3, "weight_decay": 0.01},
}
STEPS = 23


def trainer(
    digits: PreparedDataset, model: str, optimiser: str = "adam", decay: float = 0.0, engine: str = "eager"
) -> Trainer:
    settings = TrainingSettings(evaluate_every=10, optimiser=optimiser, weight_decay=decay)  # type: ignore[arg-type]
    return Trainer(digits, settings, {"mlp": mlp, "cnn": cnn}[model].build, engine=engine)


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
    ("model", "optimiser", "decay", "engine"),
    [
        ("mlp", "adam", 0.0, "eager"),
        ("mlp", "adam", 0.1, "eager"),
        ("cnn", "adam", 0.0, "eager"),
        ("mlp", "sgd", 0.0, "eager"),
        *[("mlp", "adam", 0.0, "onednn")] * usable(),
    ],
)
def test_a_training_in_parts_equals_one_that_was_never_interrupted(
    digits: PreparedDataset, tmp_path: Path, model: str, optimiser: str, decay: float, engine: str, steps: int
) -> None:
    config = CONFIGS[model] | {"steps": STEPS}
    whole = trainer(digits, model, optimiser, decay, engine).train(config, 1)
    assert in_parts(trainer(digits, model, optimiser, decay, engine), config, tmp_path / "state", steps) == whole


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("model", CONFIGS)
def test_a_training_of_every_recipe_in_parts_equals_one_that_was_never_interrupted(
    digits: PreparedDataset, tmp_path: Path, model: str, recipe: dict[str, Any]
) -> None:
    config = CONFIGS[model] | recipe | {"epochs": 4.5}
    whole = trainer(digits, model).train(config, 1)
    assert whole.status == "complete"
    assert in_parts(trainer(digits, model), config, tmp_path / "state", 7) == whole


def test_the_seconds_of_all_parts_count(digits: PreparedDataset, tmp_path: Path) -> None:
    one = trainer(digits, "mlp")
    config = CONFIGS["mlp"] | {"steps": STEPS}
    with pytest.raises(Interrupted):
        one.train(config, 1, checkpoint=tmp_path / "state", interrupted=After(20))
    again = trainer(digits, "mlp")
    result = again.train(config, 1, checkpoint=tmp_path / "state")
    fresh = again.train(config, 1)
    assert result.seconds > result.seconds_before > 0
    assert fresh == result
    assert fresh.seconds_before == 0


def test_a_resumed_training_has_not_ended_in_the_future(digits: PreparedDataset, tmp_path: Path) -> None:
    one, path = trainer(digits, "mlp"), tmp_path / "state"
    config = CONFIGS["mlp"] | {"steps": STEPS}
    with pytest.raises(Interrupted):
        one.train(config, 1, checkpoint=path, interrupted=After(12))
    own, began = one.train_jobs, time.time()

    def train_jobs(*arguments: Any) -> Iterator[TrainingResult]:
        for result in own(*arguments):
            yield replace(result, seconds=result.seconds + 3600, seconds_before=result.seconds_before + 3600)

    one.train_jobs = train_jobs  # type: ignore[method-assign]
    evaluation = TrainingTask(one, StopRequest()).evaluate(Task(0, 0, 1, config, checkpoint=str(path)))
    assert evaluation.seconds > 3600
    assert began <= evaluation.started <= evaluation.ended <= time.time()


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
    assert 10**6 - asked.left == STEPS, "it did not start over"
    assert result == one.train(config, seed)


def test_without_a_checkpoint_an_interruption_ends_the_training(digits: PreparedDataset) -> None:
    with pytest.raises(Interrupted):
        trainer(digits, "mlp").train(CONFIGS["mlp"] | {"steps": STEPS}, 1, interrupted=After(3))


def test_a_long_training_keeps_its_state_now_and_then(
    digits: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo.training.checkpoint.KEEP_EVERY_SECONDS", 0.0)
    one, path = trainer(digits, "mlp"), tmp_path / "state"
    config = CONFIGS["mlp"] | {"steps": STEPS}
    whole = one.train(config, 1, checkpoint=path)
    assert path.is_file()
    asked = After(10**6)
    assert one.train(config, 1, checkpoint=path, interrupted=asked) == whole
    assert 10**6 - asked.left < STEPS, "a killed training would have started over"


@pytest.mark.parametrize("skip", [0, 1, 4, 5, 6, 23])
def test_skipped_batches_are_those_that_came_first(skip: int) -> None:
    indices = torch.arange(53)
    whole, rest = batches(indices, 10, 7), batches(indices, 10, 7, skip=skip)
    for _ in range(skip):
        next(whole)
    for _ in range(12):
        assert torch.equal(next(whole), next(rest))


# The state after the last step, from which a training of more steps continues.


@pytest.fixture
def every_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the state also of trainings that take no time; train on one thread, as workers do."""
    monkeypatch.setattr("evo.training.checkpoint.Keeper.seconds", property(lambda self: 3600.0))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def asked_for(trainer: Trainer, config: dict[str, Any], seed: int = 1, **more: Any) -> tuple[TrainingResult, int]:
    """Return a training's result and how many steps it did."""
    asked = After(10**6)
    return trainer.train(config, seed, interrupted=asked, **more), 10**6 - asked.left


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize(
    ("model", "optimiser", "decay"),
    [("mlp", "adam", 0.0), ("mlp", "adam", 0.1), ("cnn", "adam", 0.0), ("mlp", "sgd", 0.0)],
)
def test_a_longer_training_goes_on_from_a_shorter_one_and_equals_one_from_the_first_step(
    digits: PreparedDataset, tmp_path: Path, model: str, optimiser: str, decay: float
) -> None:
    one, path = trainer(digits, model, optimiser, decay), tmp_path / "states" / "1.safetensors"
    for steps, done in ((10, 10), (20, 10), (25, 5), (40, 20)):
        config = CONFIGS[model] | {"steps": steps}
        result, steps_done = asked_for(one, config, last_state=path)
        assert steps_done == done, "off the grid no state is kept"
        assert result == one.train(config, 1)


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize("exact", [True, False])
def test_a_paused_training_continues_from_its_state_and_equals_one_that_never_paused(
    digits: PreparedDataset, tmp_path: Path, exact: bool
) -> None:
    config = CONFIGS["mlp"] | {"steps": 40} | ({} if exact else {"schedule": "cosine"})
    one, path = trainer(digits, "mlp"), tmp_path / "states" / "1.safetensors"
    assert one.settings.prefix_exact(config) == exact
    for until, done in ((10, 10), (20, 10), (20, 20), (40, 20)):
        result, steps_done = asked_for(one, config, last_state=path, until=until)
        assert steps_done == done, "a state of as many steps is of no use"
        assert result == one.train(config, 1, until=until)
    assert result == one.train(config, 1)
    _, steps_done = asked_for(one, config | {"steps": 60}, last_state=path)
    assert steps_done == (20 if exact else 60)


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize("model", CONFIGS)
def test_a_pause_between_two_points_of_the_curve_is_continued_and_leaves_no_point(
    digits: PreparedDataset, tmp_path: Path, model: str
) -> None:
    """Rungs in epochs need not lie on the grid of `evaluate_every`: the pause measures one point more, for itself."""
    config = CONFIGS[model] | {"steps": 40}
    one, path = trainer(digits, model), tmp_path / "states" / "1.safetensors"
    for until, done, steps in ((7, 7, [7]), (23, 16, [10, 20, 23]), (40, 17, [10, 20, 30, 40])):
        result, steps_done = asked_for(one, config, last_state=path, until=until)
        assert steps_done == done
        assert [point.step for point in result.curve] == steps
        assert result == one.train(config, 1, until=until)
    assert result == one.train(config, 1)


@pytest.mark.usefixtures("every_state")
def test_where_a_hook_measures_more_at_the_last_points_no_shorter_training_is_continued(
    digits: PreparedDataset, tmp_path: Path
) -> None:
    settings = TrainingSettings(evaluate_every=10, training_mode="whole")
    one, path = Trainer(digits, settings, mlp.build), tmp_path / "state"
    one.train(CONFIGS["mlp"] | {"steps": 40}, 1, last_state=path)
    result, done = asked_for(one, CONFIGS["mlp"] | {"steps": 80}, last_state=path)
    assert done == 80
    assert result == one.train(CONFIGS["mlp"] | {"steps": 80}, 1)


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize("steps", [10, 20])
def test_a_state_of_as_many_steps_or_more_is_not_taken_up(digits: PreparedDataset, tmp_path: Path, steps: int) -> None:
    one, path = trainer(digits, "mlp"), tmp_path / "state"
    one.train(CONFIGS["mlp"] | {"steps": 20}, 1, last_state=path)
    config = CONFIGS["mlp"] | {"steps": steps}
    result, done = asked_for(one, config, last_state=path)
    assert done == steps
    assert result == one.train(config, 1)


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize("change", ["seed", "config", "precision", "engine", "fitness", "settings"])
def test_the_last_state_of_another_training_is_not_taken_up(
    digits: PreparedDataset, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "state"
    trainer(digits, "mlp").train(CONFIGS["mlp"] | {"steps": 20}, 1, last_state=path)
    other, config, seed = trainer(digits, "mlp"), CONFIGS["mlp"] | {"steps": 40}, 1
    if change == "seed":
        seed = 2
    elif change == "config":
        config["hidden_layers"] = (8, 16)
    elif change == "precision":
        other.precision = "bf16"
    elif change == "engine":
        other.engine = "onednn"
    elif change == "fitness":
        other = Trainer(digits, other.settings, mlp.build, fitness="test")
    else:
        other = trainer(digits, "mlp", "sgd")
    if change == "engine":
        assert other.begin(Job(config, seed, last_state=path)).state.step == 0
        return
    result, done = asked_for(other, config, seed, last_state=path)
    assert done == 40
    assert result == other.train(config, seed)


@pytest.mark.usefixtures("every_state")
@pytest.mark.parametrize("lacking", ["sums", "generator", "optimiser.0.step", "model.1.weight", "curve", "since"])
def test_a_state_that_lacks_a_part_changes_nothing(digits: PreparedDataset, tmp_path: Path, lacking: str) -> None:
    one, path = trainer(digits, "mlp"), tmp_path / "state"
    config = CONFIGS["mlp"] | {"steps": 40}
    one.train(CONFIGS["mlp"] | {"steps": 20}, 1, last_state=path)
    with safe_open(path, framework="pt") as file:
        facts = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    if lacking in tensors:
        del tensors[lacking]
    else:
        values = json.loads(facts["state"])
        del values[lacking]
        facts["state"] = json.dumps(values)
    save_file(tensors, path, metadata=facts)
    result, done = asked_for(one, config, last_state=path)
    assert done == 40
    assert result == one.train(config, 1)


@pytest.mark.usefixtures("every_state")
def test_an_interrupted_training_goes_on_from_its_own_state_rather_than_from_a_shorter_ones(
    digits: PreparedDataset, tmp_path: Path
) -> None:
    one, last, own = trainer(digits, "mlp"), tmp_path / "last", tmp_path / "own"
    config = CONFIGS["mlp"] | {"steps": 40}
    one.train(config | {"steps": 10}, 1, last_state=last)
    with pytest.raises(Interrupted):
        one.train(config, 1, last_state=last, checkpoint=own, interrupted=After(23))
    result, done = asked_for(one, config, last_state=last, checkpoint=own)
    assert done == 40 - 33
    assert result == one.train(config, 1)


def test_the_state_of_a_training_that_took_no_time_is_not_kept(digits: PreparedDataset, tmp_path: Path) -> None:
    trainer(digits, "mlp").train(
        CONFIGS["mlp"] | {"steps": 1, "batch_size": 2}, 1, last_state=tmp_path / "states" / "1"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("every_state")
def test_a_divergence_leaves_no_state(digits: PreparedDataset, tmp_path: Path) -> None:
    settings = TrainingSettings(evaluate_every=10, optimiser="sgd", preprocess="subtract_mean_image")
    config = CONFIGS["mlp"] | {"steps": 20, "learning_rate": 1e30, "batch_norm": False}
    result = Trainer(digits, settings, mlp.build).train(config, 1, last_state=tmp_path / "state")
    assert result.status == "diverged"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("every_state")
def test_a_state_that_cannot_be_written_costs_no_result(digits: PreparedDataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one, config = trainer(digits, "mlp"), CONFIGS["mlp"] | {"steps": 20}
    assert one.train(config, 1, last_state=tmp_path / "file" / "state") == one.train(config, 1)


@pytest.mark.usefixtures("every_state")
def test_the_seconds_of_the_shorter_training_are_not_counted_again(digits: PreparedDataset, tmp_path: Path) -> None:
    one, path = trainer(digits, "mlp"), tmp_path / "state"
    one.train(CONFIGS["mlp"] | {"steps": 10}, 1, last_state=path)
    with torch.random.fork_rng():
        training = one.begin(Job(CONFIGS["mlp"] | {"steps": 20}, 1, last_state=path))
    assert (training.state.step, training.state.seconds) == (10, 0.0)
