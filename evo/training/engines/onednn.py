"""The eager engine with linear layers whose products oneDNN computes, faster than torch's own on some processors.

In float32, on AMD processors with AVX-512, torch's default product (MKL) does not use the full width: 97 to 100
GFLOP/s a core against oneDNN's 208 to 212 at the same precision on a Zen 5. That operator is not a public API of torch,
so `usable` tries it and compares its results before anything relies on it.

In bfloat16, on processors with AMX, torch gives oneDNN the gradient of the weights as a product whose left side is
transposed. If that is first copied row by row, it takes half to two thirds of the time where a layer has many inputs,
and about the same elsewhere (`benchmarks/throughput/amx_products.py`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from evo.training.engines.convolutions import use_wide_images
from evo.training.engines.eager import EagerEngine

TOLERANCE = 1e-5
"""Largest difference to torch's own products, relative to the largest number of the result."""


class OneDnnEngine(EagerEngine):
    """Computes the linear layers of a network with oneDNN, on a CPU; in bfloat16, convolutions over small images."""

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        use_onednn(model)
        use_wide_images(model)


class OneDnnLinear(nn.Linear):
    """A linear layer whose three products, forward and backward, are oneDNN's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return (…, outputs) for (…, inputs); off the CPU and in other types torch computes it."""
        if input.device.type != "cpu" or input.dtype == torch.float64:  # autocast leaves float64 alone
            return super().forward(input)
        if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16:
            bias = None if self.bias is None else self.bias.bfloat16()
            output = _Linear.apply(_rows(input).bfloat16(), self.weight.bfloat16(), bias)
        elif input.dtype == torch.float32:
            output = _Linear.apply(_rows(input), self.weight, self.bias)
        else:
            return super().forward(input)
        result: torch.Tensor = output.reshape(*input.shape[:-1], self.out_features)
        return result


def _rows(input: torch.Tensor) -> torch.Tensor:
    return input.reshape(-1, input.shape[-1])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if wanted[0] else None,
            _product(gradient.t(), inputs.t()) if wanted[1] else None,
            gradient.sum(dim=0) if wanted[2] else None,
        )


def _product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return left @ right.T + bias."""
    if left.dtype == torch.bfloat16:
        return functional.linear(left.contiguous(), right, bias)
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return result


def use_onednn(model: nn.Module) -> None:
    """Let the linear layers of a network compute with oneDNN; its weights and their names stay as they are."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear


@cache
def usable() -> bool:
    """Return whether this build of torch has the operator and it gives the numbers of torch's own product."""
    generator = torch.Generator().manual_seed(0)
    try:
        return all(_agrees(*shape, generator) for shape in ((1, 1, 1), (7, 33, 5), (64, 100, 17), (33, 256, 128)))
    except (AttributeError, RuntimeError, TypeError):
        return False


def _agrees(rows: int, inputs: int, outputs: int, generator: torch.Generator) -> bool:
    images, weight, bias = (
        torch.randn(*shape, generator=generator, requires_grad=True)
        for shape in ((rows, inputs), (outputs, inputs), (outputs,))
    )
    gradient = torch.randn(rows, outputs, generator=generator)
    results = []
    for linear in (functional.linear, _Linear.apply):
        output = linear(images, weight, bias)
        results.append((output, *torch.autograd.grad(output, (images, weight, bias), gradient)))
    return all(
        bool((ours - torchs).abs().max() <= TOLERANCE * torchs.abs().max())
        for torchs, ours in zip(*results, strict=True)
    )
