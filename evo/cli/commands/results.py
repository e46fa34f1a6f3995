"""Commands that show what runs do and have found, or take it elsewhere: watch, compare, report, replay, export."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evo.cli.commands import options as option
from evo.cli.commands.options import of_output
from evo.cli.commands.shell import debugs, execution_of, guarded
from evo.errors import ConfigurationError
from evo.evaluation import replicate_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evo.record.run import Run

STDOUT = Path("-")
FINALISTS = f"from {replicate_number('finalist')} on, the finalists'"


def _loaded(path: Path) -> Run:
    """Return a run; say so if the end of its journal is cut off."""
    from evo.record.run import Run

    run = Run.load(path)
    if run.torn:
        note = f"the last line is cut off in the middle and left out; {run.command('resume')} does it again"
        typer.echo(f"warning: {path / 'journal.jsonl'}: {note}", err=True)
    return run


@guarded
def watch(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    once: Annotated[bool, typer.Option("--once", help="Print the current state and exit.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a run that is not there yet.")] = False,
    quiet: option.Quiet = False,
) -> None:
    """Follow a running search from another terminal, without disturbing it, until it is finished.

    Ctrl-C ends the watching, not the search. A run that is stopped is shown, too: it may be resumed meanwhile.

    Examples:

      evo watch results/mlp-1

      evo watch results/mlp-1 --once
    """
    from evo.cli.any_report import show_result
    from evo.cli.signals import StopOnSignals
    from evo.cli.terminal import error_console, output_console
    from evo.cli.watching import follow, now, wait_for
    from evo.display.live import TerminalObserver, print_progress
    from evo.loop.deadline import Stop

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


@guarded
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    csv: Annotated[Path | None, of_output(help="Also write the genomes to this file; -: to stdout.")] = None,
    json: Annotated[Path | None, of_output(help="Also write everything to this file; -: to stdout.")] = None,
    markdown: Annotated[Path | None, of_output(help="Also write everything to this file; -: to stdout.")] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATTERN of run names; may be repeated. Default: runs that differ only in their seed."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Genomes of a run that has no finalists.")] = 3,
    overwrite: Annotated[bool, of_output("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Compare runs: their best genomes on validation and test data, and which settings do better over several seeds.

    Examples:

      evo compare results/mlp-1

      evo compare results/mlp-1 results/cnn-1 --csv best.csv

      evo compare results/ga-* results/random-* --markdown -
    """
    from evo.cli.comparison import print_comparison
    from evo.cli.terminal import error_console, output_console
    from evo.files import output
    from evo.reports.comparison import compare_runs, csv_text, json_text, markdown_text

    files = {"--csv": (csv, csv_text), "--json": (json, json_text), "--markdown": (markdown, markdown_text)}
    wanted = {name: path for name, (path, _) in files.items() if path is not None}
    to_stdout = _check_files(wanted, overwrite)
    patterns = _patterns(group or ())
    loaded = [_loaded(path) for path in runs]
    comparison = compare_runs(loaded, top, patterns)
    print_comparison(loaded, comparison, error_console() if to_stdout else output_console())
    if debugs.get():
        _echo_tracebacks(loaded)
    for name, path in wanted.items():
        text = files[name][1](comparison)
        if path == STDOUT:
            typer.echo(text.encode(), nl=False)  # data are UTF-8, whatever the terminal takes
        else:
            with output(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
            typer.echo(f"wrote {path}", err=True)


def _echo_tracebacks(runs: Sequence[Run]) -> None:
    """Print, of each cause of failures in each run, the last traceback that is kept."""
    from evo.display.progress import traceback_text

    for run in runs:
        last = {(one.status, one.error): one for one in run.results if run.traceback(one.individual, one.replicate)}
        for one in last.values():
            text = traceback_text(one, run.traceback(one.individual, one.replicate))
            typer.echo(f"{run.name}, {text}", err=True)


def _check_files(wanted: Mapping[str, Path], overwrite: bool) -> bool:
    """Return whether data go to stdout; check that all files can be written before anything is."""
    from evo.record.folder import check_output_file

    seen: dict[Path, str] = {}
    for name, path in wanted.items():
        first = seen.setdefault(path.resolve() if path != STDOUT else STDOUT, name)
        if path == STDOUT and first != name:
            raise ConfigurationError(f"{first} and {name}: stdout takes one of them; give files for the others")
        if first != name:
            raise ConfigurationError(f"{name} {path}: is the file of {first}, too; choose another")
        if path != STDOUT:
            check_output_file(path, name, overwrite=overwrite)
    return STDOUT in seen


def _patterns(texts: Sequence[str]) -> dict[str, str]:
    """Return the patterns of run names that --group gives, by the group's name."""
    patterns = {}
    for text in texts:
        name, equals, pattern = text.partition("=")
        if not (name and equals and pattern):
            raise ConfigurationError(f'--group: must be NAME=PATTERN such as ga="ga-*", got "{text}"')
        if name in patterns:
            raise ConfigurationError(f'--group: "{name}" is given twice; one pattern must match all its runs')
        patterns[name] = pattern
    return patterns


@guarded
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to. Default: the first run's.")
    ] = None,
) -> None:
    """Write one self-contained HTML file with figures, and the figures as PNG and SVG; replaces older ones.

    The search may still be running. Several searches share a page, side by side.

    Examples:

      evo report results/mlp-1

      evo report results/mlp-1 results/cnn-1 --output both
    """
    from evo.cli.any_report import write_any_report
    from evo.places import as_typed

    if output is not None and output.exists() and not output.is_dir():
        raise ConfigurationError(f"--output {output}: is a file; give the name of a folder")
    gc.disable()  # with thousands of evaluations, looking for garbage takes a tenth of the time
    try:
        for page in write_any_report([_loaded(path) for path in runs], output):
            typer.echo(as_typed(page))
    finally:
        gc.enable()


