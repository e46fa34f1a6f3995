"""A run's progress under a notebook's cell: the table of the terminal as plain text, replaced in place."""

from __future__ import annotations

import importlib
import io
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from evo.display.live import LiveTable
from evo.display.progress import Progress
from evo.evaluation import Evaluation
from evo.loop.search_loop import SilentObserver, Stage
from evo.plain_text import made_plain
from evo.record.run import Run

WIDTH, HEIGHT = 100, 20
SECONDS = 0.5
"""The shortest time between two pictures: each is a message to the browser."""


def display_function() -> Callable[..., Any]:
    """Return what shows something under the cell that runs; only where IPython is."""
    function: Callable[..., Any] = importlib.import_module("IPython.display").display
    return function


class NotebookObserver(SilentObserver):
    """Shows a running run in a notebook. It draws only when it is told something: no thread works beside the cell."""

    def __init__(self, display: Callable[..., Any]):
        self._display = display
        self._handle: Any = None
        self._table: LiveTable | None = None
        self._note = ""
        self._drawn_at = 0.0

    def __enter__(self) -> NotebookObserver:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if self._table is not None:
            progress = self._table.progress
            progress.busy, progress.ended, progress.finished = 0, time.time(), kind is None
            self._table.status = ""  # a note about what it was doing
            self._draw()

    def started(self, run: Run, total: int) -> None:
        self._table = LiveTable(Progress(run, total), self._note)
        self._draw()

    def working(self, stage: Stage, busy: int) -> None:
        if self._table is not None:
            self._table.progress.work(stage, busy)
            self._draw_in_time()

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        if self._table is not None:
            self._table.progress.take(evaluation, seconds_left)
            self._draw_in_time()

    def notify(self, message: str) -> None:
        self._note = made_plain(message)
        if self._table is not None:
            self._table.status = self._note
            self._draw()

    def warn(self, message: str) -> None:
        print(made_plain(message), file=sys.stderr)

    def _draw_in_time(self) -> None:
        if time.monotonic() >= self._drawn_at + SECONDS:
            self._draw()

    def _draw(self) -> None:
        assert self._table is not None
        content = {"text/plain": text_of(self._table)}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
        self._drawn_at = time.monotonic()


def text_of(table: LiveTable) -> str:
    """Return what a live table shows, as lines without colours."""
    page = io.StringIO()
    # Without these, rich writes colours, or shows the table itself as HTML in a notebook.
    plain: dict[str, Any] = {"color_system": None, "force_terminal": False, "force_jupyter": False, "emoji": False}
    console = Console(file=page, width=WIDTH, height=HEIGHT, **plain)
    console.print(table)
    return page.getvalue().rstrip("\n")
