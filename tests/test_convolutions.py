"""The gradient of a convolution's weights on wide images is torch's, and other convolutions stay torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evo.data import PreparedDataset
from evo.models import cnn
from evo.space.training_settings import TrainingSettings
from evo.training.engines.convolutions import OneDnnConv2d, gradient_of_weights, side_by_side, use_wide_images
from evo.training.trainer import Trainer


@settings(max_examples=60)
@given(
    batch=st.integers(1, 40),
    height=st.integers(1, 10),
    width=st.integers(1, 10),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_images_side_by_side_give_the_same_gradient(
    batch: int, height: int, width: int, padding: tuple[int, int], channels: tuple[int, int]
) -> None:
    inputs, outputs = channels
    convolution = nn.Conv2d(
        inputs, outputs, (2 * padding[0] + 1, 2 * padding[1] + 1), padding=padding, dtype=torch.float64
    )
    images = torch.randn(batch, inputs, height, width, dtype=torch.float64)
    output = convolution(images)
    gradient = torch.randn_like(output)
    [expected] = torch.autograd.grad(output, convolution.weight, gradient)
    found = gradient_of_weights(gradient, images, convolution.weight.detach(), padding)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_zeros_lie_between_images() -> None:
    wide = side_by_side(torch.ones(3, 1, 2, 2), beside=2, pitch=3)
    assert wide.shape == (2, 1, 2, 6)
    assert wide[0, 0, 0].tolist() == [1, 1, 0, 1, 1, 0]
    assert wide[1, 0, 1].tolist() == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", [1, 7, 10, 11])
def test_under_autocast_output_and_gradients_are_torchs_up_to_rounding(bias: bool, width: int) -> None:
    plain = nn.Conv2d(32, 33, 3, padding=1, bias=bias).to(memory_format=torch.channels_last)
    ours = copy.deepcopy(plain)
    use_wide_images(ours)
    assert type(ours) is OneDnnConv2d
    images = torch.randn(9, 32, 4, width)
    results = []
    for convolution in (ours, plain):
        own = images.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = convolution(own)
        output.float().square().sum().backward()
        results.append([output, own.grad, *(weight.grad for weight in convolution.parameters())])
    for found, expected in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        assert (found - expected).abs().max() <= 0.02 * expected.abs().max()


def test_without_autocast_no_bit_changes() -> None:
    plain = nn.Conv2d(32, 33, 3, padding=1)
    ours = copy.deepcopy(plain)
    use_wide_images(ours)
    images = torch.randn(9, 32, 4, 4)
    for convolution in (ours, plain):
        convolution(images).square().sum().backward()
    assert ours.weight.grad is not None
    assert plain.weight.grad is not None
    assert torch.equal(ours.weight.grad, plain.weight.grad)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 2, padding=1),
    ],
)
def test_other_convolutions_stay_torchs(convolution: nn.Conv2d) -> None:
    use_wide_images(convolution)
    assert type(convolution) is nn.Conv2d


@pytest.mark.parametrize("block", ["classic", "pooled"])
def test_a_training_of_a_cnn_repeats_to_the_last_bit(digits: PreparedDataset, block: str) -> None:
    trainer = Trainer(digits, TrainingSettings(), cnn.build, precision="bf16", engine="onednn")
    config = {"channels": (33, 45), "block": block, "batch_size": 32, "learning_rate": 1e-3, "steps": 3}
    first, second = (trainer.train(config, 5) for _ in range(2))
    assert first.held_out == second.held_out
    assert first.curve == second.curve
