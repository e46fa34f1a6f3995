"""One row per run: how it is made, where it is kept, and the workers that make many."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.search_quality.methods import (
    COUNTED_BY_STEPS,
    MOST_SHORT_TRAININGS,
    Adapters,
    Method,
    Searcher,
    make_searcher,
)
from benchmarks.search_quality.objectives import Objective, make_objective
from benchmarks.search_quality.places import Places, single_threaded
from benchmarks.search_quality.tasks import TASKS, Task
from evo.individual import STEPS, Genome, genome_key
from evo.space import SearchSpace

Row = dict[str, Any]
BLOCK = 10
"""Proposals whose mean time is kept as one number."""
SAME = 1e-6
"""Distance of genomes that differ by no more than the rounding of a peer's scale."""


@dataclass(frozen=True)
class Job:
    """One run to make."""

    task: Task
    method: Method
    seed: int
    budget: int


class Recorder:
    """Collects the values of a row during a run.

    Args:
        objective: Gives the true values of what is recommended.
        space: Of the task.
        shares_curves: Whether a training continues a shorter one of the same genes.
    """

    def __init__(self, objective: Objective, space: SearchSpace, shares_curves: bool):
        self.objective, self.space, self.shares_curves = objective, space, shares_curves
        self.observed: list[float] = []
        self.steps: list[int] = []
        self.true: list[tuple[int, float]] = []
        self.recommended: Genome | None = None
        self._counts: dict[str, int] = {}
        self._longest: dict[str, int] = {}
        self._incumbent: tuple[float, Genome] | None = None
        self._truths: dict[str, float] = {}

    def evaluate(self, genome: Genome) -> float:
        """Return the value of a genome; a genome that comes again is evaluated on a new seed."""
        key = genome_key(genome)
        replicate = self._counts.get(key, 0)
        self._counts[key] = replicate + 1
        value = self.objective.observe(genome, replicate)
        self.observed.append(value)
        if STEPS in self.space.genes:
            self.steps.append(self._steps_trained(genome, replicate))
        if self._incumbent is None or value > self._incumbent[0]:
            self._incumbent = (value, genome)
        return value

    def recommend(self, genome: Genome | None) -> None:
        """Note what the method recommends now; None for the genome of the best value observed."""
        assert self._incumbent is not None
        self.recommended = genome if genome is not None else self._incumbent[1]
        key = genome_key(self.recommended)
        if key not in self._truths:
            self._truths[key] = self.objective.truth(self.recommended)
        if not self.true or self.true[-1][1] != self._truths[key]:
            self.true.append((len(self.observed), self._truths[key]))

    @property
    def repeats(self) -> int:
        """Evaluations of genomes that had been evaluated before."""
        return len(self.observed) - len(self._counts)

    def _steps_trained(self, genome: Genome, replicate: int) -> int:
        steps = genome[STEPS]
        assert isinstance(steps, int)
        if not self.shares_curves:
            return steps
        twins = genome_key({name: value for name, value in genome.items() if name != STEPS}) + f"|{replicate}"
        longest = self._longest.get(twins, 0)
        self._longest[twins] = max(longest, steps)
        return max(0, steps - longest)


def run_search(searcher: Searcher, objective: Objective, space: SearchSpace, budget: int, *, by_steps: bool) -> Row:
    """Return what a row says of one search.

    Args:
        searcher: The method.
        objective: What evaluates.
        space: Of the task.
        budget: Trainings; with `by_steps`, full trainings whose steps are the bound.
        by_steps: Whether the bound is on steps.

    Raises:
        RuntimeError: The method does not begin with the space's known configuration.
    """
    recorder = Recorder(objective, space, searcher.shares_curves)
    seconds: list[float] = []
    full = int(space.genes[STEPS].high) if STEPS in space.genes else 0  # type: ignore[attr-defined]  # a number gene
    bounded = by_steps and full > 0
    most = budget * (MOST_SHORT_TRAININGS if bounded else 1)
    while len(recorder.observed) < most and not (bounded and sum(recorder.steps) >= budget * full):
        started = time.perf_counter()
        genome = searcher.ask()
        proposed = time.perf_counter()
        if genome is None:
            break
        if not recorder.observed:
            _check_start(space, genome)
        value = recorder.evaluate(genome)
        evaluated = time.perf_counter()
        searcher.tell(value)
        # What a method computes in `tell` it would otherwise compute when asked.
        seconds.append(proposed - started + time.perf_counter() - evaluated)
        recorder.recommend(searcher.recommend())
    row: Row = {
        "scale": [_short(value) for value in objective.scale],
        "observed": [_short(value) for value in recorder.observed],
        "true": [[number, _short(value)] for number, value in recorder.true],
        "repeats": recorder.repeats,
        "seconds": [_short(sum(block) / len(block), 3) for block in _blocks(seconds)],
        "recommended": recorder.recommended,
    }
    return row | ({"steps": recorder.steps, "full_steps": full} if full else {})


