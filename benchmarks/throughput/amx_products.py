"""The three products of a linear layer in bfloat16, one core: as torch asks oneDNN for them, and rearranged.

    python -m benchmarks.throughput.amx_products

The variants take turns, so that other work on the machine slows all of them alike. `evo.training.engines.onednn`
is based on this measurement where a processor has AMX.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from evo.training.hardware import keep_freed_memory, processor_flags, processor_name

SHAPES = ((1609, 3072, 1000), (2200, 3072, 5000), (600, 3072, 1000), (1609, 1000, 500), (128, 3072, 128))
"""Batch, inputs, outputs."""
REPEATS = 30


def ways(batch: int, inputs: int, outputs: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Return what computes each product."""
    images, weight, gradient = (
        torch.randn(*shape).bfloat16() for shape in ((batch, inputs), (outputs, inputs), (batch, outputs))
    )
    return {
        "forward": lambda: torch.nn.functional.linear(images, weight),
        "gradient of the inputs": lambda: gradient @ weight,
        "gradient of the weights, as torch asks": lambda: gradient.t() @ images,
        "gradient of the weights, rearranged": lambda: gradient.t().contiguous() @ images,
    }


def main() -> None:
    """Print a Markdown table."""
    argparse.ArgumentParser(prog="python -m benchmarks.throughput.amx_products", description=__doc__).parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    flags = ", ".join(sorted(flag for flag in processor_flags() if "bf16" in flag))
    print(f"{processor_name()} ({flags}), torch {torch.__version__}; median of {REPEATS}, GFLOP/s of one core\n")
    found: dict[tuple[int, int, int], dict[str, float]] = {}
    for shape in SHAPES:
        times: dict[str, list[float]] = {name: [] for name in ways(*shape)}
        computations = ways(*shape)
        for _ in range(REPEATS + 2):
            for name, compute in computations.items():
                start = time.perf_counter()
                compute()
                times[name].append(time.perf_counter() - start)
        operations = 2 * shape[0] * shape[1] * shape[2]
        found[shape] = {name: operations / statistics.median(taken[2:]) / 1e9 for name, taken in times.items()}
    print("| batch, inputs, outputs | " + " | ".join(found[SHAPES[0]]) + " |")
    print("|---|" + "---|" * len(found[SHAPES[0]]))
    for shape, rates in found.items():
        print(f"| {', '.join(map(str, shape))} | " + " | ".join(f"{rate:.0f}" for rate in rates.values()) + " |")


if __name__ == "__main__":
    main()
