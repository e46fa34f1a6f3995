"""How long `evo report` takes for a search of very many evaluations, and how large its page is."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import evo


def space() -> evo.SearchSpace:
    """Return six genes: a layer list, numbers on logarithmic scales, a choice and a boolean."""
    return evo.SearchSpace(
        {
            "hidden_layers": evo.Layers(depth=(1, 5), width=(16, 512), log=True),
            "learning_rate": evo.Float(1e-5, 1e-1, log=True),
            "batch_size": evo.Integer(32, 1024, log=True),
            "steps": evo.Integer(100, 1600, log=True),
            "activation": evo.Categorical(("relu", "gelu")),
            "batch_norm": evo.Boolean(),
        }
    )


def objective(config: dict[str, Any], seed: int) -> float:
    """Return a value that depends on two genes, plus noise."""
    peak = 0.9 - 0.1 * abs(math.log10(config["learning_rate"]) + 3)
    return peak - 0.02 * len(config["hidden_layers"]) + seed % 997 / 5e4


def large(
    evaluations: Annotated[int, typer.Option(min=50, help="Evaluations of the search.")] = 5000,
    repeats: Annotated[int, typer.Option(min=1, help="How often the report is made.")] = 5,
    output: Annotated[Path, typer.Option(help="Folder of the run; must not exist.")] = Path("large-report"),
) -> None:
    """Make a search, and time its report several times."""
    evo.search(space(), objective, strategy="ageing", population=50, budget=evaluations, output=output)
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "evo", "report", output], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        size = (output / "report.html").stat().st_size / 1e6
        typer.echo(f"{seconds:.1f} s, {processor:.1f} s of the processor, {size:.1f} MB")
