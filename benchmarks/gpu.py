"""Checks and measurements on one GPU that decide whether CUDA graphs, streams and stacking are worth landing in evo.

    python -m benchmarks.gpu --data-dir DIR [--device cuda:0] [--minutes 8] [--output benchmarks/results/gpu]
    python -m benchmarks.gpu --dataset digits --device cpu --minutes 1 --output DIR      # a dry run, everything small

`results.json` is written after each section and `summary.md` at the end; a section that fails is recorded with its
reason, and the others go on. `--only` runs some sections and keeps the earlier results of the others, so that sections
can have a process of their own: an illegal memory access spoils a CUDA context for whatever follows in it.

Needed besides torch and numpy: safetensors, pydantic (with pydantic-core, annotated-types and typing-inspection),
platformdirs, pillow; scikit-learn for `--dataset digits` alone. Neither DEAP nor pandas.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as evo's workers have it; cuBLAS reads it at its start

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.gpu_prototypes import (
    MemberProgram,
    Replay,
    StackProgram,
    begin,
    replay_on_streams,
    stack,
)
from evo.data import PreparedDataset, prepare_dataset
from evo.errors import Interrupted
from evo.evaluators import ProcessPoolEvaluator, Task, TrainingSetup
from evo.evaluators.base import StopRequest
from evo.evaluators.training_task import TrainingTask
from evo.individual import Evaluation, Genome
from evo.space_settings import TrainingSettings
from evo.training import Trainer, TrainingResult, batches

Precision: TypeAlias = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
Results: TypeAlias = dict[str, Any]
REPORT_SPACE = Path(__file__).resolve().parent.parent / "search_spaces" / "report.toml"
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571}
"""Student's t at 97.5 % by degrees of freedom."""
CHECK_STEPS = 50


@dataclass
class Bench:
    """What every section gets.

    Attributes:
        dataset: The images.
        device: Where to measure; on a CPU everything is small.
        section_ends: When the section should be done, on the monotonic clock in seconds.
        results: Those of earlier sections, by name.
    """

    dataset: PreparedDataset
    device: torch.device
    section_ends: float = math.inf
    results: dict[str, Results] = field(default_factory=dict)
    _tasks: dict[str, TrainingTask] = field(default_factory=dict)

    @property
    def small(self) -> bool:
        return self.device.type == "cpu"

    @property
    def left(self) -> float:
        """Seconds left for the section."""
        return self.section_ends - time.monotonic()

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def setup(self, precision: Precision, model: str = "mlp", device: str = "", **settings: Any) -> TrainingSetup:
        """Return evo's description of a trainer."""
        return TrainingSetup(
            self.dataset, TrainingSettings(**settings), model, device or str(self.device), precision=precision
        )

    def task(self, precision: Precision, model: str = "mlp", device: str = "", **settings: Any) -> TrainingTask:
        """Return evo's evaluation function in this process, made once for the same arguments."""
        setup = self.setup(precision, model, device, **settings)
        key = repr((precision, model, setup.device, setup.training))
        if key not in self._tasks:
            evaluate = setup.build(StopRequest())[0]
            assert isinstance(evaluate, TrainingTask)
            self._tasks[key] = evaluate
        return self._tasks[key]

    def report_trainer(self, precision: Precision) -> Trainer:
        """Return a trainer with the report's preprocessing."""
        return self.task(precision, preprocess="subtract_mean_image", evaluate_every=10**6).trainer

    @cached_property
    def peaks(self) -> dict[str, float]:
        """Matrix products in FLOP/s by precision, and copies in bytes (read and written) a second, measured."""
        size = 512 if self.small else 8192
        found = {}
        for precision, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            matrix = torch.randn(size, size, device=self.device).to(kind)
            seconds = seconds_per_call(self, lambda matrix=matrix: matrix @ matrix, 1.0, most=20)  # type: ignore[misc]
            found[precision] = 2 * size**3 / seconds
        source = torch.zeros(10**6 if self.small else 10**9, device=self.device)
        target = torch.empty_like(source)
        found["bandwidth"] = 2 * 4 * len(source) / seconds_per_call(self, lambda: target.copy_(source), 1.0, most=20)
        return found


