"""Figures of how a search went: every evaluation and the best so far, its generations, its best learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evo.reports import style
from evo.reports.features import floats
from evo.reports.search_data import SearchData

CURVES = 5


@style.styled
def progress_figure(runs: Sequence[SearchData]) -> Figure:
    """Return fitness against the proposals: every evaluation as a dot, the best so far as a line, failures as crosses.

    An individual that was evaluated again, in a race, has its dots above each other.
    """
    figure, [axes] = style.new_figure(4.2)
    low, high = style.fitness_limits(np.concatenate([floats(run.evaluations["fitness"]) for run in runs]))
    for place, run in enumerate(runs):
        best, look = run.best_so_far, style.look_of(place, markers=["_" if len(run.best_so_far) == 1 else ""])
        _draw_evaluations(axes, run.evaluations, look["color"], low)
        label = f"{style.shortened(run.name, 40)}: best so far" if len(runs) > 1 else "best so far"
        axes.plot(best.index, best, **look, linewidth=2, drawstyle="steps-post", label=label)
    axes.set(xlabel="individual (number of the proposal)", ylabel=_common_label(runs), ylim=(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_outside(figure, axes, "lower")
    return figure


def _common_label(runs: Sequence[SearchData]) -> str:
    labels = {run.fitness_label for run in runs}
    if len(labels) == 1:
        return labels.pop()
    return "fitness" if "fitness" in labels else "accuracy (fraction)"


def _draw_evaluations(axes: Axes, table: pd.DataFrame, colour: str, low: float) -> None:
    """Draw complete evaluations as dots, those below the axis as triangles on it, and failures as crosses."""
    fitness, place = floats(table["fitness"]), floats(table["individual"])
    shown, below, failed = fitness >= low, fitness < low, np.isnan(fitness)
    size, alpha = (30, 0.8) if len(table) <= style.FEW else (14, 0.65) if len(table) <= style.MANY else (7, 0.5)
    look: dict[str, Any] = {"color": colour, "linewidths": 0, "rasterized": len(table) > style.MANY}
    axes.scatter(place[shown], fitness[shown], s=size, alpha=alpha, **look)
    on_axis = {"marker": "v", "s": 24, "alpha": 0.6, "label": f"{below.sum()} lower than shown"}
    crosses = {"marker": "x", "s": 22, "color": style.GREY, "linewidths": 1, "label": f"{failed.sum()} failed"}
    for rows, height, marks in ((below, 0.02, on_axis), (failed, 0.06, crosses)):
        if rows.any():
            heights = np.full(rows.sum(), height)
            axes.scatter(place[rows], heights, transform=axes.get_xaxis_transform(), **look | marks)


@style.plot(
    "Generations",
    "The members of every generation's population: range, quartiles and mean of their fitness; below, their "
    "diversity, the mean distance of two genomes (0: all alike, 1: as far apart as can be).",
)
def generations_figure(data: SearchData) -> Figure | None:
    """Return the members of every generation: range, quartiles, mean, the best so far, and below it their diversity."""
    table = data.run.generation_table
    if not len(table):
        return None
    figure, [upper, lower] = style.new_figure(5.2, 2, sharex=True, height_ratios=[2.4, 1])
    number = floats(table["generation"])
    members = data.run.populations
    fitness = members["fitness"].astype(float).groupby(members["generation"])
    first, third = (floats(fitness.quantile(share).reindex(table["generation"])) for share in (0.25, 0.75))
    # The best first evaluation so far at the end of every generation.
    best = data.comparable.groupby(data.first["generation"].to_numpy()).max().cummax().ffill()
    best_so_far = floats(best.reindex(table["generation"]))
    bands = {
        "lowest to highest": (floats(table["min"]), floats(table["max"]), 0.22),
        "quartiles": (first, third, 0.5),
    }
    for label, (low, high, alpha) in bands.items():
        # A single generation gets a width, or its bands could not be seen.
        ends = (
            (number, low, high)
            if len(table) > 1
            else (number[0] + np.array([-0.2, 0.2]), np.tile(low, 2), np.tile(high, 2))
        )
        upper.fill_between(*ends, color=style.SKY, alpha=alpha, linewidth=0, label=label)
    dots: Any = {"marker": "o" if len(table) <= 30 else None, "markersize": 4}
    upper.plot(number, floats(table["mean"]), color=style.BLUE, label="mean", **dots)
    upper.plot(number, best_so_far, color=style.ORANGE, linestyle="--", label="best so far", **dots)
    limits = style.fitness_limits(np.concatenate([floats(members["fitness"]), best_so_far]))
    upper.set(ylabel=data.fitness_label, ylim=limits)
    _legend_outside(figure, upper, "upper")
    diversity = floats(table["diversity"])
    lower.plot(number, diversity, color=style.GREEN, **dots)
    top = max(0.05, 1.15 * float(np.nanmax(diversity, initial=0.0)))
    lower.set(xlabel="generation", ylabel="diversity (0 to 1)", ylim=(0, top))
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@style.plot("Learning curves", "Learning curves of the best genomes of the search.")
def curves_figure(data: SearchData) -> Figure | None:
    """Return the learning curves of the best genomes: held-out accuracy and training loss against steps."""
    table = data.run.curves
    if not len(table):
        return None
    figure, [left, right] = style.new_figure(3.9, 1, 2)
    for place, individual in enumerate(data.hall_of_fame["individual"].head(CURVES)):
        curve = table[(table["individual"] == individual) & (table["replicate"] == 0)]
        look = style.look_of(place, markers=["o" if len(curve) < 3 else ""])
        held_out = curve[f"{data.settings.fitness}_accuracy"]
        left.plot(curve["step"], held_out.astype(float), label=f"#{individual}", **look)
        right.plot(curve["step"], curve["train_loss"].astype(float), **look)
    left.set_ylabel(f"{data.settings.fitness} accuracy (fraction)")
    right.set_ylabel("training loss (nats)")
    figure.legend(loc="outside upper center", ncols=CURVES)
    for axes in (left, right):
        axes.set_xlabel("optimiser steps")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def _legend_outside(figure: Figure, axes: Axes, side: Literal["upper", "lower"]) -> None:
    """Put the legend of axes in the frame of the figure, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 4 if sum(map(len, labels)) < 70 else 2 if max(map(len, labels)) < 40 else 1
    where: Any = f"outside {side} center"
    figure.legend(handles, labels, loc=where, ncols=columns)
