"""The report's NumPy network (section 1): modules with analytical gradients, each with the equation that it is from.

A row of a batch is a sample: x̃ = x Wᵀ + b, where the report has columns. As in its code, a gradient is that of the
batch's mean loss; eq. 35 to 42 have one a sample. In training the network stands behind one `torch.autograd.Function`,
so that it trains in the same loop as every other model: it gives logits, to which torch applies its loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.autograd.function import once_differentiable

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Labels: TypeAlias = npt.NDArray[np.int64]

WEIGHT_DEVIATION = 1e-4
"""Standard deviation of the initial weights, as in the report's code; biases begin at 0."""


class Linear:
    """x̃ = W x + b, the layer of eq. 14.

    Args:
        weight: W, (outputs, inputs).
        bias: b, (outputs,).
    """

    def __init__(self, weight: Array, bias: Array):
        self.weight, self.bias = weight, bias

    def forward(self, inputs: Array) -> Array:
        """Return x̃, (batch, outputs), for x, (batch, inputs)."""
        self._inputs = inputs
        return inputs @ self.weight.T + self.bias

    def backward(self, gradient: Array) -> Array:
        """Return ∂L/∂x = ∂L/∂x̃ W (eq. 26), (batch, inputs), for ∂L/∂x̃, (batch, outputs)."""
        return gradient @ self.weight

    def parameter_gradients(self, gradient: Array) -> tuple[Array, Array]:
        """Return ∂L/∂W = (∂L/∂x̃)ᵀ x (eq. 32) and ∂L/∂b = ∂L/∂x̃ (eq. 34), both summed over the batch."""
        return gradient.T @ self._inputs, gradient.sum(axis=0)


class ReLU:
    """x = max(0, x̃) (eq. 11 and 12)."""

    def forward(self, inputs: Array) -> Array:
        """Return x, of the shape of x̃; what is not a number stays so, so that a diverged training is seen."""
        self._active = inputs > 0
        return np.maximum(inputs, 0)

    def backward(self, gradient: Array) -> Array:
        """Return ∂L/∂x̃ = ∂L/∂x · 1{x̃ > 0} (eq. 25; where x̃ = 0, eq. 12 and 13 have 1, this and torch 0)."""
        return np.where(self._active, gradient, 0)


class Softmax:
    """x_i = exp(x̃_i) / Σ_k exp(x̃_k), the function that eq. 4 to 9 differentiate; shifted by the row's maximum."""

    def forward(self, inputs: Array) -> Array:
        """Return the probabilities x, (batch, classes), for the logits x̃."""
        exponentials: Array = np.exp(inputs - inputs.max(axis=1, keepdims=True))
        total: Array = exponentials.sum(axis=1, keepdims=True)
        self._output = exponentials / total
        return self._output

    def backward(self, gradient: Array) -> Array:
        """Return ∂L/∂x̃_j = Σ_i ∂L/∂x_i x_i (1{i = j} − x_j) (eq. 21 with eq. 10)."""
        inner: Array = (gradient * self._output).sum(axis=1, keepdims=True)
        return self._output * (gradient - inner)


class CrossEntropy:
    """L = −Σ_i t_i log x_i (in eq. 1), the mean over the batch; t is 1 for the label and 0 elsewhere."""

    def forward(self, probabilities: Array, labels: Labels) -> float:
        """Return the loss of probabilities x, (batch, classes), for labels, (batch,); infinite where x is 0."""
        self._probabilities, self._labels = probabilities, labels
        return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())

    def backward(self) -> Array:
        """Return ∂L/∂x = −t / x (eq. 3), divided by the batch's size."""
        gradient = np.zeros_like(self._probabilities)
        chosen = np.arange(len(self._labels)), self._labels
        gradient[chosen] = -1 / (self._probabilities[chosen] * len(self._labels))
        return gradient


