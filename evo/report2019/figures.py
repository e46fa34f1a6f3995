"""The report's eight figures from our trainings of the same networks, and one on dropout and batch norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from evo.individual import Individual
from evo.record.run import Run
from evo.report2019.table import (
    AS_REPORTED,
    COMPARED,
    EVALUATION_MODE,
    GA1,
    QUANTITIES,
    complete_curves,
    curves_of_row,
    individual_of,
    rows_of,
)
from evo.reports.style import COLOURS, new_figure, styled
from evo.reports.training import (
    KINDS,
    LEGEND,
    Line,
    draw,
    finish,
    lines_of,
    seeds_text,
    setting_text,
    wrapped,
)


@dataclass(frozen=True)
class ReportFigures:
    """Two figures of the report that show one network.

    Attributes:
        first: The number of the one with the accuracies; the losses follow.
        titles: As in the report, of both.
        network: A row of Table 1, or a network that only the figures show.
        test: The last test accuracy that the report quotes, or that its plot shows.
    """

    first: int
    titles: tuple[str, str]
    network: str
    test: float | None = None


REPORT_FIGURES = (
    ReportFigures(1, ("Numpy MLP Accuracies", "Numpy MLP Loss"), "numpy_mlp"),
    ReportFigures(3, ("Torch MLP Accuracies", "Torch MLP Loss"), "Default"),
    ReportFigures(5, ("Torch GA1 MLP Accuracies", "Torch MLP Loss (GA1)"), GA1),
    # Read off the report's plot, which ends near it: the text has no number.
    ReportFigures(7, ("Torch CNN Accuracies", "Torch CNN Loss"), "cnn", 0.77),
)


@styled
def table1_figures(run: Run, extra: Mapping[str, Run]) -> dict[str, Figure]:
    """Return the report's eight figures and one on dropout and batch norm, by file name; none without data.

    Args:
        run: Of `evo table1`, finished or not.
        extra: The runs "numpy_mlp" and "cnn" of the report's other figures, where there are any.
    """
    figures: dict[str, Figure] = {}
    for shown in REPORT_FIGURES:
        owner, individual, report = _network(run, extra, shown)
        curves = complete_curves(owner, individual)
        if individual is None or not curves:
            continue
        protocol = f"{setting_text(owner, individual.genome)}; {seeds_text(len(curves))}"
        for number, kind, title in zip((shown.first, shown.first + 1), KINDS, shown.titles, strict=True):
            figures[f"figure-{number}"], [axes] = new_figure(4.6)
            lines = lines_of(owner, individual.genome, kind)
            for line in lines:
                draw(axes, curves, line)
            finish(axes, kind, wrapped(f"Figure {number}: {title}", protocol))
            if kind == "accuracy" and report is not None:
                label = f"report, test at the end: {report:g}"
                axes.axhline(report, color="black", linestyle=":", linewidth=1, label=label)
                axes.legend(**LEGEND)
    if any(curves_of_row(run, row) for row in rows_of(run) if row.name in COMPARED[1:]):
        figures["dropout-and-batchnorm"] = _modes_figure(run)
    return figures


def _network(run: Run, extra: Mapping[str, Run], shown: ReportFigures) -> tuple[Run, Individual | None, float | None]:
    """Return what a figure shows: the run, the individual in it, and the report's last test accuracy."""
    row = next((row for row in rows_of(run) if row.name == shown.network), None)
    if row is not None:
        return run, individual_of(run, row), row.test
    owner = extra.get(shown.network, run)
    return owner, owner.individuals[0] if owner is not run and owner.individuals else None, shown.test


def _modes_figure(run: Run) -> Figure:
    """Return the test accuracy of GA1 without and with dropout and batch norm, in training and in evaluation mode."""
    modes = {
        AS_REPORTED: "training mode, as the report measured",
        EVALUATION_MODE: "evaluation mode, as a network is used",
    }
    figure, panels = new_figure(4.8, 1, len(modes), width=10.0, sharey=True)
    rows = {row: curves_of_row(run, row) for row in rows_of(run) if row.name in COMPARED}
    for axes, (measurement, title) in zip(panels, modes.items(), strict=True):
        for row, curves in rows.items():
            report = measurement == AS_REPORTED
            label = f"{row.name} (report: {row.test:g})" if report else row.name
            line = Line(QUANTITIES["test", measurement], label, COMPARED.index(row.name))
            draw(axes, curves, line)
            if curves and report:
                axes.axhline(row.test, color=COLOURS[line.place], linestyle=":", linewidth=1)
        finish(axes, "accuracy", f"Test accuracy in {title}")
        axes.set_ylabel("test accuracy (fraction)" if axes is panels[0] else "")
    count = max(map(len, rows.values()))
    figure.suptitle(f"Dropout and batch norm, measured in two ways; {seeds_text(count)}", fontsize=11)
    return figure


def figure_caption(name: str) -> str:
    """Return what a figure shows, in words."""
    if name == "dropout-and-batchnorm":
        return (
            "Test accuracy of GA1, without and with dropout and batch norm, in training mode (as the report measured "
            "it) and in evaluation mode. Dotted: the report's figures."
        )
    number = int(name.removeprefix("figure-"))
    shown = next(entry for entry in REPORT_FIGURES if number - entry.first in (0, 1))
    which = number - shown.first
    dotted = ""
    if which == 0 and shown.network != "numpy_mlp":
        where = "the report's plot" if shown.test is not None else "the report's training"
        dotted = f" Dotted: the test accuracy at the end of {where}."
    what = ("accuracies", "losses")[which]
    return f"Figure {number} of the report, {shown.titles[which]}: {what} of our trainings.{dotted}"
