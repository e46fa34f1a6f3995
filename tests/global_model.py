"""A user-defined model whose module remembers what training has changed, outside the files of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

factor = 1.0


class Network(torch.nn.Module):
    """A linear layer whose outputs a module-level number scales."""

    def __init__(self, pixels: int, classes: int):
        super().__init__()
        self.linear = torch.nn.Linear(pixels, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        global factor
        if self.training:
            factor *= 0.98
        output: torch.Tensor = self.linear(images.flatten(1)) * factor
        return output


def build(config: Mapping[str, Any], input_shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    return Network(int(torch.tensor(input_shape).prod()), classes)
