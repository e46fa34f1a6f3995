"""Figures of how a search went: every evaluation and the best so far, its generations, its best learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evo.reports.features import Floats, floats
from evo.reports.search_data import SearchData, fitness_label
from evo.reports.style import COLOURS, GREY, MANY, STYLES, WIDTH, plain, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = 5
FEW = 60
"""Up to so many evaluations, their dots are large."""


@styled
def progress_figure(runs: Sequence[SearchData]) -> Figure:
    """Return fitness against the proposals: every evaluation as a dot, the best so far as a line, failures as crosses.

    An individual that was evaluated again, in a race, has its dots above each other.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    low, high = fitness_limits(np.concatenate([floats(run.evaluations["fitness"]) for run in runs]))
    for place, run in enumerate(runs):
        colour = COLOURS[place % len(COLOURS)]
        _draw_evaluations(axes, run.evaluations, colour, low)
        axes.plot(
            run.best_so_far.index,
            run.best_so_far,
            color=colour,
            linestyle=STYLES[place % len(STYLES)],
            linewidth=2,
            drawstyle="steps-post",
            marker="_" if len(run.best_so_far) == 1 else None,
            label=f"{shortened(run.name, 40)}: best so far" if len(runs) > 1 else "best so far",
        )
    axes.set_xlabel("individual (number of the proposal)")
    axes.set_ylabel(fitness_label(list(runs)))
    axes.set_ylim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_below(axes)
    plain(axes)
    return figure


def _draw_evaluations(axes: Axes, table: pd.DataFrame, colour: str, low: float) -> None:
    """Draw complete evaluations as dots, those below the axis as triangles on it, and failures as crosses."""
    fitness, place = floats(table["fitness"]), floats(table["individual"])
    shown, below, failed = fitness >= low, fitness < low, np.isnan(fitness)
    size = 30 if len(table) <= FEW else 14 if len(table) <= MANY else 7
    look: dict[str, Any] = {"color": colour, "linewidths": 0, "rasterized": len(table) > MANY}
    axes.scatter(
        place[shown],
        fitness[shown],
        s=size,
        alpha=0.8 if len(table) <= FEW else 0.65 if len(table) <= MANY else 0.5,
        **look,
    )
    floor = axes.get_xaxis_transform()
    if below.any():
        height = np.full(below.sum(), 0.02)
        label = f"{below.sum()} lower than shown"
        axes.scatter(place[below], height, marker="v", s=24, alpha=0.6, transform=floor, label=label, **look)
    if failed.any():
        height, label = np.full(failed.sum(), 0.06), f"{failed.sum()} failed"
        axes.scatter(
            place[failed],
            height,
            marker="x",
            s=22,
            color=GREY,
            linewidths=1,
            transform=floor,
            label=label,
            rasterized=len(table) > MANY,
        )


def fitness_limits(fitness: Floats) -> tuple[float, float]:
    """Return the ends of an axis of fitness; a few values far below the others do not decide them."""
    finite = fitness[np.isfinite(fitness)]
    if not len(finite):
        return 0.0, 1.0
    high, low = float(finite.max()), float(finite.min())
    quarter = float(np.quantile(finite, 0.25))
    if high - low > 8 * max(high - quarter, 1e-300):
        low = max(low, high - 4 * (high - quarter))
    # Python's largest floats have no difference.
    room = 0.08 * (high - low) if np.isfinite(high - low) and high > low else max(0.05 * abs(high), 1e-6)
    return low - room, high + room


@styled
def generations_figure(data: SearchData) -> Figure:
    """Return the members of every generation: range, quartiles, mean, the best so far, and below it their diversity."""
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    table = data.generations
    number = floats(table["generation"])
    quartiles = data.populations.assign(fitness=data.populations["fitness"].astype(float))
    grouped = quartiles.groupby("generation")["fitness"]
    first, third = (floats(grouped.quantile(share).reindex(table["generation"])) for share in (0.25, 0.75))
    column = {name: floats(table[name]) for name in ("mean", "min", "max", "diversity")}
    column["best"] = floats(_best_by_generation(data).reindex(table["generation"]))
    dots = "o" if len(table) <= 30 else None
    if len(table) == 1:
        upper.errorbar(
            number,
            column["mean"],
            _reach(column["mean"], column["min"], column["max"]),
            color=GREY,
            capsize=4,
            label="lowest to highest",
        )
        upper.errorbar(
            number,
            column["mean"],
            _reach(column["mean"], first, third),
            color=COLOURS[5],
            linewidth=6,
            label="quartiles",
        )
    else:
        upper.fill_between(
            number, column["min"], column["max"], color=COLOURS[5], alpha=0.22, linewidth=0, label="lowest to highest"
        )
        upper.fill_between(number, first, third, color=COLOURS[5], alpha=0.5, linewidth=0, label="quartiles")
    upper.plot(number, column["mean"], color=COLOURS[0], marker=dots, markersize=4, label="mean")
    upper.plot(number, column["best"], color=COLOURS[1], linestyle="--", marker=dots, markersize=4, label="best so far")
    upper.set_ylim(*fitness_limits(np.concatenate([floats(quartiles["fitness"]), column["best"]])))
    upper.set_ylabel(data.fitness_label)
    _legend_below(upper, above=True)
    lower.plot(number, column["diversity"], color=COLOURS[2], marker=dots, markersize=4)
    lower.set_ylim(0, max(0.05, 1.15 * float(np.nanmax(column["diversity"], initial=0.0))))
    lower.set_ylabel("diversity (0 to 1)")
    lower.set_xlabel("generation")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, lower):
        plain(axes)
    return figure


def _best_by_generation(data: SearchData) -> pd.Series[float]:
    """Return the best first evaluation so far at the end of every generation."""
    return data.comparable.groupby(data.first["generation"].to_numpy()).max().cummax().ffill()


def _reach(middle: Floats, low: Floats, high: Floats) -> Floats:
    """Return how far an error bar goes down and up."""
    reach: Floats = np.clip(np.array([middle - low, high - middle]), 0, None)
    return reach


@styled
def curves_figure(data: SearchData) -> Figure:
    """Return the learning curves of the best genomes: held-out accuracy and training loss against steps."""
    column = f"{data.settings.fitness}_accuracy"
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    table = data.curves
    for place, individual in enumerate(data.hall_of_fame["individual"].head(CURVES)):
        curve = table[(table["individual"] == individual) & (table["replicate"] == 0)]
        look: dict[str, Any] = {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": STYLES[place % len(STYLES)],
            "marker": "o" if len(curve) < 3 else None,
        }
        left.plot(curve["step"], curve[column].astype(float), label=f"#{individual}", **look)
        right.plot(curve["step"], curve["train_loss"].astype(float), **look)
    left.set_ylabel(f"{data.settings.fitness} accuracy (fraction)")
    right.set_ylabel("training loss (nats)")
    figure.legend(frameon=False, loc="outside upper center", ncols=CURVES)
    for axes in (left, right):
        axes.set_xlabel("optimiser steps")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        plain(axes)
    return figure


def _legend_below(axes: Axes, above: bool = False) -> None:
    """Give axes a legend that lies over no data: in the frame of the figure."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 4 if sum(map(len, labels)) < 70 else 2 if max(map(len, labels)) < 40 else 1
    figure = axes.figure
    assert isinstance(figure, Figure)
    where: Any = f"outside {'upper' if above else 'lower'} center"
    figure.legend(handles, labels, loc=where, frameon=False, ncols=columns)
