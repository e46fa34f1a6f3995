"""How a command carries its work out: a setup, workers, a run folder, and an end in order."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from evo.data import prepare_dataset
from evo.errors import ClusterLost, ConfigurationError, StorageError
from evo.evaluators import Evaluator, InProcessEvaluator, ObjectiveSetup, ProcessPoolEvaluator, Setup, TrainingSetup
from evo.evaluators.dask.connection import Where, connect, name_of_cluster
from evo.evaluators.objective import Objective, name_of
from evo.loop.search_loop import Observer, Stop, StopCheck
from evo.record.folder import check_output, free_output
from evo.record.run import Run
from evo.record.settings import Settings, current_versions
from evo.space import SearchSpace
from evo.training.hardware import check_names, visible_gpus

RESUMABLE_EXIT = 75
SUSPEND_SECONDS = 6.0
"""Time for trainings in flight to save their state: a scheduler's patience is about 30 s, a person's about 10, and the
tables of thousands of evaluations want to be written, too."""

Work: TypeAlias = Callable[[Run, Evaluator, Observer, StopCheck], None]
"""What is done with a run that is open and an evaluator that is started."""


@dataclass(frozen=True)
class Execution:
    """Where and how evaluations happen, and where they are kept.

    Attributes:
        dataset: "cifar10", "digits" or "imagefolder"; None for the space's own.
        data_dir: Where the dataset is; without `dataset`, what lies there decides.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32" or "bf16".
        engine: "auto", "eager" or "onednn".
        workers: Evaluations at the same time; None for one a core (trainings on a CPU), or one.
        timeout: Seconds that an evaluation may take.
        time_budget: Seconds that everything may take.
        output: The run folder; None for results/<space>-<n>, or for memory where an objective is evaluated.
        overwrite: Replace the run in `output`.
        dask: The cluster to evaluate on: a scheduler's address, a scheduler file, "local" or a `distributed.Client`;
            None for this machine. `workers` is then the most evaluations at a time; None for one a worker.
    """

    dataset: str | None = None
    data_dir: str | Path | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    engine: Literal["auto", "eager", "onednn"] = "auto"
    workers: int | None = None
    timeout: float | None = None
    time_budget: float | None = None
    output: str | Path | None = None
    overwrite: bool = False
    dask: Where | None = None

    def __post_init__(self) -> None:
        check_above_zero(workers=self.workers, time_budget=self.time_budget, timeout=self.timeout)


def begin(
    space: SearchSpace,
    settings: Settings,
    execution: Execution,
    work: Work,
    *,
    objective: Objective | None = None,
    observer: Observer,
    stop_check: StopCheck,
) -> Run:
    """Start a run and do its work.

    Raises:
        ConfigurationError: Something that was asked for is wrong, or no scheduler answers; nothing was written.
        Stop: The stop check or the time budget ended it.
    """
    started = time.monotonic()
    path = _output_folder(execution.output, space.name, in_memory=objective is not None)
    if path is not None:
        check_output(path, overwrite=execution.overwrite)
    setup = _setup(space, settings, execution, objective, observer)
    settings.timeout = execution.timeout
    stop_check = _timed(stop_check, execution.time_budget, started)
    with _evaluator(
        setup, settings, execution.dask, execution.workers, execution.device, observer, stop_check
    ) as evaluator:
        try:
            _note_facts(settings, evaluator)
        except ClusterLost as error:  # there is no run yet that could go on
            raise ConfigurationError(str(error)) from error
        if settings.pending is not None and settings.workers > settings.pending and not settings.asynchronous:
            observer.notify(
                f"note: of {settings.workers} workers {settings.pending} are busy at a time; "
                f"--pending {settings.workers} gives all of them work, and decides what is proposed"
            )
        if execution.output is None and path is not None and path.exists():
            path = free_output(path.parent, space.name)  # another search has taken the name meanwhile
        run = Run.create(settings, path, overwrite=execution.overwrite)
        return _carry_out(run, evaluator, work, observer, stop_check)


def _evaluator(
    setup: Setup,
    settings: Settings,
    dask: Where | None,
    workers: int | None,
    device: str,
    observer: Observer,
    stop_check: StopCheck,
) -> Evaluator:
    """Return what evaluates, and note in the settings where and how much at a time."""
    settings.dask = name_of_cluster(dask) if dask is not None else None
    if dask is not None:
        import evo.record.tables  # noqa: F401  # pandas takes a second, for which a whole cluster would wait later

        return make_cluster_evaluator(setup, dask, workers, settings.timeout, device, observer, stop_check)
    settings.workers = workers or default_workers(setup, device)
    return make_evaluator(setup, settings.workers, settings.timeout)


def _setup(
    space: SearchSpace, settings: Settings, execution: Execution, objective: Objective | None, observer: Observer
) -> Setup:
    return setup_of_search(
        space,
        settings,
        objective,
        execution.dataset,
        execution.data_dir,
        execution.device,
        execution.precision,
        execution.engine,
        observer,
    )


def go_on(
    run: Run,
    settings: Settings,
    work: Work,
    *,
    objective: Objective | None = None,
    model: str | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    engine: Literal["auto", "eager", "onednn"] | None = None,
    workers: int | None = None,
    time_budget: float | None = None,
    dask: Where | None = None,
    observer: Observer,
    stop_check: StopCheck,
) -> Run:
    """Go on with a run's work where it stopped.

    Args:
        run: Open for writing.
        settings: What it is to do from now on.
        work: See `Work`.
        objective: See `setup_of_run`; so for the next four.
        model: The run's own model again.
        data_dir: Where the data are, if they have moved.
        device: If not the run's.
        engine: If not the run's.
        workers: Evaluations at the same time.
        time_budget: Seconds for this call.
        dask: See `Execution`.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end it.

    Raises:
        ConfigurationError: The objective, model or data do not fit the run.
        Stop: The stop check or the time budget ended it, or no scheduler answers.
    """
    started = time.monotonic()
    setup = setup_of_run(
        run, observer=observer, objective=objective, model=model, data_dir=data_dir, device=device, engine=engine
    )
    stop_check = _timed(stop_check, time_budget, started)
    with _evaluator(setup, settings, dask, workers, device or settings.device, observer, stop_check) as evaluator:
        try:
            _note_facts(settings, evaluator)
        except ClusterLost as error:
            raise Stop(str(error), RESUMABLE_EXIT) from error
        if settings != run.settings or settings.versions != current_versions():
            run.record_resume(settings)
        return _carry_out(run, evaluator, work, observer, stop_check)


def check_above_zero(**numbers: float | None) -> None:
    """Check options that must be above zero where they are given.

    Raises:
        ConfigurationError: One is not.
    """
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise ConfigurationError(f"--{name.replace('_', '-')}: must be above 0, got {value}")


def checked_seed(seed: int) -> int:
    """Return the seed of a run.

    Raises:
        ConfigurationError: It is not a whole number of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigurationError(f"--seed: must be a whole number of at least 0, got {seed!r}")
    return seed


