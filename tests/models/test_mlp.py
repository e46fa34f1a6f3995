"""The multi-layer perceptron is the report's: its layers, their order, its number of parameters."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from evo.models.layers import Residual
from evo.models.mlp import build

SHAPE = (3, 32, 32)
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def kinds(config: dict[str, Any]) -> list[str]:
    return [type(layer).__name__ for layer in build(config, SHAPE, 10)]


def test_images_become_one_logit_a_class() -> None:
    assert build({"hidden_layers": (7, 5)}, SHAPE, 10)(torch.zeros(4, *SHAPE)).shape == (4, 10)


@pytest.mark.parametrize("widths", [(1000, 500, 250, 100), (16,), (3, 2)])
def test_the_parameters_are_those_of_its_linear_layers(widths: tuple[int, ...]) -> None:
    sizes = [3 * 32 * 32, *widths, 10]
    expected = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    assert sum(weight.numel() for weight in build({"hidden_layers": widths}, SHAPE, 10).parameters()) == expected


def test_without_options_it_is_linear_layers_and_relus() -> None:
    assert kinds({"hidden_layers": (7, 5)}) == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]


def test_dropout_follows_every_hidden_activation() -> None:
    config = {"hidden_layers": (7, 5), "dropout": 0.25}
    assert kinds(config) == ["Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert {layer.p for layer in build(config, SHAPE, 10) if isinstance(layer, nn.Dropout)} == {0.25}


def test_batch_norm_precedes_every_linear_layer() -> None:
    config = {"hidden_layers": (7,), "batch_norm": True}
    assert kinds(config) == ["Flatten", "BatchNorm1d", "Linear", "ReLU", "BatchNorm1d", "Linear"]


@pytest.mark.parametrize(("name", "kind"), ACTIVATIONS.items())
def test_the_activation_is_the_named_one(name: str, kind: type[nn.Module]) -> None:
    assert (
        sum(isinstance(layer, kind) for layer in build({"hidden_layers": (7, 5), "activation": name}, SHAPE, 10)) == 2
    )


def test_the_global_generator_decides_the_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return next(build({"hidden_layers": (7,)}, SHAPE, 10).parameters()).detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_batch_norm_can_stand_before_every_activation() -> None:
    config = {"hidden_layers": (7, 5), "batch_norm": True, "batch_norm_place": "activation"}
    block = ["Linear", "BatchNorm1d", "ReLU"]
    assert kinds(config) == ["Flatten", *block, *block, "Linear"]


def test_every_layer_but_the_first_adds_its_input_filled_with_zeros_or_cut_off() -> None:
    model = build({"hidden_layers": (7, 9, 4), "residual": True}, SHAPE, 10)
    wider, narrower = [layer for layer in model if isinstance(layer, Residual)]
    images = torch.rand(2, 7)
    expected = nn.Sequential(*wider)(images)
    expected[:, :7] += images
    assert torch.equal(wider(images), expected)
    hidden = torch.rand(2, 9)
    assert torch.equal(narrower(hidden), nn.Sequential(*narrower)(hidden) + hidden[:, :4])
