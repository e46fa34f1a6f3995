"""The command `evo`. Heavy imports wait until a command needs them: `evo --help` must answer at once."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from evo.cli.commands.results import compare, export, replay, report, watch
from evo.cli.commands.searching import check, demo, finish, resume, search, spaces
from evo.cli.commands.training import table1, train
from evo.cli.signals import end_before_work
from evo.cli.streams import take_every_text

app = typer.Typer(
    name="evo",
    help="Evolve the hyperparameters and layers of neural networks.",
    epilog="Try `evo demo` first: no download, under a minute. Then `evo spaces` and `evo search mlp --data-dir DIR`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (search, demo, resume, finish, watch, compare, report, replay, export, train, table1, spaces, check):
    app.command()(command)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Evolve the hyperparameters and layers of neural networks."""
    if show:
        from evo import __version__

        typer.echo(f"evo {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    take_every_text()
    os.environ["MPLBACKEND"] = "agg"  # no command opens a window, and matplotlib refuses to load with a wrong name
    end_before_work()
    app()
