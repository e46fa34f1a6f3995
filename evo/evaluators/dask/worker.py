"""What runs on a Dask worker: it is checked and made ready once for a search, and then does one task at a time."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import platform
import socket
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import evo
from evo.data import PreparedDataset, prepare_dataset
from evo.data.cache import checksum_of
from evo.errors import ConfigurationError, Interrupted
from evo.evaluators.base import Evaluate, Setup, StopRequest, Task
from evo.evaluators.objective import ObjectiveSetup
from evo.evaluators.training_task import TrainingSetup
from evo.individual import Evaluation
from evo.training.hardware import resolve_device, resolve_precision

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distributed import Worker

KEPT = 4
"""Searches that a worker stays ready for; the one that it has not heard of for longest gives way."""
DECIDED = ("device", "precision", "engine")
"""Facts of a setup that must be the same on all workers of a search."""
THREADS = (
    "has {} threads, of which one would train; start workers with one thread each, one a core "
    "(dask worker --nthreads 1 --nworkers <cores>; threads_per_worker=1 in Python)"
)
COMPARED = ("torch", "numpy")
"""Packages that must have the same version everywhere, or the last digits of results differ."""


@dataclass(frozen=True)
class Invitation:
    """What a worker is told of a search before its first task.

    Attributes:
        search: A name that no other search has.
        setup: The setup, pickled: the scheduler passes it on unread.
        versions: What the worker must have, see `versions_here`.
        decided: What the facts `DECIDED` must be; empty before the first workers have said what they can.
        marker: A file in the run folder that holds the search's name; None where the run has no folder.
    """

    search: str
    setup: bytes
    versions: dict[str, str]
    decided: dict[str, str]
    marker: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a worker says to an invitation.

    Attributes:
        host: Its machine's name.
        name: Its own.
        memory_of: Whose memory its tasks take: workers that say the same here share it.
        sees_folder: Whether it sees the run folder that the search writes, and can write it, too.
        resources: Those that it was started with.
        facts: See `Setup.build`; empty where it cannot take part.
        problem: Why it cannot.
    """

    host: str
    name: str = ""
    memory_of: str = ""
    sees_folder: bool = False
    resources: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Reply:
    """What comes back for a task.

    Attributes:
        kind: "evaluation"; "stopped" for a training that was asked to stop; "unknown" where the worker has not been
            made ready for the search, or no longer is.
        evaluation: The result.
        weights: Content of the file of the trained weights, where the worker does not see the run folder.
    """

    kind: Literal["evaluation", "stopped", "unknown"]
    evaluation: Evaluation | None = None
    weights: bytes | None = None


class _TaskStop(StopRequest):
    """A task stops when the search asks for it, or when Dask has given it up: nobody waits for it any more.

    Attributes:
        asked: Whether the search has asked: what is in flight saves its state.
        given_up: Whether the task of this moment was given up; others may be at it already, so it saves nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self.given_up: Callable[[], bool] = lambda: False
        super().__init__()

    @property
    def requested(self) -> bool:
        if self.given_up():
            raise Interrupted
        return self.asked

    @requested.setter
    def requested(self, value: bool) -> None:
        self.asked = value


@dataclass
class _Ready:
    """A search that a worker can do tasks of.

    Attributes:
        stop: What its tasks look at.
        evaluate: Does one.
        call: Calls something where its tasks are done, and returns what that returns.
        answer: What the worker has said to the invitation.
    """

    stop: _TaskStop
    evaluate: Evaluate
    call: Callable[[Callable[[], Evaluation]], Evaluation]
    answer: Answer


_ready: OrderedDict[tuple[str, str], _Ready] = OrderedDict()
"""By search and by the worker's address: workers of one process share this module."""
_lock = threading.Lock()


def accept(invitation: Invitation) -> Answer:
    """Check that this worker can take part in a search, and make it ready.

    Returns:
        What it is; with `problem`, why it cannot take part.

    Raises:
        Exception: Something went wrong that may go well the next time: whatever it was.
    """
    from distributed import get_worker

    worker = get_worker()
    host = socket.gethostname()
    answer = Answer(host, _name_of(worker, host), host, resources=dict(worker.state.total_resources))
    if different := _differences(invitation.versions):
        return replace(answer, problem=f"{different}; install there what the search has, and start the worker again")
    if (threads := worker.state.nthreads) > 1:
        return replace(answer, problem=THREADS.format(threads))
    key = (invitation.search, worker.address)
    try:
        with _lock:
            known = _ready.get(key)
        if known is None or any(str(known.answer.facts.get(n)) != v for n, v in invitation.decided.items()):
            known = _make_ready(pickle.loads(invitation.setup), answer)  # noqa: S301  # from the scheduler, as all code
    except ConfigurationError as error:
        return replace(answer, problem=str(error))
    known.answer = replace(known.answer, sees_folder=_sees(invitation))
    with _lock:
        _ready[key] = known
        _ready.move_to_end(key)
        mine = [other for other in _ready if other[1] == worker.address]
        for other in mine[:-KEPT]:
            del _ready[other]
    return known.answer


