"""What every command does around its work: signals, progress, errors in a few lines, exit codes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evo.cli.live import TerminalObserver
    from evo.record.run import Run
    from evo.tracking import Tracker


def watched(
    command: Callable[..., Run],
    quiet: bool,
    again: Sequence[str] = (),
    trackers: Sequence[Tracker] = (),
    **arguments: Any,
) -> None:
    """Do what makes a run, with progress on stderr, and with signals that end it in order; show the result.

    Args:
        command: Takes `observer` and `stop_check`, and returns the run.
        quiet: Show no progress.
        again: The words of the command that goes on after a stop; by default `resume` and the run's folder.
        trackers: Other programs that are told of the run.
        **arguments: Of the command.
    """
    from evo.cli.live import TerminalObserver
    from evo.cli.signals import StopOnSignals
    from evo.cli.terminal import error_console
    from evo.errors import StorageError
    from evo.loop.search_loop import Stop
    from evo.record.folder import is_run
    from evo.tracking import Tracking

    observer = TerminalObserver(error_console(), quiet=quiet)
    elsewhere = ["--dask", arguments["dask"]] if arguments.get("dask") else []
    try:
        with StopOnSignals() as signals, observer, Tracking(trackers, observer) as watching:
            run = command(observer=watching, stop_check=signals.check, **arguments)
    except (Stop, KeyboardInterrupt) as stop:
        reason, code = (str(stop), stop.exit_code) if isinstance(stop, Stop) else ("interrupted", 130)
        typer.echo(f"stopped: {reason}.", err=True)
        if observer.path is not None:
            typer.echo(f"Go on with:  {_again(again, observer, elsewhere)}", err=True)
        elif isinstance(path := arguments.get("path"), Path) and is_run(path):  # it was to be resumed
            typer.echo(f"Go on with:  evo {shlex.join(('resume', str(path), *elsewhere))}", err=True)
        else:
            typer.echo("No training had begun; nothing was written.", err=True)
        raise typer.Exit(code) from None
    except StorageError as error:
        if observer.path is None or not is_run(observer.path):
            raise
        remedy = f"What was recorded is safe. Once that is mended, go on with:  {_again(again, observer, elsewhere)}"
        raise StorageError(f"{error}\n{remedy}") from error
    _write_figures(run)
    show_result(run)


def _again(words: Sequence[str], observer: TerminalObserver, elsewhere: Sequence[str]) -> str:
    """Return the command that goes on with what was stopped, on the cluster where it was."""
    return f"evo {shlex.join([*(words or ('resume', str(observer.path))), *elsewhere])}{observer.model_option}"


def _write_figures(run: Run) -> None:
    """Write the figures of a run that searched nothing."""
    from evo.record.settings import LISTED
    from evo.report2019.table1 import NAME

    if run.settings.strategy != LISTED or run.path is None:
        return
    if run.settings.space_name == NAME:
        from evo.report2019.page import write_table1
        from evo.report2019.reproduction import figure_runs

        write_table1(run, figure_runs(run.path))
    else:
        from evo.reports.training import write_training

        write_training(run)


def show_result(run: Run) -> None:
    """Print what a finished run has found."""
    from evo.cli.result import print_result, print_trainings
    from evo.cli.terminal import print_table1
    from evo.record.settings import LISTED
    from evo.report2019.table1 import NAME

    if run.settings.strategy != LISTED or run.path is None:
        print_result(run)
    elif run.settings.space_name == NAME:
        print_table1(run)
    else:
        print_trainings(run)


def trackers(*, tensorboard: bool, mlflow: bool) -> list[Tracker]:
    """Return the trackers that were asked for.

    Raises:
        ConfigurationError: The package of one is not installed.
    """
    from evo.tracking import MLflow, TensorBoard

    return [*([TensorBoard()] if tensorboard else []), *([MLflow()] if mlflow else [])]


def guarded(action: Callable[[], Any], debug: bool) -> Any:
    """Do something; show an error in a few lines, and end with its exit code."""
    from evo.errors import EvoError

    try:
        return action()
    except EvoError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            raise
        typer.echo(f"error: {type(error).__name__}: {error} (--debug shows where)", err=True)
        raise typer.Exit(1) from None


def seconds_of(text: str | None, option: str) -> float | None:
    """Return the seconds of a time such as 90s, 30m, 8h, 2d, 1h30m, or a bare number of seconds."""
    from evo.errors import ConfigurationError

    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigurationError(f'{option}: "{text}" is no time; write 90s, 30m, 8h or 1h30m')
    return float(sum(float(number) * units[unit] for number, unit in parts))
