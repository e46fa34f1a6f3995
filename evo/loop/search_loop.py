"""The loop: a strategy proposes, an evaluator evaluates, a run records what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, Protocol, TypeAlias

from evo.evaluation import Evaluation, Phase
from evo.evaluators.base import Evaluator, Report
from evo.individual import Genome, Individual
from evo.loop.cost import guessed_cost
from evo.loop.deadline import SUSPEND_SECONDS, StopCheck
from evo.loop.dispatch import Dispatch
from evo.loop.ending import SearchShare
from evo.loop.first_results import FirstResults
from evo.names import check_name
from evo.record.run import Run
from evo.record.settings import Settings
from evo.space import SearchSpace
from evo.strategies import OWN_OPTIONS, STRATEGIES, Strategy, strategy_of
from evo.strategies.pruning import Pruned

POLL_SECONDS = 0.2
TABLES_SHARE = 0.1
"""The CSV files follow the journal once a generation, unless that took more than this share of the time."""

Stage: TypeAlias = Phase | Literal["test"]
"""What a run is doing: a phase of its trainings, or the measurement of its finalists on the test set."""


class Observer(Protocol):
    """Watches a search, as the terminal's progress does."""

    def started(self, run: Run, total: int) -> None:
        """The run is open; `total` is the number of trainings that the search takes at most."""

    def working(self, stage: Stage, busy: int) -> None:
        """So many evaluations are running now; called again and again while results are awaited."""

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """An evaluation has finished and is recorded; the rest takes `seconds_left`, if that is known."""

    def reported(self, run: Run, report: Report) -> None:
        """A running training has reported, and that is recorded; called from any thread, one call at a time."""

    def notify(self, message: str) -> None:
        """Something that the user may want to know."""

    def warn(self, message: str) -> None:
        """Something that the user must know."""


class SilentObserver:
    """An observer that ignores everything."""

    def started(self, run: Run, total: int) -> None:
        """Ignore it."""

    def working(self, stage: Stage, busy: int) -> None:
        """Ignore it."""

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Ignore it."""

    def reported(self, run: Run, report: Report) -> None:
        """Ignore it."""

    def notify(self, message: str) -> None:
        """Ignore it."""

    def warn(self, message: str) -> None:
        """Ignore it."""


def completed(
    source: Evaluator | Dispatch,
    stage: Stage,
    observer: Observer,
    stop_check: StopCheck,
    *,
    is_left: Callable[[], object],
    submit: Callable[[], None] = lambda: None,
) -> Iterator[Evaluation]:
    """Submit and poll until nothing is left to do; yield every evaluation as it finishes.

    Args:
        source: Gives the evaluations back.
        stage: What the observer is told that the run is doing.
        observer: Watches.
        stop_check: Called before every poll; raises `Stop` to end here.
        is_left: Returns whether evaluations are still to come.
        submit: Submits what can start now; it may depend on the evaluations that were yielded.
    """
    unread: set[str] = set()
    if isinstance(source, Dispatch):
        source.watch(is_left)
    else:
        source.is_wanted = is_left
    while is_left():
        stop_check()
        submit()
        observer.working(stage, source.running)
        evaluation = source.next_completed(timeout=POLL_SECONDS)
        if evaluation is not None:
            if new := [name for name in evaluation.unread if name not in unread]:
                unread |= {*new}
                observer.warn(
                    f"warning: the model's function did not look up {', '.join(new)} in its first training; "
                    "a gene that it never looks up changes nothing"
                )
            yield evaluation


Algorithm: TypeAlias = Strategy | Pruned
"""What a search asks for proposals: a strategy, or one whose trainings can end early."""


def algorithm_of(space: SearchSpace, settings: Settings, population: int | None) -> Algorithm:
    """Return the strategy that a run's settings ask for, as it is before its first proposal."""
    options = STRATEGIES[check_name("strategy", settings.strategy, tuple(STRATEGIES))].options
    names = ("seed", "budget", "generations", "initial", "retrainable", "direction")
    values = {name: getattr(settings, name) for name in (*names, *OWN_OPTIONS - {"cost", "max_steps"})}
    if "max_steps" in options:
        values["max_steps"] = settings.max_steps
    values["earlier"] = [result["genome"] for result in settings.earlier]
    if settings.objective is not None and "objectives" not in options:
        values["objectives"] = None  # its fitness is the first one
    if settings.weighs_cost:
        values["cost"] = _cost_of_trainings(space, settings)
    strategy = strategy_of(settings.strategy, space, population=population, **values)
    return strategy if settings.pruner is None else Pruned(strategy, settings.max_steps)


