"""Layers that several shipped models have."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
"""The activations by name."""


class Residual(nn.Sequential):
    """Adds the input of some layers to their output; where the widths differ, the narrower is filled with zeros.

    He et al. (2016), with the shortcut of their option A, which has no weights.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return (batch, outputs, …) for (batch, inputs, …); only matrices may have other widths."""
        output = input
        for layer in self:
            output = layer(output)
        return self.add(input, output)

    def add(self, input: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return the sum of the first layer's input and the last layer's output."""
        missing = output.shape[1] - input.shape[1]
        shortcut = functional.pad(input, (0, missing)) if missing else input  # a negative number cuts off
        return output + shortcut
