"""Torch Datasets as arrays: each item is read once, in this process."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from evo.errors import ConfigurationError
from evo.plain_text import reason_of

Values: TypeAlias = npt.NDArray[Any]

PROGRESS_SECONDS = 5.0
READ_TWICE = 16
"""Items that are read a second time, to see whether a Dataset draws random numbers."""
ITEM = "its items must be (input, label)"
NAMES = {"train": "training", "test": "test", "validation": "validation"}


def is_dataset(value: object) -> bool:
    """Return whether something is meant as a Dataset: torch's own class, or what has items and a length like it."""
    classes = {kind.__name__ for kind in type(value).__mro__}
    if {"Dataset", "DataLoader"} & classes:
        return True
    is_array = hasattr(value, "shape") or hasattr(value, "to_numpy") or isinstance(value, list | tuple | Mapping | str)
    return not is_array and hasattr(value, "__getitem__") and hasattr(value, "__len__")


def read_dataset(part: str, dataset: Any, notify: Callable[[str], None]) -> tuple[Values, Values]:
    """Read all items of a map-style Dataset in their order; return inputs and labels.

    Args:
        part: "train", "test" or "validation".
        dataset: Has `len()`, and items (input, label): a tensor, an array or a picture, and a number or a text.
        notify: Called with one line of progress at a time.

    Raises:
        ConfigurationError: It is an IterableDataset or a DataLoader, or an item is something else or cannot be read.
    """
    name = f"the {NAMES[part]} Dataset"
    count = _length(name, dataset)
    notify(f"Reading the {count:,} items of {name} once, in this process")
    first, _ = _item(name, dataset, 0)
    inputs = np.empty((count, *first.shape), dtype=first.dtype)
    labels: list[Any] = []
    last = time.monotonic()
    for place in range(count):
        value, label = _item(name, dataset, place)
        if value.shape != first.shape or value.dtype != first.dtype:
            raise ConfigurationError(
                f"{name}: item {place} is {value.dtype} of shape {value.shape}, item 0 {first.dtype} of shape "
                f"{first.shape}; let the Dataset give all inputs the same (by a transform that resizes, say)"
            )
        inputs[place] = value
        labels.append(label)
        if time.monotonic() - last > PROGRESS_SECONDS:
            notify(f"Read {place + 1:,} of {count:,} items")
            last = time.monotonic()
    again = (_item(name, dataset, place)[0] for place in range(min(READ_TWICE, count)))
    if not all(np.array_equal(value, inputs[place]) for place, value in enumerate(again)):
        # Not by `notify`: in Python nobody may be watching.
        warnings.warn(
            f"{name} gives other inputs when it is read again: a random transform was applied once, and stays as it "
            "was drawn; leave it out, and augment by [training] augment",
            stacklevel=2,
        )
    return inputs, np.array(labels, dtype=object)


def _length(name: str, dataset: Any) -> int:
    classes = {kind.__name__ for kind in type(dataset).__mro__}
    if "DataLoader" in classes:
        raise ConfigurationError(f"{name}: is a DataLoader; give the Dataset that it loads: loader.dataset")
    if "IterableDataset" in classes or not hasattr(dataset, "__len__"):
        raise ConfigurationError(
            f"{name}: {type(dataset).__name__} has no length and no items by number, as an IterableDataset; evo trains "
            "on a fixed number of examples: give a map-style Dataset (list its items in one), or arrays"
        )
    count = len(dataset)
    if count < 1:
        raise ConfigurationError(f"{name}: has no items")
    return count


def _item(name: str, dataset: Any, place: int) -> tuple[Values, Any]:
    """Return one item: its input as an array, its label as a Python object."""
    try:
        item = dataset[place]
    except Exception as error:  # the code of a Dataset may raise anything
        raise ConfigurationError(f"{name}: item {place} cannot be read: {reason_of(error)}") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        length = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise ConfigurationError(f"{name}: {ITEM}, item {place} is a {type(item).__name__}{length}")
    value, label = item
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{name}: {ITEM}, the input of item {place} is not an array: {reason_of(error)}"
        ) from None
    if array.dtype.kind not in "biuf" or not array.ndim:
        hint = "; add a transform that makes it a tensor" if array.dtype == object else ""
        raise ConfigurationError(
            f"{name}: {ITEM}, the input of item {place} is not an array of numbers but {type(value).__name__}{hint}"
        )
    return array, label.item() if getattr(label, "ndim", None) == 0 and hasattr(label, "item") else label
