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
        matrices: Shapes of the weights that are matrices, or filters as one row per output.
    """

    operations: int
    first_operations: int
    parameters: int
    activations: int
    calls: int
    matrices: tuple[tuple[int, int], ...] = ()

    @property
    def muon_operations(self) -> int:
        """Operations of the products of a step of Muon: five Newton-Schulz iterations for each matrix."""
        sides = [(min(shape), max(shape)) for shape in self.matrices]
        return sum(5 * (4 * short**2 * long + 2 * short**3) for short, long in sides)

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
    before_layers = norm and config.get("batch_norm_place", "layer") == "layer"
    normalised = sum(widths[:-1] if before_layers else hidden) if norm else 0
    shortcuts = hidden[1:] if config.get("residual", False) else ()
    return Workload(
        operations=2 * sum(products),
        first_operations=0 if before_layers else 2 * products[0],  # a batch norm before it wants the gradient
        parameters=sum(products) + sum(widths[1:]) + 2 * normalised,
        activations=pixels + (2 + dropout) * sum(hidden) + classes + normalised + sum(shortcuts),
        calls=(2 + norm + dropout) * len(hidden) + 1 + before_layers + len(shortcuts),
        matrices=tuple((outputs, inputs) for inputs, outputs in pairwise(widths)),
    )


STEM_CHANNELS, STEM_SIZE = 24, 2
"""Of the first convolution of a `cnn` of pooled blocks, which has no padding."""


class _Convolutions:
    """Counts the layers of a convolutional network, one after another."""

    def __init__(self, input_shape: Shape):
        self.width, self.height, self.side = input_shape
        self.operations: list[int] = []
        self.matrices: list[tuple[int, int]] = []
        self.parameters = self.calls = 0
        self.activations = prod(input_shape)

    def convolution(self, channels: int, kernel_size: tuple[int, int], *, bias: bool) -> None:
        weights = prod(kernel_size) * self.width * channels
        self.operations.append(2 * weights * self.height * self.side)
        self.matrices.append((channels, weights // channels))
        self.parameters += weights + bias * channels
        self.width = channels
        self.elementwise()

    def elementwise(self, parameters: int = 0) -> None:
        """Count an operator whose output has the size of its input: an activation, a batch norm, a sum."""
        self.parameters += parameters * self.width
        self.activations += self.width * self.height * self.side
        self.calls += 1

    def resize(self, height: int, side: int) -> None:
        self.height, self.side = height, side

    def total(self, dropout: bool, classes: int) -> Workload:
        """Return the counts, with a pooling over all pixels and the last linear layer."""
        self.operations.append(2 * self.width * classes)
        return Workload(
            operations=sum(self.operations),
            first_operations=self.operations[0],
            parameters=self.parameters + (self.width + 1) * classes,
            activations=self.activations + (1 + dropout) * self.width + classes,
            calls=self.calls + 2 + dropout,
            matrices=(*self.matrices, (classes, self.width)),
        )


def cnn(config: Mapping[str, Any], input_shape: Shape, classes: int) -> Workload:
    """Count the network of `evo.models.cnn`."""
    count, norm = _Convolutions(input_shape), bool(config.get("batch_norm", True))
    if config.get("block", "classic") == "pooled":
        _count_pooled(count, config, norm)
    else:
        for block, channels in enumerate(config["channels"]):
            for _ in range(1 if block < int(config.get("single_blocks", 2)) else 2):
                _count_layer(count, channels, 3, norm)
            count.resize((count.height + 1) // 2, (count.side + 1) // 2)
            count.elementwise()
    return count.total(float(config.get("dropout", 0.0)) > 0, classes)


def _count_layer(count: _Convolutions, channels: int, kernel_size: int, norm: bool, *, pooled: bool = False) -> None:
    count.convolution(channels, (kernel_size, kernel_size), bias=not norm)
    if pooled:
        count.resize(max(1, count.height // 2), max(1, count.side // 2))
        count.elementwise()
    if norm:
        count.elementwise(parameters=2)
    count.elementwise()


def _count_pooled(count: _Convolutions, config: Mapping[str, Any], norm: bool) -> None:
    kernel_size = int(config.get("kernel_size", 3))
    stem = min(count.height, STEM_SIZE), min(count.side, STEM_SIZE)
    count.resize(count.height - stem[0] + 1, count.side - stem[1] + 1)
    count.convolution(STEM_CHANNELS, stem, bias=True)
    count.elementwise()
    for channels in config["channels"]:
        _count_layer(count, channels, kernel_size, norm, pooled=max(count.height, count.side) > 1)
        further = int(config.get("convolutions", 2)) - 1
        for _ in range(further):
            _count_layer(count, channels, kernel_size, norm)
        if further and config.get("residual", False):
            count.elementwise()


def numpy_mlp(config: Mapping[str, Any], input_shape: Shape, classes: int) -> Workload:
    """Count the network of `evo.models.numpy_mlp`: that of `mlp` without its options."""
    return mlp({"hidden_layers": config["hidden_layers"]}, input_shape, classes)
