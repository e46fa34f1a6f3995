"""The report's Table 1 and figures beside our trainings of the same networks: CSV, Markdown, HTML and pictures."""

from __future__ import annotations

import math
import shlex
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from evo.files import write_text
from evo.individual import Individual
from evo.reports.page import rendered
from evo.reports.style import png_text, save_figure
from evo.reports.training import (
    KINDS,
    LEGEND,
    Curve,
    Kind,
    Line,
    complete_trainings,
    draw,
    finish,
    lines_of,
    rate_text,
    run_folder_of,
    seeds_text,
    setting_text,
    wrapped,
)
from evo.run import Run
from evo.table1 import Row, chosen_rows
from evo.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Table 1 of the 2019 report, trained again"
AS_REPORTED, EVALUATION_MODE = "as reported", "evaluation mode"
LAST_STEP, MEDIAN = "last step", "median of the last five"
POINTS = {LAST_STEP: 1, MEDIAN: 5}
"""How many of a curve's last points each figure of the table is the median of."""
QUANTITIES = {
    ("train", AS_REPORTED): "minibatch_accuracy",
    ("train", EVALUATION_MODE): "whole_train_accuracy",
    ("test", AS_REPORTED): "training_mode_accuracy",
    ("test", EVALUATION_MODE): "test_accuracy",
}
"""The attribute of `CurvePoint` that holds each measurement."""
TEST_TOLERANCE = 0.02
ROUNDING = 1e-9
"""A difference that is the tolerance itself is within it, whatever the last digit of a float says."""
SPIKE_AFTER, SPIKE_ABOVE = 0.1, 0.5
"""A training loss that has been below the first and rises above the second is a spike (nats)."""
COLUMNS = ["row", "part", "measurement", "point", "report", "ours", "std", "n"]
COLUMNS += ["difference", "tolerance", "within", "spikes"]

GA1, DROPOUT, BATCH_NORM = "GA1", "GA1 + dropout", "GA1 + dropout + batchnorm"
COMPARED = (GA1, DROPOUT, BATCH_NORM)
"""The rows from which the report concludes that dropout and batch norm do not help."""

