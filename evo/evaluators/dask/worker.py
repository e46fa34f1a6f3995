"""What runs on a Dask worker: it is checked and made ready once for a search, and then evaluates batches of tasks."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import platform
import socket
import tempfile
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import evo
from evo.data import PreparedDataset, prepare_dataset
from evo.data.cache import checksum_of
from evo.errors import ConfigurationError, Interrupted
from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluate, Setup, StopRequest, Task
from evo.evaluators.objective import ObjectiveSetup
from evo.evaluators.sending import received
from evo.evaluators.training_task import TrainingSetup
from evo.names import GIVEN, is_reference
from evo.training.hardware import resolve_device, resolve_precision

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distributed import Worker

KEPT = 4
"""How many searches a worker stays ready for; the one used least recently is dropped."""
DECIDED = ("device", "precision", "engine")
"""Facts of a setup that all workers of a search must share."""
THREADS = (
    "has {} threads, of which one would train; start workers with one thread each, one per core "
    "(dask worker --nthreads 1 --nworkers <cores>; threads_per_worker=1 in Python)"
)
COMPARED = ("torch", "numpy")
"""Packages that must have the same version everywhere, or the last digits of results differ."""


@dataclass(frozen=True)
class Invitation:
    """What a worker is told about a search before its first task.

    Attributes:
        search: The search's unique name.
        setup: The setup, pickled: the scheduler passes it on unread.
        versions: What the worker must have, see `versions_here`.
        decided: What the facts `DECIDED` must be; empty before the first workers have answered.
        marker: A file in the run folder that holds the search's name; None if the run has no folder.
    """

    search: str
    setup: bytes
    versions: dict[str, str]
    decided: dict[str, str]
    marker: Path | None = None


@dataclass(frozen=True)
class Answer:
    """A worker's answer to an invitation.

    Attributes:
        host: The name of its machine.
        name: Its own name.
        memory_of: Whose memory its tasks use: workers with the same value share it.
        sees_folder: Whether it sees the run folder and can write to it.
        resources: Those that it was started with.
        facts: See `Setup.build`; empty if it cannot take part.
        problem: Why it cannot take part.
    """

    host: str
    name: str = ""
    memory_of: str = ""
    sees_folder: bool = False
    resources: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


UNANSWERED = Answer("", problem="has not answered")


Done: TypeAlias = "list[tuple[Evaluation, bytes | None]]"
"""The evaluations of a batch that are ready, with the content of the file of trained weights if the worker does not see
the run folder."""


@dataclass
class _Ready:
    """A search that a worker is ready for.

    Attributes:
        stop: Tells its tasks to stop.
        evaluate: Evaluates a batch.
        call: Calls a function in the thread where its tasks must run.
        answer: The worker's answer to the invitation.
    """

    stop: StopRequest
    evaluate: Evaluate
    call: Callable[[Callable[[], Any]], Any]
    answer: Answer


_ready: defaultdict[str, OrderedDict[str, _Ready]] = defaultdict(OrderedDict)
"""By the worker's address, since workers of one process share this module, and by search."""
_lock = threading.Lock()


def accept(invitation: Invitation) -> Answer:
    """Check that this worker can take part in a search, and make it ready.

    Raises:
        Exception: Anything went wrong that may succeed the next time.
    """
    from distributed import get_worker

    worker = get_worker()
    host = socket.gethostname()
    answer = Answer(host, _name_of(worker, host), host, resources=dict(worker.state.total_resources))
    if different := _differences(invitation.versions):
        return replace(answer, problem=f"{different}; install the search's versions there, and start the worker again")
    if (threads := worker.state.nthreads) > 1:
        return replace(answer, problem=THREADS.format(threads))
    searches = _ready[worker.address]
    try:
        known = searches.get(invitation.search)
        if known is None or any(str(known.answer.facts.get(n)) != v for n, v in invitation.decided.items()):
            known = _make_ready(received(invitation.setup), answer)
    except ConfigurationError as error:
        return replace(answer, problem=str(error))
    known.answer = replace(known.answer, sees_folder=_sees(invitation))
    known.stop.asked = False  # what it was asked to stop is over: it answers between two batches
    with _lock:
        searches[invitation.search] = known
        searches.move_to_end(invitation.search)
        if len(searches) > KEPT:
            searches.popitem(last=False)
    return known.answer


