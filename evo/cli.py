"""The command `evo`. Heavy imports wait until a command needs them: `evo --help` must answer at once."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from evo.run import Run

app = typer.Typer(
    name="evo",
    help="Evolve the hyperparameters and layers of neural networks.",
    epilog="Try `evo demo` first: no download, under a minute. Then `evo spaces` and `evo search mlp --data-dir DIR`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SEARCH = "The search"
TRAINING = "The trainings"
OUTPUT = "Output"

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The run folder. Default: results/<space>-<n>.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=OUTPUT)]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.", rich_help_panel=OUTPUT)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --output.", rich_help_panel=OUTPUT)]
Seed = Annotated[
    int, typer.Option(help="Decides everything that is drawn: same seed, same table.", rich_help_panel=SEARCH)
]
Budget = Annotated[int | None, typer.Option(help="Most trainings.", rich_help_panel=SEARCH)]
Generations = Annotated[int | None, typer.Option(help="Most generations.", rich_help_panel=SEARCH)]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        help="Stop after this time at the latest, as 90s, 30m or 8h; exit code 75, resumable.", rich_help_panel=SEARCH
    ),
]
Finalists = Annotated[
    int | None,
    typer.Option(
        help="Genomes trained again on three new seeds each, then tested; 0: none. [default: 3]", rich_help_panel=SEARCH
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Trainings at a time; changes no result. Default: one a core; on a GPU, one.", rich_help_panel=TRAINING
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        help="Most time of one training, as 90s or 10m; one that takes longer fails.", rich_help_panel=TRAINING
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the data; without --dataset, what lies there decides.", rich_help_panel=TRAINING),
]
MovedData = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the data, if it has moved.", rich_help_panel=TRAINING)
]
SameModel = Annotated[
    str | None,
    typer.Option("--model", help="The run's own model again: package.module:function.", rich_help_panel=TRAINING),
]
Model = Annotated[
    str | None,
    typer.Option(help="mlp, cnn, or package.module:function for a model of your own.", rich_help_panel=TRAINING),
]


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Evolve the hyperparameters and layers of neural networks."""
    if show:
        from evo import __version__

        typer.echo(f"evo {__version__}")
        raise typer.Exit


