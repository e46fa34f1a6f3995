"""Figures of how a search went: its evaluations, generations, best learning curves, cost and workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evo.evaluation import INFEASIBLE
from evo.reports import style
from evo.reports.features import floats
from evo.reports.search_data import SearchData
from evo.reports.workload import SHORTEST, timeline_of, unit_of
from evo.trial import COST, VALUE

CURVES = 5
NO_MEASURES = ("individual", "replicate", "step")
"""Columns of the curves that say where a point is."""


@style.styled
def progress_figure(runs: Sequence[SearchData]) -> Figure:
    """Every evaluation as a dot at the number of its individual, the best so far as a line, failures as crosses."""
    # An individual that was evaluated again, in a race, has its dots above each other.
    figure, [axes] = style.new_figure(4.2)
    sign = min(run.sign for run in runs)
    low, high = style.fitness_limits(np.concatenate([floats(run.evaluations["fitness"]) for run in runs]), sign)
    for place, run in enumerate(runs):
        best = run.best_so_far
        look = style.look_of(place) | {"marker": "_" if len(best) == 1 else ""}
        _draw_evaluations(axes, run, look["color"], (low, high))
        label = f"{style.shortened(run.name, 40)}: best so far" if len(runs) > 1 else "best so far"
        axes.plot(best.index, best, **look, linewidth=2, drawstyle="steps-post", label=label)
    style.count_axis(axes, style.INDIVIDUAL, ylabel=_common_label(runs), ylim=(low, high))
    _legend_outside(figure, axes, "lower")
    return figure


def _common_label(runs: Sequence[SearchData]) -> str:
    labels = {run.fitness_label for run in runs}
    if len(labels) == 1:
        return labels.pop()
    alike = all(label.endswith("accuracy (fraction)") for label in labels)
    return "accuracy (fraction)" if alike else "fitness"


def _draw_evaluations(axes: Axes, run: SearchData, colour: str, ends: tuple[float, float]) -> None:
    """Draw complete evaluations as dots, worse ones than the axis has as triangles on it, and others as crosses."""
    table = run.evaluations
    fitness, place = floats(table["fitness"]), floats(table["individual"])
    beyond = fitness < ends[0] if run.sign > 0 else fitness > ends[1]
    shown, none = np.isfinite(fitness) & ~beyond, np.isnan(fitness)
    infeasible = none & (table["status"] == INFEASIBLE).to_numpy()
    failed = none & ~infeasible
    size, alpha = (30, 0.8) if len(table) <= style.FEW else (14, 0.65) if len(table) <= style.MANY else (7, 0.5)
    look: dict[str, Any] = {"color": colour, "linewidths": 0, "rasterized": len(table) > style.MANY}
    axes.scatter(place[shown], fitness[shown], s=size, alpha=alpha, **look)
    than = "lower" if run.sign > 0 else "higher"
    on_axis = {"marker": "v" if run.sign > 0 else "^", "s": 24, "alpha": 0.6}
    on_axis["label"] = f"{beyond.sum()} {than} than shown"
    crosses = {"marker": "x", "s": 22, "color": style.GREY, "linewidths": 1, "label": f"{failed.sum()} failed"}
    pluses = crosses | {"marker": "+", "label": f"{infeasible.sum()} infeasible"}
    end = 0.02 if run.sign > 0 else 0.98
    for rows, height, marks in ((beyond, end, on_axis), (failed, 0.06, crosses), (infeasible, 0.1, pluses)):
        if rows.any():
            axes.scatter(place[rows], height * rows[rows], transform=axes.get_xaxis_transform(), **look | marks)


def generations_figure(data: SearchData) -> Figure | None:
    """The members of every generation's population: range, quartiles and mean of their fitness.

    Below: their diversity, the mean distance of two genomes (0: all alike, 1: as far apart as can be).
    """
    table = data.run.generation_table
    if not len(table):
        return None
    figure, [upper, lower] = style.new_figure(5.2, 2, sharex=True, height_ratios=[2.4, 1])
    number = floats(table["generation"])
    members = data.run.populations
    fitness = pd.Series(floats(members["fitness"]), members.index).groupby(members["generation"])
    first, third = (floats(fitness.quantile(share).reindex(table["generation"])) for share in (0.25, 0.75))
    best_so_far = floats(table["best"])
    if "rung" in data.first:  # an older run of halving: only trainings of the last rung are compared
        comparable = data.sign * data.comparable
        best = comparable.groupby(data.first["generation"].to_numpy()).max().cummax().ffill()
        best_so_far = data.sign * floats(best.reindex(table["generation"]))
    # A single generation gets a width, or its bands could not be seen.
    places = number if len(number) > 1 else number + np.array([-0.2, 0.2])
    lowest, highest = floats(table["min"]), floats(table["max"])
    band: dict[str, Any] = {"color": style.SKY, "linewidth": 0}
    upper.fill_between(places, lowest, highest, alpha=0.22, label="lowest to highest", **band)
    upper.fill_between(places, first, third, alpha=0.5, label="quartiles", **band)
    dots: Any = {"marker": "o" if len(table) <= 30 else None, "markersize": 4}
    upper.plot(number, floats(table["mean"]), color=style.BLUE, label="mean", **dots)
    upper.plot(number, best_so_far, color=style.ORANGE, linestyle="--", label="best so far", **dots)
    limits = style.fitness_limits(np.concatenate([floats(members["fitness"]), best_so_far]), data.sign)
    upper.set(ylabel=data.fitness_label, ylim=limits)
    _legend_outside(figure, upper, "upper")
    diversity = floats(table["diversity"])
    lower.plot(number, diversity, color=style.GREEN, **dots)
    top = max(0.05, 1.15 * float(np.nanmax(diversity, initial=0.0)))
    style.count_axis(lower, "generation", ylabel="diversity (0 to 1)", ylim=(0, top))
    return figure


def curves_figure(data: SearchData) -> Figure | None:
    """Learning curves of the best genomes of the search."""
    table = data.run.curves
    if not len(table):
        return None
    quantities = _quantities(data, table)
    figure, panels = style.new_figure(3.9, 1, len(quantities))
    for place, individual in enumerate(data.hall_of_fame["individual"].head(CURVES)):
        curve = table[(table["individual"] == individual) & (table["replicate"] == 0)]
        look = style.look_of(place) | {"marker": "o" if len(curve) < 3 else ""}
        for panel, quantity in zip(panels, quantities, strict=True):
            label = f"#{individual}" if panel is panels[0] else None
            panel.plot(curve["step"], floats(curve[quantity]), label=label, **look)
    steps = "optimiser steps" if data.settings.objective is None else "steps"
    for panel, label in zip(panels, quantities.values(), strict=True):
        style.count_axis(panel, steps, 5, ylabel=label)
    figure.legend(loc="outside upper center", ncols=CURVES)
    return figure


def _quantities(data: SearchData, curves: pd.DataFrame) -> dict[str, str]:
    """Return which columns of the curves are drawn, at most two, with what their axes say."""
    if data.settings.objective is None:
        held_out = f"{data.settings.fitness}_accuracy"
        return {held_out: f"{data.settings.fitness} accuracy (fraction)", "train_loss": "training loss (nats)"}
    others = curves.columns.difference([*NO_MEASURES, VALUE, COST], sort=False)
    measures = [name for name in others if curves[name].notna().any()]
    return {VALUE: data.fitness_label} | {str(name): str(name) for name in measures[:1]}


def cost_figure(data: SearchData) -> Figure | None:
    """Time of training by the generation that proposed it, and its sum."""
    if data.seconds < SHORTEST:
        return None
    taken = sorted(data.run.by_generation().items())
    seconds = pd.Series({generation: sum(part[-1] for part in parts) for generation, parts in taken}, dtype=float)
    figure, panels = style.new_figure(3.2, 1, 2)
    number, few = seconds.index.to_numpy(dtype=float), len(seconds) <= style.FEW  # with space between the bars
    parts = ((seconds, style.BLUE, "{} of training"), (seconds.cumsum(), style.GREEN, "{}, in all"))
    for axes, (values, colour, label) in zip(panels, parts, strict=True):
        size, unit = unit_of(float(values.max()))
        axes.bar(number, values / size, color=colour, width=0.8 if few else 1.0, rasterized=not few)
        style.count_axis(axes, "generation", 6, ylabel=label.format(unit))
    return figure


def timeline_figure(data: SearchData) -> Figure | None:
    """What each worker trained when; better ones are orange, failures grey."""
    timeline = timeline_of(data)
    if timeline is None:
        return None
    spans = timeline.spans
    workers = sorted(spans["worker"].unique(), key=lambda name: (len(name), name))
    size, unit = unit_of(timeline.wall)
    rows = len(workers) <= 40  # one for each worker
    figure, [axes] = style.new_figure(1.5 + 0.34 * len(workers) if rows else 4.0)
    start, length = spans["start"].to_numpy() / size, (spans["end"] - spans["start"]).to_numpy() / size
    if rows:
        fitness = floats(spans["fitness"])
        scale, colours = style.fitness_scale(fitness, data.sign), style.sequence(data.sign)
        look: dict[str, Any] = {"height": 0.76, "linewidth": 0.4, "rasterized": len(spans) > 1000}
        look["color"] = [colours(scale(value)) if np.isfinite(value) else style.GREY for value in fitness]
        look["edgecolor"] = style.HALO if len(spans) <= 300 else "none"
        axes.barh(spans["worker"].map(workers.index).to_numpy(), length, left=start, **look)
        axes.set_yticks(range(len(workers)), workers)
        axes.invert_yaxis()
        style.colour_bar(figure, [axes], data.fitness_label, scale, fitness, colours)
    else:
        axes.fill_between(timeline.times / size, timeline.running, step="post", color=style.BLUE, linewidth=0)
        axes.set_ylabel("trainings at a time")
    pauses = f", without pauses ({timeline.pauses})" if timeline.pauses else ""
    axes.set(xlabel=f"{unit} since the start{pauses}", xlim=(0, max(timeline.wall / size, 1e-9)))
    axes.grid(visible=False, axis="y")
    return figure


def _legend_outside(figure: Figure, axes: Axes, side: Literal["upper", "lower"]) -> None:
    """Put the legend of axes in the frame of the figure, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 4 if sum(map(len, labels)) < 70 else 2 if max(map(len, labels)) < 40 else 1
    where: Any = f"outside {side} center"
    figure.legend(handles, labels, loc=where, ncols=columns)
