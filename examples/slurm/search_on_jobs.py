"""A search on SLURM whose workers are batch jobs: `python search_on_jobs.py results/mlp` starts or resumes it.

The scheduler runs in this process, which needs one core and lives as long as the search: on a login node, or in a job
of its own (search_on_jobs.sbatch). Worker jobs are short, so that they are started soon. Shortly before the end of its
time a worker leaves the cluster, another job takes its place, and what it was training is trained elsewhere: from the
state that is saved every minute, if all nodes see the run folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dask_jobqueue import SLURMCluster
from distributed import Client

import evo
from evo.cli.signals import StopOnSignals
from evo.loop.search_loop import SilentObserver

SEARCH = {"space": "mlp", "strategy": "ageing", "pending": 8, "budget": 500, "seed": 1, "data_dir": "~/cifar10"}
JOB = {
    "cores": 1,
    "processes": 1,  # with one core: one process of one thread, which trains one network at a time
    "memory": "4GB",
    "walltime": "01:00:00",
    "worker_extra_args": [
        *("--lifetime", "55m", "--lifetime-stagger", "4m"),
        *("--dashboard-address", "127.0.0.1:0"),  # else an HTTP server without a password, for everybody
    ],
    "job_extra_directives": [],  # for a GPU: ["--gres=gpu:1"], and SEARCH["device"] = "cuda"
    "interface": None,  # the network that all nodes share, as "ib0"; None for the first
}


class Log(SilentObserver):
    """Prints what happens, a line each."""

    def evaluated(self, run: evo.Run, evaluation: evo.Evaluation, seconds_left: float | None) -> None:
        """Print a result, and where it was computed."""
        said = f"{evaluation.fitness:.4f}" if evaluation.complete else f"{evaluation.status}: {evaluation.error}"
        print(f"#{evaluation.individual}: {said} in {evaluation.seconds:.0f} s on {evaluation.worker}", flush=True)

    def notify(self, message: str) -> None:
        """Print it."""
        print(message, flush=True)

    warn = notify


def main() -> int:
    """Return the exit code of the command `evo`: 75 for a search that was stopped and can be resumed."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", type=Path, help="the run folder")
    arguments.add_argument("--jobs", type=int, default=8, help="worker jobs at a time")
    given = arguments.parse_args()
    shared = Path.home() / ".evo-slurm"  # seen by all nodes; only you may read it, for it holds the certificates
    shared.mkdir(mode=0o700, exist_ok=True)
    shared.chmod(0o700)  # also if it was there before
    cluster = SLURMCluster(
        **JOB,
        security=True,  # everything is encrypted, and only who has the certificates gets in
        shared_temp_directory=str(shared),
        log_directory=str(given.run.absolute().with_name(f"{given.run.name}-jobs")),
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
    )
    with cluster, Client(cluster) as client, StopOnSignals() as signals:
        cluster.adapt(minimum_jobs=given.jobs, maximum_jobs=given.jobs)  # a job that ends is replaced
        how = {"dask": client, "observer": Log(), "stop_check": signals.check}
        try:
            if (given.run / "journal.jsonl").exists():
                run = evo.resume(given.run, **how)
            else:
                run = evo.search(**SEARCH, output=given.run, **how)
        except evo.Stop as stop:
            print(f"stopped: {stop}", flush=True)
            return stop.exit_code
    print(run.best)
    return 0


if __name__ == "__main__":
    sys.exit(main())
