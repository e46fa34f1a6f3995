"""A page of a report and what it is made of: one file that needs no other and loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TypeAlias

import jinja2
import pandas as pd
from markupsafe import Markup

from evo.files import write_text
from evo.reports.style import shortened
from evo.reports.tables import cell_text, is_number


class Text(NamedTuple):
    """A paragraph; a warning stands out."""

    text: str
    warning: bool = False


class Facts(NamedTuple):
    """Names and what stands for them."""

    facts: Mapping[str, str]


class Cards(NamedTuple):
    """What is seen first: names, values, and notes on them, which may be empty."""

    cards: Sequence[tuple[str, str, str]]


class Table(NamedTuple):
    """A table that can be sorted.

    Attributes:
        label: What it is, for screen readers.
        headings: Of its columns.
        rows: Cells as text, and whether each is aligned as a number.
    """

    label: str
    headings: Sequence[str]
    rows: Sequence[Sequence[tuple[str, bool]]]


class Picture(NamedTuple):
    """A figure: what it is, what it shows in words, and an SVG in base64."""

    title: str
    caption: str
    svg: str


class Commands(NamedTuple):
    """Lines to be copied, each with what it is; folded away below a text if there is one."""

    lines: Sequence[tuple[str, str]]
    folded: str = ""


Block: TypeAlias = Text | Facts | Cards | Table | Picture | Commands
"""A part of a page; the template shows each kind in its way, by the name of its class."""


class Section(NamedTuple):
    """A heading, and the blocks and sections below it."""

    heading: str
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = ()


def table_of(frame: pd.DataFrame, label: str) -> Table:
    """Return a DataFrame as a table of a page, with at most 300 characters a cell; the CSV files have the rest.

    Columns without any entry are left out.
    """
    if len(frame):
        frame = frame.loc[:, [any(pd.notna(cell) and cell != "" for cell in frame[name]) for name in frame.columns]]
    rows = [
        [(shortened(cell_text(cell), 300), is_number(cell) or pd.isna(cell)) for cell in row]
        for row in frame.itertuples(index=False)
    ]
    return Table(label, [str(name) for name in frame.columns], rows)


def write_page(path: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write a page of sections with a table of contents; texts are shown, never interpreted as markup.

    Returns:
        The path.

    Raises:
        StorageError: It cannot be written.
    """
    write_text(path, _template().render(title=title, sections=sections))
    return path


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("evo", "reports")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name, file in (("style", "page.css"), ("script", "page.js")):
        text = resources.files("evo.reports").joinpath(file).read_text(encoding="utf-8")
        # The browser runs only what has this hash, and nothing that the texts of a run could smuggle in.
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        environment.globals |= {name: Markup(text), f"{name}_hash": f"sha256-{digest}"}  # noqa: S704  # our own files
    return environment.get_template("page.html.jinja")
