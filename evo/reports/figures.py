"""All figures of runs by file name: those that a run has data for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from evo.record.run import Run
from evo.reports.analysis_figures import front_figure, importance_figure, lineage_figure, operators_figure
from evo.reports.comparison import names_of
from evo.reports.features import floats
from evo.reports.front import objectives_table
from evo.reports.gene_figures import genes_figure, genes_over_time_figure, parallel_figure
from evo.reports.importance import Importance, importance_of
from evo.reports.lineage import lineage_of
from evo.reports.operators import changes_table, operators_table
from evo.reports.progress_figures import curves_figure, generations_figure, progress_figure
from evo.reports.search_data import SearchData
from evo.reports.workload import SHORTEST, seconds_by_generation, timeline_of
from evo.reports.workload_figures import cost_figure, timeline_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figures_of", "figures_of_search", "importance_of_run"]


def figures_of(runs: Sequence[Run]) -> dict[str, Figure]:
    """Return the figures of runs by file name; those that a run has no data for are left out.

    Args:
        runs: One run, or several that are to be seen side by side: they share `progress`, and the names of the others
            end with the place of the run, as in `genes-2`.
    """
    data = [SearchData(name, run) for name, run in zip(names_of(runs), runs, strict=True)]
    figures = {"progress": progress_figure(data)}
    for number, entry in enumerate(data, start=1):
        suffix = f"-{number}" if len(runs) > 1 else ""
        figures |= {f"{name}{suffix}": draw() for name, draw in figures_of_search(entry, importance_of_run(entry))}
    return figures


def figures_of_search(data: SearchData, importance: Importance) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Yield the names of a run's own figures, in the order of a report, with what draws each.

    Args:
        data: The search.
        importance: Of its genes.
    """
    some = bool(data.fitness.notna().any())
    if some and len(data.generations):
        yield "generations", lambda: generations_figure(data)
    if some:
        yield "genes", lambda: genes_figure(data)
        yield "genes-over-time", lambda: genes_over_time_figure(data)
        yield "parallel", lambda: parallel_figure(data)
    if len(importance.table):
        yield "importance", lambda: importance_figure(importance)
    if some and len(data.curves):
        yield "curves", lambda: curves_figure(data)
    if data.best is not None and len(line := lineage_of(data, data.best)) > 1:
        yield "lineage", lambda: lineage_figure(data, line)
    operators = operators_table(data)
    if (operators["compared"] > 0).any():
        yield "operators", lambda: operators_figure(operators, changes_table(data))
    if some and len(data.settings.objectives or ()) > 1:
        yield "front", lambda: front_figure(data, objectives_table(data))
    if data.evaluations["seconds"].sum() >= SHORTEST:
        yield "cost", lambda: cost_figure(seconds_by_generation(data))
    if (timeline := timeline_of(data)) is not None:
        yield "timeline", lambda: timeline_figure(timeline)


def importance_of_run(data: SearchData) -> Importance:
    """Return how much each gene of a search matters; the run's seed decides what is shuffled."""
    return importance_of(data.features, floats(data.comparable), data.settings.seed % 2**32)
