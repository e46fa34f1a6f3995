"""Runs populations on the rungs: starts their processes, times them, checks that all did the same work."""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmarks.throughput.analysis import interleaved, problem_of_work
from benchmarks.throughput.machine import MemorySampler, OtherLoad, PeakSetup, WorkSetup
from benchmarks.throughput.populations import Population
from benchmarks.throughput.rungs import EvoSetup, LoopSetup, Measured, OptunaSetup, Precision, RungSetup
from evo.data import PreparedDataset, split_train
from evo.errors import SearchError
from evo.evaluation import Evaluation
from evo.evaluators import Evaluator, ProcessPoolEvaluator
from evo.evaluators.base import Task
from evo.training.hardware import resolve_engine

REFERENCE = "resident"
"""The rung with whose mean loss the others are compared."""
PROBE_STEPS = 2
LOADER_WORKERS = (0, 1, 2)
"""Processes of the DataLoader that are tried for "usual"."""
SETTLE_SECONDS = 0.5
GROWTH = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Rung:
    """One way to train a population.

    Attributes:
        name: In tables and figures.
        kind: "usual", "resident", "optuna" or "evo".
        precision: What it computes in.
        workers: Its processes.
        engine: evo's.
        loader_workers: Of the DataLoader of "usual".
    """

    name: str
    kind: Literal["usual", "resident", "optuna", "evo"]
    precision: Precision
    workers: int = 1
    engine: Literal["auto", "eager", "onednn"] = "eager"
    loader_workers: int = 0


@dataclass
class Plan:
    """What all parts of the benchmark share.

    Attributes:
        dataset: The images.
        device: "cpu" or "cuda:N".
        precision: The one that evo would choose here, or was told to use.
        engines: Those of evo that are available here.
        workers: Processes of evo's and Optuna's rungs.
        seconds: About how long the slowest rung should take.
        repeats: How often each rung is timed.
        steps: Steps of each member; None to calibrate.
        operations: Of one step of each member, by the population's name.
        say: Prints a line of progress.
    """

    dataset: PreparedDataset
    device: str
    precision: Precision
    engines: tuple[Literal["eager", "onednn"], ...]
    workers: int
    seconds: float
    repeats: int
    steps: int | None
    say: Callable[[str], None]
    operations: dict[str, list[float]] = field(default_factory=dict)

    def order(self, name: str) -> list[int]:
        """Return the members of a population, most expensive first."""
        costs = self.operations[name]
        return sorted(range(len(costs)), key=lambda place: -costs[place])


class Rig:
    """A setup with its processes running and ready."""

    def __init__(self, evaluator: Evaluator, facts: dict[str, Any], startup: float):
        self._evaluator, self.facts, self.startup = evaluator, facts, startup

    def run(self, tasks: Sequence[Task]) -> tuple[float, list[Measured]]:
        """Return the seconds from the first task submitted to the last one done, and what they measured.

        Raises:
            SearchError: One of them failed.
        """
        clock = time.perf_counter()
        for task in tasks:
            self._evaluator.submit(task)
        done = [self._evaluator.next_completed() for _ in tasks]
        wall = time.perf_counter() - clock
        return wall, [_successful(evaluation) for evaluation in done]


@contextmanager
def running(setup: RungSetup | PeakSetup | WorkSetup, workers: int) -> Iterator[Rig]:
    """Start the processes of a setup, and end them afterwards."""
    if workers > 1 and not isinstance(setup, WorkSetup):
        setup = replace(setup, barrier=multiprocessing.get_context("spawn").Barrier(workers))
    clock = time.perf_counter()
    with ProcessPoolEvaluator(setup, workers) as evaluator:
        facts = evaluator.start()
        startup = time.perf_counter() - clock
        if workers > 1:
            # They pass the barrier together; this receives the messages of the others that they are ready.
            evaluator.next_completed(SETTLE_SECONDS)
        yield Rig(evaluator, facts, startup)


