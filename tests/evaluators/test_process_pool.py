"""Workers that die are replaced, and none outlives the pool."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evo.errors import ConfigurationError, SearchError
from evo.evaluators import ObjectiveSetup, ProcessPoolEvaluator, Task
from evo.individual import Evaluation
from tests.command import alive, children, wait_until
from tests.evaluators.arithmetic import Arithmetic


def evaluate(evaluator: ProcessPoolEvaluator, *tasks: Task) -> dict[int, Evaluation]:
    for task in tasks:
        evaluator.submit(task)
    found = {}
    while evaluator.pending:
        evaluation = evaluator.next_completed(timeout=60)
        if evaluation is not None:
            found[evaluation.individual] = evaluation
    return found


def test_a_worker_that_dies_is_replaced_and_its_task_done_again(tmp_path: Path) -> None:
    with ProcessPoolEvaluator(Arithmetic(tmp_path), workers=1) as evaluator:
        evaluator.start()
        found = evaluate(evaluator, Task(0, 0, 5, {"x": 3, "deaths": 1}), Task(1, 0, 6, {"x": 4}))
    assert (found[0].status, found[0].fitness, found[0].seed) == ("complete", 9.0, 5)
    assert found[1].fitness == 16.0
    assert (tmp_path / "died").stat().st_size == 1


def test_a_task_whose_worker_dies_every_time_has_failed_with_the_reason(tmp_path: Path) -> None:
    with ProcessPoolEvaluator(Arithmetic(tmp_path), workers=1) as evaluator:
        evaluator.start()
        found = evaluate(evaluator, Task(0, 0, 5, {"x": 3, "deaths": 99}), Task(1, 0, 6, {"x": 4}))
    assert (found[0].status, found[0].fitness, found[0].seed) == ("failed", None, 5)
    assert "SIGKILL" in found[0].error
    assert "memory" in found[0].error
    assert found[1].fitness == 16.0


def test_workers_work_at_the_same_time_in_processes_of_their_own(tmp_path: Path) -> None:
    with ProcessPoolEvaluator(Arithmetic(tmp_path), workers=2) as evaluator:
        evaluator.start()
        wait_until(lambda: evaluator.next_completed(0.1) is None and all(w.ready for w in evaluator._workers))
        found = evaluate(evaluator, *(Task(i, 0, i, {"x": i, "sleep": 0.3}) for i in range(4)))
    assert {evaluation.worker for evaluation in found.values()} == {"worker-0", "worker-1"}


def test_no_worker_outlives_the_pool(tmp_path: Path) -> None:
    before = children(os.getpid())
    evaluator = ProcessPoolEvaluator(Arithmetic(tmp_path), workers=2)
    evaluator.start()
    evaluator.submit(Task(0, 0, 0, {"x": 1, "sleep": 600}))
    workers = {worker.process.pid for worker in evaluator._workers}
    assert workers <= children(os.getpid()) - before
    evaluator.close()
    assert not any(alive(worker) for worker in workers if worker is not None)


def test_workers_that_never_get_ready_end_the_search_with_the_reason(tmp_path: Path) -> None:
    with (
        ProcessPoolEvaluator(Arithmetic(tmp_path, broken="dies"), workers=1) as evaluator,
        pytest.raises(SearchError, match=r"before they are ready.*SIGKILL"),
    ):
        evaluator.start()


def test_an_error_in_the_setup_reaches_the_caller(tmp_path: Path) -> None:
    with (
        ProcessPoolEvaluator(Arithmetic(tmp_path, broken="bug"), workers=1) as evaluator,
        pytest.raises(SearchError, match="RuntimeError: surprise"),
    ):
        evaluator.start()


UNNAMED = [lambda config: 1.0]


@pytest.mark.parametrize("objective", [lambda config: 1.0, *UNNAMED], ids=["local", "at the top"])
def test_an_objective_that_cannot_travel_is_refused_with_the_remedy(objective: Callable[..., float]) -> None:
    with (
        ProcessPoolEvaluator(ObjectiveSetup(objective), workers=1) as evaluator,
        pytest.raises(ConfigurationError, match="top level of a module, or leave workers at 1"),
    ):
        evaluator.start()


def test_an_evaluation_that_takes_too_long_is_ended_and_the_others_are_not(tmp_path: Path) -> None:
    with ProcessPoolEvaluator(Arithmetic(tmp_path), workers=2, timeout=1.0) as evaluator:
        evaluator.start()
        slow = {worker.process.pid for worker in evaluator._workers}
        found = evaluate(
            evaluator, Task(0, 0, 5, {"x": 3, "sleep": 600}), *(Task(i, 0, i, {"x": i}) for i in (1, 2, 3))
        )
        left = {worker.process.pid for worker in evaluator._workers}
    assert (found[0].status, found[0].fitness, found[0].seed) == ("timeout", None, 5)
    assert "--timeout 1 s" in found[0].error
    assert [found[i].fitness for i in (1, 2, 3)] == [1.0, 4.0, 9.0]
    assert len(slow & left) == 1, "only the worker that was late is replaced"


def test_a_pool_that_is_suspended_asks_its_workers_and_then_ends_them(tmp_path: Path) -> None:
    evaluator = ProcessPoolEvaluator(Arithmetic(tmp_path), workers=2)
    evaluator.start()
    evaluator.submit(Task(0, 0, 0, {"x": 1, "sleep": 600}))
    workers = {worker.process.pid for worker in evaluator._workers}
    began = time.monotonic()
    evaluator.suspend(1.0)
    assert time.monotonic() - began < 5
    assert not any(alive(pid) for pid in workers if pid)
