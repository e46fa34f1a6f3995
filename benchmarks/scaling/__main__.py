"""How a search on Dask uses its workers: speed-up, efficiency and overhead, with real and with sleeping trainings.

    python -m benchmarks.scaling sleeping --workers 4 16 64 256 --mean 2 --output scaling
    python -m benchmarks.scaling sleeping --workers 200 --mean 30 --rounds 10 --strategies asynchronous --output scaling
    python -m benchmarks.scaling real --workers 2 --data-dir cifar10 --output scaling

*Sleeping* trainings compute nothing. They take the times of 24 measured trainings (`cifar10_searches/results/mlp-24`),
scaled to a mean, and their workers are threads of one process. So they show what scheduling costs and how long
strategies leave workers idle, for more workers than there are cores; they show nothing of memory, disks and networks.
*Real* trainings are those of the space `mlp` with fewer steps, on worker processes of this machine: the process pool
and a Dask cluster, forwards and back in every round. Sleeping ones give rows of `scaling.csv`, real ones of `real.csv`.

    python -m benchmarks.scaling.cluster_faults --kills 10 --output scaling

kills workers and a scheduler instead, and compares the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.scaling.rows import RealRow, Row, save
from benchmarks.scaling.searches import STRATEGIES, real, sleeping


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=("sleeping", "real"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", help="default: 4 16 64 256; real trainings: 1 2")
    parser.add_argument("--mean", type=float, default=2.0, help="seconds of a sleeping training")
    parser.add_argument("--rounds", type=int, default=8, help="sleeping trainings per worker")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), help="names, or how they begin")
    parser.add_argument("--data-dir", type=Path, help="data of the real trainings")
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
