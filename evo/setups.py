"""What evaluates: the setup of a search or of a recorded run, and the evaluator for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from evo.data import prepare_dataset
from evo.errors import ConfigurationError
from evo.evaluators import Evaluator, InProcessEvaluator, ObjectiveSetup, ProcessPoolEvaluator, Setup, TrainingSetup
from evo.evaluators.dask.connection import Where, connect
from evo.evaluators.objective import Objective, name_of
from evo.loop import Observer, StopCheck
from evo.record.run import Run
from evo.record.settings import Settings
from evo.space import SearchSpace
from evo.training.hardware import check_names, visible_gpus


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
