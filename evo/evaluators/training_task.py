"""Evaluation by training a network: builds, in a worker, the function that trains one configuration."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evo.data import PreparedDataset
from evo.errors import ConfigurationError, StorageError, did_you_mean
from evo.evaluators.base import Evaluate, StopRequest, Task, reason_of
from evo.individual import Evaluation
from evo.models import MODEL_GENES
from evo.space.settings import TrainingSettings
from evo.training.hardware import (
    free_memory,
    keep_freed_memory,
    processor_name,
    resolve_device,
    resolve_engine,
    resolve_precision,
)

if TYPE_CHECKING:
    from evo.training.trainer import ModelBuilder, Trainer, TrainingResult


OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What errors say that are none of torch's own kind for it."""


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a worker needs to train configurations of a run.

    Attributes:
        dataset: The images.
        training: The space's fixed settings.
        model: A shipped model's name, or "package.module:function".
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32" or "bf16": see `evo.training.hardware`.
        engine: "auto", "eager" or "onednn": see `evo.training.hardware`.
        fitness: See `Trainer`.
        threads: Threads a training on a CPU; part of what makes its result.
        free_steps: Whether the best checkpoint of a search's training is its result.
        data_dir: Where the dataset was asked for, for workers on other machines; None for its own place.
    """

    dataset: PreparedDataset
    training: TrainingSettings
    model: str
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    engine: Literal["auto", "eager", "onednn"] = "auto"
    fitness: Literal["validation", "test"] = "validation"
    threads: int = 1
    free_steps: bool = False
    data_dir: str | None = None

    needs_main = False

    def decided(self, facts: Mapping[str, Any]) -> TrainingSetup:
        """Return the setup with device, precision and engine as one worker's facts have them, for all others."""
        return replace(self, device=facts["device"], precision=facts["precision"], engine=facts["engine"])

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        # cuBLAS is reproducible over several streams only with a workspace of this kind; it is read once, at its start.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        import threadpoolctl
        import torch

        from evo.training.trainer import Trainer

        keep_freed_memory()
        torch.set_num_threads(self.threads)
        # As many for NumPy's products (`evo.models.numpy_mlp`), which torch's setting does not reach.
        threadpoolctl.threadpool_limits(self.threads, user_api="blas")
        torch.set_flush_denormal(True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False  # torch's default lets convolutions round "fp32" to 10 bits
        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        engine = resolve_engine(self.engine, device, precision)
        trainer = Trainer(
            self.dataset,
            self.training,
            load_builder(self.model),
            device=device,
            precision=precision,
            engine=engine,
            fitness=self.fitness,
        )
        facts = {
            "device": device,
            "device_name": torch.cuda.get_device_name(device) if device != "cpu" else processor_name(),
            "precision": precision,
            "engine": engine,
            "threads": self.threads,
            "free_memory": free_memory(device),
        }
        return TrainingTask(trainer, stop, self.free_steps), facts


@dataclass
class TrainingTask:
    """Trains the configuration of a task and makes an `Evaluation` of the result, whatever happens."""

    trainer: Trainer
    stop: StopRequest
    free_steps: bool = False

    def __call__(self, task: Task) -> Evaluation:
        """Do the task; an error of the training becomes the evaluation's status and reason.

        Raises:
            StorageError: The weights cannot be written, which is no fault of the configuration's.
        """
        import torch

        started, clock = time.time(), time.perf_counter()
        values: dict[str, Any]
        try:
            values = self._test(task) if task.measure == "test" else self._train(task)
        except StorageError:
            raise
        except (torch.OutOfMemoryError, MemoryError) as problem:
            values = {"status": "out_of_memory", "error": reason_of(problem)}
        except Exception as problem:  # a training that fails becomes a row with its reason
            exhausted = any(sign in str(problem) for sign in OUT_OF_MEMORY)
            values = {"status": "out_of_memory" if exhausted else "failed", "error": reason_of(problem)}
        if self.trainer.device.type == "cuda":
            torch.cuda.empty_cache()  # what this process keeps, no other can have
        return Evaluation(
            individual=task.individual,
            replicate=task.replicate,
            seed=task.seed,
            phase=task.phase,
            started=started,
            seconds=values.pop("seconds", time.perf_counter() - clock),
            worker="main",
            engine=self.trainer.engine,
            precision=self.trainer.precision,
            **values,
        )

    def _train(self, task: Task) -> dict[str, Any]:
        result = self.trainer.train(
            task.config,
            task.seed,
            weights=Path(task.weights) if task.weights else None,
            checkpoint=Path(task.checkpoint) if task.checkpoint else None,
            last_state=Path(task.state) if task.state else None,
            until=task.until,
            interrupted=lambda: self.stop.requested,
        )
        values: dict[str, Any] = {
            "status": result.status,
            "error": result.error,
            "parameters": result.parameters,
            "steps_trained": result.steps,
            "curve": result.curve,
            "seconds": result.seconds,
            "seconds_before": result.seconds_before,
        }
        best = self._best_checkpoint(result) if self.free_steps and task.phase == "search" else {}
        return values | self._metrics(result) | best

    def _best_checkpoint(self, result: TrainingResult) -> dict[str, Any]:
        """Return the metrics of the best point of a learning curve, the first of equals: more steps did no good."""
        column = f"{self.trainer.fitness}_accuracy"
        if result.status != "complete":
            return {}
        best = max(result.curve, key=lambda point: getattr(point, column))
        accuracy = getattr(best, column)
        values = {"fitness": accuracy, column: accuracy, "loss": best.loss, "steps_trained": best.step}
        return values if best.step == result.steps else {**values, "train_accuracy": best.whole_train_accuracy}

    def _metrics(self, result: TrainingResult) -> dict[str, Any]:
        if result.held_out is None or result.train is None:
            return {}
        return {
            "fitness": result.held_out.accuracy,
            f"{self.trainer.fitness}_accuracy": result.held_out.accuracy,
            "loss": result.held_out.loss,
            "train_accuracy": result.train.accuracy,
        }

    def _test(self, task: Task) -> dict[str, Any]:
        from evo.training.tensor_file import DamagedFileError

        assert task.weights is not None
        weights = Path(task.weights)
        try:
            metrics = self.trainer.test(task.config, weights)
        except DamagedFileError:  # or lost: a training can always be done again
            self.trainer.train(task.config, task.seed, weights=weights)
            metrics = self.trainer.test(task.config, weights)
        return {"status": "complete", "test_accuracy": metrics.accuracy, "loss": metrics.loss}


def load_builder(model: str) -> ModelBuilder:
    """Return the function that builds a model: of a shipped name, or of "package.module:function".

    Raises:
        ConfigurationError: There is no such model, module or function.
    """
    if model in MODEL_GENES:
        builder: ModelBuilder = importlib.import_module(f"evo.models.{model}").build
        return builder
    module, colon, function = model.partition(":")
    if not colon:
        known = ", ".join(MODEL_GENES)
        raise ConfigurationError(
            f'--model: unknown model "{model}".{did_you_mean(model, MODEL_GENES)} '
            f"Known: {known}; or package.module:function for one of your own."
        )
    try:
        # Only where the user has named a module of his own is the folder he works in searched for modules.
        sys.path.append(os.getcwd())
        builder = getattr(importlib.import_module(module), function)
    except Exception as error:  # the user's module may raise anything while it is imported
        raise ConfigurationError(f'--model: cannot load "{model}": {type(error).__name__}: {error}') from None
    if not callable(builder):
        raise ConfigurationError(f'--model: "{model}" is no function, but {type(builder).__name__}')
    return builder
