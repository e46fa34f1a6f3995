"""Options that several commands share, with their help."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from evo import names


def one_of(*choices: str) -> str:
    """Return names as a help text says them: "a, b or c"."""
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def seconds_of(text: str) -> float:
    """Return the seconds of a time such as 90s, 30m, 8h, 2d, 1h30m, or a bare number of seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(f'"{text}" is not a time; write 90s, 30m, 8h or 1h30m')
    return float(sum(float(number) * units[unit] for number, unit in parts))


of_search = functools.partial(typer.Option, rich_help_panel="The search")
of_training = functools.partial(typer.Option, rich_help_panel="The trainings")
of_output = functools.partial(typer.Option, rich_help_panel="Output")

Output = Annotated[Path | None, of_output("--output", "-o", help="The run folder. Default: results/<space>-<n>.")]
Quiet = Annotated[bool, of_output("--quiet", "-q", help="No progress.")]
Debug = Annotated[bool, of_output("--debug", help="Show a traceback with an error, and with each training that fails.")]
Overwrite = Annotated[bool, of_output("--overwrite", help="Replace the run in --output.")]
TensorBoard = Annotated[bool, of_output("--tensorboard", help="Also write for TensorBoard, to RUN/tensorboard.")]
MLflow = Annotated[bool, of_output("--mlflow", help="Also write to MLflow, to MLFLOW_TRACKING_URI or RUN/mlflow.")]
Seed = Annotated[int, of_search(help="Decides everything that is drawn: same seed, same table.")]
Budget = Annotated[int | None, of_search(help="Maximum number of trainings in the search.")]
Generations = Annotated[int | None, of_search(help="Maximum number of generations.")]
Strategy = Annotated[str | None, of_search(help=f"{one_of(*names.STRATEGIES)}. Default: {names.DEFAULT_STRATEGY}.")]
Fitness = Annotated[
    str,
    of_search(
        help=f"{one_of(*names.FITNESSES)}: the accuracy there, or another measure on the validation part (a loss "
        "is minimised); test: select on the test set, as the 2019 report did."
    ),
]
TIME: dict[str, Any] = {"parser": seconds_of, "metavar": "time"}
TimeBudget = Annotated[
    float | None,
    of_search(help="Finish within this time, such as 90s, 30m or 8h, including finalists and test.", **TIME),
]
Finish = Annotated[
    bool,
    of_search(
        " /--no-finish",
        help="Search for all of --time-budget, then stop without a winner: exit code 75, resumable.",
        show_default=False,
    ),
]
Finalists = Annotated[
    int | None,
    of_search(
        help="Genomes to retrain on new seeds and test. Default: 3 on three seeds each, or fewer where these would "
        "cost more than the search."
    ),
]
Workers = Annotated[
    int | None, of_training(help="Trainings at a time; changes no result. Default: one per core; on a GPU, one.")
]
Timeout = Annotated[float | None, of_training(help="Longest time for one training, such as 90s or 10m.", **TIME)]
CLUSTER = "Train on a Dask cluster: tcp://host:8786, tls://host:8786, a scheduler file, or local for one here."
Dask = Annotated[
    str | None, of_training(metavar="ADDRESS|local", help=f"{CLUSTER} --workers is then the most trainings at a time.")
]
DATASETS = f"{', '.join(names.DATASETS)}, or module:function for a function of yours that returns the data."
Dataset = Annotated[str | None, of_training(help=DATASETS)]
SameDataset = Annotated[str | None, of_training("--dataset", help="The run's own data again: module:function.")]
DataDir = Annotated[
    Path | None,
    of_training(help="Folder of the data, or FILE.npz; without --dataset, what lies there decides."),
]
MovedData = Annotated[Path | None, of_training("--data-dir", help="Folder or file of the data, if it has moved.")]
MODELS = f"{', '.join(names.MODELS)}, or package.module:function for a user-defined model."
Model = Annotated[str | None, of_training(help=MODELS)]
SameModel = Annotated[str | None, of_training("--model", help="The run's own model again: package.module:function.")]
Device = Annotated[str, of_training(help="auto, cpu, cuda or cuda:N.")]
OtherDevice = Annotated[str | None, of_training("--device", help="Use another device than the run's.")]
PRECISIONS = one_of(names.AUTO, *names.PRECISIONS)
Precision = Annotated[str, of_training(help=f"{PRECISIONS}; auto: bf16 where the hardware computes in it.")]
ENGINES = one_of(names.AUTO, *names.ENGINES)
Engine = Annotated[str, of_training(help=f"{ENGINES}: how a CPU multiplies; auto: by the processor and the precision.")]
OtherEngine = Annotated[str | None, of_training("--engine", help=f"{ENGINES}, if not the engine of the run.")]
