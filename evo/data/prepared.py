"""Datasets that are ready to train on, found by name or folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from evo.data import cifar10
from evo.data.cache import PARTS, Notify, PreparedDataset, Source, open_or_decode
from evo.data.cifar10 import cifar10_source
from evo.data.digits import digits_source
from evo.data.image_folder import LAYOUT, image_folder_source
from evo.errors import ConfigurationError
from evo.names import DATASETS, check_name
from evo.places import with_home

DEFAULT_IMAGE_SIZE = 32


SOURCES: Mapping[str, Callable[[Path | None, int, bool, Notify], Source]] = {
    "cifar10": lambda folder, size, download, notify: cifar10_source(
        folder or cifar10.default_root(), notify, download=download
    ),
    "digits": lambda folder, size, download, notify: digits_source(),
    "imagefolder": lambda folder, size, download, notify: image_folder_source(folder or Path(), size),
}
"""What finds each dataset's images: from data folder, image size, whether to download, and where to report progress."""


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
    try:
        source = _find(name, data_dir, image_size, download, notify)
    except OSError as error:  # a folder that may not be read, a name that is too long
        raise ConfigurationError(f"cannot look for data in {data_dir}: {error.strerror or error}") from error
    return open_or_decode(source, notify)


def detect_dataset(data_dir: Path) -> str:
    """Return the name of the dataset in a folder: by CIFAR-10's archive or batches, or by `train/` and `test/`.

    Raises:
        ConfigurationError: There is no dataset in it.
    """
    if (found := _layout(data_dir)) is not None:
        return found
    if not with_home(data_dir).is_dir():
        raise ConfigurationError(f"data folder {data_dir} does not exist or is not a folder")
    raise ConfigurationError(
        f"data folder {data_dir} holds no dataset; {LAYOUT}, or {cifar10.FOLDER}/{_suggestion(data_dir)}"
    )


def _find(name: str | None, data_dir: Path | None, image_size: int, download: bool, notify: Notify) -> Source:
    if name is None:
        if data_dir is None:
            raise ConfigurationError(f"no dataset given: name one of {', '.join(DATASETS)}, or a data folder")
        name = detect_dataset(data_dir)
    check_name("dataset", name, DATASETS)
    if image_size < 1:
        raise ConfigurationError(f"image_size must be at least 1 pixel, got {image_size}")
    if image_size != DEFAULT_IMAGE_SIZE and name != "imagefolder":
        raise ConfigurationError(f"image_size is for imagefolder; the images of {name} have a size of their own")
    _check_folder(name, data_dir)
    return SOURCES[name](data_dir, image_size, download, notify)


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
