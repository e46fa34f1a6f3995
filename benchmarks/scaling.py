"""How a search on Dask uses its workers: speed-up, efficiency and overhead, on real and on sleeping trainings.

    python -m benchmarks.scaling sleeping --workers 4 16 64 256 --mean 2 --output scaling
    python -m benchmarks.scaling sleeping --workers 200 --mean 30 --rounds 10 --strategies asynchronous --output scaling
    python -m benchmarks.scaling real --workers 2 --data-dir cifar10 --output scaling

*Sleeping* trainings compute nothing: they take the times of the 24 trainings of `results/mlp-24`, scaled to a mean, and
their workers are threads of one process. So they show what scheduling costs and what strategies leave idle, for more
workers than there are cores, and nothing of memory, disks and networks. *Real* trainings are those of the space `mlp`
with fewer steps, on worker processes of this machine: of the process pool and of a Dask cluster, forwards and back in
every round. Sleeping ones make rows of `scaling.csv`, real ones of `real.csv`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import math
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import evo
from evo.individual import Evaluation
from evo.training.hardware import processor_name

MEASURED = Path(__file__).parent / "results" / "mlp-24" / "evaluations.csv"
SPACE = evo.SearchSpace({"x": evo.Float(-1.0, 1.0), "y": evo.Float(-1.0, 1.0)})
STEPS = (100, 300)
"""Of the real trainings, instead of the space's 200 to 2000."""
WIDTH = (16, 512)
"""Of their layers, instead of up to 1024; there are one to five, as in the space."""
POPULATION = 20
CLOCK = ("seconds", "worker", "started", "seconds_before")
"""Columns that say when, where and how fast, and not what came out."""


