"""Workers that are killed, hang or find no memory: nothing is lost or doubled, and the search completes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.record.run import Run
from tests.command import children, tables, wait_until
from tests.faults import objectives
from tests.faults.conftest import times
from tests.faults.objectives import FOLDER, SPACE, accuracy
from tests.faults.processes import DigitsSearch, finish, lines_of

WORKERS = 2
DEADLINE_SECONDS = 1.0


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Return a search by worker processes; it must leave no process and no shared memory behind."""
    monkeypatch.setenv(FOLDER, str(tmp_path))

    def run_it(objective: Callable[..., float], **settings: Any) -> Run:
        before = shared_memory()
        run = evo.search(
            SPACE, objective, strategy="random", finalists=0, workers=WORKERS, output=tmp_path / "run", **settings
        )
        assert not multiprocessing.active_children()
        wait_until(lambda: shared_memory() <= before)  # other tests may have some meanwhile
        ids = [evaluation.individual for evaluation in run.search_evaluations]
        assert ids == list(range(settings["budget"])), "an evaluation is lost or doubled"
        assert len(evo.load(tmp_path / "run").table) == settings["budget"]
        return run

    return run_it


def shared_memory() -> set[str]:
    """Return the names of the shared memory segments of Python's and torch's kinds."""
    return {name for name in os.listdir("/dev/shm") if name.startswith(("psm_", "torch_"))}


def test_a_worker_killed_once_in_each_training(search: Callable[..., Run], figure: Callable[[str], None]) -> None:
    budget = times(long=50, short=4)
    run = search(objectives.killed_once, budget=budget)
    assert all(evaluation.complete for evaluation in run.search_evaluations)
    assert [e.fitness for e in run.search_evaluations] == expected(run)
    figure(f"worker killed once in each of {budget} trainings: 0 lost, 0 doubled, all complete at the second try")


def test_a_worker_killed_at_every_try(search: Callable[..., Run], figure: Callable[[str], None]) -> None:
    budget = times(long=50, short=4)
    run = search(objectives.killed_always, budget=budget)
    failed = [e for e in run.search_evaluations if not e.complete]
    assert 0 < len(failed) < budget
    assert all("SIGKILL" in e.error and "2 times" in e.error for e in failed)
    figure(
        f"worker killed at every try in {len(failed)} of {budget} trainings: recorded with the reason, rest complete"
    )


def test_a_worker_that_hangs(search: Callable[..., Run], figure: Callable[[str], None]) -> None:
    budget, began = times(long=50, short=4), time.monotonic()
    run = search(objectives.hangs, budget=budget, timeout=DEADLINE_SECONDS)
    overdue = [e for e in run.search_evaluations if e.status == "timeout"]
    assert 0 < len(overdue) < budget
    assert all(e.complete for e in run.search_evaluations if e not in overdue)
    assert max(e.seconds for e in overdue) < DEADLINE_SECONDS + 10
    seconds = time.monotonic() - began
    figure(
        f"{len(overdue)} of {budget} trainings hang: ended at --timeout {DEADLINE_SECONDS:g} s ({seconds:.0f} s in all)"
    )


@pytest.mark.slow
def test_a_worker_that_closes_its_pipe_and_lives(search: Callable[..., Run]) -> None:
    run = search(objectives.closes_its_pipe, budget=2, seed=1)
    statuses = {e.seed % 2: (e.status, e.error) for e in run.search_evaluations}
    assert statuses[0] == ("complete", "")
    assert statuses[1][0] == "failed"
    assert "all files of the process were closed" in statuses[1][1]  # its guard has ended it then


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_real_trainings(tmp_path: Path, figure: Callable[[str], None]) -> None:
    kills, killed = times(long=20, short=2), 0
    whole, search = DigitsSearch(tmp_path / "whole", 4 * kills), DigitsSearch(tmp_path / "killed", 4 * kills)
    finish(whole)
    process = search.start()
    while process.poll() is None and killed < kills:
        moment = lines_of(search.run) + 5
        wait_until(lambda: process.poll() is not None or lines_of(search.run) >= moment)  # noqa: B023
        # The first child is the process that multiprocessing keeps for itself.
        for worker in sorted(children(process.pid))[1:2]:
            os.kill(worker, signal.SIGKILL)
            killed += 1
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert killed >= kills / 2
    assert tables(search.run) == tables(whole.run)
    figure(f"worker killed {killed} times in the middle of trainings on the digits: equal tables")


def test_trainings_that_find_no_memory(search: Callable[..., Run], figure: Callable[[str], None]) -> None:
    budget = times(long=50, short=8)
    run = search(objectives.out_of_memory_once, budget=budget)
    short = [e for e in run.search_evaluations if not e.complete]
    assert all(e.status == "out_of_memory" and "no room" in e.error for e in short)
    figure(
        f"out of memory in each of {budget} trainings: {budget - len(short)} complete when tried again by themselves, "
        f"{len(short)} that ran by themselves are recorded"
    )


def expected(run: Run) -> list[float]:
    """Return the fitness of each evaluation, computed again."""
    return [accuracy(dict(run.individuals[e.individual].config), e.seed) for e in run.search_evaluations]
