"""A search that is stopped from Python leaves what it has; what a framework makes of Ctrl-C is no failed row."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.record.run import Run
from tests.command import environment

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})


def search(objective: Callable[..., float], **options: Any) -> Run:
    return evo.search(SPACE, objective, **({"budget": 20, "population": 4, "strategy": "ga", "seed": 1} | options))


class Ends:
    """Is called with a configuration; does something at its sixth call."""

    def __init__(self, end: Callable[[], object]):
        self.calls, self.end = 0, end

    def __call__(self, config: dict[str, Any]) -> float:
        self.calls += 1
        if self.calls == 6:
            self.end()
        return float(config["x"])


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def exit_in_the_handler() -> None:
    """Do what Lightning does."""
    try:
        interrupt()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(1)


def exit_later() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        interrupt()
    sys.exit(1)


@pytest.mark.parametrize("end", [interrupt, exit_in_the_handler, exit_later], ids=lambda end: end.__name__)
def test_ctrl_c_leaves_the_run_whatever_a_framework_makes_of_it(end: Callable[[], object]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stopped:
        search(Ends(end))
    run = stopped.value.run  # type: ignore[attr-defined]
    assert list(run.table["status"]) == ["complete"] * 5
    assert run.best.fitness == run.table["fitness"].max()
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupted_run_with_a_folder_resumes_to_the_table_of_an_undisturbed_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        search(Ends(exit_in_the_handler), output=tmp_path / "run")
    whole = search(Ends(lambda: None))
    resumed = evo.resume(tmp_path / "run", Ends(lambda: None))
    columns = ["individual", "x", "status", "fitness"]
    assert resumed.table[columns].equals(whole.table[columns])


def test_an_exit_without_a_signal_is_a_failure_that_says_what_to_do() -> None:
    run = search(Ends(lambda: sys.exit(3)), finalists=0)
    [error] = run.table.loc[run.table["status"] == "failed", "error"]
    assert (
        error
        == "SystemExit: 3: the objective wants to end its process; let it return a number or raise an error instead"
    )
    assert len(run.table) == 20


def test_a_time_budget_and_an_error_leave_the_run() -> None:
    with pytest.raises(evo.Stop) as stopped:
        search(Ends(lambda: time.sleep(0.3)), time_budget=0.2, finish=False)
    assert stopped.value.run is not None
    assert len(stopped.value.run.table) == 6
    with pytest.raises(evo.SearchError) as failed:
        search(lambda config: 1 / 0)
    assert len(failed.value.run.table) == 3
    copy = pickle.loads(pickle.dumps(failed.value))
    assert copy.run.table.equals(failed.value.run.table)


def test_what_ends_before_a_run_begins_has_none() -> None:
    with pytest.raises(evo.ConfigurationError) as refused:
        search(lambda config: 0.0, seed=-1)
    assert refused.value.run is None


def exits_when_terminated(config: dict[str, Any]) -> float:
    def leave(*_: object) -> None:
        evo_asks(*_)
        told.append(True)

    told: list[bool] = []
    evo_asks: Any = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, leave)  # as Lightning does: its own handler, and the one that was there
    Path(os.environ["STARTED"]).touch()
    while not told:
        time.sleep(0.01)
    raise SystemExit(143)


def test_a_worker_that_exits_because_it_is_stopped_makes_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))

    def stop() -> None:
        if (tmp_path / "started").exists():
            raise evo.Stop("enough", 75)

    with pytest.raises(evo.Stop) as stopped:
        search(exits_when_terminated, workers=2, stop_check=stop)
    assert stopped.value.run is not None
    assert stopped.value.run.results == []


SCRIPT = """
import sys, signal
import evo
def objective(config):
    try:
        print("ready", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        sys.exit(1)
try:
    evo.search(evo.SearchSpace({"x": evo.Float(0.0, 1.0)}), objective, budget=9, workers=WORKERS)
except KeyboardInterrupt as stop:
    print(stop.run, flush=True)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_on_a_terminal_reaches_search_and_workers_and_makes_no_rows(workers: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("WORKERS", str(workers))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to the whole job
    stdout, stderr = process.communicate(timeout=30)
    assert "Run(in memory: 0 evaluations" in stdout, stderr
