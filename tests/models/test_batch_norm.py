"""The report's batch normalisation: its gradients are right, and it is torch's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from evo.data import PreparedDataset
from evo.models import BATCH_NORM_KINDS, mlp
from evo.models.batch_norm import KINDS, AutomaticBatchNorm, BatchNormFunction, ManualBatchNorm
from evo.space.training_settings import TrainingSettings
from evo.training.trainer import Trainer

OURS = pytest.mark.parametrize("kind", [AutomaticBatchNorm, ManualBatchNorm])
SHAPES = pytest.mark.parametrize("shape", [(2, 1), (7, 3), (32, 11), (3, 40)])
CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
SHAPE = (1, 4, 4)


def batch(rows: int, features: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 + 5 * torch.randn(rows, features, generator=generator, dtype=torch.float64)


def scaled(norm: nn.BatchNorm1d) -> nn.BatchNorm1d:
    """Give it a γ and a β of its own, in double precision."""
    norm.double()
    with torch.no_grad():
        norm.weight.copy_(batch(1, norm.num_features, 1)[0])
        norm.bias.copy_(batch(1, norm.num_features, 2)[0])
    return norm


@SHAPES
def test_the_manual_gradients_are_those_of_finite_differences(shape: tuple[int, int]) -> None:
    gamma, beta = (batch(1, shape[1], seed)[0].requires_grad_() for seed in (1, 2))
    assert torch.autograd.gradcheck(BatchNormFunction.apply, (batch(*shape).requires_grad_(), gamma, beta, 1e-5))


@SHAPES
def test_the_manual_gradients_are_the_line_before_equation_65_and_not_equation_69_as_it_is_printed(
    shape: tuple[int, int],
) -> None:
    rows = shape[0]
    inputs, gradient, gamma = batch(*shape).requires_grad_(), batch(*shape, seed=3), batch(1, shape[1], 1)[0]
    output = BatchNormFunction.apply(inputs, gamma, torch.zeros_like(gamma), 1e-5)
    [found] = torch.autograd.grad(output, inputs, gradient)
    centred, variance = inputs.detach() - inputs.detach().mean(dim=0), inputs.detach().var(dim=0, correction=0) + 1e-5
    same = torch.eye(rows, dtype=torch.float64)[:, :, None]  # 1{s = r} at [r, s]
    products = centred[None, :] * centred[:, None]
    jacobian = (same - 1 / rows) / variance.sqrt() - products / (rows * variance**1.5)
    torch.testing.assert_close(found, (gradient * gamma * jacobian).sum(dim=1), **CLOSE)
    of_gamma, of_beta = (gradient * centred / variance.sqrt()).sum(dim=0), gradient.sum(dim=0)
    misprint = gamma / (rows * variance.sqrt()) * (rows * gradient - of_beta - of_gamma * centred / variance)
    assert not torch.allclose(found, misprint, rtol=1e-3)


@OURS
@SHAPES
def test_in_training_mode_outputs_gradients_and_statistics_are_torchs(
    kind: type[nn.BatchNorm1d], shape: tuple[int, int]
) -> None:
    results = []
    for norm in (scaled(kind(shape[1])), scaled(nn.BatchNorm1d(shape[1]))):
        norm(batch(*shape, seed=5))
        inputs = batch(*shape).requires_grad_()
        output = norm(inputs)
        gradients = torch.autograd.grad(output, (inputs, norm.weight, norm.bias), batch(*shape, seed=3))
        results.append((output, *gradients, norm.running_mean, norm.running_var, norm.num_batches_tracked))
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs, **CLOSE)


@OURS
def test_the_first_layers_has_the_same_gradients_where_nothing_wants_the_images(kind: type[nn.BatchNorm1d]) -> None:
    results = []
    for norm in (scaled(kind(3)), scaled(nn.BatchNorm1d(3))):
        results.append(torch.autograd.grad(norm(batch(7, 3)), (norm.weight, norm.bias), batch(7, 3, seed=3)))
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs, **CLOSE)


@OURS
def test_in_evaluation_mode_it_is_torchs_with_the_running_statistics(kind: type[nn.BatchNorm1d]) -> None:
    norm, torchs = scaled(kind(3)), nn.BatchNorm1d(3).double()
    norm(batch(9, 3))
    torchs.load_state_dict(norm.state_dict())
    copied = copy.deepcopy(norm).eval()
    norm.eval(), torchs.eval()
    inputs = batch(4, 3, 1).requires_grad_()
    with torch.inference_mode():
        assert torch.equal(norm(inputs), torchs(inputs))
        assert torch.equal(copied(inputs), torchs(inputs))
    [found], [expected] = (torch.autograd.grad(module(inputs).sum(), inputs) for module in (norm, torchs))
    assert torch.equal(found, expected)
    torch.testing.assert_close(norm.state_dict(), torchs.state_dict(), rtol=0, atol=0)


@OURS
def test_in_mixed_precision_it_sums_in_that_of_the_weights_as_torch_does(kind: type[nn.BatchNorm1d]) -> None:
    inputs = batch(32, 3).to(torch.bfloat16)
    norm, torchs = kind(3), nn.BatchNorm1d(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, expected = norm(inputs), torchs(inputs)
    assert ours.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(norm.state_dict(), torchs.state_dict(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS.values())
def test_one_row_has_no_variance_in_training_and_is_an_image_like_others_in_evaluation(
    kind: type[nn.BatchNorm1d],
) -> None:
    norm = kind(3)
    with pytest.raises(ValueError, match="got"):
        norm(torch.zeros(1, 3))
    assert norm.eval()(torch.zeros(1, 3)).shape == (1, 3)


def test_second_derivatives_are_refused_and_not_wrong() -> None:
    inputs = batch(4, 3).requires_grad_()
    [gradient] = torch.autograd.grad(
        BatchNormFunction.apply(inputs, batch(1, 3)[0].requires_grad_(), batch(1, 3)[0], 1e-5).sin().sum(),
        inputs,
        create_graph=True,
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_names_of_a_configuration_are_these() -> None:
    assert tuple(KINDS) == BATCH_NORM_KINDS


@pytest.mark.parametrize("kind", BATCH_NORM_KINDS)
def test_a_network_has_the_named_kind(kind: str) -> None:
    config = {"hidden_layers": (7,), "batch_norm": True, "batch_norm_kind": kind}
    norms = [layer for layer in mlp.build(config, SHAPE, 3) if isinstance(layer, nn.BatchNorm1d)]
    assert [(type(norm), norm.num_features) for norm in norms] == [(KINDS[kind], 16), (KINDS[kind], 7)]
    plain = mlp.build(config | {"batch_norm": False}, SHAPE, 3)
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in plain)


@pytest.mark.parametrize("kind", BATCH_NORM_KINDS)
def test_networks_of_every_kind_have_the_same_weights_and_gradients(kind: str) -> None:
    results = []
    for name in (kind, "torch"):
        torch.manual_seed(0)
        config = {"hidden_layers": (7, 5), "batch_norm": True, "batch_norm_kind": name}
        model = mlp.build(config, SHAPE, 3).double()
        images, labels = torch.randn(9, *SHAPE, dtype=torch.float64), torch.randint(3, (9,))
        functional.cross_entropy(model(images), labels).backward()
        results.append((model.state_dict(), [weight.grad for weight in model.parameters()]))
    torch.testing.assert_close(*results, **CLOSE)


@pytest.mark.parametrize("kind", ["automatic", "manual"])
def test_a_training_of_every_kind_goes_as_torchs(kind: str, digits: PreparedDataset) -> None:
    trainer = Trainer(digits, TrainingSettings(evaluate_every=10), mlp.build)
    config = {"hidden_layers": (16,), "learning_rate": 0.01, "batch_size": 64, "steps": 30, "batch_norm": True}
    ours, torchs = (trainer.train(config | {"batch_norm_kind": name}, seed=1) for name in (kind, "torch"))
    assert ours == trainer.train(config | {"batch_norm_kind": kind}, seed=1)
    assert ours.parameters == torchs.parameters
    for mine, expected in zip(ours.curve, torchs.curve, strict=True):
        assert mine.values["train_loss"] == pytest.approx(expected.values["train_loss"], rel=0.02)
        assert mine.values["loss"] == pytest.approx(expected.values["loss"], rel=0.02)
