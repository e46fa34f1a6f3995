"""The decoded cache: datasets as checked .npy files that appear under their name complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import platformdirs

from evo.errors import ConfigurationError

Part: TypeAlias = Literal["train", "test"]
Content: TypeAlias = Literal["images", "labels"]
Notify: TypeAlias = Callable[[str], None]

PARTS: tuple[Part, ...] = ("train", "test")
CONTENTS: tuple[Content, ...] = ("images", "labels")
RECORD_NAME = "dataset.json"

# Written to dataset.json; another number there means "decode again". Raise it whenever decoding changes.
FORMAT_VERSION = 1

# A temporary folder as old as this was left by a process that was killed.
ABANDONED_AFTER_SECONDS = 24 * 3600.0

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """Images before decoding, as a reader (`cifar10`, `image_folder`, `digits`) describes them to the cache.

    Attributes:
        name: The dataset's name, one of `DATASETS`.
        identity: What tells this source from every other (a resolved path, an image size); names the cache entry.
        fingerprint: Changes whenever the source's files do.
        classes: Class names; label i means `classes[i]`.
        image_shape: `(channels, height, width)` after decoding.
        counts: Number of images of each part.
        variant: Human words for the pixels.
        origin: Where the images come from, for people.
        decode: Fills the arrays of `create_arrays` in the folder that it is given.
    """

    name: str
    identity: str
    fingerprint: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    counts: dict[Part, int]
    variant: str
    origin: str
    decode: Callable[[Path, Notify], None]


@dataclass(frozen=True)
class CacheEntry:
    """A decoded dataset that has been checked.

    Attributes:
        directory: Holds the four arrays and `dataset.json`.
        checksum: SHA-256 over the contents of the four arrays, in hexadecimal.
    """

    directory: Path
    checksum: str


def cache_root() -> Path:
    """Return the user's cache folder: `$EVO_CACHE_DIR`, or the operating system's place for evo's caches."""
    chosen = os.environ.get("EVO_CACHE_DIR")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("evo", appauthor=False))


def array_path(directory: Path, part: Part, content: Content) -> Path:
    """Return where an entry keeps one of its four arrays."""
    return directory / f"{part}_{content}.npy"


def create_arrays(directory: Path, source: Source) -> None:
    """Create the four arrays of `source`, zero-filled, with their space on the disk reserved.

    Args:
        directory: An existing folder.
        source: Says how many images of which shape.

    Raises:
        OSError: If the disk cannot hold them.
    """
    for part in PARTS:
        count = source.counts[part]
        shapes: dict[Content, tuple[tuple[int, ...], npt.DTypeLike]] = {
            "images": ((count, *source.image_shape), np.uint8),
            "labels": ((count,), np.int64),
        }
        for content, (shape, dtype) in shapes.items():
            path = array_path(directory, part, content)
            np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
            _reserve(path)


def open_array(directory: Path, part: Part, content: Content, mode: Literal["r", "r+"] = "r") -> npt.NDArray[Any]:
    """Map one of an entry's arrays into memory; `mode="r+"` is for decoding only."""
    array: npt.NDArray[Any] = np.load(array_path(directory, part, content), mmap_mode=mode, allow_pickle=False)
    return array


def open_or_decode(source: Source, notify: Notify) -> CacheEntry:
    """Return the checked cache entry of `source`, and decode it first where there is no such entry.

    An entry whose arrays do not match their recorded SHA-256, or whose source has changed, is decoded again.
    Processes may race: each decodes into a folder of its own, and the first to finish gives the entry its name.

    Args:
        source: What to open.
        notify: Takes one line of progress at a time.

    Returns:
        The entry.

    Raises:
        ConfigurationError: If the cache cannot be written, or decoding refuses the source.
    """
    parent = cache_root() / "datasets"
    directory = parent / _key(source)
    entry, reason = _check(directory, source)
    if entry is not None:
        return entry
    if reason:
        notify(f"{directory}: {reason}; decoding again")
    started = time.monotonic()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(parent, f".{directory.name}.")
        with temporary_sibling(directory) as building:
            checksum = _build(building, source, notify)
            # Another process may have finished meanwhile, and its workers may be opening that entry: keep it.
            entry, _ = _check(directory, source)
            if entry is None:
                entry = _publish(building, directory, source, checksum)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the decoded dataset below {parent}: {error}\n"
            "free some space there, or set EVO_CACHE_DIR to a folder that can be written"
        ) from error
    seconds = time.monotonic() - started
    count = sum(source.counts.values())
    notify(f"Decoded {count:,} images in {seconds:.1f} s; cached in {entry.directory}")
    return entry


def read_checksum(directory: Path) -> str | None:
    """Return the checksum that an entry's `dataset.json` states, or None where none can be read."""
    record = _read_record(directory)
    return None if record is None else str(record.get("checksum"))


