"""Sequences that compute faster give what `nn.Sequential` gives: outputs, gradients, statistics, calls of hooks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evo.models import cnn, mlp
from evo.models.layers import Residual
from evo.training.engines.sequences import FastSequential, _applied, use_fast_sequences

SHAPE = (3, 12, 12)
CNNS: list[dict[str, Any]] = [
    {"channels": (5, 9), "single_blocks": 1},
    {"channels": (5, 16, 3), "single_blocks": 0, "batch_norm": False, "dropout": 0.5},
    {"channels": (17, 5), "block": "pooled", "activation": "gelu"},
    {"channels": (5, 7), "block": "pooled", "convolutions": 3, "residual": True, "activation": "silu"},
    {"channels": (6,), "block": "pooled", "batch_norm": False, "kernel_size": 5},
]


def twins(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return a network and one of the same weights whose sequences are fast."""
    fast = copy.deepcopy(model)
    use_fast_sequences(fast)
    return model, fast


def everything(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return output, gradients and state of a network after a step's forward and backward pass."""
    torch.manual_seed(1)
    images = images.clone().requires_grad_()
    output = model(images)
    output.square().sum().backward()
    gradients = {f"gradient of {name}": value.grad for name, value in model.named_parameters()}
    found = {"output": output.detach(), "gradient": images.grad, **gradients, **model.state_dict()}
    return {name: value.clone() for name, value in found.items() if value is not None}


def check(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("config", CNNS)
def test_a_training_step_gives_the_same_with_padded_channels(config: dict[str, Any]) -> None:
    plain, fast = twins(cnn.build(config, SHAPE, 10).double())
    assert isinstance(fast, FastSequential)
    images = torch.randn(6, *SHAPE, dtype=torch.float64)
    check(everything(fast, images), everything(plain, images), 1e-9)


@pytest.mark.parametrize("config", CNNS)
def test_evaluation_gives_the_same_with_batch_norms_in_the_weights(config: dict[str, Any]) -> None:
    plain, fast = twins(cnn.build(config, SHAPE, 10).double())
    images = torch.randn(6, *SHAPE, dtype=torch.float64)
    for model in (plain, fast):
        model(images)  # running statistics
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(2))  # of both signs
                nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(3))
        model.eval()
    with torch.no_grad():
        torch.testing.assert_close(fast(images), plain(images), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fast(images), plain(images), rtol=1e-9, atol=1e-9)


@settings(max_examples=40)
@given(
    pool=st.sampled_from([(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 1, 0)]),
    side=st.integers(2, 9),
    kind=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 999),
)
def test_a_relu_after_the_pooling_changes_no_bit(
    pool: tuple[int, int, int], side: int, kind: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(-2, 3, (3, 16, side, side), generator=generator).to(kind)  # with many ties
    identity = nn.Conv2d(16, 16, 1, groups=16, bias=False).to(kind)
    nn.init.ones_(identity.weight)
    plain, fast = twins(nn.Sequential(identity, nn.ReLU(), nn.MaxPool2d(*pool)))
    assert isinstance(fast, FastSequential)
    found, expected = everything(fast, images), everything(plain, images)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_what_is_hooked_is_called_as_it_stands() -> None:
    plain, fast = twins(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2)))
    images = torch.randn(4, *SHAPE)
    seen: dict[nn.Module, list[tuple[str, torch.Size]]] = {plain: [], fast: []}
    for model, calls in seen.items():
        for layer in model.children():
            layer.register_forward_hook(lambda layer, _, output, calls=calls: calls.append((str(layer), output.shape)))
        for mode in (True, False):
            with torch.no_grad():
                model.train(mode)(images)
    assert len(seen[plain]) == 8
    assert seen[fast] == seen[plain]


def test_random_numbers_are_drawn_for_the_real_channels_only() -> None:
    plain, fast = twins(nn.Sequential(nn.Conv2d(3, 5, 3), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Dropout()))
    images = torch.randn(4, *SHAPE)
    check(everything(fast, images), everything(plain, images), 1e-5)


@pytest.mark.parametrize("pool", [cnn.MaxPool, cnn.AveragePool])
def test_channels_stay_padded_through_the_last_pooling(pool: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of the channels would be pooled, and above all its gradient computed, pixel by pixel."""
    seen: list[torch.Size] = []
    plain = pool.forward
    monkeypatch.setattr(pool, "forward", lambda self, images: seen.append(images.shape) or plain(self, images))
    model = nn.Sequential(nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7), pool(), nn.Flatten(), nn.Linear(7, 2))
    use_fast_sequences(model)
    assert model(torch.randn(2, 3, 6, 6)).shape == (2, 2)
    assert [shape[1] for shape in seen] == [16]


def test_channels_stay_padded_through_residual_connections() -> None:
    """Slices of padded images made a step of gelu networks up to twice as slow as the plain one."""
    block = nn.Sequential(nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5), nn.GELU())
    sequence = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.GELU(), Residual(*block))
    images, channels = _applied(sequence, torch.randn(4, *SHAPE), None)
    assert channels == 5
    assert images.shape[1] == 16
    assert not images[:, channels:].any()


def test_batch_norms_in_residual_connections_enter_the_weights_too() -> None:
    network = cnn.build({"channels": (16,), "block": "pooled", "residual": True}, SHAPE, 10).eval()
    use_fast_sequences(network)
    called: list[nn.Module] = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(nn.BatchNorm2d, "forward", lambda norm, images: called.append(norm) or images)
        network(torch.randn(2, *SHAPE))
    inside = {norm for residual in network.modules() if isinstance(residual, Residual) for norm in residual.modules()}
    assert inside
    assert not inside & set(called)


def test_a_pooling_that_returns_indices_gets_the_real_channels() -> None:
    plain, fast = twins(nn.Sequential(nn.Conv2d(3, 20, 3), nn.MaxPool2d(2, return_indices=True)))
    images = torch.randn(2, *SHAPE)
    for found, expected in zip(fast(images), plain(images), strict=True):
        torch.testing.assert_close(found, expected)


class OwnSequential(nn.Sequential):
    """Someone's own sequence, which may do something else."""


class OwnNorm(nn.BatchNorm2d):
    """Someone's own batch norm, likewise."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        assert input.shape[1] == self.num_features
        return input + 1.0


def test_derived_types_stay_what_they_are() -> None:
    own = OwnSequential(nn.Conv2d(3, 5, 3), nn.MaxPool2d(2))
    plain, fast = twins(nn.Sequential(own, nn.Conv2d(5, 6, 1), nn.ReLU(), nn.MaxPool2d(2), OwnNorm(6)))
    assert type(fast) is FastSequential
    assert type(fast[0]) is OwnSequential
    images = torch.randn(4, *SHAPE)
    check(everything(fast, images), everything(plain, images), 1e-5)


def test_networks_without_convolutions_are_left_alone() -> None:
    model = mlp.build({"hidden_layers": (5,), "batch_norm": True}, SHAPE, 10)
    kinds = [type(module) for module in model.modules()]
    use_fast_sequences(model)
    assert [type(module) for module in model.modules()] == kinds
