"""Commands that search: search, demo, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evo.cli.commands.options import (
    Budget,
    Dask,
    DataDir,
    Dataset,
    Debug,
    Device,
    Engine,
    Finalists,
    Fitness,
    Generations,
    MLflow,
    Model,
    MovedData,
    OtherDevice,
    OtherEngine,
    Output,
    Overwrite,
    Precision,
    Quiet,
    SameModel,
    Seed,
    Strategy,
    TensorBoard,
    TimeBudget,
    Timeout,
    Workers,
    of_search,
)
from evo.cli.commands.shell import guarded, watched


@guarded
def search(
    space: Annotated[str, typer.Argument(help="A shipped space (see `evo spaces`) or a TOML file.")] = "mlp",
    strategy: Strategy = None,
    budget: Budget = None,
    generations: Generations = None,
    time_budget: TimeBudget = None,
    population: Annotated[int | None, of_search(help="Individuals of a generation.")] = None,
    seed: Seed = 0,
    pending: Annotated[
        int | None,
        of_search(
            help="Proposals whose results the next one does not wait for; bounds the workers that are busy. Default: 4."
        ),
    ] = None,
    asynchronous: Annotated[
        bool, of_search("--asynchronous", help="Wait for no result; not reproducible with several workers.")
    ] = False,
    free_steps: Annotated[
        bool, of_search("--free-steps", help="Train to the most steps of the space; a genome's best checkpoint counts.")
    ] = False,
    finalists: Finalists = None,
    initial_from: Annotated[Path | None, of_search(help="A run whose best genomes enter the first population.")] = None,
    fitness: Fitness = "validation",
    dataset: Dataset = None,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    workers: Workers = None,
    timeout: Timeout = None,
    dask: Dask = None,
    output: Output = None,
    overwrite: Overwrite = False,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a search to its end, retrain the best genomes on new seeds, and test them.

    Examples:
      evo search digits

      evo search mlp --data-dir ~/cifar10 --budget 100 --seed 1

      evo search my_space.toml --strategy random --budget 500 --time-budget 8h
    """
    options = dict(locals())
    from evo.api import search as run_search

    watched(run_search, options)


@guarded
def demo(
    seed: Seed = 0,
    workers: Workers = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Evolve small networks on scikit-learn's digits: no download, under a minute on two cores."""
    options = dict(locals())
    from evo.api import search as run_search

    watched(run_search, options | {"space": "digits"})


@guarded
def resume(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    budget: Budget = None,
    generations: Generations = None,
    time_budget: TimeBudget = None,
    finalists: Finalists = None,
    seeds: Annotated[
        int | None, of_search(help="For runs of evo train and evo table1: trainings of each network.")
    ] = None,
    data_dir: MovedData = None,
    model: SameModel = None,
    device: OtherDevice = None,
    engine: OtherEngine = None,
    workers: Workers = None,
    timeout: Timeout = None,
    dask: Dask = None,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Continue where a run stopped; its finished table is that of a run that was never stopped.

    A larger --budget or --generations extends a finished search, --seeds a run of `evo train` or `evo table1`.

    Examples:

      evo resume results/mlp-1

      evo resume results/mlp-1 --budget 200
    """
    options = dict(locals())
    from evo.api import resume as resume_run

    options["path"] = options.pop("run")
    watched(resume_run, options)
