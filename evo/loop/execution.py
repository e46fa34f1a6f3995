"""Where and how evaluations happen: the object that says so, and the setup and the evaluator made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evo.data import PreparedDataset, prepare_dataset
from evo.data.labels import unbalanced_note
from evo.errors import ConfigurationError, listed
from evo.evaluators import Evaluator, InProcessEvaluator, ObjectiveSetup, ProcessPoolEvaluator, Setup, TrainingSetup
from evo.evaluators.dask.connection import LOCAL, Where, connect, name_of_cluster
from evo.evaluators.signature import Objective, name_of, takes_trial
from evo.individual import EPOCHS
from evo.loop.deadline import StopCheck
from evo.loop.run_data import check_same_data, data_of_run
from evo.loop.search_loop import Observer
from evo.names import AUTO
from evo.numbers import positive_number, whole_number
from evo.places import with_home
from evo.processes import threads_asked_for, usable_cores
from evo.record.run import Run
from evo.record.settings import Settings
from evo.space import SearchSpace
from evo.space.problems import image_problems
from evo.training.hardware import check_names, visible_gpus

MOST_WORKERS = 4096
SPACES_FOR_TABLES = "the shipped spaces mlp_classic and digits search MLPs without any of this"


@dataclass(frozen=True)
class Execution:
    """Where and how evaluations happen, and where they are kept.

    None leaves the choice to evo. For a run that is resumed or replayed, it means "as the run has it".

    Attributes:
        dataset: One of `evo.names.DATASETS`, or "module:function" for one that returns data.
        data_dir: Where the dataset is; without `dataset`, what lies there decides.
        data: The data themselves, instead of both: see `evo.data.given`.
        model: A shipped model's name, or "package.module:function".
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", or one of `evo.names.PRECISIONS`.
        engine: "auto", or one of `evo.names.ENGINES`.
        workers: Evaluations at the same time; by default one per core (trainings on a CPU), or one.
        timeout: Seconds that an evaluation may take.
        time_budget: Seconds that everything may take.
        output: The run folder; by default results/<space>-<n>, or memory where an objective is evaluated.
        overwrite: Replace the run in `output`.
        dask: The cluster to evaluate on: a scheduler's address, a scheduler file, "local" or a `distributed.Client`;
            by default this machine. `workers` is then the most evaluations at a time, by default one per worker.
    """

    dataset: str | None = None
    data_dir: str | Path | None = None
    model: str | None = None
    device: str | None = None
    precision: str | None = None
    engine: str | None = None
    workers: int | None = None
    timeout: float | None = None
    time_budget: float | None = None
    output: str | Path | None = None
    overwrite: bool = False
    dask: Where | None = None
    data: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.overwrite, bool):
            raise ConfigurationError(f"overwrite: must be True or False, got {self.overwrite!r}")
        if self.data is not None and (given := [n for n in ("dataset", "data_dir") if getattr(self, n) is not None]):
            raise ConfigurationError(f"data and {given[0]}: both say what to train on; leave one of them out")
        if self.workers is not None:
            object.__setattr__(self, "workers", whole_number("--workers", self.workers, 1, MOST_WORKERS))
        for name in ("time_budget", "timeout"):
            if (seconds := getattr(self, name)) is not None:
                object.__setattr__(self, name, positive_number(f"--{name.replace('_', '-')}", seconds))

    def of_new_run(self) -> Execution:
        """Return it with the defaults of a new run."""
        return self._with_defaults(device=AUTO, precision=AUTO, engine=AUTO)

    def of_run(self, settings: Settings) -> Execution:
        """Return it with what a run has. On another device than before, the engine is chosen again."""
        same_device = self.device in (None, settings.device)
        return self._with_defaults(
            device=settings.device,
            precision=settings.precision,
            engine=settings.engine if same_device else AUTO,
            timeout=settings.timeout,
        )

    def _with_defaults(self, **defaults: str | float | None) -> Execution:
        missing = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return replace(self, **missing)  # type: ignore[arg-type]  # names and values of the fields above


def setup_of_search(
    space: SearchSpace,
    settings: Settings,
    execution: Execution,
    objective: Objective | None,
    observer: Observer,
    in_time: StopCheck = lambda: None,
) -> Setup:
    """Return the setup of a new run; for trainings, prepare the dataset and note it in the settings.

    Decoding many images takes minutes: meanwhile `in_time` is called every few seconds.

    Raises:
        ConfigurationError: A name is wrong, or model or dataset is missing.
    """
    if objective is not None:
        if execution.data is not None:
            raise ConfigurationError("data: evo gives the objective no data; let the function read its own")
        return _objective_setup(objective, settings, execution, observer)
    if settings.model is None:
        raise ConfigurationError(
            f'search space "{space.name}" names no model to train: set model in it, give --model, or an objective'
        )
    _checked_names(execution)  # before the data are read
    given = execution.dataset is not None or execution.data_dir is not None
    name = execution.dataset if given else space.dataset
    folder = with_home(Path(execution.data_dir)) if execution.data_dir is not None else None
    if name is None and folder is None and execution.data is None:
        raise ConfigurationError(f'search space "{space.name}" names no dataset: set it there, or give --dataset')
    observer.notify(f"reading the data{f' in {folder}' if folder else ''}")
    prepared = prepare_dataset(
        name,
        folder,
        image_size=space.training.image_size,
        notify=_notify(observer, in_time),
        data=execution.data,
        validation=space.data.validation,
    )
    if folder is not None and execution.dataset is None and space.dataset not in (None, prepared.name, "cifar10"):
        observer.warn(f"note: the space's dataset is {space.dataset}; trained on is {prepared.variant} in {folder}")
    _, height, width = prepared.image_shape
    if not space.older and (problems := image_problems(space.genes, space.training, height, width, settings.model)):
        what = "" if prepared.is_table else "the images of "
        problems += [SPACES_FOR_TABLES] if prepared.is_table else []
        raise ConfigurationError(listed(problems, f"search space {space.name} and {what}{prepared.variant}:"))
    if note := unbalanced_note(prepared.arrays("train")[1], prepared.classes):
        observer.notify(note)
    setup = _training_setup(space, settings, execution, prepared, folder)
    settings.dataset = prepared.to_dict() | {"data_dir": setup.data_dir}
    return setup


def _notify(observer: Observer, in_time: StopCheck) -> Callable[[str], None]:
    def notify(line: str) -> None:
        in_time()
        observer.notify(line)

    return notify


def setup_of_run(
    run: Run,
    execution: Execution,
    objective: Objective | None,
    observer: Observer,
    in_time: StopCheck = lambda: None,
) -> Setup:
    """Return the setup of a run that is resumed: the same objective or model, on the same data.

    See `setup_of_search` for `in_time`.

    Raises:
        ConfigurationError: They are not given again, or are not the same.
    """
    check_same_objective(run, objective, execution.model, observer)
    if run.space.older and EPOCHS in run.space.genes:
        raise ConfigurationError(
            f"run {run.shown_path}: began when the gene epochs had a part in the seed of an evaluation; now it says "
            "how long to train, which has none, so the results would differ: start a new search"
        )
    if objective is not None:
        return _objective_setup(objective, run.settings, execution, observer)
    check_same_data(run, execution.dataset, execution.data)
    recorded = run.settings.dataset or {}
    folder = execution.data_dir if execution.data_dir is not None else recorded.get("data_dir")
    folder = with_home(Path(folder)) if folder else None
    # Write nothing where a run folder says that data are: the folder may come from someone else.
    download, notify = execution.data_dir is not None, _notify(observer, in_time)
    prepared = data_of_run(run, execution.data, folder, notify, download=download)
    return _training_setup(run.space, run.settings, execution, prepared, folder)


def _objective_setup(
    objective: Objective, settings: Settings, execution: Execution, observer: Observer
) -> ObjectiveSetup:
    """Return the setup of an objective; in processes that evo starts, each has the threads that the run has recorded.

    A new run has as many as the environment says, or one: with more, workers wait for each other. In this process, and
    on a cluster that others have started, threads are not evo's to count.
    """
    here = execution.dask is None and is_in_process(execution.workers or 1, execution.timeout)
    if here and settings.threads is not None:
        observer.warn(
            f"note: until now each evaluation had {settings.threads} thread(s) in a process of its own; "
            "in this process the objective has as many as the environment says"
        )
    ours = not here and (execution.dask is None or str(execution.dask) == LOCAL)
    threads = settings.threads or (threads_asked_for() if ours else None)
    return ObjectiveSetup(objective, threads, settings.max_steps, settings.objectives)


def is_in_process(workers: int, timeout: float | None) -> bool:
    """Return whether an objective is evaluated in this process: only another can be ended in the middle of one."""
    return workers == 1 and timeout is None


def _training_setup(
    space: SearchSpace, settings: Settings, execution: Execution, prepared: PreparedDataset, folder: Path | None
) -> TrainingSetup:
    names: dict[str, Any] = _checked_names(execution) | {"fitness": settings.fitness, "measure": settings.measure}
    return TrainingSetup(
        prepared,
        space.training,
        settings.model or "",
        **names,
        threads=settings.threads or 1,
        free_steps=settings.free_steps,
        train_images=settings.train_images,
        switches=frozenset(parent for gene in space.genes.values() for parent in gene.when or {}),
        data_dir=str(folder.resolve()) if folder else None,
    )


def _checked_names(execution: Execution) -> dict[str, str]:
    names = {name: getattr(execution, name) or AUTO for name in ("device", "precision", "engine")}
    check_names(**names)
    return names


def check_same_objective(run: Run, objective: Objective | None, model: str | None, observer: Observer) -> None:
    """Check that what a run is continued with is what it began with.

    Raises:
        ConfigurationError: An objective or a model is missing, or is another one.
    """
    settings = run.settings
    if (
        objective is not None
        and settings.objective is not None
        and takes_trial(objective) != (settings.max_steps is not None)
    ):
        before, now = ("takes a", "takes none") if settings.max_steps is not None else ("takes no", "takes one")
        raise ConfigurationError(
            f"run {run.shown_path}: its objective {before} trial, and the one given now {now}; give the same function"
        )
    if settings.objective is not None and objective is None:
        raise ConfigurationError(
            f'run {run.shown_path}: was made with the objective "{settings.objective}", which is not kept in the '
            f"folder; give it to evo.resume or evo.finish in Python, as in: {run.command('resume')}"
        )
    if objective is not None and settings.objective not in (None, name_of(objective)):
        observer.warn(
            f"note: the run began with the objective {settings.objective}, it continues with {name_of(objective)}"
        )
    if settings.objective is None and objective is not None:
        raise ConfigurationError(f"run {run.shown_path}: trains networks and takes no objective")
    if settings.model is not None and ":" in settings.model and model != settings.model:
        given = f'got "{model}"' if model else f"it is not kept in the folder, give it again: --model {settings.model}"
        raise ConfigurationError(f"run {run.shown_path}: was made with --model {settings.model}; {given}")
    if model is not None and model != settings.model:
        raise ConfigurationError(
            f'run {run.shown_path}: was made with --model {settings.model}, got "{model}"; leave it out'
        )


def evaluator_of(
    setup: Setup, settings: Settings, execution: Execution, observer: Observer, stop_check: StopCheck
) -> Evaluator:
    """Return the evaluator of a run; note in the settings where it is and how much it does at a time."""
    settings.dask = name_of_cluster(execution.dask) if execution.dask is not None else None
    if execution.dask is not None:
        import evo.record.tables  # noqa: F401  # pandas takes a second, for which a whole cluster would wait later

        return make_cluster_evaluator(setup, execution, observer, stop_check)
    device = execution.device or AUTO
    settings.workers = execution.workers or default_workers(setup, device)
    # A GPU that is there may be one that torch cannot use: only the first worker tells.
    is_open = execution.workers is None and device == AUTO and isinstance(setup, TrainingSetup)
    on_cpu = usable_cores() if is_open else 1
    return make_evaluator(setup, settings.workers, execution.timeout, on_cpu=on_cpu, stop_check=stop_check)


def make_evaluator(
    setup: Setup,
    workers: int,
    timeout: float | None = None,
    on_cpu: int = 1,
    stop_check: StopCheck = lambda: None,
) -> Evaluator:
    """Return an evaluator on this machine: this process for an objective of one worker, otherwise worker processes."""
    if isinstance(setup, ObjectiveSetup) and is_in_process(workers, timeout):
        return InProcessEvaluator(setup, stop_check)
    return ProcessPoolEvaluator(setup, workers, timeout, on_cpu)


def make_cluster_evaluator(setup: Setup, execution: Execution, observer: Observer, stop_check: StopCheck) -> Evaluator:
    """Return an evaluator on a Dask cluster; on a local one, `workers` is the number of its processes.

    Without that number, a local one has one process per GPU, or as many as `default_workers` says.
    """
    from evo.evaluators.dask.cluster import DaskEvaluator

    where, device = execution.dask, execution.device or AUTO
    assert where is not None
    # "cuda:1" is one GPU, and it has that number only where all GPUs are visible.
    gpus = visible_gpus() if isinstance(setup, TrainingSetup) and device in (AUTO, "cuda") else []
    count = execution.workers or len(gpus) or default_workers(setup, device)
    return DaskEvaluator(
        setup,
        lambda: connect(where, count, observer.warn, gpus, setup.threads),
        most=execution.workers,
        timeout=execution.timeout,
        notify=observer.notify,
        warn=observer.warn,
        stop_check=stop_check,
    )


def default_workers(setup: Setup, device: str) -> int:
    """Return how many workers there are by default: one per core for trainings on a CPU, otherwise one."""
    if isinstance(setup, ObjectiveSetup) or device.startswith("cuda") or (device == AUTO and visible_gpus()):
        return 1
    return usable_cores()
