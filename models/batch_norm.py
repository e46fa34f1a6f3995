"""The report's batch normalisation: section 3.1 by automatic differentiation, section 3.2 by its own backward pass.

Ioffe and Szegedy (2015): x̂ = (x − µ) / √(σ² + ε), y = γ x̂ + β (eq. 52 and 53), with the mean µ and the biased variance
σ² of the minibatch (eq. 56 and 58). In evaluation mode running statistics stand for both, as in torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable


class _ReportBatchNorm(nn.BatchNorm1d):
    """What the two have in common: torch's weights with their names, its running statistics, its evaluation mode.

    Args:
        features: Width of the batches.
    """

    def __init__(self, features: int):
        super().__init__(features)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return y, (batch, features), for x of the same shape.

        Raises:
            ValueError: In training mode, the batch is not two-dimensional, or has only one row and thus no variance.
        """
        if not self.training:
            return super().forward(input)
        if input.ndim != 2 or len(input) < 2:
            raise ValueError(f"a batch must have the shape (2 or more, {self.num_features}), got {tuple(input.shape)}")
        # Under autocast x may have bfloat16; torch, too, sums in the precision of the weights.
        inputs = input.to(self.weight.dtype)
        self._follow(inputs.detach())
        return self._normalise(inputs).to(input.dtype)

    def _normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def _follow(self, inputs: torch.Tensor) -> None:
        """Move the running statistics towards those of a minibatch; the variance that is kept is the unbiased one."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(inputs.mean(dim=0), self.momentum)
        self.running_var.lerp_(inputs.var(dim=0), self.momentum)


class AutomaticBatchNorm(_ReportBatchNorm):
    """Section 3.1: the forward pass in torch's operators, the backward pass by automatic differentiation."""

    def _normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        mean, variance = inputs.mean(dim=0), inputs.var(dim=0, unbiased=False)
        return self.weight * ((inputs - mean) / torch.sqrt(variance + self.eps)) + self.bias


class ManualBatchNorm(_ReportBatchNorm):
    """Section 3.2: the same with the analytical backward pass."""

    def _normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = BatchNormFunction.apply(inputs, self.weight, self.bias, self.eps)
        return output


class BatchNormFunction(torch.autograd.Function):
    """Normalisation of a minibatch in training mode, with the gradients of section 3.2."""

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        """Return y = γ x̂ + β, (batch, features), for x of the same shape."""
        deviation = torch.sqrt(inputs.var(dim=0, unbiased=False) + epsilon)
        normalised = (inputs - inputs.mean(dim=0)) / deviation
        ctx.save_for_backward(normalised, gamma, deviation)
        return gamma * normalised + beta

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return ∂L/∂x, ∂L/∂γ and ∂L/∂β for ∂L/∂y, (batch, features).

        ∂L/∂γ = Σ_s ∂L/∂y_s x̂_s (eq. 46) and ∂L/∂β = Σ_s ∂L/∂y_s (eq. 50), for each feature. The line before
        eq. 65 is right; from there to eq. 69 the report loses factors. What follows from it is, for row r of B rows,
        ∂L/∂x_r = γ / (B √(σ² + ε)) · (B ∂L/∂y_r − ∂L/∂β − x̂_r ∂L/∂γ): eq. 69 with x̂_r for (x_s − µ) / (σ² + ε), and
        row r for the row s that it leaves free.
        """
        normalised, gamma, deviation = ctx.saved_tensors
        gradient_gamma = (gradient * normalised).sum(dim=0)
        gradient_beta = gradient.sum(dim=0)
        if not ctx.needs_input_grad[0]:  # the batch norm before the first layer: nothing wants the images' gradient
            return None, gradient_gamma, gradient_beta, None
        rows = len(gradient)
        inner = rows * gradient - gradient_beta - normalised * gradient_gamma
        return gamma / (rows * deviation) * inner, gradient_gamma, gradient_beta, None


KINDS: dict[str, type[nn.BatchNorm1d]] = {
    "torch": nn.BatchNorm1d,
    "automatic": AutomaticBatchNorm,
    "manual": ManualBatchNorm,
}
"""The implementations by the name that a configuration gives (`batch_norm_kind`)."""
