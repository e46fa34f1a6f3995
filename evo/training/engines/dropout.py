"""Dropout that takes about a third of torch's time on a CPU: 64 random bits give four numbers at once.

torch draws one random number for each output.
"""

from __future__ import annotations

import torch
from torch import nn

LEVELS = 1 << 16
"""Different values of 16 bits: the rate is rounded to a multiple of its reciprocal."""


class FastDropout(nn.Dropout):
    """Sets outputs to zero with probability p, and divides the others by 1 - p, from torch's global generator."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return what `nn.Dropout` returns, for another mask."""
        kept = round((1 - self.p) * LEVELS)
        if not self.training or input.device.type != "cpu" or not input.is_floating_point() or kept in (0, LEVELS):
            output: torch.Tensor = super().forward(input)
            return output
        mask = _random_16_bits(input.numel()) < kept - LEVELS // 2
        return input * mask.view(input.shape).to(input.dtype).mul_(LEVELS / kept)


def _random_16_bits(count: int) -> torch.Tensor:
    """Return whole numbers of 16 bits, each value as likely as any other."""
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None)
    return drawn.view(torch.int16)[:count]


def use_fast_dropout(model: nn.Module) -> None:
    """Let the dropout layers of a network draw faster; what is derived from torch's layer stays as it is."""
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = FastDropout
