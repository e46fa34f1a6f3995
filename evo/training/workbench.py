"""What all trainings on a device share: images, preprocessing, precision, and how a network is measured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from evo.confusion import Confusion
from evo.data.cache import PreparedDataset
from evo.data.splits import fixed_permutation
from evo.data.tensors import Part, fit_preprocessing, load_part
from evo.names import load
from evo.space.training_settings import TrainingSettings
from evo.training.jobs import Metrics
from evo.training.model_state import Recall, plain_attributes

ROUNDING = {"fp32": 1e-4, "bf16": 1e-2}
"""How far the same network's losses may differ from one processor to another, relative to their size."""
TRAIN_SAMPLE_SEED = 20191204
EVALUATION_BATCH = {"cpu": 125, "cuda": 1000}
"""Images of a forward pass; on a CPU few enough for the activations of a small CNN to stay in the cache."""
LINEAR_BATCH = 1000
"""The same for an MLP, whose activations are small: its weights are rounded to bfloat16 at every forward pass."""


class Workbench:
    """The data of trainings on one device, loaded once.

    Args:
        dataset: The images.
        settings: What all trainings share.
        device: "cpu", "cuda" or "cuda:N".
        precision: "fp32", or "bf16" for automatic mixed precision.
        fitness: "validation" divides the training set; "test" trains on all of it and measures on the test set.
        measure: What fitness is; "balanced_accuracy" is measured only where it is that.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        settings: TrainingSettings,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        fitness: str = "validation",
        measure: str = "accuracy",
    ):
        self.measured = measure
        self.dataset, self.settings = dataset, settings
        self.rounding = ROUNDING[precision]
        self.device, self.precision, self.fitness = torch.device(device), precision, fitness
        self.train_part = load_part(dataset, "all_train" if fitness == "test" else "train", self.device)
        self.held_out_part = load_part(dataset, fitness, self.device)
        batch = EVALUATION_BATCH.get(self.device.type, LINEAR_BATCH)
        self.sample = replace(self.held_out_part, indices=self.held_out_part.indices[:batch])
        self.preprocess = fit_preprocessing(settings.preprocess, self.train_part)
        shift, dtype = self.preprocess.shift, self.train_part.images.dtype
        self.hidden_pixels = shift.round().to(dtype) if dtype == torch.uint8 else shift.to(dtype)
        self.hooks = [load(hook.reference) for hook in settings.curve_hooks]

    @torch.no_grad()  # not inference mode: its tensors cannot enter a later step, and models keep tensors
    def measure(
        self,
        model: nn.Module,
        part: Part,
        *,
        training_mode: bool = False,
        chunk: int | None = None,
        confusion: bool = False,
    ) -> Metrics:
        """Return a network's metrics on a part; the mode of each of its modules is restored.

        Args:
            model: The network.
            part: The images.
            training_mode: Leave dropout and batch norm as they are in training, instead of evaluation mode.
            chunk: Images of a forward pass; by default what is fast.
            confusion: Whether to count which classes are confused.
        """
        modes = [(module, module.training) for module in model.modules()]  # a model may freeze some of its modules
        model.train(training_mode)
        totals = torch.zeros(2, dtype=torch.float64, device=self.device)
        predicted: list[torch.Tensor] = []
        for indices in torch.split(part.indices, chunk or self._images_at_once(model)):
            with self.autocast():
                images = self.preprocess(part.images.index_select(0, indices))
                logits = mirrored(model, images, test_flip=self.settings.test_flip and not training_mode)
            labels = part.labels.index_select(0, indices)
            predicted.append(logits.argmax(dim=1))
            totals[0] += (predicted[-1] == labels).sum()
            totals[1] += functional.cross_entropy(logits.float(), labels, reduction="sum")
        for module, mode in modes:
            module.training = mode
        accuracy, loss = (totals / len(part)).tolist()
        labels = part.labels.index_select(0, part.indices)
        counts = _confusion(labels, torch.cat(predicted)) if confusion else ()
        balanced = self.measured == "balanced_accuracy"
        return Metrics(accuracy, loss, counts, _balanced_accuracy(labels, torch.cat(predicted)) if balanced else None)

    def _images_at_once(self, model: nn.Module) -> int:
        weights = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
        if all(isinstance(module, nn.Linear | nn.BatchNorm1d) for module in weights):
            return LINEAR_BATCH
        return EVALUATION_BATCH.get(self.device.type, LINEAR_BATCH)

    def train_sample(self, count: int | None) -> Part:
        """Return so many images of the training part, always the same; all of them for None."""
        part = self.train_part
        if count is None or count >= len(part):
            return part
        chosen = torch.from_numpy(fixed_permutation(len(part), TRAIN_SAMPLE_SEED)[:count]).sort().values
        return replace(part, indices=part.indices[chosen.to(part.indices.device)])

    def recall(self, model: nn.Module, part: Part, *, attributes: bool = False) -> Recall:
        """Return what a network gives on a part, for a comparison once it is restored; no random number is drawn.

        Args:
            model: The network.
            part: The images.
            attributes: Whether its plain attributes are to be compared, too.
        """
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            metrics = self.measure(model, part)
        held = plain_attributes(model) if attributes else ""
        return Recall(metrics.accuracy, metrics.loss, len(part), self.rounding, held)

    def autocast(self) -> torch.autocast:
        """Return the context in which networks compute in the precision that was asked for."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    @contextlib.contextmanager
    def own_randomness(self, seed: int) -> Iterator[None]:
        """Seed torch's global generators, which initialisation and dropout use, and restore them afterwards."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield


def _confusion(labels: torch.Tensor, predicted: torch.Tensor) -> Confusion:
    """Return how many images of each label a network takes for what."""
    width = int(torch.stack([labels.max(), predicted.max()]).max()) + 1
    counts = torch.bincount(labels * width + predicted).tolist()
    return tuple((place // width, place % width, images) for place, images in enumerate(counts) if images)


def _balanced_accuracy(labels: torch.Tensor, predicted: torch.Tensor) -> float:
    """Return the mean of the accuracies of the classes that there are."""
    counts = torch.bincount(labels)
    right = torch.bincount(labels, weights=(predicted == labels).to(torch.float64))
    there = counts > 0
    return float((right[there] / counts[there]).mean())


def mirrored(model: nn.Module, images: torch.Tensor, *, test_flip: bool) -> torch.Tensor:
    """Return a network's outputs; with `test_flip`, the mean of those for the images and for their mirror images."""
    logits: torch.Tensor = model(images)
    return (logits.float() + model(images.flip(3)).float()) / 2 if test_flip else logits
