"""The cache of decoded datasets: checked .npy files, each entry complete or not there at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import platformdirs

from evo.errors import ConfigurationError
from evo.files import move_folder, place_folder, read_file, remove_abandoned, temporary_folder
from evo.places import absolute, with_home
from evo.plain_text import escaped, is_plain

Part: TypeAlias = Literal["train", "test"]
Content: TypeAlias = Literal["images", "labels"]
Notify: TypeAlias = Callable[[str], None]

PARTS: tuple[Part, ...] = ("train", "test")
CONTENTS: tuple[Content, ...] = ("images", "labels")
RECORD_NAME = "dataset.json"

# Written to dataset.json; another number there means "decode again". Raise it whenever decoding changes.
FORMAT_VERSION = 2


@dataclass(frozen=True)
class Source:
    """Images before decoding, as a reader (`cifar10`, `image_folder`, `digits`, …) describes them.

    A table of numbers is "images" of one channel and one row.

    Attributes:
        name: The dataset's name: one of `evo.names.DATASETS`, or what `evo.data.given` calls it.
        identity: What tells this source from every other (a resolved path, an image size); names the cache entry.
        fingerprint: Changes whenever the source's files change.
        classes: Class names; label i means `classes[i]`.
        image_shape: `(channels, height, width)` after decoding.
        counts: Number of images in each part; those of "train" include a validation part.
        variant: A description of the pixels for people.
        origin: Where the images come from, for people.
        decode: Fills the arrays that `create_arrays` has made in a folder.
        dtype: Of the images: "uint8" for pixels, "float32" for images of other numbers, "float64" for tables.
        validation: So many of the training images, the last ones, are a validation part that came with the data.
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
    dtype: str = "uint8"
    validation: int = 0


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset decoded to .npy files that every worker maps into memory without copying.

    Attributes:
        name: See `Source`.
        directory: Holds the four arrays and `dataset.json`.
        classes: Class names; label i means `classes[i]`.
        image_shape: `(channels, height, width)`.
        train_count: Number of training images, including the validation part.
        test_count: Number of test images.
        checksum: SHA-256 over the contents of the four arrays, in hexadecimal.
        variant: A description of the pixels: "CIFAR-10, original pixels", "image folder, JPEG", …
        source: Where the images came from: a path, or "scikit-learn digits".
        validation_count: Images of the validation part, where it came with the data (these are the last of the training
            images) or is a share of each class; 0 for the split of `split_train`.
        validation_share: That share.
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
    validation_count: int = 0
    validation_share: float | None = None

    @property
    def is_table(self) -> bool:
        """Whether it has rows of numbers instead of images."""
        return self.image_shape[:2] == (1, 1)

    def arrays(self, part: Part) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Map the images and labels of one part into memory, read-only.

        Args:
            part: "train" or "test".

        Returns:
            Images of shape `(n, channels, height, width)`, uint8 unless they are other numbers, and labels, int64 of
            shape `(n,)`.

        Raises:
            ConfigurationError: The cache entry is gone, or was decoded again from changed images since.
        """
        record = _read_record(self.directory)
        if record is None or record.get("checksum") != self.checksum:
            state = "is gone" if record is None else "holds other images now"
            raise ConfigurationError(
                f"the decoded dataset {self.directory} {state}\n"
                f"its source {self.source} or the cache was changed during the run; start or resume it again"
            )
        return open_array(self.directory, part, "images"), open_array(self.directory, part, "labels")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return values


def cache_root() -> Path:
    """Return the user's cache folder: `$EVO_CACHE_DIR`, or the operating system's place for evo's caches.

    Raises:
        ConfigurationError: There is no home folder that it could be in.
    """
    chosen = os.environ.get("EVO_CACHE_DIR")
    if not chosen:
        try:
            chosen = platformdirs.user_cache_dir("evo", appauthor=False)
        except RuntimeError:  # where the system knows no home folder; older versions leave ~ in their answer
            chosen = "~/.cache/evo"
    return absolute(with_home(Path(chosen)))


def create_arrays(directory: Path, source: Source) -> None:
    """Create the four arrays of `source`, filled with zeros, and reserve their space on the disk.

    Args:
        directory: An existing folder.
        source: Says how many images there are, and of which shape.

    Raises:
        OSError: The disk cannot hold them.
    """
    for part, count in source.counts.items():
        for content, dtype, shape in (("images", source.dtype, source.image_shape), ("labels", "int64", ())):
            path = directory / f"{part}_{content}.npy"
            np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=(count, *shape))
            _reserve(path)


def open_array(directory: Path, part: Part, content: Content, mode: Literal["r", "r+"] = "r") -> npt.NDArray[Any]:
    """Map one of an entry's arrays into memory; `mode="r+"` is for decoding only."""
    path = directory / f"{part}_{content}.npy"
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: is not a file")  # opening a pipe would wait for ever
    array: npt.NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    return array


