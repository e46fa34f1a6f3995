"""The rungs of the ladder as setups of evo's worker processes: what a worker builds, and how it trains one network."""

from __future__ import annotations

import math
import os
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evo.data import PreparedDataset
from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluate, Setup, StopRequest, Task, one_by_one
from evo.evaluators.training_task import TrainingSetup, TrainingTask
from evo.individual import STEPS
from evo.plain_text import reason_of
from evo.space.training_settings import TrainingSettings
from evo.training.jobs import Job

if TYPE_CHECKING:
    import optuna

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
        training: What the population's trainings share: preprocessing, optimiser, augmentation.
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
    """What users write themselves: standardised float32 images, torch's optimisers, one network after another.

    Attributes:
        loader: Whether batches come from a DataLoader and the loss is read at every step, or rows are taken from the
            resident images.
        loader_workers: Processes of the DataLoader; 0 loads in the training's own.
        threads: Threads of the process; None leaves torch's default.
    """

    loader: bool = False
    loader_workers: int = 0
    threads: int | None = None

    def make(self, stop: StopRequest) -> tuple[EvaluateOne, dict[str, Any]]:
        import torch

        from benchmarks.throughput.usual_loop import LoopTraining, standardised

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        training = LoopTraining(self, *standardised(self.dataset, self.training, self.resident_on))
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
