"""CIFAR-10 in torchvision's folder layout: download, checksums, and batches read without trusting their pickles."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import pickle
import tarfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from evo.data.cache import Notify, Part, Source, cache_root, open_array
from evo.errors import ConfigurationError
from evo.files import place_folder, remove_abandoned, temporary_folder
from evo.places import absolute, with_home

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

SOCKET_TIMEOUT_SECONDS = 30.0
_BLOCK_BYTES = 1 << 20


def default_root() -> Path:
    """Return where CIFAR-10 is kept unless a data folder is given: `$EVO_DATA_DIR`, or `data` in the cache."""
    chosen = os.environ.get("EVO_DATA_DIR")
    return absolute(with_home(Path(chosen))) if chosen else cache_root() / "data"


def cifar10_source(
    root: Path,
    notify: Notify,
    *,
    download: bool = True,
    train_md5: Mapping[str, str] = TRAIN_MD5,
    test_md5: Mapping[str, str] = TEST_MD5,
    images_per_batch: int = 10_000,
) -> Source:
    """Describe CIFAR-10 below `root`; download or extract it first if the batches are not there.

    Args:
        root: torchvision's root: the batches are in `root/cifar-10-batches-py`.
        notify: Called with one line of progress at a time.
        download: Whether it may be downloaded or extracted.
        train_md5: File name → MD5 of the training batches, in order.
        test_md5: File name → MD5 of the test batches, in order.
        images_per_batch: How many images each batch holds.

    Returns:
        The original pixels, shape `(3, 32, 32)`, in the order of the batches.

    Raises:
        ConfigurationError: There is nothing and no network, or files are missing or corrupt.
    """
    root = with_home(root).resolve()
    folder = root / FOLDER
    if not folder.is_dir():
        if not download:
            raise ConfigurationError(
                f"{folder}: CIFAR-10 is no longer there; give the folder that holds it by --data-dir"
            )
        _fetch(root, notify)
    tables: dict[Part, Mapping[str, str]] = {"train": train_md5, "test": test_md5}

    def decode(directory: Path, notify: Notify) -> None:
        for part, table in tables.items():
            images = open_array(directory, part, "images", "r+")
            labels = open_array(directory, part, "labels", "r+")
            for index, (name, md5) in enumerate(table.items()):
                rows = slice(index * images_per_batch, (index + 1) * images_per_batch)
                images[rows], labels[rows] = read_batch(folder / name, md5, images_per_batch)

    return Source(
        name="cifar10",
        identity=str(folder),
        fingerprint=_fingerprint(folder, [*train_md5, *test_md5]),
        classes=CLASSES,
        image_shape=IMAGE_SHAPE,
        counts={part: len(table) * images_per_batch for part, table in tables.items()},
        variant="CIFAR-10, original pixels",
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


def read_batch(path: Path, md5: str, image_count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Check the checksum of one batch file, and read it.

    Args:
        path: A batch as the CIFAR-10 page describes it: a pickled dict with `data`, uint8 of shape `(n, 3072)`,
            and `labels`, a list of n class indices.
        md5: What the file's MD5 must be.
        image_count: How many images it must hold.

    Returns:
        Images of shape `(n, 3, 32, 32)` and labels of shape `(n,)`.

    Raises:
        ConfigurationError: The file cannot be read, has another checksum, or is not such a batch.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    # MD5 finds damage but not forgery; the unpickler below trusts nothing anyway.
    actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != md5:
        raise ConfigurationError(
            f"{path} is corrupt: expected MD5 {md5}, got {actual}\n"
            f"delete the folder {path.parent} and start again, to have it downloaded or extracted again"
        )
    try:
        batch = RestrictedUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a malformed pickle raises almost anything
        raise ConfigurationError(f"refused to read {path}: {error}") from error
    return _check_batch(path, batch, image_count)


def extract_archive(archive: Path, root: Path, *, sha256: str = ARCHIVE_SHA256) -> None:
    """Check the checksum of the archive, and extract its batches into `root/cifar-10-batches-py`.

    The folder gets its name when it is complete. Only the expected files are read from the archive. If another process
    was faster, its folder stays.

    Args:
        archive: `cifar-10-python.tar.gz`.
        root: torchvision's root; exists.
        sha256: What the archive's SHA-256 must be.

    Raises:
        ConfigurationError: The archive has another checksum or lacks a file.
        OSError: The files cannot be written.
    """
    with archive.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        raise ConfigurationError(
            f"{archive} is corrupt or not the original: expected SHA-256 {sha256}, got {actual}\n"
            f"it was not extracted; delete it and download it again from {URL}"
        )
    final = root / FOLDER
    with temporary_folder(final) as building:
        _extract_members(archive, building)
        try:
            place_folder(building, final)
        except OSError:
            if not final.is_dir():
                raise


def _fetch(root: Path, notify: Notify) -> None:
    """Make `root/cifar-10-batches-py` from the archive in `root`, or from the network."""
    archive = root / ARCHIVE
    try:
        root.mkdir(parents=True, exist_ok=True)
        remove_abandoned(archive)
        remove_abandoned(root / FOLDER)
        if archive.is_file():
            notify(f"Extracting {archive}")
            extract_archive(archive, root)
            return
        with temporary_folder(archive) as folder:
            notify(f"Downloading CIFAR-10 (170 MB) from {URL} to {root}")
            _download(folder / ARCHIVE, archive, notify)
            extract_archive(folder / ARCHIVE, root)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write CIFAR-10 below {root}: {error}\n"
            "free some space there, or name another folder by --data-dir or EVO_DATA_DIR"
        ) from error


def _download(path: Path, target: Path, notify: Notify) -> None:
    """Download the archive to `path`; `target` is where a person would put it."""
    done = 0
    try:
        with urllib.request.urlopen(URL, timeout=SOCKET_TIMEOUT_SECONDS) as response, path.open("wb") as file:
            size = response.length or 0
            while block := response.read(_BLOCK_BYTES):
                file.write(block)
                done += len(block)
                if size and 10 * done // size > 10 * (done - len(block)) // size:
                    notify(f"Downloaded {100 * done // size} % of CIFAR-10")
            if done < size:
                raise ConnectionError("the connection ended early")
    except (OSError, http.client.HTTPException) as error:
        raise ConfigurationError(
            f"cannot download CIFAR-10 from {URL}: {error}\n"
            "do one of these:\n"
            f"  - download it by hand to {target}\n"
            f"    (SHA-256 {ARCHIVE_SHA256})\n"
            "  - give --data-dir a folder of images, train/<class>/<image> and test/<class>/<image>\n"
            "  - use --dataset digits, which needs no download"
        ) from error


def _extract_members(archive: Path, folder: Path) -> None:
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAIN_MD5, *TEST_MD5, META_FILE)}
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


def _fingerprint(folder: Path, names: list[str]) -> str:
    """Return what changes when a batch file changes; checksums are compared when the batches are decoded."""
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ConfigurationError(
            f"{folder} lacks {', '.join(missing)}\n"
            "delete the folder and start again, to have it downloaded or extracted again"
        )
    facts = {name: (folder / name).stat() for name in names}
    lines = [f"{name}\0{fact.st_size}\0{fact.st_mtime_ns}\n" for name, fact in facts.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _check_batch(path: Path, batch: Any, image_count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    values = batch if isinstance(batch, dict) else {}
    data, labels = (values.get(name, values.get(name.encode())) for name in ("data", "labels"))
    shape = (image_count, ROW_BYTES)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != shape:
        raise ConfigurationError(f"{path} is not a CIFAR-10 batch: data must be uint8 of shape {shape}")
    known = range(len(CLASSES))
    good = isinstance(labels, list) and all(isinstance(label, int) and label in known for label in labels)
    if not good or len(labels or ()) != image_count:
        raise ConfigurationError(
            f"{path} is not a CIFAR-10 batch: labels must be a list of {image_count} numbers from 0 to 9"
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
