"""Worker processes share the cores: each has one thread, or as many as were asked for; a run keeps the number."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.loop.search_loop import SilentObserver
from evo.processes import THREAD_VARIABLES, threads_asked_for, threads_of_children, usable_cores
from tests.faults import objectives

SPACE = evo.SearchSpace({"x": evo.Float(0, 1)}, name="threads")
IN_PROCESSES: dict[str, dict[str, Any]] = {
    "workers": {"workers": 2},
    "time limit": {"timeout": 60.0},
    "dask": {"workers": 1, "dask": "local"},
}


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def threads_of(run: evo.Run) -> set[float | None]:
    return {evaluation.fitness for evaluation in run.search_evaluations}


def search(**where: Any) -> evo.Run:
    return evo.search(SPACE, objectives.threads, strategy="random", budget=2, finalists=0, **where)


@pytest.mark.parametrize("way", ["workers", "time limit", pytest.param("dask", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("variable", "value", "threads"), [("", "", 1), ("OMP_NUM_THREADS", "2,1", 2)])
def test_a_worker_process_has_the_threads_that_were_asked_for_or_one(
    way: str, variable: str, value: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, value)
    run = search(**IN_PROCESSES[way])
    assert threads_of(run) == {min(threads, usable_cores())}  # torch takes no more than that
    assert run.settings.threads == threads


@pytest.mark.parametrize("value", ["", "many", "0", "-2", "10000000"])
def test_a_number_of_threads_that_is_none_is_not_asked_for(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert search(workers=2).settings.threads == 1


def test_a_resume_keeps_the_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    search(workers=2, output=tmp_path / "run")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = evo.resume(tmp_path / "run", objectives.threads, budget=4, workers=2)
    assert (threads_of(run), run.settings.threads) == ({min(2, usable_cores())}, 2)
    assert evo.load(tmp_path / "run").settings.threads == 2


def test_an_objective_in_this_process_has_the_users_threads(tmp_path: Path) -> None:
    import torch

    run = search(output=tmp_path / "run")
    assert threads_of(run) == {float(torch.get_num_threads())}
    assert run.settings.threads is None
    run = evo.resume(tmp_path / "run", objectives.threads, budget=4, workers=2)
    assert run.settings.threads == 1


def test_the_environment_of_this_process_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    before = dict(os.environ)
    assert search(workers=2).settings.threads == 2
    assert dict(os.environ) == before


def test_all_libraries_of_a_worker_have_the_number_that_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    with threads_of_children(threads_asked_for()):
        assert {os.environ[name] for name in THREAD_VARIABLES} == {"1"}


def test_a_resume_in_this_process_says_that_its_threads_are_others(tmp_path: Path) -> None:
    class Listening(SilentObserver):
        def warn(self, message: str) -> None:
            said.append(message)

    said: list[str] = []
    search(workers=2, output=tmp_path / "run")
    evo.resume(tmp_path / "run", objectives.threads, budget=3, observer=Listening())
    assert any("1 thread(s) in a process of its own" in message for message in said)
