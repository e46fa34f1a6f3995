"""A dataset that is ready to train on, and the one way to get it from its name or its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo.data import cifar10
from evo.data.cache import PARTS, Notify, Part, open_array, open_or_decode, read_checksum
from evo.data.cifar10 import cifar10_source
from evo.data.digits import digits_source
from evo.data.image_folder import LAYOUT, image_folder_source
from evo.errors import ConfigurationError, did_you_mean
from evo.names import DATASETS

DEFAULT_IMAGE_SIZE = 32


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset decoded to .npy files that every worker maps into memory and none copies.

    Attributes:
        name: "cifar10", "digits" or "imagefolder".
        directory: Holds the four arrays and `dataset.json`.
        classes: Class names; label i means `classes[i]`.
        image_shape: `(channels, height, width)`.
        train_count: Number of training images, the validation part included.
        test_count: Number of test images.
        checksum: SHA-256 over the contents of the four arrays, in hexadecimal.
        variant: Human words for the pixels: "CIFAR-10, original pixels", "image folder, JPEG", …
        source: Where the images came from: a path, or "scikit-learn digits".
    """

    name: str
    directory: Path
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train_count: int
    test_count: int
    checksum: str
    variant: str
    source: str

    def arrays(self, part: Part) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Map the images and labels of one part into memory, read-only.

        Args:
            part: "train" or "test".

        Returns:
            Images, uint8 of shape `(n, channels, height, width)`, and labels, int64 of shape `(n,)`.

        Raises:
            ConfigurationError: If the cache entry is gone, or was decoded again from changed images since.
        """
        checksum = read_checksum(self.directory)
        if checksum != self.checksum:
            state = "is gone" if checksum is None else "holds other images by now"
            raise ConfigurationError(
                f"the decoded dataset {self.directory} {state}\n"
                f"its source {self.source} or the cache was changed during the run; start or resume it again"
            )
        return open_array(self.directory, part, "images"), open_array(self.directory, part, "labels")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "directory": str(self.directory)} | {
            "classes": list(self.classes),
            "image_shape": list(self.image_shape),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PreparedDataset:
        """Return what `to_dict` was called on."""
        channels, height, width = values["image_shape"]
        return cls(
            name=values["name"],
            directory=Path(values["directory"]),
            classes=tuple(values["classes"]),
            image_shape=(channels, height, width),
            train_count=values["train_count"],
            test_count=values["test_count"],
            checksum=values["checksum"],
            variant=values["variant"],
            source=values["source"],
        )


def _silent(line: str) -> None:
    """Take a line of progress and show it to nobody."""


def prepare_dataset(
    name: str | None,
    data_dir: Path | None = None,
    *,
    image_size: int = DEFAULT_IMAGE_SIZE,
    download: bool = True,
    notify: Notify = _silent,
) -> PreparedDataset:
    """Find, download or decode a dataset; the decoded arrays are cached and checked at every call.

    Args:
        name: One of `DATASETS`; None lets `data_dir` decide.
        data_dir: For "imagefolder" the folder with `train/` and `test/`; for "cifar10" torchvision's root (by
            default `$EVO_DATA_DIR`, or `data` in evo's cache), where it is downloaded to if it is not there.
        image_size: Side of the decoded images in pixels. Only "imagefolder" takes another than the default.
        download: Whether CIFAR-10 may be fetched where it is not there.
        notify: Takes one line of progress at a time.

    Returns:
        The dataset, ready to be mapped by any process on this machine.

    Raises:
        ConfigurationError: If the name is unknown, the folder holds something else, a file is corrupt, or there
            is no network. The message says what to do.
    """
    if name is None:
        if data_dir is None:
            raise ConfigurationError(f"no dataset given: name one of {', '.join(DATASETS)}, or a data folder")
        name = detect_dataset(data_dir)
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise ConfigurationError(f'unknown dataset "{name}"; known: {known}.{did_you_mean(name, DATASETS)}')
    if image_size < 1:
        raise ConfigurationError(f"image_size must be at least 1 pixel, got {image_size}")
    if image_size != DEFAULT_IMAGE_SIZE and name != "imagefolder":
        raise ConfigurationError(f"image_size is for imagefolder; the images of {name} have a size of their own")

    if name == "digits":
        if data_dir is not None:
            raise ConfigurationError(f"digits are embedded and take no data folder, got {data_dir}")
        source = digits_source()
    elif name == "cifar10":
        if data_dir is not None:
            _refuse_other_layout("cifar10", data_dir)
        source = cifar10_source(data_dir or cifar10.default_root(), notify, download=download)
    else:
        if data_dir is None:
            raise ConfigurationError(f"imagefolder needs a data folder (--data-dir); {LAYOUT}")
        _refuse_other_layout("imagefolder", data_dir)
        source = image_folder_source(data_dir, image_size)
    entry = open_or_decode(source, notify)
    return PreparedDataset(
        name=source.name,
        directory=entry.directory,
        classes=source.classes,
        image_shape=source.image_shape,
        train_count=source.counts["train"],
        test_count=source.counts["test"],
        checksum=entry.checksum,
        variant=source.variant,
        source=source.origin,
    )


def detect_dataset(data_dir: Path) -> str:
    """Return the name of the dataset that lies in a folder.

    Args:
        data_dir: A folder.

    Returns:
        "cifar10" if it holds `cifar-10-batches-py/` or the archive, "imagefolder" if it holds `train/` and
        `test/`.

    Raises:
        ConfigurationError: If it holds neither.
    """
    found = _layout(data_dir)
    if found is not None:
        return found
    if not data_dir.expanduser().is_dir():
        raise ConfigurationError(f"data folder {data_dir} does not exist or is not a folder")
    raise ConfigurationError(
        f"data folder {data_dir} holds no dataset; {LAYOUT}, or {cifar10.FOLDER}/{_suggestion(data_dir)}"
    )


def _holds_cifar10(folder: Path) -> bool:
    return (folder / cifar10.FOLDER).is_dir() or (folder / cifar10.ARCHIVE).is_file()


def _holds_image_tree(folder: Path) -> bool:
    return all((folder / part).is_dir() for part in PARTS)


def _layout(folder: Path) -> str | None:
    folder = folder.expanduser()
    if _holds_cifar10(folder):
        return "cifar10"
    return "imagefolder" if _holds_image_tree(folder) else None


def _refuse_other_layout(name: str, folder: Path) -> None:
    """Raise if `folder` does not hold the dataset `name`, but another, or if a neighbouring folder holds one.

    Without this, a wrong folder would start a download into it, or complain about a missing `train/` only.
    """
    expanded = folder.expanduser()
    if _holds_cifar10(expanded) if name == "cifar10" else _holds_image_tree(expanded):
        return
    found = _layout(expanded)
    if found is not None:
        held = f"CIFAR-10 ({cifar10.FOLDER})" if found == "cifar10" else "an image folder (train/, test/)"
        raise ConfigurationError(
            f"data folder {folder} holds {held}, not {name}; use --dataset {found} --data-dir {folder}"
        )
    suggestion = _suggestion(expanded)
    if suggestion:
        raise ConfigurationError(f"data folder {folder} does not hold {name}{suggestion}")


def _suggestion(folder: Path) -> str:
    """Return '; did you mean --data-dir …?' for a dataset one level below or above `folder`, or ''."""
    folder = folder.expanduser().resolve()
    candidates: list[Path] = []
    if folder.is_dir():
        try:
            with os.scandir(folder) as entries:
                candidates = sorted(Path(entry.path) for entry in entries if entry.is_dir())
        except OSError:
            return ""  # it is only a hint; whoever reads the folder reports the error
    if folder.name in (cifar10.FOLDER, *PARTS):
        candidates.append(folder.parent)
    for candidate in candidates:
        found = _layout(candidate)
        if found is not None:
            return f"; did you mean --dataset {found} --data-dir {candidate}?"
    return ""