def count_work(setup: WorkSetup) -> tuple[dict[str, Any], list[list[float]]]:
    """Return the facts of the device, and the operations of a step of each member of each population."""
    counts: list[list[float]] = [[0.0] * len(population.members) for population in setup.populations]
    tasks = [Task(member, place, 0, {}) for place, costs in enumerate(counts) for member in range(len(costs))]
    with running(setup, 1) as rig:
        for measured in rig.run(tasks)[1]:
            counts[measured.replicate][measured.individual] = measured.fitness or 0.0
        return rig.facts, counts


def measure_peaks(plan: Plan, size: int, repetitions: int) -> list[dict[str, Any]]:
    """Return the best rates of square matrix products: all workers at once with a thread each, one with all threads."""
    rows: list[dict[str, Any]] = []
    precisions = dict.fromkeys(("fp32", plan.precision))
    products = ["torch", *["oneDNN"] * ("onednn" in plan.engines)]
    chosen = [(kind, product) for kind in precisions for product in products if kind == "fp32" or product == "torch"]
    for workers, threads in ((plan.workers, 1), (1, None)):
        with running(PeakSetup(plan.device, threads), workers) as rig:
            for precision, product in chosen:
                config = {"size": size, "repetitions": repetitions, "precision": precision, "product": product}
                _, measured = rig.run([Task(place, 0, 0, dict(config)) for place in range(workers)])
                rates = [result.fitness or 0.0 for result in measured]
                facts = {"processes": workers, "threads": rig.facts["threads"], "size": size}
                rows.append({"precision": precision, "product": product, **facts, "gflops": sum(rates)})
                plan.say(f"matrix product {precision}, {product}, {workers} processes: {sum(rates):.0f} GFLOP/s")
    return rows


def rungs_of(plan: Plan) -> tuple[list[Rung], list[str]]:
    """Return the rungs that this machine can run, and a line for each that is left out."""
    notes = []
    rungs = [Rung("usual", "usual", "fp32"), Rung("resident", "resident", "fp32")]
    if plan.precision == "bf16":
        rungs.append(Rung("resident-bf16", "resident", "bf16"))
    if importlib.util.find_spec("optuna") is not None:
        rungs.append(Rung("optuna", "optuna", "fp32", plan.workers))
    else:
        notes.append("rung optuna left out: Optuna is not installed (pip install optuna)")
    rungs += [Rung(f"evo-{engine}", "evo", "fp32", plan.workers, engine) for engine in plan.engines]
    if "onednn" not in plan.engines:
        notes.append("rung evo-onednn left out: evo does not offer that engine on this device")
    if plan.precision == "bf16":
        chosen = resolve_engine("auto", plan.device, "bf16")
        engines = [engine for engine in plan.engines if engine in ("eager", chosen)]
        rungs += [Rung(f"evo-{engine}-bf16", "evo", "bf16", plan.workers, engine) for engine in engines]
    return rungs, notes


def climb(plan: Plan, population: Population) -> list[dict[str, Any]]:
    """Time a population on all rungs, interleaved; return one row per rung and repeat."""
    rungs = [with_best_loader(plan, population, rung) for rung in rungs_of(plan)[0]]
    steps = plan.steps or calibrate(plan, population, rungs)
    rows: list[dict[str, Any]] = []
    for repeat, order in enumerate(interleaved(rungs, plan.repeats), start=1):
        for rung in order:
            row = time_rung(plan, population, rung, steps, watch_memory=repeat == 1)
            rows.append({"population": population.name, "rung": rung.name, "repeat": repeat, "steps": steps, **row})
            plan.say(f"{population.name}, repeat {repeat}, {rung.name}: {row['wall_seconds']:.2f} s")
        void_wrong_losses(rows[-len(rungs) :])
    return rows


def with_best_loader(plan: Plan, population: Population, rung: Rung) -> Rung:
    """Return the rung with as many workers of its DataLoader as make it fastest; others as they are."""
    if rung.kind != "usual" or plan.steps is not None:
        return rung
    paces = {}
    for count in LOADER_WORKERS:
        tried = replace(rung, loader_workers=count)
        with rig_of(plan, population, tried) as rig:
            tasks = partial(population.tasks, order=plan.order(population.name))
            paces[count] = pace_of(rig, tasks, plan.seconds, probe=plan.seconds / len(LOADER_WORKERS))
    best = min(paces, key=lambda count: paces[count])
    times = ", ".join(f"{count}: {1000 * pace:.0f} ms" for count, pace in paces.items())
    plan.say(f"{population.name}: a step of all members with a DataLoader of so many workers: {times}")
    return replace(rung, loader_workers=best)


