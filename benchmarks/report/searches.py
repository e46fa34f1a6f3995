"""The report's searches with a share of each training's steps, their winners in full, and what both reached."""

from __future__ import annotations

import functools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import evo
from benchmarks.throughput.machine import step_operations
from evo.errors import ConfigurationError
from evo.evaluation import Evaluation
from evo.files import write_json
from evo.loop.search_loop import SilentObserver
from evo.record.run import Run
from evo.record.tables import write_csv
from evo.training.hardware import processor_name, resolve_engine, resolve_precision

STRATEGIES = ("report2019", "report2019-fixed", "ga")
ALL_STRATEGIES = ",".join(STRATEGIES)
TRAININGS = 46
REPORTED = 53.7
"""Test accuracy of GA1 in the report's Table 1, in %: the best that the search of 2019 found."""
PROTOCOL = ("--preprocess", "subtract_mean_image", "--fitness", "test", "--evaluate-every", "100", "--seed", "1")
"""How a winner is trained: the report's pixels, all 50,000 images, measured on the test set, which selected nothing."""
LAST_POINTS = 5
"""Points of a winner's curve whose median is taken: Adam's loss spikes late on pixels of this scale."""

Strategies = Annotated[str, typer.Option(help="Names, separated by commas.")]
DataDir = Annotated[Path, typer.Option(help="CIFAR-10 as an image folder.")]
Output = Annotated[Path, typer.Option(help="Folder of the runs.")]


@dataclass(frozen=True)
class ShortTraining:
    """An objective: validation accuracy after a share of a genome's steps.

    Attributes:
        data_dir: CIFAR-10 as an image folder.
        divisor: Only one in this many of the steps is done.
    """

    data_dir: Path
    divisor: float

    def __call__(self, config: dict[str, Any], seed: int) -> float:
        steps = max(1, round(config["steps"] / self.divisor))
        result = _trainer(self.data_dir).train({**config, "steps": steps}, seed)
        return result.held_out.accuracy if result.held_out is not None else math.nan


@functools.cache
def _trainer(data_dir: Path) -> Any:
    """Return evo's trainer under the report's protocol: one thread, the fastest engine of this machine."""
    import torch

    from evo.data.prepared import prepare_dataset
    from evo.models.mlp import build
    from evo.training.trainer import Trainer

    torch.set_num_threads(1)
    precision = resolve_precision("auto", "cpu")
    engine = resolve_engine("auto", "cpu", precision)
    training = evo.load_space("report").training
    return Trainer(prepare_dataset("imagefolder", data_dir), training, build, precision=precision, engine=engine)


def note_machine(output: Path, divisor: float) -> None:
    """Write what the searches are computed with to `machine.json`; they can only be resumed with the same.

    Raises:
        ConfigurationError: The searches in this folder were started with another divisor, precision or engine.
    """
    import torch

    precision = resolve_precision("auto", "cpu")
    asked = {"divisor": divisor, "precision": precision, "engine": resolve_engine("auto", "cpu", precision)}
    file = output / "machine.json"
    if not file.is_file() and any((output / strategy).exists() for strategy in STRATEGIES):
        raise ConfigurationError(f"{output}: holds searches but no machine.json; give another --output")
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
        for name, value in asked.items():
            if known[name] != value:
                raise ConfigurationError(
                    f"{output}: was started with {name} {known[name]}, this is {value}; give another --output"
                )
        return
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    output.mkdir(parents=True, exist_ok=True)
    write_json(file, {**asked, "processor": processor_name(), "cores": os.cpu_count(), **versions})


class Lines(SilentObserver):
    """Prints a line per evaluation."""

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        config = run.individuals[evaluation.individual].config
        typer.echo(f"#{evaluation.individual}: {evaluation.fitness} in {evaluation.seconds:.0f} s: {config}")


