"""What to type to continue, look at or repeat a run: commands that work as they are printed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from evo.errors import RunError
from evo.names import GIVEN, is_reference
from evo.places import as_typed
from evo.record.settings import Settings


def command_on(path: Path, settings: Settings, command: str, *arguments: str, **options: Any) -> str:
    """Return a command on a run's folder as one types it, or the call in Python where no command can do it.

    A user-defined model, and a function that returns the data, must be named again. A user-defined objective is known
    to Python only.

    Args:
        path: The run folder.
        settings: Of the run.
        command: Of `evo`, as "resume".
        arguments: What follows the folder.
        options: By their names in Python; None and False are left out.
    """
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    in_python = given.pop("data", None) is not None
    if in_python:
        more = "".join(f", {name}={value!r}" for name, value in given.items())
        return f"evo.{command}({as_typed(path)!r}, data=…{more})"
    if settings.objective is not None and command in ("resume", "finish"):
        more = "".join(f", {name}={value!r}" for name, value in given.items())
        return f"evo.{command}({as_typed(path)!r}, objective={_name_in_python(settings.objective)}{more})"
    folder = as_typed(path)
    # A name that begins with a hyphen would be taken for an option.
    words = ["evo", command, f"./{folder}" if folder.startswith("-") else folder, *arguments]
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    if is_reference(settings.model) and command in ("resume", "finish", "replay"):
        words += ["--model", str(settings.model)]
    if is_reference(name := str((settings.dataset or {}).get("name"))) and command in ("resume", "finish", "replay"):
        words += ["--dataset", name]
    return shlex.join(words)


def resume_command(path: Path, **options: Any) -> str:
    """Return what continues the run of a folder that was not read; empty if its settings cannot be read."""
    try:
        return command_on(path, Settings.load(path), "resume", **options)
    except RunError:
        return ""


def train_options(settings: Settings) -> list[str]:
    """Return the options with which `evo train` has a run's data, the part that is measured on, and its seed.

    The name of the dataset is not among them: a space file may have it, unless it is that of a function.
    """
    dataset = settings.dataset or {}
    words = ["--data-dir", str(dataset["data_dir"])] if dataset.get("data_dir") else []
    name = dataset.get("name", "")
    words += ["--dataset", name] if is_reference(name) else []
    words += ["--data-dir", "YOUR_DATA.npz"] if name == GIVEN else []
    if settings.fitness != "validation" or settings.measure != "accuracy":
        words += ["--fitness", settings.fitness if settings.fitness != "validation" else settings.measure]
    return [*words, "--seed", str(settings.seed)]


def _name_in_python(objective: str) -> str:
    return objective if objective.isidentifier() else "…"
