"""The report's multi-layer perceptron: linear layers and ReLUs, with optional dropout and batch normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from torch import nn

from evo.models.batch_norm import KINDS

MODULES: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def build(config: Mapping[str, Any], input_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return the network of a configuration, initialised by torch's global generator.

    As in the report, batch norm comes before every linear layer, the first included, and dropout after every hidden
    activation.

    Args:
        config: `hidden_layers` (tuple of widths), and optionally `activation` ("relu"), `dropout` (rate, 0),
            `batch_norm` (False) and `batch_norm_kind` ("torch"; see `evo.models.batch_norm`).
        input_shape: (channels, height, width).
        classes: Number of outputs.

    Returns:
        A module from (batch, channels, height, width) to logits (batch, classes).
    """
    activation = MODULES[config.get("activation", "relu")]
    dropout, batch_norm = float(config.get("dropout", 0.0)), bool(config.get("batch_norm", False))
    normalisation = KINDS[config.get("batch_norm_kind", "torch")]
    layers: list[nn.Module] = [nn.Flatten()]
    width = prod(input_shape)
    for hidden in config["hidden_layers"]:
        layers += [normalisation(width)] * batch_norm
        layers += [nn.Linear(width, hidden), activation()]
        layers += [nn.Dropout(dropout)] * (dropout > 0)
        width = hidden
    layers += [normalisation(width)] * batch_norm
    layers.append(nn.Linear(width, classes))
    return nn.Sequential(*layers)
