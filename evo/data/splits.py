"""The split of the training images into a training and a validation part, the same in every run."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from evo.data.cache import PreparedDataset
from evo.errors import ConfigurationError

Indices: TypeAlias = npt.NDArray[np.int64]

# A constant, not the run's seed: fitness values of different runs can only be compared on the same validation part.
SPLIT_SEED = 20190412


def fixed_permutation(count: int, seed: int) -> Indices:
    """Return a permutation of 0 … count-1 that depends only on `count` and `seed`.

    It is the order of raw 64-bit draws of PCG64. NumPy promises that a bit generator's stream never changes (NEP 19),
    but not that `Generator.permutation` never does.

    Args:
        count: How many indices.
        seed: The seed of the bit generator.

    Returns:
        Indices of shape `(count,)`.
    """
    draws = np.random.PCG64(seed).random_raw(count)
    return np.argsort(draws, kind="stable").astype(np.int64)


def split_train(count: int, validation_fraction: float = 0.1) -> tuple[Indices, Indices]:
    """Split training images into a training and a validation part, at random but always the same way.

    Images that are sorted by class, like those of an image folder, still give a mixed split.

    Args:
        count: Number of training images, at least 2.
        validation_fraction: The validation part's share, in (0, 1). It is rounded to whole images, and each part
            gets at least one.

    Returns:
        The sorted indices of the training part, then those of the validation part.

    Raises:
        ConfigurationError: `count` or `validation_fraction` is out of range.
    """
    if count < 2:
        raise ConfigurationError(f"a validation split needs at least 2 training images, got {count}")
    if not 0.0 < validation_fraction < 1.0:
        raise ConfigurationError(f"validation_fraction must lie in (0, 1), got {validation_fraction}")
    held_out = validation_count(count, validation_fraction)
    order = fixed_permutation(count, SPLIT_SEED)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def validation_count(count: int, validation_fraction: float = 0.1) -> int:
    """Return how many of `count` training images, at least 2, are in the validation part."""
    return min(max(round(count * validation_fraction), 1), count - 1)


def split_by_class(labels: Indices, share: float) -> tuple[Indices, Indices]:
    """Split training images so that the validation part has the same share of each class, always the same way.

    Args:
        labels: Class indices of all training images, shape `(n,)`.
        share: The validation part's share, in (0, 1). Of each class it is rounded to whole images; a class of two or
            more images has at least one in each part, and a class of one image has it in the training part.

    Returns:
        The sorted indices of the training part, then those of the validation part.

    Raises:
        ConfigurationError: No class has two images.
    """
    order = fixed_permutation(len(labels), SPLIT_SEED)
    by_class = order[np.argsort(labels[order], kind="stable")]
    held_out = []
    for members in np.split(by_class, np.flatnonzero(np.diff(labels[by_class])) + 1):
        held_out.append(members[: validation_count(len(members), share) if len(members) > 1 else 0])
    validation = np.sort(np.concatenate(held_out))
    if not len(validation):
        raise ConfigurationError("data.validation: no class has two training images, one for each part")
    return np.setdiff1d(np.arange(len(labels), dtype=np.int64), validation), validation


def split_of(dataset: PreparedDataset, labels: Indices) -> tuple[Indices, Indices]:
    """Return the training and the validation part of a dataset: as they came, as a share of each class, or the usual.

    Args:
        dataset: Says which.
        labels: Of all its training images.
    """
    if dataset.validation_share is not None:
        return split_by_class(labels, dataset.validation_share)
    if dataset.validation_count:
        first = len(labels) - dataset.validation_count
        return np.arange(first, dtype=np.int64), np.arange(first, len(labels), dtype=np.int64)
    return split_train(len(labels))
