"""What reports cost: a loop that reports ten thousand times a second, with a run folder, in this process."""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import evo
from evo.training.hardware import processor_name

HERE = Path(__file__).resolve().parent
RATE, SECONDS, REPEATS = 10_000, 10, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this experiment."""
    parser.add_argument("--rate", type=int, default=RATE, help="reports a second")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each training")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="trainings")
    parser.add_argument("--output", type=Path, default=HERE / "results")


def run(given: argparse.Namespace) -> None:
    """Measure the processor time of trainings that only report, at a fixed rate; write a summary."""
    steps, shares = int(given.rate * given.seconds), []

    def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        (trial.folder / "checkpoint").touch()
        value, cpu, began = 0.0, time.process_time(), time.monotonic()
        for step in range(1, steps + 1):
            value = 1 - 1 / step
            trial.report(step, value, loss=1 / step)
            if step % 100 == 0:  # waits cost nothing; a hundred reports come at once
                time.sleep(max(0.0, began + step / given.rate - time.monotonic()))
        shares.append((time.process_time() - cpu) / (time.monotonic() - began))
        return value

    with tempfile.TemporaryDirectory() as folder:
        space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
        found = evo.search(
            space, objective, max_steps=steps, budget=given.repeats, finalists=0, output=Path(folder) / "run"
        )
        points = len(found.curves) // given.repeats
    text = (
        f"{given.rate:,} reports a second for {given.seconds:g} s, {given.repeats} trainings: "
        f"{statistics.median(shares):.1%} of a core (median; {min(shares):.1%} to {max(shares):.1%}); {points} points "
        f"of each curve are kept.\n\n{processor_name()}; python {platform.python_version()}, evo {evo.__version__}.\n"
    )
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "reports.md").write_text(text, encoding="utf-8")
    print(text, end="")
