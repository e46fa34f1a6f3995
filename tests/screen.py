"""A minimal terminal: shows what a person would see of a program's output at the end."""

from __future__ import annotations

import io
import re

from rich.console import Console

CONTROL = re.compile(r"\x1b\[(\?25[hl]|\d*A|2K|[\d;]*m)|\r|\n|[^\x1b]")


class Screen(io.StringIO):
    """Lines that text is written to; the cursor goes up, lines are erased, long lines wrap."""

    def __init__(self, width: int, height: int = 24):
        super().__init__()
        self.width, self.height = width, height
        self.lines = [""]
        self.row = self.column = 0
        self.cursor_shown = True

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        position = 0
        while position < len(text):
            found = CONTROL.match(text, position)
            assert found is not None, f"what is {text[position : position + 10]!r}?"
            self._take(found[0], found[1])
            position = found.end()
        return len(text)

    def _take(self, whole: str, control: str | None) -> None:
        if whole == "\r":
            self.column = 0
        elif whole == "\n":
            self._down()
        elif control is None:
            if self.column == self.width:
                self._down()
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + whole + line[self.column + 1 :]
            self.column += 1
        elif control == "2K":
            self.lines[self.row] = ""
        elif control.endswith("A"):
            self.row = max(0, self.row - int(control[:-1] or 1))
        elif control.startswith("?"):
            self.cursor_shown = control == "?25h"

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.lines):
            self.lines.append("")

    def resize(self, width: int) -> None:
        """Wrap the lines as terminals do when they get narrower; the cursor stays with its text."""
        self.width, before = width, self.lines
        self.lines, row = [], self.row
        for number, line in enumerate(before):
            parts = [line[start : start + width] for start in range(0, len(line), width)] or [""]
            if number == row:
                self.row = len(self.lines) + min(self.column, len(line)) // width
            self.lines += parts

    @property
    def text(self) -> str:
        """What is on the screen, without blank lines at the end."""
        return "\n".join(self.lines).rstrip()

    def console(self) -> Console:
        """Return a console that writes here."""
        return Console(file=self, force_terminal=True, width=self.width, height=self.height, highlight=False)
