"""Figures of the genes: fitness against each, each over the search, all at once in parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evo.reports import style
from evo.reports.features import INACTIVE, Feature, Floats, floats
from evo.reports.search_data import SearchData

COLUMNS = 3
FEW_VALUES = 12
"""Whole numbers of a range up to this have their dots side by side."""
LINES = 400
"""Most lines of parallel coordinates: the best and some of the others; more would only smear."""
SMALLEST, LARGEST = 5e-324, 1.7e308
"""An axis must end before infinity, and a logarithmic one before zero."""
INACTIVE_PLACE = -0.12
"""Where parallel coordinates put inactive values, below the axis from 0 to 1."""
BEHIND_TEXT = {"boxstyle": "round,pad=0.1", "facecolor": style.HALO, "edgecolor": "none", "alpha": 0.75}


def genes_figure(data: SearchData) -> Figure:
    """Fitness against each gene; later individuals are orange.

    Dots of choices and of a few whole numbers are spread out, so that they can be told apart.
    """
    figure, grid = _panels(data.features, height=2.5, share=True)
    fitness = floats(data.fitness)
    number = np.arange(len(fitness))
    scale = Normalize(0, max(1, len(number) - 1))
    for axes, feature in zip(grid, data.features, strict=True):
        _draw_feature(axes, feature, fitness, number, scale, "x")
        axes.set(xlabel=style.shortened(feature.label, 24), ylim=style.fitness_limits(fitness, data.sign))
    for axes in grid[::COLUMNS]:
        axes.set_ylabel(data.fitness_label)
    style.colour_bar(figure, grid, "individual", scale, number)
    return figure


def genes_over_time_figure(data: SearchData) -> Figure:
    """The values of each gene that were tried, coloured by fitness.

    Green: that of the best genome so far. Dots of choices and of a few whole numbers are spread out, so that they can
    be told apart.
    """
    figure, grid = _panels(data.features, height=2.3, share=False)
    fitness, number = floats(data.fitness), data.fitness.index.to_numpy(dtype=float)
    scale = style.fitness_scale(fitness, data.sign)
    known = np.isfinite(floats(data.best_so_far))
    best_rows = np.maximum.accumulate(np.where(data.new_bests, np.arange(len(fitness)), 0))
    for axes, feature in zip(grid, data.features, strict=True):
        _draw_feature(axes, feature, number, fitness, scale, "y", data.sign)
        best = feature.values[best_rows[known]]
        axes.plot(number[known], best, color=style.GREEN, linewidth=1.3, drawstyle="steps-post")
        axes.set_title(style.shortened(feature.label, 23), loc="left")
        style.count_axis(axes, "individual" if axes in grid[-COLUMNS:] else "", 4)
    style.colour_bar(figure, grid, data.fitness_label, scale, fitness, style.sequence(data.sign))
    return figure


def parallel_figure(data: SearchData) -> Figure:
    """Each line is an individual, through the values of its genes to its fitness at the right.

    Better ones are orange and lie above, green is the fittest. Of many, the best and some of the others are drawn.
    """
    features, fitness = data.features, floats(data.fitness)
    chosen = _chosen(data.sign * fitness)
    bottom, top = style.fitness_limits(fitness, data.sign)[:: int(data.sign)]
    ends = np.clip((fitness[chosen] - bottom) / (top - bottom), 0, 1)
    heights = np.column_stack([*(_height(feature)[chosen] for feature in features), ends])
    count = len(features) + 1
    figure, [axes] = style.new_figure(4.8, width=max(style.WIDTH, 1.05 * count))
    scale, sequence = style.fitness_scale(fitness, data.sign), style.sequence(data.sign)
    lines = [np.column_stack([np.arange(count), height]) for height in heights]
    colours = sequence(scale(fitness[chosen]), alpha=np.linspace(0.15, 0.9, max(1, len(lines))))
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=0.8))
    if lines:
        axes.plot(*lines[-1].T, color=style.GREEN, linewidth=2.2, zorder=3, label="the fittest")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.12))
    for place, feature in enumerate(features):
        _draw_coordinate(axes, place, feature.label, _coordinate_ticks(feature))
    _draw_coordinate(axes, count - 1, "fitness", [(0.0, f"{bottom:.3g}"), (1.0, f"{top:.3g}")])
    axes.set(xlim=(-0.35, count - 0.35), ylim=(-0.2, 1.12))
    axes.set_axis_off()
    style.colour_bar(figure, [axes], data.fitness_label, scale, fitness[chosen], sequence)
    return figure


def _panels(features: Sequence[Feature], height: float, share: bool) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each feature."""
    width = style.WIDTH if len(features) > 1 else 4.5
    return style.new_grid(len(features), COLUMNS, height, room=0.5, width=width, sharey=share)


def _side_by_side(feature: Feature) -> bool:
    """Return whether a feature has so few whole values that dots of the same one are spread out."""
    return feature.whole and feature.limits[1] - feature.limits[0] <= FEW_VALUES


