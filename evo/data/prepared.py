"""Datasets that are ready to train on, found by name or folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo.data import cifar10
from evo.data.cache import PARTS, Notify, Part, Source, open_array, open_or_decode, read_checksum
from evo.data.cifar10 import cifar10_source
from evo.data.digits import digits_source
from evo.data.image_folder import LAYOUT, image_folder_source
from evo.errors import ConfigurationError
from evo.names import DATASETS, check_name

DEFAULT_IMAGE_SIZE = 32


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset decoded to .npy files that every worker maps into memory without copying.

    Attributes:
        name: One of `evo.names.DATASETS`.
        directory: Holds the four arrays and `dataset.json`.
        classes: Class names; label i means `classes[i]`.
        image_shape: `(channels, height, width)`.
        train_count: Number of training images, including the validation part.
        test_count: Number of test images.
        checksum: SHA-256 over the contents of the four arrays, in hexadecimal.
        variant: A description of the pixels: "CIFAR-10, original pixels", "image folder, JPEG", …
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
            ConfigurationError: The cache entry is gone, or was decoded again from changed images since.
        """
        checksum = read_checksum(self.directory)
        if checksum != self.checksum:
            state = "is gone" if checksum is None else "holds other images now"
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
        sequences = {name: tuple(values[name]) for name in ("classes", "image_shape")}
        return cls(**{**values, **sequences, "directory": Path(values["directory"])})


@dataclass(frozen=True)
class Request:
    """What a dataset was asked for with; see `prepare_dataset`."""

    data_dir: Path | None
    image_size: int
    download: bool
    notify: Notify


def _digits(wanted: Request) -> Source:
    if wanted.data_dir is not None:
        raise ConfigurationError(f"digits are embedded and take no data folder, got {wanted.data_dir}")
    return digits_source()


def _cifar10(wanted: Request) -> Source:
    if wanted.data_dir is not None:
        _refuse_other_layout("cifar10", wanted.data_dir)
    return cifar10_source(wanted.data_dir or cifar10.default_root(), wanted.notify, download=wanted.download)


def _image_folder(wanted: Request) -> Source:
    if wanted.data_dir is None:
        raise ConfigurationError(f"imagefolder needs a data folder (--data-dir); {LAYOUT}")
    _refuse_other_layout("imagefolder", wanted.data_dir)
    return image_folder_source(wanted.data_dir, wanted.image_size)


SOURCES: Mapping[str, Callable[[Request], Source]] = {
    "cifar10": _cifar10,
    "digits": _digits,
    "imagefolder": _image_folder,
}
"""What finds each dataset's images."""


def prepare_dataset(
    name: str | None,
    data_dir: Path | None = None,
    *,
    image_size: int = DEFAULT_IMAGE_SIZE,
    download: bool = True,
    notify: Notify = lambda line: None,
) -> PreparedDataset:
    """Find, download or decode a dataset; the decoded arrays are cached, and checked at every call.

    Args:
        name: One of `evo.names.DATASETS`; None lets `data_dir` decide.
        data_dir: For "imagefolder", the folder with `train/` and `test/`; for "cifar10", torchvision's root (by
            default `$EVO_DATA_DIR`, or `data` in evo's cache), where it is downloaded to if it is not there.
        image_size: Side of the decoded images in pixels. Only "imagefolder" accepts a value other than the default.
        download: Whether CIFAR-10 may be downloaded.
        notify: Called with one line of progress at a time.

    Returns:
        The dataset, which any process on this machine can map into memory.

    Raises:
        ConfigurationError: The name is unknown, the folder holds something else, a file is corrupt, or there is no
            network. The message says what to do.
    """
    if name is None:
        if data_dir is None:
            raise ConfigurationError(f"no dataset given: name one of {', '.join(DATASETS)}, or a data folder")
        name = detect_dataset(data_dir)
    check_name("dataset", name, DATASETS)
    if image_size < 1:
        raise ConfigurationError(f"image_size must be at least 1 pixel, got {image_size}")
    if image_size != DEFAULT_IMAGE_SIZE and name != "imagefolder":
        raise ConfigurationError(f"image_size is for imagefolder; the images of {name} have a size of their own")
    source = SOURCES[name](Request(data_dir, image_size, download, notify))
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
    """Return the name of the dataset in a folder: by CIFAR-10's archive or batches, or by `train/` and `test/`.

    Raises:
        ConfigurationError: There is no dataset in it.
    """
    found = _layout(data_dir)
    if found is not None:
        return found
    if not data_dir.expanduser().is_dir():
        raise ConfigurationError(f"data folder {data_dir} does not exist or is not a folder")
    raise ConfigurationError(
        f"data folder {data_dir} holds no dataset; {LAYOUT}, or {cifar10.FOLDER}/{_suggestion(data_dir)}"
    )


def _holds(name: str, folder: Path) -> bool:
    if name == "cifar10":
        return (folder / cifar10.FOLDER).is_dir() or (folder / cifar10.ARCHIVE).is_file()
    return all((folder / part).is_dir() for part in PARTS)


def _layout(folder: Path) -> str | None:
    return next((name for name in ("cifar10", "imagefolder") if _holds(name, folder.expanduser())), None)


def _refuse_other_layout(name: str, folder: Path) -> None:
    """Raise if the dataset is not in `folder`, but another one is, or one is in a neighbouring folder.

    Otherwise a wrong folder would start a download into it, or only a missing `train/` would be reported.
    """
    if _holds(name, folder.expanduser()):
        return
    found = _layout(folder)
    if found is not None:
        held = f"CIFAR-10 ({cifar10.FOLDER})" if found == "cifar10" else "an image folder (train/, test/)"
        raise ConfigurationError(
            f"data folder {folder} holds {held}, not {name}; use --dataset {found} --data-dir {folder}"
        )
    if suggestion := _suggestion(folder):
        raise ConfigurationError(f"data folder {folder} does not hold {name}{suggestion}")


def _suggestion(folder: Path) -> str:
    """Return '; did you mean --data-dir …?' for a dataset one level below or above `folder`, or ''."""
    folder = folder.expanduser().resolve()
    try:
        candidates = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        candidates = []  # this is only a hint; reading the folder reports the error
    if folder.name in (cifar10.FOLDER, *PARTS):
        candidates.append(folder.parent)
    for candidate in candidates:
        if (found := _layout(candidate)) is not None:
            return f"; did you mean --dataset {found} --data-dir {candidate}?"
    return ""
