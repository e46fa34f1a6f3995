"""The 2019 report's search again, beside it its repaired twin and `ga`: 46 trainings each, of a share of their steps.

    python -m benchmarks.report_searches run --data-dir cifar10 --output report-searches
    python -m benchmarks.report_searches winners --data-dir cifar10 --output report-searches

In full, one such search is 3.7 PFLOP: seven hours of two cores in float32. So the algorithms run unchanged on the space
`report`, but every training does one step of `--divisor`: ten by default. Fitness is validation accuracy. `winners`
then trains the best genome of each for all of its steps on the whole training set, and measures it on the test set.
A search that was stopped goes on with the same command.
"""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import evo
from evo.individual import Evaluation
from evo.loop import Nobody
from evo.run import Run

STRATEGIES = ("report2019", "report2019-fixed", "ga")
TRAININGS = 46

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)

DataDir = Annotated[Path, typer.Option(help="CIFAR-10 as an image folder.")]
Output = Annotated[Path, typer.Option(help="Folder of the runs.")]


@dataclass(frozen=True)
class ShortTraining:
    """An objective: validation accuracy after a share of a genome's steps.

    Attributes:
        data_dir: CIFAR-10 as an image folder.
        divisor: One step of so many is done.
    """

    data_dir: Path
    divisor: float

    def __call__(self, config: dict[str, Any], seed: int) -> float:
        steps = max(1, round(config["steps"] / self.divisor))
        result = _trainer(self.data_dir).train({**config, "steps": steps}, seed)
        return result.held_out.accuracy if result.held_out is not None else math.nan


@functools.cache
def _trainer(data_dir: Path) -> Any:
    """Return evo's own trainer under the report's protocol; one thread, as in every search."""
    import torch

    from evo.data.prepared import prepare_dataset
    from evo.models.mlp import build
    from evo.training import Trainer

    torch.set_num_threads(1)
    return Trainer(prepare_dataset("imagefolder", data_dir), evo.load_space("report").training, build)


class Lines(Nobody):
    """Prints a line an evaluation."""

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Print it."""
        config = run.individuals[evaluation.individual].config
        typer.echo(f"#{evaluation.individual}: {evaluation.fitness} in {evaluation.seconds:.0f} s: {config}")


@app.command()
def run(
    data_dir: DataDir,
    output: Output,
    divisor: Annotated[float, typer.Option(min=1, help="One step of so many is done.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 2,
    strategies: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(STRATEGIES),
) -> None:
    """Make the searches, or go on with them."""
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


@app.command()
def winners(data_dir: DataDir, output: Output) -> None:
    """Train the best genome of every search in full, once, and measure it on the test set."""
    for strategy in STRATEGIES:
        folder = output / f"{strategy}-winner"
        if folder.exists():
            continue
        genome = evo.load(output / strategy).best.config
        flags = [text for name, value in genome.items() for text in (f"--{name.replace('_', '-')}", _text(value))]
        protocol = [
            "--preprocess",
            "subtract_mean_image",
            "--fitness",
            "test",
            "--evaluate-every",
            "100",
            "--seeds",
            "1",
        ]
        where = ["--data-dir", str(data_dir), "--output", str(folder)]
        subprocess.run([sys.executable, "-m", "evo", "train", *flags, *protocol, *where], check=True)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    app()
