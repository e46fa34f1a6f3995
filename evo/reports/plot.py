"""What a figure of a search is: what draws it, and what the report says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from evo.reports.search_data import SearchData
from evo.reports.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw: TypeAlias = "Callable[[SearchData], Figure | None]"


@dataclass(frozen=True)
class Plot:
    """A figure of one search.

    Attributes:
        title: What it is, in a few words.
        caption: What it shows.
        draw: Returns it; None where the search has no data for it.
        early: Whether there may be something to draw before any evaluation is complete.
    """

    title: str
    caption: str
    draw: Draw
    early: bool = False


def plot(title: str, caption: str, *, early: bool = False) -> Callable[[Draw], Plot]:
    """Make a function a figure of the report; it draws in the report's look."""
    return lambda draw: Plot(title, caption, styled(draw), early)
