"""The registry of a search's figures, and all figures of a run by file name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from matplotlib.figure import Figure

from evo.record.run import Run
from evo.reports import analysis_figures, classes, gene_figures, progress_figures, recipe
from evo.reports.search_data import SearchData
from evo.reports.style import styled


class Plot(NamedTuple):
    """A figure of one search.

    Attributes:
        heading: Of the section of the report that shows it.
        title: What it is, in a few words.
        draw: Returns it; None where the search has no data for it. Its docstring is the caption.
        early: Whether there may be something to draw before any evaluation is complete.
    """

    heading: str
    title: str
    draw: Callable[[SearchData], Figure | None]
    early: bool = False


PLOTS = {
    "generations": Plot("Progress", "Generations", progress_figures.generations_figure),
    "genes-over-time": Plot("Genes", "Each gene over the search", gene_figures.genes_over_time_figure),
    "genes": Plot("Genes", "Fitness against each gene", gene_figures.genes_figure),
    "parallel": Plot("Genes", "Parallel coordinates", gene_figures.parallel_figure),
    "importance": Plot("Importance of the genes", "Importance of the genes", analysis_figures.importance_figure),
    "curves": Plot("Best genomes", "Learning curves", progress_figures.curves_figure),
    "learning-rate": Plot("Training recipe", "Learning rate", recipe.learning_rate_figure),
    "confusion": Plot("Classes", "Confusion matrix", classes.confusion_figure),
    "lineage": Plot("Where the winner comes from", "Lineage", analysis_figures.lineage_figure),
    "operators": Plot("Operators", "Operators", analysis_figures.operators_figure),
    "front": Plot("Pareto front", "Pareto front", analysis_figures.front_figure),
    "cost": Plot("Cost and failures", "Cost", progress_figures.cost_figure, early=True),
    "timeline": Plot("Workers", "Timeline", progress_figures.timeline_figure, early=True),
}
"""The figures of a search by file name, in the order of the report.

A new figure is a function in one of the modules above and a line here."""


def figures_of(run: Run) -> dict[str, Figure]:
    """Return the figures of a run by file name; those that it has no data for are left out."""
    data = SearchData(run.name, run)
    progress = progress_figures.progress_figure([data])
    return {"progress": progress, **{name: figure for name, _, figure in figures_of_search(data)}}


def figures_of_search(data: SearchData) -> Iterator[tuple[str, Plot, Figure]]:
    """Draw the figures that a search has data for, one after another."""
    some = bool(data.fitness.notna().any())
    for name, plot in PLOTS.items():
        if (some or plot.early) and (figure := styled(plot.draw)(data)) is not None:
            yield name, plot, figure
