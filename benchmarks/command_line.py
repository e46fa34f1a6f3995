"""Starts the command lines of the benchmarks."""

from __future__ import annotations

import typer

from evo.errors import EvoError


def start(app: typer.Typer) -> None:
    """Run a command line; a mistake in the arguments ends it with one line instead of a traceback."""
    try:
        app()
    except EvoError as error:
        raise SystemExit(f"error: {error}") from None