def void_wrong_losses(rows: Sequence[dict[str, Any]]) -> None:
    """Note in the rows of one repeat whose mean loss differs from that of the reference."""
    reference = next(row for row in rows if row["rung"] == REFERENCE)["mean_loss"]
    for row in rows:
        row["void"] = row["void"] or problem_of_work({0: (0, 0, row["mean_loss"])}, {0: (0, 0)}, reference)


def calibrate(plan: Plan, population: Population, rungs: Sequence[Rung]) -> int:
    """Return how many steps of each member the slower of `usual` and evo's first engine does in `plan.seconds`."""
    paces = []
    for rung in (rungs[0], next(rung for rung in rungs if rung.kind == "evo")):
        with rig_of(plan, population, rung) as rig:
            paces.append(pace_of(rig, lambda steps: population.tasks(steps, plan.order(population.name)), plan.seconds))
    steps = max(1, round(plan.seconds / max(paces)))
    plan.say(f"{population.name}: {steps} steps of each of {len(population.members)} members")
    return steps


def pace_of(rig: Rig, tasks: Callable[[int], list[Task]], seconds: float, probe: float = 2.0) -> float:
    """Return the seconds that one step of all members takes; measured again where the first time was short."""
    wall, _ = rig.run(tasks(PROBE_STEPS))
    steps = int(PROBE_STEPS * min(seconds, probe) / wall)
    if steps > 2 * PROBE_STEPS:
        return rig.run(tasks(steps))[0] / steps
    return wall / PROBE_STEPS


def grow(plan: Plan, population: Population) -> list[dict[str, Any]]:
    """Time the first 1, 2, 4, … members of a population on evo's own engine."""
    order, rows = plan.order(population.name), []
    sizes = [size for size in GROWTH if size <= len(population.members)]
    rung = Rung("evo", "evo", plan.precision, plan.workers, "auto")
    with rig_of(plan, population, rung) as rig:
        steps = plan.steps or round(plan.seconds / pace_of(rig, lambda n: population.tasks(n, order), plan.seconds))
        for repeat, chosen in enumerate(interleaved(sizes, plan.repeats), start=1):
            for size in chosen:
                wall, _ = rig.run(population.tasks(max(1, steps), [place for place in order if place < size]))
                facts = {"repeat": repeat, "engine": rig.facts["engine"], "precision": rig.facts["precision"]}
                times = {"wall_seconds": wall, "seconds_per_member": wall / size}
                rows.append({"members": size, **facts, "workers": plan.workers, "steps": max(1, steps), **times})
                plan.say(f"growth, repeat {repeat}, {size} members: {wall:.2f} s")
    return rows


def scale_workers(plan: Plan, population: Population, steps: int | None) -> list[dict[str, Any]]:
    """Time a population with 1, 2, 4, … workers up to the plan's number."""
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64, 128) if count < plan.workers] + [plan.workers]
    rungs = [Rung("evo", "evo", plan.precision, count, "auto") for count in counts]
    tasks = population.tasks(steps or plan.steps or calibrate(plan, population, rungs_of(plan)[0]))
    rows: list[dict[str, Any]] = []
    for repeat, order in enumerate(interleaved(rungs, plan.repeats), start=1):
        for rung in order:
            with rig_of(plan, population, rung) as rig:
                wall, measured = rig.run([tasks[place] for place in plan.order(population.name)])
                facts = {"engine": rig.facts["engine"], "precision": rig.facts["precision"]}
            trained = {"steps": measured[0].steps_trained, "wall_seconds": wall}
            rows.append({"population": "report", "workers": rung.workers, "repeat": repeat, **facts, **trained})
            plan.say(f"workers, repeat {repeat}, {rung.workers} of them: {wall:.2f} s")
    alone = {row["repeat"]: row["wall_seconds"] for row in rows if row["workers"] == 1}
    return [row | {"times_one_worker": alone[row["repeat"]] / row["wall_seconds"]} for row in rows]