def run(
    data_dir: DataDir,
    output: Output,
    divisor: Annotated[float, typer.Option(min=1, help="Do only one in this many of the steps.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 2,
    strategies: Strategies = ALL_STRATEGIES,
) -> None:
    """Make the searches, or resume them."""
    from evo.data.prepared import prepare_dataset

    prepare_dataset("imagefolder", data_dir.resolve())  # decoded here once: a worker may not start processes
    note_machine(output, divisor)
    objective = ShortTraining(data_dir.resolve(), divisor)
    for strategy in strategies.split(","):
        folder = output / strategy
        if (folder / "journal.jsonl").is_file():
            found = evo.resume(folder, objective, workers=workers, observer=Lines())
        else:
            found = evo.search(
                "report",
                objective,
                strategy=strategy,
                population=10,
                budget=TRAININGS,
                seed=1,
                finalists=0,
                workers=workers,
                output=folder,
                observer=Lines(),
            )
        typer.echo(f"{strategy}: {len(found.table)} trainings, best {found.best}")


def winners(
    data_dir: DataDir,
    output: Output,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each winner.")] = 1,
    strategies: Strategies = ALL_STRATEGIES,
) -> None:
    """Train the best genome of every search in full and measure it on the test set; or resume that.

    Raises:
        ConfigurationError: A search is not complete, so its best genome may still change.
    """
    for strategy in strategies.split(","):
        found, folder = evo.load(output / strategy), output / f"{strategy}-winner"
        if len(found.table) < TRAININGS:
            raise ConfigurationError(f"{output / strategy}: has {len(found.table)} of {TRAININGS} trainings; finish it")
        if (folder / "journal.jsonl").is_file():
            command = ["resume", str(folder), "--seeds", str(seeds)]
        else:
            genome = found.best.config
            flags = [text for name, value in genome.items() for text in (f"--{name.replace('_', '-')}", _text(value))]
            command = ["train", *flags, *PROTOCOL, "--seeds", str(seeds), "--output", str(folder)]
        subprocess.run([sys.executable, "-m", "evo", *command, "--data-dir", str(data_dir)], check=True)


def report(output: Output) -> None:
    """Write `comparison.csv` and the figure `comparison`: what each search found, next to the report's result.

    Raises:
        ConfigurationError: The folder holds no searches.
    """
    from evo.reports.progress_figures import progress_figure
    from evo.reports.search_data import SearchData
    from evo.reports.style import save_figure

    if not (output / "machine.json").is_file():
        raise ConfigurationError(f"{output}: holds no searches; make them with run")
    divisor = json.loads((output / "machine.json").read_text(encoding="utf-8"))["divisor"]
    searches = {strategy: evo.load(output / strategy) for strategy in STRATEGIES if (output / strategy).is_dir()}
    rows = [comparison_row(strategy, found, output, divisor) for strategy, found in searches.items()]
    table = pd.DataFrame(rows)
    write_csv(table, output / "comparison.csv")
    figure = progress_figure([SearchData(strategy, found) for strategy, found in searches.items()])
    figure.axes[0].set_ylabel(f"validation accuracy, 1/{divisor:g} of the steps")
    save_figure(figure, output / "comparison")
    typer.echo(table.to_string(index=False))


def comparison_row(strategy: str, found: Run, output: Path, divisor: float) -> dict[str, Any]:
    """Return a row: the search, its best genome, and what that genome reached when it was trained in full.

    Columns: `strategy`; `trainings`, `distinct` (genomes), `failed`; `petaflop` of the search as it was made, `hours`
    of one core; `validation` of the best genome in the search; its genes; `winner_petaflop`; of its trainings in full
    `seeds`, `test` and `test_std` after the last step, `test_median` of the last points, `train`; `report`. Accuracies
    in %, in evaluation mode, means over the seeds; nan where the winner was not trained.
    """
    configs = [individual.config for individual in found.individuals]
    best = found.best
    row: dict[str, Any] = {
        "strategy": strategy,
        "trainings": len(found.table),
        "distinct": len({json.dumps(config, sort_keys=True) for config in configs}),
        "failed": int((found.table["status"] != "complete").sum()),
        "petaflop": sum(map(_operations, configs)) / divisor / 1e15,
        "hours": float(found.table["seconds"].sum()) / 3600,
        "validation": 100 * float(found.table["fitness"].astype(float).max()),
        **{name: _text(value) for name, value in best.config.items()},
        "winner_petaflop": _operations(best.config) / 1e15,
        "seeds": 0,
        "test": math.nan,
        "test_std": math.nan,
        "test_median": math.nan,
        "train": math.nan,
        "report": REPORTED,
    }
    folder = output / f"{strategy}-winner"
    return row | accuracies_in_full(evo.load(folder), best.config) if folder.is_dir() else row


def accuracies_in_full(winner: Run, config: dict[str, Any]) -> dict[str, Any]:
    """Return what the complete trainings of a winner reached.

    Raises:
        ConfigurationError: They are of another genome: the search continued after them.
    """
    trained = winner.individuals[0].config
    if any(trained[name] != value for name, value in config.items()):
        raise ConfigurationError("a winner's folder holds another genome than its search's best; remove it")
    table = winner.table[winner.table["status"] == "complete"]
    if table.empty:
        return {}
    curves = [winner.curves[winner.curves["replicate"] == replicate] for replicate in table["replicate"]]
    medians = [curve["test_accuracy"].astype(float).iloc[-LAST_POINTS:].median() for curve in curves]
    return {
        "seeds": len(table),
        "test": 100 * float(table["test_accuracy"].astype(float).mean()),
        "test_std": 100 * float(table["test_accuracy"].astype(float).std()),
        "test_median": 100 * statistics.fmean(medians),
        "train": 100 * float(table["train_accuracy"].astype(float).mean()),
    }


def _operations(config: dict[str, Any]) -> float:
    """Return the floating-point operations of a genome's training in full."""
    return float(config["steps"] * config["batch_size"]) * _operations_of_an_image(config["hidden_layers"])


@functools.cache
def _operations_of_an_image(hidden_layers: tuple[int, ...]) -> int:
    return step_operations("mlp", {"hidden_layers": hidden_layers}, (3, 32, 32), 10, batch_size=1)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
