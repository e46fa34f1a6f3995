"""A training in progress, whatever engine does its steps: its batches, its rate, its learning curve, its result."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch

from evo.data.augmentation import Augmentation
from evo.evaluation import CurvePoint, Status
from evo.space.training_settings import Recipe
from evo.training.batches import batches
from evo.training.checkpoint import Keeper, TrainingState
from evo.training.jobs import Job, Metrics, TrainingResult
from evo.training.model_state import Recall, tensors_of
from evo.training.schedules import rate_factor
from evo.training.tensor_file import write_tensors
from evo.training.workbench import Workbench


@dataclass
class Training:
    """A training in progress.

    Attributes:
        bench: The data that it trains on.
        job: What was asked for.
        state: Where it stands.
        keeper: Saves its state.
        recipe: How it is trained.
        augment: Changes its training images.
        end: The step to stop at.
        last: Loss and right answers of the last minibatch, (2,).
        note: What the row should say although the training ends well.
    """

    bench: Workbench
    job: Job
    state: TrainingState
    keeper: Keeper
    recipe: Recipe
    augment: Augmentation
    end: int = field(init=False)
    last: torch.Tensor = field(init=False)
    note: str = field(init=False, default="")
    _held_out: Metrics | None = field(init=False, default=None)
    _divergence: str = field(init=False, default="")

    def __post_init__(self) -> None:
        steps = self.recipe.steps
        self.end = steps if self.job.until is None else min(self.job.until, steps)

    @property
    def running(self) -> bool:
        """Whether there are steps to do."""
        return self.state.step < self.end and not self._divergence

    @cached_property
    def batches(self) -> Iterator[torch.Tensor]:
        """The images of each step from here on."""
        return batches(self.bench.train_part.indices, self.recipe.batch_size, self.job.seed, skip=self.state.step)

    def rate_at(self, step: int) -> float:
        """Return the learning rate of the step that follows so many."""
        recipe = self.recipe
        factor = rate_factor(recipe.schedule, step, recipe.steps, recipe.warmup, recipe.cooldown)
        return recipe.learning_rate * factor

    def measure_point(self) -> None:
        """Add a point to the learning curve if it is due: on the grid, and at the end.

        A pause off the grid has a point that the whole training does not have, so its state is kept before that.
        """
        bench, state = self.bench, self.state
        off_the_grid = state.step % self.recipe.every != 0
        if off_the_grid and state.step < self.end:
            return
        count = state.since * torch.tensor([1, self.recipe.batch_size], device=bench.device)
        loss, accuracy = (state.sums / count).tolist()
        if not math.isfinite(loss):
            self._divergence = f"the loss was {loss} by step {state.step}"
            return
        if off_the_grid and state.step < self.recipe.steps:
            self.keeper.keep_last(state)
        state.sums.zero_()
        state.since = 0
        counted = self.job.confusion and state.step >= self.end
        self._held_out = held_out = bench.measure(state.model, bench.held_out_part, confusion=counted)
        if not math.isfinite(held_out.loss):
            self._divergence = f"the loss was {held_out.loss} by step {state.step}"
            return
        values = {"train_loss": loss, "train_accuracy": accuracy}
        values |= held_out.named(bench.fitness)
        for hook in bench.hooks:
            values |= hook(self)
        state.curve.append(CurvePoint(state.step, values))

    def finish(self) -> TrainingResult:
        """Measure the training part, save what the job asks for, and return the result."""
        state, keeper = self.state, self.keeper
        train: Metrics | None = None
        status: Status = "diverged"
        if not self._divergence:
            status = "complete" if self.end == self.recipe.steps else "partial"
            if self.end % self.recipe.every == 0:
                keeper.keep_last(state)  # off the grid, no longer training has the last point; see `measure_point`
            train = self.bench.measure(state.model, self.bench.train_sample(self.job.train_images))
        held_out = self._held_out if train is not None else None
        parameters = sum(weight.numel() for weight in state.optimiser.weights if weight.requires_grad)
        times = {"seconds": keeper.seconds, "seconds_before": keeper.before}
        curve, error = tuple(state.curve), self._divergence or self.note
        result = TrainingResult(status, curve, train, held_out, parameters, state.step, error=error, **times)
        if self.job.weights is not None and held_out is not None and status == "complete":
            recall = Recall(held_out.accuracy, held_out.loss, len(self.bench.held_out_part), self.bench.rounding)
            write_tensors(self.job.weights, tensors_of(state.model), {"recall": json.dumps(recall.to_dict())})
        return result