def evaluate(search: str, tasks: Sequence[Task], weights: Sequence[bytes | None] | None) -> Done | None:
    """Evaluate a batch for a search that this worker is ready for.

    The search is told when the batch begins, and about every evaluation that is ready before the last one.

    Args:
        search: The search's name.
        tasks: The batch.
        weights: Those of each task, if there are any, for a worker that does not see the run folder: trained weights
            then travel with tasks and replies. Otherwise None.

    Returns:
        The evaluations; not those of all tasks if the worker was asked to stop. None if it has not been made ready for
        the search, or no longer is.
    """
    from distributed import get_worker

    worker = get_worker()
    with _lock:
        searches = _ready[worker.address]
        if (ready := searches.get(search)) is not None:
            searches.move_to_end(search)
    if ready is None:
        return None
    key, states = worker.get_current_task(), worker.state.tasks
    done: Done = []

    def is_abandoned() -> bool:
        state = states.get(key)
        return state is None or state.state not in ("executing", "long-running")

    def tell(content: bytes) -> None:
        worker.log_event(topic_of(search), (key, content))

    def work() -> None:
        ready.stop.is_abandoned = is_abandoned
        ready.stop.send = lambda report: tell(pickle.dumps(report))
        tell(b"")
        for evaluation in ready.evaluate(mine):
            trained = _trained_weights(mine, evaluation) if weights is not None else None
            done.append((evaluation, trained))
            if trained is None and len(done) < len(tasks):
                tell(pickle.dumps(evaluation))

    with ExitStack() as folders:
        mine = tasks
        if weights is not None:
            mine = [folders.enter_context(_own_weights(*each)) for each in zip(tasks, weights, strict=True)]
        with suppress(Interrupted):
            ready.call(work)
    return done


def topic_of(search: str) -> str:
    """Return the topic of Dask's events under which workers talk to a search."""
    return f"evo-{search}"


def stop(search: str, dask_worker: Worker) -> None:
    """Let the running tasks of a search on this worker save their state and end."""
    if (ready := _ready[dask_worker.address].get(search)) is not None:
        ready.stop.asked = True


def forget(search: str, dask_worker: Worker) -> None:
    """Drop everything that this worker keeps for a search."""
    with _lock:
        _ready[dask_worker.address].pop(search, None)


@functools.cache
def versions_here() -> dict[str, str]:
    """Return what must be the same wherever a search evaluates: evo's version and source, Python, packages."""
    return {
        "evo": evo.__version__,
        "evo's source": _source_checksum()[:12],
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{package: metadata.version(package) for package in COMPARED},
    }


def _name_of(worker: Worker, host: str) -> str:
    """Return what tables call a worker: its name, which may be a number or its address."""
    name = str(worker.name)
    if name == worker.address:
        return f"{host}:{name.rpartition(':')[2]}"
    return f"worker-{name}" if name.isdigit() else name


def _source_checksum() -> str:
    """Return the SHA-256 of evo's modules: between two releases the version does not tell them apart."""
    import evo.models

    package, models = Path(evo.__file__).parent, Path(evo.models.__file__).parent
    files = {f"models/{path.name}": path for path in models.glob("*.py")}
    files |= {str(path.relative_to(package)): path for path in package.rglob("*.py")}
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name].read_bytes() + b"\0")
    return digest.hexdigest()


def _differences(wanted: dict[str, str]) -> str:
    here = versions_here()
    return ", ".join(
        f"{name} is {here.get(name, 'not there')}, the search has {version}"
        for name, version in wanted.items()
        if here.get(name) != version
    )


def _make_ready(setup: Setup, answer: Answer) -> _Ready:
    if isinstance(setup, TrainingSetup):
        setup = replace(setup, dataset=_data_here(setup))
        _check_precision(setup)
    call = (lambda work: work()) if isinstance(setup, ObjectiveSetup) else _call_in_training_thread
    stop = StopRequest()
    function, facts = call(lambda: setup.build(stop))
    return _Ready(stop, function, call, replace(answer, facts=facts, memory_of=_memory_of(answer.host, facts)))


def _call_in_training_thread(work: Callable[[], Any]) -> Any:
    """Call a function in the one thread of this process in which all trainings are built and run, one after another.

    Torch's generators belong to the process and its treatment of denormals to the thread.
    """
    return _training_thread().submit(work).result()


