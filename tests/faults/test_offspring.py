"""An objective may start processes, wherever it is evaluated, and they end with the search, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import evo
from tests.command import alive, environment, wait_until
from tests.faults import offspring
from tests.faults.objectives import FOLDER
from tests.faults.offspring import SPACE, USEFUL
from tests.faults.processes import WORKERS_GONE_SECONDS

WAYS: dict[str, dict[str, Any]] = {
    "workers": {"workers": 2},
    "time limit": {"timeout": 60.0},
    "dask": {"workers": 2, "dask": "local"},
}
ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder whose name is in the environment of all processes of a test; end what is left of them."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    yield tmp_path
    for pid in marked(tmp_path):
        os.kill(pid, signal.SIGKILL)


def marked(folder: Path) -> set[int]:
    """Return the processes that have a folder's name in their environment, except this one."""
    name, found = f"{FOLDER}={folder}".encode(), set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and alive(int(entry.name)):
            try:
                is_marked = name in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if is_marked and b"resource_tracker" not in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
    return found


def none_is_left(folder: Path) -> bool:
    return not marked(folder)


@pytest.mark.parametrize("way", ["workers", "time limit", pytest.param("dask", marks=pytest.mark.slow)])
@pytest.mark.parametrize("objective", USEFUL, ids=lambda objective: objective.__name__)
def test_an_objective_may_start_processes(marks: Path, objective: Callable[..., float], way: str) -> None:
    run = evo.search(SPACE, objective, strategy="random", budget=2, finalists=0, **WAYS[way])
    assert [(e.status, e.fitness) for e in run.search_evaluations] == [
        ("complete", pytest.approx(run.individuals[e.individual].config["x"])) for e in run.search_evaluations
    ]
    wait_until(lambda: none_is_left(marks), 5.0)


@pytest.mark.parametrize("way", ["workers", pytest.param("dask", marks=pytest.mark.slow)])
def test_a_time_limit_ends_what_an_objective_has_started(marks: Path, way: str) -> None:
    with pytest.raises(evo.SearchError, match="took longer"):
        evo.search(SPACE, offspring.never_returns, strategy="random", budget=3, **WAYS[way] | {"timeout": 2.0})
    wait_until(lambda: none_is_left(marks), 5.0)


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
@pytest.mark.parametrize("way", ["workers", pytest.param("dask", marks=pytest.mark.slow)])
def test_no_process_of_an_objective_outlives_the_search(marks: Path, way: str, number: signal.Signals) -> None:
    process = start(marks, way)
    process.send_signal(number)
    assert process.wait(timeout=60) == ENDS[number]
    wait_until(lambda: none_is_left(marks), WORKERS_GONE_SECONDS)


def test_no_worker_outlives_the_search_while_its_objective_holds_pythons_lock(marks: Path) -> None:
    process = start(marks, "workers", "holds_the_lock")
    process.kill()
    process.wait(timeout=60)
    wait_until(lambda: none_is_left(marks), WORKERS_GONE_SECONDS)


def test_no_process_of_an_objective_outlives_its_worker_and_the_search(marks: Path) -> None:
    """As when the system kills all large processes at once: nobody who knows of the others is left."""
    process = start(marks, "workers")
    for number in [process.pid, *(int(path.name.partition("-")[2]) for path in marks.glob("begun-*"))]:
        os.kill(number, signal.SIGKILL)
    process.wait(timeout=60)
    wait_until(lambda: none_is_left(marks), 5.0)


@pytest.mark.parametrize("way", [{}, WAYS["workers"]], ids=["here", "workers"])
def test_what_an_objective_leaves_behind_does_not_lock_the_run(marks: Path, way: dict[str, Any]) -> None:
    evo.search(SPACE, offspring.loader_that_stays, strategy="random", budget=2, output=marks / "run", **way)
    run = evo.resume(marks / "run", offspring.loader_that_stays, budget=3, **way)
    assert len(run.search_evaluations) == 3
    offspring.kept = None


def start(marks: Path, way: str, objective: str = "never_returns") -> subprocess.Popen[bytes]:
    """Return a search whose two objectives have started their processes and never return."""
    command = [sys.executable, "-m", "tests.faults.offspring", str(marks / "run"), way, objective]
    process = subprocess.Popen(
        command, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: len(list(marks.glob("begun-*"))) == 2, 60.0)
    return process


END_OF_A_SCRIPT = """
import faulthandler
from evo.evaluators import ObjectiveSetup, ProcessPoolEvaluator, Task
from tests.faults.offspring import never_returns
from tests.faults.test_offspring import marks_of

faulthandler.dump_traceback_later(90)
evaluator = ProcessPoolEvaluator(ObjectiveSetup(never_returns), workers=2)
evaluator.start()
evaluator.submit(Task(0, 0, 0, {"x": 1.0}))
while not marks_of():
    if ended := evaluator.next_completed(0.05):
        raise RuntimeError(ended)
raise SystemExit("this script does not close its evaluator")
"""


def marks_of() -> list[Path]:
    return list(Path(os.environ[FOLDER]).glob("begun-*"))


def test_a_script_that_ends_waits_for_no_worker(marks: Path) -> None:
    with (marks / "errors").open("w+") as errors:  # a file: processes that are left would keep a pipe open
        script = [sys.executable, "-c", END_OF_A_SCRIPT]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(script, env=environment(), timeout=120, check=False, stderr=errors)
        errors.seek(0)
        assert errors.read().splitlines() == ["this script does not close its evaluator"]
    wait_until(lambda: none_is_left(marks), 5.0)
