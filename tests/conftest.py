"""A cache of the session's own, a tiny search space, and one uninterrupted search that others are held against."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pytest
import torch
from hypothesis import settings
from typer.testing import CliRunner

from evo.cli.app import app
from evo.cli.commands import configuration
from evo.data import PreparedDataset, prepare_dataset
from evo.evaluators import Evaluator, InProcessEvaluator, Setup
from tests.command import run_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# As evo's own workers: one process a core runs the tests, and threads that wait for each other are slow.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# No deadline: a busy machine is not a failure.
settings.register_profile("evo", deadline=None)
settings.load_profile("evo")


@pytest.fixture(autouse=True)
def _signals_as_usual() -> None:
    """Reset SIGUSR1: a command in this process or in a fixture leaves it ignored, and processes inherit that."""
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


TINY_SPACE = """
model = "mlp"
dataset = "digits"

[training]
evaluate_every = 10
batch_size = 64

[genes.hidden_layers]
type = "layers"
depth = [1, 2]
width = [4, 16]

[genes.learning_rate]
type = "float"
low = 1e-3
high = 1e-1
log = true

[genes.steps]
type = "integer"
low = 20
high = 40
"""

KNOWN_SPACE = """
model = "mlp"
dataset = "digits"

[training]
evaluate_every = 20
batch_size = 64
schedule = "trapezoid"
cooldown = 0.5

[[initial]]
learning_rate = 1e-3

[[initial]]
hidden_layers = [16, 8]
learning_rate = 0.012345678901234567
steps = 60
optimiser = "sgd"
momentum = 0.9
use_dropout = false

[genes.hidden_layers]
type = "layers"
depth = [1, 3]
width = [4, 64]

[genes.learning_rate]
type = "float"
low = 1e-5
high = 1e-1
log = true

[genes.steps]
type = "integer"
low = 20
high = 400
step = 20

[genes.optimiser]
type = "categorical"
choices = ["adam", "sgd"]

[genes.momentum]
type = "float"
low = 0.0
high = 0.99
when = { optimiser = "sgd" }

[genes.use_dropout]
type = "boolean"

[genes.dropout]
type = "float"
low = 0.05
high = 0.5
when = { use_dropout = true }
"""
"""A space with a known configuration, after one that is not complete."""
KNOWN_CONFIG: dict[str, Any] = {
    "hidden_layers": (16, 8),
    "learning_rate": 0.012345678901234567,
    "steps": 60,
    "optimiser": "sgd",
    "momentum": 0.9,
    "use_dropout": False,
}


LONGEST_FIRST = (
    *("test_interruption", "test_cli", "test_contract", "test_disk", "test_kills", "test_html", "test_strangers"),
    *("test_halving", "test_releases", "test_table1", "test_free_steps", "test_readme", "test_batches"),
)
"""So that no process is left alone with them at the end."""

SEARCH_DIGITS = ("search", "digits", "--budget", "10", "--population", "4", "--finalists", "2", "--seed", "7")


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVO_CACHE_DIR", str(folder))
        patch.delenv("EVO_DATA_DIR", raising=False)
        yield folder


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist hand out the files in our order; by itself it puts those of few tests last, however long."""
    if hasattr(config.option, "loadscopereorder"):  # since pytest-xdist 3.7; before, the order stayed as it was
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def denormals_as_they_were() -> Iterator[None]:
    """Undo what trainings in this process do to the processor: other tests compare the smallest floats."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def digits(session_cache: Path) -> PreparedDataset:
    return prepare_dataset("digits")


@pytest.fixture(scope="session")
def uninterrupted(session_cache: Path, digits: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search on the digits by two workers that nothing disturbed; no test writes into it."""
    shared = shared_by_all_processes(tmp_path_factory)
    folder = shared / "uninterrupted"
    with (shared / "uninterrupted.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first process that needs it makes it, the others wait
        if not folder.exists():
            making = shared / "in the making" / folder.name
            finished = run_command(*SEARCH_DIGITS, "--workers", "2", "--output", making)
            assert finished.returncode == 0, finished.stderr
            making.rename(folder)
    return folder


def shared_by_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of this session of tests, the same one in every process of pytest-xdist."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture
def tiny_space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_SPACE)
    return path


@contextmanager
def training_in_this_process() -> Iterator[None]:
    """Train in this process: no second import of torch, and everything can be watched."""

    def make(setup: Setup, workers: int, timeout: float | None = None, **more: Any) -> Evaluator:
        return InProcessEvaluator(setup)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evo.loop.execution.make_evaluator", make)
        patch.setattr("evo.loop.replay.ProcessPoolEvaluator", make)
        yield
    torch.set_flush_denormal(False)  # a training sets it, and Hypothesis refuses to draw floats without denormals


@pytest.fixture
def in_process() -> Iterator[None]:
    """Train in this process."""
    with training_in_this_process():
        yield


@contextmanager
def quick_screening() -> Iterator[None]:
    """Let screening make few children and fit roughly: the same paths in a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"POOL": 16, "REFINED": 4, "REFINEMENTS": 1}.items():
            patch.setattr(f"evo.strategies.screening.{name}", value)
        patch.setattr("evo.strategies.gaussian_process.ITERATIONS", 5)
        yield


@pytest.fixture
def quick_models() -> Iterator[None]:
    """Screen quickly and roughly."""
    with quick_screening():
        yield


class BlankCanvas:
    """A canvas that writes an empty picture."""

    def __init__(self, figure: Figure):
        assert figure.axes, "a figure of nothing"

    def print_png(self, path: Path) -> None:
        path.write_bytes(b"")

    def print_svg(self, file: TextIO, metadata: object) -> None:
        file.write('<svg xmlns="http://www.w3.org/2000/svg"></svg>')


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports make their figures and save them without drawing them, which takes most of a report's time."""
    monkeypatch.setattr("evo.reports.style.FigureCanvasAgg", BlankCanvas)
    monkeypatch.setattr("evo.reports.style.FigureCanvasSVG", BlankCanvas)


@pytest.fixture
def cli() -> CliRunner:
    return CliRunner()


@pytest.fixture
def known_space(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(KNOWN_SPACE)
    return tmp_path / "mine.toml"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, cli: CliRunner) -> Callable[..., dict[str, Any]]:
    """Return what `evo train` would train with some options."""

    def ask(*options: str | Path) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def trained(*asked: Any, **more: Any) -> None:
            seen.update(zip(("space", "configurations", "execution"), asked, strict=True), **more)
            raise KeyboardInterrupt

        monkeypatch.setattr(configuration, "train_configurations", trained)
        result = cli.invoke(app, ["train", *map(str, options)])
        assert result.exit_code == 130, result.output
        return seen

    return ask