@guarded
def replay(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    individual: Annotated[int, typer.Argument(help="Id of an individual, as in evaluations.csv.")],
    replicate: Annotated[int, typer.Option(min=0, help=f"Which training: 0, the search's; {FINALISTS}.")] = 0,
    seeds: Annotated[int, typer.Option(min=0, help="Also train on this many new seeds, and show the spread.")] = 0,
    save: Annotated[Path | None, of_output(help="Write the trained weights to this file (safetensors).")] = None,
    overwrite: Annotated[bool, of_output("--overwrite", help="Replace the file that --save names.")] = False,
    dataset: option.SameDataset = None,
    data_dir: option.MovedData = None,
    model: option.SameModel = None,
    device: option.OtherDevice = None,
    workers: option.Workers = None,
    quiet: option.Quiet = False,
) -> None:
    """Train a recorded individual again and say whether the result came back. Exit code 1 if it did not.

    With the same versions and processor, every bit must match. Otherwise fitness must lie within two standard errors of
    an accuracy on that many images. --debug also prints the traceback of a failed one.

    Examples:

      evo replay results/mlp-1 17

      evo replay results/mlp-1 17 --seeds 10 --save best.safetensors
    """
    where = execution_of(locals())
    from evo.cli.replay import print_replay
    from evo.cli.signals import StopOnSignals
    from evo.cli.terminal import error_console, output_console
    from evo.display.live import TerminalObserver
    from evo.loop.deadline import Stop
    from evo.loop.replay import replay_individual

    if debugs.get():
        _echo_traceback(run, individual, replicate)
    observer = TerminalObserver(error_console(), quiet=quiet)
    try:
        with StopOnSignals():
            replayed = replay_individual(
                run, individual, where, replicate=replicate, seeds=seeds, save=save, observer=observer
            )
    except Stop as stop:
        typer.echo(f"stopped: {stop}.", err=True)
        raise typer.Exit(stop.exit_code) from None
    print_replay(replayed, output_console())
    if debugs.get() and replayed.again.traceback:
        typer.echo(f"now: {replayed.again.traceback}", err=True, nl=False)
    if replayed.saved is not None and replayed.model is not None:
        typer.echo(f"\n# {replayed.saved}: load it with\n{_loading_code(run, replayed.saved)}", nl=False)
    elif save is not None:
        typer.echo(f"--save {save}: nothing was written: {replayed.not_saved}", err=True)
    if not replayed.came_back or (save is not None and replayed.saved is None):
        raise typer.Exit(1)


def _echo_traceback(path: Path, individual: int, replicate: int) -> None:
    """Print the traceback of a recorded failure, also where no one can train it again from here."""
    from evo.record.run import Run

    if text := Run.load(path).traceback(individual, replicate):
        typer.echo(f"as recorded: {text}", err=True, nl=False)


@guarded
def export(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    format: Annotated[str, of_output(help="toml or json.")] = "toml",
    output: Annotated[Path | None, of_output("--output", "-o", help="Write to this file. Default: stdout.")] = None,
    weights: Annotated[
        Path | None, of_output(help="Train it again and write its weights to this file (safetensors).")
    ] = None,
    overwrite: Annotated[bool, of_output("--overwrite", help="Replace files that are there.")] = False,
    dataset: option.SameDataset = None,
    data_dir: option.MovedData = None,
    model: option.SameModel = None,
    device: option.OtherDevice = None,
    workers: option.Workers = None,
    quiet: option.Quiet = False,
) -> None:
    """Write the winner of a run as a space file: `evo train --config` trains it, `evo search` begins with it.

    Without a winner it is the best so far. --weights trains it as `evo replay` does: on its seed, on the run's data.

    Examples:

      evo export results/mlp-1 -o winner.toml

      evo export results/mlp-1 --format json --weights winner.safetensors
    """
    options = dict(locals())
    from evo.cli.signals import StopOnSignals
    from evo.cli.terminal import error_console
    from evo.display.live import TerminalObserver
    from evo.loop.deadline import Stop
    from evo.loop.export import export as exported

    asked = {name: value for name, value in options.items() if name not in ("run", "quiet")}
    try:
        with StopOnSignals():
            text = exported(run, **asked, observer=TerminalObserver(error_console(), quiet=quiet))
    except Stop as stop:
        typer.echo(f"stopped: {stop}.", err=True)
        raise typer.Exit(stop.exit_code) from None
    if output is None:
        typer.echo(text.encode(), nl=False)  # data are UTF-8, whatever the terminal takes
    else:
        from evo.loop.export import training_command
        from evo.record.run import Run

        again = training_command(Run.load(run), str(output))
        typer.echo(f"wrote {output}{f'; {again} trains it' if again else ''}", err=True)
    if weights is not None:
        typer.echo(f"\n# {weights}: load it with\n{_loading_code(run, weights)}", nl=False, err=output is None)


def _loading_code(run: Path, weights: Path) -> str:
    from evo.record.settings import Settings
    from evo.training.saved_model import loading_code

    settings = Settings.load(run)
    shape = (settings.dataset or {}).get("image_shape", ())
    return loading_code(weights, str(settings.model), tables=list(shape[:2]) == [1, 1])
