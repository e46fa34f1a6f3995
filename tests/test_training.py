"""A training depends only on its configuration and its seed, and sees no image that it is judged on."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from evo import names
from evo.data import PreparedDataset
from evo.data.tensors import fit_preprocessing, load_part
from evo.errors import ConfigurationError
from evo.evaluators.base import StopRequest, Task
from evo.evaluators.training_task import TrainingSetup, TrainingTask, load_builder
from evo.models import MODELS, ModelBuilder, cnn, mlp
from evo.space.training_settings import TrainingSettings
from evo.training import engines
from evo.training.batches import batches
from evo.training.engines.eager import step
from evo.training.engines.onednn import usable
from evo.training.hardware import resolve_device, resolve_precision
from evo.training.jobs import Job, TrainingResult
from evo.training.optimiser import OPTIMISERS
from evo.training.schedules import SCHEDULES, rate_factor
from evo.training.trainer import Trainer

CPU = torch.device("cpu")
PLAIN = {"hidden_layers": (16,), "learning_rate": 0.01, "batch_size": 64, "steps": 40}
CONFIGS: dict[str, tuple[ModelBuilder, dict[str, Any]]] = {
    "plain": (mlp.build, PLAIN),
    "dropout": (mlp.build, PLAIN | {"dropout": 0.3}),
    "batch norm": (mlp.build, PLAIN | {"batch_norm": True, "dropout": 0.3}),
    "convolutions": (cnn.build, {"channels": (4, 8), "learning_rate": 0.01, "batch_size": 32, "steps": 40}),
    "weight decay": (mlp.build, PLAIN | {"weight_decay": 0.1}),
}
EVERY_CONFIG = pytest.mark.parametrize(("build", "config"), CONFIGS.values(), ids=CONFIGS)
USABLE = ("eager", *["onednn"] * usable())
EVERY_ENGINE = pytest.mark.parametrize("engine", USABLE)


def make_trainer(dataset: PreparedDataset, build: ModelBuilder = mlp.build, **arguments: Any) -> Trainer:
    settings = TrainingSettings(evaluate_every=10, **arguments.pop("settings", {}))
    return Trainer(dataset, settings, build, **arguments)


@pytest.fixture(scope="module")
def trainer(digits: PreparedDataset) -> Trainer:
    return make_trainer(digits)


@EVERY_ENGINE
@EVERY_CONFIG
def test_the_same_configuration_and_seed_give_the_same_result_to_the_last_bit(
    digits: PreparedDataset, build: ModelBuilder, config: dict[str, Any], engine: str
) -> None:
    trainer = make_trainer(digits, build, engine=engine)
    first = trainer.train(config, seed=3)
    trainer.train(config | {"learning_rate": 0.1}, seed=9)
    torch.rand(5)
    assert trainer.train(config, seed=3) == first
    assert make_trainer(digits, build, engine=engine).train(config, seed=3) == first
    assert trainer.train(config, seed=4).curve != first.curve


@EVERY_ENGINE
@EVERY_CONFIG
def test_a_long_training_passes_through_every_shorter_one(
    digits: PreparedDataset, build: ModelBuilder, config: dict[str, Any], engine: str
) -> None:
    trainer = make_trainer(digits, build, engine=engine)
    long = trainer.train(config | {"steps": 40}, seed=3)
    short = trainer.train(config | {"steps": 20}, seed=3)
    assert [point.step for point in long.curve] == [10, 20, 30, 40]
    assert short.curve == long.curve[:2]


def test_the_last_point_is_after_the_last_step_also_off_the_grid(trainer: Trainer) -> None:
    result = trainer.train(PLAIN | {"steps": 25}, seed=3)
    assert [point.step for point in result.curve] == [10, 20, 25]
    assert result.steps == 25
    assert result.curve[:2] == trainer.train(PLAIN | {"steps": 20}, seed=3).curve


@pytest.mark.parametrize(("until", "status"), [(20, "partial"), (25, "partial"), (40, "complete"), (99, "complete")])
def test_a_training_that_is_paused_is_the_beginning_of_the_whole_one(trainer: Trainer, until: int, status: str) -> None:
    paused, whole = trainer.train(PLAIN, seed=3, until=until), trainer.train(PLAIN, seed=3)
    assert (paused.status, paused.steps) == (status, min(until, 40))
    as_long = trainer.train(PLAIN | {"steps": paused.steps}, seed=3)
    assert (paused.curve, paused.train, paused.held_out) == (as_long.curve, as_long.train, as_long.held_out)
    assert paused.curve[: until // 10] == whole.curve[: until // 10]


def test_a_pause_writes_no_weights(trainer: Trainer, tmp_path: Path) -> None:
    trainer.train(PLAIN, seed=3, until=20, weights=tmp_path / "weights")
    assert list(tmp_path.iterdir()) == []


def test_the_optimiser_takes_the_rate_of_each_step(digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_trainer(digits).train(PLAIN, seed=3)
    asked: list[float] = []

    def half_then_none(done: float, warmup: float, cooldown: float) -> float:
        asked.append(done * 40)
        return 0.5 if done < 0.5 else 0.0

    monkeypatch.setitem(SCHEDULES, "constant", half_then_none)
    found = make_trainer(digits).train(PLAIN | {"learning_rate": 0.02}, seed=3)
    assert asked == list(range(40))
    assert found.curve[:2] == plain.curve[:2]
    assert found.curve[-1].values["loss"] == found.curve[1].values["loss"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_prefix_exact_if_its_rates_do_not_depend_on_the_steps_to_come(name: str) -> None:
    rates = {steps: [rate_factor(name, step, steps, 0.1, 0.2) for step in range(50)] for steps in (50, 100, 1000)}
    assert (rates[50] == rates[100] == rates[1000]) == (name in names.PREFIX_EXACT)


@pytest.mark.parametrize(
    ("listed", "registry"),
    [
        (names.ENGINES, engines.ENGINES),
        (names.MODELS, MODELS),
        (names.OPTIMISERS, OPTIMISERS),
        (names.SCHEDULES, SCHEDULES),
    ],
)
def test_every_name_stands_for_code(listed: tuple[str, ...], registry: Mapping[str, object]) -> None:
    assert listed == tuple(registry)


@EVERY_ENGINE
def test_an_engine_gives_the_results_of_its_jobs_in_their_order(digits: PreparedDataset, engine: str) -> None:
    trainer = make_trainer(digits, engine=engine)
    jobs = [Job(PLAIN, 3), Job(PLAIN, 4, until=20), Job(PLAIN | {"steps": 10}, 3)]
    found = list(trainer.train_jobs(jobs, lambda: False))
    assert found == [trainer.train(job.config, job.seed, until=job.until) for job in jobs]
    assert engines.ENGINES[engine].batch(jobs[0], jobs[1:]) == jobs[:1]


def test_a_task_that_fails_costs_the_others_of_its_batch_nothing(trainer: Trainer) -> None:
    tasks = [Task(number, 0, 3, PLAIN) for number in range(4)]
    tasks[1] = replace(tasks[1], config={**PLAIN, "activation": "none"})
    tasks[2] = replace(tasks[2], until=20)
    found = list(TrainingTask(trainer, StopRequest())(tasks))
    assert [evaluation.individual for evaluation in found] == [0, 1, 2, 3]
    assert [evaluation.status for evaluation in found] == ["complete", "failed", "partial", "complete"]
    assert found[1].error.startswith("KeyError")
    assert found[2].fitness == found[0].curve[1].values["validation_accuracy"]
    assert found[2].steps_trained == 20


class Silent(BaseException):
    """An error without a text."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(("error", "reason"), [(SystemExit("enough"), "SystemExit: enough"), (Silent(), "Silent: ")])