def replay(algorithm: Algorithm, run: Run, results: Sequence[Evaluation]) -> None:
    """Bring what proposes to the state in which the last proposal of a run was made; see `Strategy.replay`."""
    if isinstance(algorithm, Pruned):
        algorithm.replay(run.proposals, results, run.ended)
    else:
        algorithm.replay(run.proposals, results)


def _cost_of_trainings(space: SearchSpace, settings: Settings) -> Callable[[Genome], float]:
    """Return what says the cost of a genome's training; it is asked only once the data are known."""
    model = cache(lambda: guessed_cost(settings, space.training))
    return lambda genome: model().seconds(genome)


def run_search(
    algorithm: Algorithm,
    evaluator: Evaluator,
    run: Run,
    observer: Observer,
    stop_check: StopCheck = lambda: None,
    share: SearchShare | None = None,
    *,
    began: bool = False,
) -> bool:
    """Search until the algorithm is done; a run that was interrupted continues where its journal ends.

    Args:
        algorithm: Has already replayed the run's past.
        evaluator: Started.
        run: Open for writing.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end the search.
        share: The time that the search has. Once it is over, trainings in flight save their state.
        began: Whether the observer knows already that the run has started.

    Returns:
        Whether the search is done; False if its time was over before.

    Raises:
        SearchError: Its first evaluations all failed, see `FirstResults`.
        Stop: The stop check raised it.
    """
    if not began:
        observer.started(run, algorithm.limit - len(algorithm.earlier))
    first = FirstResults(run)
    with Dispatch(run, evaluator, urgent=first.individuals) as dispatch:
        dispatch.submit(*run.unevaluated())
        search = _Search(algorithm, run, dispatch, evaluator, observer, share)
        for evaluation in completed(
            dispatch, "search", observer, stop_check, is_left=search.is_left, submit=search.propose
        ):
            search.learn(evaluation)
            first.check()
        if not algorithm.done():
            for evaluation in _interrupted(dispatch, run, observer):
                search.learn(evaluation)
    _record_generations(algorithm, run)
    if done := algorithm.done():
        run.forget_states()
    return done


@dataclass
class _Search:
    """A search in progress: what the strategy proposes is recorded and submitted, and it is told every result."""

    algorithm: Algorithm
    run: Run
    dispatch: Dispatch
    evaluator: Evaluator
    observer: Observer
    share: SearchShare | None

    def is_left(self) -> bool:
        """Return whether the strategy wants more, and there is time for it."""
        return not self.algorithm.done() and not (self.share is not None and self.share.is_over(self.dispatch))

    def propose(self) -> None:
        """Ask the strategy for as many proposals as are wanted now."""
        algorithm, run, dispatch = self.algorithm, self.run, self.dispatch
        if self.share is not None and not self.share.takes_more(dispatch):
            return
        proposals = algorithm.ask(room=_room(algorithm, dispatch, self.evaluator))
        for individual in proposals:
            run.record_proposal(individual)
        dispatch.submit(*proposals)
        _record_generations(algorithm, run)
        if not dispatch.pending and not algorithm.done():
            raise RuntimeError(f"{algorithm.name} proposes nothing although nothing is pending and it is not done")

    def learn(self, evaluation: Evaluation) -> None:
        """Record a result, and tell everyone."""
        self.run.record(evaluation)
        self.dispatch.recorded(evaluation)
        self.algorithm.tell(evaluation)
        for individual in self.algorithm.ended():
            self.run.record_ended(individual.id, individual.replicate)
        if evaluation.earlier:  # nothing was done for it
            return
        self.observer.evaluated(self.run, evaluation, _seconds_left(self.dispatch, self.algorithm.limit, self.share))


