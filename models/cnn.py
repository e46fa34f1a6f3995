"""Convolutional networks in the form of the report's section 4: blocks of 3×3 convolutions, each with a max pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def build(config: Mapping[str, Any], input_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return the network of a configuration, initialised by torch's global generator.

    The report's network is `channels = (64, 128, 256, 512, 512)`, `single_blocks = 2`, `batch_norm = True`.

    Args:
        config: `channels` (tuple, one number a block), and optionally `single_blocks` (2): the first blocks, which have
            one convolution; the others have two. `batch_norm` (True) after every convolution. `dropout` (rate, 0)
            before the last linear layer.
        input_shape: (channels, height, width).
        classes: Number of outputs.

    Returns:
        A module from (batch, channels, height, width) to logits (batch, classes).
    """
    single_blocks, batch_norm = int(config.get("single_blocks", 2)), bool(config.get("batch_norm", True))
    dropout = float(config.get("dropout", 0.0))
    layers: list[nn.Module] = [ChannelsLast()]
    width = input_shape[0]
    for block, channels in enumerate(config["channels"]):
        for _ in range(1 if block < single_blocks else 2):
            layers.append(nn.Conv2d(width, channels, kernel_size=3, padding=1, bias=not batch_norm))
            layers += [nn.BatchNorm2d(channels)] * batch_norm
            layers.append(nn.ReLU())
            width = channels
        layers.append(nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    layers += [AveragePool(), nn.Flatten()]
    layers += [nn.Dropout(dropout)] * (dropout > 0)
    layers.append(nn.Linear(width, classes))
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


class AveragePool(nn.Module):
    """The mean over height and width; for the report's five blocks, whose output is 1×1, the identity."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (batch, channels, 1, 1) for (batch, channels, height, width)."""
        return images.mean(dim=(2, 3), keepdim=True)


class ChannelsLast(nn.Module):
    """Lays images out channel by channel within a pixel: oneDNN's and cuDNN's convolutions are faster on that."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the same images, (batch, channels, height, width), in another memory format."""
        return images.contiguous(memory_format=torch.channels_last)