def open_or_decode(source: Source, notify: Notify) -> PreparedDataset:
    """Return the checked cache entry of `source`; decode it first if there is none.

    An entry whose arrays do not match their recorded SHA-256, or whose source has changed, is decoded again.
    Processes may race: each decodes into its own folder, and the first to finish gives the entry its name.

    Args:
        source: What to open.
        notify: Called with one line of progress at a time.

    Raises:
        ConfigurationError: The cache cannot be written, or decoding refuses the source.
    """
    directory = _directory_of(source)
    for path in (source.origin, str(directory)):
        if not is_plain(path):
            raise ConfigurationError(
                f"{escaped(path)}: the path holds bytes that are not UTF-8, or control characters, and a run could "
                "not record it; rename the folder"
            )
    try:
        checksum, reason = _check(directory, source)
        if checksum is None:
            if reason:
                notify(f"{directory}: {reason}; decoding again")
            checksum = _decode(directory, source, notify)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the decoded dataset below {directory.parent}, or read it there: {error}\n"
            "free some space there, or set EVO_CACHE_DIR to a folder that can be read and written"
        ) from error
    return _prepared(source, directory, checksum)


def open_cached(source: Source) -> PreparedDataset | None:
    """Return the checked cache entry of `source`; None if there is none, or a damaged one."""
    directory = _directory_of(source)
    checksum, _ = _check(directory, source)
    return None if checksum is None else _prepared(source, directory, checksum)