def test_whatever_a_users_model_raises_is_the_failure_of_its_training(
    trainer: Trainer, error: BaseException, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> torch.nn.Module:
        raise error

    monkeypatch.setattr(trainer, "build", build)
    found = list(TrainingTask(trainer, StopRequest())([Task(0, 0, 3, PLAIN), Task(1, 0, 3, PLAIN)]))
    assert [evaluation.status for evaluation in found] == ["failed", "failed"]
    assert all(evaluation.error.startswith(reason) for evaluation in found)


def test_a_module_that_exits_when_it_is_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_that_exits.py").write_text("import sys\nsys.exit('not here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match='cannot load "module_that_exits:build": SystemExit: not here'):
        load_builder("module_that_exits:build")


def test_a_result_says_what_was_measured(trainer: Trainer) -> None:
    result = trainer.train(PLAIN, seed=3)
    assert result.status == "complete"
    assert result.train is not None
    assert result.held_out is not None
    assert result.held_out.accuracy == result.curve[-1].values["validation_accuracy"]
    assert "test_accuracy" not in result.curve[-1].values
    assert result.parameters == 65 * 16 + 17 * 10
    assert result.curve[-1].values["train_loss"] < result.curve[0].values["train_loss"]
    assert result.held_out.accuracy > 0.5


def test_the_generators_of_the_process_are_left_alone(trainer: Trainer) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trainer.train(PLAIN | {"dropout": 0.5}, seed=3)
    assert torch.equal(torch.rand(3), expected)


def test_settings_of_the_space_hold_where_no_gene_does(digits: PreparedDataset, trainer: Trainer) -> None:
    fixed = make_trainer(digits, settings={"learning_rate": 0.01, "batch_size": 64, "steps": 40})
    assert fixed.train({"hidden_layers": (16,)}, seed=3) == trainer.train(PLAIN, seed=3)
    assert fixed.train({"hidden_layers": (16,), "steps": 10}, seed=3).steps == 10


@pytest.mark.parametrize("settings", [{"optimiser": "sgd"}, {"preprocess": "subtract_mean_image"}])
def test_optimiser_and_preprocessing_make_a_difference(
    digits: PreparedDataset, trainer: Trainer, settings: dict[str, Any]
) -> None:
    assert make_trainer(digits, settings=settings).train(PLAIN, seed=3).curve != trainer.train(PLAIN, seed=3).curve


def test_a_batch_larger_than_the_training_part_is_the_whole_part(trainer: Trainer) -> None:
    result = trainer.train(PLAIN | {"batch_size": 100_000, "steps": 10}, seed=3)
    assert result == trainer.train(PLAIN | {"batch_size": len(trainer.train_part), "steps": 10}, seed=3)


def test_a_loss_that_is_no_longer_finite_is_a_divergence_with_its_step(digits: PreparedDataset) -> None:
    trainer = make_trainer(digits, settings={"optimiser": "sgd", "preprocess": "subtract_mean_image"})
    result = trainer.train(PLAIN | {"learning_rate": 1e6}, seed=3)
    assert (result.status, result.train, result.held_out) == ("diverged", None, None)
    assert result.error == f"the loss was nan by step {result.steps}"
    assert result.steps % 10 == 0


def test_bf16_trains_and_differs_from_fp32_a_little(digits: PreparedDataset, trainer: Trainer) -> None:
    half, full = make_trainer(digits, precision="bf16").train(PLAIN, seed=3), trainer.train(PLAIN, seed=3)
    assert half.status == "complete"
    assert half.curve != full.curve
    assert half.curve[-1].values["train_loss"] == pytest.approx(full.curve[-1].values["train_loss"], rel=0.1)
    assert make_trainer(digits, precision="bf16").train(PLAIN, seed=3) == half


@EVERY_CONFIG
def test_weights_that_were_saved_give_the_same_metrics(
    digits: PreparedDataset, build: ModelBuilder, config: dict[str, Any], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    trainer = make_trainer(digits, build)
    path = tmp_path / "new folder" / "weights.safetensors"
    result = trainer.train(config, seed=3, weights=path)
    assert result == trainer.train(config, seed=3)
    model = build(config, digits.image_shape, 10)
    model.load_state_dict(load_file(path))
    test = load_part(digits, "test", CPU)
    assert result.held_out is not None
    for part, expected in ((trainer.held_out_part, result.held_out), (test, trainer.test(config, path))):
        measured = trainer.measure(model, part)
        assert measured.accuracy == expected.accuracy
        assert measured.loss == pytest.approx(expected.loss, rel=1e-6)  # the engine rounds CNNs in another order
    assert expected.accuracy > 0.2


def test_a_divergence_saves_no_weights(digits: PreparedDataset, tmp_path: Path) -> None:
    trainer = make_trainer(digits, settings={"optimiser": "sgd", "preprocess": "subtract_mean_image"})
    trainer.train(PLAIN | {"learning_rate": 1e6}, seed=3, weights=tmp_path / "weights")
    assert list(tmp_path.iterdir()) == []


def test_measuring_leaves_the_networks_mode_and_statistics_alone(trainer: Trainer) -> None:
    model = mlp.build(PLAIN | {"batch_norm": True, "dropout": 0.5}, (1, 8, 8), 10)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = trainer.measure(model, trainer.held_out_part)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert trainer.measure(model, trainer.held_out_part) == first


def test_accuracy_and_loss_are_means_over_the_part(trainer: Trainer) -> None:
    model = mlp.build(PLAIN, (1, 8, 8), 10).eval()
    part = trainer.held_out_part
    with torch.no_grad():
        logits = model(trainer.preprocess(part.images[part.indices]))
    labels = part.labels[part.indices]
    metrics = trainer.measure(model, part)
    assert metrics.accuracy == float((logits.argmax(1) == labels).double().mean())
    assert metrics.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)


def test_batches_are_slices_of_permutations_that_drop_the_rest() -> None:
    indices = torch.arange(100, 123)
    found = list(itertools.islice(batches(indices, 5, seed=3), 8))
    assert all(batch.shape == (5,) for batch in found)
    for epoch in (torch.cat(found[:4]), torch.cat(found[4:])):
        assert len(set(epoch.tolist())) == 20
        assert set(epoch.tolist()) <= set(indices.tolist())
    assert not torch.equal(torch.cat(found[:4]), torch.cat(found[4:]))
    again = list(itertools.islice(batches(indices, 5, seed=3), 8))
    assert torch.equal(torch.cat(again), torch.cat(found))
    assert not torch.equal(torch.cat(list(itertools.islice(batches(indices, 5, seed=4), 8))), torch.cat(found))


class Recorder(nn.Module):
    """A network that notes the images it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(images.flatten(1).clone())
        logits: torch.Tensor = self.layer(images.flatten(1))
        return logits


@pytest.mark.parametrize("part", ["validation", "test"])
def test_an_image_that_fitness_is_measured_on_is_never_trained_on(digits: PreparedDataset, part: Any) -> None:
    recorder = Recorder()

    def build(config: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
        return recorder

    trainer = make_trainer(digits, build, fitness=part)

    def pixels(of: Any) -> set[bytes]:
        return {row.numpy().tobytes() for row in trainer.preprocess(of.images[of.indices]).flatten(1)}

    count = len(trainer.train_part)
    trainer.train({"learning_rate": 0.01, "batch_size": 50, "steps": count // 50}, seed=3)
    seen = {row.numpy().tobytes() for row in torch.cat(recorder.seen)}
    assert len(seen) == count
    assert seen == pixels(trainer.train_part)
    assert not seen & pixels(trainer.held_out_part)


def test_the_parts_are_those_that_fitness_asks_for(digits: PreparedDataset, trainer: Trainer) -> None:
    assert (len(trainer.train_part), len(trainer.held_out_part)) == (1350, 150)
    on_test = make_trainer(digits, fitness="test")
    assert (len(on_test.train_part), len(on_test.held_out_part)) == (1500, 297)
    result = on_test.train(PLAIN, seed=3)
    assert result.held_out is not None
    assert result.curve[-1].values["test_accuracy"] == result.held_out.accuracy
    assert "validation_accuracy" not in result.curve[-1].values


def test_standardised_images_have_mean_0_and_deviation_1_a_channel_on_the_training_part(
    digits: PreparedDataset,
) -> None:
    part = load_part(digits, "train", CPU)
    images = fit_preprocessing("standardise", part)(part.images[part.indices]).double()
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert (images.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_subtracting_the_mean_image_is_what_the_report_did(digits: PreparedDataset) -> None:
    part = load_part(digits, "train", CPU)
    pixels = part.images[part.indices].double()
    images = fit_preprocessing("subtract_mean_image", part)(part.images[part.indices])
    assert torch.allclose(images.double(), pixels - pixels.mean(dim=0), atol=1e-4)


def test_preprocessing_is_fitted_on_the_training_part_alone(digits: PreparedDataset) -> None:
    part = load_part(digits, "train", CPU)
    changed = part.images.clone()
    changed[load_part(digits, "validation", CPU).indices] = 255
    for kind in ("standardise", "subtract_mean_image"):
        first = fit_preprocessing(kind, part)  # type: ignore[arg-type]
        second = fit_preprocessing(kind, type(part)(changed, part.labels, part.indices))  # type: ignore[arg-type]
        assert torch.equal(first.shift, second.shift)


def test_a_constant_channel_is_no_division_by_zero(digits: PreparedDataset) -> None:
    part = load_part(digits, "train", CPU)
    flat = type(part)(torch.full_like(part.images, 7), part.labels, part.indices)
    assert torch.isfinite(fit_preprocessing("standardise", flat)(flat.images[:3])).all()


@pytest.mark.parametrize(
    "model", ["no_such_package:build", "evo.models.mlp:no_such_function", "mpl", "evo.models.mlp:__doc__"]
)
def test_a_model_that_does_not_exist_is_named(model: str) -> None:
    with pytest.raises(ConfigurationError, match=f'--model: .*"{model}"'):
        load_builder(model)


def test_precision_is_what_was_asked_for_or_what_the_hardware_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("bf16", "cpu") == "bf16"
    for flags, expected in ({"sse2", "amx_bf16"}, "bf16"), ({"sse2"}, "fp32"):
        monkeypatch.setattr("evo.training.hardware.processor_flags", lambda flags=flags: flags)
        assert resolve_precision("auto", "cpu") == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_training_on_a_gpu_is_the_same_every_time(digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    results: list[TrainingResult] = []
    for _ in range(2):
        results.append(make_trainer(digits, device=resolve_device("cuda")).train(PLAIN, seed=3))
    assert results[0] == results[1]
    assert results[0].status == "complete"


def test_the_facts_of_a_setup_say_what_trains(digits: PreparedDataset) -> None:
    _, facts = TrainingSetup(digits, TrainingSettings(), "mlp", device="cpu", precision="fp32").build(StopRequest())
    assert (facts["device"], facts["precision"], facts["threads"]) == ("cpu", "fp32", 1)
    assert torch.get_num_threads() == 1


def test_both_precisions_are_equally_accurate_over_seeds(digits: PreparedDataset) -> None:
    config = {"hidden_layers": (16,), "learning_rate": 0.01, "batch_size": 64, "steps": 100}
    accuracies: dict[Any, list[float]] = {"fp32": [], "bf16": []}
    for precision, found in accuracies.items():
        trainer = make_trainer(digits, precision=precision)
        for seed in range(5):
            result = trainer.train(config, seed=seed)
            assert result.train is not None
            found.append(result.train.accuracy)
    full, half = accuracies["fp32"], accuracies["bf16"]
    assert full != half, "the precision changes nothing, so this shows nothing"
    assert statistics.fmean(full) > 0.9
    error = math.sqrt((statistics.variance(full) + statistics.variance(half)) / 5)
    assert abs(statistics.fmean(full) - statistics.fmean(half)) < max(3 * error, 0.02)


def test_a_training_counts_the_steps_it_did_and_the_weights_it_trained(digits: PreparedDataset) -> None:
    def frozen(config: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
        model = mlp.build(config, shape, classes)
        next(model.parameters()).requires_grad_(False)
        return model

    trainer = make_trainer(digits, frozen)
    training = trainer.begin(Job(PLAIN, 3))
    before = [weight.detach().clone() for weight in training.state.model.parameters()]
    for _ in range(3):
        step(training)
    assert (training.state.step, training.state.since, training.recipe.steps) == (3, 3, 40)
    changed = [
        not torch.equal(weight, old) for weight, old in zip(training.state.model.parameters(), before, strict=True)
    ]
    assert changed == [False, True, True, True]
    assert trainer.train(PLAIN, seed=3).parameters == 16 + 17 * 10
