"""CIFAR-10 in torchvision's root layout: download, checksums, and batches read without trusting their pickles."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import os
import pickle
import shutil
import socket
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from evo.data.cache import (
    Notify,
    Part,
    Source,
    cache_root,
    open_array,
    remove_abandoned,
    sync_folder,
    temporary_sibling,
)
from evo.errors import ConfigurationError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"

# From keras/src/datasets/cifar10.py (`file_hash`); torchvision publishes this archive's MD5 only.
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
# Evo reads only the batches; the label names are extracted so that torchvision can use the same folder.
META_FILE = "batches.meta"

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SHAPE = (3, 32, 32)
ROW_BYTES = 3 * 32 * 32

SOCKET_TIMEOUT_SECONDS = 30.0


def default_root() -> Path:
    """Return where CIFAR-10 is kept unless a data folder is given: `$EVO_DATA_DIR`, or `data` in the cache."""
    chosen = os.environ.get("EVO_DATA_DIR")
    return Path(chosen).expanduser() if chosen else cache_root() / "data"


def cifar10_source(
    root: Path,
    notify: Notify,
    *,
    download: bool = True,
    train_md5: Mapping[str, str] = TRAIN_MD5,
    test_md5: Mapping[str, str] = TEST_MD5,
    images_per_batch: int = 10_000,
) -> Source:
    """Describe CIFAR-10 below `root`, and download or extract it first where the batches are not there.

    Args:
        root: torchvision's root: the batches lie in `root/cifar-10-batches-py`.
        notify: Takes one line of progress at a time.
        download: Whether it may be fetched.
        train_md5: File name → MD5 of the training batches, in order.
        test_md5: File name → MD5 of the test batches, in order.
        images_per_batch: How many images each batch holds.

    Returns:
        The original pixels, shape `(3, 32, 32)`, in the order of the batches.

    Raises:
        ConfigurationError: If there is nothing and no network, or files are missing or corrupt.
    """
    root = root.expanduser().resolve()
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
    """Unpickles NumPy arrays in lists and dicts, and refuses to look up anything else.

    A pickle can name any function and have it called. The original batches need the three names below;
    Python 3 adds `_codecs.encode` when it writes bytes in protocol 2.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed objects.

        Raises:
            pickle.UnpicklingError: If the pickle asks for any other.
        """
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, which no batch needs") from None


def read_batch(path: Path, md5: str, image_count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read one batch file, after its checksum.

    Args:
        path: A batch as the CIFAR-10 page describes it: a pickled dict with `data`, uint8 of shape `(n, 3072)`,
            and `labels`, a list of n class indices.
        md5: What the file's MD5 must be.
        image_count: How many images it must hold.

    Returns:
        Images of shape `(n, 3, 32, 32)` and labels of shape `(n,)`.

    Raises:
        ConfigurationError: If the file cannot be read, has another checksum, or is not such a batch.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    # Not a protection against forgery: it finds damage, and the unpickler below trusts nothing.
    actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != md5:
        raise ConfigurationError(
            f"{path} is corrupt: expected MD5 {md5}, got {actual}\n"
            f"delete the folder {path.parent} and start again, so that it is downloaded or extracted anew"
        )
    try:
        batch = RestrictedUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a malformed pickle raises almost anything
        raise ConfigurationError(f"refused to read {path}: {error}") from error
    return _check_batch(path, batch, image_count)


def extract_archive(archive: Path, root: Path, *, sha256: str = ARCHIVE_SHA256) -> None:
    """Extract the batches from the archive into `root/cifar-10-batches-py`, after its checksum.

    The folder gets its name when it is complete. Only the expected files are read from the archive, whatever
    else it holds. Where another process was faster its folder stays.

    Args:
        archive: `cifar-10-python.tar.gz`.
        root: torchvision's root; exists.
        sha256: What the archive's SHA-256 must be.

    Raises:
        ConfigurationError: If the archive has another checksum or lacks a file.
        OSError: If the files cannot be written.
    """
    with archive.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        raise ConfigurationError(
            f"{archive} is corrupt or not the original: expected SHA-256 {sha256}, got {actual}\n"
            f"it was not extracted; delete it and download it again from {URL}"
        )
    final = root / FOLDER
    with temporary_sibling(final) as building:
        _extract_members(archive, building)
        sync_folder(building)
        building.chmod(0o755)  # mkdtemp made it private
        try:
            building.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    sync_folder(root)


def _fetch(root: Path, notify: Notify) -> None:
    """Bring `root/cifar-10-batches-py` about, from the archive in `root` or from the network."""
    archive = root / ARCHIVE
    try:
        root.mkdir(parents=True, exist_ok=True)
        remove_abandoned(root, f".{ARCHIVE}.")
        remove_abandoned(root, f".{FOLDER}.")
        if archive.is_file():
            notify(f"Extracting {archive}")
            extract_archive(archive, root)
            return
        with temporary_sibling(archive) as folder:
            notify(f"Downloading CIFAR-10 (170 MB) from {URL} to {root}")
            _download(folder, archive)
            extract_archive(folder / ARCHIVE, root)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write CIFAR-10 below {root}: {error}\n"
            "free some space there, or name another folder by --data-dir or EVO_DATA_DIR"
        ) from error


def _download(folder: Path, target: Path) -> None:
    """Download the archive into `folder`; `target` is where a person would put it."""
    # Imported here: it loads torch, and nothing else of this package does.
    from torchvision.datasets.utils import download_url

    try:
        # torchvision falls back to plain http when https fails, and compares an MD5 at most. Neither is a
        # danger here: the SHA-256 is checked before anything reads the file.
        with _socket_timeout(SOCKET_TIMEOUT_SECONDS), _no_animation_off_a_terminal():
            download_url(URL, str(folder), filename=ARCHIVE)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise ConfigurationError(
            f"cannot download CIFAR-10 from {URL}: {error}\n"
            "do one of these:\n"
            f"  - download it by hand to {target}\n"
            f"    (SHA-256 {ARCHIVE_SHA256})\n"
            "  - give --data-dir a folder of images, train/<class>/<image> and test/<class>/<image>\n"
            "  - use --dataset digits, which needs no download"
        ) from error


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Let no connection or read wait longer than this: torchvision sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _no_animation_off_a_terminal() -> Iterator[None]:
    """Keep torchvision's progress bar out of log files; it offers no switch."""
    if sys.stderr.isatty():
        yield
    else:
        with contextlib.redirect_stderr(io.StringIO()):
            yield


