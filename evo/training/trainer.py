"""One training: a configuration and a seed go in, a learning curve and its metrics come out.

The result depends on the configuration and the seed alone: initialisation, batch order and dropout draw from generators
seeded with it, and on a CPU the number of threads is fixed. With a constant learning rate a training of many steps
passes through every shorter one of the same configuration.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from evo.data.prepared import PreparedDataset
from evo.data.tensors import Part, fit_preprocessing, load_part
from evo.errors import Interrupted
from evo.files import STATES_BYTES
from evo.individual import STEPS, CurvePoint, Status
from evo.space.settings import TrainingSettings
from evo.training.batches import batches
from evo.training.checkpoint import TrainingState
from evo.training.engines.onednn import use_onednn
from evo.training.hardware import Engine, Precision
from evo.training.optimiser import Optimiser
from evo.training.tensor_file import read_tensors, write_tensors

ModelBuilder: TypeAlias = Callable[[Mapping[str, Any], tuple[int, int, int], int], nn.Module]
FitnessPart: TypeAlias = Literal["validation", "test"]
EVALUATION_BATCH = {"cpu": 125, "cuda": 1000}
"""Images a forward pass; on a CPU few enough for the activations of a small CNN to stay in the cache."""
WHOLE_TRAIN_POINTS = 5
"""Last points of a learning curve at which `training_mode` measures the whole training part, too."""
BATCHES_SEED = 2019
"""Of the order in which `training_mode = "batches"` takes the held-out images."""
KEEP_EVERY_SECONDS = 60.0
"""How much of a training a kill costs at most."""
WORTH_BYTES = 5e6
"""A state of so many bytes is kept for each second that its training took: writing it takes about 2 % of that."""


@dataclass(frozen=True)
class Metrics:
    """Accuracy (fraction in [0, 1]) and mean cross-entropy on one part, in evaluation mode."""

    accuracy: float
    loss: float


@dataclass(frozen=True)
class TrainingResult:
    """What one training measured; `train` and `held_out` are None unless it is complete.

    Attributes:
        status: "complete", or "diverged" when the loss was no longer finite.
        curve: One point every `evaluate_every` steps and one after the last.
        train: On the whole training part, after the last step.
        held_out: On the part that fitness is measured on, after the last step.
        parameters: Trainable parameters.
        steps: Steps done.
        seconds: Time that it took, parts before an interruption included.
        seconds_before: Of these, those of the parts before it was taken up again.
        error: The reason, where it is not complete.
    """

    status: Status
    curve: tuple[CurvePoint, ...]
    train: Metrics | None
    held_out: Metrics | None
    parameters: int
    steps: int
    seconds: float = field(default=0.0, compare=False)
    error: str = ""
    seconds_before: float = field(default=0.0, compare=False)


class Trainer:
    """Trains configurations one after another on one device, with the data loaded once.

    Args:
        dataset: The images.
        settings: What all trainings share.
        build: Makes the network of a configuration.
        device: "cpu", "cuda" or "cuda:N".
        precision: "fp32", or "bf16" for automatic mixed precision.
        engine: "eager": torch's operators, one after another; "onednn": its linear layers through oneDNN.
        fitness: "validation" divides the training set; "test" trains on all of it and measures on the test set.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        settings: TrainingSettings,
        build: ModelBuilder,
        *,
        device: str = "cpu",
        precision: Precision = "fp32",
        engine: Engine = "eager",
        fitness: FitnessPart = "validation",
    ):
        self.dataset, self.settings, self.build = dataset, settings, build
        self.device, self.precision, self.engine, self.fitness = torch.device(device), precision, engine, fitness
        self.train_part = load_part(dataset, "all_train" if fitness == "test" else "train", self.device)
        self.held_out_part = load_part(dataset, fitness, self.device)
        self.preprocess = fit_preprocessing(settings.preprocess, self.train_part)

    def train(
        self,
        config: Mapping[str, Any],
        seed: int,
        *,
        weights: Path | None = None,
        checkpoint: Path | None = None,
        last_state: Path | None = None,
        until: int | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> TrainingResult:
        """Train one network.

        Args:
            config: Gene values; `learning_rate`, `batch_size`, `steps` and `weight_decay` fall back on the settings.
            seed: Decides initialisation, batch order and dropout.
            weights: Where to write the trained weights (safetensors); None to drop them.
            checkpoint: Where to keep the state of a training that takes long; one that is there is taken up, and the
                result is that of a training that was never interrupted.
            last_state: Where to keep the state after the last step; a training of fewer steps whose state is there is
                gone on from, and the result is that of a training of its own. Its seconds are not counted again.
            until: The step to train to; None trains all steps. A training that stops before its last step is "partial".
            interrupted: Asked before every step whether to stop.

        Raises:
            Interrupted: It was; the state is in `checkpoint`.
        """
        with self.own_randomness(seed):
            training = self.begin(config, seed)
            training.until = min(training.steps, until or training.steps)
            keeper = _Keeper(checkpoint, last_state, self._identity(config, seed), interrupted)
            keeper.take_up(training)
            result = self._finish(training, keeper)
        if weights is not None and result.status == "complete":
            write_tensors(weights, training.state.model.state_dict(), {})
        return result

    def begin(self, config: Mapping[str, Any], seed: int) -> Training:
        """Return a training before its first step; its network is drawn from torch's global generator."""
        setting = {**self.settings.model_dump(exclude_none=True), **config}
        model = self._build(config)
        weights = list(model.parameters())
        optimiser = Optimiser(
            self.settings.optimiser, weights, float(setting["learning_rate"]), float(setting["weight_decay"])
        )
        # Sums since the last point stay on the device: reading them at every step would make a GPU wait.
        state = TrainingState(model, optimiser, torch.zeros(2, dtype=torch.float64, device=self.device))
        batch_size = min(int(setting["batch_size"]), len(self.train_part))
        return Training(self, state, seed, int(setting["steps"]), batch_size)

    def test(self, config: Mapping[str, Any], weights: Path) -> Metrics:
        """Return the metrics of trained weights on the test set, which is read here and not before.

        Raises:
            DamagedFileError: The weights are not there, or not as they were written.
        """
        model = self._build(config)
        model.load_state_dict(read_tensors(weights)[0])
        return self.measure(model, load_part(self.dataset, "test", self.device))

    @torch.inference_mode()
    def measure(
        self, model: nn.Module, part: Part, *, training_mode: bool = False, chunk: int | None = None
    ) -> Metrics:
        """Return a network's metrics on a part; the network's mode is restored.

        Args:
            model: The network.
            part: The images.
            training_mode: Leave dropout and batch norm as they are in training, instead of evaluation mode.
            chunk: Images of a forward pass; by default what is fast.
        """
        mode = model.training
        model.train(training_mode)
        totals = torch.zeros(2, dtype=torch.float64, device=self.device)
        for indices in torch.split(part.indices, chunk or EVALUATION_BATCH.get(self.device.type, 1000)):
            with self.autocast():
                logits = model(self.preprocess(part.images.index_select(0, indices)))
            labels = part.labels.index_select(0, indices)
            totals[0] += (logits.argmax(dim=1) == labels).sum()
            totals[1] += functional.cross_entropy(logits.float(), labels, reduction="sum")
        model.train(mode)
        accuracy, loss = (totals / len(part)).tolist()
        return Metrics(accuracy, loss)

    def _finish(self, training: Training, keeper: _Keeper) -> TrainingResult:
        """Train to the last step, with a point of the curve every `evaluate_every` steps."""
        state, steps = training.state, training.until
        parameters = sum(weight.numel() for weight in state.optimiser.weights)
        held_out = Metrics(math.nan, math.nan)
        state.model.train()
        while state.step < steps:
            keeper.keep(state)
            training.step()
            if state.step % self.settings.evaluate_every and state.step < steps:
                continue
            count = state.since * torch.tensor([1, training.batch_size], device=self.device)
            loss, accuracy = (state.sums / count).tolist()
            state.sums.zero_()
            state.since = 0
            held_out = self.measure(state.model, self.held_out_part) if math.isfinite(loss) else held_out
            if not (math.isfinite(loss) and math.isfinite(held_out.loss)):
                reason = f"the loss was {loss if not math.isfinite(loss) else held_out.loss} by step {state.step}"
                curve = tuple(state.curve)
                return TrainingResult(
                    "diverged", curve, None, None, parameters, state.step, keeper.seconds, reason, keeper.before
                )
            measured = {f"{self.fitness}_accuracy": held_out.accuracy}
            if self.settings.training_mode is not None:
                measured |= as_reported(training)
            state.curve.append(CurvePoint(state.step, loss, accuracy, loss=held_out.loss, **measured))
        # Off the grid the curve has a point that longer trainings have not.
        if steps % self.settings.evaluate_every == 0:
            keeper.keep_last(state)
        train = self.measure(state.model, self.train_part)
        curve, seconds, before = tuple(state.curve), keeper.seconds, keeper.before
        status: Status = "partial" if steps < training.steps else "complete"
        return TrainingResult(status, curve, train, held_out, parameters, steps, seconds, seconds_before=before)

    def _build(self, config: Mapping[str, Any]) -> nn.Module:
        model = self.build(config, self.dataset.image_shape, len(self.dataset.classes))
        if not isinstance(model, nn.Module):
            raise TypeError(f"the model's function must return a torch.nn.Module, it returned {type(model).__name__}")
        if self.engine == "onednn":
            use_onednn(model)
        return model.to(self.device)

    def _identity(self, config: Mapping[str, Any], seed: int) -> str:
        """Return a text that two trainings share only if one may go on from the other's state: all but the steps."""
        genes = {name: value for name, value in config.items() if name != STEPS}
        model = f"{self.build.__module__}:{getattr(self.build, '__qualname__', '')}"
        facts = (model, genes, seed, self.settings.model_dump(), self.dataset.checksum, self.fitness)
        machine = (self.device.type, self.precision, self.engine, torch.__version__, torch.get_num_threads())
        return f"{facts} {machine}"

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    @contextlib.contextmanager
    def own_randomness(self, seed: int) -> Iterator[None]:
        """Seed torch's global generators, which initialisation and dropout use, and restore them afterwards."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield


@dataclass
class Training:
    """A training in progress.

    Attributes:
        trainer: Whose data it trains on.
        state: Where it stands.
        seed: Decides the order of its batches.
        steps: When it ends.
        until: When it stops for now.
        batch_size: Images of a batch.
        last: Loss and right answers of the last minibatch, (2,).
    """

    trainer: Trainer
    state: TrainingState
    seed: int
    steps: int
    batch_size: int
    last: torch.Tensor = field(init=False)
    until: int = field(init=False)

    def step(self) -> None:
        """Do one optimiser step; add its loss and its number of right answers to the state's sums."""
        state, part = self.state, self.trainer.train_part
        batch = next(self._batches)
        # index_select copies rows as they lie in memory: on a CPU several times as fast as part.images[batch].
        labels = part.labels.index_select(0, batch)
        with self.trainer.autocast():
            logits = state.model(self.trainer.preprocess(part.images.index_select(0, batch)))
        loss = functional.cross_entropy(logits.float(), labels)
        state.optimiser.zero_grad()
        torch.autograd.backward(loss)
        state.optimiser.step()
        with torch.no_grad():
            self.last = torch.stack([loss.detach(), (logits.argmax(dim=1) == labels).sum().to(loss.dtype)])
            state.sums += self.last
        state.step += 1
        state.since += 1

    @cached_property
    def _batches(self) -> Iterator[torch.Tensor]:
        return batches(self.trainer.train_part.indices, self.batch_size, self.seed, skip=self.state.step)


def as_reported(training: Training) -> dict[str, float]:
    """Return a point of the learning curve as the 2019 report measured it, without leaving training mode.

    The training goes on as if it had not been measured: dropout draws from a generator of its own, and the running
    statistics of batch norm are put back.

    Returns:
        The accuracy and the loss of the last minibatch, and those of the held-out part; at the last points also the
        accuracy on the whole training part in evaluation mode.
    """
    trainer, state = training.trainer, training.state
    loss, right = training.last.tolist()
    with trainer.own_randomness(training.seed + state.step):
        buffers = [(buffer, buffer.clone()) for buffer in state.model.buffers()]
        part, chunk = trainer.held_out_part, len(trainer.held_out_part)
        if trainer.settings.training_mode == "batches":
            part, chunk = part.mixed(BATCHES_SEED), training.batch_size
            while len(part) % chunk == 1 and chunk < len(part):
                chunk += 1  # batch norm can do nothing with a batch of one image
        held_out = trainer.measure(state.model, part, training_mode=True, chunk=chunk)
        for buffer, before in buffers:
            buffer.copy_(before)
    measured = {
        "minibatch_accuracy": right / training.batch_size,
        "minibatch_loss": loss,
        "training_mode_accuracy": held_out.accuracy,
        "training_mode_loss": held_out.loss,
    }
    every = trainer.settings.evaluate_every
    points_left = -(-training.steps // every) - -(-state.step // every)
    if points_left < WHOLE_TRAIN_POINTS:
        measured["whole_train_accuracy"] = trainer.measure(state.model, trainer.train_part).accuracy
    return measured


class _Keeper:
    """Keeps a training's state when it is asked to stop, and now and then, so that a kill costs little."""

    def __init__(self, path: Path | None, last: Path | None, identity: str, interrupted: Callable[[], bool]):
        self._path, self._last, self._identity, self._interrupted = path, last, identity, interrupted
        self._began = self._kept = time.monotonic()
        self.before = 0.0

    @property
    def seconds(self) -> float:
        """Time that the training took until now, its earlier parts included."""
        return self.before + time.monotonic() - self._began

    def take_up(self, training: Training) -> None:
        """Go on from the kept state of this training, or from that of one of fewer steps, if there is one."""
        for path in (self._path, self._last):
            if path is not None and training.state.restore(path, self._identity, below=training.until):
                self.before = training.state.seconds
                return

    def keep(self, state: TrainingState) -> None:
        """Save the state if it is time to, or if the training is to stop."""
        interrupted = self._interrupted()
        if self._path is not None and (interrupted or time.monotonic() - self._kept > KEEP_EVERY_SECONDS):
            with contextlib.suppress(Exception):  # a full disk must not end a training that could go on
                state.save(self._path, self._identity, self.seconds)
            self._kept = time.monotonic()
        if interrupted:
            raise Interrupted

    def keep_last(self, state: TrainingState) -> None:
        """Save the state after the last step, unless the file costs a good part of training it again."""
        if self._last is None or state.bytes > STATES_BYTES or self.seconds < 1.0 + state.bytes / WORTH_BYTES:
            return
        with contextlib.suppress(Exception):  # it saves time, and no result depends on it
            state.save(self._last, self._identity, seconds=0.0, durable=False)
