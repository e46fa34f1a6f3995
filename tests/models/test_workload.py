"""What a network computes is counted from its configuration as torch counts it from the network."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from evo.models import BATCH_NORM_KINDS, BATCH_NORM_PLACES, BLOCKS, KERNEL_SIZES, MODELS, cnn, mlp, numpy_mlp
from evo.models.layers import Residual
from evo.training.optimiser import Optimiser

BUILDERS: dict[str, Callable[..., nn.Sequential]] = {"mlp": mlp.build, "cnn": cnn.build}
BATCH = 2
SHAPES = st.sampled_from([(1, 8, 8), (3, 7, 10), (3, 9, 9), (2, 1, 5)])
CLASSES = st.integers(2, 12)
MLP_CONFIGS = st.fixed_dictionaries(
    {"hidden_layers": st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple)},
    optional={
        "batch_norm": st.booleans(),
        "batch_norm_kind": st.sampled_from(BATCH_NORM_KINDS),
        "dropout": st.sampled_from([0.0, 0.4]),
        "activation": st.just("tanh"),
        "batch_norm_place": st.sampled_from(BATCH_NORM_PLACES),
        "residual": st.booleans(),
    },
)
CNN_CONFIGS = st.fixed_dictionaries(
    {"channels": st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple)},
    optional={
        "batch_norm": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.4]),
        "single_blocks": st.integers(0, 4),
        "block": st.sampled_from(BLOCKS),
        "convolutions": st.integers(1, 3),
        "kernel_size": st.sampled_from(KERNEL_SIZES),
        "residual": st.booleans(),
    },
)
CONFIGS = st.tuples(st.just("mlp"), MLP_CONFIGS) | st.tuples(st.just("cnn"), CNN_CONFIGS)


def operations(model: nn.Module, shape: tuple[int, int, int], classes: int, *, backward: bool) -> int:
    """Return torch's count of the operations of the products, of a batch."""
    images = torch.rand(BATCH, *shape)
    with FlopCounterMode(display=False) as counter:
        logits = model(images)
        if backward:
            functional.cross_entropy(logits, torch.zeros(BATCH, dtype=torch.int64)).backward()
    return int(counter.get_total_flops())


def outputs(model: nn.Sequential, shape: tuple[int, int, int]) -> list[int]:
    """Return how many numbers each operator of a forward pass makes of one image; a residual connection is a sum."""
    sizes: list[int] = []
    for module in model.modules():
        is_sum = isinstance(module, Residual)
        if is_sum or not (isinstance(module, nn.Sequential | nn.Flatten | cnn.ChannelsLast)):
            module.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
    model.eval()(torch.rand(1, *shape))
    return sizes


@settings(max_examples=25)
@given(model_and_config=CONFIGS, shape=SHAPES, classes=CLASSES)
def test_parameters_and_operations_are_torchs(
    model_and_config: tuple[str, dict[str, Any]], shape: tuple[int, int, int], classes: int
) -> None:
    name, config = model_and_config
    work, model = MODELS[name].workload(config, shape, classes), BUILDERS[name](config, shape, classes)
    assert work.parameters == sum(weight.numel() for weight in model.parameters())
    model.eval()  # batch norm does not train on one value a channel; its products are the same
    assert BATCH * work.operations == operations(model, shape, classes, backward=False)
    assert BATCH * work.training_operations == operations(model, shape, classes, backward=True)


@settings(max_examples=25)
@given(model_and_config=CONFIGS, shape=SHAPES, classes=CLASSES)
def test_the_products_of_muon_are_torchs(
    model_and_config: tuple[str, dict[str, Any]], shape: tuple[int, int, int], classes: int
) -> None:
    name, config = model_and_config
    weights = list(BUILDERS[name](config, shape, classes).parameters())
    for weight in weights:
        weight.grad = torch.rand_like(weight)
    optimiser = Optimiser("muon", weights, momentum=0.9)
    with FlopCounterMode(display=False) as counter:
        optimiser.step(0.1)
    assert MODELS[name].workload(config, shape, classes).muon_operations == counter.get_total_flops()


@settings(max_examples=40)
@given(model_and_config=CONFIGS, shape=SHAPES, classes=CLASSES)
def test_every_operator_of_a_forward_pass_is_called_once(
    model_and_config: tuple[str, dict[str, Any]], shape: tuple[int, int, int], classes: int
) -> None:
    name, config = model_and_config
    called = outputs(BUILDERS[name](config, shape, classes), shape)
    assert MODELS[name].workload(config, shape, classes).calls == len(called)


@settings(max_examples=40)
@given(model_and_config=CONFIGS, shape=SHAPES, classes=CLASSES)
def test_activations_are_what_every_layer_leaves(
    model_and_config: tuple[str, dict[str, Any]], shape: tuple[int, int, int], classes: int
) -> None:
    name, config = model_and_config
    left = prod(shape) + sum(outputs(BUILDERS[name](config, shape, classes), shape))
    assert MODELS[name].workload(config, shape, classes).activations == left


@pytest.mark.parametrize("widths", [(7,), (7, 5)])
def test_the_numpy_networks_count_is_that_of_the_same_network_in_torch(widths: tuple[int, ...]) -> None:
    config, shape = {"hidden_layers": widths}, (3, 4, 4)
    work = MODELS["numpy_mlp"].workload(config, shape, 10)
    assert work == MODELS["mlp"].workload(config, shape, 10)
    assert work.parameters == sum(weight.numel() for weight in numpy_mlp.build(config, shape, 10).parameters())


@pytest.mark.parametrize("name", MODELS)
def test_counts_are_whole_numbers(name: str) -> None:
    config = {"hidden_layers": (3, 2), "channels": (3, 2), "dropout": 0.1, "batch_norm": True}
    work = MODELS[name].workload(config, (1, 8, 8), 10)
    for value in (work.operations, work.parameters, work.activations, work.calls, work.training_operations):
        assert isinstance(value, int)
        assert value > 0
