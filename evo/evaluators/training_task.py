"""Evaluation by training a network: builds, in a worker, the function that trains one configuration."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo.data import PreparedDataset
from evo.errors import ConfigurationError, StorageError
from evo.evaluation import Evaluation, Status, fitness_from
from evo.evaluators.base import Evaluate, Setup, StopRequest, Task, ends_the_search
from evo.evaluators.objective import infeasible
from evo.files import remove_file
from evo.models import MODELS, ModelBuilder, builder_of
from evo.names import AUTO, LOSS, check_name, load
from evo.plain_text import cell_text, reason_of, text_of
from evo.space.training_settings import TRAINING_GENES, TrainingSettings
from evo.tracebacks import traceback_of
from evo.training.engines import ENGINES
from evo.training.hardware import (
    free_memory,
    keep_freed_memory,
    processor_name,
    resolve_device,
    resolve_engine,
    resolve_precision,
)
from evo.training.jobs import Job, TrainingResult
from evo.trial import Infeasible

if TYPE_CHECKING:
    from evo.training.trainer import Trainer

OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What errors say that are not of torch's own type for it."""


@dataclass(frozen=True)
class TrainingSetup(Setup):
    """Everything that a worker needs to train configurations of a run.

    Attributes:
        dataset: The images.
        training: The space's fixed settings.
        model: A shipped model's name, or "package.module:function".
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto" or a name: see `evo.training.hardware`; so for the engine.
        engine: How trainings compute.
        fitness: See `Workbench`; so for the measure.
        threads: Threads a training on a CPU; part of what makes its result.
        free_steps: Whether the best checkpoint of a search's training is its result.
        train_images: See `Settings`; finalists are measured on all images.
        switches: The genes that the conditions of others read.
        data_dir: Where the dataset was asked for, for workers on other machines; None for its own place.
    """

    dataset: PreparedDataset
    training: TrainingSettings
    model: str
    device: str = AUTO
    precision: str = AUTO
    engine: str = AUTO
    fitness: str = "validation"
    measure: str = "accuracy"
    threads: int = 1
    free_steps: bool = False
    train_images: int | None = None
    switches: frozenset[str] = frozenset()
    data_dir: str | None = None

    def decided(self, facts: Mapping[str, Any]) -> TrainingSetup:
        return replace(self, device=facts["device"], precision=facts["precision"], engine=facts["engine"])

    def batch(self, first: Task, waiting: Sequence[Task]) -> list[Task]:
        return [first] if self.engine == AUTO else ENGINES[self.engine].batch(first, waiting)

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
            measure=self.measure,
        )
        facts = {
            "device": device,
            "device_name": torch.cuda.get_device_name(device) if device != "cpu" else processor_name(),
            "precision": precision,
            "engine": engine,
            "threads": self.threads,
            "free_memory": free_memory(device),
        }
        known = None if self.model in MODELS else self.switches | TRAINING_GENES.keys()
        return TrainingTask(trainer, stop, self.free_steps, self.train_images, known), facts


