"""The rungs of the ladder as setups of evo's worker processes: what a worker builds, and how it trains one network."""

from __future__ import annotations

import math
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evo.data import PreparedDataset
from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluate, Setup, StopRequest, Task, one_by_one
from evo.evaluators.training_task import TrainingSetup, TrainingTask, load_builder
from evo.individual import STEPS
from evo.plain_text import reason_of
from evo.space.training_settings import TrainingSettings
from evo.training.jobs import Job

if TYPE_CHECKING:
    import optuna
    import torch
    from torch import nn

    from evo.training.trainer import Trainer

Precision = Literal["fp32", "bf16"]
Barrier = Any
"""A barrier of multiprocessing, on which workers wait for each other; None where there is only one."""
PATIENCE = 300.0
"""Seconds that a worker waits for the others to be ready."""
WARM_UP_STEPS = 3
STUDY = "throughput"
EvaluateOne = Callable[[Task], Evaluation]


@dataclass(frozen=True)
class Measured(Evaluation):
    """What one training did: its `fitness` is the mean loss over its steps, its `steps_trained` are counted.

    Attributes:
        images: Images that were trained on, repetitions counted.
        device_memory: Bytes in use on the whole GPU at the end of the training; 0 on a CPU.
        members: The trainings that one task did, where Optuna hands them out itself.
    """

    images: int = 0
    device_memory: int = 0
    members: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class RungSetup(Setup):
    """What every rung needs; it is sent to the worker.

    Attributes:
        dataset: The images.
        training: What the population's trainings share: preprocessing, weight decay.
        model: A shipped model's name.
        device: "cpu" or "cuda:N".
        precision: "fp32", or "bf16" for automatic mixed precision.
        warm_up: A training to do before the clock starts.
        barrier: See `Barrier`.
    """

    dataset: PreparedDataset
    training: TrainingSettings
    model: str
    device: str
    precision: Precision
    warm_up: Task
    barrier: Barrier = None

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        evaluate, facts = self.make(stop)
        evaluate(replace(self.warm_up, config=self.warm_up.config | {STEPS: WARM_UP_STEPS}))
        self.meet()
        return one_by_one(evaluate), facts

    @abstractmethod
    def make(self, stop: StopRequest) -> tuple[EvaluateOne, dict[str, Any]]:
        """Return what trains a task, and facts about it."""

    def meet(self) -> None:
        """Wait for all workers: none may start before the clock, or late."""
        if self.barrier is not None:
            self.barrier.wait(PATIENCE)


@dataclass(frozen=True)
class EvoSetup(RungSetup):
    """evo's own trainings, one thread each on a CPU.

    Attributes:
        engine: See `TrainingSetup`.
    """

    engine: Literal["auto", "eager", "onednn"] = "eager"

    def make(self, stop: StopRequest) -> tuple[EvaluateOne, dict[str, Any]]:
        setup = TrainingSetup(
            self.dataset, self.training, self.model, self.device, self.precision, self.engine, "validation", threads=1
        )
        function, facts = setup.build(stop)
        assert isinstance(function, TrainingTask)
        return Measure(_EvoTraining(function.trainer), facts["engine"], self.precision), facts


@dataclass(frozen=True)
class LoopSetup(RungSetup):
    """What users write themselves: standardised float32 images, torch's Adam, one network after another.

    Attributes:
        loader: Whether batches come from a DataLoader and the loss is read at every step, or rows are taken from the
            resident images.
        threads: Threads of the process; None leaves torch's default.
    """

    loader: bool = False
    threads: int | None = None

    def make(self, stop: StopRequest) -> tuple[EvaluateOne, dict[str, Any]]:
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        training = _LoopTraining(self, *standardised(self.dataset, self.training, self.resident_on))
        facts = {"device": self.device, "precision": self.precision, "threads": torch.get_num_threads()}
        return Measure(training, "torch", self.precision), facts

    @property
    def resident_on(self) -> str:
        """Where the images lie: a DataLoader reads them on the CPU."""
        return "cpu" if self.loader else self.device


@dataclass(frozen=True)
class OptunaSetup(LoopSetup):
    """An Optuna study over the members of a population, in as many processes as there are workers.

    Attributes:
        tasks: The trainings, in the order in which they are enqueued.
        folder: Of the study's journal; a new one for every study.
    """

    tasks: tuple[Task, ...] = ()
    folder: Path = Path()

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        evaluate, facts = self.make(stop)
        evaluate(replace(self.warm_up, config=self.warm_up.config | {STEPS: WARM_UP_STEPS}))
        storage = JournalStorage(JournalFileBackend(str(self.folder / "journal.log")))
        if _is_first(self.folder / "created"):
            created = optuna.create_study(study_name=STUDY, storage=storage)
            for place in range(len(self.tasks)):
                created.enqueue_trial({"member": place})
        self.meet()
        study = optuna.load_study(study_name=STUDY, storage=storage)
        return one_by_one(_Optimise(study, self.tasks, evaluate)), facts | {"optuna": optuna.__version__}


