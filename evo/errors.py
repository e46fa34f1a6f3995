"""The errors that evo raises on purpose, and the wording they share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class PortableError(Exception):
    """An exception that survives pickle and copy, whatever its class is made with: other processes raise them, too."""

    def __reduce__(self) -> tuple[Any, ...]:
        parts: Any = super().__reduce__()
        kind, arguments, *state = parts
        return _restored, (kind, arguments), *state


def _restored(kind: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    """Return an exception with these `args`; `__new__` sets them, and `__init__` may take others."""
    return kind.__new__(kind, *arguments)


class EvoError(PortableError):
    """Something that the person at the terminal can fix; ends the command with `exit_code`.

    Attributes:
        run: The `evo.Run` as far as it came, if one had begun.
    """

    exit_code = 1
    run: Any = None


class ConfigurationError(EvoError, ValueError):
    """What was asked for cannot be done: a wrong name, value, file or folder. Nothing has been written."""

    exit_code = 2


class RunError(EvoError):
    """A run folder is damaged, locked or not a run folder."""

    exit_code = 2


class SearchError(EvoError):
    """A search cannot continue: its first trainings all failed, or its workers cannot start."""


class ClusterLost(SearchError):  # noqa: N818  # named for what happened
    """The scheduler of a cluster is gone. What was recorded is safe, and the search can be resumed anywhere."""


class StorageError(EvoError, OSError):
    """A file cannot be written: the disk is full or broken, or its folder is gone. Older files are unharmed."""


class Interrupted(BaseException):
    """A training was asked to stop and has saved its state. Not an `Exception`, so nothing takes it for a failure."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return ' Did you mean "…"?' for the option closest to `name`, or an empty string."""
    spellings = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(name).lower(), spellings, n=1)
    return f' Did you mean "{spellings[close[0]]}"?' if close else ""


def listed(problems: Sequence[str], heading: str) -> str:
    """Return one message with every problem on a line of its own."""
    return "\n".join([heading, *(f"  - {problem}" for problem in problems)])
