"""Whether a file that a person has named may be written: asked before the work whose result goes there."""

from __future__ import annotations

import os
from pathlib import Path

from evo.errors import ConfigurationError
from evo.run_folder import OWN_FILES, is_run


def check_output_file(path: Path, option: str, *, overwrite: bool) -> None:
    """Check that a file can be written.

    Args:
        path: The file.
        option: The option that named it, as "--csv".
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ConfigurationError: It exists and may not be replaced (a run's own files never may), is a folder, or its folder
            is not there or not writable.
    """
    if path.is_dir():
        raise ConfigurationError(f"{option} {path}: is a folder; give the name of a file in it")
    if path.exists() and is_run(path.parent) and path.name in OWN_FILES:
        raise ConfigurationError(f"{option} {path}: is one of the run's own files; choose another name")
    if path.exists() and not overwrite:
        raise ConfigurationError(f"{option} {path}: exists; choose another name, or give --overwrite")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{option} {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise ConfigurationError(f"{option} {path}: the folder {path.parent} cannot be written to")
