"""Kill the workers, and then the scheduler, of a Dask cluster during a search; count what is lost.

    python -m benchmarks.scaling.cluster_faults --kills 10 --output faults

The scheduler, each worker and the command `evo search` are separate processes. During the search, workers are killed
with SIGKILL at random moments, each replaced by a new one. Then the same search is run again and its scheduler is
killed; the run is resumed in the process pool, and a copy of it on another cluster. The tables must be those of an
undisturbed search.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.command import journal_text, run_command, start_command, tables, wait_until
from tests.evaluators.clusters import ProcessCluster

SPACE = """
model = "mlp"
dataset = "digits"

[training]
evaluate_every = 100
batch_size = 100
learning_rate = 1e-3

[genes.hidden_layers]
type = "layers"
depth = [1, 2]
width = [32, 128]

[genes.steps]
type = "integer"
low = 400
high = 1500
"""
WORKERS = 3
FINALISTS = 3
"""Trainings of the finalist on new seeds."""


def search(space: Path, run: Path, budget: int) -> list[str]:
    """Return the command without the options that say where to evaluate."""
    words = ["search", space, "--strategy", "ga", "--population", "8", "--budget", budget, "--seed", 3, "--output", run]
    return [str(word) for word in (*words, "--finalists", 1)]


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Return the evaluations in a run's journal; one that was recorded twice counts twice."""
    events = [json.loads(line)["event"] for line in journal_text(run).splitlines()]
    return [event["evaluation"] for event in events if event["kind"] == "evaluation"]


def evaluated(run: Path) -> int:
    """Return how many evaluations a run has recorded."""
    return journal_text(run).count('"kind":"evaluation"')


def killed_workers(space: Path, run: Path, budget: int, kills: int, folder: Path) -> dict[str, object]:
    """Kill workers during a search, and add new ones."""
    rng, killed = random.Random(0), []
    with ProcessCluster(folder) as cluster:
        for _ in range(WORKERS):
            cluster.add_worker()
        process = start_command(*search(space, run, budget), "--dask", cluster.address)
        for number in range(kills):
            wait_until(lambda number=number: evaluated(run) > number * budget // (kills + 2), seconds=600)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 1))
            victim = rng.choice([worker for worker in cluster.workers if worker.poll() is None])
            victim.kill()
            killed.append(evaluated(run))
            cluster.add_worker()
        _, stderr = process.communicate(timeout=900)
    found = evaluations(run)
    keys = Counter((entry["individual"], entry["replicate"]) for entry in found)
    return {
        "exit code": process.returncode,
        "kills, each after so many evaluations": killed,
        "evaluations": sum(keys.values()),
        "lost": budget + FINALISTS - len(keys),
        "recorded twice": sum(count - 1 for count in keys.values()),
        "statuses": dict(Counter(entry["status"] for entry in found)),
        "stderr": stderr.splitlines()[-1:] if process.returncode else [],
    }


def killed_scheduler(space: Path, run: Path, budget: int, folder: Path) -> dict[str, object]:
    """Kill the scheduler during a search."""
    with ProcessCluster(folder) as cluster:
        for _ in range(2):
            cluster.add_worker()
        process = start_command(*search(space, run, budget), "--dask", cluster.address)
        wait_until(lambda: evaluated(run) >= budget // 3, seconds=600)
        began = time.monotonic()
        cluster.scheduler.kill()
        _, stderr = process.communicate(timeout=120)
    return {
        "exit code": process.returncode,
        "seconds until it stopped": round(time.monotonic() - began, 1),
        "said": stderr.splitlines()[-2:],
    }


def main() -> None:
    """Run all of it and write what came out."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling.cluster_faults", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--budget", type=int, default=48)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        space = folder / "space.toml"
        space.write_text(SPACE)
        undisturbed = folder / "undisturbed"
        assert run_command(*search(space, undisturbed, given.budget), "--workers", "2").returncode == 0
        found: dict[str, object] = {}

        run = folder / "killed-workers"
        found["workers killed"] = killed_workers(space, run, given.budget, given.kills, folder)
        found["same tables after that"] = tables(run) == tables(undisturbed)

        run, copy = folder / "killed-scheduler", folder / "killed-scheduler-copy"
        found["scheduler killed"] = killed_scheduler(space, run, given.budget, folder)
        shutil.copytree(run, copy)
        found["resumed locally, exit code"] = run_command("resume", run, "--workers", "2").returncode
        found["resumed locally, same tables"] = tables(run) == tables(undisturbed)
        (folder / "other").mkdir()
        with ProcessCluster(folder / "other") as cluster:
            cluster.add_worker()
            found["resumed on another cluster, exit code"] = run_command(
                "resume", copy, "--dask", str(cluster.file)
            ).returncode
        found["resumed on another cluster, same tables"] = tables(copy) == tables(undisturbed)
    text = json.dumps(found, indent=2)
    print(text)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "faults.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
