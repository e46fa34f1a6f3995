"""The optimiser computes what torch's own does, to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from evo.training.optimiser import Optimiser

KINDS: dict[str, tuple[str, float, type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": ("adam", 0.0, torch.optim.Adam, {}),
    "adam with decay": ("adam", 0.1, torch.optim.AdamW, {"weight_decay": 0.1}),
    "sgd": ("sgd", 0.0, torch.optim.SGD, {}),
    "sgd with decay": ("sgd", 0.1, torch.optim.SGD, {"weight_decay": 0.1}),
    "sgd with momentum": ("sgd", 0.1, torch.optim.SGD, {"weight_decay": 0.1, "momentum": 0.9, "nesterov": True}),
}
EVERY_KIND = pytest.mark.parametrize(("kind", "decay", "reference", "options"), KINDS.values(), ids=KINDS)
SHAPES = ((33, 17), (17,), (4, 3, 3, 3), ())


def make_weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    weights[2].data = weights[2].data.contiguous(memory_format=torch.channels_last)
    return weights


def set_gradients(weights: list[nn.Parameter], step: int, but: tuple[int, ...] = ()) -> None:
    generator = torch.Generator().manual_seed(step + 1)
    for number, weight in enumerate(weights):
        gradient = torch.randn(weight.shape, generator=generator)
        if weight.ndim == 4:
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        weight.grad = None if number in but else gradient


@EVERY_KIND
def test_every_step_is_torchs_to_the_last_bit(
    kind: str, decay: float, reference: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    ours, torchs = make_weights(), make_weights()
    optimiser = Optimiser(kind, ours, decay, options.get("momentum", 0.0))
    other = reference(torchs, lr=0.03, fused=True, **options)  # type: ignore[call-arg]
    for step in range(8):
        missing = (1,) if step in (2, 3) else ()  # a weight whose own count of steps falls behind
        set_gradients(ours, step, missing)
        set_gradients(torchs, step, missing)
        before = [weight.detach().clone() for weight in ours]
        optimiser.step(0.03)
        other.step()
        for number, (mine, theirs) in enumerate(zip(ours, torchs, strict=True)):
            assert torch.equal(mine, theirs), f"weight {number} after step {step}"
            assert torch.equal(mine, before[number]) == (number in missing)
    assert all(weight.grad_fn is None for weight in ours)


@EVERY_KIND
def test_a_weight_that_never_has_a_gradient_is_never_touched(
    kind: str, decay: float, reference: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    weights = make_weights()
    optimiser = Optimiser(kind, weights, decay)
    optimiser.step(0.03)
    for number, (weight, fresh) in enumerate(zip(weights, make_weights(), strict=True)):
        assert torch.equal(weight, fresh), number
    assert all(not slot.any() for _, slot in optimiser.state())


def test_frozen_weights_stay_as_they_are_until_they_are_thawed() -> None:
    weights = make_weights()
    weights[0].requires_grad_(False)
    optimiser = Optimiser("adam", weights)
    set_gradients(weights[1:], 0)
    optimiser.step(0.03)
    assert torch.equal(weights[0], make_weights()[0])
    assert not torch.equal(weights[1], make_weights()[1])
    weights[0].requires_grad_(True)
    set_gradients(weights, 0)
    optimiser.step(0.03)
    assert not torch.equal(weights[0], make_weights()[0])


def test_dropped_gradients_are_gone_and_the_next_step_does_nothing() -> None:
    weights = make_weights()
    optimiser = Optimiser("adam", weights, 0.1)
    set_gradients(weights, 0)
    optimiser.zero_grad()
    assert [weight.grad for weight in weights] == [None] * 4
    optimiser.step(0.03)
    assert all(torch.equal(weight, fresh) for weight, fresh in zip(weights, make_weights(), strict=True))


def test_a_slot_lies_in_memory_as_its_weight_does_and_needs_no_gradient() -> None:
    weights = make_weights()
    state = dict(Optimiser("adam", weights).state())
    for number, weight in enumerate(weights):
        for slot in ("exp_avg", "exp_avg_sq"):
            assert state[f"{number}.{slot}"].stride() == weight.stride()
            assert not state[f"{number}.{slot}"].requires_grad


def test_plain_gradient_descent_has_no_state() -> None:
    assert list(Optimiser("sgd", make_weights(), 0.1).state()) == []


def test_muon_is_torchs_for_matrices_and_filters_and_adam_for_the_rest() -> None:
    ours, torchs = make_weights(), make_weights()
    torchs[2].data = torchs[2].data.permute(0, 2, 3, 1).flatten(1).contiguous()
    optimiser = Optimiser("muon", ours, 0.1, 0.95)
    muon = torch.optim.Muon(
        [torchs[0], torchs[2]], lr=0.03, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW([torchs[1], torchs[3]], lr=0.03, weight_decay=0.1, fused=True)
    for step in range(4):
        set_gradients(ours, step)
        for mine, theirs in zip(ours, torchs, strict=True):
            assert mine.grad is not None
            theirs.grad = mine.grad.permute(0, 2, 3, 1).flatten(1) if mine.ndim == 4 else mine.grad
        optimiser.step(0.03)
        muon.step()
        adam.step()
        torchs_filters = torchs[2].view(4, 3, 3, 3).permute(0, 3, 1, 2)
        for mine, theirs in zip(ours, [torchs[0], torchs[1], torchs_filters, torchs[3]], strict=True):
            assert torch.equal(mine, theirs)
