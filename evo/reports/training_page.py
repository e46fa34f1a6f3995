"""The page of trainings that nobody evolved: what was trained, what came out on each seed, and the learning curves."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pandas as pd

from evo.files import write_text
from evo.record.run import Run
from evo.reports.genome_commands import genome_text
from evo.reports.page import Block, Commands, Facts, Picture, Section, Table, Text, page_text
from evo.reports.search_data import SearchData
from evo.reports.statistics import mean_estimate
from evo.reports.style import make_figures_folder, save_figure, svg_for_page
from evo.reports.summary import facts_of
from evo.reports.training import complete_trainings, training_figures

CAPTIONS = {
    "accuracy": "Accuracy against optimiser steps: the mean over the seeds, and their range as a band.",
    "loss": "Cross-entropy against optimiser steps: the mean over the seeds, and their range as a band.",
}


HIDDEN = ["parents", "operator", "seconds_before"]
"""Columns that say nothing of a training."""


def write_training_page(run: Run, folder: Path) -> Path:
    """Write report.html and figures/ of a run of listed configurations.

    Args:
        run: Of `evo train`, finished or not.
        folder: Where to.

    Returns:
        The path of the HTML file.
    """
    data = SearchData(run.name, run)
    make_figures_folder(folder)
    pictures = [
        Picture(
            name, f"{name}: {run.name}", CAPTIONS[name], svg_for_page(save_figure(figure, folder / "figures" / name))
        )
        for name, figure in training_figures(run).items()
    ]
    sections = [
        Section("Summary", _summary(data)),
        Section("Learning curves", list(pictures) or [Text("No training has a learning curve yet.")]),
        Section("All trainings", [Table(data.evaluations.drop(columns=HIDDEN), "All trainings")]),
    ]
    write_text(folder / "report.html", page_text(f"Trainings of {run.name}", sections))
    return folder / "report.html"


def networks_table(run: Run) -> pd.DataFrame:
    """Return one row a configuration: its genes, and the fitness over its seeds with the 95 % interval of the mean."""
    return pd.DataFrame([_network_row(run, number) for number in range(len(run.individuals))])


def _network_row(run: Run, number: int) -> dict[str, Any]:
    individual = run.individuals[number]
    fitness = [entry.fitness for entry in complete_trainings(run, individual) if entry.fitness is not None]
    mean = mean_estimate(fitness, (0, 1)) if fitness else None
    return {
        "individual": number,
        **{
            name: run.space.genes[name].to_text(value) if isinstance(value, tuple) else value
            for name, value in individual.genome.items()
        },
        f"{run.settings.fitness}_accuracy": mean.value if mean else None,
        "low": mean.low if mean else None,
        "high": mean.high if mean else None,
        "std": statistics.stdev(fitness) if len(fitness) > 1 else None,
        "n": len(fitness),
    }


def _summary(data: SearchData) -> list[Block]:
    run = data.run
    asked = len(run.individuals) * run.settings.seeds
    facts = facts_of(data) | {
        "trainings": f"{int((data.evaluations['status'] == 'complete').sum())} of {asked} complete"
    }
    lines = [(f"the network of #{entry.id}", genome_text(run, entry.genome)) for entry in run.individuals]
    return [
        Table(networks_table(run), "Networks"),
        Text("Mean over n seeds; low and high are its 95 % interval, std their sample standard deviation."),
        Commands(lines),
        Facts({name: text for name, text in facts.items() if name != "strategy"}),
    ]