class Network:
    """Linear layers with a ReLU after each but the last.

    Args:
        weights: W of every layer; used, not copied.
        biases: b of every layer.
    """

    def __init__(self, weights: Sequence[Array], biases: Sequence[Array]):
        self._modules: list[Linear | ReLU] = []
        for weight, bias in zip(weights, biases, strict=True):
            self._modules += [Linear(weight, bias), ReLU()]
        self._modules.pop()

    def forward(self, images: Array) -> Array:
        """Return logits, (batch, classes), for flat images, (batch, pixels)."""
        for module in self._modules:
            images = module.forward(images)
        return images

    def backward(self, gradient: Array, *, to_images: bool = False) -> tuple[Array | None, list[Array], list[Array]]:
        """Return the gradients for that of the logits.

        Args:
            gradient: ∂L/∂x̃ of the last layer, (batch, classes).
            to_images: Whether that of the images is wanted, too: a third of what the first layer computes.

        Returns:
            Those of the images, of the weights and of the biases.
        """
        weights: list[Array] = []
        biases: list[Array] = []
        for number, module in reversed(list(enumerate(self._modules))):
            if isinstance(module, Linear):
                weight, bias = module.parameter_gradients(gradient)
                weights.insert(0, weight)
                biases.insert(0, bias)
            if number == 0 and not to_images:
                return None, weights, biases
            gradient = module.backward(gradient)
        return gradient, weights, biases

    def loss_and_gradients(self, images: Array, labels: Labels) -> tuple[float, list[Array], list[Array]]:
        """Return the mean cross-entropy of a batch and the gradients of weights and biases, all of it in NumPy."""
        softmax, cross_entropy = Softmax(), CrossEntropy()
        loss = cross_entropy.forward(softmax.forward(self.forward(images)), labels)
        _, weights, biases = self.backward(softmax.backward(cross_entropy.backward()))
        return loss, weights, biases


class NumpyMLP(nn.Module):
    """The network as a torch module: torch holds the parameters, NumPy computes.

    Args:
        widths: Pixels, hidden widths, classes.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(outputs, inputs) * WEIGHT_DEVIATION) for inputs, outputs in pairwise(widths)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(outputs)) for outputs in widths[1:])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), for images, (batch, channels, height, width)."""
        flat = images.flatten(1).to(self.weights[0].dtype)
        logits: torch.Tensor = _NetworkFunction.apply(flat, *self.weights, *self.biases)
        return logits


class _NetworkFunction(torch.autograd.Function):
    """The whole network as one function of images, weights and biases; its gradients are `Network`'s."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        arrays = [parameter.detach().cpu().numpy() for parameter in parameters]
        depth = len(arrays) // 2
        ctx.network = Network(arrays[:depth], arrays[depth:])
        ctx.save_for_backward(images, *parameters)
        with np.errstate(all="ignore"):  # a training that diverges is seen by its loss; torch does not warn either
            return torch.from_numpy(ctx.network.forward(images.detach().cpu().numpy())).to(images.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # The arrays share their memory with these tensors: torch refuses here if one was changed in between.
        _ = ctx.saved_tensors
        with np.errstate(all="ignore"):
            images, weights, biases = ctx.network.backward(gradient.cpu().numpy(), to_images=ctx.needs_input_grad[0])
        return tuple(
            None if array is None else torch.from_numpy(array).to(gradient.device)
            for array in (images, *weights, *biases)
        )


def build(config: Mapping[str, Any], input_shape: tuple[int, int, int], classes: int) -> NumpyMLP:
    """Return the network of a configuration, its weights drawn from N(0, 0.0001²) by torch's global generator.

    Args:
        config: `hidden_layers` (tuple of widths).
        input_shape: (channels, height, width).
        classes: Number of outputs.

    Returns:
        A module from (batch, channels, height, width) to logits (batch, classes).
    """
    return NumpyMLP([prod(input_shape), *config["hidden_layers"], classes])
