"""What a command does with a run: it searches, ends a search, or adds to what is to be done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from evo.errors import ConfigurationError, RunError
from evo.evaluation import phase_of
from evo.evaluators import Evaluator
from evo.loop.deadline import Deadline
from evo.loop.ending import SearchShare
from evo.loop.finalists import judge_finalists
from evo.loop.finished import has_planned_finalists, limit_of
from evo.loop.lifecycle import Work
from evo.loop.listed import train_listed
from evo.loop.search_loop import (
    Algorithm,
    Observer,
    algorithm_of,
    evaluate_missing,
    evaluate_proposals,
    replay,
    run_search,
)
from evo.record.retries import failed_evaluations, left_of_retry
from evo.record.run import Run
from evo.record.settings import Settings


def search_and_judge(
    algorithm: Algorithm, finish: bool, run: Run, evaluator: Evaluator, observer: Observer, deadline: Deadline
) -> None:
    """Search, and judge the finalists; with a time budget, end the search in time for that."""
    done = run_search(algorithm, evaluator, run, observer, deadline, _share_of(run, finish, deadline))
    judge_finalists(run, evaluator, observer, deadline, ended_early=not done, in_time=finish)


def retry_and_search(finish: bool, run: Run, evaluator: Evaluator, observer: Observer, deadline: Deadline) -> None:
    """Evaluate what is tried again and what was in flight, and only then search on.

    The strategy learns the new results as if it had never known others. Nothing is proposed before it knows them all:
    so the table depends neither on the number of workers, nor on when the search is stopped.
    """
    algorithm = algorithm_of(run.space, run.settings, run.settings.population)
    share = _share_of(run, finish, deadline)
    observer.started(run, algorithm.limit - len(algorithm.earlier))
    done = evaluate_missing(len(run.proposals), evaluator, run, observer, deadline, share)
    if done:
        replay(algorithm, run, run.results)
        done = run_search(algorithm, evaluator, run, observer, deadline, share, began=True)
    judge_finalists(run, evaluator, observer, deadline, ended_early=not done, in_time=finish)


def retry(
    failed: Sequence[tuple[int, int]],
    work: Work,
    run: Run,
    evaluator: Evaluator,
    observer: Observer,
    deadline: Deadline,
) -> None:
    """Record which failed evaluations are tried again, and do the work, which finds them missing."""
    run.record_retry(failed)
    observer.notify(f"trying again what failed: {len(failed)} evaluation{'s' if len(failed) != 1 else ''}")
    work(run, evaluator, observer, deadline)


def close_search(
    limit: int, finish: bool, run: Run, evaluator: Evaluator, observer: Observer, deadline: Deadline
) -> None:
    """Evaluate what is missing of the first proposals, and judge the finalists, in time for both."""
    done = evaluate_proposals(limit, evaluator, run, observer, deadline, _share_of(run, finish, deadline))
    judge_finalists(run, evaluator, observer, deadline, ended_early=not done, in_time=finish)


def _share_of(run: Run, finish: bool, deadline: Deadline) -> SearchShare | None:
    """Return the share of a command's time that its search has; None where the end of the time is a stop.

    That is so where no winner is to be named. An objective without a seed has no finalists either, but the best of its
    values is the winner, whenever the search ends.
    """
    names_winner = finish and bool(run.settings.finalists or not run.settings.retrainable)
    return SearchShare(run, deadline) if names_winner and deadline.seconds < math.inf else None


def finish_search(run: Run, evaluator: Evaluator, observer: Observer, deadline: Deadline, *, finished: bool) -> None:
    """Judge the finalists of a search that ends as it stands."""
    observer.started(run, run.trainings)
    judge_finalists(run, evaluator, observer, deadline, ended_early=not finished, in_time=True)


def more_search(
    run: Run, settings: Settings, asked: Mapping[str, int | None], observer: Observer, *, finish: bool, again: bool
) -> Work:
    """Note a search's new bounds in the settings; return what is left to do."""
    if asked["seeds"] is not None:
        raise ConfigurationError(f"--seeds: run {run.shown_path} is a search; --budget or --generations extends it")
    has_bound = asked["budget"] is not None or asked["generations"] is not None
    if has_bound:  # a bound that is not given again must not stop the extension short
        settings.budget, settings.generations = asked["budget"], asked["generations"]
    ask_for_finalists(settings, asked["finalists"])
    algorithm = algorithm_of(run.space, settings, settings.population)
    if has_bound:
        settings.closed = _closes(run, settings)
    failed = _to_try_again(run, settings, observer, algorithm.limit) if again else []
    retries = any(phase_of(replicate) == "search" for _, replicate in (*failed, *run.retried))
    if not settings.closed and not retries:
        replay(algorithm, run, run.results)
    waits = run.unevaluated(algorithm.limit) if settings.closed else not algorithm.done()
    if not failed and not retries and not waits and _has_winner(run, settings):
        observer.notify("the search is finished; a larger --budget or --generations extends it")
    elif settings.closed:
        observer.notify(
            f"note: of {len(run.counted_proposals)} proposals the search ends with the first {algorithm.limit} and "
            "what is recorded of the others"
        )
    work: Work = partial(search_and_judge, algorithm, finish)
    if settings.closed:
        work = partial(close_search, algorithm.limit, finish)
    elif retries:
        work = partial(retry_and_search, finish)
    return partial(retry, failed, work) if failed else work


