"""The searches whose workers are watched: with sleeping trainings in this process, with real ones in several."""

from __future__ import annotations

import csv
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import evo
from benchmarks.scaling.rows import RealRow, Row, real_row_of, row_of

MEASURED = Path(__file__).resolve().parents[1] / "cifar10_searches" / "results" / "mlp-24" / "evaluations.csv"
SPACE = evo.SearchSpace({"x": evo.Float(-1.0, 1.0), "y": evo.Float(-1.0, 1.0)})
STEPS = (100, 300)
"""Of the real trainings, instead of the space's 200 to 2000."""
WIDTH = (16, 512)
"""Of their layers, instead of up to 1024; there are one to five, as in the space."""
POPULATION = 20
CLOCK = ("seconds", "worker", "started", "seconds_before")
"""Columns that say when, where and how fast, not what the result was."""


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


ONE_PROCESS = {
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.tick.interval": "10s",
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,
}
"""Every Dask worker measures its process fifty times a second; 200 of them in one process do little else."""

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
    """Yield a client of a cluster whose workers are threads of this process."""
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
    """Search `mlp` with few steps on each number of workers, in the process pool and on Dask, forwards and back."""
    space = evo.load_space("mlp_classic")
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
