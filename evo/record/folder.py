"""The folder of a run: whether one is there, whether a new one may be, and what it is called."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from evo.errors import ConfigurationError, RunError, StorageError, did_you_mean
from evo.files import STATES_BYTES, is_stream, move_folder, remove_file, remove_partial, sync, temporary_folder
from evo.places import as_typed, entered
from evo.record.commands import resume_command
from evo.record.journal import locked

Filled = TypeVar("Filled")
LONGEST_NAME = 60
"""Characters of a space's name in the name of its run folder; a file system takes 255 bytes."""

TABLES = ("evaluations", "populations", "generations", "curves", "hall_of_fame", "finalists", "confusion", "front")
OWN_FILES = frozenset(["journal.jsonl", "settings.json", "report.html", *(f"{name}.csv" for name in TABLES)])
"""What no other output may replace in the folder of a run."""
STATE_FOLDERS = ("checkpoints", "weights", "states")
TRIALS = "trials"
"""The folder, in that of a run, for the files of trainings that an objective does."""
ERRORS = "errors"
"""The folder, in that of a run, for the tracebacks of what failed."""
STATES = "states"
"""The folder, in that of a run, for the states after the last step of trainings that longer ones may continue from."""
STATES_KEPT = 64
CLUSTER_MARKERS = f".{'[0-9a-f]' * 32}.cluster*"
"""The files by which the workers of a cluster find out whether they see the folder and can write it."""


def is_run(path: Path) -> bool:
    """Return whether a folder holds a run."""
    return (path / "journal.jsonl").is_file() and (path / "settings.json").is_file()


def run_folder(path: Path | str) -> Path:
    """Return the folder of a run, as an absolute path.

    Raises:
        RunError: It does not exist or holds no run.
    """
    folder = entered(path)
    shown = as_typed(folder)
    if folder.is_file():
        raise RunError(f"{shown}: is a file; give the folder of a run")
    if not folder.is_dir():
        parent = folder.parent
        runs = sorted(entry.name for entry in parent.iterdir() if is_run(entry)) if parent.is_dir() else []
        raise RunError(f"{shown}: no such run folder.{did_you_mean(folder.name, runs)}")
    if not is_run(folder):
        inside = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and is_run(entry))
        hint = f" Runs in it: {', '.join(inside)}." if inside else ""
        missing = [name for name in ("settings.json", "journal.jsonl") if not (folder / name).is_file()]
        raise RunError(f"{shown}: is not a run folder (it has no {' and no '.join(missing)}).{hint}")
    return folder


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that a new run may be written to `path`.

    Raises:
        ConfigurationError: It exists and may not be overwritten, or holds something that is not a run.
    """
    shown = as_typed(path)
    if path.exists() and not path.is_dir():
        raise ConfigurationError(
            f"output {shown}: is a file or a device; give the name of a folder that does not exist yet"
        )
    if os.path.ismount(path):
        raise ConfigurationError(f"output {shown}: is where a file system is mounted; give the name of a folder in it")
    if not path.exists() or not any(path.iterdir()):
        return
    if not overwrite:
        command = resume_command(path) if is_run(path) else ""
        resume = f", continue it by `{command}`" if command else ""
        raise ConfigurationError(f"output {shown}: exists. Choose another --output{resume}, or give --overwrite.")
    if not is_run(path):
        raise ConfigurationError(f"output {shown}: holds files that are not a run's; --overwrite replaces only runs")


def make_run_folder(path: Path, fill: Callable[[Path], Filled], *, overwrite: bool) -> Filled:
    """Make the folder of a new run: beside its place first, then moved there whole, so that no kill leaves half a run.

    Args:
        path: Its place.
        fill: Writes the run's files into the folder that it is given.
        overwrite: Replace the run that is there.

    Returns:
        What `fill` returned.

    Raises:
        ConfigurationError: See `check_output`.
        RunError: Another process writes the run that is there.
        StorageError: The disk does not take it.
    """
    check_output(path, overwrite=overwrite)
    # "." goes away with the folder that is replaced; what a link leads to is replaced, and not the link.
    place = Path(os.path.realpath(path))
    with temporary_folder(place) as building, temporary_folder(place) as replaced:
        filled = fill(building)
        if overwrite and is_run(place):
            with locked(place / "journal.jsonl"):
                try:
                    move_folder(place, replaced)
                    _take_place(building, place)
                except BaseException:
                    if not place.exists():
                        move_folder(replaced, place)
                    raise
        else:
            _take_place(building, place)
        sync(place.parent)
    return filled


def _take_place(building: Path, place: Path) -> None:
    """Move a new folder to its place, where nothing or an empty folder is."""
    try:
        move_folder(building, place)
    except StorageError:
        if place.exists() and any(place.iterdir()):
            raise ConfigurationError(
                f"output {as_typed(place)}: another search has taken this name meanwhile; choose another --output"
            ) from None
        raise


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process has left half written in the folder of a run; its journal must be locked."""
    for folder, names in (
        (path, "*.csv"),
        (path, "settings.json"),
        *((path / name, "*") for name in (*STATE_FOLDERS, ERRORS)),
    ):
        if not folder.is_symlink():
            remove_partial(folder, names)
    for marker in path.glob(CLUSTER_MARKERS):
        remove_file(marker)


def free_output(results: Path, name: str) -> Path:
    """Return the first of results/name-1, results/name-2, … that does not exist.

    What a space is called may be anything; the folder stays in `results`.
    """
    plain = re.sub(r"[^\w. -]", "-", name).strip(". ")[:LONGEST_NAME] or "run"
    places = (results / f"{plain}-{number}" for number in itertools.count(1))
    return next(place for place in places if not place.exists())


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
            remove_file(Path(path))
            used -= size


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder, links left out; 0 where there is none."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it may be gone already
                total += os.lstat(os.path.join(root, name)).st_size
    return total


def check_output_file(path: Path, option: str, *, overwrite: bool) -> None:
    """Check that `evo.files.output` can write a file.

    Args:
        path: The file; a device or pipe is written to, and never replaced.
        option: The option that named it, as "--csv".
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ConfigurationError: It exists and may not be replaced (a run's own files never may), is a folder or a socket, or
            its folder is not there or not writable.
    """
    if is_stream(path):
        if not os.access(path, os.W_OK):
            raise ConfigurationError(f"{option} {path}: cannot be written to")
        return
    if path.is_dir():
        raise ConfigurationError(f"{option} {path}: is a folder; give the name of a file in it")
    if path.exists() and is_run(path.parent) and path.name in OWN_FILES:
        raise ConfigurationError(f"{option} {path}: is one of the run's own files; choose another name")
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"{option} {path}: is neither a file nor a pipe; give the name of a file")
    if path.exists() and not overwrite:
        raise ConfigurationError(f"{option} {path}: exists; choose another name, or give --overwrite")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{option} {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise ConfigurationError(f"{option} {path}: the folder {path.parent} cannot be written to")