def _carry_out(run: Run, evaluator: Evaluator, work: Work, observer: Observer, stop_check: StopCheck) -> Run:
    with contextlib.closing(run):
        try:
            work(run, evaluator, observer, stop_check)
        except StorageError:
            raise  # the tables would find no room either; the next command writes them
        except ClusterLost as error:
            for evaluation in evaluator.suspend(0.0):
                run.record_late(evaluation)
            run.write_tables()
            raise Stop(str(error), RESUMABLE_EXIT) from error
        except BaseException as error:
            if isinstance(error, Stop):
                if run.settings.objective is None:
                    observer.notify("stopping: trainings in flight save their state")
                for evaluation in evaluator.suspend(SUSPEND_SECONDS):
                    run.record_late(evaluation)
            run.write_tables()
            raise
        run.forget_checkpoints()
        run.write_tables()
    return run


def _timed(stop_check: StopCheck, time_budget: float | None, started: float) -> StopCheck:
    """Return a stop check that also ends the work when its time is over."""

    def check() -> None:
        stop_check()
        if time_budget is not None and time.monotonic() - started > time_budget:
            raise Stop(f"the time budget of {time_budget:g} s is used up", RESUMABLE_EXIT)

    return check


def _note_facts(settings: Settings, evaluator: Evaluator) -> None:
    """Start what evaluates, and note in the settings where and how evaluations happen."""
    facts = evaluator.start()
    if settings.dask is not None:
        settings.workers = evaluator.workers
    settings.device, settings.device_name = facts["device"], facts.get("device_name", "")
    settings.precision, settings.engine, settings.threads = facts["precision"], facts["engine"], facts["threads"]


def _output_folder(output: str | Path | None, name: str, *, in_memory: bool) -> Path | None:
    if output is not None:
        return Path(output)
    return None if in_memory else free_output(Path("results"), name)


def setup_of_search(
    space: SearchSpace,
    settings: Settings,
    objective: Objective | None,
    dataset: str | None,
    data_dir: str | Path | None,
    device: str,
    precision: Literal["auto", "fp32", "bf16"],
    engine: Literal["auto", "eager", "onednn"],
    observer: Observer,
) -> Setup:
    """Return what evaluates; for trainings, prepare the dataset and note it in the settings."""
    if objective is not None:
        return ObjectiveSetup(objective)
    if settings.model is None:
        raise ConfigurationError(
            f'search space "{space.name}" names no model to train: set model in it, give --model, or an objective'
        )
    check_names(device, precision, engine)
    name = dataset if dataset is not None or data_dir is not None else space.dataset
    if name is None and data_dir is None:
        raise ConfigurationError(f'search space "{space.name}" names no dataset: set it there, or give --dataset')
    folder = Path(data_dir).expanduser() if data_dir is not None else None
    observer.notify(f"reading the data{f' in {folder}' if folder else ''}")
    prepared = prepare_dataset(name, folder, image_size=space.training.image_size, notify=observer.notify)
    if folder is not None and dataset is None and space.dataset not in (None, prepared.name, "cifar10"):
        observer.warn(f"note: the space's dataset is {space.dataset}; trained on is {prepared.variant} in {folder}")
    settings.dataset = prepared.to_dict() | {"data_dir": str(folder.resolve()) if folder else None}
    return TrainingSetup(
        prepared,
        space.training,
        settings.model,
        device,
        precision,
        engine,
        settings.fitness,
        free_steps=settings.free_steps,
        data_dir=settings.dataset["data_dir"],
    )


