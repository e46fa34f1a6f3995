"""Figures of the genes: fitness against each, each over the search, all at once in parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evo.reports.features import INACTIVE, Feature, Floats, floats
from evo.reports.progress_figures import FEW, fitness_limits
from evo.reports.search_data import SearchData
from evo.reports.style import COLOURS, GREY, HALO, MANY, SEQUENCE, WIDTH, plain, plain_log_axis, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
FEW_VALUES = 12
"""Whole numbers of so small a range have their dots side by side."""
LINES = 400
"""Most lines of parallel coordinates: the best, and some of the others; more are a smear."""
INACTIVE_PLACE = -0.12
"""Where parallel coordinates have the inactive values, below the axis from 0 to 1."""


@styled
def genes_figure(data: SearchData) -> Figure:
    """Return fitness against every gene; layer lists as their depth and their units in all. Later ones are orange."""
    figure, grid = _panels(data.features, height=2.5, share=True)
    fitness = floats(data.fitness)
    number = np.arange(len(fitness))
    for axes, feature in zip(grid, data.features, strict=True):
        places = _scatter(axes, feature, fitness, number, Normalize(0, max(1, len(number) - 1)), "x")
        axes.set_xlabel(shortened(feature.label, 24))
        axes.set_ylim(*fitness_limits(fitness))
        _label_axis(axes, feature, places, "x")
        plain(axes)
    for axes in grid[::COLUMNS]:
        axes.set_ylabel(data.fitness_label)
    _colour_bar(figure, grid, "individual", Normalize(0, max(1, len(number) - 1)), whole=True)
    return figure


@styled
def genes_over_time_figure(data: SearchData) -> Figure:
    """Return every gene against the proposals, coloured by fitness; the line is the best genome so far."""
    figure, grid = _panels(data.features, height=2.3, share=False)
    fitness, number = floats(data.fitness), data.fitness.index.to_numpy(dtype=float)
    scale = _fitness_scale(fitness)
    best = _best_rows(data)
    for axes, feature in zip(grid, data.features, strict=True):
        places = _scatter(axes, feature, number, fitness, scale, "y")
        known = best >= 0
        axes.plot(number[known], places[best[known]], color=COLOURS[2], linewidth=1.3, drawstyle="steps-post")
        axes.set_title(shortened(feature.label, 23), loc="left")
        _label_axis(axes, feature, places, "y")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        plain(axes)
    for axes in grid[-COLUMNS:]:
        axes.set_xlabel("individual")
    _colour_bar(figure, grid, data.fitness_label, scale, lower=_is_below(fitness, scale))
    return figure


@styled
def parallel_figure(data: SearchData) -> Figure:
    """Return parallel coordinates: a line an individual through the values of its genes to its fitness."""
    features, fitness = data.features, floats(data.fitness)
    chosen = _chosen(fitness)
    low, high = fitness_limits(fitness)
    heights = np.column_stack(
        [_height(feature)[chosen] for feature in features] + [np.clip((fitness[chosen] - low) / (high - low), 0, 1)]
    )
    axes_count = len(features) + 1
    figure = Figure(figsize=(max(WIDTH, 1.05 * axes_count), 4.8), layout="constrained")
    axes = figure.subplots()
    scale = _fitness_scale(fitness)
    lines = [np.column_stack([np.arange(axes_count), height]) for height in heights]
    shade = np.linspace(0.15, 0.9, max(1, len(lines)))
    collection = LineCollection(lines, colors=SEQUENCE(scale(fitness[chosen]), alpha=shade), linewidths=0.8)
    axes.add_collection(collection)
    if len(lines):
        axes.plot(*lines[-1].T, color=COLOURS[2], linewidth=2.2, zorder=3, label="the fittest")
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.12))
    for place, feature in enumerate(features):
        _coordinate(axes, place, feature.label, _coordinate_ticks(feature))
    finish = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
    _coordinate(axes, axes_count - 1, "fitness", finish)
    axes.set(xlim=(-0.35, axes_count - 0.35), ylim=(-0.2, 1.12))
    axes.set_axis_off()
    _colour_bar(figure, [axes], data.fitness_label, scale, lower=_is_below(fitness[chosen], scale))
    return figure


def _panels(features: Sequence[Feature], height: float, share: bool) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel each feature."""
    columns = min(COLUMNS, len(features))
    rows = -(-len(features) // columns)
    figure = Figure(figsize=(WIDTH if columns > 1 else 4.5, height * rows + 0.5), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False, sharey=share).flatten())
    for axes in grid[len(features) :]:
        axes.set_axis_off()
    return figure, grid[: len(features)]


def _scatter(
    axes: Axes,
    feature: Feature,
    other: Floats,
    colour: npt.NDArray[Any],
    scale: Normalize,
    along: Literal["x", "y"],
) -> Floats:
    """Draw a feature against something else along one axis, and return where its values are there.

    The dots of a category, or of one of few whole numbers, are side by side; inactive values are left out.
    """
    places = feature.values.copy()
    if feature.categories or (feature.whole and feature.limits[1] - feature.limits[0] <= FEW_VALUES):
        # Golden ratio: neighbours in time are never neighbours in place, and no chance is needed.
        places = places + (np.arange(len(places)) * 0.618034 % 1 - 0.5) * 0.5
    order = np.argsort(np.where(np.isnan(colour.astype(float)), -np.inf, colour.astype(float)), kind="stable")
    x, y = (places, other) if along == "x" else (other, places)
    size = 26 if len(places) <= FEW else 12 if len(places) <= MANY else 6
    axes.scatter(
        x[order],
        y[order],
        c=colour[order],
        cmap=SEQUENCE,
        norm=scale,
        s=size,
        marker="o" if len(places) <= MANY else "8",  # as small as that they look alike; an octagon takes half as long
        linewidths=0,
        plotnonfinite=False,
        rasterized=len(places) > MANY // 4,
    )
    return feature.values


