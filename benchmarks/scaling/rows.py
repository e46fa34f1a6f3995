"""What a search shows of its workers: speed-up, efficiency and overhead, as rows of a table."""

from __future__ import annotations

import csv
import itertools
import math
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path

from benchmarks.markdown import table
from evo.evaluation import Evaluation
from evo.training.hardware import processor_name


@dataclass(frozen=True)
class Row:
    """One search with sleeping trainings.

    Attributes:
        kind: "sleeping".
        where: "dask".
        strategy: How it searched; `window` stands for `--pending`.
        workers: Trainings at a time.
        trainings: How many there were.
        mean: Seconds of a training.
        seconds: From the start of the first training to the end of the last.
        speedup: Seconds of all trainings divided by `seconds`.
        efficiency: Speed-up divided by workers: how busy they were, including the end, when fewer and fewer have work.
        utilisation: How busy they were until the last training started.
        overhead_ms: Median time of a worker between two trainings.
        overhead_mean_ms: Its mean, including waiting for the strategy.
        cpu_ms: Processor time of scheduler, workers and search together for one training.
        load: Load average of the machine over the last minute, at the end.
    """

    kind: str
    where: str
    strategy: str
    workers: int
    trainings: int
    mean: float
    seconds: float
    speedup: float
    efficiency: float
    utilisation: float
    overhead_ms: float
    overhead_mean_ms: float
    cpu_ms: float
    load: float


@dataclass(frozen=True)
class RealRow:
    """One search with real trainings.

    Attributes:
        round: Each has all cells twice, forwards and back.
        where: "process pool" or "dask local".
        workers: Processes.
        trainings: How many there were.
        wall_seconds: Of the whole search, with the start of its workers.
        first_start_to_last_end_seconds: From the start of the first training to the end of the last.
        training_seconds: Of all trainings.
        busy: Training seconds per worker and second from first start to last end.
        table: Fingerprint of evaluations.csv without times and worker names.
        load: Load average of the machine over the last minute, at the end.
    """

    round: int
    where: str
    workers: int
    trainings: int
    wall_seconds: float
    first_start_to_last_end_seconds: float
    training_seconds: float
    busy: float
    table: str
    load: float


def row_of(
    evaluations: Sequence[Evaluation], workers: int, cpu_seconds: float, *, kind: str, where: str, strategy: str
) -> Row:
    """Return what a search's evaluations show."""
    seconds = sum(evaluation.seconds for evaluation in evaluations)
    begins = min(evaluation.started for evaluation in evaluations)
    last_begin = max(evaluation.started for evaluation in evaluations)
    ends = max(evaluation.started + evaluation.seconds for evaluation in evaluations)
    busy = sum(max(0.0, min(e.started + e.seconds, last_begin) - e.started) for e in evaluations)
    gaps = gaps_of(evaluations)
    window = max(last_begin - begins, 1e-9)
    return Row(
        kind=kind,
        where=where,
        strategy=strategy,
        workers=workers,
        trainings=len(evaluations),
        mean=seconds / len(evaluations),
        seconds=ends - begins,
        speedup=seconds / (ends - begins),
        efficiency=seconds / (ends - begins) / workers,
        utilisation=busy / window / workers,
        overhead_ms=1000 * statistics.median(gaps) if gaps else math.nan,
        overhead_mean_ms=1000 * statistics.fmean(gaps) if gaps else math.nan,
        cpu_ms=1000 * cpu_seconds / len(evaluations),
        load=os.getloadavg()[0],
    )


def gaps_of(evaluations: Sequence[Evaluation]) -> list[float]:
    """Return the seconds of every worker between the end of a training and the start of its next."""
    of_worker: dict[str, list[Evaluation]] = defaultdict(list)
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.started):
        of_worker[evaluation.worker].append(evaluation)
    return [
        max(0.0, after.started - before.started - before.seconds)
        for done in of_worker.values()
        for before, after in itertools.pairwise(done)
    ]


def real_row_of(
    evaluations: Sequence[Evaluation], workers: int, wall_seconds: float, number: int, where: str, table: str
) -> RealRow:
    """Return what the evaluations of a search with real trainings show."""
    seconds = sum(evaluation.seconds for evaluation in evaluations)
    begins = min(evaluation.started for evaluation in evaluations)
    lasted = max(evaluation.started + evaluation.seconds for evaluation in evaluations) - begins
    return RealRow(
        round=number,
        where=where,
        workers=workers,
        trainings=len(evaluations),
        wall_seconds=wall_seconds,
        first_start_to_last_end_seconds=lasted,
        training_seconds=seconds,
        busy=seconds / workers / lasted,
        table=table,
        load=os.getloadavg()[0],
    )


def save(row: Row | RealRow, output: Path) -> None:
    """Append a row to scaling.csv or real.csv, and write all rows of that file as a Markdown table beside it."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / ("real.csv" if isinstance(row, RealRow) else "scaling.csv")
    columns = [field.name for field in fields(row)]
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(columns)
        writer.writerow([_text(getattr(row, column)) for column in columns])
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    lines = [
        f"{os.cpu_count()} cores, {processor_name()}; {platform.system()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {metadata.version(name)}" for name in ("distributed", "torch", "numpy")),
        "",
        *table(columns, rows),
    ]
    path.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
