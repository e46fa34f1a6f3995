"""Datasets that are ready to train on, found by name or folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evo.data.cache import PARTS, Notify, PreparedDataset, Source, open_or_decode
from evo.data.cifar10 import CIFAR10, CIFAR100, cifar10_source, cifar_source
from evo.data.digits import digits_source
from evo.data.downloads import default_root
from evo.data.given import given_source, named_source, npz_source
from evo.data.image_folder import LAYOUT, image_folder_source
from evo.data.splits import split_by_class
from evo.data.torchvision_sets import FASHION_MNIST, MNIST, SVHN_FILES, idx_source, svhn_source
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
    "cifar100": lambda asked: cifar_source(CIFAR100, asked.root, asked.notify, download=asked.download),
    "mnist": lambda asked: idx_source(MNIST, asked.root, asked.notify, download=asked.download),
    "fashion_mnist": lambda asked: idx_source(FASHION_MNIST, asked.root, asked.notify, download=asked.download),
    "svhn": lambda asked: svhn_source(asked.root, asked.notify, download=asked.download),
    "digits": lambda asked: digits_source(),
    "imagefolder": lambda asked: image_folder_source(
        asked.folder or Path(), asked.image_size, with_validation=asked.with_validation
    ),
    "npz": lambda asked: npz_source(asked.folder or Path(), asked.notify),
}
"""What finds each dataset's images."""
SIGNS: Mapping[str, tuple[str, ...]] = {
    "cifar10": (CIFAR10.folder, CIFAR10.archive),
    "cifar100": (CIFAR100.folder, CIFAR100.archive),
    "mnist": (MNIST.folder,),
    "fashion_mnist": (FASHION_MNIST.folder,),
    "svhn": (SVHN_FILES["train"],),
}
"""What torchvision's root holds of each dataset that can be downloaded to it; one of these is enough."""


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
        data_dir: For "imagefolder", the folder with `train/` and `test/`; for "npz", the file; for torchvision's
            datasets its root (by default `$EVO_DATA_DIR`, or `data` in evo's cache), where they are downloaded to if
            they are not there.
        image_size: Side of the decoded images in pixels. Only "imagefolder" accepts a value other than the default.
        download: Whether a dataset may be downloaded.
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


def detect_dataset(data_dir: Path, notify: Notify = lambda line: None) -> str:
    """Return the name of the dataset in a folder: one of torchvision's by its files, or one of `train/` and `test/`.

    `.npz` says that it is a file of arrays. In a root of several of torchvision's datasets the first is taken.

    Raises:
        ConfigurationError: There is no dataset in it.
    """
    if data_dir.suffix.lower() == ".npz":
        return "npz"
    if found := _layouts(data_dir):
        if len(found) > 1:
            notify(f"note: {data_dir} holds {' and '.join(found)}; {found[0]} is taken, --dataset names another")
        return found[0]
    if not with_home(data_dir).is_dir():
        raise ConfigurationError(f"data folder {data_dir} does not exist or is not a folder (or a file FILE.npz)")
    raise ConfigurationError(
        f"data folder {data_dir} holds no dataset; {LAYOUT}, or {CIFAR10.folder}/{_suggestion(data_dir)}"
    )


def _find(name: str | None, asked: Asked) -> Source:
    data_dir, image_size = asked.folder, asked.image_size
    if name is None:
        if data_dir is None:
            raise ConfigurationError(f"no dataset given: name one of {', '.join(DATASETS)}, or a data folder")
        name = detect_dataset(data_dir, asked.notify)
    if is_reference(name):
        if data_dir is not None:
            raise ConfigurationError(f"--dataset {name}: the function says where its data are; leave out --data-dir")
        return named_source(name, asked.notify)
    file = "; a file of arrays is given by --data-dir" if name.endswith(".npz") else ""
    own = "; or module:function, a function of yours that returns the data"
    check_name("dataset", name, DATASETS, hint=file or own)
    if image_size < 1:
        raise ConfigurationError(f"image_size must be at least 1 pixel, got {image_size}")
    if image_size != DEFAULT_IMAGE_SIZE and name != "imagefolder":
        raise ConfigurationError(f"image_size is for imagefolder; the images of {name} have a size of their own")
    _check_folder(name, data_dir)
    return SOURCES[name](asked)


def _holds(name: str, folder: Path) -> bool:
    if name in SIGNS:
        return any((folder / sign).exists() for sign in SIGNS[name])
    return all((folder / part).is_dir() for part in PARTS)


def _layouts(folder: Path) -> list[str]:
    return [name for name in (*SIGNS, "imagefolder") if _holds(name, with_home(folder))]


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
    if found := [other for other in _layouts(folder) if not {name, other} <= SIGNS.keys()]:
        held = f"{found[0]} ({SIGNS[found[0]][0]})" if found[0] in SIGNS else "an image folder (train/, test/)"
        raise ConfigurationError(
            f"data folder {folder} holds {held}, not {name}; use --dataset {found[0]} --data-dir {folder}"
        )
    if name in SIGNS and _layouts(folder):
        return  # torchvision's root, to which another dataset is downloaded
    if suggestion := _suggestion(folder):
        raise ConfigurationError(f"data folder {folder} does not hold {name}{suggestion}")


def _suggestion(folder: Path) -> str:
    """Return '; did you mean --data-dir …?' for a dataset one level below or above `folder`, or ''."""
    folder = with_home(folder).resolve()
    try:
        candidates = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        candidates = []  # this is only a hint; reading the folder reports the error
    if folder.name in (CIFAR10.folder, CIFAR100.folder, *PARTS):
        candidates.append(folder.parent)
    for candidate in candidates:
        if found := _layouts(candidate):
            return f"; did you mean --dataset {found[0]} --data-dir {candidate}?"
    return ""
