"""The one place that changes a run's files: whole files appear at once or not at all, appended lines are synced."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evo.errors import StorageError

STATES_BYTES = 2**30
"""Most that the states of a run's finished trainings take on the disk together."""
PARTIAL = ".partial"
"""The end of the names of files that have not taken their place yet."""

failpoint: Callable[[str, Path], None] = lambda call, path: None  # noqa: E731  # a place to hang something in
"""Called just before every call that changes the disk, with its name: here `tests/faults` lets it fail."""


@contextlib.contextmanager
def _changing(call: str, path: Path) -> Iterator[None]:
    """Surround a call that changes the disk: an error of it says which file and why."""
    try:
        failpoint(call, path)
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary file beside `path` that takes its place if the block ends without an error.

    Args:
        path: The file. Its folder is made if it is not there; what that lies in must be.
        durable: Wait until it is on disk.

    Raises:
        StorageError: It cannot be written. The file that was there still is, or the new one in whole.
    """
    with _changing("make its folder", path):
        path.parent.mkdir(exist_ok=True)
    with _changing("create", path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    os.close(handle)
    temporary = Path(name)
    try:
        with _changing("write", path):
            yield temporary
        if durable:
            with _changing("sync", path), temporary.open("rb+") as file:
                os.fsync(file.fileno())
        with _changing("take its place", path):
            # mkstemp makes private files; results are as readable as any file of the user's.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file atomically; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, values: Any) -> None:
    """Write values as an indented JSON file, atomically; NaN and infinities are refused."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def create_to_append(path: Path) -> int:
    """Make a new file and return its descriptor, for `append`.

    Raises:
        StorageError: It cannot be made, or exists.
    """
    with _changing("create", path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)


def append(descriptor: int, data: bytes, path: Path) -> None:
    """Write all of `data` at the end of an open file and wait until it is on disk.

    Raises:
        StorageError: It cannot be written, or the file is no longer in its folder.
    """
    with _changing("append", path):
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    with _changing("sync", path):
        os.fsync(descriptor)
        if not _is_at(descriptor, path):  # the disk takes the bytes, and nobody will find them there
            raise StorageError(
                f"{path}: was moved or removed while it was being written; if it was moved, go on where it is now"
            )


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def cut(descriptor: int, length: int, path: Path) -> None:
    """Cut an open file off at `length` bytes."""
    with _changing("cut off", path):
        os.ftruncate(descriptor, length)
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a folder's new and renamed entries durable."""
    with _changing("sync", folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """Give an empty folder on the same disk as `beside`; whatever is in it at the end is removed."""
    with _changing("make its folder", beside):
        beside.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=beside.parent, prefix=f".{beside.name}.", suffix=PARTIAL))
        folder.chmod(0o777 & ~_umask())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder; a folder at the target is replaced only if it is empty.

    Raises:
        StorageError: It cannot be.
    """
    with _changing("move", target):
        source.rename(target)


def remove_file(path: Path) -> None:
    """Remove a file if it is there."""
    with _changing("remove", path):
        path.unlink(missing_ok=True)


def remove_partial(folder: Path, names: str) -> None:
    """Remove what a killed process has left of files that were to be named so.

    Args:
        folder: Where they are.
        names: A pattern such as "*.csv".
    """
    for path in folder.glob(f".{names}.*{PARTIAL}"):
        remove_file(path)


def _umask() -> int:
    umask = os.umask(0)  # the only way to read it is to set it
    os.umask(umask)
    return umask
