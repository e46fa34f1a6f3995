"""Workers that die are replaced, and none outlives the pool."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from evo.errors import SearchError
from evo.evaluation import Evaluation
from evo.evaluators import ProcessPoolEvaluator, Task
from evo.evaluators.base import Evaluate, StopRequest
from evo.evaluators.planner import MEMORY_SHARE
from evo.processes import private_memory
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


class Hungry(Arithmetic):
    """Squares `x`; a task with `trouble` gets it at its first attempts, once another task runs beside it.

    `trouble` is "out_of_memory", or "kill" for a SIGKILL; `attempts` says how often (once). Where `beside` is False, an
    attempt does not wait for another task.
    """

    def evaluate(self, task: Task) -> Evaluation:
        config: dict[str, Any] = dict(task.config)
        mine = self.folder / f"running-{task.individual}"
        mine.touch()
        try:
            return self.attempt(task, config, mine)
        finally:
            mine.unlink()

    def attempt(self, task: Task, config: dict[str, Any], mine: Path) -> Evaluation:
        before = len(list(self.folder.glob(f"attempt-{task.individual}-*")))
        in_trouble = before < int(config.get("attempts", 1)) and "trouble" in config
        if in_trouble and not before and config.get("beside", True):
            wait_until(lambda: self.others(mine), seconds=30)
        attempt = self.folder / f"attempt-{task.individual}-{before}"
        attempt.write_text("beside" if self.others(mine) else "alone")
        if in_trouble and config["trouble"] == "kill":
            mine.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(config.get("sleep", 0)))
        if in_trouble:
            error = "MemoryError: no more"
            return Evaluation(task.individual, task.replicate, task.seed, "out_of_memory", error=error)
        if before and self.others(mine):
            attempt.write_text("beside")
        return Evaluation(task.individual, task.replicate, task.seed, "complete", float(config["x"]) ** 2)

    def others(self, mine: Path) -> bool:
        return any(path != mine for path in self.folder.glob("running-*"))


def attempts_of(folder: Path, individual: int) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob(f"attempt-{individual}-*"))]


SLEEPERS = [Task(i, 0, i, {"x": i, "sleep": 0.2}) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("trouble", ["out_of_memory", "kill"])
def test_an_evaluation_that_ran_out_of_memory_beside_another_is_done_again_alone_and_last(
    tmp_path: Path, trouble: str
) -> None:
    with ProcessPoolEvaluator(Hungry(tmp_path), workers=2) as evaluator:
        evaluator.start()
        hungry = Task(0, 0, 5, {"x": 3, "trouble": trouble, "sleep": 0.2}, cost=9.0, memory=10.0)
        found = evaluate(evaluator, hungry, *SLEEPERS)
    assert (found[0].status, found[0].fitness, found[0].seed) == ("complete", 9.0, 5)
    assert attempts_of(tmp_path, 0) == ["beside", "alone"]
    assert list(found)[-1] == 0
    assert [found[i].fitness for i in (1, 2, 3, 4)] == [1.0, 4.0, 9.0, 16.0]
    assert [len(attempts_of(tmp_path, i)) for i in (1, 2, 3, 4)] == [1] * 4


@pytest.mark.parametrize(("trouble", "status"), [("out_of_memory", "out_of_memory"), ("kill", "failed")])
def test_an_evaluation_that_runs_out_of_memory_also_alone_has_failed(tmp_path: Path, trouble: str, status: str) -> None:
    with ProcessPoolEvaluator(Hungry(tmp_path), workers=2) as evaluator:
        evaluator.start()
        hungry = Task(0, 0, 5, {"x": 3, "trouble": trouble, "attempts": 99}, cost=9.0, memory=10.0)
        found = evaluate(evaluator, hungry, *SLEEPERS[:2])
    assert (found[0].status, found[0].fitness, found[0].seed) == (status, None, 5)
    assert attempts_of(tmp_path, 0) == ["beside", "alone"]
    assert [found[i].fitness for i in (1, 2)] == [1.0, 4.0]


def test_an_evaluation_that_runs_out_of_memory_by_itself_has_failed_at_once(tmp_path: Path) -> None:
    with ProcessPoolEvaluator(Hungry(tmp_path), workers=1) as evaluator:
        evaluator.start()
        hungry = Task(0, 0, 5, {"x": 3, "trouble": "out_of_memory", "beside": False})
        found = evaluate(evaluator, hungry, *SLEEPERS[:1])
    assert (found[0].status, found[0].error, found[0].worker) == ("out_of_memory", "MemoryError: no more", "worker-0")
    assert attempts_of(tmp_path, 0) == ["alone"]
    assert found[1].fitness == 1.0


def test_a_longer_task_starts_before_a_shorter_one_that_came_first(tmp_path: Path) -> None:
    with ProcessPoolEvaluator(Arithmetic(tmp_path), workers=1) as evaluator:
        evaluator.start()
        busy = Task(0, 0, 0, {"x": 0, "sleep": 0.1})
        found = evaluate(evaluator, busy, *(Task(i, 0, i, {"x": i}, cost=float(i)) for i in (1, 2, 3)))
    assert list(found) == [0, 3, 2, 1]


def test_cancelled_tasks_that_were_to_run_alone_never_come_back(tmp_path: Path) -> None:
    with ProcessPoolEvaluator(Hungry(tmp_path), workers=2) as evaluator:
        evaluator.start()
        evaluator.submit(Task(0, 0, 5, {"x": 3, "trouble": "out_of_memory"}, cost=9.0))
        evaluator.submit(Task(1, 0, 1, {"x": 1, "sleep": 600}))
        wait_until(lambda: evaluator.next_completed(0.01) is None and bool(evaluator._planner._waiting_alone))
        evaluator.cancel()
        assert evaluator.pending == 0
        assert list(evaluate(evaluator, Task(2, 0, 2, {"x": 2}))) == [2]


class Large(Arithmetic):
    """Has 200 MB of its own once it is ready, and says that 1 GB is free then; the first worker is ready first."""

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        try:
            (self.folder / "first").touch(exist_ok=False)
        except FileExistsError:
            wait_until((self.folder / "go").exists)
        kept.append(b"x" * LARGE)
        evaluate, facts = super().build(stop)
        return evaluate, facts | {"free_memory": 1e9}


LARGE = 200_000_000
kept: list[bytes] = []


def test_memory_that_further_workers_will_take_is_not_planned_with(tmp_path: Path) -> None:
    with ProcessPoolEvaluator(Large(tmp_path), workers=3) as evaluator:
        evaluator.start()
        assert evaluator._planner.memory == pytest.approx(MEMORY_SHARE * (1e9 - 2 * LARGE), rel=0.15)
        (tmp_path / "go").touch()
        wait_until(lambda: evaluator.next_completed(0.1) is None and all(w.ready for w in evaluator._workers))
        assert all(private_memory(worker.process.pid) > LARGE for worker in evaluator._workers)


@pytest.mark.parametrize(("workers", "on_cpu", "count"), [(1, 3, 3), (2, 1, 2)])
def test_without_a_gpu_there_are_as_many_workers_as_cores(
    tmp_path: Path, workers: int, on_cpu: int, count: int
) -> None:
    with ProcessPoolEvaluator(Arithmetic(tmp_path), workers, on_cpu=on_cpu) as evaluator:
        evaluator.start()
        assert evaluator.workers == len(evaluator._workers) == count
        wait_until(lambda: evaluator.next_completed(0.1) is None and all(w.ready for w in evaluator._workers))
