"""Datasets that are ready to train on, found by name or folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evo.data import cifar10
from evo.data.cache import PARTS, Notify, PreparedDataset, Source, open_or_decode
from evo.data.cifar10 import cifar10_source, default_root
from evo.data.digits import digits_source
from evo.data.given import given_source, named_source, npz_source
from evo.data.image_folder import LAYOUT, image_folder_source
from evo.data.splits import split_by_class
from evo.errors import ConfigurationError
from evo.names import DATASETS, check_name, is_reference
from evo.places import with_home

DEFAULT_IMAGE_SIZE = 32


class Asked(NamedTuple):
    """What a dataset is asked for by; see `prepare_dataset`."""

    folder: Path | None
    image_size: int
    download: bool
    notify: Notify
    with_validation: bool

    @property
    def root(self) -> Path:
        """The folder, or where evo keeps what it downloads."""
        return self.folder or default_root()


SOURCES: Mapping[str, Callable[[Asked], Source]] = {
    "cifar10": lambda asked: cifar10_source(asked.root, asked.notify, download=asked.download),
    "digits": lambda asked: digits_source(),
    "imagefolder": lambda asked: image_folder_source(
        asked.folder or Path(), asked.image_size, with_validation=asked.with_validation
    ),
    "npz": lambda asked: npz_source(asked.folder or Path(), asked.notify),
}
"""What finds each dataset's images."""


def prepare_dataset(
    name: str | None,
    data_dir: Path | None = None,
    *,
    image_size: int = DEFAULT_IMAGE_SIZE,
    download: bool = True,
    notify: Notify = lambda line: None,
    data: Any = None,
    validation: float | None = None,
    with_validation: bool = True,
) -> PreparedDataset:
    """Find, download or decode a dataset; the decoded arrays are cached, and checked at every call.

    Args:
        name: One of `evo.names.DATASETS`, or "module:function" for one that returns data; None lets `data_dir` decide.
        data_dir: For "imagefolder", the folder with `train/` and `test/`; for "npz", the file; for "cifar10",
            torchvision's root (by default `$EVO_DATA_DIR`, or `data` in evo's cache), where it is downloaded to if it
            is not there.
        image_size: Side of the decoded images in pixels. Only "imagefolder" accepts a value other than the default.
        download: Whether CIFAR-10 may be downloaded.
        notify: Called with one line of progress at a time.
        data: Instead of name and folder, the data themselves: see `evo.data.given`.
        validation: The validation part is this share of each class of the training images; None for the part that came
            with the data, or the usual split.
        with_validation: Whether the `val/` of an image folder is looked at.

    Returns:
        The dataset, which any process on this machine can map into memory.

    Raises:
        ConfigurationError: The name is unknown, the folder holds something else, a file is corrupt, or there is no
            network. The message says what to do.
    """
    try:
        asked = Asked(data_dir, image_size, download, notify, with_validation)
        source = given_source(data, notify) if data is not None else _find(name, asked)
    except OSError as error:  # a folder that may not be read, a name that is too long
        raise ConfigurationError(f"cannot look for data in {data_dir}: {error.strerror or error}") from error
    return with_share(open_or_decode(source, notify), validation)


def with_share(dataset: PreparedDataset, share: float | None) -> PreparedDataset:
    """Return a dataset whose validation part is this share of each class.

    Raises:
        ConfigurationError: It came with a validation part.
    """
    if share is None:
        return dataset
    if dataset.validation_count:
        raise ConfigurationError(
            f"data.validation = {share}: {dataset.source} has a validation part of its own, of "
            f"{dataset.validation_count:,} examples; leave out one of them"
        )
    _, labels = dataset.arrays("train")
    return replace(dataset, validation_share=share, validation_count=len(split_by_class(labels, share)[1]))


def detect_dataset(data_dir: Path) -> str:
    """Return the name of the dataset in a folder: by CIFAR-10's archive or batches, or by `train/` and `test/`.

    `.npz` says that it is a file of arrays.

    Raises:
        ConfigurationError: There is no dataset in it.
    """
    if data_dir.suffix.lower() == ".npz":
        return "npz"
    if (found := _layout(data_dir)) is not None:
        return found
    if not with_home(data_dir).is_dir():
        raise ConfigurationError(f"data folder {data_dir} does not exist or is not a folder (or a file FILE.npz)")
    raise ConfigurationError(
        f"data folder {data_dir} holds no dataset; {LAYOUT}, or {cifar10.FOLDER}/{_suggestion(data_dir)}"
    )


def _find(name: str | None, asked: Asked) -> Source:
    data_dir, image_size = asked.folder, asked.image_size
    if name is None:
        if data_dir is None:
            raise ConfigurationError(f"no dataset given: name one of {', '.join(DATASETS)}, or a data folder")
        name = detect_dataset(data_dir)
    if is_reference(name):
        if data_dir is not None:
            raise ConfigurationError(f"--dataset {name}: the function says where its data are; leave out --data-dir")
        return named_source(name, asked.notify)
    check_name("dataset", name, DATASETS, hint="; or module:function, a function of yours that returns the data")
    if image_size < 1:
        raise ConfigurationError(f"image_size must be at least 1 pixel, got {image_size}")
    if image_size != DEFAULT_IMAGE_SIZE and name != "imagefolder":
        raise ConfigurationError(f"image_size is for imagefolder; the images of {name} have a size of their own")
    _check_folder(name, data_dir)
    return SOURCES[name](asked)


def _holds(name: str, folder: Path) -> bool:
    if name == "cifar10":
        return (folder / cifar10.FOLDER).is_dir() or (folder / cifar10.ARCHIVE).is_file()
    return all((folder / part).is_dir() for part in PARTS)


def _layout(folder: Path) -> str | None:
    return next((name for name in ("cifar10", "imagefolder") if _holds(name, with_home(folder))), None)


def _check_folder(name: str, folder: Path | None) -> None:
    """Raise if the dataset is not in `folder`, but another one is, or one is in a neighbouring folder.

    Otherwise a wrong folder would start a download into it, or only a missing `train/` would be reported.
    """
    if folder is None:
        if name == "imagefolder":
            raise ConfigurationError(f"imagefolder needs a data folder (--data-dir); {LAYOUT}")
        if name == "npz":
            raise ConfigurationError("npz needs the file of the data: --data-dir FILE.npz")
        return
    if name == "npz":
        return
    if name == "digits":
        raise ConfigurationError(f"digits are embedded and take no data folder, got {folder}")
    if _holds(name, with_home(folder)):
        return
    if (found := _layout(folder)) is not None:
        held = f"CIFAR-10 ({cifar10.FOLDER})" if found == "cifar10" else "an image folder (train/, test/)"
        raise ConfigurationError(
            f"data folder {folder} holds {held}, not {name}; use --dataset {found} --data-dir {folder}"
        )
    if suggestion := _suggestion(folder):
        raise ConfigurationError(f"data folder {folder} does not hold {name}{suggestion}")


def _suggestion(folder: Path) -> str:
    """Return '; did you mean --data-dir …?' for a dataset one level below or above `folder`, or ''."""
    folder = with_home(folder).resolve()
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
