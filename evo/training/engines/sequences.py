"""Sequences of a CNN's layers that compute the same in less time on a CPU, where small operators take half of it.

- A ReLU before a max pooling is applied after it, to a quarter of the numbers. Output and gradients stay the same to
  the last bit: the larger of two numbers stays the larger, and where a whole window is negative, no gradient passes.
- torch's batch norm and max pooling take 16 channels at once, and those that are left one by one: 14 channels cost
  several times as much as 16. So channels are padded with zeros from one convolution to the next.
- In evaluation mode, without gradients, a batch norm is part of the weights of the convolution before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

import torch
from torch import nn
from torch.nn import functional

from evo.models.cnn import AveragePool, MaxPool
from evo.models.layers import Residual
from evo.training.engines.convolutions import OneDnnConv2d

AT_ONCE = 16
"""Channels that torch's operators take at once."""
CHEAP = (0, 1, 2, 8)
"""Channels beyond a multiple of that which cost no more than 16: half of it at once, or two one by one."""
KEEP_ZEROS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, MaxPool, AveragePool)
"""Layers that work on each channel by itself, make zeros of zeros, and draw no random numbers."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""What someone has asked a module to call."""


class FastSequential(nn.Sequential):
    """Calls its layers one after another, some of them in another order, on padded channels, or two at once."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return what `nn.Sequential` returns, up to rounding."""
        images, channels = _applied(self, input, None)
        return images if channels is None else images[:, :channels]


def _applied(
    sequence: Iterable[nn.Module], images: torch.Tensor, channels: int | None
) -> tuple[torch.Tensor, int | None]:
    """Return what layers make of images, and how many of its channels are not padding; None for all of them.

    Args:
        sequence: The layers.
        images: (batch, channels and padding, height, width).
        channels: Their number without padding; None where nothing is padded.
    """
    layers = _rectified_last(sequence)
    for place, layer in enumerate(layers):
        following = layers[place + 1 :]
        if _is_convolution(layer):
            norm = next((other for other in following[:1] if _is_fixed_norm(other)), None)
            padded = _padded(layer.out_channels) if _is_costly(following) else layer.out_channels
            inputs = layer.in_channels if channels is None else images.shape[1]
            images = _convolution(layer, norm, images, inputs, padded)
            channels = None if padded == layer.out_channels else layer.out_channels
        elif _is_fixed_norm(layer) and place and _is_convolution(layers[place - 1]):
            continue  # it was done with the convolution
        elif _is_residual(layer):
            images, channels = _residual(layer, images, channels)
        elif channels is None or _keeps_zeros(layer):
            images = layer(images)
        elif _is_norm(layer):
            images = _batch_norm(layer, images)
        else:
            images, channels = layer(images[:, :channels]), None
    return images, channels


def use_fast_sequences(model: nn.Module) -> None:
    """Let the sequences of a network compute faster; its layers, their weights and names stay as they are."""
    for module in model.modules():
        if type(module) is nn.Sequential and any(isinstance(layer, nn.Conv2d) for layer in module):
            module.__class__ = FastSequential


def _rectified_last(sequence: Iterable[nn.Module]) -> list[nn.Module]:
    """Return layers in the order in which they are applied: max pooling before a ReLU."""
    layers = list(sequence)
    for place in range(len(layers) - 1):
        first, second = layers[place : place + 2]
        if _is(first, (nn.ReLU,)) and _is_pooling(second):
            layers[place : place + 2] = second, first
    return layers


def _is(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Return whether a layer is of one of these types, not of one derived from it, and nothing is hooked to it."""
    return type(layer) in kinds and not any(getattr(layer, hooks) for hooks in HOOKS)


def _is_pooling(layer: nn.Module) -> bool:
    return _is(layer, (nn.MaxPool2d,)) and not getattr(layer, "return_indices", False)


def _keeps_zeros(layer: nn.Module) -> bool:
    """Return whether a layer is as `KEEP_ZEROS` says."""
    return _is(layer, KEEP_ZEROS) or _is_pooling(layer)


def _is_convolution(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return _is(layer, (nn.Conv2d, OneDnnConv2d)) and getattr(layer, "groups", 0) == 1


def _is_norm(layer: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Return whether a layer is a batch norm of the usual kind: with weights and with running statistics."""
    return _is(layer, (nn.BatchNorm2d,)) and all(
        getattr(layer, name) is not None for name in ("weight", "bias", "running_mean", "running_var", "momentum")
    )


def _is_residual(layer: nn.Module) -> TypeGuard[Residual]:
    return _is(layer, (Residual,))


def _is_fixed_norm(layer: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    return not layer.training and not torch.is_grad_enabled() and _is_norm(layer)


def _is_costly(following: list[nn.Module]) -> bool:
    """Return whether a batch norm or max pooling comes before the next convolution."""
    for layer in following:
        if _is_pooling(layer) or (_is_norm(layer) and not _is_fixed_norm(layer)):
            return True
        if not _keeps_zeros(layer):
            return False
    return False


def _padded(channels: int) -> int:
    beyond = channels % AT_ONCE
    return channels if beyond in CHEAP else channels + AT_ONCE - beyond


def _convolution(
    layer: nn.Conv2d, norm: nn.BatchNorm2d | None, images: torch.Tensor, inputs: int, outputs: int
) -> torch.Tensor:
    """Return a convolution, normalised if there is a norm, whose weights are padded with zeros.

    Args:
        layer: The convolution.
        norm: In evaluation mode: γ (w ∗ x + b − µ) / √(σ² + ε) + β is one convolution.
        images: (batch, inputs, height, width).
        inputs: Channels of the images, those of zeros included.
        outputs: Wanted channels, those of zeros included.
    """
    weight, bias = layer.weight, layer.bias
    if norm is not None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = -norm.running_mean if bias is None else bias - norm.running_mean
        weight, bias = weight * factor[:, None, None, None], torch.addcmul(norm.bias, shift, factor)
    more_inputs, more_outputs = inputs - layer.in_channels, outputs - layer.out_channels
    if more_inputs or more_outputs:
        weight = functional.pad(weight, (0, 0, 0, 0, 0, more_inputs, 0, more_outputs))
        bias = None if bias is None else functional.pad(bias, (0, more_outputs))
    output: torch.Tensor = layer._conv_forward(images, weight, bias)
    return output


def _residual(layer: Residual, images: torch.Tensor, channels: int | None) -> tuple[torch.Tensor, int | None]:
    """Return what `_applied` returns for the layers of a residual connection, added to its input."""
    output, left = _applied(layer, images, channels)
    if output.shape[1] == images.shape[1] and left == channels:
        return layer.add(images, output), channels
    return layer.add(images[:, :channels], output[:, :left]), None


def _batch_norm(norm: nn.BatchNorm2d, images: torch.Tensor) -> torch.Tensor:
    """Return a batch norm of padded channels; it leaves the zeros as they are."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    more = (0, images.shape[1] - norm.num_features)
    mean, variance = functional.pad(norm.running_mean, more), functional.pad(norm.running_var, more)
    weight, bias = functional.pad(norm.weight, more), functional.pad(norm.bias, more)
    output = functional.batch_norm(images, mean, variance, weight, bias, norm.training, norm.momentum or 0.0, norm.eps)
    if norm.training:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        norm.running_mean.copy_(mean[: norm.num_features])
        norm.running_var.copy_(variance[: norm.num_features])
    return output
