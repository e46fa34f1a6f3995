"""Whether anything is left to do of a run, and how much its search takes at most."""

from __future__ import annotations

from evo.loop.finalists import finalists_of, measures_test
from evo.loop.search_loop import algorithm_of
from evo.record.run import Run
from evo.record.settings import LISTED


def is_finished(run: Run) -> bool:
    """Return whether nothing is left to do of a run: its search, its finalists and their test.

    A run that was extended is not finished until its larger search is; its old winner does not say so.
    """
    settings = run.settings
    if settings.strategy == LISTED:
        return len(run.evaluations) >= total_of(run)
    if run.unevaluated() or not _finalists_are_done(run):
        return False
    algorithm = algorithm_of(run.space, settings, settings.population)
    algorithm.replay(run.proposals, run.results)
    return algorithm.done() or (not algorithm.ask() and algorithm.done())


def total_of(run: Run) -> int:
    """Return how many trainings the search of a run takes at most."""
    settings = run.settings
    if settings.strategy == LISTED:
        return len(run.configurations) * settings.seeds
    return algorithm_of(run.space, settings, settings.population).limit


def _finalists_are_done(run: Run) -> bool:
    """Return whether the finalists are those of the whole search, trained, and tested where that is to be done."""
    settings, trained = run.settings, run.finalist_evaluations
    complete = [evaluation for evaluation in trained if evaluation.complete]
    all_trained = len(trained) >= len(run.finalists) * settings.finalist_seeds
    named = run.winner is not None or not complete  # where every training failed, there is no winner
    tested = not measures_test(settings) or all((e.individual, e.replicate) in run.tests for e in complete)
    return all_trained and named and tested and run.finalists == finalists_of(run)
