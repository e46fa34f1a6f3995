"""MNIST, Fashion-MNIST and SVHN in torchvision's layout: idx files and MATLAB files, in which nothing can run."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo.data.cache import PARTS, Notify, Part, Source, open_array
from evo.data.downloads import check_md5, download_checked, fingerprint_of
from evo.errors import ConfigurationError
from evo.places import with_home

IMAGES, LABELS = 3, 1
"""Axes of the idx files of images and of labels."""
UNSIGNED_BYTES = 8
"""The type that an idx file names in its third byte."""
AGAIN = "delete it and start again, to have it downloaded again"


@dataclass(frozen=True)
class Idx:
    """A dataset of idx files.

    Attributes:
        name: One of `evo.names.DATASETS`.
        title: The name for people; without its hyphen, the folder's.
        mirrors: Where its files are.
        md5: Of the compressed files.
        classes: Their names.
    """

    name: str
    title: str
    mirrors: tuple[str, ...]
    md5: Mapping[str, str]
    classes: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where torchvision has its files, below the root."""
        return f"{self.title.replace('-', '')}/raw"


# From torchvision/datasets/mnist.py: `mirrors`, `resources` and `classes`.
MNIST = Idx(
    "mnist",
    "MNIST",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    tuple(map(str, range(10))),
)
FASHION_MNIST = Idx(
    "fashion_mnist",
    "Fashion-MNIST",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
# From torchvision/datasets/svhn.py: `split_list`.
SVHN_URL = "http://ufldl.stanford.edu/housenumbers/"
SVHN_MD5 = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
SVHN_FILES: Mapping[Part, str] = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
SVHN_CLASSES = 10


def idx_source(kind: Idx, root: Path, notify: Notify, *, download: bool = True) -> Source:
    """Describe MNIST or Fashion-MNIST below `root`; download it first if it is not there.

    Args:
        kind: Which.
        root: torchvision's root: the files are in `root/MNIST/raw`, say, as they were published or decompressed.
        notify: Called with one line of progress at a time.
        download: Whether it may be downloaded.

    Returns:
        The original pixels, shape `(1, height, width)`, in the order of the files.

    Raises:
        ConfigurationError: There is nothing and no network, or files are corrupt.
    """
    folder = with_home(root).resolve() / kind.folder
    files = {name: _file_of(kind, folder, name, notify, download=download) for name in kind.md5}
    shapes = {name: _shape_of(path, IMAGES if "images" in name else LABELS) for name, path in files.items()}
    names: dict[Part, tuple[str, str]] = {
        part: (f"{word}-images-idx3-ubyte.gz", f"{word}-labels-idx1-ubyte.gz")
        for part, word in zip(PARTS, ("train", "t10k"), strict=True)
    }
    sides = {shapes[images][1:] for images, _ in names.values()}
    if len(sides) > 1 or any(shapes[images][0] != shapes[labels][0] for images, labels in names.values()):
        raise ConfigurationError(f"{folder}: the numbers of images and labels differ, or the images' sizes; {AGAIN}")

    def decode(directory: Path, notify: Notify) -> None:
        for part, (images, labels) in names.items():
            open_array(directory, part, "images", "r+")[:, 0] = _values(files[images], kind.md5[images], shapes[images])
            found = _values(files[labels], kind.md5[labels], shapes[labels])
            open_array(directory, part, "labels", "r+")[:] = _checked(files[labels], found, len(kind.classes))

    height, width = sides.pop()
    return Source(
        name=kind.name,
        identity=str(folder),
        fingerprint=fingerprint_of(folder, [path.name for path in files.values()], AGAIN),
        classes=kind.classes,
        image_shape=(1, height, width),
        counts={part: shapes[images][0] for part, (images, _) in names.items()},
        variant=f"{kind.title}, original pixels",
        origin=str(folder),
        decode=decode,
    )


def svhn_source(root: Path, notify: Notify, *, download: bool = True, md5: Mapping[str, str] = SVHN_MD5) -> Source:
    """Describe SVHN (cropped digits, without the extra images) in `root`; download it first if it is not there.

    Args:
        root: torchvision's root, which holds `train_32x32.mat` and `test_32x32.mat`.
        notify: Called with one line of progress at a time.
        download: Whether it may be downloaded.
        md5: File name → MD5.

    Returns:
        The original pixels, shape `(3, 32, 32)`; the digit 0, which the files call 10, is class 0.

    Raises:
        ConfigurationError: There is nothing and no network, or files are corrupt.
    """
    root = with_home(root).resolve()
    for name in SVHN_FILES.values():
        if not (root / name).is_file():
            _refuse_or_download(root / name, "SVHN", [SVHN_URL + name], md5[name], notify, download=download)
    shapes = {part: _shapes_in(root / name) for part, name in SVHN_FILES.items()}

    def decode(directory: Path, notify: Notify) -> None:
        from scipy.io import loadmat

        for part, name in SVHN_FILES.items():
            content = check_md5(root / name, md5[name], AGAIN)
            try:
                held = loadmat(io.BytesIO(content), variable_names=["X", "y"])
                labels = held["y"].ravel().astype(np.int64)
            except Exception as error:  # a damaged file may raise anything
                raise ConfigurationError(f"{root / name} cannot be read: {error}; {AGAIN}") from error
            open_array(directory, part, "images", "r+")[:] = held["X"].transpose(3, 2, 0, 1)
            labels[labels == SVHN_CLASSES] = 0
            open_array(directory, part, "labels", "r+")[:] = _checked(root / name, labels, SVHN_CLASSES)

    return Source(
        name="svhn",
        identity=str(root / SVHN_FILES["train"]),
        fingerprint=fingerprint_of(root, list(SVHN_FILES.values()), AGAIN),
        classes=tuple(map(str, range(SVHN_CLASSES))),
        image_shape=(3, 32, 32),
        counts={part: shape[3] for part, shape in shapes.items()},
        variant="SVHN, original pixels",
        origin=str(root),
        decode=decode,
    )


def _file_of(kind: Idx, folder: Path, name: str, notify: Notify, *, download: bool) -> Path:
    """Return a file of a dataset, decompressed or as it was published, which is downloaded if neither is there."""
    plain, packed = folder / name.removesuffix(".gz"), folder / name
    if plain.is_file():
        return plain
    if not packed.is_file():
        urls = [mirror + name for mirror in kind.mirrors]
        _refuse_or_download(packed, kind.title, urls, kind.md5[name], notify, download=download)
    return packed


def _refuse_or_download(path: Path, title: str, urls: list[str], md5: str, notify: Notify, *, download: bool) -> None:
    if not download:
        raise ConfigurationError(f"{path}: {title} is no longer there; give the folder that holds it by --data-dir")
    download_checked(urls, path, title, md5, notify)


def _shape_of(path: Path, axes: int) -> tuple[int, ...]:
    """Return the shape that the head of an idx file names.

    Raises:
        ConfigurationError: It is not such a file of bytes with so many axes.
    """
    size = 4 * (1 + axes)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    if len(head) < size or head[:4] != bytes((0, 0, UNSIGNED_BYTES, axes)):
        raise ConfigurationError(f"{path} is not an idx file of bytes with {axes} axes; {AGAIN}")
    shape: tuple[int, ...] = struct.unpack(f">{axes}I", head[4:])
    if not all(0 < side < 2**31 for side in shape):
        raise ConfigurationError(f"{path} names the shape {shape}; {AGAIN}")
    return shape


def _values(path: Path, md5: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the bytes of an idx file; a compressed one must have its checksum, of the other none is published."""
    try:
        content = gzip.decompress(check_md5(path, md5, AGAIN)) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    values = np.frombuffer(content, dtype=np.uint8, offset=4 * (1 + len(shape)))
    if values.size != np.prod(shape, dtype=np.int64):
        raise ConfigurationError(f"{path} holds {values.size:,} bytes, its head says {shape}; {AGAIN}")
    return values.reshape(shape)


def _shapes_in(path: Path) -> tuple[int, int, int, int]:
    """Return the shape of the images in a MATLAB file, (height, width, channels, n), once it fits the labels'."""
    from scipy.io import whosmat

    try:
        found = {name: shape for name, shape, _ in whosmat(str(path))}
    except Exception as error:  # a damaged file may raise anything
        raise ConfigurationError(f"{path} cannot be read: {error}; {AGAIN}") from error
    images, labels = found.get("X", ()), found.get("y", ())
    if len(images) != 4 or images[:3] != (32, 32, 3) or labels[:1] != images[3:]:
        raise ConfigurationError(f"{path} does not hold the images and labels of SVHN; {AGAIN}")
    height, width, channels, count = images
    return height, width, channels, count


def _checked(path: Path, labels: npt.NDArray[Any], classes: int) -> npt.NDArray[Any]:
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ConfigurationError(
            f"{path} has labels from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}"
        )
    return labels
