"""CIFAR-10 and CIFAR-100 in torchvision's layout: download, checksums, batches read without trusting their pickles."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from evo.data.cache import Notify, Part, Source, open_array
from evo.data.downloads import check_md5, download, fingerprint_of
from evo.errors import ConfigurationError
from evo.files import place_folder, remove_abandoned, temporary_folder
from evo.places import with_home

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"

# From keras/src/datasets/cifar10.py (`file_hash`); torchvision publishes only this archive's MD5.
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"

# From torchvision/datasets/cifar.py: `train_list`, `test_list` and `meta` of the class CIFAR10.
TRAIN_MD5: Mapping[str, str] = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST_MD5: Mapping[str, str] = {"test_batch": "40351d587109b95175f43aff81a1287e"}
# evo reads only the batches; the label names are extracted so that torchvision can use the same folder.
META_FILE = "batches.meta"

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SHAPE = (3, 32, 32)
ROW_BYTES = 3 * 32 * 32

CLASSES_100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard "
    "lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
    "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark "
    "shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone "
    "television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
"""The names of CIFAR-100's fine labels, in their order."""
AGAIN = "delete the folder {} and start again, to have it downloaded or extracted again"


@dataclass(frozen=True)
class Cifar:
    """What tells the two datasets apart.

    Attributes:
        name: One of `evo.names.DATASETS`.
        title: The name for people.
        url: Of the archive.
        archive: Its file name.
        sha256: Its checksum.
        folder: What it holds.
        train_md5: File name → MD5 of the training batches, in order.
        test_md5: File name → MD5 of the test batches, in order.
        images: In each batch of a part.
        labels: The key of a batch's labels.
        classes: Their names.
        meta: A file that evo does not read; it is extracted so that torchvision can use the same folder.
    """

    name: str
    title: str
    url: str
    archive: str
    sha256: str
    folder: str
    train_md5: Mapping[str, str]
    test_md5: Mapping[str, str]
    images: Mapping[Part, int]
    labels: str
    classes: tuple[str, ...]
    meta: str


CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    url=URL,
    archive=ARCHIVE,
    sha256=ARCHIVE_SHA256,
    folder=FOLDER,
    train_md5=TRAIN_MD5,
    test_md5=TEST_MD5,
    images={"train": 10_000, "test": 10_000},
    labels="labels",
    classes=CLASSES,
    meta=META_FILE,
)
# From torchvision/datasets/cifar.py; the archive's SHA-256 from keras/src/datasets/cifar100.py.
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    archive="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    folder="cifar-100-python",
    train_md5={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test_md5={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    images={"train": 50_000, "test": 10_000},
    labels="fine_labels",
    classes=tuple(CLASSES_100.split()),
    meta="meta",
)


def cifar10_source(
    root: Path,
    notify: Notify,
    *,
    download: bool = True,
    train_md5: Mapping[str, str] = TRAIN_MD5,
    test_md5: Mapping[str, str] = TEST_MD5,
    images_per_batch: int = 10_000,
) -> Source:
    """Describe CIFAR-10 below `root`; see `cifar_source`.

    Args:
        root: torchvision's root.
        notify: Called with one line of progress at a time.
        download: Whether it may be downloaded or extracted.
        train_md5: File name → MD5 of the training batches, in order.
        test_md5: File name → MD5 of the test batches, in order.
        images_per_batch: How many images each batch holds.
    """
    images: dict[Part, int] = {"train": images_per_batch, "test": images_per_batch}
    kind = replace(CIFAR10, train_md5=train_md5, test_md5=test_md5, images=images)
    return cifar_source(kind, root, notify, download=download)


def cifar_source(kind: Cifar, root: Path, notify: Notify, *, download: bool = True) -> Source:
    """Describe CIFAR-10 or CIFAR-100 below `root`; download or extract it first if the batches are not there.

    Args:
        kind: Which.
        root: torchvision's root: the batches are in `root/cifar-10-batches-py`, say.
        notify: Called with one line of progress at a time.
        download: Whether it may be downloaded or extracted.

    Returns:
        The original pixels, shape `(3, 32, 32)`, in the order of the batches.

    Raises:
        ConfigurationError: There is nothing and no network, or files are missing or corrupt.
    """
    root = with_home(root).resolve()
    folder = root / kind.folder
    if not folder.is_dir():
        if not download:
            raise ConfigurationError(
                f"{folder}: {kind.title} is no longer there; give the folder that holds it by --data-dir"
            )
        _fetch(kind, root, notify)
    tables: dict[Part, Mapping[str, str]] = {"train": kind.train_md5, "test": kind.test_md5}

    def decode(directory: Path, notify: Notify) -> None:
        for part, table in tables.items():
            images = open_array(directory, part, "images", "r+")
            labels = open_array(directory, part, "labels", "r+")
            for index, (name, md5) in enumerate(table.items()):
                rows = slice(index * kind.images[part], (index + 1) * kind.images[part])
                images[rows], labels[rows] = read_batch(folder / name, md5, kind.images[part], kind)

    return Source(
        name=kind.name,
        identity=str(folder),
        fingerprint=fingerprint_of(folder, [*kind.train_md5, *kind.test_md5], AGAIN.replace(" {}", "")),
        classes=kind.classes,
        image_shape=IMAGE_SHAPE,
        counts={part: len(table) * kind.images[part] for part, table in tables.items()},
        variant=f"{kind.title}, original pixels",
        origin=str(folder),
        decode=decode,
    )


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays in lists and dicts, and refuses everything else.

    A pickle can name any function and have it called. The original batches need three names; Python 3 adds
    `_codecs.encode` when it writes bytes in protocol 2.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed objects.

        Raises:
            pickle.UnpicklingError: The pickle asks for another one.
        """
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, which no batch needs")
        return _ALLOWED[module, name]


def read_batch(
    path: Path, md5: str, image_count: int, kind: Cifar = CIFAR10
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Check the checksum of one batch file, and read it.

    Args:
        path: A batch as the CIFAR-10 page describes it: a pickled dict with `data`, uint8 of shape `(n, 3072)`,
            and `labels`, a list of n class indices.
        md5: What the file's MD5 must be.
        image_count: How many images it must hold.
        kind: Whose batch it is.

    Returns:
        Images of shape `(n, 3, 32, 32)` and labels of shape `(n,)`.

    Raises:
        ConfigurationError: The file cannot be read, has another checksum, or is not such a batch.
    """
    content = check_md5(path, md5, AGAIN.format(path.parent))
    try:
        batch = RestrictedUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a malformed pickle raises almost anything
        raise ConfigurationError(f"refused to read {path}: {error}") from error
    return _check_batch(path, batch, image_count, kind)


def extract_archive(archive: Path, root: Path, kind: Cifar = CIFAR10) -> None:
    """Check the checksum of the archive, and extract its batches into their folder in `root`.

    The folder gets its name when it is complete. Only the expected files are read from the archive. If another process
    was faster, its folder stays.

    Args:
        archive: `cifar-10-python.tar.gz`.
        root: torchvision's root; exists.
        kind: Whose archive it is.

    Raises:
        ConfigurationError: The archive has another checksum or lacks a file.
        OSError: The files cannot be written.
    """
    with archive.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != kind.sha256:
        raise ConfigurationError(
            f"{archive} is corrupt or not the original: expected SHA-256 {kind.sha256}, got {actual}\n"
            f"it was not extracted; delete it and download it again from {kind.url}"
        )
    final = root / kind.folder
    with temporary_folder(final) as building:
        _extract_members(archive, building, kind)
        try:
            place_folder(building, final)
        except OSError:
            if not final.is_dir():
                raise


def _fetch(kind: Cifar, root: Path, notify: Notify) -> None:
    """Make the folder of the batches in `root` from the archive there, or from the network."""
    archive = root / kind.archive
    try:
        root.mkdir(parents=True, exist_ok=True)
        remove_abandoned(archive)
        remove_abandoned(root / kind.folder)
        if archive.is_file():
            notify(f"Extracting {archive}")
            extract_archive(archive, root, kind)
            return
        with temporary_folder(archive) as folder:
            notify(f"Downloading {kind.title} (170 MB) from {kind.url} to {root}")
            digest = f"SHA-256 {kind.sha256}"
            download([kind.url], folder / kind.archive, archive, kind.title, digest, notify)
            extract_archive(folder / kind.archive, root, kind)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {kind.title} below {root}: {error}\n"
            "free some space there, or name another folder by --data-dir or EVO_DATA_DIR"
        ) from error


def _extract_members(archive: Path, folder: Path, kind: Cifar) -> None:
    wanted = {f"{kind.folder}/{name}": name for name in (*kind.train_md5, *kind.test_md5, kind.meta)}
    try:
        # Each file is copied under one of our names, so paths, links and modes of the archive never apply.
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.name in wanted and member.isreg() else None
                if content is not None:
                    (folder / wanted.pop(member.name)).write_bytes(content.read())
    except (tarfile.TarError, EOFError) as error:
        raise ConfigurationError(f"{archive} cannot be extracted: {error}") from error
    if wanted:
        raise ConfigurationError(f"{archive} lacks {', '.join(wanted)}")


def _check_batch(
    path: Path, batch: Any, image_count: int, kind: Cifar
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    values = batch if isinstance(batch, dict) else {}
    data, labels = (values.get(name, values.get(name.encode())) for name in ("data", kind.labels))
    shape = (image_count, ROW_BYTES)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != shape:
        raise ConfigurationError(f"{path} is not a {kind.title} batch: data must be uint8 of shape {shape}")
    known = range(len(kind.classes))
    good = isinstance(labels, list) and all(isinstance(label, int) and label in known for label in labels)
    if not good or len(labels or ()) != image_count:
        raise ConfigurationError(
            f"{path} is not a {kind.title} batch: {kind.labels} must be a list of {image_count} numbers from 0 to "
            f"{len(kind.classes) - 1}"
        )
    return data.reshape(image_count, *IMAGE_SHAPE), np.array(labels, dtype=np.int64)


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, which would also run any other registered codec."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the pickle asks for the codec {encoding!r}, which no batch needs")
    return text.encode("latin1")


# NumPy 2.0 moved this function (core → _core); an array names the one of the NumPy that is installed.
_RECONSTRUCT = cast(tuple[Any, ...], np.empty(0).__reduce__())[0]

_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
}
