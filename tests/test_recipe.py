"""The recipe of a training: its schedule, its augmentation, its length in epochs, and what it measures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evo.data import PreparedDataset
from evo.data.augmentation import Augmentation
from evo.individual import training_seed
from evo.models import mlp
from evo.space.training_settings import TrainingSettings
from evo.training.jobs import Job
from evo.training.schedules import SCHEDULES, rate_factor
from evo.training.trainer import Trainer

CONFIG: dict[str, Any] = {"hidden_layers": (16,), "learning_rate": 0.01, "batch_size": 64}
FRACTION = st.floats(0, 1)


def trainer(dataset: PreparedDataset, **settings: Any) -> Trainer:
    return Trainer(dataset, TrainingSettings(**settings), mlp.build)


def images_of(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def augmentation(kind: str = "none", padding: int = 2, cutout: int = 0) -> Augmentation:
    return Augmentation(kind, padding, cutout, torch.tensor(7, dtype=torch.uint8))


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 300), FRACTION, FRACTION)
def test_a_rate_rises_in_the_warmup_and_never_afterwards(name: str, steps: int, warmup: float, cooldown: float) -> None:
    cooldown = min(cooldown, 1 - warmup)
    factors = [rate_factor(name, step, steps, warmup, cooldown) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert top <= warmup * steps
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    if name != "constant" and warmup < 1 and (name != "trapezoid" or cooldown):
        assert rate_factor(name, steps, steps, warmup, cooldown) == pytest.approx(0, abs=1e-9)


def test_a_rate_without_warmup_begins_at_its_highest_and_trapezoid_stays_there() -> None:
    assert all(rate_factor(name, 0, 100) == 1 for name in SCHEDULES)
    assert [rate_factor("trapezoid", step, 100, 0.1, 0.2) for step in range(10, 80)] == [1.0] * 70
    assert rate_factor("cosine", 50, 100) == pytest.approx(0.5)
    assert rate_factor("one_cycle", 62, 100, 0.25) == pytest.approx(38 / 75)


@pytest.mark.parametrize("kind", ["flip", "flip_crop"])
def test_each_augmented_image_is_the_image_mirrored_or_moved_with_reflected_edges(kind: str) -> None:
    images, padding = images_of(64, 3, 6, 9), 2
    found = augmentation(kind, padding)(images, 5, 11)
    padded = torch.nn.functional.pad(images.float(), (padding,) * 4, mode="reflect").byte()
    shifts = range(2 * padding + 1) if kind == "flip_crop" else [padding]
    places = []
    for image, one in zip(found, padded, strict=True):
        windows = {(y, x, flip): one[:, y : y + 6, x : x + 9] for y in shifts for x in shifts for flip in (0, 1)}
        windows = {place: w.flip(2) if place[2] else w for place, w in windows.items()}
        places.append(next(place for place, window in windows.items() if torch.equal(window, image)))
    assert {flip for *_, flip in places} == {0, 1}
    assert {y for y, *_ in places} == {x for _, x, _ in places} == set(shifts)


def test_a_cutout_hides_one_square_whose_centre_is_in_the_image() -> None:
    images = images_of(64, 3, 9, 9).clamp_min(8)
    hidden = (augmentation(cutout=5)(images, 1, 2) == 7).all(dim=1)
    sides = hidden.any(dim=2).sum(dim=1), hidden.any(dim=1).sum(dim=1)
    assert all(3 <= side <= 5 for side in (*sides[0].tolist(), *sides[1].tolist()))
    assert torch.equal(hidden.sum(dim=(1, 2)), sides[0] * sides[1])


@given(st.integers(0, 2**48), st.integers(0, 10**6))
def test_an_augmentation_depends_on_seed_and_step_only(seed: int, step: int) -> None:
    images, augment = images_of(32, 1, 8, 8), augmentation("flip_crop", cutout=3)
    first = augment(images, seed, step)
    torch.rand(3)
    assert torch.equal(first, augment(images, seed, step))
    assert not torch.equal(first, augment(images, seed, step + 1))
    assert not torch.equal(first, augment(images, seed + 1, step))
    assert augmentation()(images, seed, step) is images


@given(st.floats(0.01, 20), st.integers(1, 500))
def test_epochs_are_steps_by_the_batches_of_an_epoch(epochs: float, batch_size: int) -> None:
    settings, config = TrainingSettings(), {"learning_rate": 0.1, "batch_size": batch_size}
    recipe = settings.recipe({**config, "epochs": epochs}, images=400)
    batches = 400 // min(batch_size, 400)
    assert recipe.steps == max(1, round(epochs * batches))
    assert recipe.every == batches
    assert settings.recipe({**config, "steps": recipe.steps}, images=400).every == 100


def test_a_training_in_epochs_equals_one_of_as_many_steps(digits: PreparedDataset) -> None:
    bench = trainer(digits)
    steps = len(bench.train_part) // 64
    in_epochs = bench.train(CONFIG | {"epochs": 2}, 1)
    assert [point.step for point in in_epochs.curve] == [steps, 2 * steps]
    in_steps = trainer(digits, evaluate_every=steps).train(CONFIG | {"steps": 2 * steps}, 1)
    assert in_epochs == in_steps
    assert training_seed(1, CONFIG | {"epochs": 2}, 0) == training_seed(1, CONFIG | {"steps": 7}, 0)


@pytest.mark.parametrize(
    "recipe",
    [
        {"augment": "flip"},
        {"cutout": 2},
        {"label_smoothing": 0.1},
        {"schedule": "cosine"},
        {"schedule": "one_cycle", "warmup": 0.5},
        {"optimiser": "muon"},
        {"optimiser": "sgd", "momentum": 0.9},
    ],
    ids=str,
)
def test_a_recipe_is_the_same_as_genes_and_as_settings_and_changes_the_training(
    digits: PreparedDataset, recipe: dict[str, Any]
) -> None:
    config = CONFIG | {"steps": 30}
    found = trainer(digits, **recipe).train(config, 1)
    assert found == trainer(digits).train(config | recipe, 1)
    *others, last = recipe
    without_last = {name: recipe[name] for name in others}
    assert found.curve != trainer(digits, **without_last).train(config, 1).curve, f"{last} changes something"


def test_measuring_with_mirror_images_averages_both_outputs(digits: PreparedDataset) -> None:
    bench = trainer(digits, test_flip=True)
    model = mlp.build(CONFIG, (1, 8, 8), 10).eval()
    part = bench.held_out_part
    images = bench.preprocess(part.images.index_select(0, part.indices))
    labels = part.labels.index_select(0, part.indices)
    with torch.no_grad():
        logits = (model(images) + model(images.flip(3))) / 2
    assert bench.measure(model, part).accuracy == (logits.argmax(1) == labels).double().mean().item()
    assert bench.measure(model, part) != trainer(digits).measure(model, part)


def test_the_training_part_may_be_measured_on_fixed_images_of_it(digits: PreparedDataset) -> None:
    bench, config = trainer(digits), CONFIG | {"steps": 30}
    sample = bench.train_sample(100)
    assert len(sample) == 100
    assert torch.isin(sample.indices, bench.train_part.indices).all()
    assert torch.equal(sample.indices, trainer(digits).train_sample(100).indices)
    assert bench.train_sample(10**6) is bench.train_part
    [few] = bench.train_jobs([Job(config, 1, train_images=100)], lambda: False)
    whole = bench.train(config, 1)
    assert few.train is not None
    assert (few.curve, few.held_out) == (whole.curve, whole.held_out)
    assert few.train != whole.train
    assert round(few.train.accuracy * 100, 6) % 1 == 0
