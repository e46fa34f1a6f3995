"""What every command does around its work: signals, progress, errors in a few lines, exit codes."""

from __future__ import annotations

import functools
import inspect
import shlex
from contextvars import ContextVar
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from evo.cli.commands.options import Debug
from evo.errors import EvoError, StorageError
from evo.plain_text import made_plain, reason_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from evo.display.live import TerminalObserver
    from evo.loop.execution import Execution
    from evo.record.run import Run

debugs: ContextVar[bool] = ContextVar("debugs", default=False)
"""Whether the command was given --debug, and shows the tracebacks of failed trainings, too."""
OF_THE_SHELL = ("quiet", "tensorboard", "mlflow")
"""Options that say how a command shows its work, not what the work is."""


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command show an error in a few lines and end with its exit code; add --debug, which shows a traceback."""

    @functools.wraps(command)
    def run(*arguments: Any, debug: bool = False, **options: Any) -> None:
        debugs.set(debug)
        try:
            command(*arguments, **options)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            if debug:
                raise
            expected = isinstance(error, EvoError)
            text = text_of(error) if expected else f"{reason_of(error)} (--debug shows where)"
            typer.echo(made_plain(f"error: {text}"), err=True)  # names of files may hold anything
            raise typer.Exit(getattr(error, "exit_code", 1)) from None

    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
    parameters = [*signature.parameters.values(), option]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # mypy does not know it
    return run


def execution_of(options: Mapping[str, Any], **changes: Any) -> Execution:
    """Return what the options of a command say about where and how."""
    from evo.loop.execution import Execution

    known = {field.name for field in fields(Execution)}
    return Execution(**{name: value for name, value in options.items() if name in known} | changes)


def watched(
    command: Callable[..., Run],
    options: Mapping[str, Any],
    arguments: Mapping[str, Any] | None = None,
    *,
    again: Sequence[str] = (),
) -> None:
    """Do what makes a run, with progress on stderr, and with signals that end it in order; show the result.

    Args:
        command: Takes `observer` and `stop_check`, and returns the run.
        options: Those that were given.
        arguments: Of the command; by default what the options say about its work.
        again: The words of the command that continues after a stop; by default `resume` and the run's folder.
    """
    from evo.cli.any_report import show_result
    from evo.cli.signals import StopOnSignals, ignore_warnings
    from evo.cli.terminal import error_console
    from evo.display.live import TerminalObserver
    from evo.loop.deadline import Stop
    from evo.tracking import MLflow, TensorBoard, Tracking

    if arguments is None:
        arguments = {name: value for name, value in options.items() if name not in OF_THE_SHELL}
    kinds = {"tensorboard": TensorBoard, "mlflow": MLflow}
    trackers = [kind() for name, kind in kinds.items() if options.get(name)]
    observer = TerminalObserver(error_console(), quiet=options["quiet"], debug=debugs.get())
    try:
        with StopOnSignals() as signals, observer, Tracking(trackers, observer) as watching:
            run = command(observer=watching, stop_check=signals.check, **arguments)
    except (Stop, KeyboardInterrupt) as stop:
        reason, code = (str(stop), stop.exit_code) if isinstance(stop, Stop) else ("interrupted", 130)
        typer.echo(f"stopped: {reason}.", err=True)
        _say_what_next(observer, options, again)
        raise typer.Exit(code) from None
    except StorageError as error:
        if not (command_again := _again(observer, options, again)):
            raise
        remedy = f"What was recorded is safe. Once that is fixed, continue with:  {command_again}"
        raise StorageError(f"{error}\n{remedy}") from error
    ignore_warnings()
    show_result(run, write_figures=True)


def _say_what_next(observer: TerminalObserver, options: Mapping[str, Any], again: Sequence[str]) -> None:
    """Print, after a stop, the best so far, the command that continues, and the one that ends the search with it."""
    from evo.display.progress import best_text

    command_again = _again(observer, options, again)
    run = observer.progress.run if observer.progress else None
    best = best_text(run) if run else ""
    if best:
        typer.echo(made_plain(best), err=True)
    if run and best and command_again:
        typer.echo(f"Name a winner now:  {run.command('finish', **_elsewhere(options))}", err=True)
    nothing = "No training had begun; nothing was written."
    typer.echo(f"Continue with:  {command_again}" if command_again else nothing, err=True)


def _elsewhere(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the option that names the cluster of a command, if there is one."""
    return {"dask": options["dask"]} if options.get("dask") else {}


def _again(observer: TerminalObserver, options: Mapping[str, Any], words: Sequence[str]) -> str:
    """Return the command that continues what was stopped, on the cluster where it was; empty if there is no run."""
    from evo.record.commands import resume_command
    from evo.record.folder import is_run

    elsewhere = _elsewhere(options)
    run = observer.progress.run if observer.progress else None
    path = run.path if run else options.get("path")
    if not isinstance(path, Path) or not is_run(path):
        return ""
    if words:
        return shlex.join(["evo", *words, *(["--dask", options["dask"]] if elsewhere else [])])
    return resume_command(path, **elsewhere) if run is None else run.command("resume", **elsewhere)