@dataclass
class TrainingTask:
    """Trains the configurations of a batch and makes an `Evaluation` of each result, whatever happens.

    Attributes:
        trainer: Trains.
        stop: Tells it to stop.
        free_steps: See `TrainingSetup`; so for `train_images`.
        known: The genes that something else than the model reads; None for a model that need not be watched, because
            it is shipped, or has been.
    """

    trainer: Trainer
    stop: StopRequest
    free_steps: bool = False
    train_images: int | None = None
    known: frozenset[str] | None = None

    def evaluate(self, task: Task) -> Evaluation:
        """Do one task."""
        return next(self([task]))

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Evaluation]:
        """Do the tasks of a batch; an error of a training becomes the status and the reason of its evaluation.

        Raises:
            StorageError: Weights cannot be written, which is not a fault of the configuration.
        """
        import torch

        started, clock, left = time.time(), time.perf_counter(), list(tasks)
        status: Status = "failed"
        reason = traceback = ""
        try:
            for values in self._values(tasks):
                yield self._evaluation(left.pop(0), started, {"seconds": time.perf_counter() - clock, **values})
        except (StorageError, GeneratorExit):
            raise
        except BaseException as problem:  # a training that fails becomes a row with its reason
            if ends_the_search(problem):
                raise
            self.stop.end_if_obeyed_by(problem)
            if isinstance(problem, Infeasible) and len(left) == 1:
                yield self._evaluation(left[0], started, infeasible(problem) | {"seconds": time.perf_counter() - clock})
                return
            exhausted = any(sign in text_of(problem) for sign in OUT_OF_MEMORY)
            if exhausted or isinstance(problem, torch.OutOfMemoryError | MemoryError):
                status = "out_of_memory"
            reason, traceback = reason_of(problem), traceback_of(problem)
        if len(left) == 1:
            values = {"status": status, "error": reason, "traceback": traceback, "seconds": time.perf_counter() - clock}
            yield self._evaluation(left[0], started, values)
        else:  # each again by itself, to tell which one fails
            yield from map(self.evaluate, left)

    def _values(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        jobs = []
        for task in tasks:
            if task.measure == "train":
                files = (task.weights, task.checkpoint, task.state)
                weights, checkpoint, last_state = (Path(file) if file else None for file in files)
                images = self.train_images if task.phase == "search" else None
                asked = (weights, checkpoint, last_state, images, task.confusion)
                jobs.append(Job(task.config, task.seed, task.until, *asked))
        results = self.trainer.train_jobs(jobs, lambda: self.stop.requested)
        for task in tasks:
            yield self._test(task) if task.measure == "test" else self._trained(task, next(results))

    def _evaluation(self, task: Task, started: float, values: dict[str, Any]) -> Evaluation:
        if self.trainer.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()  # memory that this process caches is lost to all others
        values |= {"engine": self.trainer.engine, "precision": self.trainer.precision}
        return task.evaluation(started=started, worker="main", **values)

    def _trained(self, task: Task, result: TrainingResult) -> dict[str, Any]:
        reported = ("status", "error", "parameters", "curve", "seconds", "seconds_before")
        values = {name: getattr(result, name) for name in reported} | {"steps_trained": result.steps}
        if self.known is not None:
            values["unread"] = tuple(name for name in task.config if name not in self.known | self.trainer.looked_up)
            self.known = None
        if result.held_out is None or result.train is None:
            return values
        values |= self._fitness(result.held_out.named(self.trainer.fitness))
        values |= {"train_accuracy": result.train.accuracy, "confusion": result.held_out.confusion}
        if task.weights is not None and task.phase != "finalist" and result.status == "complete":
            values["error"] = values["error"] or self._recall_problem(task)
        return values | (self._best_checkpoint(result) if self.free_steps and task.phase == "search" else {})

    def _fitness(self, measured: Mapping[str, float]) -> dict[str, Any]:
        """Return the fitness, the accuracy and the loss of a point of a learning curve."""
        part = self.trainer.fitness
        fitness = fitness_from(measured, part, self.trainer.measured)
        return {"fitness": fitness, **{name: measured[name] for name in (f"{part}_accuracy", "loss")}}

    def _recall_problem(self, task: Task) -> str:
        """Return why the weights that someone has asked for are of no use; then their file is removed."""
        from evo.training.model_state import RecallError

        weights = Path(str(task.weights))
        try:
            self.trainer.restored(task.config, weights)
        except RecallError as problem:
            remove_file(weights)
            return cell_text(f"weights not saved: {problem}")
        return ""

    def _best_checkpoint(self, result: TrainingResult) -> dict[str, Any]:
        """Return the metrics of the best point of a learning curve, the first of equals: more steps did no good."""
        if result.status != "complete":
            return {}
        sign = -1 if self.trainer.measured == LOSS else 1
        best = max(result.curve, key=lambda point: sign * self._fitness(point.values)["fitness"])
        values = {**self._fitness(best.values), "steps_trained": best.step}
        if best.step == result.steps:
            return values
        return {**values, "train_accuracy": best.values.get("whole_train_accuracy")}

    def _test(self, task: Task) -> dict[str, Any]:
        from evo.training.model_state import RecallError
        from evo.training.tensor_file import DamagedFileError

        assert task.weights is not None
        weights = Path(task.weights)
        try:
            try:
                metrics = self.trainer.test(task.config, weights)
            except DamagedFileError:  # or lost: a training can always be done again
                self.trainer.train(task.config, task.seed, weights=weights)
                metrics = self.trainer.test(task.config, weights)
        except RecallError as problem:
            return {"status": "failed", "error": cell_text(f"not measured on the test set: {problem}")}
        measured = {"test_accuracy": metrics.accuracy, "loss": metrics.loss, "confusion": metrics.confusion}
        return {"status": "complete", **measured}


def load_builder(model: str) -> ModelBuilder:
    """Return the function that builds a model: of a shipped name, or of "package.module:function".

    Raises:
        ConfigurationError: There is no such model, module or function.
    """
    if model in MODELS:
        return builder_of(model)
    if ":" not in model:
        check_name("--model", model, tuple(MODELS), hint="; or package.module:function for a user-defined one")
    try:
        # Only where the user has named a module is the working directory searched for modules.
        sys.path.append(os.getcwd())
        builder: ModelBuilder = load(model)
    except BaseException as error:  # a user-defined module may raise anything while it is imported
        if ends_the_search(error):
            raise
        raise ConfigurationError(f'--model: cannot load "{model}": {reason_of(error)}') from None
    if not callable(builder):
        raise ConfigurationError(f'--model: "{model}" is not a function, but {type(builder).__name__}')
    return builder
