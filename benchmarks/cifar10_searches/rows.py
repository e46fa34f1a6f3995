"""What is kept of a run: a JSONL file. Its first line says what was run and on what; a line per training follows."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import evo
from benchmarks.cifar10_searches.clock import Times
from benchmarks.throughput.machine import cores
from evo.evaluation import Evaluation
from evo.files import write_text
from evo.individual import STEPS, genome_from_json, without_duration
from evo.loop.cost import counter_of
from evo.loop.finished import limit_of
from evo.record.folder import is_run
from evo.record.run import Run
from evo.record.settings import LISTED
from evo.space import SearchSpace

if TYPE_CHECKING:
    from benchmarks.cifar10_searches.runs import Bench

Row: TypeAlias = dict[str, Any]

TRAINING, SEARCH, PAIR, RANDOM = "training", "search", "pair", "random"
"""Kinds of runs; names begin with them."""
CHANCE = 0.1
"""The accuracy of guessing among ten classes; what the peer is told of a training that failed or diverged."""
SHOWN_VERSIONS = ("evo", "python", "torch", "numpy", "deap")


@dataclass(frozen=True)
class Kept:
    """A run as its rows have it.

    Attributes:
        name: Of the run.
        head: What was run: `kind, space, strategy, seed, minutes`; `machine`; seconds that it took by stage.
        trainings: One row per training.
    """

    name: str
    head: Row
    trainings: tuple[Row, ...]

    @property
    def machine(self) -> str:
        """What computes, in one line."""
        return "; ".join(f"{self.head['machine'][key]}" for key in ("processor", "precision", "engine"))

    def of(self, phase: str) -> list[Row]:
        """Return the trainings of a phase, in their order."""
        return [row for row in self.trainings if row["phase"] == phase]

    @property
    def winner_rows(self) -> list[Row]:
        """The winner's trainings on new seeds; those of the configuration where nothing was searched."""
        winner = self.head["winner"]
        if self.head["kind"] == TRAINING:
            return list(self.trainings)
        return [row for row in self.of("finalist") if row["individual"] == winner]

    @property
    def tests(self) -> list[float]:
        """Their test accuracies, one per seed."""
        return [row["test"] for row in self.winner_rows if row["test"] is not None]

    def best_until(self, seconds: float) -> float | None:
        """Return the best validation accuracy of a single training of the search that had ended by then."""
        return max((value for when, value in self.curve() if when <= seconds), default=None)

    def curve(self) -> list[tuple[float, float]]:
        """Return (seconds, best validation accuracy so far) where it rises."""
        points: list[tuple[float, float]] = []
        for row in sorted(self.of("search"), key=lambda row: float(row["elapsed"])):
            better = row["status"] == "complete" and (not points or row["fitness"] > points[-1][1])
            if better and not row["replicate"]:
                points.append((row["elapsed"], row["fitness"]))
        return points

    @property
    def failed(self) -> int:
        """Trainings of the search without a result."""
        return sum(row["status"] != "complete" for row in self.of("search"))


def write_rows(bench: Bench, name: str, space: SearchSpace, facts: Mapping[str, Any]) -> None:
    """Write the rows of a run as it stands, if it has begun."""
    if not is_run(bench.runs / name):
        return
    run, times = evo.load(bench.runs / name), bench.times(name)
    settings = run.settings
    head = {
        **facts,
        "space": space.name,
        "command": bench.command,
        "winner": run.winner,
        "seconds": {stage: round(times.used(stage), 1) for stage in ("training", "search", "finish")},
        "core_seconds": {stage: round(times.cores(stage), 1) for stage in ("training", "search", "finish")},
        "proposals_without_result": len(run.unevaluated()),
        "used_up": settings.strategy != LISTED and run.trainings >= limit_of(run),
        "machine": machine_of(run) | {"workers": settings.workers, "other_load": times.other_load},
    }
    lines = [json.dumps(head), *(json.dumps(row) for row in training_rows(run, times))]
    bench.output.mkdir(parents=True, exist_ok=True)
    write_text(bench.output / f"{name}.jsonl", "\n".join(lines) + "\n")


def machine_of(run: Run) -> Row:
    """Return what a run was computed with; no names of machines, no paths."""
    settings = run.settings
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "processor": settings.device_name,
        "cores": cores(),
        "memory_gib": round(pages / 2**30, 1),
        "precision": settings.precision,
        "engine": settings.engine,
        "threads": settings.threads,
        "dataset": (settings.dataset or {}).get("variant", ""),
        "versions": {name: settings.versions.get(name, "unknown") for name in SHOWN_VERSIONS},
    }


def training_rows(run: Run, times: Times) -> list[Row]:
    """Return a row for every training of a run, in the order in which they ended."""
    searches = run.settings.strategy != LISTED
    rows = []
    for evaluation in sorted(run.evaluations.values(), key=lambda one: one.ended):
        stage = {"search": "search" if searches else "training"}.get(evaluation.phase, "finish")
        key = evaluation.individual, evaluation.replicate
        rows.append(
            {
                "phase": evaluation.phase,
                "individual": evaluation.individual,
                "replicate": evaluation.replicate,
                "status": evaluation.status,
                "fitness": evaluation.fitness,
                "test": run.test_accuracy_of(evaluation),
                "elapsed": times.ended.get(key, times.used(stage)),  # a kill may have taken the line of the last
                "seconds": round(evaluation.seconds, 2),
                "core_seconds": times.core_seconds.get(key),
                "operations": operations(run, evaluation),
                "genome": run.individuals[evaluation.individual].genome,
                "error": evaluation.error,
            }
        )
    return rows


def operations(run: Run, evaluation: Evaluation) -> int:
    """Return the floating-point operations of the products of a training and of its measurements, up to its last step.

    What was read from another training's curve counts as if it had been trained.
    """
    settings, config = run.settings, dict(run.individuals[evaluation.individual].config)
    if evaluation.status != "complete":
        if not evaluation.steps_trained:
            return 0
        config = without_duration(config) | {STEPS: evaluation.steps_trained}
    return round(counter_of(settings, run.space.training, evaluation.phase)(config).amounts[0])


def read_all(output: Path, names: str = "*") -> list[Kept]:
    """Return the runs that are kept in a folder, in the order of their names.

    Args:
        output: The folder.
        names: A pattern of the names.
    """
    kept = []
    for file in sorted(output.glob(f"{names}.jsonl")):
        head, *trainings = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
        rows = tuple({**row, "genome": genome_from_json(row["genome"])} for row in trainings)
        kept.append(Kept(file.stem, head, rows))
    return kept


def random_rows(kept: Iterable[Kept], space: str) -> list[Row]:
    """Return the random trainings of a space."""
    return [row for one in kept if (one.head["space"], one.head["kind"]) == (space, RANDOM) for row in one.trainings]


def accuracies(rows: Iterable[Row]) -> list[float]:
    """Return the validation accuracies of trainings; one that failed or diverged counts as guessing."""
    return [row["fitness"] if row["status"] == "complete" else CHANCE for row in rows]


def best_found(kept: Iterable[Kept], space: str) -> float | None:
    """Return the best validation accuracy of a winner, a mean over its new seeds; else that of a single training."""
    own = [one for one in kept if one.head["space"] == space and one.head["kind"] in (SEARCH, PAIR)]
    means = [
        statistics.fmean(values)
        for one in own
        if (values := [row["fitness"] for row in one.winner_rows if row["fitness"] is not None])
    ]
    return max(means, default=max((one.curve()[-1][1] for one in own if one.curve()), default=None))
