"""The optimiser of one training: torch's fused kernels, called without the bookkeeping around them.

`torch.optim.Adam.step` spends more time on hooks, checks and collecting its tensors than the kernel spends on a network
of a hundred units; its functional form computes the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

Tensors: TypeAlias = list[torch.Tensor]


class Optimiser:
    """Updates weights by their gradients, by one of the rules in `OPTIMISERS`.

    Args:
        kind: The rule's name.
        weights: What is trained.
        decay: Weight decay: decoupled with "adam" (Loshchilov and Hutter, 2019), added to the gradient with "sgd".
    """

    def __init__(self, kind: str, weights: Sequence[torch.Tensor], decay: float = 0.0):
        self.weights = list(weights)  # also those that are frozen now: a model may thaw them later
        self._rule, self._decay = OPTIMISERS[kind], decay
        self._slots = {slot: [_slot(slot, weight) for weight in self.weights] for slot in self._rule.slots}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the weights that have a gradient, at a learning rate."""
        chosen = [(number, weight.grad) for number, weight in enumerate(self.weights) if weight.grad is not None]
        weights, gradients = [self.weights[number] for number, _ in chosen], [gradient for _, gradient in chosen]
        slots = [[tensors[number] for number, _ in chosen] for tensors in self._slots.values()]
        # torch has no fused kernels for complex weights and sparse gradients.
        fused = not any(gradient.is_sparse or gradient.is_complex() for gradient in gradients)
        shared = {"lr": rate, "weight_decay": self._decay, "fused": fused, "maximize": False}
        self._rule.update(weights, gradients, slots, **shared)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for weight in self.weights:
            weight.grad = None

    def state(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the tensors that a training needs to continue, by name."""
        for slot, tensors in self._slots.items():
            for number, tensor in enumerate(tensors):
                yield f"{number}.{slot}", tensor


def _slot(slot: str, weight: torch.Tensor) -> torch.Tensor:
    if slot == "step":
        return torch.zeros((), device=weight.device)
    # Fused kernels walk through memory: a slot lies in memory as its weight does.
    return torch.zeros_like(weight, requires_grad=False)


def _adam(weights: Tensors, gradients: Tensors, slots: Sequence[Tensors], **shared: Any) -> None:
    update = adamw if shared["weight_decay"] else adam
    first, second, steps = slots
    moments: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False}
    update(weights, gradients, first, second, [], steps, **moments, **shared)


def _sgd(weights: Tensors, gradients: Tensors, slots: Sequence[Tensors], **shared: Any) -> None:
    sgd(weights, gradients, [], momentum=0.0, dampening=0.0, nesterov=False, **shared)


@dataclass(frozen=True)
class Rule:
    """How an optimiser updates weights.

    Attributes:
        slots: The names of what it keeps for each weight: a tensor of its shape, or its number of steps ("step").
        update: Changes weights and slots in place; gets weights, gradients, slots, and what all kernels of torch take.
    """

    slots: tuple[str, ...]
    update: Callable[..., None]


OPTIMISERS = {"adam": Rule(("exp_avg", "exp_avg_sq", "step"), _adam), "sgd": Rule((), _sgd)}
"""Adam (Kingma and Ba, 2015), which is AdamW where there is weight decay, and plain gradient descent."""