@dataclass
class _Optimise:
    """Runs the study in one process; a task that has a configuration is trained directly."""

    study: optuna.Study
    tasks: tuple[Task, ...]
    evaluate: EvaluateOne

    def __call__(self, task: Task) -> Evaluation:
        import optuna

        if task.config:
            return self.evaluate(task)
        done: list[Measured] = []

        def objective(trial: optuna.Trial) -> float:
            if trial.number >= len(self.tasks):  # all that were enqueued are taken
                trial.study.stop()
                raise optuna.TrialPruned
            measured = self.evaluate(self.tasks[trial.suggest_int("member", 0, len(self.tasks) - 1)])
            assert isinstance(measured, Measured)
            done.append(measured)
            return measured.fitness if measured.fitness is not None else math.nan

        try:
            self.study.optimize(objective)
        except Exception as problem:  # an error in a worker is a row with its reason, as in evo
            return Measured(task.individual, 0, 0, "failed", error=reason_of(problem))
        return Measured(task.individual, 0, 0, "complete", members=tuple(done))


@dataclass
class Measure:
    """Trains a task with a function and returns a `Measured`, also if it fails.

    Attributes:
        train: Trains; returns the sum of the steps' losses, the steps and the images.
        engine: For the result.
        precision: For the result.
    """

    train: Callable[[Task], tuple[float, int, int]]
    engine: str
    precision: Precision

    def __call__(self, task: Task) -> Evaluation:
        """Train with torch's generators seeded, and restore them afterwards."""
        import torch

        started, clock = time.time(), time.perf_counter()
        try:
            with torch.random.fork_rng():
                torch.manual_seed(task.seed)
                total, steps, images = self.train(task)
        except Exception as problem:  # an error in a worker is a row with its reason, as in evo
            return Measured(task.individual, 0, task.seed, "failed", error=reason_of(problem))
        return Measured(
            individual=task.individual,
            replicate=0,
            seed=task.seed,
            status="complete",
            fitness=total / steps,
            steps_trained=steps,
            seconds=time.perf_counter() - clock,
            started=started,
            engine=self.engine,
            precision=self.precision,
            images=images,
            device_memory=_device_memory(),
        )


@dataclass
class _EvoTraining:
    trainer: Trainer

    def __call__(self, task: Task) -> tuple[float, int, int]:
        from evo.training.engines.eager import step

        training = self.trainer.begin(Job(task.config, task.seed))
        while training.running:
            step(training)
        state = training.state
        return float(state.sums[0]), state.step, state.step * training.recipe.batch_size


@dataclass
class _LoopTraining:
    setup: LoopSetup
    images: torch.Tensor
    labels: torch.Tensor

    def __call__(self, task: Task) -> tuple[float, int, int]:
        import torch

        build, classes = load_builder(self.setup.model), len(self.setup.dataset.classes)
        model = build(task.config, self.setup.dataset.image_shape, classes).to(self.setup.device)
        optimiser = torch.optim.Adam(model.parameters(), lr=float(_setting(self.setup, task.config, "learning_rate")))
        batch_size = min(int(_setting(self.setup, task.config, "batch_size")), len(self.images))
        train = self._with_loader if self.setup.loader else self._resident
        return train(model, optimiser, batch_size, int(_setting(self.setup, task.config, STEPS)))

    def _with_loader(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, batch_size: int, steps: int
    ) -> tuple[float, int, int]:
        from torch.nn import functional
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(self.images, self.labels)
        loader = DataLoader(data, batch_size, shuffle=True, num_workers=0, drop_last=True)
        total, done, seen = 0.0, 0, 0
        while True:
            for images, labels in loader:
                optimiser.zero_grad()
                loss = functional.cross_entropy(model(images.to(self.setup.device)), labels.to(self.setup.device))
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimiser.step()
                total, done, seen = total + loss.item(), done + 1, seen + len(images)
                if done == steps:
                    return total, done, seen

    def _resident(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, batch_size: int, steps: int
    ) -> tuple[float, int, int]:
        import torch
        from torch.nn import functional

        kind, half = self.images.device.type, self.setup.precision == "bf16"
        total, done, seen = torch.zeros((), dtype=torch.float64, device=self.images.device), 0, 0
        for index in self._indices(batch_size):
            images, labels = self.images[index], self.labels[index]
            optimiser.zero_grad()
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=half):
                loss = functional.cross_entropy(model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            total += loss.detach()
            done, seen = done + 1, seen + len(images)
            if done == steps:
                break
        return float(total), done, seen

    def _indices(self, batch_size: int) -> Iterator[torch.Tensor]:
        import torch

        while True:
            order = torch.randperm(len(self.images), device=self.images.device)
            for start in range(0, len(order) - batch_size + 1, batch_size):
                yield order[start : start + batch_size]


def standardised(
    dataset: PreparedDataset, training: TrainingSettings, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training part as preprocessed float32 images and its labels, on a device."""
    import torch

    from evo.data.tensors import fit_preprocessing, load_part

    part = load_part(dataset, "train", torch.device("cpu"))
    preprocess = fit_preprocessing(training.preprocess, part)
    images = torch.empty((len(part), *part.images.shape[1:]), dtype=torch.float32, device=device)
    for rows in torch.split(torch.arange(len(part)), 1000):  # a second copy in float32 would count as the rung's memory
        images[rows[0] : rows[-1] + 1] = preprocess(part.images.index_select(0, part.indices[rows]))
    return images, part.labels.index_select(0, part.indices).to(device)


def _setting(setup: RungSetup, config: Mapping[str, Any], name: str) -> Any:
    return config.get(name, getattr(setup.training, name))


def _is_first(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _device_memory() -> int:
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free
