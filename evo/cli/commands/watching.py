"""The command that follows a search of another process: watch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evo.cli.commands import options as option
from evo.cli.commands.shell import guarded


@guarded
def watch(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    once: Annotated[bool, typer.Option("--once", help="Print how it stands now, and end.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a run that is not there yet.")] = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Follow a running search from another terminal, without disturbing it, until it is finished.

    Ctrl-C ends the watching, not the search. A run that is stopped is shown, too: it may be resumed meanwhile.

    Examples:

      evo watch results/mlp-1

      evo watch results/mlp-1 --once
    """
    from evo.cli.any_report import show_result
    from evo.cli.live import TerminalObserver, print_progress
    from evo.cli.signals import StopOnSignals
    from evo.cli.terminal import error_console, output_console
    from evo.cli.watching import follow, now, wait_for
    from evo.loop.search_loop import Stop

    try:
        with StopOnSignals() as signals, TerminalObserver(error_console(), quiet=quiet) as observer:
            if wait:
                observer.notify(f"waiting for a run in {run}")
                wait_for(run, signals.check)
            if once:
                print_progress(output_console(), *now(run))
                return
            finished = follow(run, observer, signals.check)
    except Stop as stop:
        typer.echo("stopped watching; the run itself is not touched.", err=True)
        raise typer.Exit(stop.exit_code) from None
    show_result(finished)