@dataclass(frozen=True)
class Row:
    """One search with sleeping trainings.

    Attributes:
        kind: "sleeping".
        where: "dask".
        strategy: How it was searched; `window` stands for `--pending`.
        workers: Trainings at a time.
        trainings: How many there were.
        mean: Seconds of a training.
        seconds: From the start of the first training to the end of the last.
        speedup: Seconds of all trainings over those.
        efficiency: Speed-up over workers; how busy they were, the end included, at which ever fewer have work.
        utilisation: How busy they were until the last training was begun.
        overhead_ms: Median time of a worker between two trainings.
        overhead_mean_ms: Its mean, waiting for the strategy included.
        cpu_ms: Processor time of scheduler, workers and search together for one training.
        load: Of the machine, over the last minute, at the end.
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
        busy: Those over the workers and over the time from first start to last end.
        table: Fingerprint of evaluations.csv without times and workers' names: the same for the same table.
        load: Of the machine, over the last minute, at the end.
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


class Sleeper:
    """An objective that sleeps as long as a training of the measured distribution takes, and knows a smooth optimum."""

    def __init__(self, times: Sequence[float], mean: float):
        scale = mean / statistics.fmean(times)
        self.times = sorted(scale * value for value in times)

    def __call__(self, config: dict[str, float], seed: int) -> float:
        place = (seed % 9973) / 9973 * (len(self.times) - 1)
        below = int(place)
        time.sleep(self.times[below] + (place - below) * (self.times[below + 1] - self.times[below]))
        return -((config["x"] - 0.3) ** 2) - (config["y"] + 0.2) ** 2


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


ONE_PROCESS = {
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.tick.interval": "10s",
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,
}
"""Every Dask worker measures its process fifty times a second: 200 of them in one process do little else."""

STRATEGIES: dict[str, Callable[[int], dict[str, Any]]] = {
    "generational (ga)": lambda workers: {"strategy": "ga", "population": max(4, 2 * workers)},
    "window = workers (ageing)": lambda workers: {"strategy": "ageing", "pending": workers},
    "window = 2 × workers (ageing)": lambda workers: {"strategy": "ageing", "pending": 2 * workers},
    "asynchronous (ageing)": lambda workers: {"strategy": "ageing", "asynchronous": True},
}


def sleeping(workers: int, mean: float, rounds: int, strategy: str) -> Row:
    """Search with sleeping trainings on workers in this process; the journal is written, as in every search."""
    with MEASURED.open(newline="") as file:
        times = [float(row["seconds"]) for row in csv.DictReader(file)]
    with in_process_cluster(workers) as client, tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        run = evo.search(
            SPACE,
            Sleeper(times, mean),
            budget=rounds * workers,
            seed=1,
            finalists=0,
            dask=client,
            output=Path(folder) / "run",
            **STRATEGIES[strategy](workers),
        )
        cpu = time.process_time() - before
    return row_of(run.search_evaluations, workers, cpu, kind="sleeping", where="dask", strategy=strategy)


@contextmanager
def in_process_cluster(workers: int) -> Iterator[Any]:
    """Give a client of a cluster whose workers are threads of this process."""
    import dask
    from distributed import Client, LocalCluster

    port = "127.0.0.1:0"
    options: dict[str, Any] = {"dashboard_address": port, "worker_dashboard_address": port, "silence_logs": 60}
    with (
        dask.config.set(ONE_PROCESS),
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=False, memory_limit=0, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def real(data_dir: Path, budget: int, rounds: int, counts: Sequence[int]) -> Iterator[RealRow]:
    """Search `mlp` with few steps on so many workers, in the process pool and on Dask, forwards and back."""
    space = evo.load_space("mlp")
    genes = {
        **space.genes,
        "steps": evo.Integer(*STEPS, log=True),
        "hidden_layers": evo.Layers((1, 5), WIDTH, log=True),
    }
    small = evo.SearchSpace(genes, name="mlp-short", model="mlp", dataset="cifar10", training=space.training)
    cells = [(where, workers) for workers in counts for where in ("process pool", "dask local")]
    for number in range(1, rounds + 1):
        for where, workers in (*cells, *reversed(cells)):
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                run = evo.search(
                    small,
                    strategy="ga",
                    population=POPULATION,
                    budget=budget,
                    seed=1,
                    finalists=0,
                    data_dir=data_dir,
                    workers=workers,
                    dask="local" if where == "dask local" else None,
                    output=Path(folder) / "run",
                )
            cells_of_table = run.table.drop(columns=list(CLOCK)).to_csv(index=False)
            table = hashlib.sha256(cells_of_table.encode()).hexdigest()[:8]
            yield real_row_of(run.search_evaluations, workers, time.monotonic() - began, number, where, table)


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
    """Append a row to scaling.csv or real.csv, and write all rows of that as a table in Markdown beside it."""
    output.mkdir(parents=True, exist_ok=True)
    table = output / ("real.csv" if isinstance(row, RealRow) else "scaling.csv")
    columns = [field.name for field in fields(row)]
    new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(columns)
        writer.writerow([_text(getattr(row, column)) for column in columns])
    with table.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    lines = [
        f"{os.cpu_count()} cores, {processor_name()}; {platform.system()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {metadata.version(name)}" for name in ("distributed", "torch", "numpy")),
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(cells) + " |" for cells in rows),
    ]
    table.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=("sleeping", "real"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", help="default: 4 16 64 256; real trainings: 1 2")
    parser.add_argument("--mean", type=float, default=2.0, help="seconds of a sleeping training")
    parser.add_argument("--rounds", type=int, default=8, help="sleeping trainings a worker")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), help="or the first words of some")
    parser.add_argument("--data-dir", type=Path, help="of the real trainings")
    parser.add_argument("--budget", type=int, default=40, help="real trainings")
    parser.add_argument("--repeats", type=int, default=2, help="rounds of real trainings, each forwards and back")
    given = parser.parse_args()
    rows: Iterator[Row | RealRow]
    if given.kind == "real":
        rows = real(given.data_dir, given.budget, given.repeats, given.workers or (1, 2))
    else:
        chosen = [name for name in STRATEGIES if name.startswith(tuple(given.strategies))]
        cells = [(workers, name) for workers in given.workers or (4, 16, 64, 256) for name in chosen]
        rows = (sleeping(workers, given.mean, given.rounds, name) for workers, name in cells)
    for row in rows:
        print(row, flush=True)
        save(row, given.output)


if __name__ == "__main__":
    main()
