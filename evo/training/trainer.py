"""Trains networks: a configuration and a seed go in, a learning curve and its metrics come out.

The result depends only on the configuration and the seed: initialisation, batch order and dropout draw from generators
seeded with it, and on a CPU the number of threads is fixed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from evo.data.augmentation import Augmentation
from evo.data.cache import PreparedDataset
from evo.data.tensors import load_part
from evo.errors import Interrupted
from evo.individual import STEPS, without_duration
from evo.models import ModelBuilder
from evo.names import load
from evo.space.training_settings import TrainingSettings
from evo.training.checkpoint import Keeper, TrainingState
from evo.training.engines import ENGINES, Engine
from evo.training.jobs import Job, Metrics, TrainingResult
from evo.training.lookups import Lookups
from evo.training.model_state import Recall, RecallError, restore_tensors
from evo.training.optimiser import Optimiser
from evo.training.progress import Training
from evo.training.tensor_file import DamagedFileError, read_tensors
from evo.training.workbench import Workbench


class Trainer(Workbench):
    """Trains configurations on one device.

    Args:
        dataset: The images.
        settings: What all trainings share.
        build: Makes the network of a configuration.
        engine: Does the steps: a name of `evo.training.engines`.
        shared: As for `Workbench`: device, precision, fitness and measure.

    Attributes:
        looked_up: The genes that `build` has asked for so far.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        settings: TrainingSettings,
        build: ModelBuilder,
        *,
        engine: str = "eager",
        **shared: str,
    ):
        super().__init__(dataset, settings, **shared)
        self.build, self.engine = build, engine
        self.looked_up: set[str] = set()
        self._engine: Engine = load(ENGINES[engine].reference)(self)

    def train(
        self, config: Mapping[str, Any], seed: int, *, interrupted: Callable[[], bool] = lambda: False, **more: Any
    ) -> TrainingResult:
        """Train one network: see `train_jobs`, and `Job` for the other arguments."""
        [result] = self.train_jobs([Job(config, seed, **more)], interrupted)
        return result

    def train_jobs(self, jobs: Sequence[Job], interrupted: Callable[[], bool]) -> Iterator[TrainingResult]:
        """Train networks, and yield their results in the order of the jobs.

        Args:
            jobs: What to train.
            interrupted: Asked before every step whether to stop.

        Raises:
            Interrupted: It was; the states are in the jobs' checkpoints.
        """

        def report(trainings: Sequence[Training]) -> None:
            stop = interrupted()
            for training in trainings:
                training.keeper.keep(training.state, now=stop)
            if stop:
                raise Interrupted

        return self._engine.train(jobs, report)

    def begin(self, job: Job) -> Training:
        """Return a training before its first step, or where its saved state is.

        Its network is drawn from torch's global generator, which is seeded with the job's seed.
        """
        training = self._begin(job)
        try:
            training.keeper.restore(training.state, below=training.end)
        except RecallError as problem:
            torch.manual_seed(job.seed)
            training = self._begin(job)
            training.note = f"{problem}; it was trained from the first step instead"
        return training

    def _begin(self, job: Job) -> Training:
        recipe = self.settings.recipe(job.config, len(self.train_part))
        model = self._build(job.config)
        model.train()
        weights = list(model.parameters())
        optimiser = Optimiser(recipe.optimiser, weights, recipe.weight_decay, recipe.momentum)
        # Sums since the last point stay on the device: reading them at every step would make a GPU wait.
        state = TrainingState(model, optimiser, torch.zeros(2, dtype=torch.float64, device=self.device))
        keeper = Keeper(
            job, self.identity(job, recipe.steps), lambda model: self.recall(model, self.sample, attributes=True)
        )
        augment = Augmentation(recipe.augment, recipe.crop_padding, recipe.cutout, self.hidden_pixels)
        return Training(self, job, state, keeper, recipe, augment)

    def test(self, config: Mapping[str, Any], weights: Path) -> Metrics:
        """Return the metrics of trained weights on the test set, which is read here and not before.

        Raises:
            DamagedFileError: The file of the weights is missing or damaged.
            RecallError: The network that they make is not the one that was trained.
        """
        test = load_part(self.dataset, "test", self.device)
        return self.measure(self.restored(config, weights), test, confusion=True)

    def restored(self, config: Mapping[str, Any], weights: Path) -> nn.Module:
        """Return the network of trained weights, once it gives on the held-out part what was recorded of it.

        Raises:
            DamagedFileError, RecallError: See `test`.
        """
        tensors, facts = read_tensors(weights)
        with self.own_randomness(0):  # the first weights are drawn; no other draws may change
            model = self._build(config)
        try:
            recorded = Recall.from_dict(json.loads(facts["recall"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"{weights}: does not hold the weights of a training ({error})") from None
        try:
            restore_tensors(model, tensors)
        except ValueError as error:
            raise RecallError(
                f"the file of its weights does not fit the network that is built anew ({error}): training has changed "
                "its modules"
            ) from None
        recorded.check(self.recall(model, self.held_out_part), "the file of its weights")
        return model

    def identity(self, job: Job, steps: int) -> str:
        """Return a text that two trainings share only if one may continue from the other's state.

        Everything that decides the result is in it; the steps only if a shorter training is not a prefix of a longer.
        """
        genes = without_duration(job.config)
        if not self.settings.prefix_exact(job.config):
            genes[STEPS] = steps
        model = f"{self.build.__module__}:{getattr(self.build, '__qualname__', '')}"
        facts = (model, genes, job.seed, self.settings.model_dump(), self.dataset.checksum, self.fitness)
        machine = (self.device.type, self.precision, self.engine, torch.__version__, torch.get_num_threads())
        return f"{facts} {machine}"

    def _build(self, config: Mapping[str, Any]) -> nn.Module:
        watched = Lookups(dict(config))
        model = self.build(watched, self.dataset.image_shape, len(self.dataset.classes))
        self.looked_up |= watched.names
        if not isinstance(model, nn.Module):
            raise TypeError(f"the model's function must return a torch.nn.Module, it returned {type(model).__name__}")
        self._engine.prepare(model)
        model = model.to(self.device)
        if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
            self.measure(model, replace(self.sample, indices=self.sample.indices[:2]))  # draws them, of their shapes
        return model