@app.command()
def search(
    space: Annotated[str, typer.Argument(help="A shipped space (see `evo spaces`) or a TOML file.")] = "mlp",
    strategy: Annotated[
        str | None,
        typer.Option(help="ga, random, report2019 or report2019-fixed. [default: ga]", rich_help_panel=SEARCH),
    ] = None,
    budget: Budget = None,
    generations: Generations = None,
    time_budget: TimeBudget = None,
    population: Annotated[int | None, typer.Option(help="Individuals of a generation.", rich_help_panel=SEARCH)] = None,
    seed: Seed = 0,
    finalists: Finalists = None,
    initial_from: Annotated[
        Path | None,
        typer.Option(help="A run whose best genomes enter the first population.", rich_help_panel=SEARCH),
    ] = None,
    fitness: Annotated[
        Literal["validation", "test"],
        typer.Option(help="test: select on the test set, as the 2019 report did.", rich_help_panel=SEARCH),
    ] = "validation",
    dataset: Annotated[
        str | None, typer.Option(help="cifar10, digits or imagefolder.", rich_help_panel=TRAINING)
    ] = None,
    data_dir: DataDir = None,
    model: Model = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=TRAINING)] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="auto: bf16 where the hardware computes in it.", rich_help_panel=TRAINING),
    ] = "auto",
    engine: Annotated[
        Literal["auto", "eager", "onednn"],
        typer.Option(help="How a CPU multiplies in fp32; auto: by the processor.", rich_help_panel=TRAINING),
    ] = "auto",
    workers: Workers = None,
    timeout: Timeout = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a search to its end, retrain the best genomes on new seeds, and test them.

    Examples:
      evo search digits

      evo search mlp --data-dir ~/cifar10 --budget 100 --seed 1

      evo search my_space.toml --strategy random --budget 500 --time-budget 8h
    """

    def action() -> None:
        from evo.api import search as run_search

        _watched(
            run_search,
            quiet,
            space=space,
            strategy=strategy,
            budget=budget,
            generations=generations,
            time_budget=_seconds(time_budget, "--time-budget"),
            population=population,
            seed=seed,
            finalists=finalists,
            initial_from=initial_from,
            fitness=fitness,
            dataset=dataset,
            data_dir=data_dir,
            model=model,
            device=device,
            precision=precision,
            engine=engine,
            workers=workers,
            timeout=_seconds(timeout, "--timeout"),
            output=output,
            overwrite=overwrite,
        )

    _guarded(action, debug)


@app.command()
def demo(
    seed: Seed = 0,
    workers: Workers = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Evolve small networks on scikit-learn's digits: no download, under a minute on two cores."""

    def action() -> None:
        from evo.api import search as run_search

        _watched(run_search, quiet, space="digits", seed=seed, workers=workers, output=output, overwrite=overwrite)

    _guarded(action, debug)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    budget: Budget = None,
    generations: Generations = None,
    time_budget: TimeBudget = None,
    finalists: Finalists = None,
    data_dir: MovedData = None,
    model: SameModel = None,
    device: Annotated[str | None, typer.Option(help="If not the one of the run.", rich_help_panel=TRAINING)] = None,
    engine: Annotated[
        Literal["auto", "eager", "onednn"] | None,
        typer.Option(help="If not the one of the run.", rich_help_panel=TRAINING),
    ] = None,
    workers: Workers = None,
    timeout: Timeout = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Go on where a run stopped; its finished table is that of a run that was never stopped.

    A larger --budget or --generations extends a finished run.

    Examples:

      evo resume results/mlp-1

      evo resume results/mlp-1 --budget 200
    """

    def action() -> None:
        from evo.api import resume as resume_run

        _watched(
            resume_run,
            quiet,
            path=run,
            budget=budget,
            generations=generations,
            time_budget=_seconds(time_budget, "--time-budget"),
            finalists=finalists,
            data_dir=data_dir,
            model=model,
            device=device,
            engine=engine,
            workers=workers,
            timeout=_seconds(timeout, "--timeout"),
        )

    _guarded(action, debug)


@app.command()
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

    _guarded(action, debug)


@app.command()
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

    _guarded(action, debug)


@app.command()
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

    if not _guarded(action, debug):
        raise typer.Exit(1)


@app.command()
def spaces() -> None:
    """List the shipped search spaces."""
    from evo.terminal import print_spaces

    print_spaces()


@app.command()
def check(
    space: Annotated[str, typer.Argument(help="A shipped space or a TOML file.")],
    debug: Debug = False,
) -> None:
    """Validate a search space: every mistake at once, or its genes and what a search of it does by default.

    Examples:

      evo check mlp

      evo check my_space.toml
    """

    def action() -> None:
        from evo.space_file import load_space
        from evo.terminal import print_space

        print_space(load_space(space))

    _guarded(action, debug)


def main() -> None:
    """Run the command line."""
    app()


def _watched(command: Callable[..., Run], quiet: bool, **arguments: Any) -> None:
    """Call search or resume with progress on stderr, and with signals that end it in order; show the result."""
    from evo.loop import Stop
    from evo.progress import TerminalObserver
    from evo.signals import StopOnSignals
    from evo.terminal import error_console, print_result

    observer = TerminalObserver(error_console(), quiet=quiet)
    try:
        with StopOnSignals() as signals, observer:
            run = command(observer=observer, stop_check=signals.check, **arguments)
    except (Stop, KeyboardInterrupt) as stop:
        reason, code = (str(stop), stop.exit_code) if isinstance(stop, Stop) else ("interrupted", 130)
        typer.echo(f"stopped: {reason}.", err=True)
        if observer.path is not None:
            typer.echo(f"Go on with:  evo resume {shlex.quote(str(observer.path))}{observer.model_option}", err=True)
        else:
            typer.echo("No training had begun; nothing was written.", err=True)
        raise typer.Exit(code) from None
    print_result(run)


def _guarded(action: Callable[[], Any], debug: bool) -> Any:
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


def _seconds(text: str | None, option: str) -> float | None:
    """Return the seconds of a time such as 90s, 30m, 8h, 2d, 1h30m, or a bare number of seconds."""
    from evo.errors import ConfigurationError

    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigurationError(f'{option}: "{text}" is no time; write 90s, 30m, 8h or 1h30m')
    return float(sum(float(number) * units[unit] for number, unit in parts))


if __name__ == "__main__":
    main()
