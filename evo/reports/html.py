"""The report of runs: one HTML file that needs nothing else, and its figures as PNG and SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

from evo.files import replacing, write_text
from evo.reports.comparison import comparison_table, names_of
from evo.reports.figures import figures_of
from evo.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST_COLUMNS = ["run", "individual", "winner", "validation_accuracy", "test_accuracy", "test_std", "n", "gap"]
"""What a narrow screen shows of a comparison before it is scrolled."""
CAPTIONS = {
    "progress": "Every evaluation (dots) and the best so far (line).",
    "genes": "Fitness against each gene; later evaluations are darker.",
    "curves": "Learning curves of the best genomes of the search.",
}
HIDDEN = ("seed", "worker", "started", "engine", "precision", "replicate")


def write_report(runs: Sequence[Run], folder: Path) -> Path:
    """Write report.html and figures/ of runs to a folder.

    Args:
        runs: One run, or several side by side.
        folder: Where to; for one run usually its own folder.

    Returns:
        The path of the HTML file.
    """
    figures, names = figures_of(runs), names_of(runs)
    pictures = []
    for name, figure in figures.items():
        _save(figure, folder / "figures" / name)
        kind, _, number = name.partition("-")
        whose = f"{names[int(number) - 1]}: " if number else ""
        pictures.append({"name": name, "caption": whose + CAPTIONS[kind], "data": _png(figure)})
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        resources.files("evo.reports").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    comparison = comparison_table(runs)
    page = template.render(
        title=", ".join(names),
        summaries=[_summary(row) for row in comparison.to_dict("records") if row["winner"]],
        comparison=_cells(comparison[[*FIRST_COLUMNS, *comparison.columns.difference(FIRST_COLUMNS, sort=False)]]),
        pictures=pictures,
        runs=[_run_section(name, run) for name, run in zip(names, runs, strict=True)],
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _summary(row: Mapping[Any, Any]) -> str:
    """Return what there is to say of a run's winner in one sentence."""
    text = f"{row['run']}: the winner is individual {row['individual']}, fitness {row['fitness']:.4f} in the search"
    if not pd.isna(row["retrained_fitness"]):
        text += f", {row['retrained_fitness']:.4f} on new seeds"
    if not pd.isna(row["test_accuracy"]):
        deviation = "" if pd.isna(row["test_std"]) else f" ± {row['test_std']:.4f}"
        text += f"; test accuracy {row['test_accuracy']:.4f}{deviation} (n = {row['n']}), gap {row['gap']:.4f}"
    return text + "."


def _run_section(name: str, run: Run) -> dict[str, Any]:
    settings = run.settings
    statuses = run.table["status"].value_counts().to_dict()
    facts = {
        "space": settings.space_name,
        "strategy": f"{settings.strategy}, population {settings.population}, seed {settings.seed}",
        "evaluations": ", ".join(f"{count} {status}" for status, count in statuses.items()),
        "seconds of training": f"{run.table['seconds'].sum():,.0f}",
        "fitness": "objective " + settings.objective
        if settings.objective
        else f"accuracy on the {settings.fitness} set",
        "data": (settings.dataset or {}).get("variant", ""),
        "device": f"{settings.device} {settings.device_name}, {settings.precision}".strip(" ,"),
        "versions": ", ".join(f"{name} {version}" for name, version in settings.versions.items()),
    }
    shown = run.table.drop(columns=list(HIDDEN))
    return {
        "name": name,
        "selected_on_test": settings.fitness == "test",
        "facts": {name: value for name, value in facts.items() if value},
        "hall_of_fame": _cells(run.hall_of_fame),
        "finalists": _cells(run.finalist_table) if run.finalists else None,
        "evaluations": _cells(shown),
    }


def _cells(table: pd.DataFrame) -> dict[str, Any]:
    """Return a table as text: headings, and rows of (text, whether it is a number)."""
    rows = [[(_text(cell), isinstance(cell, float | int)) for cell in row] for row in table.itertuples(index=False)]
    return {"headings": list(table.columns), "rows": rows}


def _text(cell: Any) -> str:
    if pd.isna(cell):
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _save(figure: Figure, path: Path) -> None:
    for kind in ("png", "svg"):
        with replacing(path.with_name(f"{path.name}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=150)
