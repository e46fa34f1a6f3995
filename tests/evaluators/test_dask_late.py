"""On a Dask cluster that others use, too: what is late, paused, out of memory or broken harms nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Future, Status, Worker

from evo.errors import ConfigurationError, Interrupted
from evo.evaluation import Evaluation
from evo.evaluators import ObjectiveSetup, Task
from evo.evaluators.base import Evaluate, Setup, StopRequest, one_by_one
from evo.evaluators.dask.cluster import DaskEvaluator
from evo.evaluators.dask.connection import connect
from evo.evaluators.dask.members import Member
from tests.command import wait_until
from tests.evaluators.arithmetic import Arithmetic
from tests.evaluators.clusters import client_of
from tests.evaluators.test_dask_cluster import all_of, evaluator_of, task

PATIENCE = 60.0
LET_GO, BEGAN = threading.Event(), threading.Event()
CALLS: list[int] = []
"""What was called, in order; workers are threads of this process."""


def objective(config: dict[str, Any]) -> float:
    """Wait to be let go if it is to be late; then return, or find no memory."""
    CALLS.append(config["x"])
    if config.get("late"):
        BEGAN.set()
        assert LET_GO.wait(PATIENCE)
    if config.get("large"):
        raise MemoryError("no memory left")
    return float(config["x"])


OBJECTIVE = ObjectiveSetup(objective)
HELD, RELEASED = threading.Event(), threading.Event()


def others_work() -> None:
    """Keep a worker busy, as another search does."""
    HELD.set()
    assert RELEASED.wait(PATIENCE)


@pytest.fixture(autouse=True)
def at_first() -> Iterator[None]:
    for event in (LET_GO, BEGAN, HELD, RELEASED):
        event.clear()
    CALLS.clear()
    yield
    LET_GO.set()
    RELEASED.set()


@pytest.fixture(scope="module")
def one_worker() -> Iterator[Client]:
    with client_of(1) as client:
        yield client


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Client]:
    with client_of(2) as client:
        yield client


def serve_until(evaluator: DaskEvaluator, condition: Any) -> None:
    """Let an evaluator do its work until a condition holds; nothing may finish meanwhile."""

    def served() -> bool:
        assert evaluator.next_completed(0.02) is None
        return bool(condition())

    wait_until(served, PATIENCE)


def others_take(client: Client) -> Future:
    return client.submit(others_work, pure=False)


# Time.


def test_the_time_of_a_task_counts_from_where_it_begins_however_long_it_waits_behind_others(one_worker: Client) -> None:
    with evaluator_of(one_worker, setup=OBJECTIVE, timeout=1.0) as evaluator:
        evaluator.start()
        others = others_take(one_worker)
        assert HELD.wait(PATIENCE)
        evaluator.submit(task(3))
        assert evaluator.next_completed(timeout=1.5) is None, "it was given up before it had begun"
        RELEASED.set()
        [evaluation] = all_of(evaluator)
        others.result(PATIENCE)
    assert (evaluation.status, evaluation.fitness) == ("complete", 3.0)


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return where workers that are restarted are noted, which then live on; they are restarted soon."""
    found: list[str] = []

    async def restart(client: Client, workers: list[str]) -> None:
        found.extend(workers)

    monkeypatch.setattr("evo.evaluators.dask.cluster.END_SECONDS", 0.3)
    monkeypatch.setattr(Client, "restart_workers", restart)
    return found


def test_a_worker_that_goes_on_with_what_was_given_up_is_restarted(one_worker: Client, restarted: list[str]) -> None:
    with evaluator_of(one_worker, setup=OBJECTIVE, timeout=0.3) as evaluator:
        evaluator.start()
        evaluator.submit(task(0, late=True))
        [late] = all_of(evaluator)
        assert late.status == "timeout"
        serve_until(evaluator, lambda: restarted)
        assert restarted == list(one_worker.nthreads())
        LET_GO.set()


@pytest.mark.slow
def test_the_process_of_a_worker_that_hangs_is_ended_and_its_nanny_starts_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo.evaluators.dask.cluster.END_SECONDS", 0.5)
    with DaskEvaluator(Arithmetic(tmp_path), lambda: connect("local", 1, str), timeout=1.0) as evaluator:
        evaluator.start()
        [before] = evaluator._members
        evaluator.submit(task(0, sleep=600))
        evaluator.submit(task(1))
        found = {evaluation.individual: evaluation.status for evaluation in all_of(evaluator)}
        assert found == {0: "timeout", 1: "complete"}
        assert before not in evaluator._members


def test_a_worker_is_not_restarted_for_what_others_do_there(one_worker: Client, restarted: list[str]) -> None:
    with evaluator_of(one_worker, setup=OBJECTIVE, timeout=0.5) as evaluator:
        evaluator.start()
        evaluator.submit(task(0, late=True))
        assert BEGAN.wait(PATIENCE)
        others = others_take(one_worker)  # they wait behind it, and the invitation will wait behind them
        [late] = all_of(evaluator)
        assert late.status == "timeout"
        LET_GO.set()
        assert HELD.wait(PATIENCE)
        assert evaluator.next_completed(timeout=1.0) is None
        assert evaluator.workers == 0
        assert restarted == [], "what others train was ended"
        RELEASED.set()
        others.result(PATIENCE)
        serve_until(evaluator, lambda: evaluator.workers == 1)