@functools.cache
def _training_thread() -> Executor:
    from distributed.threadpoolexecutor import ThreadPoolExecutor

    executor: Executor = ThreadPoolExecutor(1, thread_name_prefix="evo-training")  # a daemon: it delays no exit
    return executor


def _data_here(setup: TrainingSetup) -> PreparedDataset:
    """Return a setup's dataset on this machine; nothing is downloaded.

    It may be where the search has its decoded copy, in this worker's $EVO_DATA_DIR, or in the folder that the search
    was given.

    Raises:
        ConfigurationError: It is not there, or other images are.
    """
    wanted = setup.dataset
    if checksum_of(wanted.directory) == wanted.checksum:
        return wanted
    if wanted.name == GIVEN or is_reference(wanted.name):
        raise ConfigurationError(
            f"the data are not there: they were given to the search ({wanted.source}), which keeps them in its cache, "
            f"{wanted.directory}; set EVO_CACHE_DIR to a folder that all machines share, for the search, too, or give "
            "the data as an .npz file that this machine has: --data-dir FILE.npz"
        )
    own = os.environ.get("EVO_DATA_DIR")
    folder = next((Path(path) for path in (setup.data_dir,) if path and Path(path).is_file()), None)
    folder = folder or next((Path(path) for path in (own, setup.data_dir) if path and Path(path).is_dir()), None)
    remedy = "copy the search's data there, or start the worker with EVO_DATA_DIR=<their folder>"
    try:
        if folder is None and setup.data_dir is not None:
            kind = "file" if wanted.name == "npz" else "folder"
            raise ConfigurationError(f"has no {kind} {setup.data_dir}")
        given = wanted.validation_count > 0 and wanted.validation_share is None
        size = setup.training.image_size
        found = prepare_dataset(wanted.name, folder, image_size=size, download=False, with_validation=given)
    except ConfigurationError as error:
        raise ConfigurationError(f"the data are not there ({error}); {remedy}") from None
    if found.checksum != wanted.checksum:
        raise ConfigurationError(
            f"other data are at {found.source} (checksum {found.checksum[:12]}) "
            f"than at {wanted.source} (checksum {wanted.checksum[:12]}), which the search has; {remedy}"
        )
    return replace(wanted, directory=found.directory, source=found.source)


def _check_precision(setup: TrainingSetup) -> None:
    """Refuse to emulate bfloat16: the results would differ from those of machines that have it."""
    if setup.precision == "bf16" and resolve_precision("auto", resolve_device(setup.device)) != "bf16":
        raise ConfigurationError(
            "the search computes in bfloat16, which this hardware does not; "
            "leave the worker out, or search with --precision fp32"
        )


def _memory_of(host: str, facts: dict[str, Any]) -> str:
    device = str(facts.get("device", "cpu"))
    if not device.startswith("cuda"):
        return host
    import torch

    # The number of a GPU is not enough: with CUDA_VISIBLE_DEVICES, every worker's GPU is its first.
    return f"{host}, GPU {getattr(torch.cuda.get_device_properties(device), 'uuid', device)}"


def _sees(invitation: Invitation) -> bool:
    """Return whether the run folder has the same path here and can be written to; only trying tells for sure."""
    marker = invitation.marker
    if marker is None:
        return False
    try:
        if marker.read_text(encoding="utf-8") != invitation.search:
            return False
        with tempfile.NamedTemporaryFile(dir=marker.parent, prefix=f"{marker.name}."):
            return True
    except (OSError, ValueError):
        return False


def _trained_weights(tasks: Sequence[Task], evaluation: Evaluation) -> bytes | None:
    """Return the content of the file of weights that a training of a batch has written."""
    for task in tasks:
        if task.has(evaluation) and task.weights and task.measure == "train" and Path(task.weights).is_file():
            return Path(task.weights).read_bytes()
    return None


@contextmanager
def _own_weights(task: Task, weights: bytes | None) -> Iterator[Task]:
    """Give a task a folder of its own for its weights, and leave out the other files that it would write."""
    with tempfile.TemporaryDirectory(prefix="evo-weights-") as folder:
        file = Path(folder) / "weights.safetensors"
        if weights is not None:
            file.write_bytes(weights)
        trial = str(Path(folder) / "trial") if task.folder else None
        yield replace(task, weights=str(file) if task.weights else None, checkpoint=None, state=None, folder=trial)
