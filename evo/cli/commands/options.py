"""Options that several commands share, with their help."""

from __future__ import annotations

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
TensorBoard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Also write for TensorBoard, to RUN/tensorboard.", rich_help_panel=OUTPUT),
]
MLflow = Annotated[
    bool,
    typer.Option(
        "--mlflow",
        help="Also write to MLflow, to MLFLOW_TRACKING_URI or RUN/mlflow.",
        rich_help_panel=OUTPUT,
    ),
]
Seed = Annotated[
    int, typer.Option(help="Decides everything that is drawn: same seed, same table.", rich_help_panel=SEARCH)
]
Budget = Annotated[int | None, typer.Option(help="Most trainings.", rich_help_panel=SEARCH)]
Generations = Annotated[int | None, typer.Option(help="Most generations.", rich_help_panel=SEARCH)]
Strategy = Annotated[
    str | None,
    typer.Option(help=f"{one_of(STRATEGIES)}. Default: {DEFAULT_STRATEGY}.", rich_help_panel=SEARCH),
]
Fitness = Annotated[
    str,
    typer.Option(
        help=f"{one_of(FITNESS_PARTS)}; test: select on the test set, as the 2019 report did.", rich_help_panel=SEARCH
    ),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        help="Stop after this time at the latest, as 90s, 30m or 8h; exit code 75, resumable.", rich_help_panel=SEARCH
    ),
]
Finalists = Annotated[
    int | None,
    typer.Option(
        help="Genomes trained again on three new seeds each, then tested; 0: none. Default: 3.", rich_help_panel=SEARCH
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Trainings at a time; changes no result. Default: one per core; on a GPU, one.", rich_help_panel=TRAINING
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        help="Most time of one training, as 90s or 10m; one that takes longer fails.", rich_help_panel=TRAINING
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS|local",
        help="Train on a Dask cluster: tcp://host:8786, tls://host:8786, a scheduler file, or local for one here. "
        "--workers is then the most trainings at a time.",
        rich_help_panel=TRAINING,
    ),
]
Dataset = Annotated[str | None, typer.Option(help=f"{one_of(DATASETS)}.", rich_help_panel=TRAINING)]
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
    typer.Option(
        help=f"{', '.join(MODELS)}, or package.module:function for a user-defined model.", rich_help_panel=TRAINING
    ),
]
Optimiser = Annotated[
    str | None,
    typer.Option(help=f"{one_of(OPTIMISERS)}. Default: adam; numpy_mlp: sgd.", rich_help_panel=TRAINING),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        help=f"{one_of(PREPROCESSING)}. Default: standardise; numpy_mlp: subtract_mean_image.",
        rich_help_panel=TRAINING,
    ),
]

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=TRAINING)]
Precision = Annotated[
    str,
    typer.Option(
        help=f"{one_of((AUTO, *PRECISIONS))}; auto: bf16 where the hardware computes in it.", rich_help_panel=TRAINING
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        help=f"{one_of((AUTO, *ENGINES))}: how a CPU multiplies in fp32; auto: by the processor.",
        rich_help_panel=TRAINING,
    ),
]
OtherDevice = Annotated[
    str | None, typer.Option("--device", help="If not the device of the run.", rich_help_panel=TRAINING)
]
OtherEngine = Annotated[
    str | None,
    typer.Option(
        "--engine", help=f"{one_of((AUTO, *ENGINES))}, if not the engine of the run.", rich_help_panel=TRAINING
    ),
]
