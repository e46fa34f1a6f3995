"""Paths that people type: each is made absolute once, where it enters, and messages show it as it was typed.

An objective may change the working directory, and a worker has one of its own: a relative path would lead elsewhere.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from evo.errors import ConfigurationError

_typed: dict[Path, Path] = {}


def with_home(path: Path) -> Path:
    """Return a path with the user's home folder in place of `~`.

    Raises:
        ConfigurationError: The system knows no such folder.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"{path}: the home folder is not known here; give a path without ~, "
            "or set HOME (for the cache alone, EVO_CACHE_DIR)"
        ) from None


def absolute(path: str | Path) -> Path:
    """Return where a path leads from the working directory of now, also if what ".." leaves does not exist.

    Links stay as they are named, except before "..", which leads to the parent of what a link leads to.

    Raises:
        ConfigurationError: The path is relative, and the working directory is gone.
    """
    try:
        return Path(os.path.realpath(path) if ".." in Path(path).parts else os.path.abspath(path))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: is relative to the working directory, which is gone; change to another, or give the whole path"
        ) from None


def entered(path: str | Path) -> Path:
    """Return the absolute path of one that was typed; messages show it, and what is in it, as it was typed.

    Raises:
        ConfigurationError: It is not a path, or one that no file system takes.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(f"{path!r}: must be a path, got {type(path).__name__}")
    if "\0" in os.fspath(path):
        raise ConfigurationError(f"{os.fspath(path)!r}: is not a path: it has a null character")
    found = absolute(path)
    try:
        found.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ConfigurationError(f"{path}: is too long for a path or for a name in it") from None
    _typed.pop(found, None)
    if ".." not in Path(path).parts:  # a shell follows links before "..", or finds nothing there
        _typed[found] = Path(path)
    return found


def as_typed(path: str | Path) -> str:
    """Return a path as it, or the nearest folder around it that was typed, was typed."""
    path = Path(path)
    for folder in (path, *path.parents):
        if folder in _typed:
            return str(_typed[folder] / path.relative_to(folder))
    return str(path)
