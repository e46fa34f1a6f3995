"""Sections of `benchmarks.gpu` that check: the environment and correctness."""

from __future__ import annotations

import itertools
import math
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as evo's workers have it; cuBLAS reads it at its start

import torch

from benchmarks.gpu.bench import CHECK_STEPS, PRECISIONS, Bench, Precision, Results, mean_with_interval, number
from benchmarks.gpu.prototypes import (
    begin,
)
from evo.errors import Interrupted
from evo.evaluation import Evaluation
from evo.evaluators import ProcessPoolEvaluator, Task, TrainingSetup
from evo.individual import Genome
from evo.training.batches import batches
from evo.training.engines.eager import step
from evo.training.jobs import TrainingResult
from evo.training.trainer import Trainer


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


def cases(bench: Bench) -> dict[str, tuple[str, Genome]]:
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
    """Check that evo's trainings keep their promises on the device."""
    found: Results = {"same_twice": [], "resumed": [], "against_cpu": [], "two_processes": [], "bf16_accuracy": []}
    networks = cases(bench)
    every = 10 if bench.small else 50
    for (name, (model, config)), precision in itertools.product(networks.items(), PRECISIONS):
        trainer = bench.task(precision, model, evaluate_every=every).trainer
        first = trainer.train(config, 3)
        row = {"case": name, "precision": precision, "status": first.status}
        found["same_twice"].append(row | {"equal": trainer.train(config, 3) == first})
        found["resumed"].append(row | {"equal": _resumed(trainer, config, 3) == first})
    checks: list[tuple[str, Callable[[], Results]]] = []
    for name, tf32 in (("mlp", False), ("cnn", True), ("cnn", False)):
        checks.append(("against_cpu", partial(_against_cpu, bench, name, *networks[name], tf32)))
    pairs: tuple[tuple[str, Precision], ...] = (("mlp", "fp32"), ("mlp", "bf16"), ("cnn", "bf16"))
    for name, precision in pairs:
        checks.append(("two_processes", partial(_two_processes, bench, name, *networks[name], precision, every)))
    for name in ("mlp", "cnn"):
        checks.append(("bf16_accuracy", partial(_bf16_accuracy, bench, name, *networks[name])))
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
    """Return the losses of evo's first steps, unrounded, and the weights after them."""
    training = begin(trainer, config, seed)
    state, losses = training.state, []
    state.model.train()
    for _ in range(steps):
        state.sums.zero_()
        step(training)
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


def outcome(evaluation: Evaluation) -> tuple[object, ...]:
    """Return the parts of an evaluation that must not depend on what was trained at the same time."""
    return evaluation.status, evaluation.curve, evaluation.loss, evaluation.fitness, evaluation.error


def _two_processes(
    bench: Bench, name: str, model: str, config: Genome, precision: Precision, evaluate_every: int
) -> Results:
    """Compare two trainings in two processes at once with the same trainings one by one in this process."""
    config = {**config, "steps": 2 * number(config, "steps")}
    tasks = [Task(number, 0, 7 + number, config) for number in range(2)]
    alone = [bench.task(precision, model, evaluate_every=evaluate_every).evaluate(task) for task in tasks]
    with ready_pool(bench.setup(precision, model, evaluate_every=evaluate_every), 2, config) as pool:
        together = run_tasks(pool, tasks)
    ends = [evaluation.ended for evaluation in together]
    overlap = min(ends) - max(evaluation.started for evaluation in together)
    return {
        "case": name,
        "precision": precision,
        "status": together[0].status,
        "equal": [outcome(one) == outcome(other) for one, other in zip(together, alone, strict=True)],
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
