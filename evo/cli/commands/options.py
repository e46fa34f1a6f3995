"""Options that several commands share, with their help."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evo.names import (
    AUTO,
    DATASETS,
    DEFAULT_STRATEGY,
    ENGINES,
    FITNESS_PARTS,
    MODELS,
    OPTIMISERS,
    PRECISIONS,
    PREPROCESSING,
    STRATEGIES,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def one_of(names: Sequence[str]) -> str:
    """Return a list of names as a help text says it: "a, b or c"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


of_search = functools.partial(typer.Option, rich_help_panel="The search")
of_training = functools.partial(typer.Option, rich_help_panel="The trainings")
of_output = functools.partial(typer.Option, rich_help_panel="Output")

Output = Annotated[Path | None, of_output("--output", "-o", help="The run folder. Default: results/<space>-<n>.")]
Quiet = Annotated[bool, of_output("--quiet", "-q", help="No progress.")]
Debug = Annotated[bool, of_output("--debug", help="Show a traceback with an error.")]
Overwrite = Annotated[bool, of_output("--overwrite", help="Replace the run in --output.")]
TensorBoard = Annotated[bool, of_output("--tensorboard", help="Also write for TensorBoard, to RUN/tensorboard.")]
MLflow = Annotated[bool, of_output("--mlflow", help="Also write to MLflow, to MLFLOW_TRACKING_URI or RUN/mlflow.")]
Seed = Annotated[int, of_search(help="Decides everything that is drawn: same seed, same table.")]
Budget = Annotated[int | None, of_search(help="Most trainings.")]
Generations = Annotated[int | None, of_search(help="Most generations.")]
Strategy = Annotated[str | None, of_search(help=f"{one_of(STRATEGIES)}. Default: {DEFAULT_STRATEGY}.")]
Fitness = Annotated[
    str, of_search(help=f"{one_of(FITNESS_PARTS)}; test: select on the test set, as the 2019 report did.")
]
TimeBudget = Annotated[
    str | None, of_search(help="Stop after this time at the latest, as 90s, 30m or 8h; exit code 75, resumable.")
]
Finalists = Annotated[
    int | None, of_search(help="Genomes trained again on three new seeds each, then tested; 0: none. Default: 3.")
]
Workers = Annotated[
    int | None, of_training(help="Trainings at a time; changes no result. Default: one per core; on a GPU, one.")
]
Timeout = Annotated[
    str | None, of_training(help="Most time of one training, as 90s or 10m; one that takes longer fails.")
]
Dask = Annotated[
    str | None,
    of_training(
        "--dask",
        metavar="ADDRESS|local",
        help="Train on a Dask cluster: tcp://host:8786, tls://host:8786, a scheduler file, or local for one here. "
        "--workers is then the most trainings at a time.",
    ),
]
Dataset = Annotated[str | None, of_training(help=f"{one_of(DATASETS)}.")]
DataDir = Annotated[Path | None, of_training(help="Folder of the data; without --dataset, what lies there decides.")]
MovedData = Annotated[Path | None, of_training("--data-dir", help="Folder of the data, if it has moved.")]
SameModel = Annotated[str | None, of_training("--model", help="The run's own model again: package.module:function.")]
Model = Annotated[
    str | None, of_training(help=f"{', '.join(MODELS)}, or package.module:function for a user-defined model.")
]
Optimiser = Annotated[str | None, of_training(help=f"{one_of(OPTIMISERS)}. Default: adam; numpy_mlp: sgd.")]
Preprocess = Annotated[
    str | None, of_training(help=f"{one_of(PREPROCESSING)}. Default: standardise; numpy_mlp: subtract_mean_image.")
]

Device = Annotated[str, of_training(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    str, of_training(help=f"{one_of((AUTO, *PRECISIONS))}; auto: bf16 where the hardware computes in it.")
]
Engine = Annotated[
    str, of_training(help=f"{one_of((AUTO, *ENGINES))}: how a CPU multiplies in fp32; auto: by the processor.")
]
OtherDevice = Annotated[str | None, of_training("--device", help="If not the device of the run.")]
OtherEngine = Annotated[
    str | None, of_training("--engine", help=f"{one_of((AUTO, *ENGINES))}, if not the engine of the run.")
]
