"""One training after another, one step after another, in torch's operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional

from evo.training.engines import Report
from evo.training.engines.dropout import use_fast_dropout
from evo.training.engines.sequences import use_fast_sequences
from evo.training.jobs import Job, TrainingResult
from evo.training.progress import Training
from evo.training.trainer import Trainer


class EagerEngine:
    """Runs anywhere that torch does."""

    def __init__(self, trainer: Trainer):
        self._trainer = trainer

    def prepare(self, model: nn.Module) -> None:
        """Let the sequences of a CNN, and dropout, compute faster on a CPU."""
        if self._trainer.device.type == "cpu":
            use_fast_sequences(model)
            use_fast_dropout(model)

    def train(self, jobs: Sequence[Job], report: Report) -> Iterator[TrainingResult]:
        for job in jobs:
            yield self._train(job, report)

    def _train(self, job: Job, report: Report) -> TrainingResult:
        with self._trainer.own_randomness(job.seed):
            training = self._trainer.begin(job)
            while training.running:
                report((training,))
                step(training)
                training.measure_point()
            return training.finish()


def step(training: Training) -> None:
    """Do one optimiser step; add its loss and its number of right answers to the sums since the last point."""
    bench, state = training.bench, training.state
    part, batch = bench.train_part, next(training.batches)
    # index_select copies rows as they lie in memory: on a CPU several times as fast as part.images[batch].
    images, labels = part.images.index_select(0, batch), part.labels.index_select(0, batch)
    images = training.augment(images, training.job.seed, state.step)
    with bench.autocast():
        logits = state.model(bench.preprocess(images))
    loss = functional.cross_entropy(logits.float(), labels, label_smoothing=training.recipe.label_smoothing)
    state.optimiser.zero_grad()
    torch.autograd.backward(loss)
    state.optimiser.step(training.rate_at(state.step))
    with torch.no_grad():
        training.last = torch.stack([loss.detach(), (logits.argmax(dim=1) == labels).sum().to(loss.dtype)])
        state.sums += training.last
    state.step += 1
    state.since += 1
