"""The one place that writes a run's files: whole files appear at once or not at all, appended lines are synced."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATES_BYTES = 2**30
"""Most that the states of a run's finished trainings take on the disk together."""


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary file beside `path` that takes its place if the block ends without an error.

    Args:
        path: The file.
        durable: Wait until it is on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        # mkstemp makes private files; results are as readable as any file of the user's.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def new_folder_mode() -> int:
    """Return the permissions that a new folder of the user's has."""
    return 0o777 & ~_umask()


def _umask() -> int:
    umask = os.umask(0)  # the only way to read it is to set it
    os.umask(umask)
    return umask


def write_text(path: Path, text: str) -> None:
    """Write a whole file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, values: Any) -> None:
    """Write values as an indented JSON file, atomically; NaN and infinities are refused."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def append(descriptor: int, data: bytes) -> None:
    """Write all of `data` at the end of an open file and wait until it is on disk."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a folder's new and renamed entries durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
