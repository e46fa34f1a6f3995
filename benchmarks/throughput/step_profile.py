"""Where the time of evo's training steps goes, on one core: products, data, optimiser, loss, and the rest.

    python -m benchmarks.throughput.step_profile --data-dir DIR [--population small] [--steps 200] [--precision bf16]

Torch's profiler sums up what each operator takes itself; what no operator accounts for is Python and torch's dispatch.
The profiler slows small operators, so the shares are of its own total; the time of a step is measured without it.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import torch

from benchmarks.throughput.populations import MEMBERS, make_population
from evo.data import prepare_dataset
from evo.evaluators import TrainingSetup
from evo.evaluators.base import StopRequest
from evo.evaluators.training_task import TrainingTask
from evo.training.engines.eager import step
from evo.training.jobs import Job
from evo.training.progress import Training

GROUPS = {
    "matrix products and convolutions": ("mm", "addmm", "mkldnn_convolution", "convolution_backward"),
    "optimiser": ("_fused_adam_", "_fused_adamw_", "_fused_sgd_", "_foreach_add_"),
    "data: gather, convert, normalise": (
        "index_select",
        "gather",
        "_to_copy",
        "copy_",
        "sub_",
        "mul_",
        "slice",
        "narrow",
    ),
    "loss and accuracy": (
        "_log_softmax",
        "nll_loss_forward",
        "nll_loss_backward",
        "_log_softmax_backward_data",
        "argmax",
    ),
    "activations, normalisation, pooling": (
        "relu",
        "gelu",
        "gelu_backward",
        "silu",
        "silu_backward",
        "clamp_min",
        "threshold_backward",
        "native_batch_norm",
        "native_batch_norm_backward",
        "max_pool2d_with_indices",
        "max_pool2d_with_indices_backward",
        "fill_",
    ),
}


def profile(training: Training, steps: int) -> tuple[float, dict[str, float]]:
    """Return the seconds of a step, and the share of each group of operators in the profiler's total."""
    for _ in range(10):
        step(training)
    clock = time.perf_counter()
    for _ in range(steps):
        step(training)
    seconds = (time.perf_counter() - clock) / steps
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        clock = time.perf_counter()
        for _ in range(steps):
            step(training)
        total = time.perf_counter() - clock
    group_of = {f"aten::{name}": group for group, names in GROUPS.items() for name in names}
    shares: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        shares[group_of.get(event.key, "")] += event.self_cpu_time_total / 1e6 / total
    known = {group: shares[group] for group in GROUPS}
    return seconds, known | {"small operators, autograd and Python": 1 - sum(known.values())}


def main() -> None:
    """Profile every member of a population and print the shares, weighted by the time of a step."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput.step_profile", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--population", default="small", choices=tuple(MEMBERS))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    population = make_population(options.population)
    dataset = prepare_dataset(None, options.data_dir)
    setup = TrainingSetup(dataset, population.training, population.model, "cpu", options.precision)
    task, facts = setup.build(StopRequest())
    assert isinstance(task, TrainingTask)
    times: dict[str, float] = defaultdict(float)
    for member in population.members:
        torch.manual_seed(0)
        seconds, shares = profile(task.trainer.begin(Job({**member, "steps": options.steps}, 0)), options.steps)
        print(f"{seconds * 1e3:8.3f} ms per step: {member}")
        for group, share in shares.items():
            times[group] += share * seconds
    total = sum(times.values())
    mean = total / len(population.members)
    print(f"{population.name} on {facts['device_name']}, one thread: {mean * 1e3:.2f} ms per step")
    for group, seconds in times.items():
        print(f"{seconds / total:6.1%}  {group}")


if __name__ == "__main__":
    main()
