"""Data that a person gives: by value, as an `.npz` file, or by the name of a function that returns them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evo.data.arrays import SUFFIXES, arrays_of
from evo.data.cache import PARTS, Content, Notify, Part, Source, checksum_of_arrays, open_array
from evo.data.torch_datasets import is_dataset, read_dataset
from evo.errors import ConfigurationError, did_you_mean
from evo.names import GIVEN, load
from evo.places import with_home
from evo.plain_text import reason_of

ORIGIN = "arrays given in Python"
ORDER = ("train", "test", "validation")
KEYS = tuple(f"{letter}_{SUFFIXES[part]}" for part in ORDER for letter in "xy")
EXPECTED = (
    "(x_train, y_train, x_test, y_test), with x_val and y_val at the end if there is a validation part; a mapping of "
    "these names; or (train, test) or (train, test, validation) of torch Datasets"
)


def given_source(data: Any, notify: Notify, *, name: str = GIVEN, origin: str = ORIGIN) -> Source:
    """Describe data that were given, once they are checked and read.

    Args:
        data: See `EXPECTED`.
        notify: Called with one line of progress at a time.
        name: Of the dataset.
        origin: Where they are from, for people.

    Raises:
        ConfigurationError: They are something else, or their parts do not fit together.
    """
    parts, kind = _parts(data, notify)
    arrays = arrays_of(parts, kind)

    def decode(directory: Path, notify: Notify) -> None:
        for part in PARTS:
            open_array(directory, part, "images", "r+")[:] = arrays.images[part]
            open_array(directory, part, "labels", "r+")[:] = arrays.labels[part]

    found: dict[tuple[Part, Content], Any] = {(part, "images"): arrays.images[part] for part in PARTS}
    found |= {(part, "labels"): arrays.labels[part] for part in PARTS}
    checksum = checksum_of_arrays(found, arrays.validation)
    return Source(
        name=name,
        identity=_identity(checksum, arrays.classes),
        fingerprint=checksum,
        classes=arrays.classes,
        image_shape=tuple(arrays.images["train"].shape[1:]),
        counts={part: len(arrays.labels[part]) for part in PARTS},
        variant=arrays.variant,
        origin=origin,
        decode=decode,
        dtype=arrays.images["train"].dtype.name,
        validation=arrays.validation,
    )


def cached_source(recorded: Mapping[str, Any]) -> Source:
    """Describe data that a run was given by value, as its settings record them: they may still be in the cache."""

    def decode(directory: Path, notify: Notify) -> None:
        raise ConfigurationError("data that were given by value cannot be decoded again")

    checksum, classes = str(recorded["checksum"]), tuple(map(str, recorded["classes"]))
    return Source(
        name=GIVEN,
        identity=_identity(checksum, classes),
        fingerprint=checksum,
        classes=classes,
        image_shape=tuple(recorded["image_shape"]),
        counts={part: int(recorded[f"{part}_count"]) for part in PARTS},
        variant=str(recorded["variant"]),
        origin=ORIGIN,
        decode=decode,
        validation=0 if recorded.get("validation_share") is not None else int(recorded.get("validation_count", 0)),
    )


def _identity(checksum: str, classes: Sequence[str]) -> str:
    return f"given\0{checksum}\0{json.dumps(classes)}"


def named_source(reference: str, notify: Notify) -> Source:
    """Describe the data that a function returns; it is called here, in this process.

    Args:
        reference: "module:function".
        notify: Called with one line of progress at a time.

    Raises:
        ConfigurationError: There is no such function, it raises, or what it returns is not data.
    """
    try:
        # Only where the user has named a module is the working directory searched for modules.
        sys.path.append(os.getcwd())
        function = load(reference)
    except Exception as error:  # a user-defined module may raise anything while it is imported
        raise ConfigurationError(f'--dataset: cannot load "{reference}": {reason_of(error)}') from None
    if not callable(function):
        raise ConfigurationError(f'--dataset: "{reference}" is not a function, but {type(function).__name__}')
    notify(f"calling {reference}")
    try:
        data = function()
    except Exception as error:
        raise ConfigurationError(f"--dataset: {reference}() failed: {reason_of(error)}") from error
    try:
        return given_source(data, notify, name=reference, origin=reference)
    except ConfigurationError as error:
        raise ConfigurationError(f"--dataset {reference}: {error}") from error


def npz_source(path: Path, notify: Notify) -> Source:
    """Describe the arrays of an `.npz` file; pickles in it are not loaded.

    Raises:
        ConfigurationError: There is no such file, it is damaged, or arrays are missing or not data.
    """
    path = with_home(path).resolve()
    if not path.is_file():
        raise ConfigurationError(f"data file {path} does not exist or is not a file")
    with _opened(path) as file:
        names = file.files
        data = {name: _read(path, file, name) for name in names if name in KEYS}
    if unknown := [name for name in names if name not in KEYS]:
        notify(f"note: {path} also holds {', '.join(unknown)}, which nothing reads")
    if missing := [name for name in KEYS[:4] if name not in data]:
        hint = did_you_mean(missing[0], unknown)
        raise ConfigurationError(
            f"{path}: lacks {', '.join(missing)}.{hint} np.savez(path, x_train=…, y_train=…, x_test=…, y_test=…) "
            "writes such a file"
        )
    try:
        return given_source(data, notify, name="npz", origin=str(path))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"{path}: is not an .npz file, or damaged: {error}") from None
    if not hasattr(file, "files"):
        raise ConfigurationError(f"{path}: holds one array; an .npz file with {', '.join(KEYS[:4])} is needed")
    with file:
        yield file


def _read(path: Path, file: Any, name: str) -> Any:
    try:
        return file[name]
    except ValueError as error:
        if "pickle" in str(error):
            raise ConfigurationError(
                f"{path}: {name} holds Python objects, which only pickle could load, and a pickle may run code; "
                f"save numbers or texts, as {name}.astype(str) makes them"
            ) from None
        raise ConfigurationError(f"{path}: {name} cannot be read: {error}") from None
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigurationError(f"{path}: {name} cannot be read: {error}") from None


def _parts(data: Any, notify: Notify) -> tuple[dict[str, tuple[Any, Any]], str]:
    """Return examples and labels by part, and what they were given as."""
    if isinstance(data, Mapping):
        if set(map(str, data)) not in (set(KEYS[:4]), set(KEYS)):
            raise ConfigurationError(f"data: must be {EXPECTED}; got {', '.join(map(str, data))}")
        data = [data[name] for name in KEYS if name in data]
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise ConfigurationError(f"data: must be {EXPECTED}; got {type(data).__name__}")
    datasets = [is_dataset(value) for value in data]
    if len(data) in (2, 3) and all(datasets):
        pairs = zip(ORDER, data, strict=False)
        return {part: read_dataset(part, dataset, notify) for part, dataset in pairs}, "Datasets"
    if len(data) in (4, 6) and not any(datasets):
        return dict(zip(ORDER, zip(data[::2], data[1::2], strict=True), strict=False)), "arrays"
    kinds = ", ".join(type(value).__name__ for value in data[:8])
    raise ConfigurationError(f"data: must be {EXPECTED}; got {len(data)} values: {kinds}")
