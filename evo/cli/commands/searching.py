"""Commands that search, and those about search spaces: search, demo, resume, spaces, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import evo
from evo.cli.commands import options as option
from evo.cli.commands.options import of_search
from evo.cli.commands.shell import guarded, watched


@guarded
def search(
    space: Annotated[
        str, typer.Argument(help="A shipped space (see `evo spaces`) or a space file (TOML or JSON).")
    ] = "mlp",
    strategy: option.Strategy = None,
    budget: option.Budget = None,
    generations: option.Generations = None,
    time_budget: option.TimeBudget = None,
    finish: option.Finish = True,
    population: Annotated[int | None, of_search(help="Individuals of a generation.")] = None,
    seed: option.Seed = 0,
    pending: Annotated[
        int | None,
        of_search(
            help="Trainings whose results the next proposal does not wait for; at most this many workers are busy. "
            "Default: 4."
        ),
    ] = None,
    asynchronous: Annotated[
        bool, of_search("--asynchronous", help="Wait for no result; not reproducible with several workers.")
    ] = False,
    pruner: Annotated[
        str | None,
        of_search(
            metavar="median",
            help="End trainings early whose accuracy is below the median that the five best so far had at the same "
            "step; needs a constant learning rate.",
        ),
    ] = None,
    free_steps: Annotated[
        bool,
        of_search(
            "--free-steps", help="Train every genome for the most steps of the space; its best checkpoint counts."
        ),
    ] = False,
    finalists: option.Finalists = None,
    initial_from: Annotated[
        Path | None,
        of_search(help="A run whose best genomes enter the first population, or a CSV file of earlier results."),
    ] = None,
    no_initial: Annotated[
        bool, of_search("--no-initial", help="Leave out the known configurations of the space.")
    ] = False,
    fitness: option.Fitness = "validation",
    dataset: option.Dataset = None,
    data_dir: option.DataDir = None,
    model: option.Model = None,
    device: option.Device = "auto",
    precision: option.Precision = "auto",
    engine: option.Engine = "auto",
    workers: option.Workers = None,
    timeout: option.Timeout = None,
    dask: option.Dask = None,
    output: option.Output = None,
    overwrite: option.Overwrite = False,
    tensorboard: option.TensorBoard = False,
    mlflow: option.MLflow = False,
    quiet: option.Quiet = False,
) -> None:
    """Run a search to its end, retrain the best genomes on new seeds, and test them.

    With --time-budget the search ends early enough for that. Exit code 75: stopped, and `evo resume` continues it.

    Examples:

      evo search digits

      evo search mlp --data-dir ~/cifar10 --budget 100 --seed 1

      evo search my_space.toml --strategy random --budget 500 --time-budget 8h
    """
    watched(evo.search, locals())


@guarded
def demo(
    seed: option.Seed = 0,
    workers: option.Workers = None,
    output: option.Output = None,
    overwrite: option.Overwrite = False,
    quiet: option.Quiet = False,
) -> None:
    """Evolve small networks on scikit-learn's digits: no download, under a minute on two cores."""
    watched(evo.search, locals() | {"space": "digits"})


@guarded
def resume(
    path: Annotated[Path, typer.Argument(metavar="run", help="The run folder.")],
    budget: option.Budget = None,
    generations: option.Generations = None,
    time_budget: option.TimeBudget = None,
    finish: option.Finish = True,
    finalists: option.Finalists = None,
    seeds: Annotated[int | None, of_search(help="Trainings per network (runs of evo train and evo table1).")] = None,
    retry: Annotated[
        str | None, of_search(metavar="failed", help="Try again what failed, timed out or lacked memory; once each.")
    ] = None,
    dataset: option.SameDataset = None,
    data_dir: option.MovedData = None,
    model: option.SameModel = None,
    device: option.OtherDevice = None,
    engine: option.OtherEngine = None,
    workers: option.Workers = None,
    timeout: option.Timeout = None,
    dask: option.Dask = None,
    tensorboard: option.TensorBoard = False,
    mlflow: option.MLflow = False,
    quiet: option.Quiet = False,
) -> None:
    """Continue where a run stopped; its finished table is that of a run that was never stopped.

    A larger --budget or --generations extends a finished search, --seeds a run of `evo train` or `evo table1`. A
    --budget below what was proposed ends the search there.

    Examples:

      evo resume results/mlp-1

      evo resume results/mlp-1 --budget 200

      evo resume results/mlp-1 --retry failed
    """
    watched(evo.resume, locals())


@guarded
def finish(
    path: Annotated[Path, typer.Argument(metavar="run", help="The run folder.")],
    finalists: option.Finalists = None,
    time_budget: option.TimeBudget = None,
    dataset: option.SameDataset = None,
    data_dir: option.MovedData = None,
    model: option.SameModel = None,
    device: option.OtherDevice = None,
    engine: option.OtherEngine = None,
    workers: option.Workers = None,
    timeout: option.Timeout = None,
    dask: option.Dask = None,
    tensorboard: option.TensorBoard = False,
    mlflow: option.MLflow = False,
    quiet: option.Quiet = False,
) -> None:
    """End a stopped search now: retrain its best genomes on new seeds, name the winner, and test it.

    Trainings that were in flight are left as they are: `evo resume` continues the search, and names its winner anew.

    Examples:

      evo finish results/mlp-1

      evo finish results/mlp-1 --finalists 1 --time-budget 10m
    """
    watched(evo.finish, locals())


@guarded
def spaces(
    show: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print the file of this space, as a starting point for your own.")
    ] = None,
) -> None:
    """List the shipped search spaces, or print the TOML file of one.

    Examples:

      evo spaces

      evo spaces --show mlp > my_space.toml
    """
    if show is not None:
        from evo.space.file import shipped_text

        typer.echo(shipped_text(show).encode(), nl=False)
        return
    from evo.cli.terminal import print_spaces

    print_spaces()


@guarded
def check(space: Annotated[str, typer.Argument(help="A shipped space or a space file (TOML or JSON).")]) -> None:
    """Validate a search space: every mistake at once, or its genes and what a search of it does by default.

    Examples:

      evo check mlp

      evo check my_space.toml
    """
    from evo.cli.terminal import print_space
    from evo.space.file import load_space

    print_space(load_space(space))
