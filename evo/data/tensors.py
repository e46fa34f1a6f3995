"""A prepared dataset as tensors: the parts that trainings read, and the preprocessing of their pixels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from evo.data.cache import PreparedDataset
from evo.data.splits import fixed_permutation, split_of


@dataclass(frozen=True)
class Part:
    """Some images of a dataset.

    Attributes:
        images: (all images, channels, height, width), on the training's device; on a CPU, mapped from the file and
            shared by all workers. uint8 for pixels, float32 for images of other numbers, float64 for tables.
        labels: int64, (all images,).
        indices: int64, (n,): the images in this part.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def mixed(self, seed: int) -> Part:
        """Return the same images in an order that depends only on their number and `seed`.

        An image folder's test set is sorted by class. Where batch norm measures the statistics of test batches, these
        must be mixed, as the batches of the training were.
        """
        order = torch.from_numpy(fixed_permutation(len(self), seed)).to(self.indices.device)
        return replace(self, indices=self.indices[order])


@dataclass(frozen=True)
class Preprocessing:
    """Turns pixels into what a network sees: (pixels - shift) · scale, computed from the training part only.

    Both are float64 for tables, whose numbers may be large and close to each other, as times are.
    """

    shift: torch.Tensor
    scale: torch.Tensor | None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 images of the same shape, (n, channels, height, width); the given ones stay as they are."""
        pixels = images.to(self.shift.dtype, copy=True).sub_(self.shift)
        return (pixels if self.scale is None else pixels.mul_(self.scale)).to(torch.float32)


def load_part(dataset: PreparedDataset, part: str, device: torch.device) -> Part:
    """Map a part of a dataset into memory; on a GPU, copy it there.

    Args:
        dataset: Where the arrays are.
        part: "train" and "validation" divide the training set, see `split_of`; "all_train" is all of it.
        device: Where trainings run.
    """
    with warnings.catch_warnings():
        # The maps are read-only because all workers share them. torch warns about that, but nothing writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images, labels = (torch.from_numpy(array) for array in dataset.arrays("test" if part == "test" else "train"))
    if part in ("train", "validation"):
        train, validation = split_of(dataset, labels.numpy())
        indices = torch.from_numpy(train if part == "train" else validation)
    else:
        indices = torch.arange(len(labels))
    return Part(images.to(device), labels.to(device), indices.to(device))


def fit_preprocessing(kind: str, part: Part) -> Preprocessing:
    """Return the preprocessing fitted on `part`.

    Args:
        kind: "standardise": zero mean and unit variance per channel of images, per column of tables; a column that is
            constant becomes 0. "subtract_mean_image": as in the 2019 report, pixels in 0..255 minus the mean image, not
            scaled.
        part: The training part.
    """
    if part.images.dtype != torch.uint8:
        return _fit_numbers(kind, part)
    device = part.images.device
    if kind == "subtract_mean_image":
        total = torch.zeros(part.images.shape[1:], dtype=torch.int64, device=device)
        for chunk in torch.split(part.indices, 1000):
            total += part.images.index_select(0, chunk).sum(dim=0, dtype=torch.int64)
        return Preprocessing((total / len(part)).to(device, torch.float32), None)
    values = torch.arange(256, dtype=torch.float64, device=device)
    counts = _histograms(part).to(torch.float64)
    pixels = counts.sum(dim=1)
    mean = (counts * values).sum(dim=1) / pixels
    variance = (counts * values.square()).sum(dim=1) / pixels - mean.square()
    shape = (-1, 1, 1)
    deviation = variance.clamp_min(1e-12).sqrt()
    return Preprocessing(mean.view(shape).to(torch.float32), (1 / deviation).view(shape).to(torch.float32))


def _fit_numbers(kind: str, part: Part) -> Preprocessing:
    """Fit on images that are not bytes; in two passes, so that a large mean costs no digits of the deviation."""
    table = part.images.dtype == torch.float64
    chunks = torch.split(part.indices, 1000)
    size = part.images.shape[1:]
    device, dtype = part.images.device, part.images.dtype

    def mean_of(value: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        total = torch.zeros(size, dtype=torch.float64, device=device)
        for chunk in chunks:
            total += value(part.images.index_select(0, chunk).to(torch.float64)).sum(dim=0)
        total /= len(part)
        return total if table or kind == "subtract_mean_image" else total.mean(dim=(1, 2), keepdim=True)

    mean = mean_of(lambda numbers: numbers)
    if kind == "subtract_mean_image":
        return Preprocessing(mean.to(dtype), None)
    deviation = mean_of(lambda numbers: (numbers - mean).square()).sqrt()
    # What rounding leaves of a constant is not worth scaling to 1.
    constant = deviation <= 1e-12 * mean.abs().clamp_min(1e-12)
    scale = torch.where(constant, torch.zeros_like(deviation), 1 / deviation.clamp_min(1e-300))
    return Preprocessing(mean.to(dtype), scale.to(dtype))


def _histograms(part: Part) -> torch.Tensor:
    """Return how often each of the 256 pixel values occurs in each channel, int64, (channels, 256)."""
    channels = part.images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64, device=part.images.device)
    for chunk in torch.split(part.indices, 1000):
        images = part.images.index_select(0, chunk)
        for channel in range(channels):
            counts[channel] += torch.bincount(images[:, channel].flatten(), minlength=256)
    return counts
