"""The folder of a run: whether one is there, whether a new one may be, and what it is called."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from evo.errors import ConfigurationError, RunError, did_you_mean
from evo.files import STATES_BYTES

STATES = "states"
"""The folder, in that of a run, for the states after the last step of trainings that longer ones may go on from."""
STATES_KEPT = 64


def is_run(path: Path) -> bool:
    """Return whether a folder holds a run."""
    return (path / "journal.jsonl").is_file() and (path / "settings.json").is_file()


def run_folder(path: Path | str) -> Path:
    """Return the folder of a run.

    Raises:
        RunError: It does not exist or holds no run.
    """
    folder = Path(path)
    if not folder.is_dir():
        parent = folder.parent
        runs = sorted(entry.name for entry in parent.iterdir() if is_run(entry)) if parent.is_dir() else []
        raise RunError(f"{folder}: no such run folder.{did_you_mean(folder.name, runs)}")
    if not is_run(folder):
        inside = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and is_run(entry))
        hint = f" Runs in it: {', '.join(inside)}." if inside else ""
        raise RunError(f"{folder}: is no run folder (it has no settings.json and journal.jsonl).{hint}")
    return folder


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that a new run may be written to `path`.

    Raises:
        ConfigurationError: It exists and may not be overwritten, or holds something that is not a run.
    """
    if path.is_file():
        raise ConfigurationError(f"output {path}: is a file; give the name of a folder that does not exist yet")
    if not path.exists() or not any(path.iterdir()):
        return
    if not overwrite:
        resume = f", go on with it by `evo resume {path}`" if is_run(path) else ""
        raise ConfigurationError(f"output {path}: exists. Choose another --output{resume}, or give --overwrite.")
    if not is_run(path):
        raise ConfigurationError(f"output {path}: holds files that are not a run's; --overwrite replaces only runs")


def free_output(results: Path, name: str) -> Path:
    """Return the first of results/name-1, results/name-2, … that does not exist."""
    number = 1
    while (results / f"{name}-{number}").exists():
        number += 1
    return results / f"{name}-{number}"


def prune_states(folder: Path) -> None:
    """Remove the oldest states of finished trainings where there are too many: they save time, no result needs them."""
    if not folder.is_dir() or folder.is_symlink():
        return
    with contextlib.suppress(OSError):
        files = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(folder))
        used = sum(size for _, size, _ in files)
        for count, (_, size, path) in zip(range(len(files), 0, -1), files, strict=True):
            if count <= STATES_KEPT and used <= STATES_BYTES:
                break
            os.unlink(path)
            used -= size