@dataclass(frozen=True)
class Interruptible(Setup):
    """Trains until it is asked to stop, and notes when it begins and when it saves its state."""

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        def evaluate(task: Task) -> Evaluation:
            CALLS.append(task.individual)
            BEGAN.set()
            end = time.monotonic() + PATIENCE
            while not stop.requested:
                assert time.monotonic() < end
                time.sleep(0.005)
            SAVED.append(task.individual)
            raise Interrupted

        return one_by_one(evaluate), {"device": "cpu", "precision": "fp32", "engine": "eager", "threads": 1}


SAVED: list[int] = []


def test_a_training_that_is_over_its_time_ends_and_saves_nothing(one_worker: Client) -> None:
    SAVED.clear()
    with evaluator_of(one_worker, setup=Interruptible(), timeout=0.3) as evaluator:
        evaluator.start()
        evaluator.submit(task(0))
        assert [evaluation.status for evaluation in all_of(evaluator)] == ["timeout"]
        serve_until(evaluator, lambda: evaluator.workers == 1)
    assert SAVED == []


def test_a_stop_saves_what_is_in_flight_and_gives_an_idle_worker_nothing(two_workers: Client) -> None:
    SAVED.clear()
    with evaluator_of(two_workers, setup=Interruptible()) as evaluator:
        evaluator.start()
        evaluator.submit(task(7))
        serve_until(evaluator, BEGAN.is_set)
        serve_until(evaluator, lambda: any(member.begun for member in evaluator._all_workers()))
        began = time.monotonic()
        assert evaluator.suspend(PATIENCE) == []
        assert time.monotonic() - began < PATIENCE / 2, "it waited for a worker that had nothing to do"
    assert (CALLS, SAVED) == ([7], [7])


def test_after_a_pause_the_workers_take_other_tasks_and_may_take_the_same_again(two_workers: Client) -> None:
    SAVED.clear()
    with evaluator_of(two_workers, setup=Interruptible()) as evaluator:
        evaluator.start()
        evaluator.submit(task(7))
        serve_until(evaluator, BEGAN.is_set)
        serve_until(evaluator, lambda: bool(evaluator.in_hand()))
        assert evaluator.pause(PATIENCE) == []
        assert (evaluator.pending, SAVED) == (0, [7])
        BEGAN.clear()
        evaluator.submit(task(7))
        serve_until(evaluator, BEGAN.is_set)
        serve_until(evaluator, lambda: bool(evaluator.in_hand()))
        evaluator.pause(PATIENCE)
        assert SAVED == [7, 7]


def test_a_stop_does_not_wait_for_what_has_not_begun(one_worker: Client) -> None:
    with evaluator_of(one_worker, setup=OBJECTIVE) as evaluator:
        evaluator.start()
        others = others_take(one_worker)
        assert HELD.wait(PATIENCE)
        evaluator.submit(task(1))
        began = time.monotonic()
        assert evaluator.suspend(PATIENCE) == []
        assert time.monotonic() - began < PATIENCE / 2
        RELEASED.set()
        others.result(PATIENCE)
    assert CALLS == []


# Workers that are paused, or have threads.


def set_status(status: str, dask_worker: Worker) -> None:
    dask_worker.status = Status[status]


def test_a_paused_worker_is_given_nothing_and_what_it_has_not_begun_moves(two_workers: Client) -> None:
    paused = sorted(two_workers.nthreads())[0]
    try:
        with evaluator_of(two_workers, setup=OBJECTIVE) as evaluator:
            evaluator.start()
            two_workers.run(set_status, "paused", workers=[paused])
            for individual in range(2):
                evaluator.submit(task(individual))
            assert evaluator.running == 2, "it is not known yet that one is paused"
            found = all_of(evaluator)
            assert len({evaluation.worker for evaluation in found}) == 1
            assert evaluator.workers == 1
            for individual in range(2, 4):
                evaluator.submit(task(individual))
            assert evaluator.running == 1
            found += all_of(evaluator)
            assert sorted(CALLS) == [0, 1, 2, 3]
            two_workers.run(set_status, "running", workers=[paused])
            serve_until(evaluator, lambda: evaluator.workers == 2)
    finally:
        two_workers.run(set_status, "running", workers=[paused])


def test_where_all_workers_are_paused_the_search_says_so_and_waits(one_worker: Client) -> None:
    said: list[str] = []
    try:
        with evaluator_of(one_worker, setup=OBJECTIVE, notify=said.append) as evaluator:
            evaluator.start()
            one_worker.run(set_status, "paused")
            evaluator.submit(task(1))
            serve_until(evaluator, lambda: said)
            assert "paused every worker" in said[0]
            assert "--memory-limit 0" in said[0]
            one_worker.run(set_status, "running")
            assert len(all_of(evaluator)) == 1
    finally:
        one_worker.run(set_status, "running")


