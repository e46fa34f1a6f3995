"""The optimiser of one training: torch's fused kernels, called without the bookkeeping around them.

`torch.optim.Adam.step` spends more time on hooks, checks and collecting its tensors than the kernel spends on a network
of a hundred units; its functional form computes the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

SLOTS = ("exp_avg", "exp_avg_sq", "step")


class Optimiser:
    """Adam (Kingma and Ba, 2015), AdamW where there is weight decay, or plain gradient descent.

    Args:
        kind: "adam" or "sgd".
        weights: What is trained.
        rate: Learning rate.
        decay: Weight decay: decoupled with "adam" (Loshchilov and Hutter, 2019), added to the gradient with "sgd".
    """

    def __init__(self, kind: str, weights: Sequence[torch.Tensor], rate: float, decay: float = 0.0):
        self.weights = [weight for weight in weights if weight.requires_grad]
        self._kind, self._rate, self._decay = kind, rate, decay
        self._slots: dict[str, list[torch.Tensor]] = {}
        if kind == "adam":
            for slot in SLOTS[:2]:
                # Fused kernels walk through memory: a slot lies in memory as its weight does.
                self._slots[slot] = [torch.zeros_like(weight, requires_grad=False) for weight in self.weights]
            self._slots["step"] = [torch.zeros((), device=weight.device) for weight in self.weights]

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights that have a gradient."""
        chosen = [number for number, weight in enumerate(self.weights) if weight.grad is not None]
        weights = [self.weights[number] for number in chosen]
        gradients = [weight.grad for weight in weights]
        if self._kind == "sgd":
            sgd(
                weights,
                gradients,  # type: ignore[arg-type]  # none of them is None
                [],
                fused=True,
                weight_decay=self._decay,
                momentum=0.0,
                lr=self._rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            return
        first, second, steps = ([self._slots[slot][number] for number in chosen] for slot in SLOTS)
        update = adamw if self._decay else adam
        update(
            weights,
            gradients,  # type: ignore[arg-type]  # none of them is None
            first,
            second,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._rate,
            weight_decay=self._decay,
            eps=1e-8,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for weight in self.weights:
            weight.grad = None

    def state(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the tensors that a training needs to go on, by name."""
        for slot, tensors in self._slots.items():
            for number, tensor in enumerate(tensors):
                yield f"{number}.{slot}", tensor
