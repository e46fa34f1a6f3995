"""The report of runs: one HTML file that needs nothing else, and its figures as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from evo.files import write_text
from evo.reports.comparison import comparison_table, names_of
from evo.reports.figures import figures_of, png_text, save_figure
from evo.run import Run

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
        save_figure(figure, folder / "figures" / name)
        kind, _, number = name.partition("-")
        whose = f"{names[int(number) - 1]}: " if number else ""
        pictures.append({"name": name, "caption": whose + CAPTIONS[kind], "data": png_text(figure)})
    comparison = comparison_table(runs)
    page = rendered(
        "report.html.jinja",
        title=", ".join(names),
        summaries=[_summary(row) for row in comparison.to_dict("records") if row["winner"]],
        comparison=_cells(comparison[[*FIRST_COLUMNS, *comparison.columns.difference(FIRST_COLUMNS, sort=False)]]),
        pictures=pictures,
        runs=[_run_section(name, run) for name, run in zip(names, runs, strict=True)],
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def rendered(template: str, **values: Any) -> str:
    """Return a page of this package's templates; whatever the values hold is shown and not obeyed."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evo", "reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**values)


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
