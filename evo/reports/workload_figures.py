"""Figures of what a search cost: seconds of training by generation, and which worker trained what when."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evo.reports import style
from evo.reports.features import floats
from evo.reports.search_data import SearchData
from evo.reports.workload import SHORTEST, seconds_by_generation, timeline_of, unit_of

BARS = 60
"""Up to this many generations, there is space between the bars."""
ROWS = 40
"""Up to this many workers have a row each."""


@style.plot("Cost", "Time of training by the generation that an individual was proposed in, and its sum.", early=True)
def cost_figure(data: SearchData) -> Figure | None:
    """Return the time of training by generation, and its sum."""
    if data.seconds < SHORTEST:
        return None
    seconds = seconds_by_generation(data)
    figure, panels = style.new_figure(3.2, 1, 2)
    number, few = seconds.index.to_numpy(dtype=float), len(seconds) <= BARS
    parts = ((seconds, style.BLUE, "{} of training"), (seconds.cumsum(), style.GREEN, "{}, in all"))
    for axes, (values, colour, label) in zip(panels, parts, strict=True):
        size, unit = unit_of(float(values.max()))
        axes.bar(number, values / size, color=colour, width=0.8 if few else 1.0, rasterized=not few)
        axes.set(xlabel="generation", ylabel=label.format(unit))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure


@style.plot("Timeline", "What each worker trained when; better ones are orange, failures grey.", early=True)
def timeline_figure(data: SearchData) -> Figure | None:
    """Return a row per worker with its trainings, or how many trained at a time; the colour is the fitness."""
    timeline = timeline_of(data)
    if timeline is None:
        return None
    spans = timeline.spans
    workers = sorted(spans["worker"].unique(), key=lambda name: (len(name), name))
    size, unit = unit_of(timeline.wall)
    rows = len(workers) <= ROWS
    figure, [axes] = style.new_figure(1.5 + 0.34 * len(workers) if rows else 4.0)
    start, length = spans["start"].to_numpy() / size, (spans["end"] - spans["start"]).to_numpy() / size
    if rows:
        fitness = floats(spans["fitness"])
        scale = style.fitness_scale(fitness)
        look: dict[str, Any] = {"height": 0.76, "linewidth": 0.4, "rasterized": len(spans) > 1000}
        look["color"] = [style.SEQUENCE(scale(value)) if np.isfinite(value) else style.GREY for value in fitness]
        look["edgecolor"] = style.HALO if len(spans) <= 300 else "none"
        axes.barh(spans["worker"].map(workers.index).to_numpy(), length, left=start, **look)
        axes.set_yticks(range(len(workers)), workers)
        axes.invert_yaxis()
        style.colour_bar(figure, [axes], "fitness", scale, fitness)
    else:
        axes.fill_between(timeline.times / size, timeline.running, step="post", color=style.BLUE, linewidth=0)
        axes.set_ylabel("trainings at a time")
    pauses = f", without pauses ({timeline.pauses})" if timeline.pauses else ""
    axes.set(xlabel=f"{unit} since the start{pauses}", xlim=(0, max(timeline.wall / size, 1e-9)))
    axes.grid(visible=False, axis="y")
    return figure