def _directory_of(source: Source) -> Path:
    key = hashlib.sha256(source.identity.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    # The name of a function is not the name of a folder.
    return cache_root() / "datasets" / f"{'given' if ':' in source.name else source.name}-{key}"


def _prepared(source: Source, directory: Path, checksum: str) -> PreparedDataset:
    return PreparedDataset(
        name=source.name,
        directory=directory,
        classes=source.classes,
        image_shape=source.image_shape,
        train_count=source.counts["train"],
        test_count=source.counts["test"],
        checksum=checksum,
        variant=source.variant,
        source=source.origin,
        validation_count=source.validation,
    )


def checksum_of_arrays(arrays: Mapping[tuple[Part, Content], npt.NDArray[Any]], validation: int = 0) -> str:
    """Return the checksum that an entry of these arrays will have.

    Args:
        arrays: By part and content.
        validation: See `Source`.
    """
    facts: dict[str, dict[str, Any]] = {}
    for part, content in itertools.product(PARTS, CONTENTS):
        array = np.ascontiguousarray(arrays[part, content])
        digest = hashlib.sha256(array.data if array.size else b"").hexdigest()
        facts[f"{part}_{content}.npy"] = {"dtype": array.dtype.str, "shape": list(array.shape), "sha256": digest}
    return _checksum(facts, validation)


def checksum_of(directory: Path) -> str | None:
    """Return the checksum of an entry's arrays, whatever its record says of them; None if they cannot be read."""
    try:
        return _checksum(_hash_arrays(directory), (_read_record(directory) or {}).get("validation", 0))
    except Exception:  # NumPy's reader raises almost anything on a damaged header
        return None


def _reserve(path: Path) -> None:
    """Reserve the disk space of a sparse file.

    On a full disk, writing to it through a map would kill the process; this raises an exception instead.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot reserve
                raise


def _decode(directory: Path, source: Source, notify: Notify) -> str:
    """Decode a source into its entry, and return the checksum of what is there then."""
    started = time.monotonic()
    remove_abandoned(directory)
    with temporary_folder(directory) as building:
        built = _build(building, source, notify)
        # Another process may have finished meanwhile, and its workers may be opening its entry: keep that.
        checksum = _check(directory, source)[0] or _publish(building, directory, source, built)
    count, seconds = sum(source.counts.values()), time.monotonic() - started
    what = "rows" if source.image_shape[:2] == (1, 1) else "images"
    notify(f"Decoded {count:,} {what} in {seconds:.1f} s; cached in {directory}")
    return checksum


def _build(building: Path, source: Source, notify: Notify) -> str:
    """Decode into `building`, write its dataset.json and return the checksum."""
    create_arrays(building, source)
    source.decode(building, notify)
    arrays = _hash_arrays(building)
    checksum = _checksum(arrays, source.validation)
    record = {
        "format": FORMAT_VERSION,
        "name": source.name,
        "identity": source.identity,
        "fingerprint": source.fingerprint,
        "variant": source.variant,
        "classes": list(source.classes),
        "checksum": checksum,
        "arrays": arrays,
        **({"validation": source.validation} if source.validation else {}),
    }
    (building / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return checksum


def _publish(building: Path, directory: Path, source: Source, checksum: str) -> str:
    """Rename `building` to `directory`, replacing an entry that is no longer valid; return the checksum there."""
    with temporary_folder(directory) as discarded:
        with contextlib.suppress(OSError):  # there is none; or the next step fails too, and says why
            move_folder(directory, discarded)
        try:
            place_folder(building, directory)
        except OSError:
            winner, _ = _check(directory, source)
            if winner is None:
                raise
            return winner
    return checksum


def _check(directory: Path, source: Source) -> tuple[str | None, str]:
    """Return the checksum of a valid entry; otherwise None and the reason, which is empty if there is no entry."""
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
    checksum = _checksum(arrays, source.validation)
    if record.get("checksum") != checksum:
        return None, f"{RECORD_NAME} has a different checksum from its arrays"
    return checksum, ""


def _read_record(directory: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(read_file(directory / RECORD_NAME))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _hash_arrays(directory: Path) -> dict[str, dict[str, Any]]:
    """Return file name → size, dtype, shape and SHA-256 of the contents, for the four arrays.

    The files are read in blocks rather than through a map, so checking them takes no memory.
    """
    facts: dict[str, dict[str, Any]] = {}
    for part, content in itertools.product(PARTS, CONTENTS):
        path = directory / f"{part}_{content}.npy"
        array = open_array(directory, part, content)
        if not array.flags.c_contiguous:
            raise ValueError(f"{path.name} is not in C order")
        size = path.stat().st_size
        with path.open("rb", buffering=0) as file:
            file.seek(size - array.nbytes)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        facts[path.name] = {"bytes": size, "dtype": array.dtype.str, "shape": list(array.shape), "sha256": digest}
    return facts


def _checksum(arrays: dict[str, dict[str, Any]], validation: int = 0) -> str:
    """Return one SHA-256 over dtype, shape and contents of all four arrays, without the npy headers.

    The size of a validation part that came with the data is in it, too.
    """
    lines = [f"{name} {facts['dtype']} {facts['shape']} {facts['sha256']}" for name, facts in arrays.items()]
    lines += [f"validation {validation}"] if validation else []
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
