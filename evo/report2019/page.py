"""The page of the report's Table 1 beside our trainings of the same networks: CSV, Markdown, HTML and figures."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from evo.files import write_text
from evo.record.run import Run
from evo.record.tables import write_csv
from evo.report2019.figures import figure_caption, table1_figures
from evo.report2019.reproduction import figure_runs
from evo.report2019.table import HEADINGS, accuracy_rows, conclusion, rows_of, spikes_sentence, table1_table
from evo.report2019.table1 import chosen_rows
from evo.reports.html import picture
from evo.reports.page import Block, Commands, Facts, Section, Table, Text, write_page
from evo.reports.style import scientific
from evo.reports.tables import markdown_table

Shown: TypeAlias = "tuple[str, Sequence[str], list[list[str]]]"
"""A table: its heading, the names of its columns, and its cells as text."""

TITLE = "Table 1 of the 2019 report, trained again"
SETTINGS = ("row", "hidden layers", "learning rate", "batch size", "max steps", "dropout", "batch norm")
MEANINGS = (
    "As reported: the 2019 report never left training mode. Its train accuracy is that of the last minibatch only, "
    "and its test accuracy that of the test images while dropout still drops units and batch norm uses the statistics "
    "of these very images.",
    "Evaluation mode: nothing is dropped, and batch norm uses the statistics gathered in training, as in any use of "
    "the network; the train accuracy is that of all training images.",
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
    tables = "".join(
        f"## {heading}\n\n{markdown_table(headings, rows, rule='---:')}\n"
        for heading, headings, rows in _shown(run, table)
    )
    notes = "\n\n".join(_notes(table))
    return f"# {TITLE}\n\n{facts}\n{command}\n{tables}{notes}\n"


def write_table1(run: Run, extra: Mapping[str, Run] | None = None) -> Path:
    """Write table1.csv, table1.md, table1.html and figures/ into the folder of a run.

    Args:
        run: Of `evo table1`, finished or not.
        extra: The runs "numpy_mlp" and "cnn" of the report's other figures; by default those in the run's folder.

    Returns:
        The path of the HTML file.

    Raises:
        RunError: The run is in memory.
    """
    folder = run.folder
    extra = figure_runs(folder) if extra is None else extra
    table = table1_table(run)
    write_csv(table, folder / "table1.csv")
    write_text(folder / "table1.md", table1_markdown(run, figures=bool(extra)))
    command = Commands([("the command that makes this table", _command(run, figures=bool(extra)))])
    sections = [Section("Summary", [Facts(_facts(run)), command])]
    for heading, headings, rows in _shown(run, table):
        cells = [[(cell, place > 0) for place, cell in enumerate(row)] for row in rows]
        sections.append(Section(heading, [Table(heading, headings, cells)]))
    sections.append(Section("Notes", [Text(sentence) for sentence in _notes(table)]))
    pictures: list[Block] = [
        picture(folder, name, figure_caption(name), figure_caption(name), figure)
        for name, figure in table1_figures(run, extra).items()
    ]
    sections.append(Section("Figures", pictures or [Text("No training is complete yet.")]))
    return write_page(folder / "table1.html", TITLE, sections)


def _notes(table: pd.DataFrame) -> list[str]:
    return [spikes_sentence(table), *MEANINGS, *conclusion(table)]


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
        "threads": "" if settings.threads is None else f"{settings.threads} per training",
        "seeds": f"{settings.seeds} per row, derived from {settings.seed}",
        "trainings": f"{statuses['complete']} of {asked} complete{others}",
        "seconds of training": f"{sum(entry.seconds for entry in run.search_evaluations):,.0f} in all",
        "versions": ", ".join(f"{name} {version}" for name, version in settings.versions.items()),
    }
    return {name: value for name, value in facts.items() if value}


def _command(run: Run, *, figures: bool) -> str:
    """Return the command that makes the same table; what was chosen for it on this machine is named."""
    settings, rows = run.settings, rows_of(run)
    options = {
        "--rows": ", ".join(row.name for row in rows) if len(rows) < len(chosen_rows([])) else None,
        "--seeds": settings.seeds,
        "--seed": settings.seed,
        "--figures": figures or None,
        "--data-dir": (settings.dataset or {}).get("data_dir"),
        "--device": settings.device,
        "--precision": settings.precision,
        "--engine": settings.engine,
    }
    given = {option: value for option, value in options.items() if value not in (None, "")}
    words = [word for option, value in given.items() for word in (option, *([] if value is True else [str(value)]))]
    return shlex.join(["evo", "table1", *words])


def _shown(run: Run, table: pd.DataFrame) -> list[Shown]:
    settings = [
        [
            *(row.name, ", ".join(map(str, row.hidden_layers)), scientific(row.learning_rate)),
            *(str(row.batch_size), str(row.steps), f"{row.dropout:g}" if row.dropout else ""),
            "yes" if row.batch_norm else "",
        ]
        for row in rows_of(run)
    ]
    accuracies = [
        (f"{part.capitalize()} accuracy (%)", HEADINGS, accuracy_rows(run, table, part)) for part in ("test", "train")
    ]
    return [("Networks", SETTINGS, settings), *accuracies]