def _interrupted(dispatch: Dispatch, run: Run, observer: Observer) -> list[Evaluation]:
    """End the trainings in flight of a search that ends early; return what has finished meanwhile."""
    saves = dispatch.running and run.settings.can_pause
    more = "; trainings in flight save their state" if saves else ""
    why = "in time for its finalists" if run.settings.retrainable else "because its time is over"
    observer.notify(f"the search ends here, {why}{more}")
    return dispatch.pause(SUSPEND_SECONDS)


def _seconds_left(dispatch: Dispatch, total: int, share: SearchShare | None) -> float | None:
    seconds = dispatch.seconds_left(total)
    return seconds if seconds is None or share is None else min(seconds, share.left)


def evaluate_proposals(
    limit: int,
    evaluator: Evaluator,
    run: Run,
    observer: Observer,
    stop_check: StopCheck = lambda: None,
    share: SearchShare | None = None,
) -> bool:
    """Evaluate those of the first proposals of a run that have no result yet, and propose nothing: its search ends.

    See `evaluate_missing`.
    """
    observer.started(run, run.trainings + len(run.unevaluated(limit)))
    if done := evaluate_missing(limit, evaluator, run, observer, stop_check, share):
        run.forget_states()
    return done


def evaluate_missing(
    limit: int,
    evaluator: Evaluator,
    run: Run,
    observer: Observer,
    stop_check: StopCheck = lambda: None,
    share: SearchShare | None = None,
) -> bool:
    """Evaluate those of the first proposals of a run that have no result yet.

    Args:
        limit: How many of the proposals count.
        evaluator: Started.
        run: Open for writing.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end here.
        share: The time that there is for it; see `run_search`.

    Returns:
        Whether all have a result; False if the time was over before.

    Raises:
        Stop: The stop check raised it.
    """
    with Dispatch(run, evaluator) as dispatch:
        # What is tried again is not ended early: later proposals were made from its result.
        dispatch.submit(*(replace(one, until=None) if _is_whole(run, one) else one for one in run.unevaluated(limit)))

        def is_left() -> bool:
            return bool(run.unevaluated(limit)) and not (share is not None and share.is_over(dispatch))

        def record(evaluation: Evaluation) -> None:
            run.record(evaluation)
            dispatch.recorded(evaluation)
            observer.evaluated(run, evaluation, _seconds_left(dispatch, 0, share))

        for evaluation in completed(dispatch, "search", observer, stop_check, is_left=is_left):
            record(evaluation)
        if run.unevaluated(limit):
            for evaluation in _interrupted(dispatch, run, observer):
                record(evaluation)
    return not run.unevaluated(limit)


def _is_whole(run: Run, proposal: Individual) -> bool:
    """Return whether a proposal is trained to its end, although it was to pause."""
    return run.settings.pruner is not None and (proposal.id, proposal.replicate) in run.retried


def _room(algorithm: Algorithm, dispatch: Dispatch, evaluator: Evaluator) -> int:
    """Return how many proposals are wanted now.

    As many as the evaluator can look ahead. An asynchronous strategy would then propose long before it learns, so it
    proposes only for free workers. (A cluster may have no workers at this moment: then for the first that comes.)
    """
    room = dispatch.room()
    return min(room, max(0, max(1, evaluator.workers) - dispatch.pending)) if algorithm.asynchronous else room


def _record_generations(algorithm: Algorithm, run: Run) -> None:
    """Record new populations; the CSV files follow the journal once a generation."""
    new = [
        (generation, members)
        for generation, members in enumerate(algorithm.populations())
        if run.generations.get(generation) != members
    ]
    for generation, members in new:
        run.record_generation(generation, members)
    if new:
        run.write_tables(share=TABLES_SHARE)
