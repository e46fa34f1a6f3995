"""What the sections of `benchmarks.gpu` share: the device, the genomes, the sizes of their networks, the clock."""

from __future__ import annotations

import itertools
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as evo's workers have it; cuBLAS reads it at its start

import torch

from evo.data import PreparedDataset
from evo.evaluators import TrainingSetup
from evo.evaluators.base import StopRequest
from evo.evaluators.training_task import TrainingTask
from evo.individual import Genome
from evo.space.file import load_space
from evo.space.training_settings import TrainingSettings
from evo.training.trainer import Trainer

Precision: TypeAlias = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
Results: TypeAlias = dict[str, Any]
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
        call: What to time; the device is synchronised once per window.
        budget: About how many seconds the measurement may take.
        most: At most this many calls.
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
    """Return configurations drawn from the report's space; `small` ones are for a dry run."""
    space, draws = load_space("report"), random.Random(seed)
    return [
        network(config["hidden_layers"], config["batch_size"], config["learning_rate"], small=small)
        for config in (dict[str, Any](space.sample(draws)) for _ in range(count))
    ]


def network(widths: Sequence[int], batch_size: int, rate: float = 1e-4, *, small: bool = False) -> Genome:
    """Return a configuration of evo's `mlp`; `small` divides its widths by 50 and its batch by 20."""
    if small:
        widths, batch_size = [max(2, width // 50) for width in widths], max(4, batch_size // 20)
    return {"hidden_layers": tuple(widths), "learning_rate": rate, "batch_size": batch_size, "steps": 1}


def number(config: Mapping[str, Any], gene: str) -> Any:
    """Return the value of a gene that is a number; Any, because the genome's type allows others."""
    return config[gene]


def network_shape(config: Mapping[str, Any], dataset: PreparedDataset) -> tuple[int, ...]:
    """Return inputs, hidden widths, classes."""
    return (math.prod(dataset.image_shape), *config["hidden_layers"], len(dataset.classes))


def parameters_of(shape: Sequence[int]) -> int:
    """Return the number of weights and biases of a perceptron."""
    return sum((before + 1) * after for before, after in itertools.pairwise(shape))


def step_flops(shape: Sequence[int], batch_size: int) -> int:
    """Return a step's FLOPs in matrix products: forward, gradients of weights, and of all inputs but the first."""
    products = [before * after for before, after in itertools.pairwise(shape)]
    return 2 * batch_size * (3 * sum(products) - products[0])


def floor_seconds(shape: Sequence[int], batch_size: int, flops: float, bandwidth: float) -> float:
    """Return the least time of a step: matrix products at the peak, and fused Adam's seven floats per weight."""
    return step_flops(shape, batch_size) / flops + 28 * parameters_of(shape) / bandwidth


def mean_with_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval (Student's t); infinite for a single value."""
    if len(values) < 2:
        return statistics.fmean(values), math.inf
    half = T_975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half
