"""Commands that train what is given: train, table1."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from evo.cli.commands import options as option
from evo.cli.commands.options import of_output, of_training, one_of
from evo.cli.commands.shell import execution_of, guarded, watched
from evo.names import AUGMENTATIONS, FITNESSES, OPTIMISERS, PREPROCESSING, SCHEDULES, TRAINING_MODES

of_network = functools.partial(typer.Option, rich_help_panel="The network")
Gene = Annotated[
    list[str] | None, of_network(help='NAME=VALUE: what else the model reads; repeatable. NAME="1" gives a text.')
]
Config = Annotated[
    Path | None,
    of_network(
        metavar="FILE",
        help="Train the first complete known configuration of a space file: from evo export, your own, or a shipped "
        "space such as mlp. Other options override it.",
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Trainings of each network, each on its own seed.")]
Fitness = Annotated[
    str, typer.Option(help=f"{one_of(*FITNESSES)}; test: use all training images, measure on the test set.")
]
Preprocess = Annotated[
    str | None, of_training(help=f"{one_of(*PREPROCESSING)}. Default: standardise; numpy_mlp: subtract_mean_image.")
]
EvaluateEvery = Annotated[
    int | None,
    of_training(
        help="Steps between points of the curve. Default: a twentieth of the steps, at most 100; with --epochs, an "
        "epoch."
    ),
]
WARMUP_HELP = "Fraction of the steps in which the rate rises (not with constant). Default: one_cycle 0.25, else 0."
COOLDOWN_HELP = "Fraction of the steps in which the rate falls (trapezoid). Default: 0.25."
TrainingMode = Annotated[
    str | None,
    of_training(help=f"{one_of(*TRAINING_MODES)}: also measure without leaving training mode, at once or in batches."),
]


@guarded
def train(
    config: Config = None,
    model: Annotated[str | None, of_network(help=f"{option.MODELS} Default: mlp.")] = None,
    hidden_layers: Annotated[str | None, of_network(help="Widths, as 1000,500 (mlp, numpy_mlp).")] = None,
    channels: Annotated[str | None, of_network(help="One number per block, as 32,64 (cnn).")] = None,
    block: Annotated[str | None, of_network(help="classic, or pooled: pools before batch norm (cnn).")] = None,
    convolutions: Annotated[int | None, of_network(help="Of a pooled block. Default: 2 (cnn).")] = None,
    kernel_size: Annotated[int | None, of_network(help="Of a pooled block: 1, 3, 5 or 7. Default: 3 (cnn).")] = None,
    residual: Annotated[
        bool | None,
        of_network(
            "--residual/--no-residual", help="Add the input of a layer to its output (mlp; cnn with --block pooled)."
        ),
    ] = None,
    activation: Annotated[str | None, of_network(help="relu, gelu, silu or tanh (mlp, cnn).")] = None,
    dropout: Annotated[float | None, of_network(help="Rate (mlp, cnn).")] = None,
    batch_norm: Annotated[
        bool | None, of_network("--batch-norm/--no-batch-norm", help="Default: off for mlp, on for cnn.")
    ] = None,
    batch_norm_place: Annotated[
        str | None,
        of_network(
            help="With --batch-norm, before each linear layer or each activation: layer or activation (mlp). "
            "Default: layer."
        ),
    ] = None,
    batch_norm_kind: Annotated[
        str | None, of_network(help="With --batch-norm: torch, automatic or manual (mlp).")
    ] = None,
    gene: Gene = None,
    learning_rate: Annotated[float | None, of_training()] = None,
    batch_size: Annotated[int | None, of_training()] = None,
    steps: Annotated[int | None, of_training(help="Optimiser steps.")] = None,
    epochs: Annotated[float | None, of_training(help="Instead of --steps: how often each image is taken.")] = None,
    weight_decay: Annotated[float | None, of_training(help="Decoupled (adam, muon), or added to the gradient.")] = None,
    optimiser: Annotated[str | None, of_training(help=f"{one_of(*OPTIMISERS)}. Default: adam; numpy_mlp: sgd.")] = None,
    momentum: Annotated[
        float | None, of_training(help="Nesterov momentum (sgd, muon). Default: 0; muon: 0.95.")
    ] = None,
    schedule: Annotated[str | None, of_training(help=f"{one_of(*SCHEDULES)}. Default: constant.")] = None,
    warmup: Annotated[float | None, of_training(help=WARMUP_HELP)] = None,
    cooldown: Annotated[float | None, of_training(help=COOLDOWN_HELP)] = None,
    label_smoothing: Annotated[float | None, of_training(help="From 0 to below 1, such as 0.1. Default: 0.")] = None,
    augment: Annotated[str | None, of_training(help=f"{one_of(*AUGMENTATIONS)}. Default: none.")] = None,
    crop_padding: Annotated[int | None, of_training(help="Most pixels that flip_crop moves. Default: 2.")] = None,
    cutout: Annotated[int | None, of_training(help="Side in pixels of a hidden square. Default: 0.")] = None,
    test_flip: Annotated[
        bool | None, of_training("--test-flip/--no-test-flip", help="Measure an image and its mirror image together.")
    ] = None,
    preprocess: Preprocess = None,
    evaluate_every: EvaluateEvery = None,
    training_mode: TrainingMode = None,
    seeds: Seeds = 1,
    seed: Annotated[int, typer.Option(help="What the seeds of the trainings derive from.")] = 0,
    fitness: Fitness = "validation",
    dataset: Annotated[str | None, of_training(help=f"{option.DATASETS} Default: cifar10.")] = None,
    data_dir: option.DataDir = None,
    device: option.Device = "auto",
    precision: option.Precision = "auto",
    engine: option.Engine = "auto",
    workers: option.Workers = None,
    dask: option.Dask = None,
    timeout: option.Timeout = None,
    time_budget: option.TimeBudget = None,
    save: Annotated[bool, of_output("--save", help="Keep the trained weights (safetensors).")] = False,
    output: option.Output = None,
    overwrite: option.Overwrite = False,
    quiet: option.Quiet = False,
) -> None:
    """Train one network on one or several seeds; write its learning curves and figures.

    Options that are not given have the model's default, or the value in the --config file. The run can be
    resumed, and extended by `evo resume RUN --seeds N`.

    Examples:

      evo train --dataset digits --steps 300

      evo train --hidden-layers 1000,500 --learning-rate 1e-4 --steps 3000 --data-dir ~/cifar10 --seeds 3

      evo train --model numpy_mlp --data-dir ~/cifar10 --fitness test

      evo train --config winner.toml --data-dir ~/cifar10 --epochs 20 --seeds 3
    """
    options = locals()
    from evo.cli.commands.configuration import training_of

    watched(training_of(options), options, {})


@guarded
def table1(
    rows: Annotated[str, typer.Option(help='Which rows, as "Default, GA2". Default: all six.')] = "",
    seeds: Seeds = 3,
    figures: Annotated[bool, typer.Option("--figures", help="Also train the NumPy network and the CNN.")] = False,
    seed: Annotated[int | None, typer.Option(help="What all seeds derive from. Default: 42, the report's.")] = None,
    data_dir: option.DataDir = None,
    device: option.Device = "auto",
    precision: option.Precision = "auto",
    engine: option.Engine = "auto",
    workers: option.Workers = None,
    dask: option.Dask = None,
    time_budget: option.TimeBudget = None,
    output: option.Output = None,
    overwrite: option.Overwrite = False,
    quiet: option.Quiet = False,
) -> None:
    """Reproduce Table 1 of the 2019 report: its six networks under its protocol, measured in both ways.

    It writes table1.csv, table1.md, table1.html and figures. With an --output that holds rows already, those that are
    missing are trained, so the same command continues after a stop; `evo resume` continues with the rows.

    Examples:

      evo table1 --rows Default --seeds 1 --data-dir ~/cifar10

      evo table1 --figures --data-dir ~/cifar10 --output results/mine
    """
    options = dict(locals())
    from evo.record.folder import free_output
    from evo.report2019 import NAME
    from evo.report2019.reproduction import reproduce
    from evo.report2019.table1 import chosen_rows

    folder = output or free_output(Path("results"), NAME)
    chosen = chosen_rows([name for name in rows.split(",") if name.strip()] or ([rows] if rows else []))
    train_rows = functools.partial(reproduce, chosen, execution_of(options, output=folder))
    again = ["resume", str(folder)]
    if figures:  # which `resume` does not know
        again = ["table1", *(["--rows", rows] if rows else []), "--seeds", str(seeds), "--figures", "-o", str(folder)]
    watched(train_rows, options, {"seeds": seeds, "seed": seed, "figures": figures}, again=again)
