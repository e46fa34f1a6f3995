"""Figures of what a search has found out: importance of the genes, line of the winner, operators, Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evo.reports.features import floats
from evo.reports.importance import Importance
from evo.reports.lineage import Step
from evo.reports.progress_figures import fitness_limits
from evo.reports.search_data import SearchData
from evo.reports.style import COLOURS, GREY, HALO, MANY, MARKERS, WIDTH, plain, plain_log_axis, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURE_LABELS = {
    "parameters": "trainable parameters",
    "seconds": "seconds of training",
    "loss": "loss (nats)",
    "train_accuracy": "train accuracy (fraction)",
}
LABELLED = 25
"""Up to so many steps, every individual of a line has its number."""


@styled
def importance_figure(importance: Importance) -> Figure:
    """Return the importance of every gene, with its standard deviation over the folds."""
    table = importance.table.iloc[::-1]
    figure = Figure(figsize=(WIDTH, 1.3 + 0.32 * len(table)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(table))
    axes.barh(places, table["importance"].clip(lower=0), color=COLOURS[0], height=0.62)
    axes.errorbar(
        table["importance"],
        places,
        xerr=table["std"],
        fmt="o",
        markersize=4,
        color=COLOURS[1],
        capsize=3,
        linewidth=1.5,
    )
    axes.set_yticks(places, [shortened(name, 30) for name in table["gene"]])
    axes.set_xlabel("loss of R² when the gene's values are shuffled (bar: ± one standard deviation)")
    axes.axvline(0, color=GREY, linewidth=1)
    plain(axes)
    axes.grid(visible=False, axis="y")
    return figure


@styled
def lineage_figure(data: SearchData, line: Sequence[Step]) -> Figure:
    """Return the line of the winner: fitness against the proposals, other parents in grey, a marker an operator."""
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = figure.subplots()
    fitness = data.fitness
    axes.scatter(fitness.index, fitness, s=8, color=GREY, alpha=0.25, linewidths=0, rasterized=len(fitness) > MANY)
    for step in line:
        for parent in step.parents if len(step.parents) <= 4 else ():
            if parent != step.parent and parent in fitness.index:
                axes.plot(
                    [parent, step.individual], [fitness[parent], step.fitness], color=GREY, linewidth=0.9, alpha=0.7
                )
    axes.plot([s.individual for s in line], [s.fitness for s in line], color=COLOURS[0], linewidth=1.8, zorder=3)
    operators = list(dict.fromkeys(step.operator for step in line))
    for place, operator in enumerate(operators):
        mine = [step for step in line if step.operator == operator]
        axes.scatter(
            [s.individual for s in mine],
            [s.fitness for s in mine],
            s=52,
            zorder=4,
            label=operator,
            edgecolors=HALO,
            marker=MARKERS[place % len(MARKERS)],
            color=COLOURS[(place + 1) % len(COLOURS)],
            linewidths=0.8,
        )
    if len(line) <= LABELLED:
        _number(axes, line, apart=0.045 * len(fitness))
    axes.set_xlabel("individual (number of the proposal)")
    axes.set_ylabel(data.fitness_label)
    axes.set_ylim(*fitness_limits(floats(fitness)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(frameon=False, loc="outside lower center", ncols=4, title="made by")
    plain(axes)
    return figure


def _number(axes: Axes, line: Sequence[Step], apart: float) -> None:
    """Write their numbers beside the individuals of a line that lie so far apart, above and below by turns."""
    last = -np.inf
    for place, step in enumerate(line):
        if np.isfinite(step.fitness) and (step.individual - last >= apart or step is line[-1]):
            last = step.individual
            axes.annotate(
                f"#{step.individual}",
                (step.individual, step.fitness),
                fontsize=8.5,
                ha="center",
                zorder=5,
                xytext=(0, 9 if place % 2 else -15),
                textcoords="offset points",
            )


@styled
def operators_figure(table: pd.DataFrame, changes: pd.DataFrame) -> Figure:
    """Return how often each operator's children are better than their best parent, and how the fitness changes."""
    shown = table[table["compared"] > 0].iloc[::-1]
    figure = Figure(figsize=(WIDTH, 1.8 + 0.5 * len(shown)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(shown))
    rate, low, high = (shown[name].astype(float).to_numpy() for name in ("rate", "low", "high"))
    left.errorbar(rate, places, xerr=np.clip([rate - low, high - rate], 0, None), fmt="o", color=COLOURS[0], capsize=4)
    left.set_xlim(0, 1)
    left.xaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_xlabel("better than the best parent\n(95 % interval)")
    names = [f"{shortened(name, 24)}\nn = {n}" for name, n in zip(shown["operator"], shown["compared"], strict=True)]
    left.set_yticks(places, names)
    left.set_ylim(-0.6, len(shown) - 0.4)
    groups = [changes.loc[changes["operator"] == name, "change"].dropna().to_numpy() for name in shown["operator"]]
    right.boxplot(
        groups,
        positions=places,
        orientation="horizontal",
        widths=0.45,
        showfliers=False,
        medianprops={"color": COLOURS[1], "linewidth": 2},
        boxprops={"color": COLOURS[0]},
        whiskerprops={"color": COLOURS[0]},
        capprops={"color": COLOURS[0]},
    )
    right.set_yticks(places, names)
    right.axvline(0, color=GREY, linewidth=1, linestyle="--")
    right.set_xlabel("change of fitness against it\n(median, quartiles, range)")
    right.xaxis.set_major_locator(MaxNLocator(4))
    for axes in (left, right):
        plain(axes)
    return figure


@styled
def front_figure(data: SearchData, table: pd.DataFrame) -> Figure:
    """Return fitness against every other objective; the evaluations that no other dominates stand out."""
    others = [name for name in table.columns if name not in ("individual", "fitness", "front")]
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(1, len(others), squeeze=False, sharey=True)[0]
    front, goals = table[table["front"]], data.settings.objectives or {}
    for axes, name in zip(panels, others, strict=True):
        axes.scatter(
            table[name],
            table["fitness"],
            s=14,
            color=GREY,
            alpha=0.45,
            linewidths=0,
            rasterized=len(table) > MANY,
            label="all",
        )
        line = front.sort_values(name)
        axes.plot(
            line[name],
            line["fitness"],
            color=COLOURS[1],
            marker="o",
            markersize=5,
            label="front",
            linewidth=1.2 if len(others) == 1 else 0,
            drawstyle=f"steps-{'post' if goals.get(name) == 'minimise' else 'pre'}",
        )
        values = table[name][table[name] > 0]
        if len(values) == len(table) and len(values) and values.max() > 10 * values.min():
            plain_log_axis(axes, "x")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(MEASURE_LABELS.get(name, name))
        axes.set_ylim(*fitness_limits(table["fitness"].to_numpy(dtype=float)))
        plain(axes)
    panels[0].set_ylabel(data.fitness_label)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=2)
    return figure
