"""Multi-layer perceptrons, with optional dropout, batch norm and residual connections."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from torch import nn

from evo.models.batch_norm import KINDS
from evo.models.layers import ACTIVATIONS, Residual


def build(config: Mapping[str, Any], input_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return the network of a configuration, initialised by torch's global generator.

    Args:
        config: `hidden_layers` (tuple of widths; without any, the model is linear), and optionally `activation`
            ("relu"), `dropout` (rate, 0) after every hidden activation, `batch_norm` (False), `batch_norm_place`
            ("layer": before every linear layer, the first included, as in the 2019 report; "activation": between each
            hidden layer and its activation), `batch_norm_kind` ("torch"; see `evo.models.batch_norm`), and `residual`
            (False): each hidden layer but the first adds its input to its output.
        input_shape: (channels, height, width).
        classes: Number of outputs.

    Returns:
        A module from (batch, channels, height, width) to logits (batch, classes).
    """
    activation, dropout = ACTIVATIONS[config.get("activation", "relu")], float(config.get("dropout", 0.0))
    place = config.get("batch_norm_place", "layer") if config.get("batch_norm", False) else ""
    normalisation = KINDS[config.get("batch_norm_kind", "torch")]
    residual = bool(config.get("residual", False))
    layers: list[nn.Module] = [nn.Flatten()]
    width = prod(input_shape)
    for number, hidden in enumerate(config["hidden_layers"]):
        block: list[nn.Module] = [normalisation(width)] * (place == "layer")
        block.append(nn.Linear(width, hidden))
        block += [normalisation(hidden)] * (place == "activation")
        block.append(activation())
        block += [nn.Dropout(dropout)] * (dropout > 0)
        layers += [Residual(*block)] if residual and number else block
        width = hidden
    layers += [normalisation(width)] * (place == "layer")
    layers.append(nn.Linear(width, classes))
    return nn.Sequential(*layers)