def checksum_of(directory: Path) -> str | None:
    """Return the checksum that an entry's arrays have, whatever its record states; None where they cannot be read."""
    try:
        return _checksum(_hash_arrays(directory))
    except Exception:  # NumPy's reader raises almost anything on a damaged header
        return None


@contextlib.contextmanager
def temporary_sibling(final: Path) -> Iterator[Path]:
    """Give a temporary folder beside `final`, on the same file system, and remove it afterwards.

    Args:
        final: The path that the folder, or something in it, will be renamed to. Its parent exists.

    Yields:
        The temporary folder.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove temporary folders in `parent` that killed processes left there more than a day ago."""
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Write a folder, and the files directly in it, through to the disk."""
    for path in (*(path for path in folder.iterdir() if path.is_file()), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reserve(path: Path) -> None:
    """Reserve the disk space of a sparse file.

    Writing to it through a map on a full disk would end the process by a signal; this is an exception instead.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot reserve
                raise


def _key(source: Source) -> str:
    digest = hashlib.sha256(source.identity.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{source.name}-{digest[:24]}"


def _build(building: Path, source: Source, notify: Notify) -> str:
    """Decode into `building`, write its dataset.json and return the checksum."""
    create_arrays(building, source)
    source.decode(building, notify)
    arrays = _hash_arrays(building)
    checksum = _checksum(arrays)
    record = {
        "format": FORMAT_VERSION,
        "name": source.name,
        "identity": source.identity,
        "fingerprint": source.fingerprint,
        "variant": source.variant,
        "classes": list(source.classes),
        "checksum": checksum,
        "arrays": arrays,
    }
    (building / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    sync_folder(building)
    building.chmod(0o755)  # mkdtemp made it private; a cache may be shared
    return checksum


def _publish(building: Path, directory: Path, source: Source, checksum: str) -> CacheEntry:
    """Rename `building` to `directory`, in place of an entry that is no longer good."""
    with temporary_sibling(directory) as discarded:
        with contextlib.suppress(FileNotFoundError):
            directory.rename(discarded / "old")
        try:
            building.rename(directory)
        except OSError:
            winner, _ = _check(directory, source)
            if winner is None:
                raise
            return winner
    sync_folder(directory.parent)
    return CacheEntry(directory, checksum)


def _check(directory: Path, source: Source) -> tuple[CacheEntry | None, str]:
    """Return the entry if it is good; otherwise None and the reason, which is empty where there is no entry."""
    if not directory.exists():
        return None, ""
    record = _read_record(directory)
    if record is None:
        return None, f"{RECORD_NAME} cannot be read"
    if record.get("format") != FORMAT_VERSION:
        return None, f"the cache has format {record.get('format')}, not {FORMAT_VERSION}"
    if record.get("identity") != source.identity or record.get("fingerprint") != source.fingerprint:
        return None, f"{source.origin} has changed"
    try:
        arrays = _hash_arrays(directory)
    except Exception as error:  # NumPy's reader raises almost anything on a damaged header
        return None, f"the cached arrays cannot be read ({error})"
    expected = record.get("arrays")
    if arrays != expected:
        known = expected if isinstance(expected, dict) else {}
        wrong = ", ".join(name for name, facts in arrays.items() if known.get(name) != facts)
        return None, f"the cached arrays do not match their SHA-256 ({wrong or 'missing arrays'})"
    checksum = _checksum(arrays)
    if record.get("checksum") != checksum:
        return None, f"{RECORD_NAME} states another checksum than its arrays have"
    return CacheEntry(directory, checksum), ""


def _read_record(directory: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((directory / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _hash_arrays(directory: Path) -> dict[str, dict[str, Any]]:
    """Return file name → size, dtype, shape and SHA-256 of the contents, for the four arrays.

    The files are read in blocks rather than through a map, so that checking them takes no memory.
    """
    facts: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        for content in CONTENTS:
            path = array_path(directory, part, content)
            array = open_array(directory, part, content)
            if not array.flags.c_contiguous:
                raise ValueError(f"{path.name} is not in C order")
            digest = hashlib.sha256()
            with path.open("rb", buffering=0) as file:
                file.seek(path.stat().st_size - array.nbytes)
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
            facts[path.name] = {
                "bytes": path.stat().st_size,
                "dtype": array.dtype.str,
                "shape": list(array.shape),
                "sha256": digest.hexdigest(),
            }
    return facts


def _checksum(arrays: dict[str, dict[str, Any]]) -> str:
    """Return one SHA-256 for dtype, shape and contents of all four arrays; the npy headers do not enter it."""
    lines = [f"{name} {facts['dtype']} {facts['shape']} {facts['sha256']}" for name, facts in arrays.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
