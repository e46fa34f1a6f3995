"""A search that is killed or stopped, and resumed, ends with the tables of one that nothing disturbed."""

from __future__ import annotations

import random
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.command import (
    alive,
    children,
    journal_text,
    rows_of,
    run_command,
    start_command,
    tables,
    wait_until,
)
from tests.conftest import SEARCH_DIGITS

WORKERS_GONE_SECONDS = 10.0
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75}


def lines_of(run: Path) -> int:
    return journal_text(run).count("\n")


def finalists_trained(run: Path) -> int:
    return journal_text(run).count('"phase":"finalist"')


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a search with SIGKILL; its workers must follow it."""
    workers = children(process.pid)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the search ended before it could be killed"
    assert len(workers) >= 2
    wait_until(lambda: not any(map(alive, workers)), WORKERS_GONE_SECONDS)


def test_a_search_killed_once_and_once_among_its_finalists_ends_with_the_same_tables(
    uninterrupted: Path, tmp_path: Path
) -> None:
    draws = random.Random(20190412)
    run = tmp_path / "killed"
    process = start_command(*SEARCH_DIGITS, "--workers", "2", "--output", run)
    moment = draws.randint(6, 10)  # some trainings are done, others under way
    wait_until(lambda: lines_of(run) >= moment)
    time.sleep(draws.uniform(0, 0.03))
    kill(process)
    assert '"kind":"finalists"' not in journal_text(run), "the search was over before it was killed"
    process = start_command("resume", run, "--workers", "2")
    finalists = draws.randint(1, 3)
    wait_until(lambda: finalists_trained(run) >= finalists)
    kill(process)
    assert '"kind":"winner"' not in journal_text(run), "the finalists were over before the search was killed"
    finished = run_command("resume", run, "--workers", "2")
    assert finished.returncode == 0, finished.stderr
    assert tables(run) == tables(uninterrupted)
    assert len(tables(run)["evaluations"]) == 10
    assert len(tables(run)["finalists"]) == 6


@pytest.mark.slow
def test_another_number_of_workers_gives_the_same_tables(uninterrupted: Path, tmp_path: Path) -> None:
    finished = run_command(*SEARCH_DIGITS, "--workers", "1", "--output", tmp_path / "run")
    assert finished.returncode == 0, finished.stderr
    assert tables(tmp_path / "run") == tables(uninterrupted)


class StoppedRun:
    """A run that was stopped in every way, each time by following the advice of the time before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stops: dict[object, tuple[int, str]] = {}
        advice = [*SEARCH_DIGITS, "--output", str(folder)]
        for number in SIGNALS:
            process = start_command(*advice, "--workers", "1")
            moment = lines_of(folder) + 3
            wait_until(lambda moment=moment: lines_of(folder) >= moment)  # type: ignore[misc]
            process.send_signal(number)
            _, stderr = process.communicate(timeout=60)
            self.stops[number] = (process.returncode, stderr)
            advice = resume_command(stderr)
        stopped = run_command(*advice, "--workers", "1", "--time-budget", "1s", "--no-finish")
        self.stops["time budget"] = (stopped.returncode, stopped.stderr)
        self.finished = run_command(*resume_command(stopped.stderr), "--workers", "1")


def resume_command(stderr: str) -> list[str]:
    """Return the arguments of the command that a stopped search advises."""
    [advice] = [line for line in stderr.splitlines() if "evo resume" in line]
    program, *arguments = shlex.split(advice.partition(":")[2])
    assert program == "evo"
    return arguments


@pytest.fixture(scope="module")
def stopped(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> StoppedRun:
    return StoppedRun(tmp_path_factory.mktemp("runs") / "a run that is stopped")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS.items())
def test_a_signal_stops_a_search_in_an_orderly_way(stopped: StoppedRun, number: signal.Signals, code: int) -> None:
    returned, stderr = stopped.stops[number]
    assert returned == code
    assert "Traceback" not in stderr
    assert resume_command(stderr) == ["resume", str(stopped.folder)]


@pytest.mark.slow
def test_a_time_budget_stops_a_search_in_an_orderly_way(stopped: StoppedRun) -> None:
    returned, stderr = stopped.stops["time budget"]
    assert returned == 75
    assert "time budget of 1 s" in stderr
    assert resume_command(stderr) == ["resume", str(stopped.folder)]


@pytest.mark.slow
def test_a_search_that_was_stopped_in_every_way_ends_with_the_same_tables(
    stopped: StoppedRun, uninterrupted: Path
) -> None:
    assert stopped.finished.returncode == 0, stopped.finished.stderr
    assert tables(stopped.folder) == tables(uninterrupted)


LONG_TRAINING = """
model = "mlp"
dataset = "digits"

[training]
evaluate_every = 1000
batch_size = 100
steps = 6000
learning_rate = 1e-3

[genes.hidden_layers]
type = "layers"
depth = [1, 1]
width = [60, 64]
"""


@pytest.mark.slow
def test_a_training_in_flight_is_saved_by_a_signal_and_goes_on(tmp_path: Path) -> None:
    space, run, whole = tmp_path / "long.toml", tmp_path / "run", tmp_path / "whole"
    space.write_text(LONG_TRAINING)
    search = ("search", space, "--strategy", "random", "--population", "1", "--budget", "1", "--finalists", "0")
    process = start_command(*search, "--workers", "1", "--output", run)
    wait_until(lambda: '"kind":"proposal"' in journal_text(run))
    time.sleep(1.0)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == SIGNALS[signal.SIGTERM]
    assert time.monotonic() - began < 10
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["0-0.safetensors"]
    assert run_command("resume", run).returncode == 0
    assert not (run / "checkpoints").exists(), "the state of a finished training is left behind"
    assert run_command(*search, "--output", whole).returncode == 0
    for name in ("evaluations", "curves"):
        assert rows_of(run / f"{name}.csv") == rows_of(whole / f"{name}.csv")
