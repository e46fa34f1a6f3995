"""The page of the report's Table 1 beside our trainings of the same networks: CSV, Markdown, HTML and pictures."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from evo.files import write_text
from evo.record.run import Run
from evo.record.tables import write_csv
from evo.report2019.figures import figure_caption, table1_figures
from evo.report2019.table import (
    AS_REPORTED,
    COMPARED,
    EVALUATION_MODE,
    GA1,
    LAST_STEP,
    MEDIAN,
    SPIKE_ABOVE,
    SPIKE_AFTER,
    rows_of,
    table1_table,
)
from evo.report2019.table1 import Row, chosen_rows
from evo.reports.page import rendered
from evo.reports.style import png_text, save_figure
from evo.reports.training import rate_text, run_folder_of

TITLE = "Table 1 of the 2019 report, trained again"
MEANINGS = (
    "As reported: the 2019 report never left training mode. Its train accuracy is that of the last minibatch alone, "
    "and its test accuracy that of the test images while dropout still drops units and batch norm uses the statistics "
    "of these very images.",
    "Evaluation mode: nothing is dropped, and batch norm uses the statistics gathered in training, as whoever uses the "
    "network would; the train accuracy is that of all training images.",
    "Accuracies are the mean over n seeds ± their standard deviation, in %; differences are ours after the last step "
    "minus the report's, in percentage points, and in brackets whether that is within the tolerance: 2.0 for the test, "
    "and for the train accuracy two standard errors of the difference between the report's one minibatch and the mean "
    "of ours.",
)


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
        "page.html.jinja",
        package="report2019",
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
        pictures=[{"caption": figure_caption(name), "data": png_text(figure)} for name, figure in figures.items()],
    )
    write_text(folder / "table1.html", page)
    return folder / "table1.html"


def _facts(run: Run) -> dict[str, str]:
    settings = run.settings
    asked = len(rows_of(run)) * settings.seeds
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
    settings, rows = run.settings, rows_of(run)
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
            [_settings_cells(row) for row in rows_of(run)],
        ),
        "Test accuracy (%)": (_HEADINGS, [_accuracy_cells(run, table, row, "test") for row in rows_of(run)]),
        "Train accuracy (%)": (_HEADINGS, [_accuracy_cells(run, table, row, "train") for row in rows_of(run)]),
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
        "Spikes of the training loss (its mean between two evaluations, "
        f"from below {SPIKE_AFTER} to above {SPIKE_ABOVE} nats, all seeds together): "
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
