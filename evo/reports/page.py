"""What a page of a report is made of, and the page itself: one file that needs no other, and asks for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib import resources
from typing import Any, ClassVar, TypeAlias

import jinja2
import pandas as pd
from markupsafe import Markup

LONGEST_CELL = 300
"""Characters of a cell; the CSV files have the rest."""
LONG_CELL = 40
"""A cell of more characters may have several lines."""
CELL_BYTES, TEXT_BYTES = 9, 13
"""What a page needs for a cell beside its text, and how much more for one that is no number."""


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: What it says.
        warning: Whether it must be seen.
    """

    text: str
    warning: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Facts:
    """Names and what stands for them.

    Attributes:
        facts: Texts by name.
        notes: A few more words for some of them.
        cards: Whether they are figures that are seen first.
    """

    facts: dict[str, str]
    notes: dict[str, str] = field(default_factory=dict)
    cards: bool = False
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Table:
    """A table that can be sorted.

    Attributes:
        table: What it shows.
        label: What it is, for those who do not see it.
    """

    table: pd.DataFrame
    label: str
    kind: ClassVar[str] = "table"

    @property
    def cells(self) -> dict[str, Any]:
        """Headings, and rows of (text, whether it is a number)."""
        return cells_of(self.table)


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows in words.

    Attributes:
        name: Of its files, without the ending.
        title: What it is, in a few words.
        caption: What is to be seen.
        svg: In base64; empty for one that did not fit into the page.
    """

    name: str
    title: str
    caption: str
    svg: str = ""
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Commands:
    """Lines to be copied.

    Attributes:
        lines: (what it is, the line).
        folded: What is written in their place until they are unfolded; empty where they are always seen.
    """

    lines: Sequence[tuple[str, str]]
    folded: str = ""
    kind: ClassVar[str] = "commands"


Block: TypeAlias = Text | Facts | Table | Picture | Commands


@dataclass
class Section:
    """A heading and what stands below it.

    Attributes:
        heading: Its text.
        blocks: What it shows.
        sections: Those inside it.
        anchor: What links to it; given by `page_text`.
    """

    heading: str
    blocks: list[Block] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    anchor: str = ""


def page_text(title: str, sections: Sequence[Section]) -> str:
    """Return a page of sections, with a table of its contents."""
    for number, section in enumerate(sections, start=1):
        section.anchor = f"section-{number}"
        for place, inner in enumerate(section.sections, start=1):
            inner.anchor = f"section-{number}-{place}"
    return rendered("report.html.jinja", title=title, sections=sections)


def rendered(template: str, package: str = "reports", **values: Any) -> str:
    """Return a page of a package's templates; the values are shown as text, never obeyed as markup."""
    return _environment(package).get_template(template).render(**values)


@cache
def _environment(package: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("evo", name) for name in (package, "reports")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name, file in (("style", "page.css"), ("script", "page.js")):
        text = resources.files("evo.reports").joinpath(file).read_text(encoding="utf-8")
        # The browser obeys what has this hash, and nothing that a run's texts could smuggle in.
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        environment.globals |= {name: Markup(text), f"{name}_hash": f"sha256-{digest}"}  # noqa: S704  # our own files
    return environment


def cells_of(table: pd.DataFrame) -> dict[str, Any]:
    """Return a table as text: headings, and rows of (text, whether it is a number)."""
    rows = [[(_text(cell), _is_number(cell)) for cell in row] for row in table.itertuples(index=False)]
    return {"headings": [str(name) for name in table.columns], "rows": rows}


def bytes_of_rows(table: pd.DataFrame) -> Iterable[int]:
    """Yield about how many bytes of a page each row of a table takes."""
    for row in table.itertuples(index=False):
        yield 10 + sum(
            len(escape(_text(cell)).encode()) + CELL_BYTES + TEXT_BYTES * (not _is_number(cell)) for cell in row
        )


def _is_number(cell: Any) -> bool:
    """Return whether a cell is shown on the right; so is one that is empty."""
    return (isinstance(cell, float | int) and not isinstance(cell, bool)) or cell is pd.NA or cell is None


def _text(cell: Any) -> str:
    if pd.isna(cell):
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    text = f"{cell:.4g}" if isinstance(cell, float) else str(cell)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
