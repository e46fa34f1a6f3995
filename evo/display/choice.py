"""Where a search that is called from Python shows its progress: a terminal, a notebook, lines, or nowhere."""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from evo.errors import ConfigurationError
from evo.loop.search_loop import Observer, SilentObserver

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def shows_progress(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Give a function with the parameters `observer` and `progress` the observer that the latter asks for."""

    @functools.wraps(command)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        with watching(options.get("progress"), options.get("observer")) as observer:
            options["observer"] = observer
            return command(*arguments, **options)

    return run


@contextmanager
def watching(progress: object, observer: object) -> Iterator[object]:
    """Give the observer of a search.

    Args:
        progress: Whether to show the progress; None for where there is a terminal or a notebook.
        observer: The caller's own; None without one.

    Raises:
        ConfigurationError: `progress` is something else, or True beside an observer.
    """
    if progress not in (None, True, False):
        raise ConfigurationError(f"progress: must be True, False or None, got {progress!r}")
    if observer is not None:
        if progress:
            raise ConfigurationError("progress: the observer that was given takes its place; leave one of them out")
        yield observer
    elif progress or (progress is None and threading.current_thread() is threading.main_thread()):
        with _shown(always=bool(progress)) as own:
            yield own
    else:
        yield LoggingObserver()


class LoggingObserver(SilentObserver):
    """Shows no progress. What the user must know goes to Python's logging, which prints it on stderr by default."""

    def notify(self, message: str) -> None:
        """Log it as information, which is not printed unless a program asks for it."""
        logging.getLogger("evo").info(message)

    def warn(self, message: str) -> None:
        """Log it as a warning."""
        logging.getLogger("evo").warning(message)


@contextmanager
def _shown(*, always: bool) -> Iterator[Observer]:
    if in_notebook():
        from evo.display.notebook import NotebookObserver, display_function

        with NotebookObserver(display_function()) as own:
            yield own
    elif always or (sys.stderr is not None and sys.stderr.isatty()):
        from rich.console import Console

        from evo.display.live import TerminalObserver

        terminal = TerminalObserver(Console(stderr=True, highlight=False, emoji=False))
        try:
            with terminal:
                yield terminal
        finally:
            terminal.conclude()
    else:
        yield LoggingObserver()


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None
