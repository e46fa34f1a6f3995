"""Tables as text: cells, and a table as Markdown."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd


def is_number(cell: Any) -> bool:
    """Return whether a cell holds a number; a truth value is not one."""
    return isinstance(cell, float | int) and not isinstance(cell, bool)


def cell_text(cell: Any) -> str:
    """Return a cell as people read it: four digits of a number, "yes" or "no", nothing where it is empty."""
    if pd.isna(cell):
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], rule: str = "---") -> str:
    """Return a table as Markdown; the rule of all columns but the first says how they are aligned."""
    first, *others = ([markdown_escaped(cell) for cell in line] for line in (headings, *rows))
    lines = (first, ["---", *[rule] * (len(headings) - 1)], *others)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown_escaped(text: str) -> str:
    """Return a text that Markdown shows as it is: no markup, no HTML, no new cell, one line."""
    shown = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|~#" else sign for sign in shown)
