"""The loop records what was proposed before it is evaluated, continues where it was stopped, and survives failures."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

import evo
from evo.errors import SearchError
from evo.evaluation import Evaluation
from evo.evaluators import InProcessEvaluator, ObjectiveSetup
from evo.loop.deadline import Stop
from evo.loop.search_loop import SilentObserver, run_search
from evo.record.run import Run
from evo.strategies import Strategy, make_strategy
from tests.test_run import make_settings

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)}, name="line")


class Watcher(SilentObserver):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, Any]] = []

    def started(self, run: Run, total: int | None) -> None:
        self.notes.append(("started", total))

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        self.notes.append(("evaluated", evaluation.individual))


def make_run() -> Run:
    return Run.create(make_settings(space=SPACE.to_dict(), initial=[]))


def make_algorithm(budget: int = 6) -> Strategy:
    return make_strategy("ga", SPACE, seed=1, population=3, budget=budget)


def search(
    run: Run,
    objective: Callable[..., Any],
    *,
    budget: int = 6,
    algorithm: Strategy | None = None,
    watcher: SilentObserver | None = None,
    stop_check: Callable[[], None] = lambda: None,
) -> None:
    evaluator = InProcessEvaluator(ObjectiveSetup(objective))
    run_search(algorithm or make_algorithm(budget), evaluator, run, watcher or Watcher(), stop_check)


def rows(run: Run) -> list[tuple[Any, ...]]:
    return [
        (individual.genome, individual.parents, individual.operator, run.evaluations[individual.id, 0].fitness)
        for individual in run.individuals
    ]


def test_everything_proposed_is_evaluated_and_every_generation_kept() -> None:
    run = make_run()
    search(run, lambda config: config["x"])
    assert len(run.individuals) == 6
    assert [evaluation.fitness for evaluation in run.search_evaluations] == [i.genome["x"] for i in run.individuals]
    assert run.generations[0] == (0, 1, 2)
    assert set(run.generations) == {individual.generation for individual in run.individuals}


def test_a_proposal_is_recorded_before_it_is_evaluated() -> None:
    run = make_run()
    search(run, lambda config: float(config == run.individuals[-1].config))
    assert [evaluation.fitness for evaluation in run.search_evaluations] == [1.0] * 6


def test_an_observer_sees_everything_in_order() -> None:
    watcher = Watcher()
    search(make_run(), lambda config: config["x"], budget=3, watcher=watcher)
    assert watcher.notes[0] == ("started", 3)
    assert watcher.notes[1:] == [("evaluated", 0), ("evaluated", 1), ("evaluated", 2)]


@pytest.mark.parametrize("calls", range(1, 8))
def test_a_search_that_is_stopped_and_resumed_ends_as_one_that_was_not(calls: int) -> None:
    whole, parts = make_run(), make_run()
    search(whole, lambda config: config["x"])
    left = [calls]

    def stop() -> None:
        left[0] -= 1
        if not left[0]:
            raise Stop("enough", 75)

    if calls <= 6:
        with pytest.raises(Stop):
            search(parts, lambda config: config["x"], stop_check=stop)
        algorithm = make_algorithm()
        algorithm.replay(parts.individuals, parts.search_evaluations)
        search(parts, lambda config: config["x"], algorithm=algorithm)
    else:
        search(parts, lambda config: config["x"], stop_check=stop)
    assert rows(parts) == rows(whole)
    assert parts.generations == whole.generations


def test_what_was_proposed_before_a_kill_is_evaluated_first() -> None:
    run, watcher = make_run(), Watcher()
    [first, second] = make_algorithm().ask(room=2)
    run.record_proposal(first)
    run.record_proposal(second)
    algorithm = make_algorithm()
    algorithm.replay(run.individuals, [])
    search(run, lambda config: config["x"], algorithm=algorithm, watcher=watcher)
    assert watcher.notes[1:3] == [("evaluated", 0), ("evaluated", 1)]
    assert len(run.individuals) == len(run.search_evaluations) == 6


def test_a_failed_evaluation_is_a_row_and_the_search_goes_on() -> None:
    run = make_run()

    def objective(config: dict[str, float], seed: int) -> float:
        if run.individuals[-1].id in (1, 2, 4):
            raise ValueError("unlucky")
        return config["x"]

    search(run, objective)
    statuses = [evaluation.status for evaluation in run.search_evaluations]
    assert statuses == ["complete", "failed", "failed", "complete", "failed", "complete"]
    assert run.evaluations[4, 0].error == "ValueError: unlucky"


def test_three_failures_at_the_start_stop_the_search_with_every_reason() -> None:
    run = make_run()

    def objective(config: dict[str, float]) -> float:
        raise ValueError(f"no data for {run.individuals[-1].id}")

    with pytest.raises(SearchError, match="all failed, so the search was stopped") as caught:
        search(run, objective)
    for number in range(3):
        assert f"individual {number}: failed: ValueError: no data for {number}" in str(caught.value)
    assert len(run.evaluations) == 3


def test_divergence_at_the_start_is_no_reason_to_stop() -> None:
    class Diverging(InProcessEvaluator):
        def next_completed(self, timeout: float | None = None) -> Evaluation | None:
            task = self._tasks.popleft()
            return Evaluation(task.individual, 0, task.seed, "diverged", error="the loss was nan by step 10")

    run = make_run()
    run_search(make_algorithm(), Diverging(ObjectiveSetup(lambda config: 0.0)), run, SilentObserver())
    assert [evaluation.status for evaluation in run.search_evaluations] == ["diverged"] * 6


def test_an_asynchronous_search_waits_for_a_worker_where_there_is_none_at_the_moment() -> None:
    class Comes(InProcessEvaluator):
        """Its worker leaves with every result, and another comes only after a proposal."""

        @property
        def workers(self) -> int:
            return 0

    run = make_run()
    algorithm = make_strategy("ageing", run.space, seed=1, population=3, budget=6, asynchronous=True)
    run_search(algorithm, Comes(ObjectiveSetup(lambda config: config["x"])), run, SilentObserver())
    assert len(run.search_evaluations) == 6


def failing(config: dict[str, float]) -> float:
    raise ValueError("no data")


def replayed(run: Run) -> Strategy:
    algorithm = make_algorithm(budget=9)
    algorithm.replay(run.individuals, run.search_evaluations)
    return algorithm


class Recorded(InProcessEvaluator):
    """Gives back the evaluations of the individuals in an order of its own; those not in `worked` have failed."""

    def __init__(self, order: list[int], worked: set[int]):
        super().__init__(ObjectiveSetup(failing))
        self.order, self.worked = order, worked

    def room(self) -> int:
        return max(0, len(self.order) - self.pending)

    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        number = self.order.pop(0) if self.order else self._tasks[0].individual
        [task] = [task for task in self._tasks if task.individual == number]
        self._tasks.remove(task)
        works = number in self.worked
        return Evaluation(number, 0, task.seed, "complete" if works else "failed", 0.5 if works else None)


def test_a_resume_after_the_objective_was_mended_goes_on_to_the_end() -> None:
    run = make_run()
    for _ in range(2):
        with pytest.raises(SearchError, match="all failed, so the search was stopped"):
            search(run, failing, algorithm=replayed(run))
    assert len(run.evaluations) > 3
    search(run, lambda config: config["x"], algorithm=replayed(run))
    statuses = [evaluation.status for evaluation in run.search_evaluations]
    assert statuses == ["failed"] * statuses.count("failed") + ["complete"] * statuses.count("complete")
    assert len(statuses) == 9
    assert statuses.count("failed") > 3


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
@pytest.mark.parametrize(("worked", "stops"), [({3}, True), ({2}, False), ({0, 3}, False), (set(), True)], ids=str)
def test_whether_failures_stop_a_search_does_not_depend_on_the_order_of_arrival(
    order: tuple[int, ...], worked: set[int], stops: bool
) -> None:
    run = make_run()
    algorithm = make_strategy("random", SPACE, seed=1, population=4, budget=4)
    if not stops:
        run_search(algorithm, Recorded(list(order), worked), run, SilentObserver())
        assert len(run.evaluations) == 4
        return
    with pytest.raises(SearchError, match="individual 0: failed") as caught:
        run_search(algorithm, Recorded(list(order), worked), run, SilentObserver())
    assert "individual 3" not in str(caught.value)