def _label_axis(axes: Axes, feature: Feature, places: Floats, which: Literal["x", "y"]) -> None:
    """Give an axis the ticks of a feature."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if feature.categories:
        count = len(feature.categories)
        shown = [shortened(name, 14 if count < 4 else 9) for name in feature.categories]
        axis.set_ticks(range(count), shown, rotation=0 if which == "y" or count < 3 else 40)
        axes.set(**{f"{which}lim": (-0.6, count - 0.4)})
        return
    low, high = feature.limits
    beside = feature.whole and high - low <= FEW_VALUES
    if beside:
        axes.set(**{f"{which}lim": (low - 0.5, high + 0.5)})
        axis.set_major_locator(MaxNLocator(7, integer=True))
    elif feature.log:
        axes.set(**{f"{which}lim": (low / (high / low) ** 0.06, high * (high / low) ** 0.06)})
        plain_log_axis(axes, which)
    else:
        axes.set(**{f"{which}lim": (low - 0.06 * (high - low), high + 0.06 * (high - low))})
        axis.set_major_locator(MaxNLocator(4, integer=feature.whole))
    if not np.isfinite(places).any():
        axes.text(0.5, 0.5, f"always {INACTIVE}", transform=axes.transAxes, ha="center")


def _best_rows(data: SearchData) -> npt.NDArray[np.int64]:
    """Return the row of the best individual so far, at every row; -1 while nothing is complete."""
    best, rows = -np.inf, []
    row = -1
    for place, value in enumerate(floats(data.comparable)):
        if value > best:
            best, row = value, place
        rows.append(row)
    return np.array(rows, dtype=int)


def _fitness_scale(fitness: Floats) -> Normalize:
    finite = fitness[np.isfinite(fitness)]
    # What is worst by far has the colour of the worse ones: the differences among the others are worth seeing.
    low, high = (float(np.quantile(finite, 0.1)), float(finite.max())) if len(finite) else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1e-9, clip=True)


def _is_below(fitness: Floats, scale: Normalize) -> bool:
    """Return whether some of it has the colour of the scale's low end without being there."""
    return scale.vmin is not None and bool((fitness < scale.vmin).any())


def _colour_bar(
    figure: Figure, grid: Sequence[Axes], label: str, scale: Normalize, whole: bool = False, lower: bool = False
) -> None:
    """Draw the colours' scale; `lower`: its end is pointed, for some values are below it."""
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(
        ScalarMappable(scale, SEQUENCE),
        ax=list(grid),
        fraction=0.03,
        pad=0.02,
        aspect=30,
        extend="min" if lower else "neither",
    )
    bar.set_label(label)
    bar.locator = MaxNLocator(5, integer=whole)
    bar.update_ticks()
    bar.outline.set_visible(False)


def _chosen(fitness: Floats) -> npt.NDArray[np.int64]:
    """Return the rows that are drawn, the fittest last: the best, and of the others every n-th by rank."""
    finite = np.flatnonzero(np.isfinite(fitness))
    ranked = finite[np.argsort(fitness[finite], kind="stable")]
    if len(ranked) <= LINES:
        return ranked
    best, rest = ranked[-LINES // 4 :], ranked[: -LINES // 4]
    some = rest[np.linspace(0, len(rest) - 1, LINES - len(best)).astype(int)]
    return np.concatenate([some, best])


def _height(feature: Feature) -> Floats:
    """Return where the values of a feature are on its coordinate, from 0 to 1; those that are inactive below it."""
    values = feature.scaled
    if feature.categories:
        heights = (values + 0.5) / len(feature.categories)
    else:
        low, high = (float(np.log(end)) if feature.log else end for end in feature.limits)
        heights = (values - low) / (high - low)
    return np.where(np.isnan(heights), INACTIVE_PLACE, heights)


def _coordinate_ticks(feature: Feature) -> list[tuple[float, str]]:
    """Return what a coordinate has written at it: height and text."""
    ticks = [(INACTIVE_PLACE, INACTIVE)] if np.isnan(feature.scaled).any() else []
    if feature.categories:
        count = len(feature.categories)
        names = enumerate(feature.categories)
        return ticks + [((place + 0.5) / count, shortened(name, 10)) for place, name in names if count <= 12]
    low, high = feature.limits
    middle = float(np.sqrt(low * high)) if feature.log else (low + high) / 2
    if feature.whole:
        middle = float(round(middle))
    span = np.log(high / low) if feature.log else high - low
    height = float((np.log(middle / low) if feature.log else middle - low) / span)
    ticks += [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
    return [*ticks, (height, f"{middle:.2g}" if not feature.whole else f"{middle:g}")] if 0.1 < height < 0.9 else ticks


def _coordinate(axes: Axes, place: int, label: str, ticks: Sequence[tuple[float, str]]) -> None:
    """Draw one coordinate: a vertical line with its name above and its ticks beside it."""
    axes.plot([place, place], [0, 1], color=GREY, linewidth=1, zorder=4)
    axes.text(place, 1.05, shortened(label.replace(": ", ":\n"), 26), ha="left", va="bottom", rotation=25, fontsize=9.5)
    for height, text in ticks:
        axes.text(place + 0.04, height, text, ha="left", va="center", fontsize=8.5, zorder=5, bbox=_BEHIND_TEXT)


_BEHIND_TEXT: dict[str, Any] = {"boxstyle": "round,pad=0.1", "facecolor": HALO, "edgecolor": "none", "alpha": 0.75}
