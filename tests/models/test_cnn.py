"""The convolutional network is the report's: blocks of 3×3 convolutions, each with a max pool."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from evo.models.cnn import build
from evo.models.layers import Residual

SHAPE = (3, 32, 32)
REPORT = {"channels": (64, 128, 256, 512, 512), "single_blocks": 2, "batch_norm": True}


def test_the_reports_network_has_eight_convolutions_and_ends_at_one_pixel() -> None:
    model = build(REPORT, SHAPE, 10)
    convolutions = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 128, 256, 256, 512, 512, 512, 512]
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model) == 5
    pooled = model[:-3](torch.zeros(1, *SHAPE))
    assert pooled.shape == (1, 512, 1, 1)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 64, 64)])
def test_images_of_any_size_become_one_logit_a_class(shape: tuple[int, int, int]) -> None:
    assert build({"channels": (4, 6)}, shape, 10)(torch.zeros(2, *shape)).shape == (2, 10)


def test_single_blocks_have_one_convolution_and_the_others_two() -> None:
    def convolutions(single_blocks: int) -> int:
        model = build({"channels": (4, 6, 8), "single_blocks": single_blocks}, SHAPE, 10)
        return sum(isinstance(layer, nn.Conv2d) for layer in model)

    assert [convolutions(blocks) for blocks in range(4)] == [6, 5, 4, 3]


def test_the_parameters_are_counted_by_hand() -> None:
    model = build({"channels": (4,), "batch_norm": False}, SHAPE, 10)
    assert sum(weight.numel() for weight in model.parameters()) == (3 * 9 * 4 + 4) + (4 + 1) * 10


def test_batch_norm_follows_every_convolution_which_then_needs_no_bias() -> None:
    layers = list(build({"channels": (4, 6), "batch_norm": True}, SHAPE, 10))
    for layer, following in itertools.pairwise(layers):
        if isinstance(layer, nn.Conv2d):
            assert isinstance(following, nn.BatchNorm2d)
            assert layer.bias is None
    without = build({"channels": (4, 6), "batch_norm": False}, SHAPE, 10)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in without)
    assert all(layer.bias is not None for layer in without if isinstance(layer, nn.Conv2d))


def test_dropout_precedes_the_last_layer_only_where_there_is_some() -> None:
    layers = list(build({"channels": (4,), "dropout": 0.3}, SHAPE, 10))
    assert isinstance(layers[-2], nn.Dropout)
    assert layers[-2].p == 0.3
    assert not any(isinstance(layer, nn.Dropout) for layer in build({"channels": (4,)}, SHAPE, 10))


def test_the_memory_format_changes_no_value() -> None:
    model = build({"channels": (4, 6)}, SHAPE, 10).eval()
    images = torch.rand(3, *SHAPE)
    assert torch.equal(model(images), model(images.contiguous(memory_format=torch.channels_last)))


def test_a_pooled_block_pools_before_batch_norm_and_activation() -> None:
    config = {"channels": (4, 6), "block": "pooled", "convolutions": 2, "activation": "gelu"}
    kinds = [type(layer).__name__ for layer in build(config, SHAPE, 10)]
    first, second = ["Conv2d", "MaxPool2d", "BatchNorm2d", "GELU"], ["Conv2d", "BatchNorm2d", "GELU"]
    assert kinds == ["ChannelsLast", "Conv2d", "GELU", *(first + second) * 2, "MaxPool", "Flatten", "Linear"]


def test_a_residual_connection_adds_what_comes_in() -> None:
    model = build({"channels": (4,), "block": "pooled", "convolutions": 3, "residual": True}, SHAPE, 10).eval()
    [residual] = [layer for layer in model if isinstance(layer, Residual)]
    images = torch.rand(2, 4, 5, 5)
    assert torch.equal(residual(images), torch.nn.Sequential(*residual)(images) + images)
    assert len([layer for layer in residual if isinstance(layer, nn.Conv2d)]) == 2


def test_the_reports_network_draws_the_weights_that_it_always_drew() -> None:
    torch.manual_seed(1)
    weights = list(build({"channels": (4, 6), "single_blocks": 1}, SHAPE, 10).parameters())
    assert sum(weight.double().abs().sum().item() for weight in weights) == pytest.approx(CLASSIC_SUM, abs=1e-9)


CLASSIC_SUM = 81.99437192251207
