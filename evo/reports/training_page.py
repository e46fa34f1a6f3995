"""The page of trainings of listed configurations: what was trained, each result, and the learning curves."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pandas as pd

from evo.record.run import Run
from evo.reports.genome_commands import genome_text
from evo.reports.html import picture
from evo.reports.page import Block, Commands, Facts, Section, Text, table_of, write_page
from evo.reports.search_data import SearchData
from evo.reports.search_sections import facts_of
from evo.reports.statistics import mean_estimate
from evo.reports.training import complete_trainings, training_figures

CAPTION = "{} against optimiser steps: the mean over the seeds, and their range as a band."
MEASURES = {"accuracy": "Accuracy", "loss": "Cross-entropy"}
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
    curves: list[Block] = [
        picture(folder, name, f"{name}: {run.name}", CAPTION.format(MEASURES[name]), figure)
        for name, figure in training_figures(run).items()
    ]
    sections = [
        Section("Summary", _summary(data)),
        Section("Learning curves", curves or [Text("No training has a learning curve yet.")]),
        Section("All trainings", [table_of(data.evaluations.drop(columns=HIDDEN), "All trainings")]),
    ]
    return write_page(folder / "report.html", f"Trainings of {run.name}", sections)


def _summary(data: SearchData) -> list[Block]:
    run = data.run
    complete = int((data.evaluations["status"] == "complete").sum())
    facts = facts_of(data) | {"trainings": f"{complete} of {len(run.individuals) * run.settings.seeds} complete"}
    networks = pd.DataFrame([_network_row(run, number) for number in range(len(run.individuals))])
    return [
        table_of(networks, "Networks"),
        Text("Mean over n seeds; low and high are its 95 % interval, std their sample standard deviation."),
        Commands([(f"the network of #{entry.id}", genome_text(run, entry.genome)) for entry in run.individuals]),
        Facts({name: text for name, text in facts.items() if name != "strategy"}),
    ]


def _network_row(run: Run, number: int) -> dict[str, Any]:
    """Return a configuration: its genes, and the fitness over its seeds with the 95 % interval of the mean."""
    individual = run.individuals[number]
    fitness = [entry.fitness for entry in complete_trainings(run, individual) if entry.fitness is not None]
    mean, low, high = mean_estimate(fitness, (0, 1)).figures if fitness else (None, None, None)
    genes = {
        name: run.space.genes[name].to_text(value) if isinstance(value, tuple) else value
        for name, value in individual.genome.items()
    }
    measured = {f"{run.settings.fitness}_accuracy": mean, "low": low, "high": high}
    deviation = statistics.stdev(fitness) if len(fitness) > 1 else None
    return {"individual": number, **genes, **measured, "std": deviation, "n": len(fitness)}
