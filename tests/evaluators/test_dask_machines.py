"""Machines of a Dask cluster: broken ones, those that leave in order or that others use; and a client that ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Worker, get_worker

from evo.errors import ClusterLost
from evo.evaluators import ObjectiveSetup, Task
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.cluster import DaskEvaluator
from evo.evaluators.dask.connection import Connection, connect
from evo.evaluators.dask.members import Member
from tests.evaluators.clusters import client_of
from tests.evaluators.test_dask_cluster import all_of, evaluator_of, task
from tests.evaluators.test_dask_late import (
    BEGAN,
    HELD,
    LET_GO,
    OBJECTIVE,
    PATIENCE,
    RELEASED,
    at_first,
    one_worker,
    others_work,
    restarted,
    serve_until,
    two_workers,
)

__all__ = ["at_first", "one_worker", "restarted", "two_workers"]


def slow(config: dict[str, Any]) -> float:
    time.sleep(0.2)
    return float(config["x"])


# A machine that is broken.


def test_a_machine_that_ends_every_task_is_left_out_and_no_row_fails(
    two_workers: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_weights = dask_worker._own_weights

    @contextlib.contextmanager
    def on_a_full_disk(task: Task, weights: bytes | None) -> Iterator[Task]:
        if str(get_worker().name) == "0":
            raise OSError(28, "No space left on device")
        with own_weights(task, weights) as mine:
            yield mine

    monkeypatch.setattr(dask_worker, "_own_weights", on_a_full_disk)
    monkeypatch.setattr(DaskEvaluator, "_neighbours", lambda evaluator, member: [])  # two machines
    said: list[str] = []
    with DaskEvaluator(ObjectiveSetup(slow), lambda: connect(two_workers, 2, str), warn=said.append) as evaluator:
        evaluator.start()
        for number in range(6):
            evaluator.submit(task(number))
        found = {evaluation.individual: evaluation.status for evaluation in all_of(evaluator)}
        assert evaluator.workers == 1
    assert found == dict.fromkeys(range(6), "complete")
    [warning] = said
    assert "worker-0" in warning
    assert "No space left on device" in warning


def test_a_task_goes_back_to_where_it_was_lost_only_if_there_are_no_others() -> None:
    client: Any = None
    evaluator = DaskEvaluator(OBJECTIVE, lambda: client)
    answer = dask_worker.Answer("host", "worker")
    here, there = (Member(address=f"tcp://127.0.0.1:{port}", name=f"worker-{port}", answer=answer) for port in (1, 2))
    evaluator._members = {here.address: here, there.address: there}
    here.tasks = [lost := task(0)]
    evaluator._do_again(here, "it has left the cluster")
    assert not evaluator._is_welcome(here, lost)
    assert evaluator._is_welcome(there, lost)
    there.resting = True
    assert evaluator._is_welcome(here, lost)


# A machine that leaves in order.


def test_workers_that_leave_in_order_cost_a_task_none_of_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evo.evaluators.dask.cluster.LOSSES", 1)
    monkeypatch.setattr("evo.evaluators.dask.link.WATCH_SECONDS", 0.1)
    with client_of(1) as client, evaluator_of(client, setup=OBJECTIVE) as evaluator:

        async def another() -> Worker:
            return await Worker(client.scheduler.address, nthreads=1, memory_limit=0, dashboard_address="127.0.0.1:0")

        evaluator.start()
        evaluator.submit(task(3, late=True))
        assert BEGAN.wait(PATIENCE)
        [first] = client.nthreads()
        second = client.sync(another)
        BEGAN.clear()
        client.retire_workers([first])
        serve_until(evaluator, BEGAN.is_set)
        LET_GO.set()
        [evaluation] = all_of(evaluator)
        client.sync(second.close)
    assert (evaluation.status, evaluation.fitness) == ("complete", 3.0)


# What others have on a worker.


def test_a_worker_that_keeps_results_of_others_is_not_restarted(one_worker: Client, restarted: list[str]) -> None:
    said: list[str] = []
    theirs = one_worker.scatter([1, 2, 3])
    with DaskEvaluator(OBJECTIVE, lambda: connect(one_worker, 1, str), timeout=0.3, notify=said.append) as evaluator:
        evaluator.start()
        evaluator.submit(task(0, late=True))
        assert [late.status for late in all_of(evaluator)] == ["timeout"]
        serve_until(evaluator, lambda: said)
        LET_GO.set()
        serve_until(evaluator, lambda: evaluator.workers == 1)
    assert restarted == []
    assert "others have tasks or results there" in said[0]
    assert one_worker.gather(theirs) == [1, 2, 3]


def test_a_task_behind_others_work_moves_to_a_worker_that_is_free(
    two_workers: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo.evaluators.dask.cluster.UNBEGUN_SECONDS", 0.3)
    with evaluator_of(two_workers, setup=OBJECTIVE) as evaluator:
        evaluator.start()
        others = two_workers.submit(others_work, pure=False)
        assert HELD.wait(PATIENCE)
        for number in range(2):  # one for each worker
            evaluator.submit(task(number))
        assert sorted(evaluation.individual for evaluation in all_of(evaluator)) == [0, 1]
        assert not others.done(), "one has waited for others' work"
        RELEASED.set()
        others.result(PATIENCE)


# The end.


def test_a_stop_gives_back_what_has_come_while_the_search_was_at_something_else(two_workers: Client) -> None:
    with evaluator_of(two_workers, setup=OBJECTIVE) as evaluator:
        evaluator.start()
        for number in range(2):
            evaluator.submit(task(number))
        time.sleep(1.0)  # it proposes, or writes tables
        assert sorted(evaluation.individual for evaluation in evaluator.suspend(5.0)) == [0, 1]


def test_a_marker_that_cannot_be_removed_hides_no_error_and_keeps_no_connection(
    one_worker: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    (tmp_path / "run").mkdir()

    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(path))

    evaluator = DaskEvaluator(OBJECTIVE, lambda: Connection(one_worker, "here", lambda: closed.append(True)))
    evaluator.start()
    evaluator.submit(replace(task(0), checkpoint=str(tmp_path / "run" / "checkpoints" / "0-0.safetensors")))
    all_of(evaluator)
    monkeypatch.setattr(Path, "unlink", unlink)
    evaluator.close()
    assert closed == [True]


def test_a_client_that_is_closed_ends_a_search_like_a_scheduler_that_is_gone() -> None:
    with client_of(1) as client:
        own = Client(client.scheduler.address, set_as_default=False)
        with evaluator_of(own, setup=ObjectiveSetup(slow)) as evaluator:
            evaluator.start()
            for number in range(100):
                evaluator.submit(task(number))
            own.close()
            with pytest.raises(ClusterLost):
                all_of(evaluator)
