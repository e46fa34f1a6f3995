"""Tasks that belong together run on one worker; each evaluation counts once it is there, whatever ends the batch."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from evo.errors import Interrupted
from evo.evaluation import Evaluation
from evo.evaluators import Evaluator, ProcessPoolEvaluator, Setup, Task
from evo.evaluators.base import Evaluate, StopRequest
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.cluster import DaskEvaluator
from evo.evaluators.planner import Planner
from evo.loop.search_loop import SilentObserver
from evo.loop.tasks import evaluate_tasks
from evo.record.run import Run
from tests.evaluators.clusters import own_cluster
from tests.test_run import individual, make_settings

SIZE = 3


@dataclass(frozen=True)
class Threes(Setup):
    """Evaluates up to three tasks together, once it knows its engine, and notes every batch.

    A task's `trouble` happens when it is its turn: "kill" or "exit" for the end of the process, "raise" for an
    exception, "hang" until the stop, and "memory" for a status; each only where the task is not the only one of its
    batch.
    """

    folder: Path
    engine: str = "auto"

    def decided(self, facts: Mapping[str, Any]) -> Threes:
        return replace(self, engine=facts["engine"])

    def batch(self, first: Task, waiting: Sequence[Task]) -> list[Task]:
        return [first] if self.engine == "auto" else [first, *waiting][:SIZE]

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        def evaluate(tasks: Sequence[Task]) -> Iterator[Evaluation]:
            with (self.folder / "batches").open("a") as file:
                file.write(" ".join(str(task.individual) for task in tasks) + "\n")
            for task in tasks:
                trouble = task.config.get("trouble") if len(tasks) > 1 else None
                end = time.monotonic() + 30
                while trouble == "hang" and time.monotonic() < end:
                    time.sleep(0.01)
                    if stop.requested:
                        raise Interrupted
                if trouble == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if trouble == "exit":
                    os._exit(3)
                if trouble == "raise":
                    raise ValueError("one of them is broken")
                status: Any = "out_of_memory" if trouble == "memory" else "complete"
                yield Evaluation(task.individual, task.replicate, task.seed, status, float(task.individual))

        return evaluate, {"device": "cpu", "precision": "fp32", "engine": "eager"}

    def batches(self) -> list[list[int]]:
        """Return the individuals of every batch that has begun."""
        return [[int(word) for word in line.split()] for line in (self.folder / "batches").read_text().splitlines()]


EVALUATORS: dict[str, Callable[..., Evaluator]] = {
    "process pool": lambda setup, **options: ProcessPoolEvaluator(setup, workers=1, **options),
    "dask": lambda setup, **options: DaskEvaluator(setup, own_cluster, **options),
}


@pytest.fixture(params=EVALUATORS)
def make(request: pytest.FixtureRequest) -> Callable[..., Evaluator]:
    return EVALUATORS[request.param]


def task(individual: int, trouble: str = "", cost: float = 0.0) -> Task:
    return Task(individual, 0, 100 + individual, {"trouble": trouble}, cost=cost)


def all_of(evaluator: Evaluator) -> dict[int, Evaluation]:
    found: dict[int, Evaluation] = {}
    end = time.monotonic() + 60
    while evaluator.pending:
        assert time.monotonic() < end, f"{evaluator.pending} tasks do not come back"
        if (evaluation := evaluator.next_completed(timeout=0.2)) is not None:
            assert evaluation.individual not in found, "it came back twice"
            found[evaluation.individual] = evaluation
    return found


def test_what_belongs_together_runs_together_and_comes_back_one_by_one(
    make: Callable[..., Evaluator], tmp_path: Path
) -> None:
    setup = Threes(tmp_path)
    with make(setup) as evaluator:
        evaluator.start()
        evaluator.submit(*(task(number) for number in range(7)))
        assert evaluator.running == SIZE
        assert evaluator.pending == 7
        found = all_of(evaluator)
    assert setup.batches() == [[0, 1, 2], [3, 4, 5], [6]]
    assert {number: (e.fitness, e.seed) for number, e in found.items()} == {n: (n, 100 + n) for n in range(7)}


def test_listed_trainings_form_batches_in_their_order(tmp_path: Path) -> None:
    run = Run.create(make_settings(strategy="listed", seeds=2, finalists=0))
    for number in range(3):
        run.record_proposal(individual(number))
    tasks = [Task(number, replicate, 0, {"trouble": ""}) for number in range(3) for replicate in range(2)]
    setup = Threes(tmp_path)
    with ProcessPoolEvaluator(setup, workers=1) as evaluator:
        evaluator.start()
        evaluate_tasks(run, evaluator, SilentObserver(), lambda: None, tasks, by_replicate=True)
    assert setup.batches() == [[0, 1, 2], [0, 1, 2]], "first one replicate of each, then the other"
    assert len(run.evaluations) == 6


def test_an_evaluation_is_there_before_its_batch_has_ended_and_a_stop_keeps_it(
    make: Callable[..., Evaluator], tmp_path: Path
) -> None:
    evaluator = make(Threes(tmp_path))
    evaluator.start()
    evaluator.submit(task(0), task(1), task(2, "hang"))
    first = evaluator.next_completed(timeout=20)
    assert first is not None
    assert first.individual == 0
    began = time.monotonic()
    assert [evaluation.individual for evaluation in evaluator.suspend(20)] == [1]
    assert time.monotonic() - began < 15


def test_the_unfinished_tasks_of_a_batch_that_takes_too_long_have_timed_out(
    make: Callable[..., Evaluator], tmp_path: Path
) -> None:
    with make(Threes(tmp_path), timeout=1.0) as evaluator:
        evaluator.start()
        evaluator.submit(task(0), task(1, "hang"), task(2))
        found = all_of(evaluator)
    assert {n: e.status for n, e in found.items()} == {0: "complete", 1: "timeout", 2: "timeout"}


def test_a_task_that_ran_out_of_memory_in_a_batch_is_done_again_alone(
    make: Callable[..., Evaluator], tmp_path: Path
) -> None:
    setup = Threes(tmp_path)
    with make(setup) as evaluator:
        evaluator.start()
        evaluator.submit(task(0), task(1, "memory"), task(2), task(3))
        found = all_of(evaluator)
    assert {e.status for e in found.values()} == {"complete"}
    assert setup.batches() == [[0, 1, 2], [3], [1]]


@pytest.mark.parametrize("trouble", ["kill", "exit"])
def test_what_a_dead_worker_has_sent_counts_and_the_rest_of_its_batch_is_done_again_singly(
    tmp_path: Path, trouble: str
) -> None:
    setup = Threes(tmp_path)
    with ProcessPoolEvaluator(setup, workers=1) as evaluator:
        evaluator.start()
        evaluator.submit(task(0), task(1, trouble), task(2), task(3))
        found = all_of(evaluator)
    assert {number: e.status for number, e in found.items()} == dict.fromkeys(range(4), "complete")
    first, *others = setup.batches()
    assert first == [0, 1, 2]
    assert sorted(others) == [[1], [2], [3]], "a task that has finished was done again, or some were not"


def test_a_batch_that_raises_on_a_cluster_is_done_again_singly(tmp_path: Path) -> None:
    setup = Threes(tmp_path)
    with DaskEvaluator(setup, own_cluster) as evaluator:
        evaluator.start()
        evaluator.submit(task(0), task(1, "raise"), task(2))
        found = all_of(evaluator)
    assert {number: e.status for number, e in found.items()} == dict.fromkeys(range(3), "complete")
    assert setup.batches() == [[0, 1, 2], [1], [2]]


@dataclass(frozen=True)
class Trains(Threes):
    """Writes an individual's number as its weights."""

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        def evaluate(tasks: Sequence[Task]) -> Iterator[Evaluation]:
            for task in reversed(tasks):
                assert task.weights is not None
                Path(task.weights).write_text(str(task.individual))
                yield Evaluation(task.individual, 0, task.seed, "complete")

        return evaluate, {"device": "cpu", "precision": "fp32", "engine": "eager"}


def test_trained_weights_of_a_batch_travel_where_the_run_folder_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_worker, "_sees", lambda invitation: False)
    (tmp_path / "weights").mkdir()
    with DaskEvaluator(Trains(tmp_path), own_cluster) as evaluator:
        evaluator.start()
        files = [tmp_path / "weights" / f"{number}.safetensors" for number in range(SIZE)]
        evaluator.submit(*(Task(n, 0, 0, {}, weights=str(file)) for n, file in enumerate(files)))
        assert set(all_of(evaluator)) == set(range(SIZE))
    assert [file.read_text() for file in files] == ["0", "1", "2"]


def test_a_batch_fits_into_memory_beside_what_runs_and_leaves_the_rest_waiting() -> None:
    planner = Planner(lambda first, waiting: [first, *waiting])
    planner.limit_memory(100.0)
    for number in range(6):
        planner.add(Task(number, 0, 0, {}, cost=float(number), memory=20.0))
    batch = planner.take([Task(9, 0, 0, {}, memory=20.0)])
    assert [task.individual for task in batch] == [5, 4, 3], "60 beside 20 of 85"
    assert [task.individual for task in planner.take([])] == [2, 1, 0]
