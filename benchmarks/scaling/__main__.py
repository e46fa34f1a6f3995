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
from collections.abc import Iterator
from pathlib import Path

from benchmarks.scaling.rows import RealRow, Row, save
from benchmarks.scaling.searches import STRATEGIES, real, sleeping


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
