"""Whether anything is left to do of a run, and how much its search takes at most."""

from __future__ import annotations

from evo.loop.finalists import measures_test
from evo.loop.plan import plan_of
from evo.loop.search_loop import algorithm_of, replay
from evo.record.run import Run
from evo.record.settings import LISTED


def is_finished(run: Run) -> bool:
    """Return whether nothing is left to do of a run: its search, its finalists and their test.

    A run that was extended is not finished until its larger search is; its old winner does not say so. One that a
    person or the clock has ended is finished with its winner, until its search is taken up again.
    """
    if run.settings.strategy == LISTED:
        return len(run.evaluations) >= total_of(run)
    if not _finalists_are_done(run):
        return False
    return run.ended_early or (has_planned_finalists(run) and is_searched(run))


def is_searched(run: Run) -> bool:
    """Return whether the search of a run is done."""
    settings = run.settings
    if settings.closed:
        return not run.unevaluated(limit_of(run))
    if run.unevaluated():
        return False
    algorithm = algorithm_of(run.space, settings, settings.population)
    replay(algorithm, run, run.results)
    return algorithm.done() or (not algorithm.ask() and algorithm.done())


def limit_of(run: Run) -> int:
    """Return the most trainings that a run's bounds allow its search."""
    return algorithm_of(run.space, run.settings, run.settings.population).limit


def total_of(run: Run) -> int:
    """Return how many trainings the search of a run takes at most."""
    settings = run.settings
    if settings.strategy == LISTED:
        return len(run.configurations) * settings.seeds
    limit = limit_of(run)
    return run.trainings + len(run.unevaluated(limit)) if settings.closed else limit - len(settings.earlier)


def has_planned_finalists(run: Run) -> bool:
    """Return whether the finalists are those of the whole search."""
    plan = plan_of(run)
    return run.finalists == plan.individuals and (not plan.individuals or run.finalist_seeds == plan.seeds)


def _finalists_are_done(run: Run) -> bool:
    """Return whether the finalists are trained, and tested where that is to be done."""
    settings, trained = run.settings, run.finalist_evaluations
    complete = [evaluation for evaluation in trained if evaluation.complete]
    all_trained = len(trained) >= len(run.finalists) * run.finalist_seeds
    named = run.winner is not None or not complete  # where every training failed, there is no winner
    tested = not measures_test(settings) or all((e.individual, e.replicate) in run.tests for e in complete)
    return all_trained and named and tested
