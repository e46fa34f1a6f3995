"""What a search finds for so much compute.

python -m benchmarks.compute forecasts --lcbench lcbench --output forecasts
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from threadpoolctl import threadpool_limits

from benchmarks.command_line import start
from benchmarks.compute.curve_tasks import HALVES, CurveTask
from benchmarks.compute.forecasts import rows_of
from benchmarks.compute.lcbench import LCBench, datasets
from benchmarks.compute.suites import generated_tasks
from evo.errors import ConfigurationError

RESULTS = Path("benchmarks/compute/results")

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """What a search finds for so much compute."""


@app.command()
def forecasts(
    lcbench: Annotated[Path | None, typer.Option(help="Folder of LCBench's model.onnx and encoding.json.")] = None,
    half: Annotated[str, typer.Option(help="tuning or reporting")] = "tuning",
    seeds: Annotated[int, typer.Option(min=1)] = 5,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Forecast the ends of learning curves from a ninth and a third of them; write forecasts.csv, and print means."""
    tasks = _tasks(half, lcbench)
    with threadpool_limits(1):
        table = pd.DataFrame(rows_of(tasks, seeds, (9, 3)))
    table["suite"] = table["task"].str.rpartition("-")[0]
    output.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(output / f"forecasts-{half}.csv", index=False)
    means = table.groupby(["suite", "share", "method"], sort=False)[["order", "order_of_best", "regret", "likelihood"]]
    typer.echo(means.mean().round(3).to_string())


def _tasks(half: str, lcbench: Path | None) -> list[CurveTask]:
    if half not in HALVES:
        raise ConfigurationError(f'--half: must be {" or ".join(HALVES)}, got "{half}"')
    tasks: list[CurveTask] = [*generated_tasks()]
    tasks += [LCBench(lcbench, name) for name in datasets(lcbench)] if lcbench is not None else []
    return [task for task in tasks if task.half == half]


if __name__ == "__main__":
    start(app)
