"""Commands that show what runs have found: compare, report, replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evo.commands.options import Debug, MovedData, SameModel
from evo.commands.shell import guarded


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    csv: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Genomes of a run that has no finalists.")] = 3,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that --csv names.")] = False,
    debug: Debug = False,
) -> None:
    """Compare the best genomes of one or several runs: validation, test, and the gap between them.

    Examples:

      evo compare results/mlp-1

      evo compare results/mlp-1 results/cnn-1 --csv best.csv
    """

    def action() -> None:
        from evo.errors import ConfigurationError
        from evo.reports.comparison import comparison_table
        from evo.run import Run
        from evo.tables import write_csv
        from evo.terminal import print_comparison

        if csv is not None and csv.exists() and not overwrite:
            raise ConfigurationError(f"--csv {csv}: exists; choose another name, or give --overwrite")
        if csv is not None and not csv.parent.is_dir():
            raise ConfigurationError(f"--csv {csv}: there is no folder {csv.parent}; make it first")
        loaded = [Run.load(path) for path in runs]
        table = comparison_table(loaded, top)
        print_comparison(loaded, table)
        if csv is not None:
            write_csv(table, csv)
            typer.echo(f"wrote {csv}", err=True)

    guarded(action, debug)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the report. Default: the run folder, of the first run."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write one self-contained HTML file with figures, and the figures as PNG and SVG; written anew each time.

    Examples:

      evo report results/mlp-1

      evo report results/mlp-1 results/cnn-1 --output both
    """

    def action() -> None:
        from evo.reports.html import write_report
        from evo.run import Run

        loaded = [Run.load(path) for path in runs]
        typer.echo(write_report(loaded, output or runs[0]))

    guarded(action, debug)


def replay(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    individual: Annotated[int, typer.Argument(help="Id of an individual, as in evaluations.csv.")],
    data_dir: MovedData = None,
    model: SameModel = None,
    debug: Debug = False,
) -> None:
    """Train a recorded individual again and say whether the result came back. Exit code 1 if it did not.

    Example:

      evo replay results/mlp-1 17
    """

    def action() -> bool:
        from evo.replay import replay_individual
        from evo.terminal import print_replay

        replayed = replay_individual(run, individual, data_dir=data_dir, model=model)
        print_replay(replayed)
        return replayed.same

    if not guarded(action, debug):
        raise typer.Exit(1)