def _extract_members(archive: Path, folder: Path) -> None:
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAIN_MD5, *TEST_MD5, META_FILE)}
    try:
        # Each file is copied under a name of ours, so no path, link or mode of the archive is ever applied.
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = wanted.get(member.name)
                content = tar.extractfile(member) if name and member.isreg() else None
                if name and content is not None:
                    with (folder / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
                    del wanted[member.name]
    except (tarfile.TarError, EOFError) as error:
        raise ConfigurationError(f"{archive} cannot be extracted: {error}") from error
    if wanted:
        raise ConfigurationError(f"{archive} lacks {', '.join(wanted)}")


def _fingerprint(folder: Path, names: list[str]) -> str:
    """Return what changes when a batch file does; checksums are compared when the batches are decoded."""
    lines, missing = [], []
    for name in names:
        try:
            facts = (folder / name).stat()
        except OSError:
            missing.append(name)
        else:
            lines.append(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n")
    if missing:
        raise ConfigurationError(
            f"{folder} lacks {', '.join(missing)}\n"
            "delete the folder and start again, so that it is downloaded or extracted anew"
        )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _check_batch(path: Path, batch: Any, image_count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    if not isinstance(batch, dict):
        raise ConfigurationError(f"{path} is not a CIFAR-10 batch: expected a dict, got {type(batch).__name__}")
    data = batch.get("data", batch.get(b"data"))
    labels = batch.get("labels", batch.get(b"labels"))
    shape = (image_count, ROW_BYTES)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != shape:
        raise ConfigurationError(f"{path} is not a CIFAR-10 batch: data must be uint8 of shape {shape}")
    if (
        not isinstance(labels, list)
        or len(labels) != image_count
        or not all(isinstance(label, int) and 0 <= label < len(CLASSES) for label in labels)
    ):
        raise ConfigurationError(
            f"{path} is not a CIFAR-10 batch: labels must be a list of {image_count} numbers from 0 to 9"
        )
    return data.reshape(image_count, *IMAGE_SHAPE), np.array(labels, dtype=np.int64)


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, which would also run any codec that is registered."""
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