def seconds_per_call(bench: Bench, call: Callable[[], object], budget: float, most: int = 300) -> float:
    """Return the median over three windows of the time that a call takes, after two calls that do not count.

    Args:
        bench: Knows the device.
        call: What to time; the device is waited for once a window.
        budget: Seconds that the measurement may take, about.
        most: Calls at most.
    """
    call()
    call()
    bench.synchronise()
    started = time.perf_counter()
    call()
    bench.synchronise()
    once = max(time.perf_counter() - started, 1e-7)
    calls = max(1, min(most, int(budget / once)) // 3)
    windows = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(calls):
            call()
        bench.synchronise()
        windows.append((time.perf_counter() - started) / calls)
    return statistics.median(windows)


def report_population(count: int, seed: int, small: bool = False) -> list[Genome]:
    """Return configurations drawn from the report's space; `small` ones for a dry run are about a thousandth."""
    genes = tomllib.loads(REPORT_SPACE.read_text(encoding="utf-8"))["genes"]
    draws, population = random.Random(seed), []
    for _ in range(count):
        widths = draws.choice(genes["hidden_layers"]["choices"])
        rate = draws.uniform(genes["learning_rate"]["low"], genes["learning_rate"]["high"])
        size = draws.randint(genes["batch_size"]["low"], genes["batch_size"]["high"])
        population.append(_genome([max(2, width // 50) if small else width for width in widths], size, rate, small))
    return population


def _genome(widths: Sequence[int], batch_size: int, rate: float = 1e-4, small: bool = False) -> Genome:
    size = max(4, batch_size // 20) if small else batch_size
    return {"hidden_layers": tuple(widths), "learning_rate": rate, "batch_size": size, "steps": 1}


def number(config: Mapping[str, Any], gene: str) -> Any:
    """Return the value of a gene that is a number; Any, for the genome's type allows others."""
    return config[gene]


def network_shape(config: Mapping[str, Any], dataset: PreparedDataset) -> tuple[int, ...]:
    """Return inputs, hidden widths, classes."""
    return (math.prod(dataset.image_shape), *config["hidden_layers"], len(dataset.classes))


def parameters_of(shape: Sequence[int]) -> int:
    """Return the number of weights and biases of a perceptron."""
    return sum((before + 1) * after for before, after in itertools.pairwise(shape))


def step_flops(shape: Sequence[int], batch_size: int) -> int:
    """Return a step's FLOPs in matrix products: forward, gradients of weights, and of inputs except the first's."""
    products = [before * after for before, after in itertools.pairwise(shape)]
    return 2 * batch_size * (3 * sum(products) - products[0])


def floor_seconds(shape: Sequence[int], batch_size: int, flops: float, bandwidth: float) -> float:
    """Return the least time of a step: matrix products at the peak, and fused Adam's seven floats a weight."""
    return step_flops(shape, batch_size) / flops + 28 * parameters_of(shape) / bandwidth


def mean_with_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval (Student's t); infinite for a single value."""
    if len(values) < 2:
        return statistics.fmean(values), math.inf
    half = T_975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half


def environment(bench: Bench) -> Results:
    """What the measurements ran on."""
    found: Results = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "matmul_allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "processors": os.cpu_count(),
        "dataset": f"{bench.dataset.variant}, {bench.dataset.train_count} images",
        "device": str(bench.device),
    }
    if not bench.small:
        facts = torch.cuda.get_device_properties(bench.device)
        found |= {
            "device_name": facts.name,
            "capability": f"{facts.major}.{facts.minor}",
            "memory_bytes": facts.total_memory,
            "multiprocessors": facts.multi_processor_count,
        }
    if (command := shutil.which("nvidia-smi")) is not None:
        query = "--query-gpu=driver_version,clocks.sm,clocks.mem,clocks.max.sm,temperature.gpu,utilization.gpu"
        answer = subprocess.run([command, query, "--format=csv"], capture_output=True, text=True, timeout=30)
        found["nvidia_smi"] = (answer.stdout or answer.stderr).strip()
    return found | {f"peak_{name}": rate for name, rate in bench.peaks.items()}


# ------------------------------------------------------------------------------------------------------- correctness


def _cases(bench: Bench) -> dict[str, tuple[str, Genome]]:
    """Return model and configuration of the networks that the checks train."""
    widths, steps, channels = ((16,), 20, (4, 8)) if bench.small else ((500, 250), 300, (32, 64))
    perceptron: Genome = {"hidden_layers": widths, "learning_rate": 1e-3, "batch_size": 256 if not bench.small else 32}
    convolutions: Genome = {"channels": channels, "learning_rate": 1e-3, "batch_size": 128 if not bench.small else 16}
    return {
        "mlp": ("mlp", perceptron | {"steps": steps}),
        "mlp with dropout": ("mlp", perceptron | {"steps": steps, "dropout": 0.3}),
        "cnn": ("cnn", convolutions | {"steps": steps // 2, "dropout": 0.3}),
    }


def correctness(bench: Bench) -> Results:
    """Whether evo's trainings keep their promises on the device."""
    found: Results = {"same_twice": [], "resumed": [], "against_cpu": [], "two_processes": [], "bf16_accuracy": []}
    cases = _cases(bench)
    every = 10 if bench.small else 50
    for (name, (model, config)), precision in itertools.product(cases.items(), PRECISIONS):
        trainer = bench.task(precision, model, evaluate_every=every).trainer
        first = trainer.train(config, 3)
        row = {"case": name, "precision": precision, "status": first.status}
        found["same_twice"].append(row | {"equal": trainer.train(config, 3) == first})
        found["resumed"].append(row | {"equal": _resumed(trainer, config, 3) == first})
    checks: list[tuple[str, Callable[[], Results]]] = []
    for name, tf32 in (("mlp", False), ("cnn", True), ("cnn", False)):
        checks.append(("against_cpu", partial(_against_cpu, bench, name, *cases[name], tf32)))
    pairs: tuple[tuple[str, Precision], ...] = (("mlp", "fp32"), ("mlp", "bf16"), ("cnn", "bf16"))
    for name, precision in pairs:
        checks.append(("two_processes", partial(_two_processes, bench, name, *cases[name], precision, every)))
    for name in ("mlp", "cnn"):
        checks.append(("bf16_accuracy", partial(_bf16_accuracy, bench, name, *cases[name])))
    for kind, check in checks:
        if bench.left > 0:
            found[kind].append(check())
        else:
            found.setdefault("left_out", []).append(kind)
    return found


def _resumed(trainer: Trainer, config: Genome, seed: int) -> TrainingResult:
    """Return the result of a training that was stopped in the middle, between two points of the curve."""
    asked = itertools.count()
    stop_at = number(config, "steps") // 2 + 3
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "state.safetensors"
        try:
            trainer.train(config, seed, checkpoint=checkpoint, interrupted=lambda: next(asked) == stop_at)
        except Interrupted:
            return trainer.train(config, seed, checkpoint=checkpoint)
    raise RuntimeError("the training was not interrupted")


def eager_losses(trainer: Trainer, config: Genome, seed: int, steps: int) -> tuple[list[float], list[torch.Tensor]]:
    """Return the losses of evo's first steps, each to the last bit, and the weights after them."""
    training = begin(trainer, config, seed)
    state, losses = training.state, []
    state.model.train()
    for _ in range(steps):
        state.sums.zero_()
        training.step()
        losses.append(state.sums[0].clone())
    return torch.stack(losses).tolist(), [weight.detach().clone() for weight in state.model.parameters()]


def largest_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the largest relative difference of two lists of losses."""
    return max(abs(left - right) / max(abs(right), 1e-12) for left, right in zip(one, other, strict=True))


def _against_cpu(bench: Bench, name: str, model: str, config: Genome, tf32: bool) -> Results:
    """Compare the first steps on the device with those on a CPU; without dropout, whose draws differ by device."""
    steps = 10 if bench.small else CHECK_STEPS
    config = {**config, "dropout": 0.0}
    here = bench.task("fp32", model).trainer
    there = bench.task("fp32", model, "cpu").trainer
    size = number(config, "batch_size")
    orders = [itertools.islice(batches(part.train_part.indices, size, 3), steps) for part in (here, there)]
    same_order = all(torch.equal(one.cpu(), other) for one, other in zip(*orders, strict=True))
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        difference = largest_difference(
            eager_losses(here, config, 3, steps)[0], eager_losses(there, config, 3, steps)[0]
        )
    finally:
        torch.backends.cudnn.allow_tf32 = before
        torch.set_num_threads(threads)
    row = {"case": name, "cudnn_tf32": tf32, "steps": steps, "same_order": same_order}
    return row | {"largest_relative_difference": difference, "within_1e-3": difference <= 1e-3}


def _outcome(evaluation: Evaluation) -> tuple[object, ...]:
    return evaluation.status, evaluation.curve, evaluation.loss, evaluation.fitness, evaluation.error


def _two_processes(
    bench: Bench, name: str, model: str, config: Genome, precision: Precision, evaluate_every: int
) -> Results:
    """Compare two trainings in two processes at once with each alone in this process."""
    config = {**config, "steps": 2 * number(config, "steps")}
    tasks = [Task(number, 0, 7 + number, config) for number in range(2)]
    alone = [bench.task(precision, model, evaluate_every=evaluate_every)(task) for task in tasks]
    with ready_pool(bench.setup(precision, model, evaluate_every=evaluate_every), 2, config) as pool:
        together = run_tasks(pool, tasks)
    ends = [evaluation.started + evaluation.seconds for evaluation in together]
    overlap = min(ends) - max(evaluation.started for evaluation in together)
    return {
        "case": name,
        "precision": precision,
        "status": together[0].status,
        "equal": [_outcome(one) == _outcome(other) for one, other in zip(together, alone, strict=True)],
        "overlap_seconds": overlap,
        "seconds_each": statistics.fmean(evaluation.seconds for evaluation in together),
    }


def _bf16_accuracy(bench: Bench, name: str, model: str, config: Genome) -> Results:
    """Compare the accuracy of the two precisions, paired by seed."""
    config = {**config, "steps": (2 if bench.small else 4) * number(config, "steps")}
    accuracies: list[tuple[float, float]] = []
    for seed in range(5):
        if len(accuracies) >= 2 and bench.left < 0:
            break
        results = [bench.task(precision, model).trainer.train(config, seed) for precision in PRECISIONS]
        measured = [result.held_out.accuracy if result.held_out else math.nan for result in results]
        accuracies.append((measured[0], measured[1]))
    mean, half = mean_with_interval([second - first for first, second in accuracies])
    row = {"case": name, "steps": config["steps"], "seeds": len(accuracies)}
    row |= {"fp32": statistics.fmean(pair[0] for pair in accuracies)}
    row |= {"bf16": statistics.fmean(pair[1] for pair in accuracies)}
    return row | {"bf16_minus_fp32": mean, "interval_95_half_width": half}


# ------------------------------------------------------------------------------------------------- processes and ladder


@contextmanager
def ready_pool(setup: TrainingSetup, workers: int, config: Genome) -> Iterator[ProcessPoolEvaluator]:
    """Start evo's worker processes and wait until each of them has trained a step, so that no start is timed."""
    pool = ProcessPoolEvaluator(setup, workers)
    with pool:
        pool.start()
        seen: set[str] = set()
        while len(seen) < workers:
            short = [Task(-1 - number, 0, number, {**config, "steps": 1}) for number in range(workers)]
            seen |= {evaluation.worker for evaluation in run_tasks(pool, short)}
        yield pool


def run_tasks(pool: ProcessPoolEvaluator, tasks: Sequence[Task]) -> list[Evaluation]:
    """Return the evaluations of tasks, in their order."""
    for task in tasks:
        pool.submit(task)
    done: dict[int, Evaluation] = {}
    while len(done) < len(tasks):
        evaluation = pool.next_completed(timeout=300)
        if evaluation is None:
            raise RuntimeError("no worker finished a training within 300 s")
        done[evaluation.individual] = evaluation
    return [done[task.individual] for task in tasks]


def usual_step(trainer: Trainer, images: TensorDataset, config: Genome) -> Callable[[], object]:
    """Return the step of the usual script: TensorDataset, DataLoader and torch's default Adam."""
    training = begin(trainer, config, 0)
    loader = DataLoader(images, batch_size=training.batch_size, shuffle=True, drop_last=True)
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    model, rate = training.state.model, number(config, "learning_rate")
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)

    def step() -> None:
        pixels, labels = next(endless)
        pixels, labels = pixels.to(trainer.device), labels.to(trainer.device)
        with trainer.autocast():
            logits = model(pixels)
        optimiser.zero_grad()
        torch.autograd.backward(functional.cross_entropy(logits.float(), labels))
        optimiser.step()

    return step


def resident_step(trainer: Trainer, config: Genome) -> Callable[[], object]:
    """Return the step with images on the device, and torch's default Adam."""
    training, part = begin(trainer, config, 0), trainer.train_part
    model, rate = training.state.model, number(config, "learning_rate")
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    order = batches(part.indices, training.batch_size, 0)

    def step() -> None:
        batch = next(order)
        with trainer.autocast():
            logits = model(trainer.preprocess(part.images.index_select(0, batch)))
        optimiser.zero_grad()
        torch.autograd.backward(functional.cross_entropy(logits.float(), part.labels.index_select(0, batch)))
        optimiser.step()

    return step


def evo_step(trainer: Trainer, config: Genome) -> Callable[[], object]:
    """Return the step of evo's trainer."""
    training = begin(trainer, config, 0)
    training.state.model.train()
    return training.step


def _host_images(trainer: Trainer) -> TensorDataset:
    """Return the training part as float tensors in the computer's memory, as the usual script keeps it."""
    part = trainer.train_part
    chunks = [trainer.preprocess(part.images.index_select(0, chunk)).cpu() for chunk in torch.split(part.indices, 5000)]
    return TensorDataset(torch.cat(chunks), part.labels.index_select(0, part.indices).cpu())


def population_floor(bench: Bench, population: Sequence[Genome], precision: Precision) -> float:
    """Return the least seconds that a step of every member takes together."""
    return sum(
        floor_seconds(
            network_shape(config, bench.dataset),
            number(config, "batch_size"),
            bench.peaks[precision],
            bench.peaks["bandwidth"],
        )
        for config in population
    )


def ladder(bench: Bench) -> Results:
    """Seconds per member-step of what exists, one change a rung; then whole trainings, in processes too."""
    population = report_population(2 if bench.small else 32, 2019, bench.small)
    found: Results = {"members": len(population), "steps": [], "whole_trainings": []}
    budget = 0.35 * bench.left / (len(population) * 3 * len(PRECISIONS))
    for precision in PRECISIONS:
        trainer = bench.report_trainer(precision)
        images = _host_images(trainer)
        times: dict[str, list[float]] = {"DataLoader": [], "resident, default Adam": [], "evo": []}
        for config in population:
            rungs = (usual_step(trainer, images, config), resident_step(trainer, config), evo_step(trainer, config))
            for seconds, step in zip(times.values(), rungs, strict=True):
                seconds.append(seconds_per_call(bench, step, budget))
        floor = population_floor(bench, population, precision)
        for name, seconds in times.items():
            row = {"engine": name, "precision": precision, "seconds_per_member_step": statistics.fmean(seconds)}
            row |= {"speed_up": sum(times["DataLoader"]) / sum(seconds), "roofline_share": floor / sum(seconds)}
            found["steps"].append(row)
        del images
    for precision in reversed(PRECISIONS):
        found["whole_trainings"] += _whole_trainings(bench, population, precision, 0.0 if precision == "fp32" else 0.3)
    return found


def _whole_trainings(
    bench: Bench, population: Sequence[Genome], precision: Precision, keep: float
) -> Iterator[Results]:
    """Yield the time of trainings with their last measurement: in this process, then in 1, 2, 4 and 8 workers.

    Args:
        bench: Knows how much time is left.
        population: What to train.
        precision: Of all of them.
        keep: Share of the time left that is for others.
    """
    ends, steps = bench.left * keep, 10 if bench.small else 300 if bench.left > 60 else 100
    tasks = [Task(number, 0, number, {**config, "steps": steps}) for number, config in enumerate(population)]
    settings: dict[str, Any] = {"preprocess": "subtract_mean_image", "evaluate_every": 10**6}
    started = time.perf_counter()
    alone = [bench.task(precision, **settings)(task) for task in tasks]
    base = time.perf_counter() - started
    row = {"precision": precision, "steps": steps}
    floor = population_floor(bench, population, precision) * steps
    yield row | _whole_row("this process", steps, floor, base, base, alone, alone)
    for workers in (1, 2) if bench.small else (1, 4, 8, 2):
        # A start takes about ten seconds, the trainings about as long as in this process.
        if bench.left - ends < 15 + 1.5 * base:
            yield row | {"engine": f"{workers} workers", "skipped": "no time left"}
            continue
        with ready_pool(bench.setup(precision, **settings), workers, population[0]) as pool:
            started = time.perf_counter()
            evaluations = run_tasks(pool, tasks)
            seconds = time.perf_counter() - started
        yield row | _whole_row(f"{workers} workers", steps, floor, seconds, base, evaluations, alone)


def _whole_row(
    engine: str,
    steps: int,
    floor: float,
    seconds: float,
    base: float,
    evaluations: Sequence[Evaluation],
    alone: Sequence[Evaluation],
) -> Results:
    """Return a row: `seconds` for the evaluations, `base` for the same in this process, `floor` by the roofline."""
    return {
        "engine": engine,
        "seconds_per_member_step": seconds / (len(evaluations) * steps),
        "speed_up": base / seconds,
        "roofline_share": floor / seconds,
        "equal_to_alone": sum(_outcome(one) == _outcome(two) for one, two in zip(evaluations, alone, strict=True)),
        "complete": sum(evaluation.status == "complete" for evaluation in evaluations),
    }


# ----------------------------------------------------------------------------------------------------------- prototypes


def _architectures(bench: Bench) -> list[Genome]:
    """Return five networks of the report's space, from the smallest to the largest."""
    lists = ([800, 400, 200, 100, 50], [500, 500], [1000, 500, 250, 100], [2500], [5000])
    return [
        _genome([width // 50 for width in widths] if bench.small else widths, 500, 1e-4, bench.small)
        for widths in lists
    ]


def _largest_weight_difference(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    return max(float((left - right).abs().max()) for left, right in zip(one, other, strict=True))


def graphs(bench: Bench) -> Results:
    """One CUDA graph a member against evo's eager step."""
    found: Results = {"members": []}
    networks = _architectures(bench)
    budget = 0.3 * bench.left / (2 * len(networks) * len(PRECISIONS))
    for precision, config in itertools.product(PRECISIONS, networks):
        found["members"].append(_graph_row(bench, precision, config, budget))
    return found


def _graph_row(bench: Bench, precision: Precision, config: Genome, budget: float) -> Results:
    trainer = bench.report_trainer(precision)
    losses, weights = eager_losses(trainer, config, 5, CHECK_STEPS)
    eager = seconds_per_call(bench, evo_step(trainer, config), budget)
    reserved = _reserved(bench)
    program = MemberProgram(trainer, config, 5, CHECK_STEPS)
    replay = Replay(program, bench.device)
    memory = _reserved(bench) - reserved
    replay_on_streams([replay], [replay.stream], CHECK_STEPS)
    bench.synchronise()
    graphed = program.losses.tolist()
    difference = _largest_weight_difference(program.weights(), weights)
    seconds = seconds_per_call(bench, replay, budget)
    shape = network_shape(config, bench.dataset)
    floor = floor_seconds(shape, program.batch_size, bench.peaks[precision], bench.peaks["bandwidth"])
    return {
        "hidden_layers": str(config["hidden_layers"]),
        "precision": precision,
        "losses_equal": graphed == losses,
        "largest_loss_difference": largest_difference(graphed, losses),
        "largest_weight_difference": difference,
        "eager_microseconds": eager * 1e6,
        "graph_microseconds": seconds * 1e6,
        "speed_up": eager / seconds,
        "roofline_share": floor / seconds,
        "warm_up_milliseconds": replay.warm_up_seconds * 1e3,
        "capture_milliseconds": replay.capture_seconds * 1e3,
        "memory_bytes": memory,
    }


def _reserved(bench: Bench) -> int:
    """Return the bytes that torch holds on the device, those of graphs included."""
    if bench.small:
        return 0
    bench.synchronise()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(bench.device)


def make_streams(bench: Bench, count: int) -> list[torch.cuda.Stream | None]:
    """Return new streams of the device; on a CPU there are none."""
    if bench.small:
        return [None] * count
    return [torch.cuda.Stream(bench.device) for _ in range(count)]  # type: ignore[no-untyped-call]


def _members(
    bench: Bench, population: Sequence[Genome], precision: Precision, lanes: Sequence[torch.cuda.Stream | None]
) -> list[Replay]:
    """Return every member as a graph; those captured on one stream share cuBLAS's workspace and must stay on one."""
    trainer = bench.report_trainer(precision)
    return [
        Replay(MemberProgram(trainer, config, seed, CHECK_STEPS), bench.device, lanes[seed % len(lanes)])
        for seed, config in enumerate(population)
    ]


def _run(bench: Bench, replays: Sequence[Replay], streams: Sequence[torch.cuda.Stream | None], steps: int) -> float:
    """Return the seconds that `steps` steps of every member take."""
    bench.synchronise()
    started = time.perf_counter()
    replay_on_streams(replays, streams, steps)
    bench.synchronise()
    return time.perf_counter() - started


def _fitting_steps(bench: Bench, once: float, budget: float) -> int:
    """Return how many steps of a kind of which one takes `once` seconds fit in `budget`, within reason."""
    return 2 if bench.small else max(10, min(500, int(budget / max(once, 1e-6))))


def streams(bench: Bench) -> Results:
    """Members' graphs on several streams: time, and whether a member's result depends on the others."""
    found: Results = {"streams": []}
    population = report_population(2 if bench.small else 8, 2019, bench.small)
    for precision in reversed(PRECISIONS):
        lanes = make_streams(bench, 8)
        replays = _members(bench, population, precision, lanes)
        alone = []
        for replay in replays:
            _run(bench, [replay], lanes[:1], CHECK_STEPS)
            assert isinstance(replay.program, MemberProgram)
            alone.append((replay.program.losses.clone(), replay.program.weights()))
        floor = population_floor(bench, population, precision)
        for count in (1, 2, 4, 8):
            row = _streams_row(bench, replays, alone, lanes[:count], floor)
            found["streams"].append(row | {"precision": precision})
    return found


def _streams_row(
    bench: Bench,
    replays: Sequence[Replay],
    alone: Sequence[tuple[torch.Tensor, list[torch.Tensor]]],
    lanes: Sequence[torch.cuda.Stream | None],
    floor: float,
) -> Results:
    for replay in replays:
        replay.program.reset()
    once = _run(bench, replays, lanes, CHECK_STEPS) / CHECK_STEPS
    equal = 0
    for replay, (losses, weights) in zip(replays, alone, strict=True):
        assert isinstance(replay.program, MemberProgram)
        same = all(map(torch.equal, replay.program.weights(), weights))
        equal += same and torch.equal(replay.program.losses, losses)
    steps = _fitting_steps(bench, once, min(3.0, bench.left / 20))
    seconds = statistics.median(_run(bench, replays, lanes, steps) / steps for _ in range(3))
    return {
        "streams": len(lanes),
        "members": len(replays),
        "seconds_per_member_step": seconds / len(replays),
        "roofline_share": floor / seconds,
        "equal_to_alone": equal,
    }


def _stack_groups(bench: Bench, kind: str, count: int) -> list[Genome]:
    """Return members of one depth and batch size: all alike, or with the widths of the report's space mixed."""
    mixed = ([1000, 500, 250, 100], [500, 500, 250, 250])
    chosen = [mixed[0] if kind == "alike" else mixed[number % 2] for number in range(count)]
    return [
        _genome([width // 20 for width in widths] if bench.small else widths, 500, 1e-4 * (1 + number), bench.small)
        for number, widths in enumerate(chosen)
    ]


def stacked(bench: Bench) -> Results:
    """Members as batched matrix products: exactness on the device, then time by size of the group."""
    found: Results = {"exactness": [], "groups": []}
    for kind, multiple in itertools.product(("alike", "mixed"), (1, 8)):
        found["exactness"].append(_stack_exactness(bench, kind, multiple))
    counts = (2, 4) if bench.small else (2, 4, 8, 16)
    modes = ("eager",) if bench.small else ("eager", "graph")
    plan = list(itertools.product(reversed(PRECISIONS), counts, ("alike", "mixed"), (1, 8), modes))
    for place, (precision, count, kind, multiple, mode) in enumerate(plan):
        if bench.left < 0:
            found["left_out"] = [str(case) for case in plan[place:]]
            break
        budget = 0.5 * bench.left / (len(plan) - place)
        found["groups"].append(_stack_row(bench, precision, _stack_groups(bench, kind, count), multiple, mode, budget))
        found["groups"][-1] |= {"kind": kind}
    return found


def _stack_exactness(bench: Bench, kind: str, multiple: int) -> Results:
    """Compare four stacked members with each alone, and one of them beside others."""
    trainer, configs = bench.report_trainer("fp32"), _stack_groups(bench, kind, 4)
    program = stack(trainer, configs, CHECK_STEPS, multiple)
    swapped = stack(trainer, [configs[0], *reversed(configs[1:])], CHECK_STEPS, multiple)
    differences = []
    for one in (program, swapped):
        for _ in range(CHECK_STEPS):
            one.step()
    for seed, config in enumerate(configs):
        alone = eager_losses(trainer, config, seed, CHECK_STEPS)[0]
        differences.append(largest_difference(program.losses[:, seed].tolist(), alone))
    return {
        "kind": kind,
        "multiple": multiple,
        "largest_loss_difference": max(differences),
        "within_1e-3": max(differences) <= 1e-3,
        "padding_zero": all(not bool(zeros.any()) for zeros in program.padding()),
        "same_beside_others": bool(torch.equal(program.losses[:, 0], swapped.losses[:, 0])),
    }


def _stack_row(
    bench: Bench, precision: Precision, configs: Sequence[Genome], multiple: int, mode: str, budget: float
) -> Results:
    program: StackProgram = stack(bench.report_trainer(precision), configs, CHECK_STEPS, multiple)
    replay = Replay(program, bench.device) if mode == "graph" else None
    seconds = seconds_per_call(bench, replay or program.step, budget)
    shapes = [network_shape(config, bench.dataset) for config in configs]
    size = len(program.members[0].order[0])
    return {
        "precision": precision,
        "members": len(configs),
        "multiple": multiple,
        "mode": mode,
        "seconds_per_member_step": seconds / len(configs),
        "roofline_share": population_floor(bench, configs, precision) / seconds,
        "padded_flops": len(configs) * step_flops(program.shape, size) / sum(step_flops(s, size) for s in shapes),
        "capture_milliseconds": replay.capture_seconds * 1e3 if replay else 0.0,
    }


def memory(bench: Bench) -> Results:
    """Bytes that a member takes, next to a simple model; then a network that cannot fit."""
    found: Results = {"members": []}
    for precision in PRECISIONS:
        # cuBLAS takes its workspace at the first step of a process, and keeps it.
        evo_step(bench.report_trainer(precision), _architectures(bench)[0])()
    for precision, config in itertools.product(PRECISIONS, _architectures(bench)):
        for size in (100, 500, 1000, 4000):
            found["members"].append(_memory_row(bench, precision, {**config, "batch_size": size}))
    return found | {"absurd_network": _absurd_network(bench)}


def _memory_row(bench: Bench, precision: Precision, config: Genome) -> Results:
    trainer = bench.report_trainer(precision)
    _reserved(bench)
    torch.cuda.reset_peak_memory_stats(bench.device)
    before = torch.cuda.memory_allocated(bench.device)
    step = evo_step(trainer, config)
    step()
    step()
    bench.synchronise()
    measured = torch.cuda.max_memory_allocated(bench.device) - before
    shape = network_shape(config, bench.dataset)
    simple = simple_memory(shape, number(config, "batch_size"))
    return {
        "hidden_layers": str(config["hidden_layers"]),
        "precision": precision,
        "batch_size": config["batch_size"],
        "parameters": parameters_of(shape),
        "activations": sum(shape),
        "bytes": measured,
        "simple_model_bytes": simple,
        "ratio": measured / simple,
    }


def simple_memory(shape: Sequence[int], batch_size: int) -> int:
    """Return the simple model's bytes: weights, gradients and Adam's slots, and two floats an activation and image."""
    return 16 * parameters_of(shape) + 2 * 4 * batch_size * sum(shape)


def _absurd_network(bench: Bench) -> Results:
    """Train a network one of whose activations would fill the device, then a usual one."""
    evaluate = bench.task("fp32")
    size = len(evaluate.trainer.train_part)
    # Its weights must stay small: they are drawn in the computer's memory, which is smaller than the device's.
    width = torch.cuda.get_device_properties(bench.device).total_memory // (4 * size)
    absurd: Genome = {"hidden_layers": (8, width), "learning_rate": 1e-3, "batch_size": size, "steps": 2}
    usual = _cases(bench)["mlp"][1]
    before = evaluate(Task(0, 0, 3, usual))
    try:
        evaluate.trainer.train(absurd, 3)
        raised = "nothing"
    except Exception as problem:  # the type is what is asked for
        raised = f"{type(problem).__module__}.{type(problem).__qualname__}"
    after = evaluate(Task(1, 0, 3, absurd))
    again = evaluate(Task(0, 0, 3, usual))
    return {
        "raised": raised,
        "status": after.status,
        "error": after.error,
        "usable_afterwards": _outcome(again) == _outcome(before),
        "allocated_bytes_afterwards": torch.cuda.memory_allocated(bench.device),
    }


def best_engine(results: Mapping[str, Results]) -> tuple[str, int]:
    """Return the fastest engine for mixed populations that the sections found, and its number of streams."""
    section = results.get("streams", {})
    rows = [row for row in section.get("streams", []) if row["precision"] == "bf16"]
    if not rows:
        return "evo", 0
    best = min(rows, key=lambda row: float(row["seconds_per_member_step"]))
    return "graphs", int(best["streams"])


def population(bench: Bench) -> Results:
    """Growth with the number of members, report's space, bf16; not for stacks, which need equal depths."""
    engine, count = best_engine(bench.results)
    found: Results = {"engine": f"{engine}, {count} streams" if count else engine, "growth": []}
    members = report_population(2 if bench.small else 64, 2020, bench.small)
    started = time.perf_counter()
    if engine == "graphs":
        lanes = make_streams(bench, count)
        replays = _members(bench, members, "bf16", lanes)
        found["preparation_seconds"] = time.perf_counter() - started
    else:
        trainer = bench.report_trainer("bf16")
        eager = [evo_step(trainer, config) for config in members]
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= len(members)]
    for size in sizes:
        budget = max(0.05, min(3.0, bench.left / (2 * len(sizes))))
        if engine == "graphs":
            step: Callable[[], object] = lambda size=size: replay_on_streams(replays[:size], lanes, 1)  # type: ignore[misc]  # noqa: E731
        else:
            step = lambda size=size: [one() for one in eager[:size]]  # type: ignore[misc]  # noqa: E731
        seconds = seconds_per_call(bench, step, budget)
        share = population_floor(bench, members[:size], "bf16") / seconds
        row = {"members": size, "seconds_per_step_of_all": seconds, "seconds_per_member_step": seconds / size}
        found["growth"].append(row | {"roofline_share": share})
    return found


# ------------------------------------------------------------------------------------------------------------- running

SECTIONS: dict[str, tuple[Callable[[Bench], Results], float, bool]] = {
    "environment": (environment, 1, False),
    "correctness": (correctness, 6, False),
    "ladder": (ladder, 10, False),
    "graphs": (graphs, 2, True),
    "streams": (streams, 3, True),
    "stacked": (stacked, 4, False),
    "memory": (memory, 1.5, True),
    "population": (population, 2, False),
}
"""Function, share of the time, and whether it is about CUDA alone."""


def run_section(bench: Bench, name: str) -> Results:
    """Return a section's results with its status and seconds; an error becomes the status and its reason."""
    section, _, needs_cuda = SECTIONS[name]
    if needs_cuda and bench.small:
        return {"status": "not run: no CUDA device"}
    started = time.monotonic()
    try:
        found: Results = {"status": "done"} | section(bench)
        bench.synchronise()
    except Exception as problem:  # whatever it is, the other sections go on
        trace = traceback.format_exc().splitlines()[-12:]
        found = {"status": "failed", "error": f"{type(problem).__name__}: {problem}", "traceback": trace}
    return found | {"section_seconds": time.monotonic() - started}


def run_sections(bench: Bench, names: Sequence[str], seconds: float, output: Path) -> None:
    """Run sections one after another, each within its share of the time that is left, and write what they found."""
    ends = time.monotonic() + seconds
    output.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        shares = [SECTIONS[later][1] for later in names[place:]]
        bench.section_ends = time.monotonic() + (ends - time.monotonic()) * shares[0] / sum(shares)
        bench.results[name] = run_section(bench, name)
        print(f"{name}: {bench.results[name]['status']} {bench.results[name].get('error', '')}", flush=True)
        (output / "results.json").write_text(json.dumps(bench.results, indent=1, default=str), encoding="utf-8")
    (output / "summary.md").write_text(summary(bench.results), encoding="utf-8")


def summary(results: Mapping[str, Results]) -> str:
    """Return the results as Markdown: a table for each list of rows, a line for everything else."""
    lines = ["# Measurements on one GPU", "", f"Command: `python -m benchmarks.gpu {' '.join(sys.argv[1:])}`"]
    for name in (section for section in SECTIONS if section in results):
        lines += ["", f"## {name}", ""]
        tables = {key: value for key, value in results[name].items() if _is_table(value)}
        lines += [f"- {key}: {_cell(value)}" for key, value in results[name].items() if key not in tables]
        for key, rows in tables.items():
            columns = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
            lines += ["", f"### {key}", "", _row(columns), _row(["---"] * len(columns))]
            lines += [_row([_cell(row.get(column, "")) for column in columns]) for row in rows]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("\n", "; ").replace("|", "/")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _earlier(path: Path) -> dict[str, Results]:
    """Return the results that an earlier command left."""
    found: dict[str, Results] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder with CIFAR-10 or an image tree")
    parser.add_argument("--dataset", choices=("cifar10", "digits", "imagefolder"))
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all sections together, about")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/gpu"))
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := sorted(set(names) - set(SECTIONS)):
        parser.error(f"unknown sections {', '.join(unknown)}; known: {', '.join(SECTIONS)}")
    started = time.monotonic()
    dataset = prepare_dataset(options.dataset, options.data_dir, download=False)
    bench = Bench(dataset, torch.device(options.device), results=_earlier(options.output / "results.json"))
    run_sections(bench, names, 60 * options.minutes - (time.monotonic() - started), options.output)


if __name__ == "__main__":
    main()
