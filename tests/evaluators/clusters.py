"""Dask clusters for tests: inside this process, where they start at once; or as processes, which can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, LocalCluster

from evo.evaluators.dask.connection import Connection
from tests.command import environment, wait_until

ANY_PORT = "127.0.0.1:0"


def own_cluster(workers: int = 1, threads: int = 1) -> Connection:
    """Return a connection to a cluster in this process that ends with it."""
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        processes=False,
        memory_limit=0,
        dashboard_address=ANY_PORT,
        worker_dashboard_address=ANY_PORT,
        silence_logs=60,
    )
    client = Client(cluster, set_as_default=False)

    def close() -> None:
        client.close()
        cluster.close()

    return Connection(client, str(cluster.scheduler_address), close)


@contextmanager
def client_of(workers: int, threads: int = 1) -> Iterator[Client]:
    """Give a client of a cluster in this process."""
    connection = own_cluster(workers, threads)
    try:
        yield connection.client
    finally:
        connection.close()


class ProcessCluster:
    """A scheduler and workers as a person starts them, each a process that can be killed."""

    def __init__(self, folder: Path):
        self._folder, self._started = folder, 0
        self.file = folder / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "scheduler", "--scheduler-file", str(self.file), "--port", "0"
        )  # 8786 may be taken
        wait_until(lambda: self.file.is_file() and bool(self.file.read_text()))
        self.address = str(json.loads(self.file.read_text())["address"])

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, without a nanny that would start it again."""
        worker = self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def __enter__(self) -> ProcessCluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        self._started += 1
        with (self._folder / f"{words[0]}-{self._started}.log").open("wb") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "distributed.cli.dask_" + words[0],
                    *words[1:],
                    "--host",
                    "127.0.0.1",
                    "--dashboard-address",
                    ANY_PORT,
                ],
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=self._folder,
            )
