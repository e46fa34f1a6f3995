"""Figures of what a search cost: seconds of training by generation, and who trained what when."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evo.reports.style import COLOURS, GREY, SEQUENCE, WIDTH, plain, styled
from evo.reports.workload import Timeline

UNITS = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
BARS = 60
"""Up to so many generations, each has a bar of its own."""
ROWS = 40
"""Up to so many workers, each has a row of its own."""


def unit_of(seconds: float) -> tuple[float, str]:
    """Return the unit that a time is best told in: its seconds, and its name."""
    return next((size, name) for least, size, name in UNITS if seconds >= least)


@styled
def cost_figure(seconds: pd.Series[float]) -> Figure:
    """Return the time of training by generation, and its sum.

    Args:
        seconds: By generation.
    """
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    number = seconds.index.to_numpy(dtype=float)
    for axes, values, colour in ((left, seconds, COLOURS[0]), (right, seconds.cumsum(), COLOURS[2])):
        size, name = unit_of(float(values.max()))
        if len(seconds) <= BARS:
            axes.bar(number, values / size, color=colour, width=0.8)
        else:
            axes.fill_between(number, values / size, color=colour, step="mid", linewidth=0)
        axes.set_xlabel("generation")
        axes.set_ylabel(f"{name} of training" if axes is left else f"{name}, in all")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        plain(axes)
    return figure


@styled
def timeline_figure(timeline: Timeline) -> Figure:
    """Return a row a worker with its trainings, or how many trained at a time; the colour is the fitness."""
    spans = timeline.spans
    workers = sorted(spans["worker"].unique(), key=lambda name: (len(name), name))
    size, unit = unit_of(timeline.wall)
    rows = len(workers) <= ROWS
    figure = Figure(figsize=(WIDTH, 1.5 + 0.34 * len(workers) if rows else 4.0), layout="constrained")
    axes = figure.subplots()
    start, length = spans["start"].to_numpy() / size, (spans["end"] - spans["start"]).to_numpy() / size
    if rows:
        fitness = spans["fitness"].astype(float).to_numpy()
        finite = fitness[np.isfinite(fitness)]
        low, high = np.quantile(finite, [0.1, 1.0]) if len(finite) else (0.0, 1.0)
        scale = Normalize(low, high, clip=True)
        colours = [SEQUENCE(scale(value)) if np.isfinite(value) else GREY for value in fitness]
        many = len(spans) > 1000
        place = spans["worker"].map({name: place for place, name in enumerate(workers)}).to_numpy()
        axes.barh(
            place,
            length,
            left=start,
            height=0.76,
            color=colours,
            rasterized=many,
            edgecolor="#fefefe" if len(spans) <= 300 else "none",
            linewidth=0.4,
        )
        axes.set_yticks(range(len(workers)), workers)
        axes.invert_yaxis()
        bar = figure.colorbar(ScalarMappable(scale, SEQUENCE), ax=axes, fraction=0.03, pad=0.02)
        bar.set_label("fitness")
        bar.locator = MaxNLocator(4)
        bar.update_ticks()
    else:
        events = sorted([(time, 1) for time in start] + [(time, -1) for time in start + length])
        times, changes = np.array(events).T
        axes.fill_between(times, np.cumsum(changes), step="post", color=COLOURS[0], linewidth=0)
        axes.set_ylabel("trainings at a time")
    axes.set_xlabel(f"{unit} since the start" + (f", without pauses ({timeline.pauses})" if timeline.pauses else ""))
    axes.set_xlim(0, max(timeline.wall / size, 1e-9))
    plain(axes)
    axes.grid(visible=False, axis="y")
    return figure
