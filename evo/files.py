"""The one place that writes results: files and folders appear whole or not at all, appended lines are synced."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evo.errors import RunError, StorageError

STATES_BYTES = 2**30
"""The most disk space that the states of a run's finished trainings may take together."""
PARTIAL = ".partial"
"""The end of the names of files that are still being written."""
ABANDONED_SECONDS = 24 * 3600.0
"""The age at which a temporary folder must have been left by a killed process."""

_OPEN_FILES = re.compile(r"/dev|/dev/fd|/proc/(self|\d+)(/task/\d+)?/fd")
"""Folders whose entries are open files of a process."""

failpoint: Callable[[str, Path], None] = lambda call, path: None  # noqa: E731  # tests replace it
"""Called with the name of every call that changes the disk, just before it: `tests/faults` lets it fail here."""


@contextlib.contextmanager
def _changing(call: str, path: Path) -> Iterator[None]:
    """Surround a call that changes the disk, so that its error says which file and why."""
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
        path: The file. Its folder is made if it does not exist; the parent of that must exist.
        durable: Wait until it is on disk.

    Raises:
        StorageError: It cannot be written. The old file is still there, or the new one is complete.
    """
    with _changing("make its folder", path):
        path.parent.mkdir(exist_ok=True)
    with _changing("create", path):
        temporary = _beside(path)
        temporary.touch(exist_ok=False)
    try:
        with _changing("write", path):
            yield temporary
        if durable:
            sync(temporary)
        with _changing("take its place", path):
            temporary.replace(path)
        if durable:
            sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_file(path: Path) -> bytes:
    """Return the content of a regular file; a pipe in its place would be read for ever.

    Raises:
        OSError: It cannot be read, or is something else.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: is not a file")
    return path.read_bytes()


def is_stream(path: Path) -> bool:
    """Return whether a path leads to something that takes bytes but cannot be replaced.

    That is a device (/dev/null), a pipe, or an open file of a process (/dev/stdout, /dev/fd/3).
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return True
    while stat.S_ISREG(mode):
        if _OPEN_FILES.fullmatch(os.path.realpath(path.parent)):
            return True
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return False


@contextlib.contextmanager
def output(path: Path) -> Iterator[Path]:
    """Give a temporary file for what a person wants at `path`: it takes its place, or is written into a stream.

    Args:
        path: A file, or what `is_stream` says.

    Raises:
        StorageError: It cannot be written.
    """
    if not is_stream(path):
        with replacing(path) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory(prefix="evo-output-") as folder:
        temporary = Path(folder) / "content"
        yield temporary
        with _changing("write", path):
            _write_into(path, temporary)


def _write_into(stream: Path, content: Path) -> None:
    try:
        descriptor = os.open(stream, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK)  # do not wait for a pipe's reader
    except OSError as error:
        if error.errno == errno.ENXIO and stream.is_fifo():
            raise StorageError(f"{stream}: no process reads from this pipe; start its reader first") from None
        raise
    os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as target, content.open("rb") as source:
        shutil.copyfileobj(source, target)


def own_folder(folder: Path) -> Path:
    """Return a folder of a run, once it is sure that what is written there stays in the run.

    Raises:
        RunError: It is a link.
    """
    if folder.is_symlink():
        raise RunError(f"{folder}: is a link, and a run writes into its own folder only; remove the link")
    return folder


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
        if not _is_at(descriptor, path):  # the disk takes the bytes, but no one would find them
            raise StorageError(
                f"{path}: was moved or removed while it was being written; if it was moved, resume it where it is now"
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


def sync(path: Path) -> None:
    """Make a file durable, or the new and renamed entries of a folder."""
    with _changing("sync", path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """Give an empty folder on the same disk as `beside`; it is removed at the end with everything in it."""
    with _changing("make its folder", beside):
        beside.parent.mkdir(parents=True, exist_ok=True)
        folder = _beside(beside)
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder; a folder at the target is replaced only if it is empty.

    Raises:
        StorageError: It cannot be renamed.
    """
    with _changing("move", target):
        source.rename(target)


def place_folder(building: Path, target: Path) -> None:
    """Rename a complete folder, durably with the files directly in it; see `move_folder`."""
    for path in building.iterdir():
        sync(path)
    sync(building)
    move_folder(building, target)
    sync(target.parent)


def remove_abandoned(beside: Path) -> None:
    """Remove the temporary folders of `beside` that killed processes left more than a day ago."""
    for folder in beside.parent.glob(f".{beside.name}.*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def remove_file(path: Path) -> None:
    """Remove a file if it is there."""
    with _changing("remove", path):
        path.unlink(missing_ok=True)


def remove_partial(folder: Path, names: str) -> None:
    """Remove the half-written files of a killed process.

    Args:
        folder: Where they are.
        names: A pattern for the names of the complete files, such as "*.csv".
    """
    for path in folder.glob(f".{names}.*{PARTIAL}"):
        remove_file(path)


def _beside(path: Path) -> Path:
    """Return a new hidden name; `tempfile` would make private files, and results are as readable as others."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL}")