def _check_start(space: SearchSpace, genome: Genome) -> None:
    """Refuse a method that does not begin with the anchor (its steps are free): it could not be compared."""
    for anchor in space.initial[:1]:
        started = genome | {STEPS: anchor[STEPS]} if STEPS in anchor else genome
        if space.diversity([anchor, started]) > SAME:
            raise RuntimeError(f"begins with {genome}, not with the anchor {anchor}")


def make_row(job: Job, places: Places) -> Row:
    """Return the row of a job."""
    objective = make_objective(job.task, job.seed, places)
    space = job.task.space()
    by_steps = job.method.name in COUNTED_BY_STEPS
    searcher = make_searcher(job.method, job.task, job.seed, job.budget, _adapters(places))
    started = time.perf_counter()
    row = run_search(searcher, objective, space, job.budget, by_steps=by_steps)
    return {
        "task": job.task.name,
        "method": job.method.label,
        "seed": job.seed,
        "budget": job.budget,
        "fingerprint": fingerprint(job.task),
        "settings": dict(job.method.settings),
        "versions": searcher.versions,
        "wall": _short(time.perf_counter() - started, 4),
    } | row


@functools.cache
def fingerprint(task: Task) -> str:
    """Return a text that changes with a task's genes, anchor or source: rows of a different task do not count."""
    facts = json.dumps(task.space().to_dict(), sort_keys=True) + repr(task.source)
    return hashlib.blake2b(facts.encode(), digest_size=4).hexdigest()


class Store:
    """Rows in a folder, one file of JSON lines per task and method.

    Args:
        folder: The results folder of the benchmark.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, task: str, label: str) -> Path:
        """Return the file of a task and method."""
        return self.folder / "rows" / task / f"{label}.jsonl"

    def rows(self, tasks: Iterable[Task] = TASKS, labels: Sequence[str] = ()) -> list[Row]:
        """Return all rows that count, of all methods without `labels`; sorted."""
        found: list[Row] = []
        for task in tasks:
            for file in sorted((self.folder / "rows" / task.name).glob("*.jsonl")):
                if not labels or file.stem in labels:
                    found += sorted(
                        (row for row in _read(file) if row["fingerprint"] == fingerprint(task)),
                        key=lambda row: (row["budget"], row["seed"]),
                    )
        return found

    def add(self, row: Row) -> None:
        """Append a row."""
        path = self.path(row["task"], row["method"])
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.is_file() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * torn + json.dumps(row, separators=(",", ":")) + "\n")

    def remove(self, tasks: Iterable[Task], labels: Iterable[str]) -> None:
        """Delete the rows of methods on tasks."""
        for task in tasks:
            for label in labels:
                self.path(task.name, label).unlink(missing_ok=True)


def jobs_of(
    tasks: Sequence[Task], methods: Sequence[Method], seeds: int | None, budget: int, done: Iterable[Row]
) -> list[Job]:
    """Return the missing runs, method by method, so that a peer's process serves many.

    Args:
        tasks: Which tasks.
        methods: Which methods.
        seeds: Seeds of a task, from 0; None for as many as the protocol asks for. A task of real trainings has no more
            than its protocol's.
        budget: Trainings of a run.
        done: Existing rows.
    """
    there = {(row["task"], row["method"], row["seed"], row["budget"]) for row in done}
    jobs = [
        Job(task, method, seed, budget)
        for method in methods
        for task in tasks
        if method.runs_on(task)
        for seed in range(task.seeds if seeds is None else min(seeds, task.seeds))
    ]
    return [job for job in jobs if (job.task.name, job.method.label, job.seed, job.budget) not in there]


def run_jobs(
    jobs: Sequence[Job], places: Places, workers: int, take: Callable[[Row], None], notify: Callable[[str], None]
) -> list[str]:
    """Make the rows of jobs in worker processes; return the problems of those that failed.

    Args:
        jobs: What to run.
        places: Where things are.
        workers: Processes.
        take: Keeps a row.
        notify: Prints a line of progress.
    """
    os.environ.update(single_threaded())
    failed = []
    # Spawned, so that the variables above hold before NumPy is loaded.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(make_row, job, places): job for job in jobs}
        for number, future in enumerate(as_completed(futures), 1):
            job = futures[future]
            name = f"[{number}/{len(jobs)}] {job.method.label} on {job.task.name}, seed {job.seed}"
            try:
                row = future.result()
            except Exception as error:
                failed.append(f"{name}: {error}")
                notify(failed[-1])
                continue
            take(row)
            notify(f"{name}: {row['wall']} s, {len(row['observed'])} trainings, true value {row['true'][-1][1]}")
    return failed


@functools.cache
def _adapters(places: Places) -> Adapters:
    return Adapters(places)


def _read(file: Path) -> Iterator[Row]:
    for line in file.read_text(encoding="utf-8").splitlines():
        # A kill may leave a partial line: that run is made again.
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def _blocks(values: Sequence[float]) -> Iterator[Sequence[float]]:
    for start in range(0, len(values), BLOCK):
        yield values[start : start + BLOCK]


def _short(value: float, digits: int = 6) -> float:
    return float(f"{value:.{digits}g}")
