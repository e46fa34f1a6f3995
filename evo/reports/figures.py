"""The registry of a search's figures: where the report shows each; and all figures of runs by file name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from evo.record.run import Run
from evo.reports import analysis_figures, gene_figures, progress_figures
from evo.reports.comparison import names_of
from evo.reports.search_data import SearchData
from evo.reports.style import Plot

PLOTS: dict[str, tuple[str, Plot]] = {
    "generations": ("Progress", progress_figures.generations_figure),
    "genes-over-time": ("Genes", gene_figures.genes_over_time_figure),
    "genes": ("Genes", gene_figures.genes_figure),
    "parallel": ("Genes", gene_figures.parallel_figure),
    "importance": ("Importance of the genes", analysis_figures.importance_figure),
    "curves": ("Best genomes", progress_figures.curves_figure),
    "lineage": ("Where the winner comes from", analysis_figures.lineage_figure),
    "operators": ("Operators", analysis_figures.operators_figure),
    "front": ("Pareto front", analysis_figures.front_figure),
    "cost": ("Cost and failures", progress_figures.cost_figure),
    "timeline": ("Workers", progress_figures.timeline_figure),
}
"""The heading below which the report shows each figure of a search, and the figure, by file name, in its order.

A new figure is a function in one of the modules above and a line here."""


def figures_of(runs: Sequence[Run]) -> dict[str, Figure]:
    """Return the figures of runs by file name; those that a run has no data for are left out.

    Args:
        runs: One run, or several side by side: they share `progress`, and the names of the others end with the place of
            the run, as in `genes-2`.
    """
    data = search_data(runs)
    figures = {"progress": progress_figures.progress_figure(data)}
    for number, entry in enumerate(data, start=1):
        suffix = f"-{number}" if len(runs) > 1 else ""
        figures |= {f"{name}{suffix}": figure for name, figure in figures_of_search(entry)}
    return figures


def search_data(runs: Sequence[Run]) -> list[SearchData]:
    """Return what the report of runs is made from, each under a name that tells it from the others."""
    return [SearchData(name, run) for name, run in zip(names_of(runs), runs, strict=True)]


def figures_of_search(data: SearchData) -> Iterator[tuple[str, Figure]]:
    """Draw a search's own figures, one after another."""
    some = bool(data.fitness.notna().any())
    for name, (_, plot) in PLOTS.items():
        if (some or plot.early) and (figure := plot.draw(data)) is not None:
            yield name, figure
