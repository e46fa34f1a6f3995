"""The loop: an algorithm proposes, an evaluator evaluates, a run keeps what happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

from evo.errors import SearchError, listed
from evo.evaluators.base import Evaluator
from evo.individual import Evaluation
from evo.loop.dispatch import Dispatch
from evo.record.run import Run
from evo.record.settings import Settings
from evo.space import SearchSpace
from evo.strategies import Strategy, make_strategy

FAILURES_AT_START = 3
FAILURES = ("failed", "timeout", "out_of_memory")
POLL_SECONDS = 0.2
TABLES_SHARE = 0.1
"""The CSV files follow the journal once a generation, unless that took more than this share of the time."""


class Stop(Exception):  # noqa: N818  # a stop is no error
    """Raised by a stop check: the search ends here, and can be resumed.

    Attributes:
        exit_code: Of the command.
    """

    def __init__(self, reason: str, exit_code: int):
        super().__init__(reason)
        self.exit_code = exit_code


StopCheck = Callable[[], None]

Stage: TypeAlias = Literal["search", "finalist", "test"]
"""What a run is at: its search, the trainings of its finalists on new seeds, or their measurement on the test set."""


class Observer(Protocol):
    """Someone who watches a search: the terminal's progress, or nobody."""

    def started(self, run: Run, total: int) -> None:
        """The run is open; `total` is the number of trainings that the search takes at most."""

    def working(self, stage: Stage, busy: int) -> None:
        """So many evaluations run at this moment; told again and again while results are awaited."""

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """An evaluation has finished and is recorded; what is left will take so long, if one can say."""

    def notify(self, message: str) -> None:
        """Something that a person may want to know."""

    def warn(self, message: str) -> None:
        """Something that a person must know."""


class Nobody:
    """An observer that ignores everything."""

    def started(self, run: Run, total: int) -> None:
        """Ignore it."""

    def working(self, stage: Stage, busy: int) -> None:
        """Ignore it."""

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Ignore it."""

    def notify(self, message: str) -> None:
        """Ignore it."""

    def warn(self, message: str) -> None:
        """Ignore it."""


def algorithm_of(space: SearchSpace, settings: Settings, population: int | None) -> Strategy:
    """Return the strategy that a run's settings ask for, as it is before its first proposal."""
    return make_strategy(
        settings.strategy,
        space,
        seed=settings.seed,
        population=population,
        budget=settings.budget,
        generations=settings.generations,
        initial=settings.initial,
        retrainable=settings.retrainable,
        pending=settings.pending,
        asynchronous=settings.asynchronous,
        objectives=settings.objectives,
        continuations=settings.continuations,
    )


def run_search(
    algorithm: Strategy, evaluator: Evaluator, run: Run, observer: Observer, stop_check: StopCheck = lambda: None
) -> None:
    """Search until the algorithm is done; a run that was interrupted goes on where its journal ends.

    Args:
        algorithm: Proposes; has already replayed the run's past.
        evaluator: Evaluates; is started.
        run: Keeps; is open for writing.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end the search.

    Raises:
        SearchError: The first three evaluations all failed.
        Stop: The stop check raised it.
    """
    observer.started(run, algorithm.limit)
    first = _first_to_try(run)
    with Dispatch(run, evaluator, urgent=first) as dispatch:
        for individual in run.unevaluated():
            dispatch.submit(individual)
        while not algorithm.done():
            stop_check()
            for individual in algorithm.ask(room=_room(algorithm, dispatch, evaluator)):
                run.record_proposal(individual)
                dispatch.submit(individual)
            _record_generations(algorithm, run)
            if not dispatch.pending and not algorithm.done():
                raise RuntimeError(f"{algorithm.name} proposes nothing although nothing is pending and it is not done")
            observer.working("search", evaluator.running)
            evaluation = dispatch.next_completed(timeout=POLL_SECONDS)
            if evaluation is None:
                continue
            run.record(evaluation)
            dispatch.recorded(evaluation)
            algorithm.tell(evaluation)
            observer.evaluated(run, evaluation, dispatch.seconds_left(algorithm.limit))
            _check_first_results(run, first)
    _record_generations(algorithm, run)
    run.forget_states()


def _room(algorithm: Strategy, dispatch: Dispatch, evaluator: Evaluator) -> int:
    """Return how many proposals are wanted now.

    As many as the evaluator can look ahead; but a strategy that learns whatever has arrived would then propose long
    before it learns, so it proposes for workers that are free. (On a cluster there may be none at this moment: then for
    the first that comes.)
    """
    room = dispatch.room()
    return min(room, max(0, max(1, evaluator.workers) - dispatch.pending)) if algorithm.asynchronous else room


def _record_generations(algorithm: Strategy, run: Run) -> None:
    """Keep the populations that are new; the CSV files follow the journal once a generation."""
    new = [
        (generation, members)
        for generation, members in enumerate(algorithm.populations())
        if run.generations.get(generation) != members
    ]
    for generation, members in new:
        run.record_generation(generation, members)
    if new:
        run.write_tables(share=TABLES_SHARE)


def _first_to_try(run: Run) -> range:
    """Return the individuals that show whether anything works: the first three; once those have failed, the next."""
    first = range(FAILURES_AT_START)
    while len(_failures(run, first)) == FAILURES_AT_START:
        first = range(first.stop, first.stop + FAILURES_AT_START)
    return first


def _failures(run: Run, individuals: range) -> list[Evaluation]:
    """Return the evaluations that failed; divergence is no failure."""
    found = [run.evaluations[number, 0] for number in individuals if (number, 0) in run.evaluations]
    return [evaluation for evaluation in found if evaluation.status in FAILURES]


def _check_first_results(run: Run, first: range) -> None:
    """Stop a search if the individuals that show whether anything works have all failed, whatever came in between."""
    failures = _failures(run, first)
    if len(failures) < FAILURES_AT_START:
        return
    reasons = [f"individual {e.individual}: {e.status}: {e.error}" for e in failures]
    which = "the first three evaluations" if first.start == 0 else f"individuals {first.start} to {first.stop - 1}"
    remedy = f"\nMend the cause, then go on with:  evo resume {run.path}" if run.path is not None else ""
    raise SearchError(listed(reasons, f"{which} all failed, so the search was stopped:") + remedy)
