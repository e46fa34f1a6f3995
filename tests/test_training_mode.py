"""The 2019 report's measurement: taken beside the proper one, without changing the training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import evo
from evo.data import PreparedDataset
from evo.loop.execution import Execution
from evo.loop.listed import space_of, train_configurations
from evo.models import cnn, mlp
from evo.names import CURVE_HOOKS, load
from evo.report2019.training_mode import WHOLE_TRAIN_POINTS, as_reported
from evo.space.training_settings import TrainingSettings
from evo.training.batches import batches
from evo.training.engines.eager import step
from evo.training.jobs import Job, TrainingResult
from evo.training.progress import Training
from evo.training.trainer import Trainer

CONFIG: dict[str, Any] = {
    "hidden_layers": (16,),
    "learning_rate": 0.01,
    "batch_size": 64,
    "steps": 80,
    "dropout": 0.5,
    "batch_norm": True,
}
EXTRA = (
    "minibatch_accuracy",
    "minibatch_loss",
    "training_mode_accuracy",
    "training_mode_loss",
    "whole_train_accuracy",
)


def make_trainer(digits: PreparedDataset, training_mode: Any = "whole", build: Any = mlp.build) -> Trainer:
    return Trainer(digits, TrainingSettings(evaluate_every=10, training_mode=training_mode), build, fitness="test")


@pytest.fixture(scope="module")
def measured(digits: PreparedDataset) -> TrainingResult:
    return make_trainer(digits).train(CONFIG, seed=3)


@pytest.mark.parametrize("training_mode", ["whole", "batches"])
def test_measuring_changes_nothing_of_the_training(digits: PreparedDataset, training_mode: str) -> None:
    plain = make_trainer(digits, None).train(CONFIG, seed=3)
    measured = make_trainer(digits, training_mode).train(CONFIG, seed=3)
    assert (measured.train, measured.held_out) == (plain.train, plain.held_out)
    for ours, theirs in zip(measured.curve, plain.curve, strict=True):
        assert {name: value for name, value in ours.to_dict().items() if name not in EXTRA} == theirs.to_dict()


def test_it_is_there_only_where_it_is_asked_for(digits: PreparedDataset, measured: TrainingResult) -> None:
    plain = make_trainer(digits, None).train(CONFIG, seed=3)
    assert not any(name in point.values for point in plain.curve for name in EXTRA)
    assert all(name in point.values for point in measured.curve for name in EXTRA[:-1])


def test_what_is_measured_are_the_hooks_names_and_columns(measured: TrainingResult) -> None:
    hook = CURVE_HOOKS["training_mode"]
    assert load(hook.reference) is as_reported
    assert tuple(measured.curve[-1].values)[-len(EXTRA) :] == hook.measures == EXTRA


def test_dropout_and_batch_norm_stay_on_in_it(measured: TrainingResult) -> None:
    last = measured.curve[-1].values
    assert last["training_mode_accuracy"] < last["test_accuracy"] - 0.02, "half of 16 units off must show"


def test_without_either_both_measurements_agree(digits: PreparedDataset) -> None:
    result = make_trainer(digits).train(CONFIG | {"dropout": 0.0, "batch_norm": False}, seed=3)
    for point in result.curve:
        assert point.values["training_mode_accuracy"] == point.values["test_accuracy"]
        assert point.values["training_mode_loss"] == pytest.approx(point.values["loss"], rel=1e-5)


def test_the_whole_test_set_is_one_batch_of_batch_norm(digits: PreparedDataset) -> None:
    config = CONFIG | {"dropout": 0.0, "steps": 10}
    trainer = make_trainer(digits)
    with trainer.own_randomness(3):
        training = trainer.begin(Job(config, 3))
        training.state.model.train()
        for _ in range(10):
            step(training)
        model, part = training.state.model, trainer.held_out_part
        with torch.no_grad():
            logits = model(trainer.preprocess(part.images[part.indices]))
        expected = functional.cross_entropy(logits, part.labels[part.indices])
    [point] = trainer.train(config, 3).curve
    assert point.values["training_mode_loss"] == pytest.approx(float(expected), rel=1e-6)


def test_the_last_minibatch_is_measured_before_its_step(digits: PreparedDataset) -> None:
    config = CONFIG | {"dropout": 0.0, "batch_norm": False, "steps": 20}
    trainer = make_trainer(digits)
    point = trainer.train(config, 3).curve[-1]
    with trainer.own_randomness(3):
        training = trainer.begin(Job(config, 3))
        for _ in range(19):
            step(training)
        order = batches(trainer.train_part.indices, 64, 3, skip=19)
        batch = next(order)
        logits = training.state.model(trainer.preprocess(trainer.train_part.images[batch])).detach()
    labels = trainer.train_part.labels[batch]
    assert point.values["minibatch_accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert point.values["minibatch_loss"] == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-6)


def test_the_whole_training_set_is_measured_at_the_last_points(measured: TrainingResult) -> None:
    there = ["whole_train_accuracy" in point.values for point in measured.curve]
    assert there == [False] * 3 + [True] * WHOLE_TRAIN_POINTS
    assert measured.train is not None
    assert measured.curve[-1].values["whole_train_accuracy"] == measured.train.accuracy


def test_the_last_points_off_the_grid_are_five_too(digits: PreparedDataset) -> None:
    curve = make_trainer(digits).train(CONFIG | {"steps": 75}, seed=3).curve
    assert [point.step for point in curve if "whole_train_accuracy" in point.values] == [40, 50, 60, 70, 75]


def test_convolutions_are_measured_in_batches(digits: PreparedDataset) -> None:
    seen: list[int] = []

    def build(*arguments: Any) -> nn.Module:
        model = cnn.build(*arguments)
        model.register_forward_hook(lambda module, images, _: seen.append(len(images[0])) if module.training else None)
        return model

    config = {"channels": (4,), "learning_rate": 0.01, "batch_size": 50, "steps": 10}
    make_trainer(digits, "batches", build).train(config, seed=3)
    assert max(seen) == 50
    assert len(seen) > 10


def test_batches_are_mixed_where_the_images_lie_sorted_by_class(digits: PreparedDataset) -> None:
    config = CONFIG | {"dropout": 0.0, "batch_size": 32}
    trainer = make_trainer(digits, "batches")
    part = trainer.held_out_part
    by_class = part.indices[part.labels[part.indices].argsort(stable=True)]
    trainer.held_out_part = replace(part, indices=by_class)
    last = trainer.train(config, seed=3).curve[-1].values
    assert last["training_mode_accuracy"] == pytest.approx(last["test_accuracy"], abs=0.05)


def test_a_mixed_part_has_the_same_images_in_an_order_of_its_own(digits: PreparedDataset) -> None:
    part = make_trainer(digits).held_out_part
    mixed = part.mixed(1).indices
    assert torch.equal(mixed.sort().values, part.indices.sort().values)
    assert torch.equal(mixed, part.mixed(1).indices)
    assert not torch.equal(mixed, part.indices)
    assert not torch.equal(mixed, part.mixed(2).indices)


@pytest.mark.usefixtures("in_process")
def test_a_loss_in_it_that_is_not_finite_is_none_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infinite(training: Training) -> dict[str, float]:
        return as_reported(training) | {"training_mode_loss": math.inf}

    monkeypatch.setattr("evo.report2019.training_mode.as_reported", infinite)
    space = space_of([CONFIG], name="train", model="mlp", dataset="digits", training={"training_mode": "whole"})
    run = train_configurations(space, [CONFIG], Execution(output=tmp_path / "run", workers=1))
    [evaluation] = evo.load(tmp_path / "run").search_evaluations
    assert evaluation.complete
    assert evaluation.error == "training_mode_loss was inf at step 80"
    assert run.curves["training_mode_loss"].isna().all()
    assert run.curves["training_mode_accuracy"].notna().all()
