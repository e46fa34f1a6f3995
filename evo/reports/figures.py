"""The figures of a run: its progress, its genes against fitness, its best learning curves."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib

matplotlib.use("Agg")  # files only: a report must not need a display

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from evo.files import replacing
from evo.genes import Boolean, Categorical, Gene, Layers, Number
from evo.reports.comparison import names_of
from evo.run import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Okabe and Ito's palette for the colour-blind (2008), with line styles that tell curves apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
STYLES = ("-", "--", "-.", ":")
CURVES = 5
DOTS_PER_INCH = 150


def figures_of(runs: Sequence[Run]) -> dict[str, Figure]:
    """Return the figures of runs by file name; those that a run has no data for are left out.

    Args:
        runs: One run, or several that are to be seen side by side.
    """
    figures = {"progress": progress_figure(runs)}
    for number, run in enumerate(runs, start=1):
        suffix = f"-{number}" if len(runs) > 1 else ""
        if not run.table["fitness"].notna().any():
            continue
        figures[f"genes{suffix}"] = genes_figure(run)
        if len(run.curves):
            figures[f"curves{suffix}"] = curves_figure(run)
    return figures


def progress_figure(runs: Sequence[Run]) -> Figure:
    """Return fitness against evaluations: every evaluation as a dot, the best so far as a line."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, (name, run) in enumerate(zip(names_of(runs), runs, strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        table = in_order(run)
        fitness = table["fitness"].astype(float)
        number = range(1, len(fitness) + 1)
        axes.scatter(number, fitness, s=14, color=colour, alpha=0.35, linewidths=0)
        axes.plot(
            number,
            _best_so_far(table),
            color=colour,
            linestyle=STYLES[place % len(STYLES)],
            linewidth=2,
            drawstyle="steps-post",
            label=f"{name}: best so far",
        )
    axes.set_xlabel("evaluations")
    axes.set_ylabel(fitness_label(runs))
    axes.legend(loc="lower right", frameon=False)
    plain(axes)
    return figure


def in_order(run: Run) -> pd.DataFrame:
    """Return the results table in the order of the proposals: a race's evaluations come last, whosoever they are."""
    places = {(entry.id, entry.replicate): place for place, entry in enumerate(run.proposals)}
    table = run.table
    keys = zip(table["individual"], table["replicate"], strict=True)
    order = sorted(range(len(table)), key=[places.get(key, len(places)) for key in keys].__getitem__)
    return table.iloc[order].reset_index(drop=True)


def _best_so_far(table: pd.DataFrame) -> pd.Series[Any]:
    """Return the best first evaluation so far; where trainings have rungs, of the furthest that there was by then."""
    fitness = table["fitness"].astype(float).where(table["replicate"] == 0)
    if "rung" not in table:
        return fitness.cummax().ffill()
    rungs = table["rung"].astype(float).fillna(0)
    return fitness.where(rungs == rungs.max()).cummax().ffill()


def genes_figure(run: Run) -> Figure:
    """Return fitness against every gene; layer lists as their depth and their total width. Later ones are darker."""
    panels = [panel for name, gene in run.space.genes.items() for panel in _panels(run, name, gene)]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.6, 2.5 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    fitness = in_order(run)["fitness"].astype(float)
    for axes, (title, values, log) in zip(grid, panels, strict=False):
        axes.scatter(values, fitness, c=range(len(fitness)), cmap="cividis_r", s=16, linewidths=0)
        axes.set_xlabel(title)
        if log:
            plain_log_axis(axes, "x")
        elif title.endswith(": layers"):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain(axes)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[::columns]:
        axes.set_ylabel(fitness_label([run]))
    return figure


def curves_figure(run: Run) -> Figure:
    """Return the learning curves of the best genomes: held-out accuracy and training loss against steps."""
    column = f"{run.settings.fitness}_accuracy"
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    table = run.curves
    for place, individual in enumerate(run.hall_of_fame["individual"].head(CURVES)):
        curve = table[(table["individual"] == individual) & (table["replicate"] == 0)]
        look: dict[str, Any] = {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": STYLES[place % len(STYLES)],
            "label": f"#{individual}",
            "marker": "o" if len(curve) < 3 else None,
        }
        left.plot(curve["step"], curve[column].astype(float), **look)
        right.plot(curve["step"], curve["train_loss"], **look)
    left.set_ylabel(f"{run.settings.fitness} accuracy (fraction)")
    right.set_ylabel("training loss (nats)")
    left.legend(frameon=False, title="individual")
    for axes in (left, right):
        axes.set_xlabel("steps")
        plain(axes)
    return figure


def fitness_label(runs: Sequence[Run]) -> str:
    """Return what the fitness of runs is, in words."""
    if any(run.settings.objective is not None for run in runs):
        return "fitness"
    parts = {run.settings.fitness for run in runs}
    return f"{parts.pop()} accuracy (fraction)" if len(parts) == 1 else "accuracy (fraction)"


def _panels(run: Run, name: str, gene: Gene) -> list[tuple[str, pd.Series[Any], bool]]:
    """Return what a gene is drawn as: title, one value an evaluation, and whether on a log scale."""
    table = in_order(run)
    if isinstance(gene, Layers):
        layers = table[name].map(lambda text: gene.from_text(text) if isinstance(text, str) else None)
        depth = layers.map(lambda widths: len(widths) if widths else None)
        units = layers.map(lambda widths: sum(widths) if widths else None)
        return [(f"{name}: layers", depth, False), (f"{name}: units in all", units, True)]
    if isinstance(gene, Number):
        return [(name, table[name].astype(float), gene.log)]
    if isinstance(gene, Categorical | Boolean):
        return [(name, table[name].map(lambda value: "inactive" if value is None else str(value)), False)]
    return []


def plain_log_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, labelled with plain numbers, few enough not to run into each other."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def plain(axes: Axes) -> None:
    """Leave out what carries no data: the frame above and on the right; the grid is faint."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def png_text(figure: Figure) -> str:
    """Return a figure as PNG in base64, for a page that needs no other file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and as SVG, each atomically.

    Args:
        figure: What to write.
        path: Where to, without the ending.
    """
    for kind in ("png", "svg"):
        with replacing(path.with_name(f"{path.name}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH)
