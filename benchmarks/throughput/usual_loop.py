"""The training loop that users write themselves, from a DataLoader or from resident images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_all_start_methods
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, default_collate

from evo.data import PreparedDataset
from evo.data.tensors import fit_preprocessing, load_part
from evo.evaluators.base import Task
from evo.evaluators.training_task import load_builder
from evo.space.training_settings import Recipe, TrainingSettings

if TYPE_CHECKING:
    from benchmarks.throughput.rungs import LoopSetup


@dataclass
class LoopTraining:
    """Trains the network of a task; returns the sum of the steps' losses, the steps and the images.

    Attributes:
        setup: How.
        images: Preprocessed, float32, (n, channels, height, width).
        labels: int64, (n,).
    """

    setup: LoopSetup
    images: torch.Tensor
    labels: torch.Tensor

    def __call__(self, task: Task) -> tuple[float, int, int]:
        build, classes = load_builder(self.setup.model), len(self.setup.dataset.classes)
        model = build(task.config, self.setup.dataset.image_shape, classes).to(self.setup.device)
        recipe = self.setup.training.recipe(task.config, len(self.images))
        train = self._with_loader if self.setup.loader else self._resident
        return train(model, optimiser_of(recipe, model), recipe)

    def _with_loader(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, recipe: Recipe
    ) -> tuple[float, int, int]:
        workers = self.setup.loader_workers
        loader = DataLoader(
            TensorDataset(self.images, self.labels),
            recipe.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            # As in a script on Linux: this process was spawned, and so would be its children, with copies of the data.
            multiprocessing_context="fork" if workers and "fork" in get_all_start_methods() else None,
            collate_fn=AugmentedBatch(augmentation_of(recipe, self.images.shape[-1])),
        )
        total, done, seen = 0.0, 0, 0
        while True:
            for images, labels in loader:
                optimiser.zero_grad()
                logits = model(images.to(self.setup.device))
                loss = functional.cross_entropy(
                    logits, labels.to(self.setup.device), label_smoothing=recipe.label_smoothing
                )
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimiser.step()
                total, done, seen = total + loss.item(), done + 1, seen + len(images)
                if done == recipe.steps:
                    return total, done, seen

    def _resident(self, model: nn.Module, optimiser: torch.optim.Optimizer, recipe: Recipe) -> tuple[float, int, int]:
        kind, half = self.images.device.type, self.setup.precision == "bf16"
        augment = augmentation_of(recipe, self.images.shape[-1])
        total, done, seen = torch.zeros((), dtype=torch.float64, device=self.images.device), 0, 0
        for index in self._indices(recipe.batch_size):
            images, labels = augment(self.images[index]), self.labels[index]
            optimiser.zero_grad()
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=half):
                loss = functional.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            total += loss.detach()
            done, seen = done + 1, seen + len(images)
            if done == recipe.steps:
                break
        return float(total), done, seen

    def _indices(self, batch_size: int) -> Iterator[torch.Tensor]:
        while True:
            order = torch.randperm(len(self.images), device=self.images.device)
            for start in range(0, len(order) - batch_size + 1, batch_size):
                yield order[start : start + batch_size]


def optimiser_of(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Return torch's optimiser of a recipe, "adam" or "sgd"; its rate stays constant."""
    rate, decay, momentum = recipe.learning_rate, recipe.weight_decay, recipe.momentum
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), rate, momentum, weight_decay=decay, nesterov=momentum > 0)
    adam = torch.optim.AdamW if decay else torch.optim.Adam
    return adam(model.parameters(), lr=rate, weight_decay=decay)


Augment = Callable[[torch.Tensor], torch.Tensor]


def augmentation_of(recipe: Recipe, size: int) -> Augment:
    """Return what torchvision does to whole batches of square images; it draws once for all images of a batch."""
    if recipe.augment == "none":
        return nn.Identity()
    from torchvision.transforms import v2

    transforms: list[nn.Module] = [v2.RandomHorizontalFlip()]
    if recipe.augment == "flip_crop":
        transforms.append(v2.RandomCrop(size, padding=recipe.crop_padding, padding_mode="reflect"))
    augment: Augment = v2.Compose(transforms)
    return augment


@dataclass
class AugmentedBatch:
    """Makes the batches of a DataLoader, in its workers if it has any."""

    augment: Augment

    def __call__(self, samples: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = default_collate(list(samples))
        return self.augment(images), labels


def standardised(
    dataset: PreparedDataset, training: TrainingSettings, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training part as preprocessed float32 images and its labels, on a device."""
    part = load_part(dataset, "train", torch.device("cpu"))
    preprocess = fit_preprocessing(training.preprocess, part)
    images = torch.empty((len(part), *part.images.shape[1:]), dtype=torch.float32, device=device)
    for rows in torch.split(torch.arange(len(part)), 1000):  # a second copy in float32 would count as the rung's memory
        images[rows[0] : rows[-1] + 1] = preprocess(part.images.index_select(0, part.indices[rows]))
    return images, part.labels.index_select(0, part.indices).to(device)
