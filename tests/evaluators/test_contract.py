"""What every evaluator promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evo.errors import ConfigurationError
from evo.evaluation import Evaluation
from evo.evaluators import Evaluator, InProcessEvaluator, ProcessPoolEvaluator, Setup, Task
from evo.evaluators.dask.cluster import DaskEvaluator
from evo.evaluators.objective import ObjectiveSetup
from evo.loop.execution import make_evaluator
from tests.evaluators.arithmetic import Arithmetic
from tests.evaluators.clusters import own_cluster

EVALUATORS: dict[str, Callable[[Setup], Evaluator]] = {
    "in process": InProcessEvaluator,
    "process pool": lambda setup: ProcessPoolEvaluator(setup, workers=1),
    "dask": lambda setup: DaskEvaluator(setup, own_cluster),
}


def task(individual: int, replicate: int = 0, sleep: float = 0.0) -> Task:
    return Task(individual, replicate, seed=100 + individual, config={"x": individual, "sleep": sleep})


def all_of(evaluator: Evaluator) -> list[Evaluation]:
    found = []
    while evaluator.pending:
        evaluation = evaluator.next_completed(timeout=60)
        assert evaluation is not None
        found.append(evaluation)
    return found


@pytest.fixture(scope="module", params=EVALUATORS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluator]:
    with EVALUATORS[request.param](Arithmetic(tmp_path_factory.mktemp("arithmetic"))) as evaluator:
        evaluator.start()
        yield evaluator


@pytest.fixture
def evaluator(shared: Evaluator) -> Iterator[Evaluator]:
    assert shared.pending == 0
    yield shared
    shared.cancel()


def test_whether_a_pause_ends_processes_is_said_by_the_evaluator(tmp_path: Path) -> None:
    """Not by the number of workers: one worker with `--timeout` is a process, too."""
    restarts: dict[float | None, bool] = {}
    for timeout in (None, 60.0):
        with make_evaluator(ObjectiveSetup(lambda config: 0.0), 1, timeout) as evaluator:
            restarts[timeout] = evaluator.restarts
    assert restarts == {None: False, 60.0: True}


@pytest.mark.parametrize("make", EVALUATORS.values(), ids=EVALUATORS)
def test_starting_gives_the_facts_of_the_setup_and_closing_twice_does_no_harm(
    make: Callable[[Setup], Evaluator], tmp_path: Path
) -> None:
    evaluator = make(Arithmetic(tmp_path))
    try:
        assert evaluator.start() == {"device": "cpu", "precision": "fp32", "engine": "eager", "threads": 1}
        evaluator.submit(task(1))
    finally:
        evaluator.close()
        evaluator.close()
    assert evaluator.pending == 0


@pytest.mark.parametrize("make", EVALUATORS.values(), ids=EVALUATORS)
def test_a_setup_that_asks_for_what_is_not_there_says_so_at_the_start(
    make: Callable[[Setup], Evaluator], tmp_path: Path
) -> None:
    with (
        make(Arithmetic(tmp_path, broken="configuration")) as evaluator,
        pytest.raises(ConfigurationError, match="--device: there is none"),
    ):
        evaluator.start()


def test_every_task_comes_back_once_with_its_own_result(evaluator: Evaluator) -> None:
    for individual in range(5):
        evaluator.submit(task(individual))
    found = sorted(all_of(evaluator), key=lambda evaluation: evaluation.individual)
    assert [(e.individual, e.seed, e.status, e.fitness) for e in found] == [
        (i, 100 + i, "complete", float(i * i)) for i in range(5)
    ]


def test_replicate_and_phase_come_back(evaluator: Evaluator) -> None:
    evaluator.submit(Task(3, 101, 7, {"x": 2}, phase="finalist"))
    [evaluation] = all_of(evaluator)
    assert (evaluation.replicate, evaluation.phase) == (101, "finalist")


def test_pending_counts_what_was_not_given_back(evaluator: Evaluator) -> None:
    assert evaluator.pending == 0
    for individual in range(3):
        evaluator.submit(task(individual))
        assert evaluator.pending == individual + 1
    evaluator.next_completed(timeout=60)
    assert evaluator.pending == 2


def test_there_is_room_at_first_and_none_after_enough_tasks(evaluator: Evaluator) -> None:
    room = evaluator.room()
    assert room > 0
    for individual in range(room):
        evaluator.submit(task(individual))
    assert evaluator.room() == 0


@pytest.mark.parametrize("timeout", [0.01, None])
def test_without_tasks_nothing_completes(evaluator: Evaluator, timeout: float | None) -> None:
    assert evaluator.next_completed(timeout) is None


def test_after_a_pause_only_new_tasks_come_back(evaluator: Evaluator) -> None:
    for individual in range(4):
        evaluator.submit(task(individual, sleep=0.3))
    finished = [evaluation.individual for evaluation in evaluator.pause(0.0)]
    assert set(finished) <= set(range(4))
    assert (evaluator.pending, evaluator.in_hand()) == (0, [])
    for individual in (8, 9):
        evaluator.submit(task(individual))
    assert sorted(evaluation.individual for evaluation in all_of(evaluator)) == [8, 9]


def test_cancelled_tasks_never_come_back_and_new_ones_do(evaluator: Evaluator) -> None:
    for individual in range(4):
        evaluator.submit(task(individual, sleep=0.2))
    evaluator.cancel()
    assert evaluator.pending == 0
    evaluator.submit(task(9))
    assert [evaluation.individual for evaluation in all_of(evaluator)] == [9]