def setup_of_run(
    run: Run,
    *,
    observer: Observer,
    objective: Objective | None = None,
    model: str | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
) -> Setup:
    """Return what evaluates in a run that goes on: the same objective or model, data, device, precision and engine.

    On another device than before, the engine is the one that it takes by itself.

    Raises:
        ConfigurationError: They are not given again, or are not the same.
    """
    _check_same_objective(run, objective, model, observer)
    if objective is not None:
        return ObjectiveSetup(objective)
    settings = run.settings
    recorded = settings.dataset or {}
    folder = data_dir if data_dir is not None else recorded.get("data_dir")
    prepared = prepare_dataset(
        recorded.get("name"),
        Path(folder).expanduser() if folder else None,
        image_size=run.space.training.image_size,
        # Where a run folder says that data are, nothing is written: it may be a stranger's.
        download=data_dir is not None,
        notify=observer.notify,
    )
    if prepared.checksum != recorded.get("checksum"):
        raise ConfigurationError(
            f"the data at {prepared.source} are not those that the run began with ({recorded.get('source')}): "
            "their checksums differ. Give the folder of the original data by --data-dir."
        )
    where: Any = device or settings.device
    how: Any = engine or ("auto" if device not in (None, settings.device) else settings.engine)
    digits: Any = precision or settings.precision
    check_names(where, digits, how)
    return TrainingSetup(
        prepared,
        run.space.training,
        settings.model or "",
        where,
        digits,
        how,
        settings.fitness,
        settings.threads or 1,
        settings.free_steps,
        str(Path(folder).expanduser().resolve()) if folder else None,
    )


def make_evaluator(setup: Setup, workers: int, timeout: float | None = None) -> Evaluator:
    """Return what carries a setup out: this process for an objective of one worker, worker processes otherwise.

    Only a process can be ended in the middle of an evaluation, so a timeout wants one, too.
    """
    if isinstance(setup, ObjectiveSetup) and workers == 1 and timeout is None:
        return InProcessEvaluator(setup)
    return ProcessPoolEvaluator(setup, workers, timeout)


def make_cluster_evaluator(
    setup: Setup,
    dask: Where,
    workers: int | None,
    timeout: float | None,
    device: str,
    observer: Observer,
    stop_check: StopCheck,
) -> Evaluator:
    """Return what carries a setup out on a Dask cluster; of a local one, `workers` is the number of its processes.

    Without that number, a local one has one process a GPU, or as many as `default_workers` says.
    """
    from evo.evaluators.dask.cluster import DaskEvaluator

    # "cuda:1" is one GPU, and with that number it is seen only where all are.
    gpus = visible_gpus() if isinstance(setup, TrainingSetup) and device in ("auto", "cuda") else []
    count = workers or len(gpus) or default_workers(setup, device)
    return DaskEvaluator(
        setup,
        lambda: connect(dask, count, observer.warn, gpus),
        most=workers,
        timeout=timeout,
        notify=observer.notify,
        warn=observer.warn,
        stop_check=stop_check,
    )


def default_workers(setup: Setup, device: str) -> int:
    """Return how many workers there are by default: one a core for trainings on a CPU, otherwise one."""
    if isinstance(setup, ObjectiveSetup) or device.startswith("cuda"):
        return 1
    if device == "auto" and visible_gpus():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_same_objective(run: Run, objective: Objective | None, model: str | None, observer: Observer) -> None:
    settings = run.settings
    if settings.objective is not None and objective is None:
        raise ConfigurationError(
            f'run {run.path}: was made with the objective "{settings.objective}", which is not kept in the folder; '
            f"resume it from Python: evo.resume({str(run.path)!r}, objective=…)"
        )
    if objective is not None and settings.objective not in (None, name_of(objective)):
        observer.warn(
            f"note: the run began with the objective {settings.objective}, it goes on with {name_of(objective)}"
        )
    if settings.objective is None and objective is not None:
        raise ConfigurationError(f"run {run.path}: trains networks and takes no objective")
    if settings.model is not None and ":" in settings.model and model != settings.model:
        given = f'got "{model}"' if model else f"it is not kept in the folder, give it again: --model {settings.model}"
        raise ConfigurationError(f"run {run.path}: was made with --model {settings.model}; {given}")
    if model is not None and model != settings.model:
        raise ConfigurationError(f'run {run.path}: was made with --model {settings.model}, got "{model}"; leave it out')