def time_rung(plan: Plan, population: Population, rung: Rung, steps: int, *, watch_memory: bool) -> dict[str, Any]:
    """Time one rung; return its times and what it did, with the reason in `void` if the time does not count."""
    order = plan.order(population.name)
    tasks = population.tasks(steps, order)
    sampler, load = MemorySampler(), OtherLoad()
    watched: Any = sampler if watch_memory else nullcontext()
    with ExitStack() as stack:
        with watched:
            rig = stack.enter_context(rig_of(plan, population, rung, steps))
        studies = [Task(number, 0, 0, {}) for number in range(rung.workers)]
        load.start()
        wall, results = rig.run(studies if rung.kind == "optuna" else tasks)
        other_cores = load.cores()
        with watched:  # the same work again for a while: watching memory costs time
            _, again = rig.run(population.tasks(max(1, steps // 10), order)) if watch_memory else (0.0, [])
    done = [member for result in results for member in (result.members or (result,)) if member.engine]
    operations = sum(plan.operations[population.name]) * steps
    return work_row(plan, population, rung, steps, done) | {
        "wall_seconds": wall,
        "startup_seconds": rig.startup,
        "seconds_per_member_step": wall / (steps * len(tasks)),
        "gflops": operations / wall / 1e9,
        "peak_memory_bytes": sampler.peak if watch_memory else None,
        "device_memory_bytes": max((result.device_memory for result in [*done, *again]), default=0) or None,
        "threads": rig.facts["threads"],
        "other_cores": other_cores,
    }


def work_row(plan: Plan, population: Population, rung: Rung, steps: int, done: Sequence[Measured]) -> dict[str, Any]:
    """Return the part of a row that says what was done, and whether it was what was asked for."""
    largest = len(split_train(plan.dataset.train_count)[0])
    images = [population.batch_size(place, largest) * steps for place in range(len(population.members))]
    expected = {place: (steps, count) for place, count in enumerate(images)}
    counted = {result.individual: (result.steps_trained, result.images, result.fitness) for result in done}
    problem = problem_of_work(counted, expected, None)
    if len(done) != len(expected):
        problem = f"{len(done)} trainings instead of {len(expected)}"
    if rung.kind == "evo" and {result.engine for result in done} != {rung.engine}:
        problem = f"computed by {', '.join(sorted({result.engine for result in done}))}, not {rung.engine}"
    losses = [result.fitness for result in done if result.fitness is not None]
    return {
        "precision": rung.precision,
        "processes": rung.workers,
        "loader_workers": rung.loader_workers if rung.kind == "usual" else None,
        "members": len(done),
        "member_steps": sum(result.steps_trained or 0 for result in done),
        "images": sum(result.images for result in done),
        "mean_loss": statistics.fmean(losses) if losses else None,
        "void": problem,
    }


@contextmanager
def rig_of(plan: Plan, population: Population, rung: Rung, steps: int = 1) -> Iterator[Rig]:
    """Start a rung; for Optuna with a new study in a temporary folder."""
    order = plan.order(population.name)
    [cheapest] = population.tasks(1, order[-1:])
    common: dict[str, Any] = {
        "dataset": plan.dataset,
        "training": population.training,
        "model": population.model,
        "device": plan.device,
        "precision": rung.precision,
        "warm_up": cheapest,
    }
    setup: RungSetup
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        if rung.kind == "evo":
            setup = EvoSetup(**common, engine=rung.engine)
        elif rung.kind == "optuna":
            tasks = tuple(population.tasks(steps, order))
            setup = OptunaSetup(**common, threads=1, tasks=tasks, folder=Path(folder))
        else:
            setup = LoopSetup(**common, loader=rung.kind == "usual", loader_workers=rung.loader_workers)
        with running(setup, rung.workers) as rig:
            yield rig


def _successful(evaluation: Evaluation | None) -> Measured:
    if not isinstance(evaluation, Measured) or evaluation.status != "complete":
        raise SearchError(f"a training failed: {evaluation.error if evaluation else 'no result'}")
    return evaluation
