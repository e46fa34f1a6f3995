"""Trainings of listed configurations: figures of their curves, the mean over the seeds with their range; their page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evo.evaluation import CurvePoint, Evaluation
from evo.individual import Genome, Individual
from evo.models import MODELS
from evo.numbers import deviation
from evo.record.run import Run
from evo.reports.classes import classes_blocks, classes_of, confusion_figure, matrix_figure
from evo.reports.genome_commands import genome_text
from evo.reports.html import picture
from evo.reports.page import Block, Commands, Facts, Section, Text, table_of, write_page
from evo.reports.recipe import optimiser_name, rates_figure, recipe_blocks
from evo.reports.search_data import SearchData
from evo.reports.search_sections import facts_of
from evo.reports.statistics import mean_estimate
from evo.reports.style import COLOURS, look_of, new_grid, plain_log_axis, save_figure, scientific, styled

Kind: TypeAlias = Literal["accuracy", "loss"]
Curve: TypeAlias = Sequence[CurvePoint]

AXIS_LABELS: dict[Kind, str] = {"accuracy": "accuracy (fraction)", "loss": "cross-entropy (nats)"}
TITLE_WIDTH = 92
"""Most characters in a line of the title of a figure of the usual width."""
CAPTION = "{} against optimiser steps: the mean over the seeds, and their range as a band."
MEASURES = {"accuracy": "Accuracy", "loss": "Cross-entropy"}
HIDDEN = ["parents", "operator", "seconds_before"]
"""Columns that say nothing of a training."""


class Line(NamedTuple):
    """One line of a figure.

    Attributes:
        quantity: The measure of the curve's points that it shows.
        label: What the legend says.
        place: Chooses colour, line style and marker.
    """

    quantity: str
    label: str
    place: int


@styled
def training_figures(run: Run) -> dict[str, Figure]:
    """Return accuracy and loss against steps by file name, a panel per configuration; none without a curve.

    Args:
        run: Of listed configurations, finished or not.
    """
    panels = [(individual, seen) for individual in run.individuals if (seen := _with_curve(run, individual))]
    return {kind: _figure(run, panels, kind) for kind in AXIS_LABELS} if panels else {}


def write_training(run: Run) -> Path:
    """Write the figures of a run as PNG and SVG into its folder.

    Returns:
        Their folder.

    Raises:
        RunError: The run is in memory.
    """
    folder = run.folder / "figures"
    for name, figure in training_figures(run).items():
        save_figure(figure, folder / name)
    return folder


def write_training_page(run: Run, folder: Path) -> Path:
    """Write report.html and figures/ of a run of listed configurations.

    Args:
        run: Of `evo train`, finished or not.
        folder: Where to.

    Returns:
        The path of the HTML file.
    """
    data = SearchData(run.name, run)
    curves: list[Block] = [
        picture(folder, name, f"{name}: {run.name}", CAPTION.format(MEASURES[name]), figure)
        for name, figure in training_figures(run).items()
    ]
    sections = [
        Section("Summary", _summary(data)),
        Section("Training recipe", _recipes(data, folder)),
        Section("Learning curves", curves or [Text("No training has a learning curve yet.")]),
        Section("Classes", _classes(data, folder)),
        Section("All trainings", [table_of(data.evaluations.drop(columns=HIDDEN), "All trainings")]),
    ]
    return write_page(folder / "report.html", f"Trainings of {run.name}", sections)


def _recipes(data: SearchData, folder: Path) -> list[Block]:
    """Show how the networks were trained, and their learning rates in one figure."""
    run = data.run
    configs = [(entry.id, entry.genome) for entry in run.individuals]
    figure = styled(rates_figure)(run, configs)
    if figure is None:
        return [Text("Not known before the data are.")]
    title = f"Learning rate: {run.name}"
    blocks: list[Block] = [picture(folder, "learning-rate", title, "The learning rate at every step.", figure)]
    for number, config in configs:
        blocks += [Text(f"#{number}:")] if len(configs) > 1 else []
        blocks += recipe_blocks(run, config)
    return blocks


def _classes(data: SearchData, folder: Path) -> list[Block]:
    """Show which classes each network confuses that has a complete training."""
    blocks: list[Block] = []
    complete = {entry.individual for entry in data.run.search_evaluations if entry.complete}
    for entry in data.run.individuals:
        if entry.id not in complete:
            continue
        classes = classes_of(data, entry.id)
        if len(data.run.individuals) > 1:
            blocks.append(Text(f"#{entry.id}:"))
        if (figure := styled(matrix_figure)(classes)) is not None:
            name = "confusion" if len(data.run.individuals) == 1 else f"confusion-{entry.id}"
            title = f"Confusion matrix: {data.run.name}"
            blocks.append(picture(folder, name, title, confusion_figure.__doc__, figure))
        blocks += classes_blocks(classes)
    return blocks or [Text("No training is complete yet.")]


def _lines_of(run: Run, genome: Genome, kind: Kind) -> list[Line]:
    """Return what a figure of a network shows: its training, and what was held out.

    Where the run measured as the 2019 report did, these are the last minibatch and the held-out part in training mode;
    where that differs from evaluation mode, both are shown.
    """
    part, modes = run.settings.fitness, run.space.training.training_mode is not None
    evaluation_mode = f"{part}_accuracy" if kind == "accuracy" else "loss"
    if not modes:
        return [Line(f"train_{kind}", "train: mean of the minibatches", 1), Line(evaluation_mode, part, 0)]
    train = Line(f"minibatch_{kind}", "train: last minibatch", 1)
    if not changes_with_mode(run, genome):
        return [train, Line(f"training_mode_{kind}", part, 0)]
    training_mode = Line(f"training_mode_{kind}", f"{part}: training mode, as in 2019", 0)
    return [train, training_mode, Line(evaluation_mode, f"{part}: evaluation mode", 2)]


def changes_with_mode(run: Run, genome: Genome) -> bool:
    """Return whether training mode may change a network's outputs: it has dropout or batch norm, or is not known."""
    if run.settings.model not in MODELS:
        return True
    return bool(genome.get("dropout")) or bool(genome.get("batch_norm", run.settings.model == "cnn"))


