"""What arrays of images or numbers may look like, and how they become what trainings read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from evo.data.cache import Part
from evo.data.labels import checked_labels, class_indices
from evo.errors import ConfigurationError, listed
from evo.plain_text import escaped

Values: TypeAlias = npt.NDArray[Any]

SUFFIXES = {"train": "train", "test": "test", "validation": "val"}
"""How messages and `.npz` files call the arrays of each part: x_train, y_train, …"""
COLOURS = (1, 3)
MOST_CHANNELS = 4
BLOCK = 1 << 22
"""Numbers that are looked at together, so that checking a large array needs no memory of its size."""
BYTES = 255
ROUNDING = 1e-4
"""How far 255 times a float may be from a whole number to count as a byte that was divided by 255."""
MOST_NAMED = 10


@dataclass(frozen=True)
class Arrays:
    """Images (or rows of numbers) and labels of a dataset, in the form in which they are kept.

    Attributes:
        images: Of each part, (n, channels, height, width) or, of tables, (n, 1, 1, columns); uint8, float32 or, of
            tables, float64. The training images end with those of a validation part that was given.
        labels: Of each part, int64, (n,).
        classes: Names; label i means `classes[i]`.
        validation: How many of the training images are that part.
        variant: What they are, for people.
    """

    images: dict[Part, Values]
    labels: dict[Part, npt.NDArray[np.int64]]
    classes: tuple[str, ...]
    validation: int
    variant: str


def arrays_of(parts: Mapping[str, tuple[Any, Any]], kind: str) -> Arrays:
    """Return the arrays of a dataset from what a person has: NumPy arrays, torch tensors, pandas frames, lists.

    Args:
        parts: Examples and labels by part: "train", "test", and perhaps "validation".
        kind: What they are called in `variant`, as "arrays".

    Raises:
        ConfigurationError: Something is not an array of images, a table of numbers or labels; or parts do not fit
            together.
    """
    _check_same_columns({f"x_{SUFFIXES[part]}": _columns(x) for part, (x, _) in parts.items()})
    examples = {part: _examples(f"x_{SUFFIXES[part]}", x) for part, (x, _) in parts.items()}
    given = {part: x.shape[1:] for part, x in examples.items()}
    for part, shape in given.items():
        if shape != given["train"]:
            raise ConfigurationError(
                f"x_train has examples of shape {given['train']}, x_{SUFFIXES[part]} of {shape}; give all parts the "
                f"same {'columns' if len(shape) == len(given['train']) == 1 else 'shape'}"
            )
    labels = {
        part: checked_labels(f"y_{SUFFIXES[part]}", _array(f"y_{SUFFIXES[part]}", y), len(examples[part]))
        for part, (_, y) in parts.items()
    }
    classes, indices = class_indices(labels)
    images, what = _as_kept(examples)
    channels, height, width = images["train"].shape[1:]
    size = f"{width:,} columns" if (channels, height) == (1, 1) else f"{channels}×{height}×{width} {what}"
    whole = _joined(images), _joined(indices)
    return Arrays(*whole, classes, len(labels.get("validation", ())), f"{kind}: {size}")


def _columns(value: Any) -> list[str]:
    """Return the names of the columns of a frame; none of anything else."""
    return [str(column) for column in getattr(value, "columns", ())]


def _check_same_columns(found: Mapping[str, list[str]]) -> None:
    """Raise if frames have other columns, or in another order, than that of the training part."""
    first = found["x_train"]
    for name, columns in found.items():
        if first and columns and columns != first:
            lacks, more = [c for c in first if c not in columns], [c for c in columns if c not in first]
            lines = [f"only in x_train: {', '.join(lacks)}"] * bool(lacks) + [
                f"only in {name}: {', '.join(more)}"
            ] * bool(more)
            what = "; ".join(escaped(line) for line in lines) or "they are in another order"
            raise ConfigurationError(f"x_train and {name} have different columns: {what}")


def _joined(parts: Mapping[str, Values]) -> dict[Part, Any]:
    """Return training and test part; the validation part, if there is one, follows the training part."""
    train = [parts[part] for part in ("train", "validation") if part in parts]
    return {"train": np.concatenate(train) if len(train) > 1 else train[0], "test": parts["test"]}


def _array(name: str, value: Any) -> Values:
    """Return what holds numbers or texts as a NumPy array, without a copy where there need be none."""
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu()
        try:
            value = value.numpy()
        except TypeError:  # bfloat16
            value = value.float().numpy()
    elif hasattr(value, "to_numpy"):  # pandas, polars
        value = value.to_numpy()
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ConfigurationError(f"{name}: is not an array: {error}") from None
    if not isinstance(value, np.ndarray):
        raise ConfigurationError(
            f"{name}: must be a NumPy array, a torch tensor or a pandas frame, got {type(value).__name__}"
        )
    if isinstance(value, np.ma.MaskedArray):  # what is masked is missing, whatever stands there
        return np.ma.filled(value.astype(np.float64), np.nan) if np.ma.is_masked(value) else np.asarray(value.data)
    return value


def _examples(name: str, value: Any) -> Values:
    """Return examples as numbers, all of them finite; tables as float64."""
    if columns := _columns(value):
        return _checked_columns(name, _numbers_of_frame(name, value), columns)
    array = _array(name, value)
    if array.ndim == 0 or not len(array):
        raise ConfigurationError(f"{name}: has no examples")
    if array.dtype.kind not in "biuf":
        hint = "; texts must be encoded as numbers" if array.dtype.kind in "OUS" else ""
        raise ConfigurationError(f"{name}: must hold numbers, got {array.dtype}{hint}")
    if array.ndim == 2:
        return _checked_columns(name, array.astype(np.float64), [f"number {i}" for i in range(array.shape[1])])
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ConfigurationError(
            f"{name}: must be images, (n, channels, height, width) or (n, height, width[, channels]), or a table, "
            f"(n, columns), got shape {array.shape}"
        )
    if array.dtype.kind == "f":
        _check_finite(name, array)
    return array


def _numbers_of_frame(name: str, frame: Any) -> Values:
    """Return the numbers of a frame of pandas (or one like it).

    Raises:
        ConfigurationError: A column holds something else.
    """
    wrong, columns = [], []
    for place, column in enumerate(frame.columns):
        values = frame.iloc[:, place] if hasattr(frame, "iloc") else frame[column]
        found = values.to_numpy()
        if found.dtype == object:  # numbers with gaps of pandas' own kind
            missing = np.array([value is None or str(value) in ("<NA>", "nan") for value in found])
            found = np.where(missing, np.nan, found)
            with_numbers = all(isinstance(value, int | float | np.number) for value in found)
            found = found.astype(np.float64) if with_numbers else found
        if found.dtype.kind not in "biuf":
            wrong.append(f'column "{escaped(str(column))}" holds {values.dtype}')
        columns.append(found)
    if wrong:
        raise ConfigurationError(
            listed(wrong[:MOST_NAMED], f"{name}: a table must hold numbers:")
            + "\nencode texts as numbers (pandas.get_dummies), or leave these columns out"
        )
    return np.stack([column.astype(np.float64) for column in columns], axis=1)


def _checked_columns(name: str, table: Values, columns: Sequence[str]) -> Values:
    """Return a table whose numbers are all finite.

    Raises:
        ConfigurationError: Some are not; their columns are named.
    """
    if 0 in table.shape:
        raise ConfigurationError(f"{name}: has no {'columns' if len(table) else 'examples'}, shape {table.shape}")
    bad = ~np.isfinite(table)
    if not bad.any():
        return table
    lines = []
    for place in map(int, np.flatnonzero(bad.any(axis=0))):
        rows = np.flatnonzero(bad[:, place])
        kind = "NaN" if np.isnan(table[rows, place]).all() else "NaN or infinite"
        title = columns[place] if columns[place].startswith("number ") else f'"{escaped(columns[place])}"'
        lines.append(f"column {title}: {len(rows):,} of {len(table):,} values are {kind}, the first in row {rows[0]}")
    more = [f"… and {len(lines) - MOST_NAMED:,} more columns"] if len(lines) > MOST_NAMED else []
    raise ConfigurationError(
        listed([*lines[:MOST_NAMED], *more], f"{name}: every value must be a finite number:")
        + "\nfill the gaps (with the median of the training part, say), or leave these rows or columns out"
    )


def _check_finite(name: str, images: Values) -> None:
    for first, block in _blocks(images):
        wrong = np.flatnonzero(~np.isfinite(block).reshape(len(block), -1).all(axis=1))
        if len(wrong):
            raise ConfigurationError(f"{name}: example {first + wrong[0]} holds NaN or infinite values")


def _blocks(images: Values) -> list[tuple[int, Values]]:
    size = max(1, BLOCK // max(1, images[0].size))
    return [(first, images[first : first + size]) for first in range(0, len(images), size)]


def _as_kept(parts: dict[str, Values]) -> tuple[dict[str, Values], str]:
    """Return the examples of all parts in their layout and type, and what their values are, for people."""
    if parts["train"].ndim == 2:
        return {part: table[:, None, None, :] for part, table in parts.items()}, "table"
    axes = _layout(parts["train"].shape)
    images = {part: x[:, None] if axes is None else x.transpose(axes) for part, x in parts.items()}
    channels, height, width = images["train"].shape[1:]
    if channels == 1 and min(height, width) == 1:  # one row (or column) of numbers is not a picture
        return {part: x.reshape(len(x), 1, 1, -1).astype(np.float64) for part, x in images.items()}, "table"
    factor = _factor(images.values())
    if factor is None:
        return {part: np.ascontiguousarray(x, dtype=np.float32) for part, x in images.items()}, "floats"
    kept = {part: np.empty(x.shape, dtype=np.uint8) for part, x in images.items()}
    for part, x in images.items():
        for first, block in _blocks(x):
            kept[part][first : first + len(block)] = np.rint(block * factor) if x.dtype.kind == "f" else block
    return kept, "pixels" if factor == 1 else "pixels, given as floats from 0 to 1"


def _layout(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return how to transpose images to (n, channels, height, width); None for grey ones without channels.

    Raises:
        ConfigurationError: No axis looks like channels.
    """
    if len(shape) == 3:
        return None
    first, last = shape[1], shape[3]
    for is_count in (COLOURS.__contains__, MOST_CHANNELS.__ge__):
        if is_count(first):
            return (0, 1, 2, 3)
        if is_count(last):
            return (0, 3, 1, 2)
    if first < min(shape[2:]):
        return (0, 1, 2, 3)
    raise ConfigurationError(
        f"x_train: which axis of {shape} are the channels? Images are (n, channels, height, width) or "
        f"(n, height, width, channels) with 1 to {MOST_CHANNELS} channels, or with fewer channels than pixels in front"
    )


def _factor(parts: Any) -> int | None:
    """Return what makes bytes of the pixels of all parts: 1, or 255 for bytes that were divided; else None."""
    ones = tens = True
    for images in parts:
        for _, block in _blocks(images):
            if images.dtype.kind == "b":
                continue
            low, high = block.min(), block.max()
            ones = ones and low >= 0 and high <= BYTES
            if images.dtype.kind != "f":
                tens = False
                continue
            ones = ones and bool((block == np.rint(block)).all())
            if tens := tens and low >= 0 and high <= 1:
                scaled = block.astype(np.float64) * BYTES
                tens = bool((np.abs(scaled - np.rint(scaled)) < ROUNDING * BYTES).all())
            if not (ones or tens):
                return None
    kinds = {images.dtype.kind for images in parts}
    return BYTES if tens and "f" in kinds else 1 if ones else None
