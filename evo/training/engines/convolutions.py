"""Convolutions whose gradient of the weights oneDNN computes on many small images side by side, in bfloat16 on AMX.

It goes through an image row by row, and the rows of small images leave most of a tile of AMX empty: for 128 channels
and images of 3×3 it reaches a tenth of the rate of the other two products of the layer. Several images beside each
other, with as many columns of zeros between them as the padding has, give the same sum from longer rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

NARROW = 10
"""Columns of the widest images that gain from it."""
FEW_WEIGHTS = 1024
"""Inputs · outputs below which only images of at most `NARROWEST` columns gain."""
NARROWEST = 4
ROW = 64
"""Columns of images beside each other, about."""


class OneDnnConv2d(nn.Conv2d):
    """A convolution that computes the gradient of its weights from wide images."""

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if not (torch.is_grad_enabled() and weight.requires_grad and self._gains(input)):
            result: torch.Tensor = super()._conv_forward(input, weight, bias)
            return result
        output: torch.Tensor = _Convolution.apply(input.bfloat16(), weight.bfloat16(), self.padding)
        return output if bias is None else output + bias.bfloat16()[:, None, None]

    def _gains(self, input: torch.Tensor) -> bool:
        if not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") != torch.bfloat16:
            return False
        width = input.shape[-1]
        narrow = NARROW if self.in_channels * self.out_channels >= FEW_WEIGHTS else NARROWEST
        return input.ndim == 4 and input.device.type == "cpu" and input.dtype != torch.float64 and width <= narrow


def use_wide_images(model: nn.Module) -> None:
    """Let the convolutions of a network that can compute on wide images; weights and names stay as they are."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _keeps_size(module):
            module.__class__ = OneDnnConv2d


def _keeps_size(convolution: nn.Conv2d) -> bool:
    """Return whether the output has the size of the images, and zeros are all that lies around them."""
    plain = convolution.stride == convolution.dilation == (1, 1) and convolution.groups == 1
    return (
        plain
        and convolution.padding_mode == "zeros"
        and isinstance(convolution.padding, tuple)
        and all(
            size == 2 * padding + 1 for size, padding in zip(convolution.kernel_size, convolution.padding, strict=True)
        )
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, weight: torch.Tensor, padding: tuple[int, int]) -> torch.Tensor:
        ctx.save_for_backward(images, weight)
        ctx.padding = padding
        return torch.conv2d(images, weight, None, 1, padding)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _gradients(gradient, images, weight, ctx.padding, of=0) if wanted[0] else None,
            gradient_of_weights(gradient, images, weight, ctx.padding) if wanted[1] else None,
            None,
        )


def gradient_of_weights(
    gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, padding: tuple[int, int]
) -> torch.Tensor:
    """Return the gradient of a convolution's weights, (outputs, inputs, height, width).

    Args:
        gradient: Of its output, (n, outputs, height, width).
        images: Its input, (n, inputs, height, width).
        weight: Of the shape of the result.
        padding: Half of its kernel.
    """
    count, pitch = len(images), images.shape[-1] + padding[1]
    rows = -(-count // max(1, ROW // pitch))
    beside = -(-count // rows)
    wide_gradient, wide_images = (side_by_side(tensor, beside, pitch) for tensor in (gradient, images))
    return _gradients(wide_gradient, wide_images, weight, padding, of=1)


def side_by_side(images: torch.Tensor, beside: int, pitch: int) -> torch.Tensor:
    """Return (rows, channels, height, beside · pitch): an image every `pitch` columns, zeros between and after them."""
    count, channels, height, width = images.shape
    full, left = divmod(count, beside)
    wide = images.new_zeros(full + (left > 0), height, beside, pitch, channels)
    pixels = images.permute(0, 2, 3, 1)
    wide[:full, :, :, :width] = pixels[: full * beside].reshape(full, beside, height, width, channels).transpose(1, 2)
    if left:
        wide[full, :, :left, :width] = pixels[full * beside :].transpose(0, 1)
    return wide.flatten(2, 3).permute(0, 3, 1, 2)


def _gradients(
    gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, padding: tuple[int, int], *, of: int
) -> torch.Tensor:
    """Return torch's gradient of the images (0) or the weights (1)."""
    wanted = [of == 0, of == 1, False]
    backward = torch.ops.aten.convolution_backward
    result: torch.Tensor = backward(gradient, images, weight, None, (1, 1), padding, (1, 1), False, (0, 0), 1, wanted)[
        of
    ]
    return result
