"""What a training of each shipped model computes, counted from its configuration without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

Shape: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Workload:
    """Counts of one network.

    Attributes:
        operations: Floating-point operations of the products of a forward pass, an image.
        first_operations: Those that the backward pass does once, not twice: of the first product, where nothing wants
            the gradient of the images.
        parameters: Trainable parameters.
        activations: Numbers that the backward pass needs, an image, the image's own included.
        calls: Operators of a forward pass.
    """

    operations: int
    first_operations: int
    parameters: int
    activations: int
    calls: int

    @property
    def training_operations(self) -> int:
        """Operations of the products of a forward and a backward pass, an image."""
        return 3 * self.operations - self.first_operations


def mlp(config: Mapping[str, Any], input_shape: Shape, classes: int) -> Workload:
    """Count the network of `evo.models.mlp`."""
    pixels = prod(input_shape)
    hidden = tuple(config["hidden_layers"])
    widths = (pixels, *hidden, classes)
    products = [inputs * outputs for inputs, outputs in pairwise(widths)]
    norm, dropout = bool(config.get("batch_norm", False)), float(config.get("dropout", 0.0)) > 0
    return Workload(
        operations=2 * sum(products),
        first_operations=0 if norm else 2 * products[0],  # a batch norm before it wants the gradient
        parameters=sum(products) + sum(widths[1:]) + 2 * norm * sum(widths[:-1]),
        activations=pixels + (2 + dropout) * sum(hidden) + classes + norm * sum(widths[:-1]),
        calls=(2 + norm + dropout) * len(hidden) + 1 + norm,
    )


def cnn(config: Mapping[str, Any], input_shape: Shape, classes: int) -> Workload:
    """Count the network of `evo.models.cnn`."""
    width, height, side = input_shape
    norm, dropout = bool(config.get("batch_norm", True)), float(config.get("dropout", 0.0)) > 0
    operations: list[int] = []
    parameters = calls = 0
    activations = prod(input_shape)
    for block, channels in enumerate(config["channels"]):
        for _ in range(1 if block < int(config.get("single_blocks", 2)) else 2):
            operations.append(2 * 9 * width * channels * height * side)
            parameters += 9 * width * channels + (2 if norm else 1) * channels
            activations += (2 + norm) * channels * height * side
            calls += 2 + norm
            width = channels
        height, side = (height + 1) // 2, (side + 1) // 2
        activations += width * height * side
        calls += 1
    operations.append(2 * width * classes)
    return Workload(
        operations=sum(operations),
        first_operations=operations[0],
        parameters=parameters + (width + 1) * classes,
        activations=activations + (1 + dropout) * width + classes,
        calls=calls + 2 + dropout,
    )


def numpy_mlp(config: Mapping[str, Any], input_shape: Shape, classes: int) -> Workload:
    """Count the network of `evo.models.numpy_mlp`: that of `mlp` without its options."""
    return mlp({"hidden_layers": config["hidden_layers"]}, input_shape, classes)
