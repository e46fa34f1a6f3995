"""Commands that train what is given: train, table1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evo.cli.commands.options import (
    OUTPUT,
    TRAINING,
    Dask,
    DataDir,
    Debug,
    Device,
    Engine,
    Output,
    Overwrite,
    Precision,
    Quiet,
    TimeBudget,
    Timeout,
    Workers,
)
from evo.cli.commands.shell import guarded, seconds_of, watched

NETWORK = "The network"
Seeds = Annotated[int, typer.Option(min=1, help="Trainings of each network, on a seed each.")]


def train(
    model: Annotated[
        str,
        typer.Option(
            help="mlp, cnn, numpy_mlp, or package.module:function for one of your own.", rich_help_panel=NETWORK
        ),
    ] = "mlp",
    hidden_layers: Annotated[
        str | None, typer.Option(help="Widths, as 1000,500 (mlp, numpy_mlp).", rich_help_panel=NETWORK)
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="One number a block, as 32,64 (cnn).", rich_help_panel=NETWORK)
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="relu, gelu, silu or tanh (mlp).", rich_help_panel=NETWORK)
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Rate (mlp, cnn).", rich_help_panel=NETWORK)] = None,
    batch_norm: Annotated[
        bool | None, typer.Option("--batch-norm/--no-batch-norm", help="(mlp, cnn)", rich_help_panel=NETWORK)
    ] = None,
    batch_norm_kind: Annotated[
        str | None, typer.Option(help="torch, automatic or manual (mlp).", rich_help_panel=NETWORK)
    ] = None,
    gene: Annotated[
        list[str] | None,
        typer.Option(
            "--gene", help="NAME=VALUE: whatever else the model reads; can be repeated.", rich_help_panel=NETWORK
        ),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(rich_help_panel=TRAINING)] = None,
    batch_size: Annotated[int | None, typer.Option(rich_help_panel=TRAINING)] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.", rich_help_panel=TRAINING)] = None,
    weight_decay: Annotated[float | None, typer.Option(rich_help_panel=TRAINING)] = None,
    optimiser: Annotated[
        Literal["adam", "sgd"] | None, typer.Option(help="[default: adam; numpy_mlp: sgd]", rich_help_panel=TRAINING)
    ] = None,
    preprocess: Annotated[
        Literal["standardise", "subtract_mean_image"] | None,
        typer.Option(help="[default: standardise; numpy_mlp: subtract_mean_image]", rich_help_panel=TRAINING),
    ] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            help="Steps between two points of the learning curve. [default: 100, a twentieth of short trainings]",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    training_mode: Annotated[
        Literal["whole", "batches"] | None,
        typer.Option(
            help="Also measure without leaving training mode, the held-out part at once or in batches.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seeds: Seeds = 1,
    seed: Annotated[int, typer.Option(help="What the seeds of the trainings derive from.")] = 0,
    fitness: Annotated[
        Literal["validation", "test"],
        typer.Option(help="test: train on the whole training set and measure on the test set."),
    ] = "validation",
    dataset: Annotated[
        str | None, typer.Option(help="cifar10, digits or imagefolder. [default: cifar10]", rich_help_panel=TRAINING)
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    workers: Workers = None,
    dask: Dask = None,
    timeout: Timeout = None,
    time_budget: TimeBudget = None,
    save: Annotated[
        bool, typer.Option("--save", help="Keep the trained weights (safetensors).", rich_help_panel=OUTPUT)
    ] = False,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train one network on one or several seeds; write its learning curves and figures.

    What is not given has the model's default. The run can be resumed, and extended by `evo resume RUN --seeds N`.

    Examples:

      evo train --dataset digits --steps 300

      evo train --hidden-layers 1000,500 --learning-rate 1e-4 --steps 3000 --data-dir ~/cifar10 --seeds 3

      evo train --model numpy_mlp --data-dir ~/cifar10 --fitness test
    """

    def action() -> None:
        from evo.loop.execution import Execution
        from evo.loop.listed import configuration_of, grid_for, space_of, train_configurations

        genes = {
            "hidden_layers": hidden_layers,
            "channels": channels,
            "activation": activation,
            "dropout": dropout,
            "batch_norm": batch_norm,
            "batch_norm_kind": batch_norm_kind,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "steps": steps,
            "weight_decay": weight_decay,
        }
        fixed = {
            "optimiser": optimiser,
            "preprocess": preprocess,
            "evaluate_every": evaluate_every if evaluate_every is not None else grid_for(steps),
            "training_mode": training_mode,
        }
        configuration, settings = configuration_of(model, genes, gene or (), fixed)
        space = space_of([configuration], name="train", model=model, dataset="cifar10", training=settings)
        watched(
            train_configurations,
            quiet,
            space=space,
            configurations=[configuration],
            execution=Execution(
                dataset=dataset,
                data_dir=data_dir,
                device=device,
                precision=precision,
                engine=engine,
                workers=workers,
                timeout=seconds_of(timeout, "--timeout"),
                time_budget=seconds_of(time_budget, "--time-budget"),
                output=output,
                overwrite=overwrite,
                dask=dask,
            ),
            seeds=seeds,
            seed=seed,
            fitness=fitness,
            keep_weights=save,
        )

    guarded(action, debug)


def table1(
    rows: Annotated[str, typer.Option(help='Which rows, as "Default, GA2". [default: all six]')] = "",
    seeds: Seeds = 3,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also train the NumPy network and the CNN of the report's figures.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="What the seeds of the trainings derive from. [default: 42, the report's]")
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    workers: Workers = None,
    dask: Dask = None,
    time_budget: TimeBudget = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Reproduce Table 1 of the 2019 report: its six networks under its protocol, measured in both ways.

    It writes table1.csv, table1.md, table1.html and figures. With an --output that holds rows already, those that are
    missing are trained, so the same command goes on after a stop; `evo resume` goes on with the rows.

    Examples:

      evo table1 --rows Default --seeds 1 --data-dir ~/cifar10

      evo table1 --figures --data-dir ~/cifar10 --output results/mine
    """

    def action() -> None:
        from evo.loop.execution import Execution
        from evo.record.folder import free_output
        from evo.report2019.reproduction import reproduce
        from evo.report2019.table1 import NAME, chosen_rows

        folder = output or free_output(Path("results"), NAME)
        watched(
            reproduce,
            quiet,
            rows=chosen_rows([name for name in rows.split(",") if name.strip()] or ([rows] if rows else [])),
            execution=Execution(
                data_dir=data_dir,
                device=device,
                precision=precision,
                engine=engine,
                workers=workers,
                time_budget=seconds_of(time_budget, "--time-budget"),
                output=folder,
                overwrite=overwrite,
                dask=dask,
            ),
            seeds=seeds,
            seed=seed,
            figures=figures,
            # `resume` knows all of it but the figures' networks.
            again=["table1", *(["--rows", rows] if rows else []), "--seeds", str(seeds), "--figures", "-o", str(folder)]
            if figures
            else ["resume", str(folder)],
        )

    guarded(action, debug)
