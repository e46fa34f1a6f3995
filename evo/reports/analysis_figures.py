"""Figures of what a search has found out: importance of the genes, lineage of the winner, operators, Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evo.reports import style
from evo.reports.features import floats
from evo.reports.lineage import Step, changes_table, lineage_of, operators_table
from evo.reports.search_data import SearchData

MEASURE_LABELS = {
    "parameters": "trainable parameters",
    "seconds": "seconds of training",
    "loss": "loss (nats)",
    "train_accuracy": "train accuracy (fraction)",
}


def importance_figure(data: SearchData) -> Figure | None:
    """What a model of the fitness loses without each gene."""
    table = data.importance.table.iloc[::-1]
    if table.empty:
        return None
    figure, [axes] = style.new_figure(1.3 + 0.32 * len(table))
    places = np.arange(len(table))
    axes.barh(places, table["importance"].clip(lower=0), color=style.BLUE, height=0.62)
    look: dict[str, Any] = {"fmt": "o", "markersize": 4, "color": style.ORANGE, "capsize": 3, "linewidth": 1.5}
    axes.errorbar(table["importance"], places, xerr=table["std"], **look)
    axes.set_yticks(places, [style.shortened(name, 30) for name in table["gene"]])
    axes.set_xlabel("loss of R² when the gene's values are shuffled (bar: ± one standard deviation)")
    axes.axvline(0, color=style.GREY, linewidth=1)
    axes.grid(visible=False, axis="y")
    return figure


def lineage_figure(data: SearchData) -> Figure | None:
    """The line of the winner through its better parents, among all individuals (grey dots).

    Grey lines lead to the other parents.
    """
    line = lineage_of(data, data.best)
    if len(line) < 2:
        return None
    figure, [axes] = style.new_figure(4.0)
    fitness = data.fitness
    grey: dict[str, Any] = {"color": style.GREY, "alpha": 0.25, "rasterized": len(fitness) > style.MANY}
    axes.scatter(fitness.index, fitness, s=8, linewidths=0, **grey)
    for step in line:
        for parent in step.parents if len(step.parents) <= 4 else ():
            if parent != step.parent and parent in fitness.index:
                ends = [parent, step.individual], [fitness[parent], step.fitness]
                axes.plot(*ends, color=style.GREY, linewidth=0.9, alpha=0.7)
    axes.plot([s.individual for s in line], [s.fitness for s in line], color=style.BLUE, linewidth=1.8, zorder=3)
    for place, operator in enumerate(dict.fromkeys(step.operator for step in line)):
        mine = [step for step in line if step.operator == operator]
        look: dict[str, Any] = {"s": 52, "zorder": 4, "edgecolors": style.HALO, "linewidths": 0.8}
        look |= {"marker": style.MARKERS[place % len(style.MARKERS)], "label": operator}
        look["color"] = style.COLOURS[(place + 1) % len(style.COLOURS)]
        axes.scatter([s.individual for s in mine], [s.fitness for s in mine], **look)
    if len(line) <= 25:
        _number(axes, line, apart=0.045 * len(fitness))
    style.count_axis(
        axes, style.INDIVIDUAL, ylabel=data.fitness_label, ylim=style.fitness_limits(floats(fitness), data.sign)
    )
    figure.legend(loc="outside lower center", ncols=4, title="made by")
    return figure


def _number(axes: Axes, line: Sequence[Step], apart: float) -> None:
    """Write the numbers of individuals that are this far apart beside them, above and below in turn."""
    last = -np.inf
    for place, step in enumerate(line):
        if np.isfinite(step.fitness) and (step.individual - last >= apart or step is line[-1]):
            last = step.individual
            look: dict[str, Any] = {"fontsize": 8.5, "ha": "center", "zorder": 5, "textcoords": "offset points"}
            offset = (0, 9 if place % 2 else -15)
            axes.annotate(f"#{step.individual}", (step.individual, step.fitness), xytext=offset, **look)


def operators_figure(data: SearchData) -> Figure | None:
    """How often each operator's children are fitter than their best parent, with 95 % intervals, and by how much."""
    table, changes = operators_table(data), changes_table(data)
    shown = table[table["compared"] > 0].iloc[::-1]
    if shown.empty:
        return None
    figure, [left, right] = style.new_figure(1.8 + 0.5 * len(shown), 1, 2, sharey=True)
    places = np.arange(len(shown))
    rate, low, high = (shown[name].astype(float).to_numpy() for name in ("rate", "low", "high"))
    left.errorbar(rate, places, xerr=np.clip([rate - low, high - rate], 0, None), fmt="o", color=style.BLUE, capsize=4)
    left.set(xlim=(0, 1), xlabel="better than the best parent\n(95 % interval)")
    left.xaxis.set_major_formatter(PercentFormatter(1.0))
    counts = zip(shown["operator"], shown["compared"], strict=True)
    names = [f"{style.shortened(name, 24)}\nn = {count}" for name, count in counts]
    groups = [changes.loc[changes["operator"] == name, "change"].dropna().to_numpy() for name in shown["operator"]]
    look: dict[str, Any] = {f"{part}props": {"color": style.BLUE} for part in ("box", "whisker", "cap")}
    look |= {"medianprops": {"color": style.ORANGE, "linewidth": 2}, "widths": 0.45, "showfliers": False}
    right.boxplot(groups, positions=places, orientation="horizontal", **look)
    left.set_yticks(places, names)
    left.set_ylim(-0.6, len(shown) - 0.4)
    right.axvline(0, color=style.GREY, linewidth=1, linestyle="--")
    right.set_xlabel("change of fitness against it\n(median, quartiles, range)")
    right.xaxis.set_major_locator(MaxNLocator(4))
    return figure


def front_figure(data: SearchData) -> Figure | None:
    """All complete evaluations; those of the front are not dominated by any other."""
    goals = data.settings.objectives or {}
    if len(goals) < 2:
        return None
    table = data.objectives
    goal = next(iter(goals)) if "fitness" not in goals else "fitness"
    others = [name for name in table.columns if name not in ("individual", goal, "front")]
    figure, panels = style.new_figure(4.2, 1, len(others), sharey=True)
    grey: dict[str, Any] = {"color": style.GREY, "alpha": 0.45, "rasterized": len(table) > style.MANY}
    width = 1.2 if len(others) == 1 else 0
    dots: dict[str, Any] = {"color": style.ORANGE, "marker": "o", "markersize": 5, "linewidth": width}
    limits = style.fitness_limits(floats(table[goal]), data.sign)
    for axes, name in zip(panels, others, strict=True):
        axes.scatter(table[name], table[goal], label="all", s=14, linewidths=0, **grey)
        line = table[table["front"]].sort_values(name)
        steps = f"steps-{'post' if goals.get(name) == 'minimise' else 'pre'}"
        axes.plot(line[name], line[goal], label="front", drawstyle=steps, **dots)
        if len(table) and table[name].min() > 0 and table[name].max() > 10 * table[name].min():
            style.plain_log_axis(axes, "x")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set(xlabel=MEASURE_LABELS.get(name, name), ylim=limits)
    panels[0].set_ylabel(data.fitness_label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
