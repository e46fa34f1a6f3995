"""The report's eight figures from our trainings of the same networks, and one on dropout and batch norm."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from evo.individual import Genome
from evo.record.run import Run
from evo.report2019 import table
from evo.reports import training
from evo.reports.style import COLOURS, new_figure, styled

REPORT_FIGURES: dict[int, tuple[str, training.Kind, str]] = {
    1: ("numpy_mlp", "accuracy", "Numpy MLP Accuracies"),
    2: ("numpy_mlp", "loss", "Numpy MLP Loss"),
    3: ("Default", "accuracy", "Torch MLP Accuracies"),
    4: ("Default", "loss", "Torch MLP Loss"),
    5: (table.GA1, "accuracy", "Torch GA1 MLP Accuracies"),
    6: (table.GA1, "loss", "Torch MLP Loss (GA1)"),
    7: ("cnn", "accuracy", "Torch CNN Accuracies"),
    8: ("cnn", "loss", "Torch CNN Loss"),
}
"""The report's figures by number: a row of Table 1 or a network that only figures show, what of it, and the title."""
CNN_TEST = 0.77
"""Where the report's plot of the CNN ends, about; its text has no number."""


@styled
def table1_figures(run: Run, extra: Mapping[str, Run]) -> dict[str, Figure]:
    """Return the report's eight figures and one on dropout and batch norm, by file name; none without data.

    Args:
        run: Of `evo table1`, finished or not.
        extra: The runs "numpy_mlp" and "cnn" of the report's other figures, where there are any.
    """
    rows = table.rows_of(run)
    networks: dict[str, tuple[Run, Genome, float | None]] = {row.name: (run, row.genome, row.test) for row in rows}
    for name, other in extra.items():
        genomes = [individual.genome for individual in other.individuals] or [{}]
        networks[name] = other, genomes[0], CNN_TEST if name == "cnn" else None
    figures: dict[str, Figure] = {}
    for number, (network, kind, title) in REPORT_FIGURES.items():
        owner, genome, report = networks.get(network, (run, {}, None))
        curves = table.curves_of(owner, genome)
        if not curves:
            continue
        figures[f"figure-{number}"], [axes] = new_figure(4.6)
        if kind == "accuracy" and report is not None:
            label = f"report, test at the end: {report:g}"
            axes.axhline(report, color="black", linestyle=":", linewidth=1, label=label)
        protocol = f"{training.setting_text(owner, genome)}; {training.seeds_text(len(curves))}"
        heading = training.wrapped(f"Figure {number}: {title}", protocol)
        training.draw(axes, owner, genome, kind, curves, heading)
    if any(table.curves_of(run, row.genome) for row in rows if row.name in table.COMPARED[1:]):
        figures["dropout-and-batchnorm"] = _modes_figure(run)
    return figures


def _modes_figure(run: Run) -> Figure:
    """Return the test accuracy of GA1 without and with dropout and batch norm, in training and in evaluation mode."""
    modes = {
        table.AS_REPORTED: "training mode, as the report measured",
        table.EVALUATION_MODE: "evaluation mode, as a network is used",
    }
    figure, panels = new_figure(4.8, 1, len(modes), width=10.0, sharey=True)
    rows = {row: table.curves_of(run, row.genome) for row in table.rows_of(run) if row.name in table.COMPARED}
    for axes, (measurement, title) in zip(panels, modes.items(), strict=True):
        for row, curves in rows.items():
            report = measurement == table.AS_REPORTED
            label = f"{row.name} (report: {row.test:g})" if report else row.name
            line = training.Line(table.QUANTITIES["test", measurement], label, table.COMPARED.index(row.name))
            training.draw_line(axes, curves, line)
            if curves and report:
                axes.axhline(row.test, color=COLOURS[line.place], linestyle=":", linewidth=1)
        training.finish(axes, "accuracy", f"Test accuracy in {title}")
        axes.set_ylabel("test accuracy (fraction)" if axes is panels[0] else "")
    count = max(map(len, rows.values()))
    figure.suptitle(f"Dropout and batch norm, measured in two ways; {training.seeds_text(count)}", fontsize=11)
    return figure


def figure_caption(name: str) -> str:
    """Return what a figure shows, in words."""
    if name == "dropout-and-batchnorm":
        return (
            "Test accuracy of GA1, without and with dropout and batch norm, in training mode (as the report measured "
            "it) and in evaluation mode. Dotted: the report's figures."
        )
    number = int(name.removeprefix("figure-"))
    network, kind, title = REPORT_FIGURES[number]
    what = "accuracies" if kind == "accuracy" else "losses"
    where = {"numpy_mlp": "", "cnn": "the report's plot"}.get(network, "the report's training")
    dotted = f" Dotted: the test accuracy at the end of {where}." if where and kind == "accuracy" else ""
    return f"Figure {number} of the report, {title}: {what} of our trainings.{dotted}"