def draw(axes: Axes, run: Run, genome: Genome, kind: Kind, curves: Sequence[Curve], title: str) -> None:
    """Draw the accuracy or the loss of a network: its lines over the seeds, with labels, legend and title."""
    for line in _lines_of(run, genome, kind):
        draw_line(axes, curves, line)
    finish(axes, kind, title)


def draw_line(axes: Axes, curves: Sequence[Curve], line: Line) -> None:
    """Draw a quantity of the curves of several seeds: their mean as a line, their range as a light band."""
    points = [{"step": point.step, "value": point.values.get(line.quantity)} for curve in curves for point in curve]
    seeds = pd.DataFrame(points, columns=["step", "value"]).dropna().astype(float).groupby("step")["value"]
    means = seeds.mean()
    if means.empty:
        return
    every = max(1, len(means) // 10)  # enough markers to tell lines apart in grey, few enough to see the lines
    # Lines that cover each other have their markers at different steps.
    marks = slice(line.place * every // 3 % every, None, every)
    axes.plot(means, label=line.label, linewidth=1.6, markersize=4.5, markevery=marks, **look_of(line.place))
    if seeds.size().max() > 1:
        axes.fill_between(means.index, seeds.min(), seeds.max(), color=COLOURS[line.place], alpha=0.2, linewidth=0)


def finish(axes: Axes, kind: Kind, title: str) -> None:
    """Give axes with lines on them their labels, legend and title, and a wide loss its logarithmic axis."""
    axes.set(xlabel="optimiser steps", ylabel=AXIS_LABELS[kind])
    axes.set_title(title, loc="left", fontsize=9.5)
    if axes.lines:
        axes.legend(fontsize=8.5)
    drawn = [value for line in axes.lines for value in np.asarray(line.get_ydata()) if value > 0]
    if kind == "loss" and drawn and max(drawn) > 100 * min(drawn):
        plain_log_axis(axes, "y")


def wrapped(*lines: str, width: int = TITLE_WIDTH) -> str:
    """Return the lines of a title, none longer than a figure is wide."""
    return "\n".join(part for line in lines for part in textwrap.wrap(line, width))


def seeds_text(count: int) -> str:
    """Return what a line and its band are, by the number of trainings behind them."""
    return "one seed" if count == 1 else f"mean and range of {count} seeds"


def setting_text(run: Run, genome: Genome) -> str:
    """Return how a network was trained: optimiser, learning rate, batch size, and the data."""
    setting = run.space.training.given(genome)
    optimiser = optimiser_name(str(setting["optimiser"]), float(setting["weight_decay"]))
    rate = f"learning rate {scientific(float(setting['learning_rate']))}" if "learning_rate" in setting else ""
    size = f"batch size {setting['batch_size']}" if "batch_size" in setting else ""
    return ", ".join(filter(None, (optimiser, rate, size, str((run.settings.dataset or {}).get("variant", "")))))


def _with_curve(run: Run, individual: Individual) -> list[Evaluation]:
    """Return the trainings to show: the complete ones; where there is none, what the others reached."""
    every = [entry for entry in run.search_evaluations if entry.individual == individual.id and entry.curve]
    return [entry for entry in every if entry.complete] or every


def _figure(run: Run, panels: Sequence[tuple[Individual, list[Evaluation]]], kind: Kind) -> Figure:
    width, characters = (7.5, TITLE_WIDTH) if len(panels) == 1 else (11.0, 64)
    figure, grid = new_grid(len(panels), 2, 4.6, width=width)
    for axes, (individual, evaluations) in zip(grid, panels, strict=True):
        ended = "" if evaluations[0].complete else f"; none complete ({evaluations[0].status})"
        protocol = f"{setting_text(run, individual.genome)}; {seeds_text(len(evaluations))}{ended}"
        title = wrapped(_network_text(run, individual), protocol, width=characters)
        draw(axes, run, individual.genome, kind, [entry.curve for entry in evaluations], title)
    return figure


def _network_text(run: Run, individual: Individual) -> str:
    """Return which network a panel shows: the model, and the genes that it reads."""
    model = MODELS.get(run.settings.model or "")
    known = model.genes if model is not None else individual.genome
    read = {name: value for name, value in individual.genome.items() if name in known}
    genes = [f"{name} {run.space.genes[name].to_text(value)}" for name, value in read.items()]
    number = f"#{individual.id}: " if len(run.individuals) > 1 else ""
    return f"{number}{run.settings.model}" + (f" ({', '.join(genes)})" if genes else "")


def _summary(data: SearchData) -> list[Block]:
    run = data.run
    complete = int((data.evaluations["status"] == "complete").sum())
    facts = facts_of(data) | {"trainings": f"{complete} of {len(run.individuals) * run.settings.seeds} complete"}
    networks = pd.DataFrame([_network_row(run, number) for number in range(len(run.individuals))], dtype=object)
    return [
        table_of(networks, "Networks"),
        Text("Mean over n seeds; low and high are its 95 % interval, std their sample standard deviation."),
        Commands([(f"the network of #{entry.id}", genome_text(run, entry.genome)) for entry in run.individuals]),
        Facts({name: text for name, text in facts.items() if name != "strategy"}),
    ]


def _network_row(run: Run, number: int) -> dict[str, Any]:
    """Return a configuration: its genes, and the fitness over its seeds with the 95 % interval of the mean."""
    individual = run.individuals[number]
    complete = [entry for entry in run.search_evaluations if entry.individual == number and entry.complete]
    fitness = [entry.fitness for entry in complete if entry.fitness is not None]
    mean, low, high = astuple(mean_estimate(fitness, (0, 1)))
    measured = {f"{run.settings.fitness}_accuracy": mean, "low": low, "high": high}
    spread = deviation(fitness, of_sample=True) if len(fitness) > 1 else None
    return {"individual": number, **run.space.cells(individual.genome), **measured, "std": spread, "n": len(fitness)}
