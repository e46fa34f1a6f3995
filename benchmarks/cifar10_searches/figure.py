"""The figure of the searches: best validation accuracy so far against minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cifar10_searches.report import of_kind, paired, spaces
from benchmarks.cifar10_searches.rows import PAIR, SEARCH, Kept
from benchmarks.cifar10_searches.runs import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7")
STYLES = ("-", ":", "--", "-.")
MOMENTS = 400


def best_at(one: Kept, seconds: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the best validation accuracy so far at some moments; NaN before the first training has ended."""
    points = one.curve()
    values = np.array([np.nan, *(value for _, value in points)])
    return values[np.searchsorted([when for when, _ in points], seconds, side="right")]


def draw(kept: Sequence[Kept], file: Path) -> None:
    """Draw a column per space: the pairs above, the long searches below; a thin line is one search."""
    from matplotlib.figure import Figure

    columns = spaces(of_kind(kept, PAIR) + of_kind(kept, SEARCH))
    rows = [kind for kind in (PAIR, SEARCH) if of_kind(kept, kind)]
    if not rows:
        return
    figure = Figure(figsize=(6.2 * len(columns), 4.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, kind in zip(grid, rows, strict=True):
        for axes, space in zip(row, columns, strict=True):
            one_each = {
                f"{one.head['strategy']}, seed {one.head['seed']}": [one]
                for one in of_kind(kept, SEARCH)
                if one.head["space"] == space
            }
            searches = paired(kept, space) if kind == PAIR else one_each
            _draw_methods(axes, searches)
            what = "pairs; thick: mean" if kind == PAIR else "search"
            axes.set(title=f"{space}: {what}", xlabel="minutes", ylabel="best validation accuracy so far")
            axes.set_xlim(left=0)
            axes.grid(alpha=0.3)
            if searches:
                axes.legend(loc="lower right", frameon=False)
    figure.savefig(file, dpi=110)


def _draw_methods(axes: Axes, searches: dict[str, list[Kept]]) -> None:
    for place, (method, own) in enumerate(searches.items()):
        place = METHODS.index(method) if method in METHODS else place
        look: dict[str, Any] = {"color": COLORS[place % 4], "linestyle": STYLES[place % 4]}
        end = 60 * max(one.head["minutes"] for one in own)
        moments = np.linspace(0, end, MOMENTS)
        curves = [best_at(one, moments) for one in own]
        if len(curves) > 1:
            for curve in curves:
                axes.plot(moments / 60, curve, linewidth=0.8, alpha=0.5, drawstyle="steps-post", **look)
        # The mean begins where every search has a result.
        axes.plot(moments / 60, np.mean(curves, axis=0), linewidth=2.2, drawstyle="steps-post", label=method, **look)
