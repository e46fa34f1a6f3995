"""How good is the genome that a method recommends after N trainings: evo's strategies and their peers.

    python -m benchmarks.search_quality setup --environments DIR [--peers optuna,smac] [--data-dir FOLDER]
    python -m benchmarks.search_quality run --half tuning --methods random,ga,optuna-tpe --seeds 20 --budget 100
    python -m benchmarks.search_quality report --half tuning

A row is kept for every task, method and seed; existing rows are not made again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.command_line import start
from benchmarks.search_quality.environments import ENVIRONMENTS, set_up
from benchmarks.search_quality.methods import COUNTED_BY_STEPS, Method, check_method
from benchmarks.search_quality.places import Places
from benchmarks.search_quality.runs import Store, jobs_of, run_jobs
from benchmarks.search_quality.tasks import tasks_named
from evo.errors import ConfigurationError

OUTPUT = Path("benchmarks/search_quality/results")

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)

Environments = Annotated[Path | None, typer.Option(help="Folder of the peers' environments.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of tables, small images and true values.")]
Output = Annotated[Path, typer.Option(help="Folder of the results.")]
HalfName = Annotated[str, typer.Option(help="tuning, reporting or all.")]
TaskNames = Annotated[str, typer.Option("--tasks", help="Names, separated by commas; all of the half by default.")]
Budget = Annotated[int, typer.Option(min=1, help="Trainings of a run.")]


@app.command()
def setup(
    peers: Annotated[str, typer.Option(help="Environments to make, separated by commas.")] = ",".join(ENVIRONMENTS),
    environments: Environments = None,
    cache: Cache = None,
    data_dir: Annotated[Path | None, typer.Option(help="CIFAR-10 as an image folder.")] = None,
) -> None:
    """Make the peers' environments, the tables and the small images."""
    failed = set_up(_names(peers), _places(environments, cache), data_dir, typer.echo)
    for problem in failed:
        typer.echo(f"could not be installed: {problem}", err=True)
    raise typer.Exit(1 if failed else 0)


@app.command()
def run(
    methods: Annotated[str, typer.Option(help="Names, separated by commas; name@note for a version of one of evo's.")],
    half: HalfName = "tuning",
    tasks: TaskNames = "",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds of a task, from 0; the protocol's by default.")
    ] = None,
    budget: Budget = 100,
    workers: Annotated[int, typer.Option(min=1, help="How many runs at a time.")] = 1,
    setting: Annotated[list[str] | None, typer.Option("--set", help="key=value for evo.make_strategy.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Delete these methods' rows on these tasks first.")] = False,
    output: Output = OUTPUT,
    environments: Environments = None,
    cache: Cache = None,
) -> None:
    """Make the missing rows."""
    labels = _names(methods)
    for label in labels:
        check_method(label)
    chosen = tasks_named(_names(tasks), half)
    settings = _settings(setting or [])
    store = Store(output)
    if again:
        store.remove(chosen, labels)
    done = store.rows(chosen, labels)
    jobs = jobs_of(chosen, [Method(label, settings) for label in labels], seeds, budget, done)
    typer.echo(f"{len(jobs)} runs to make")
    failed = run_jobs(jobs, _places(environments, cache), workers, store.add, typer.echo) if jobs else []
    raise typer.Exit(1 if failed else 0)


@app.command()
def report(
    half: HalfName = "reporting",
    tasks: TaskNames = "",
    methods: Annotated[str, typer.Option(help="Names, separated by commas; all by default.")] = "",
    against: Annotated[str, typer.Option(help="Methods that others are compared with; all by default.")] = "",
    budget: Budget = 100,
    at: Annotated[
        int | None, typer.Option(help="Trainings at which methods are compared; the budget by default.")
    ] = None,
    axis: Annotated[str, typer.Option(help="trainings, or steps (tasks with a gene of steps).")] = "trainings",
    output: Output = OUTPUT,
) -> None:
    """Write the tables and the figure of the existing rows."""
    from benchmarks.search_quality.report import write_report

    rows = store_rows(output, half, tasks, methods, budget, axis)
    stem = f"{half}-{budget}-{axis}" + ("" if at is None else f"-at-{at}")
    files = write_report(rows, output, budget=budget, axis=axis, stem=stem, against=_names(against), at=at)
    typer.echo(files[0].read_text(encoding="utf-8"))
    for file in files:
        typer.echo(file)


def store_rows(output: Path, half: str, tasks: str, methods: str, budget: int, axis: str) -> list[dict[str, Any]]:
    """Return the rows of one budget that a report is about.

    Raises:
        ConfigurationError: There are none.
    """
    rows = [
        row
        for row in Store(output).rows(tasks_named(_names(tasks), half), _names(methods))
        if row["budget"] == budget
        # Counted by trainings, many short ones would be compared with as many full ones: only on request.
        and (methods or axis == "steps" or Method(row["method"]).name not in COUNTED_BY_STEPS)
    ]
    if not rows:
        raise ConfigurationError(f"{output} has no rows of budget {budget} for these tasks and methods")
    return rows


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _places(environments: Path | None, cache: Path | None) -> Places:
    default = Places.default()
    return Places(
        (environments or default.environments).expanduser().absolute(), (cache or default.cache).expanduser().absolute()
    )


def _settings(pairs: list[str]) -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise ConfigurationError(f"--set: must be key=value, got {pair}")
        try:
            settings[key] = json.loads(text)
        except ValueError:
            settings[key] = text
    return settings


if __name__ == "__main__":
    start(app)
