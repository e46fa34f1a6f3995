"""Convolutional networks: blocks of convolutions, each with one pooling, in the shape of 2019 or of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from evo.models.layers import ACTIVATIONS, Residual
from evo.models.workload import STEM_CHANNELS, STEM_SIZE


def build(config: Mapping[str, Any], input_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return the network of a configuration, initialised by torch's global generator.

    The report's network is `channels = (64, 128, 256, 512, 512)`, `single_blocks = 2`, `batch_norm = True`.

    Args:
        config: `channels` (tuple, one number per block), and optionally `block` ("classic": the 2019 report's, which
            pools at the end of a block; "pooled": pools after the first convolution, before batch norm and activation,
            and has a first layer of 2×2 convolutions, as in Jordan, arXiv 2404.00498), `batch_norm` (True) after
            every convolution, `activation` ("relu"), `dropout` (rate, 0) before the last linear layer. Of "classic":
            `single_blocks` (2): the first blocks, which have one convolution; the others have two. Of "pooled":
            `convolutions` of a block (2), `kernel_size` (3), and `residual` (False): the convolutions after the first
            add their input to their output.
        input_shape: (channels, height, width).
        classes: Number of outputs.

    Returns:
        A module from (batch, channels, height, width) to logits (batch, classes).
    """
    shape = _pooled if config.get("block", "classic") == "pooled" else _classic
    layers, width = shape(config, input_shape)
    dropout = float(config.get("dropout", 0.0))
    layers += [nn.Flatten(), *([nn.Dropout(dropout)] * (dropout > 0)), nn.Linear(width, classes)]
    return nn.Sequential(ChannelsLast(), *layers).to(memory_format=torch.channels_last)


def _classic(config: Mapping[str, Any], input_shape: tuple[int, int, int]) -> tuple[list[nn.Module], int]:
    """Return the layers of the 2019 report's section 4, and the number of channels that they end with."""
    single_blocks, batch_norm = int(config.get("single_blocks", 2)), bool(config.get("batch_norm", True))
    layers: list[nn.Module] = []
    width = input_shape[0]
    for block, channels in enumerate(config["channels"]):
        for _ in range(1 if block < single_blocks else 2):
            layers += _convolution(width, channels, 3, batch_norm)
            layers += [nn.BatchNorm2d(channels)] * batch_norm
            layers.append(ACTIVATIONS[config.get("activation", "relu")]())
            width = channels
        layers.append(nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    return [*layers, AveragePool()], width


def _pooled(config: Mapping[str, Any], input_shape: tuple[int, int, int]) -> tuple[list[nn.Module], int]:
    """Return the layers of a network that normalises a quarter of the numbers, and its last number of channels."""
    kernel_size, batch_norm = int(config.get("kernel_size", 3)), bool(config.get("batch_norm", True))
    activation = ACTIVATIONS[config.get("activation", "relu")]
    width, *sides = input_shape
    stem = min(sides[0], STEM_SIZE), min(sides[1], STEM_SIZE)
    layers: list[nn.Module] = [nn.Conv2d(width, STEM_CHANNELS, stem), activation()]
    width, sides = STEM_CHANNELS, [side - size + 1 for side, size in zip(sides, stem, strict=True)]
    for channels in config["channels"]:
        layers += _convolution(width, channels, kernel_size, batch_norm)
        pool = min(sides[0], 2), min(sides[1], 2)
        layers += [nn.MaxPool2d(pool)] * (max(pool) > 1)
        layers += [*([nn.BatchNorm2d(channels)] * batch_norm), activation()]
        further: list[nn.Module] = []
        for _ in range(int(config.get("convolutions", 2)) - 1):
            further += _convolution(channels, channels, kernel_size, batch_norm)
            further += [*([nn.BatchNorm2d(channels)] * batch_norm), activation()]
        layers += [Residual(*further)] if further and config.get("residual", False) else further
        width, sides = channels, [side // size for side, size in zip(sides, pool, strict=True)]
    return [*layers, MaxPool()], width


def _convolution(width: int, channels: int, kernel_size: int, batch_norm: bool) -> list[nn.Module]:
    return [nn.Conv2d(width, channels, kernel_size, padding=kernel_size // 2, bias=not batch_norm)]


class AveragePool(nn.Module):
    """The mean over height and width; for the report's five blocks, whose output is 1×1, the identity."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (batch, channels, 1, 1) for (batch, channels, height, width)."""
        return images.mean(dim=(2, 3), keepdim=True)


class MaxPool(nn.Module):
    """The maximum over height and width."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (batch, channels, 1, 1) for (batch, channels, height, width)."""
        return images.amax(dim=(2, 3), keepdim=True)


class ChannelsLast(nn.Module):
    """Lays images out channel by channel within a pixel: oneDNN's and cuDNN's convolutions are faster on that."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the same images, (batch, channels, height, width), in another memory format."""
        return images.contiguous(memory_format=torch.channels_last)