def test_a_worker_of_several_threads_takes_no_part_and_the_error_says_how_to_start_it() -> None:
    with (
        client_of(1, threads=2) as client,
        evaluator_of(client, setup=OBJECTIVE) as evaluator,
        pytest.raises(ConfigurationError, match=r"has 2 threads(.|\n)*--nthreads 1"),
    ):
        evaluator.start()


# Memory.


def test_what_runs_out_of_memory_beside_others_is_tried_alone_also_if_they_have_ended_since(
    two_workers: Client,
) -> None:
    with evaluator_of(two_workers, setup=OBJECTIVE) as evaluator:
        evaluator.start()
        evaluator.submit(task(0, late=True, large=True))
        evaluator.submit(task(1))
        assert evaluator.running == 2
        first = evaluator.next_completed(PATIENCE)
        assert first is not None
        assert first.individual == 1
        LET_GO.set()  # now there is nothing beside it
        [evaluation] = all_of(evaluator)
    assert (evaluation.individual, evaluation.status) == (0, "out_of_memory")
    assert CALLS.count(0) == 2, "once beside another, once alone"


def test_what_runs_out_of_memory_alone_is_recorded_at_once(two_workers: Client) -> None:
    with evaluator_of(two_workers, setup=OBJECTIVE) as evaluator:
        evaluator.start()
        evaluator.submit(task(0, large=True))
        [evaluation] = all_of(evaluator)
    assert evaluation.status == "out_of_memory"
    assert "no memory left" in evaluation.error
    assert CALLS == [0]


def test_a_task_that_loses_a_second_worker_beside_others_is_tried_alone() -> None:
    client: Any = None
    evaluator = DaskEvaluator(OBJECTIVE, lambda: client)
    lost, other = replace(task(0), memory=1.0), replace(task(1), memory=1.0)
    member = Member(address="tcp://127.0.0.1:1", name="worker-0", tasks=[lost], beside=[other])
    evaluator._do_again(member, "it has left the cluster")
    member.tasks = evaluator._planner.take([other])
    assert member.tasks, "workers come and go: one loss means nothing"
    evaluator._do_again(member, "it has left the cluster")
    assert evaluator._planner.take([other]) == []
    alone = evaluator._planner.take([])
    assert [task.individual for task in alone] == [0]
    evaluator._planner.add(other)
    assert evaluator._planner.take(alone) == [], "nothing starts beside it"


# Errors.


@dataclass(frozen=True)
class Breaking(Arithmetic):
    """Cannot be built so many times, or breaks while it evaluates."""

    failures: int = 0

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        CALLS.append(-1)
        if CALLS.count(-1) <= self.failures:
            raise OSError("the disk of the data does not answer")
        return super().build(stop)

    def evaluate(self, task: Task) -> Evaluation:
        CALLS.append(task.individual)
        if task.config.get("breaks") == "plainly":
            raise ValueError("something is wrong")
        if task.config.get("breaks") == "disk" and CALLS.count(task.individual) == 1:
            raise OSError("no space left on device")
        return super().evaluate(task)


def test_a_worker_that_could_not_be_made_ready_once_is_invited_again(one_worker: Client, tmp_path: Path) -> None:
    with evaluator_of(one_worker, setup=Breaking(tmp_path, failures=1)) as evaluator:
        evaluator.start()
        evaluator.submit(task(2))
        [evaluation] = all_of(evaluator)
    assert evaluation.fitness == 4.0


def test_a_worker_that_cannot_be_made_ready_is_refused_with_the_true_reason(one_worker: Client, tmp_path: Path) -> None:
    with evaluator_of(one_worker, setup=Breaking(tmp_path, failures=99)) as evaluator:
        with pytest.raises(ConfigurationError, match="OSError: the disk of the data does not answer") as refused:
            evaluator.start()
        assert "same version" not in str(refused.value)
    assert CALLS == [-1, -1]


def test_an_error_on_a_worker_is_reported_at_once_as_what_it_is(one_worker: Client, tmp_path: Path) -> None:
    with evaluator_of(one_worker, setup=Breaking(tmp_path)) as evaluator:
        evaluator.start()
        evaluator.submit(task(5, breaks="plainly"))
        [evaluation] = all_of(evaluator)
        evaluator.submit(task(6))
        assert len(all_of(evaluator)) == 1, "the worker takes part again"
    assert (evaluation.status, evaluation.error) == ("failed", "ValueError: something is wrong")
    assert CALLS.count(5) == 1


def test_a_worker_whose_disk_fails_makes_no_failed_row(one_worker: Client, tmp_path: Path) -> None:
    with evaluator_of(one_worker, setup=Breaking(tmp_path)) as evaluator:
        evaluator.start()
        evaluator.submit(task(5, breaks="disk"))
        [evaluation] = all_of(evaluator)
    assert evaluation.status == "complete"
    assert CALLS.count(5) == 2
