"""What evo's operators for CNNs are worth on one core: gradients on wide images, filled channels, measuring.

    python -m benchmarks.throughput.cnn_operators [--precision bf16] [--repetitions 30]

Processor time of one thread, the smallest of the repetitions, which alternate between torch's way and evo's.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.markdown import table
from evo.models import cnn
from evo.training.engines.convolutions import use_wide_images
from evo.training.engines.sequences import use_fast_sequences
from evo.training.hardware import keep_freed_memory

CONVOLUTIONS = ((256, 128, 128, 10), (256, 128, 128, 7), (256, 128, 256, 7), (256, 128, 128, 3), (64, 48, 48, 4))
"""Batch, inputs, outputs and side of the images."""
NETWORKS: dict[str, dict[str, Any]] = {
    "classic, 14-12, batch 49": {"channels": (14, 12), "single_blocks": 1, "batch_size": 49},
    "classic, 21-9-10-17, batch 34": {"channels": (21, 9, 10, 17), "single_blocks": 1, "batch_size": 34},
    "classic, 32-48-48, batch 64": {"channels": (32, 48, 48), "batch_size": 64},
    "pooled, 34-43-38, batch 200": {"channels": (34, 43, 38), "block": "pooled", "batch_size": 200},
    "pooled, 64-128-128, batch 256": {"channels": (64, 128, 128), "block": "pooled", "batch_size": 256},
}


def milliseconds(ways: list[Callable[[], object]], repetitions: int) -> list[float]:
    """Return the shortest time of each of several ways to do the same, which take turns."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(repetitions + 1):
        for own, way in zip(times, ways, strict=True):
            began = time.thread_time()
            way()
            own.append(1000 * (time.thread_time() - began))
    return [min(own[1:]) for own in times]  # the first has to load


def backward_of(module: nn.Module, images: torch.Tensor, precision: str) -> Callable[[], object]:
    """Return what does the backward pass of a module again and again."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        output = module(images)
    gradient, weights = torch.randn_like(output), tuple(module.parameters())
    return lambda: torch.autograd.grad(output, weights, gradient, retain_graph=True)


def step_of(network: nn.Module, images: torch.Tensor, precision: str) -> None:
    """Do the forward and backward pass of a step."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        output = network(images)
    torch.autograd.backward(output.float().square().sum())


@torch.no_grad()
def measure(network: nn.Module, images: torch.Tensor, precision: str) -> None:
    """Compute outputs in evaluation mode."""
    network.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        network(images)
    network.train()


def convolution_rows(precision: str, repetitions: int) -> list[list[str]]:
    """Return the times of the gradient of a convolution's weights, a row for each of `CONVOLUTIONS`."""
    rows = []
    for batch, inputs, outputs, side in CONVOLUTIONS:
        plain = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
        wide = copy.deepcopy(plain)
        use_wide_images(wide)
        images = torch.randn(batch, inputs, side, side).contiguous(memory_format=torch.channels_last)
        before, after = milliseconds([backward_of(module, images, precision) for module in (plain, wide)], repetitions)
        rows.append([f"{batch}, {inputs}, {outputs}, {side}×{side}", f"{before:.2f}", f"{after:.2f}"])
    return rows


def network_rows(precision: str, repetitions: int) -> list[list[str]]:
    """Return the times of steps and of measuring, a row for each of `NETWORKS`."""
    rows = []
    for name, config in NETWORKS.items():
        plain = cnn.build(config, (3, 32, 32), 10)
        fast = copy.deepcopy(plain)
        use_fast_sequences(fast)
        if precision == "bf16":
            use_wide_images(fast)
        cells = []
        for work, batch in ((step_of, config["batch_size"]), (measure, 125)):
            images = torch.randn(batch, 3, 32, 32)
            ways: list[Callable[[], object]] = [partial(work, network, images, precision) for network in (plain, fast)]
            cells += [f"{value:.2f}" for value in milliseconds(ways, repetitions)]
        rows.append([name, *cells])
    return rows


def main() -> None:
    """Print two Markdown tables, in milliseconds."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput.cnn_operators", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--repetitions", type=int, default=30)
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    if given.precision == "bf16":
        head = ["batch, inputs, outputs, images", "gradient of the weights, torch", "wide images"]
        print("\n".join(table(head, convolution_rows(given.precision, given.repetitions))))
    head = ["network", "step, torch", "evo", "125 images measured, torch", "evo"]
    print("\n".join(table(head, network_rows(given.precision, given.repetitions))))


if __name__ == "__main__":
    main()