def _to_try_again(run: Run, settings: Settings, observer: Observer, limit: int | None = None) -> list[tuple[int, int]]:
    """Return which evaluations a retry begins with; none if an earlier one is not finished, which goes on instead."""
    if left := left_of_retry(run):
        observer.notify(f"going on with the retry that was stopped: {len(left)} evaluations are left")
        return []
    failed = failed_evaluations(run, limit if settings.closed else None)
    if failed:
        settings.retries += 1
    else:
        observer.notify("no evaluation of this run has failed: nothing is tried again")
    return failed


def _has_winner(run: Run, settings: Settings) -> bool:
    """Return whether nothing is left to do after a search that is done: no finalists are wanted, or it has them."""
    if not (settings.finalists and settings.retrainable):
        return True
    asked, before = ((one.finalists, one.finalists_by_cost) for one in (settings, run.settings))
    return run.winner is not None and asked == before and has_planned_finalists(run)


def _closes(run: Run, settings: Settings) -> bool:
    """Return whether new bounds end a search with the proposals that it has.

    They do if there are more already, and if the strategy, which keeps the last ones for a race or for promotions,
    would have made some of these otherwise.
    """
    algorithm = algorithm_of(run.space, settings, settings.population)
    if algorithm.limit < len(run.counted_proposals):
        return True
    if algorithm.limit >= limit_of(run) and not run.settings.closed:
        return False
    try:
        replay(algorithm, run, run.told)
    except RunError:
        return True
    return False


def ask_for_finalists(settings: Settings, finalists: int | None) -> None:
    """Note a number of finalists that was given by hand, which no cost reduces."""
    if finalists is not None:
        settings.finalists, settings.finalists_by_cost = finalists, False


def more_seeds(
    run: Run, settings: Settings, asked: Mapping[str, int | None], observer: Observer, *, again: bool
) -> Work:
    """Note a new number of seeds of listed configurations in the settings; return what is left to do."""
    for name, value in asked.items():
        if name != "seeds" and value is not None:
            raise ConfigurationError(f"--{name}: run {run.shown_path} searches nothing; --seeds extends it")
    seeds = first_given(asked["seeds"], settings.seeds)
    if seeds < settings.seeds:
        raise ConfigurationError(f"--seeds: run {run.shown_path} was asked for {settings.seeds} already, got {seeds}")
    settings.seeds = seeds
    failed = _to_try_again(run, settings, observer) if again else []
    return partial(retry, failed, train_listed) if failed else train_listed


def first_given(*values: int | None) -> int:
    """Return the first value that was given."""
    return next(value for value in values if value is not None)
