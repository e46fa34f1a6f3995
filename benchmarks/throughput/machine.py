"""What the machine can do and what a rung uses: matrix products, operations of a step, memory, facts."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.throughput.populations import Population
from benchmarks.throughput.rungs import PATIENCE, Barrier, Measured
from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluate, Setup, StopRequest, Task, one_by_one
from evo.evaluators.training_task import load_builder
from evo.training.hardware import processor_name, resolve_device, resolve_precision

if TYPE_CHECKING:
    import torch

SAMPLE_SECONDS = 0.2
PACKAGES = ("torch", "numpy", "optuna", "deap")


@dataclass(frozen=True)
class WorkSetup(Setup):
    """Counts the floating-point operations of one training step of each member; task (member, population).

    Attributes:
        populations: What is counted.
        image_shape: (channels, height, width).
        classes: Number of outputs.
        train_count: Images of the training part, the largest batch.
        device: "auto", "cpu", "cuda" or "cuda:N"; the facts say what it resolves to.
        precision: "auto", "fp32" or "bf16"; likewise.
    """

    populations: tuple[Population, ...]
    image_shape: tuple[int, int, int]
    classes: int
    train_count: int
    device: str
    precision: Literal["auto", "fp32", "bf16"]

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        import torch

        from evo.training.engines.onednn import usable

        device = resolve_device(self.device)
        engines = ["eager", *["onednn"] * (device == "cpu" and usable())]
        name = processor_name() if device == "cpu" else torch.cuda.get_device_name(device)
        precision = resolve_precision(self.precision, device)
        facts = {"device": device, "device_name": name, "precision": precision, "engines": engines}
        return one_by_one(self.count), facts | {"default_threads": torch.get_num_threads()}

    def count(self, task: Task) -> Evaluation:
        """Return the operations of a step as the fitness."""
        population = self.populations[task.replicate]
        config = population.members[task.individual]
        batch_size = population.batch_size(task.individual, self.train_count)
        operations = step_operations(population.model, config, self.image_shape, self.classes, batch_size)
        return Measured(task.individual, task.replicate, 0, "complete", fitness=float(operations))


def step_operations(
    model: str, config: dict[str, Any], image_shape: tuple[int, int, int], classes: int, batch_size: int
) -> int:
    """Return the floating-point operations of the linear and convolutional layers in one training step.

    Forward, weight gradient and input gradient, two operations per multiply-add; the first layer has no input gradient.
    For linear layers of n inputs and m outputs: 2·batch·(3·Σ n·m − n·m of the first). Biases, activations, batch norm,
    loss and optimiser are left out.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):  # no memory, no arithmetic: only shapes
        network = load_builder(model)(config, image_shape, classes)
        images = torch.empty((batch_size, *image_shape))
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(network(images).sum())
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class PeakSetup(Setup):
    """Measures matrix products; a task's configuration has their `size`, `precision`, `product` and `repetitions`.

    Attributes:
        device: "cpu" or "cuda:N".
        threads: Of the process; None leaves torch's default.
        barrier: See `benchmarks.throughput.rungs.Barrier`.
    """

    device: str
    threads: int | None
    barrier: Barrier = None

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.barrier is not None:
            self.barrier.wait(PATIENCE)
        return one_by_one(self.measure), {"device": self.device, "threads": torch.get_num_threads()}

    def measure(self, task: Task) -> Evaluation:
        """Return the best of the repetitions as the fitness, in GFLOP/s."""
        import torch

        config: dict[str, Any] = dict(task.config)
        size, kind = config["size"], torch.bfloat16 if config["precision"] == "bf16" else torch.float32
        left, right = (torch.randn(size, size, device=self.device).to(kind) for _ in range(2))
        best = min(_product_seconds(left, right, config["product"]) for _ in range(config["repetitions"]))
        return Measured(task.individual, 0, 0, "complete", fitness=2 * size**3 / best / 1e9)


def _product_seconds(left: torch.Tensor, right: torch.Tensor, product: str) -> float:
    import torch

    cuda = left.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(left.device)
    clock = time.perf_counter()
    if product == "oneDNN":
        torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    else:
        left @ right
    if cuda:
        torch.cuda.synchronize(left.device)
    return time.perf_counter() - clock


class MemorySampler:
    """Watches the memory of this process and its descendants together while it is active; Linux only.

    Proportional set size: a page that k processes share counts 1/k in each. A sample visits the pages of every
    process, tens of milliseconds per gigabyte, so none is taken while the clock runs.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MemorySampler:
        self._end.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, sum(_proportional_size(process) for process in _family(os.getpid())))
            if self._end.wait(SAMPLE_SECONDS):
                return


def _family(root: int) -> list[int]:
    """Return a process and its descendants."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
        parents.setdefault(parent, []).append(int(folder.name))
    family = [root]
    for process in family:  # it grows during the loop
        family += parents.get(process, [])
    return family


def _proportional_size(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


class OtherLoad:
    """Measures how many cores other processes use on average between `start` and `cores`; Linux only."""

    def start(self) -> None:
        """Begin to measure."""
        self._clock, self._before = time.perf_counter(), _processor_seconds_of_others()

    def cores(self) -> float | None:
        """Return the mean number of cores since the start; None where the system does not tell."""
        now, before = _processor_seconds_of_others(), self._before
        if now is None or before is None:
            return None
        return max(0.0, (now - before) / (time.perf_counter() - self._clock))


def _processor_seconds_of_others() -> float | None:
    """Return the processor seconds of all processes except this one and its descendants since the system started."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    idle = fields[3] + fields[4]  # idle and waiting for a disk
    own = 0
    for process in _family(os.getpid()):
        try:
            own += sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
        except OSError:
            continue  # it has ended
    return float(sum(fields) - idle - own) / os.sysconf("SC_CLK_TCK")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def facts_of_the_machine(arguments: list[str]) -> dict[str, Any]:
    """Return processor, memory, versions, load and command; paths in the command are cut to their last part."""
    versions = {"python": platform.python_version(), "kernel": platform.release()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    shown = [Path(word).name if Path(word).is_absolute() else word for word in arguments]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.throughput", *shown]),
        "processor": processor_name() or platform.processor(),
        "cores": cores(),
        "memory_gib": round(pages / 2**30, 1),
        "system": sys.platform,
        "load_average_at_start": [round(load, 2) for load in os.getloadavg()],
        "versions": versions,
    }
