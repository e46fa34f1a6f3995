"""The optimiser of one training: torch's kernels, called without the bookkeeping around them.

`torch.optim.Adam.step` spends more time on hooks, checks and collecting its tensors than the kernel spends on a network
of a hundred units; its functional form computes the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.optim._muon import DEFAULT_A, DEFAULT_B, DEFAULT_C, DEFAULT_NS_STEPS, EPS, muon
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

Tensors: TypeAlias = list[torch.Tensor]


class Optimiser:
    """Updates weights by their gradients, by one of the rules in `OPTIMISERS`.

    Args:
        kind: The rule's name.
        weights: What is trained.
        decay: Weight decay: decoupled with "adam" (Loshchilov and Hutter, 2019) and "muon", added to the gradient with
            "sgd".
        momentum: Of "sgd" and "muon", after Nesterov.
    """

    def __init__(self, kind: str, weights: Sequence[torch.Tensor], decay: float = 0.0, momentum: float = 0.0):
        self.weights = list(weights)  # also those that are frozen now: a model may thaw them later
        self._shared = {"weight_decay": decay, "momentum": momentum}
        rules = [OPTIMISERS[kind](weight, momentum) for weight in self.weights]
        self._slots = [
            {slot: _slot(slot, weight) for slot in rule.slots} for rule, weight in zip(rules, self.weights, strict=True)
        ]
        self._groups = [
            (rule, [number for number, own in enumerate(rules) if own is rule]) for rule in dict.fromkeys(rules)
        ]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the weights that have a gradient, at a learning rate."""
        for rule, numbers in self._groups:
            chosen = [number for number in numbers if self.weights[number].grad is not None]
            weights = [self.weights[number] for number in chosen]
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            slots = [[self._slots[number][slot] for number in chosen] for slot in rule.slots]
            rule.update(weights, gradients, slots, lr=rate, **self._shared)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for weight in self.weights:
            weight.grad = None

    def state(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the tensors that a training needs to continue, by name."""
        for number, slots in enumerate(self._slots):
            for slot, tensor in slots.items():
                yield f"{number}.{slot}", tensor


def _slot(slot: str, weight: torch.Tensor) -> torch.Tensor:
    if slot == "step":
        return torch.zeros((), device=weight.device)
    # Fused kernels walk through memory: a slot lies in memory as its weight does.
    return torch.zeros_like(weight, requires_grad=False)


@dataclass(frozen=True)
class Rule:
    """How an optimiser updates weights.

    Attributes:
        slots: The names of what it keeps for each weight: a tensor of its shape, or its number of steps ("step").
        update: Changes weights and slots in place; gets weights, gradients, slots, and the numbers lr, weight_decay
            and momentum by name.
    """

    slots: tuple[str, ...]
    update: Callable[..., None]


def _kernels(gradients: Tensors) -> dict[str, Any]:
    # torch has no fused kernels for complex weights and sparse gradients.
    return {"fused": not any(gradient.is_sparse or gradient.is_complex() for gradient in gradients), "maximize": False}


def _adam(weights: Tensors, gradients: Tensors, slots: Sequence[Tensors], *, momentum: float, **shared: float) -> None:
    update: Callable[..., None] = adamw if shared["weight_decay"] else adam
    first, second, steps = slots
    moments: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False}
    update(weights, gradients, first, second, [], steps, **moments, **shared, **_kernels(gradients))


def _sgd(weights: Tensors, gradients: Tensors, slots: Sequence[Tensors], *, momentum: float, **shared: Any) -> None:
    # A buffer of zeros gives what torch's first step gives, which has no buffer yet.
    buffers: list[torch.Tensor | None] = list(slots[0]) if slots else []
    plain: dict[str, Any] = {"momentum": momentum, "dampening": 0.0, "nesterov": momentum > 0}
    sgd(weights, gradients, buffers, **plain, **shared, **_kernels(gradients))


def _muon(weights: Tensors, gradients: Tensors, slots: Sequence[Tensors], **shared: Any) -> None:
    [momenta] = slots
    muon(
        [_matrix(weight, weight) for weight in weights],
        [_matrix(gradient, weight) for gradient, weight in zip(gradients, weights, strict=True)],
        [_matrix(momentum, weight) for momentum, weight in zip(momenta, weights, strict=True)],
        nesterov=True,
        ns_coefficients=(DEFAULT_A, DEFAULT_B, DEFAULT_C),
        ns_steps=DEFAULT_NS_STEPS,
        eps=EPS,
        adjust_lr_fn="match_rms_adamw",  # so that one learning rate and one decay serve both rules
        has_complex=False,
        **shared,
    )


def _matrix(tensor: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return a tensor of a weight's shape as a matrix, one row per output: for the weight itself a view of it."""
    if weight.ndim == 4 and not weight.is_contiguous():  # the order of the columns changes nothing
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.flatten(1)


ADAM, SGD, NESTEROV = Rule(("exp_avg", "exp_avg_sq", "step"), _adam), Rule((), _sgd), Rule(("momentum_buffer",), _sgd)
MUON = Rule(("momentum_buffer",), _muon)


def _rule_of_muon(weight: torch.Tensor, momentum: float) -> Rule:
    dense = weight.is_contiguous() or (weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last))
    return MUON if weight.ndim >= 2 and dense and not weight.is_complex() else ADAM


OPTIMISERS: dict[str, Callable[[torch.Tensor, float], Rule]] = {
    "adam": lambda weight, momentum: ADAM,
    "sgd": lambda weight, momentum: NESTEROV if momentum else SGD,
    "muon": _rule_of_muon,
}
"""What updates a weight, by the optimiser's name and the momentum.

Adam (Kingma and Ba, 2015), which is AdamW where there is weight decay; gradient descent, with Nesterov's momentum
(Sutskever et al., 2013) where that is above 0; Muon (Jordan et al., 2024) for matrices and filters, with the rate of
Liu et al. (arXiv 2502.16982), and Adam for the rest.
"""