def _draw_feature(
    axes: Axes,
    feature: Feature,
    other: Floats,
    colour: npt.NDArray[Any],
    scale: Normalize,
    along: Literal["x", "y"],
    sign: float = 1.0,
) -> None:
    """Draw a feature along one axis against something else, with its ticks; inactive values are left out.

    What is orange lies above the rest: the highest or, with sign -1, the lowest.
    """
    places = feature.values
    if feature.categories or _side_by_side(feature):
        # Golden ratio: neighbours in time are never neighbours in place, without any chance.
        places = places + (np.arange(len(places)) * 0.618034 % 1 - 0.5) * 0.5
    order = np.argsort(np.where(np.isnan(colour.astype(float)), -np.inf, sign * colour.astype(float)), kind="stable")
    x, y = (places, other) if along == "x" else (other, places)
    # Very small dots are octagons: they look the same and take half the time.
    size, marker = (26, "o") if len(order) <= style.FEW else (12, "o") if len(order) <= style.MANY else (6, "8")
    look: dict[str, Any] = {"s": size, "marker": marker, "rasterized": len(order) > style.MANY // 4, "linewidths": 0}
    axes.scatter(x[order], y[order], c=colour[order], cmap=style.sequence(sign), norm=scale, **look)
    _label_axis(axes, feature, along)


def _label_axis(axes: Axes, feature: Feature, which: Literal["x", "y"]) -> None:
    """Give an axis the limits and ticks of a feature."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = feature.limits
    if feature.categories:
        count = len(feature.categories)
        shown = [style.shortened(name, 14 if count < 4 else 9) for name in feature.categories]
        axis.set_ticks(range(count), shown, rotation=0 if which == "y" or count < 3 else 40)
        limits = (-0.6, count - 0.4)
    elif _side_by_side(feature):
        axis.set_major_locator(MaxNLocator(7, integer=True))
        limits = (low - 0.5, high + 0.5)
    elif feature.log:
        room = np.exp(0.06 * (np.log(high) - np.log(low)))  # high / low may be infinite
        limits = (max(low / room, SMALLEST), high * room if high < LARGEST / room else LARGEST)
    else:
        axis.set_major_locator(MaxNLocator(4, integer=feature.whole))
        limits = (low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.set(**{f"{which}lim": limits})
    if feature.log and not _side_by_side(feature):
        style.plain_log_axis(axes, which)
    if not feature.categories and not np.isfinite(feature.values).any():
        axes.text(0.5, 0.5, f"always {INACTIVE}", transform=axes.transAxes, ha="center")


def _chosen(fitness: Floats) -> npt.NDArray[np.int64]:
    """Return the rows that are drawn, the fittest last: the best, and every n-th of the others by rank."""
    finite = np.flatnonzero(np.isfinite(fitness))
    ranked = finite[np.argsort(fitness[finite], kind="stable")]
    if len(ranked) <= LINES:
        return ranked
    best, rest = ranked[-LINES // 4 :], ranked[: -LINES // 4]
    some = rest[np.linspace(0, len(rest) - 1, LINES - len(best)).astype(int)]
    return np.concatenate([some, best])


def _height(feature: Feature) -> Floats:
    """Return the place of a feature's values on its coordinate, from 0 to 1; inactive ones are below."""
    if feature.categories:
        heights = (feature.values + 0.5) / len(feature.categories)
    else:
        low, high = (float(np.log(end)) if feature.log else end for end in feature.limits)
        heights = (feature.scaled - low) / (high - low)
    return np.where(np.isnan(heights), INACTIVE_PLACE, heights)


def _coordinate_ticks(feature: Feature) -> list[tuple[float, str]]:
    """Return the height and text of what is written beside a coordinate."""
    ticks = [(INACTIVE_PLACE, INACTIVE)] if np.isnan(feature.scaled).any() else []
    if feature.categories:
        count = len(feature.categories)
        names = feature.categories if count <= FEW_VALUES else ()
        return ticks + [((place + 0.5) / count, style.shortened(name, 10)) for place, name in enumerate(names)]
    low, high = feature.limits
    ticks += [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
    middle = float(np.sqrt(low) * np.sqrt(high)) if feature.log else low / 2 + high / 2
    middle = float(round(middle)) if feature.whole else middle
    ends = (np.log(low), np.log(middle), np.log(high)) if feature.log else (low, middle, high)
    height = float((ends[1] - ends[0]) / (ends[2] - ends[0]))
    text = f"{middle:g}" if feature.whole else f"{middle:.2g}"
    return [*ticks, (height, text)] if 0.1 < height < 0.9 else ticks


def _draw_coordinate(axes: Axes, place: int, label: str, ticks: Sequence[tuple[float, str]]) -> None:
    """Draw a vertical line with its name above and its ticks beside it."""
    axes.plot([place, place], [0, 1], color=style.GREY, linewidth=1, zorder=4)
    heading = style.shortened(label.replace(": ", ":\n"), 26)
    axes.text(place, 1.05, heading, ha="left", va="bottom", rotation=25, fontsize=9.5)
    for height, text in ticks:
        axes.text(place + 0.04, height, text, ha="left", va="center", fontsize=8.5, zorder=5, bbox=BEHIND_TEXT)