def evaluate(search: str, task: Task, away: bool = False, weights: bytes | None = None) -> Reply:
    """Do a task of a search that this worker is ready for; the search hears when it begins.

    Args:
        search: Its name.
        task: What to do.
        away: Whether the run folder is not seen from here: trained weights then travel with the task and the reply.
        weights: Those of such a task, if there are any.
    """
    from distributed import get_worker

    worker = get_worker()
    here = (search, worker.address)
    with _lock:
        ready = _ready.get(here)
        if ready is not None:
            _ready.move_to_end(here)
    if ready is None:
        return Reply("unknown")
    key, tasks = worker.get_current_task(), worker.state.tasks

    def given_up() -> bool:
        state = tasks.get(key)
        return state is None or state.state not in ("executing", "long-running")

    def work() -> Evaluation:
        ready.stop.given_up = given_up
        worker.log_event(topic_of(search), key)
        return next(ready.evaluate([mine]))

    try:
        with _own_weights(task, weights) if away else nullcontext(task) as mine:
            evaluation = ready.call(work)
            trained = Path(mine.weights) if away and mine.weights and mine.measure == "train" else None
            returned = trained.read_bytes() if trained is not None and trained.is_file() else None
    except Interrupted:
        return Reply("stopped")
    return Reply("evaluation", evaluation, returned)


def topic_of(search: str) -> str:
    """Return the topic of Dask's events under which workers tell a search which tasks they begin."""
    return f"evo-{search}"


def stop(search: str) -> None:
    """Let the tasks of a search that are in flight in this process save their state and end."""
    with _lock:
        for (name, _), ready in _ready.items():
            if name == search:
                ready.stop.asked = True


def forget(search: str) -> None:
    """Drop what this process keeps for a search."""
    with _lock:
        for key in [key for key in _ready if key[0] == search]:
            del _ready[key]


@functools.cache
def versions_here() -> dict[str, str]:
    """Return what must be alike wherever a search evaluates: the version and the source of evo, Python, packages."""
    return {
        "evo": evo.__version__,
        "evo's source": _source_checksum()[:12],
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{package: metadata.version(package) for package in COMPARED},
    }


def _name_of(worker: Worker, host: str) -> str:
    """Return what tables call a worker: its name, which for some is a number, or its address."""
    name = str(worker.name)
    if name == worker.address:
        return f"{host}:{name.rpartition(':')[2]}"
    return f"worker-{name}" if name.isdigit() else name


def _source_checksum() -> str:
    """Return the SHA-256 of evo's modules: between two releases the version alone says little."""
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
    stop = _TaskStop()
    if isinstance(setup, ObjectiveSetup):
        function, facts = setup.build(stop)
        return _Ready(stop, function, lambda work: work(), replace(answer, facts=facts, memory_of=answer.host))
    if isinstance(setup, TrainingSetup):
        setup = replace(setup, dataset=_data_here(setup))
        _check_precision(setup)
    # Torch's generators are the process's and its treatment of denormals is the thread's: all that trains in a process
    # is built and runs in one thread, one after another.
    thread = _training_thread()
    function, facts = thread.submit(setup.build, stop).result()
    return _Ready(
        stop,
        function,
        lambda work: thread.submit(work).result(),
        replace(answer, facts=facts, memory_of=_memory_of(answer.host, facts)),
    )


@functools.cache
def _training_thread() -> Executor:
    from distributed.threadpoolexecutor import ThreadPoolExecutor

    executor: Executor = ThreadPoolExecutor(1, thread_name_prefix="evo-training")  # a daemon: it delays no exit
    return executor


def _data_here(setup: TrainingSetup) -> PreparedDataset:
    """Return the dataset of a setup as it lies on this machine.

    It is looked for where the search has its decoded copy, in the folder that the search was given, and in
    $EVO_DATA_DIR of this worker; nothing is downloaded.

    Raises:
        ConfigurationError: It is not there, or other images are.
    """
    wanted = setup.dataset
    if checksum_of(wanted.directory) == wanted.checksum:
        return wanted
    own = os.environ.get("EVO_DATA_DIR")
    folder = next((Path(path) for path in (own, setup.data_dir) if path and Path(path).is_dir()), None)
    name = wanted.name if folder is None and setup.data_dir is None else None
    remedy = "copy the search's data there, or start the worker with EVO_DATA_DIR=<their folder>"
    try:
        if folder is None and name is None:
            raise ConfigurationError(f"has no folder {setup.data_dir}")
        found = prepare_dataset(name, folder, image_size=setup.training.image_size, download=False)
    except ConfigurationError as error:
        raise ConfigurationError(f"the data are not there ({error}); {remedy}") from None
    if found.checksum != wanted.checksum:
        raise ConfigurationError(
            f"other data are at {found.source} (checksum {found.checksum[:12]}) "
            f"than at {wanted.source} (checksum {wanted.checksum[:12]}), which the search has; {remedy}"
        )
    return found


def _check_precision(setup: TrainingSetup) -> None:
    """Refuse to imitate bfloat16: what this machine would compute is not what those compute that have it."""
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

    # The number of a GPU says little: CUDA_VISIBLE_DEVICES makes every worker's its first.
    return f"{host}, GPU {getattr(torch.cuda.get_device_properties(device), 'uuid', device)}"


def _sees(invitation: Invitation) -> bool:
    """Return whether the run folder is there, under the same path, and can be written: to try is the only sure way."""
    if invitation.marker is None:
        return False
    marker = Path(invitation.marker)
    try:
        if marker.read_text(encoding="utf-8") != invitation.search:
            return False
        with tempfile.NamedTemporaryFile(dir=marker.parent, prefix=f"{marker.name}."):
            return True
    except (OSError, ValueError):
        return False


@contextmanager
def _own_weights(task: Task, weights: bytes | None) -> Iterator[Task]:
    """Give a task a folder of its own for its weights; whatever else it would write elsewhere is left out."""
    with tempfile.TemporaryDirectory(prefix="evo-weights-") as folder:
        file = Path(folder) / "weights.safetensors"
        if weights is not None:
            file.write_bytes(weights)
        yield replace(task, weights=str(file) if task.weights else None, checkpoint=None, state=None)