MEANINGS = (
    "As reported: the 2019 report never left training mode. Its train accuracy is that of the last minibatch alone, "
    "and its test accuracy that of the test images while dropout still drops units and batch norm uses the statistics "
    "of these very images.",
    "Evaluation mode: nothing is dropped, and batch norm uses the statistics gathered in training, as whoever uses the "
    "network would; the train accuracy is that of all training images.",
    "Accuracies are the mean over n seeds ± their standard deviation, in %; differences are ours after the last step "
    "minus the report's, in percentage points, and in brackets whether that is within the tolerance: 2.0 for the test, "
    "and for the train accuracy two standard errors of the difference between minibatches of that size.",
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


# The table.


def table1_table(run: Run) -> pd.DataFrame:
    """Return what the report measured and what we did, one row a figure.

    Columns: `row`, `part` (train, test), `measurement` (as reported, evaluation mode), `point` (last step, median of
    the last five), `report` and `ours` (accuracies, fractions; ours the mean over seeds), `std` (of a sample, over
    seeds), `n` (complete seeds), `difference` (ours minus the report's), `tolerance` and `within` (as reported only),
    `spikes` (of the training loss, over all seeds of the row).

    Args:
        run: Of `evo table1`, finished or not: a row that no seed has finished has n = 0 and empty cells.
    """
    records = [record for row in _rows(run) for record in _records(row, _curves_of_row(run, row))]
    table = pd.DataFrame({name: pd.Series([record[name] for record in records]) for name in COLUMNS}, columns=COLUMNS)
    numbers = dict.fromkeys(("report", "ours", "std", "difference", "tolerance"), "float64")
    return table.astype({**numbers, "n": "int64", "within": object, "spikes": "Int64"})


def _records(row: Row, curves: Sequence[Curve]) -> Iterator[dict[str, Any]]:
    for (part, measurement), quantity in QUANTITIES.items():
        for point, count in POINTS.items():
            values = [value for curve in curves if (value := _median(curve[-count:], quantity)) is not None]
            report = row.train if part == "train" else row.test
            ours = statistics.fmean(values) if values else None
            difference = None if ours is None else ours - report
            tolerance = None
            if ours is not None and measurement == AS_REPORTED:
                tolerance = TEST_TOLERANCE if part == "test" else _minibatch_tolerance(row, ours, len(values))
            yield {
                "row": row.name,
                "part": part,
                "measurement": measurement,
                "point": point,
                "report": report,
                "ours": ours,
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "n": len(values),
                "difference": difference,
                "tolerance": tolerance,
                "within": None if tolerance is None or difference is None else abs(difference) <= tolerance + ROUNDING,
                "spikes": sum(map(count_spikes, curves)) if curves else None,
            }


def count_spikes(curve: Curve) -> int:
    """Return how often the mean training loss rose above 0.5 after it had fallen below 0.1."""
    spikes, low = 0, False
    for point in curve:
        if point.train_loss < SPIKE_AFTER:
            low = True
        elif point.train_loss > SPIKE_ABOVE and low:
            spikes, low = spikes + 1, False
    return spikes


def _median(points: Curve, quantity: str) -> float | None:
    known = [value for point in points if (value := getattr(point, quantity)) is not None]
    return statistics.median(known) if known else None


def _minibatch_tolerance(row: Row, ours: float, seeds: int) -> float:
    """Return two standard errors of the difference of the report's one minibatch and the mean of ours."""
    share = row.train if 0 < row.train < 1 else ours
    variance = share * (1 - share) / row.batch_size
    return max(2 * math.sqrt(variance + variance / seeds), 1 / row.batch_size)


def _rows(run: Run) -> list[Row]:
    """Return the rows that a run was asked for, in the order of the report."""
    return [row for row in chosen_rows([]) if row.genome in run.settings.initial]


def _individual(run: Run, row: Row) -> Individual | None:
    return next((individual for individual in run.individuals if individual.genome == row.genome), None)


def _curves_of_row(run: Run, row: Row) -> list[Curve]:
    return _curves(run, _individual(run, row))


def _curves(run: Run, individual: Individual | None) -> list[Curve]:
    """Return the curves of the complete trainings; others are no result."""
    return [entry.curve for entry in complete_trainings(run, individual)] if individual is not None else []


# The table as text.


def table1_markdown(run: Run, *, figures: bool = False) -> str:
    """Return the table as Markdown, with what it was made with and what its columns are.

    Args:
        run: Of `evo table1`, finished or not.
        figures: Whether the command that made it also trained the networks of the report's figures.
    """
    table = table1_table(run)
    facts = "".join(f"- {name}: {value}\n" for name, value in _facts(run).items())
    command = f"```bash\n{_command(run, figures=figures)}\n```\n"
    tables = "".join(f"## {heading}\n\n{_markdown(shown)}\n" for heading, shown in _shown(run, table).items())
    return f"# {TITLE}\n\n{facts}\n{command}\n{tables}" + "\n\n".join(_sentences(table)) + "\n"


def write_table1(run: Run, extra: Mapping[str, Run]) -> Path:
    """Write table1.csv, table1.md, table1.html and figures/ into the folder of a run.

    Args:
        run: Of `evo table1`, finished or not.
        extra: The runs "numpy_mlp" and "cnn" of the report's other figures, those that there are.

    Returns:
        The path of the HTML file.

    Raises:
        RunError: The run is in memory.
    """
    folder = run_folder_of(run)
    table, figures = table1_table(run), table1_figures(run, extra)
    write_csv(table, folder / "table1.csv")
    write_text(folder / "table1.md", table1_markdown(run, figures=bool(extra)))
    for name, figure in figures.items():
        save_figure(figure, folder / "figures" / name)
    page = rendered(
        "table1.html.jinja",
        title=TITLE,
        facts=_facts(run),
        command=_command(run, figures=bool(extra)),
        tables={
            heading: {
                "headings": headings,
                "rows": [[(cell, place > 0) for place, cell in enumerate(row)] for row in rows],
            }
            for heading, (headings, rows) in _shown(run, table).items()
        },
        sentences=_sentences(table),
        pictures=[{"caption": _caption(name), "data": png_text(figure)} for name, figure in figures.items()],
    )
    write_text(folder / "table1.html", page)
    return folder / "table1.html"


def _facts(run: Run) -> dict[str, str]:
    settings = run.settings
    asked = len(_rows(run)) * settings.seeds
    statuses = Counter(entry.status for entry in run.search_evaluations)
    others = "".join(f", {count} {status}" for status, count in statuses.items() if status != "complete")
    facts = {
        "data": str((settings.dataset or {}).get("variant", "")),
        "device": f"{settings.device} {settings.device_name}".strip(),
        "precision": settings.precision,
        "engine": settings.engine,
        "threads": "" if settings.threads is None else f"{settings.threads} a training",
        "seeds": f"{settings.seeds} a row, derived from {settings.seed}",
        "trainings": f"{statuses['complete']} of {asked} complete{others}",
        "seconds of training": f"{sum(entry.seconds for entry in run.search_evaluations):,.0f} in all",
        "versions": ", ".join(f"{name} {version}" for name, version in settings.versions.items()),
    }
    return {name: value for name, value in facts.items() if value}


def _command(run: Run, *, figures: bool) -> str:
    """Return the command that makes the same table: what was chosen for it on this machine is named."""
    settings, rows = run.settings, _rows(run)
    words = ["evo", "table1"]
    words += ["--rows", ", ".join(row.name for row in rows)] if len(rows) < len(chosen_rows([])) else []
    words += ["--seeds", str(settings.seeds), "--seed", str(settings.seed)]
    words += ["--figures"] if figures else []
    options = {
        "--data-dir": (settings.dataset or {}).get("data_dir"),
        "--device": settings.device,
        "--precision": settings.precision,
        "--engine": settings.engine,
    }
    words += [word for option, value in options.items() if value for word in (option, str(value))]
    return shlex.join(words)


def _shown(run: Run, table: pd.DataFrame) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return the tables to read by their headings: the names of their columns, and cells as text."""
    return {
        "Networks": (
            ["row", "hidden layers", "learning rate", "batch size", "max steps", "dropout", "batch norm"],
            [_settings_cells(row) for row in _rows(run)],
        ),
        "Test accuracy (%)": (_HEADINGS, [_accuracy_cells(run, table, row, "test") for row in _rows(run)]),
        "Train accuracy (%)": (_HEADINGS, [_accuracy_cells(run, table, row, "train") for row in _rows(run)]),
    }


_HEADINGS = [
    "row",
    "report",
    f"{AS_REPORTED}: {LAST_STEP}",
    "difference (percentage points)",
    f"{AS_REPORTED}: {MEDIAN}",
    f"{EVALUATION_MODE}: {LAST_STEP}",
    f"{EVALUATION_MODE}: {MEDIAN}",
    "n",
]


def _settings_cells(row: Row) -> list[str]:
    layers = ", ".join(map(str, row.hidden_layers))
    dropout, batch_norm = f"{row.dropout:g}" if row.dropout else "", "yes" if row.batch_norm else ""
    return [row.name, layers, rate_text(row.learning_rate), str(row.batch_size), str(row.steps), dropout, batch_norm]


def _accuracy_cells(run: Run, table: pd.DataFrame, row: Row, part: str) -> list[str]:
    here = table[(table["row"] == row.name) & (table["part"] == part)]
    cells = {(entry["measurement"], entry["point"]): entry for entry in here.to_dict("records")}
    last = cells[AS_REPORTED, LAST_STEP]
    n = max(entry["n"] for entry in cells.values())
    return [
        row.name,
        f"{100 * last['report']:.1f}",
        _mean_and_deviation(last),
        _difference(last),
        _mean_and_deviation(cells[AS_REPORTED, MEDIAN]),
        _mean_and_deviation(cells[EVALUATION_MODE, LAST_STEP]),
        _mean_and_deviation(cells[EVALUATION_MODE, MEDIAN]),
        str(n) if n == run.settings.seeds else f"{n} of {run.settings.seeds}",
    ]


def _mean_and_deviation(entry: Mapping[Any, Any]) -> str:
    if pd.isna(entry["ours"]):
        return ""
    return f"{100 * entry['ours']:.1f}" + ("" if pd.isna(entry["std"]) else f" ± {100 * entry['std']:.1f}")


def _difference(entry: Mapping[Any, Any]) -> str:
    if pd.isna(entry["difference"]):
        return ""
    shown = round(100 * entry["difference"], 1) + 0.0  # minus zero is zero
    return f"{shown:+.1f} ({'within' if entry['within'] else 'beyond'} {100 * entry['tolerance']:.1f})"


def _markdown(shown: tuple[list[str], list[list[str]]]) -> str:
    headings, rows = shown
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (headings, rule, *rows))


def _sentences(table: pd.DataFrame) -> list[str]:
    return [_spikes_sentence(table), *MEANINGS, *_conclusion(table)]


def _spikes_sentence(table: pd.DataFrame) -> str:
    counts = table[["row", "spikes"]].drop_duplicates().dropna()
    found = [f"{row} {spikes}" for row, spikes in zip(counts["row"], counts["spikes"], strict=True) if spikes]
    rest = "none in the others" if found else "none"
    return (
        f"Spikes of the training loss (from below {SPIKE_AFTER} to above {SPIKE_ABOVE} nats, all seeds together): "
        + (
            ", ".join([*found, rest] if len(found) < len(counts) else found)
            if len(counts)
            else "no training is complete"
        )
        + "."
    )


def _conclusion(table: pd.DataFrame) -> list[str]:
    """Return whether the report's conclusion on dropout and batch norm holds, where its rows have been trained."""
    here = table[(table["part"] == "test") & (table["point"] == LAST_STEP) & table["row"].isin(COMPARED)]
    here = here[here["ours"].notna()]
    ours = {(row, how): value for row, how, value in zip(here["row"], here["measurement"], here["ours"], strict=True)}
    if len(ours) < 2 * len(COMPARED):
        return []

    def said(how: str) -> str:
        return ", ".join(f"{row} {100 * ours[row, how]:.1f}" for row in COMPARED)

    better = [row for row in COMPARED[1:] if ours[row, EVALUATION_MODE] > ours[GA1, EVALUATION_MODE]]
    verdict = f"does not hold: {' and '.join(better)} reached more than {GA1}" if better else "holds"
    return [
        f"The report concludes from the test accuracies as it measured them (ours: {said(AS_REPORTED)}) that dropout "
        f"and batch norm do not help. In evaluation mode ({said(EVALUATION_MODE)}) this {verdict}."
    ]


# The figures.


def table1_figures(run: Run, extra: Mapping[str, Run]) -> dict[str, Figure]:
    """Return the report's eight figures and one on dropout and batch norm, by file name; none without data.

    Args:
        run: Of `evo table1`, finished or not.
        extra: The runs "numpy_mlp" and "cnn" of the report's other figures, those that there are.
    """
    figures: dict[str, Figure] = {}
    for shown in REPORT_FIGURES:
        owner, individual, report = _network(run, extra, shown)
        curves = _curves(owner, individual)
        if individual is None or not curves:
            continue
        for number, kind, title in zip((shown.first, shown.first + 1), KINDS, shown.titles, strict=True):
            figure, axes = _network_figure(owner, individual, curves, kind, f"Figure {number}: {title}")
            if kind == "accuracy" and report is not None:
                label = f"report, test at the end: {report:g}"
                axes.axhline(report, color="black", linestyle=":", linewidth=1, label=label)
                axes.legend(**LEGEND)
            figures[f"figure-{number}"] = figure
    if any(_curves_of_row(run, row) for row in _rows(run) if row.name in COMPARED[1:]):
        figures["dropout-and-batchnorm"] = _modes_figure(run)
    return figures


def _network(run: Run, extra: Mapping[str, Run], shown: ReportFigures) -> tuple[Run, Individual | None, float | None]:
    """Return what a figure shows: the run, the individual in it, and the report's last test accuracy."""
    row = next((row for row in _rows(run) if row.name == shown.network), None)
    if row is not None:
        return run, _individual(run, row), row.test
    owner = extra.get(shown.network, run)
    return owner, owner.individuals[0] if owner is not run and owner.individuals else None, shown.test


def _network_figure(
    run: Run, individual: Individual, curves: Sequence[Curve], kind: Kind, heading: str
) -> tuple[Figure, Axes]:
    """Return a figure of one network's accuracy or loss, and its axes."""
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    lines = lines_of(run, individual.genome, kind)
    for line in lines:
        draw(axes, curves, line)
    protocol = f"{setting_text(run, individual.genome)}; {seeds_text(len(curves))}"
    finish(axes, kind, curves, lines, wrapped(heading, protocol))
    return figure, axes


def _modes_figure(run: Run) -> Figure:
    """Return the test accuracy of GA1 without and with dropout and batch norm, in training and in evaluation mode."""
    figure = Figure(figsize=(10.0, 4.8), layout="constrained")
    panels = {
        AS_REPORTED: "training mode, as the report measured",
        EVALUATION_MODE: "evaluation mode, as a network is used",
    }
    grid = figure.subplots(1, len(panels), sharey=True)
    rows = [row for row in _rows(run) if row.name in COMPARED]
    count = max(len(_curves_of_row(run, row)) for row in rows)
    for axes, (measurement, title) in zip(grid, panels.items(), strict=True):
        for row in rows:
            curves, report = _curves_of_row(run, row), measurement == AS_REPORTED
            label = f"{row.name} (report: {row.test:g})" if report else row.name
            line = Line(QUANTITIES["test", measurement], label, COMPARED.index(row.name))
            draw(axes, curves, line)
            if curves and report:
                axes.axhline(row.test, color=line.look["color"], linestyle=":", linewidth=1)
        finish(axes, "accuracy", (), (), f"Test accuracy in {title}")
        axes.set_ylabel("test accuracy (fraction)" if axes is grid[0] else "")
    figure.suptitle(f"Dropout and batch norm, measured in two ways; {seeds_text(count)}", fontsize=11)
    return figure


def _caption(name: str) -> str:
    if name == "dropout-and-batchnorm":
        return (
            "Test accuracy of GA1, without and with dropout and batch norm, in training mode (as the report measured "
            "it) and in evaluation mode. Dotted: the report's figures."
        )
    number = int(name.removeprefix("figure-"))
    shown = next(entry for entry in REPORT_FIGURES if number - entry.first in (0, 1))
    what = "accuracies" if number == shown.first else "losses"
    dotted = ""
    if number == shown.first and shown.network != "numpy_mlp":
        where = "the report's plot" if shown.test is not None else "the report's training"
        dotted = f" Dotted: the test accuracy at the end of {where}."
    return f"Figure {number} of the report, {shown.titles[number - shown.first]}: {what} of our trainings.{dotted}"
