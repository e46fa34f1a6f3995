"""Paths that people type: each is made absolute once, where it enters, and messages show it as it was typed.

An objective may change the working directory, and a worker has one of its own: a relative path would lead elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

from evo.errors import ConfigurationError

_typed: dict[Path, Path] = {}


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
    """Return the absolute path of one that was typed; messages show it, and what is in it, as it was typed."""
    found = absolute(path)
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
