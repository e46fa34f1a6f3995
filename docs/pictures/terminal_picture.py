"""Makes docs/pictures/terminal.svg: `evo demo` on a terminal, in the middle of its search and at its end.

A real search with the observer of the command line, which prints to a recording console.

    python docs/pictures/terminal_picture.py
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

import evo
from evo.cli.result import print_result
from evo.display.live import LiveTable, TerminalObserver
from evo.evaluation import Evaluation
from evo.record.run import Run

PICTURE = Path(__file__).resolve().with_name("terminal.svg")
WIDTH = 94
MIDDLE = 23
"""Evaluations after which the live table is taken."""
THEME = TerminalTheme(
    (24, 26, 31),
    (214, 218, 226),
    [
        (24, 26, 31),
        (232, 113, 109),
        (126, 200, 132),
        (229, 192, 123),
        (106, 168, 245),
        (198, 146, 233),
        (98, 196, 204),
        (214, 218, 226),
    ],
)
SVG = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Without the fonts that rich would load from the network."""


class Photographer(TerminalObserver):
    """Draws the live table once."""

    def __init__(self, console: Console):
        super().__init__(console)
        self._picture = console

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Learn of an evaluation; draw the table in the middle of the search."""
        assert self.progress is not None
        self.progress.take(evaluation, seconds_left)
        if self.progress.done == MIDDLE and self.progress.stage == "search":
            self._picture.print(LiveTable(self.progress))
            self._picture.print("[dim]… and at the end:[/dim]\n")

    def notify(self, message: str) -> None:
        """Write a note as on a terminal; after the table it would be in the middle of the picture."""
        if self.progress is None or self.progress.done < MIDDLE:
            super().notify(message)


def main() -> None:
    """Search, and save the picture."""
    console = Console(
        file=io.StringIO(),
        record=True,
        force_terminal=True,
        width=WIDTH,
        height=40,
        color_system="truecolor",
        highlight=False,
    )
    console.print("[bold green]$[/bold green] evo demo")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run = evo.search("digits", observer=Photographer(console))
        print_result(run, console)
        os.chdir("/")
    console.save_svg(str(PICTURE), title="evo", theme=THEME, code_format=SVG)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
