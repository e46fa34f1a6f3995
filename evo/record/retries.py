"""Failed evaluations that are tried again: which there are to begin with, and which are left of a retry."""

from __future__ import annotations

from evo.evaluation import FAILURES, phase_of
from evo.record.history import History
from evo.record.settings import LISTED


def failed_evaluations(run: History, most: int | None = None) -> list[tuple[int, int]]:
    """Return (individual, replicate) of the failed evaluations of the search and of its finalists, in this order.

    Args:
        run: Any run.
        most: Only of so many proposals; None for all.
    """
    counted = {(proposal.id, proposal.replicate) for proposal in run.counted_proposals[:most]}
    counted |= {(evaluation.individual, evaluation.replicate) for evaluation in run.finalist_evaluations}
    if run.settings.strategy == LISTED:
        counted |= run.evaluations.keys()
    return sorted(key for key in counted & run.evaluations.keys() if run.evaluations[key].status in FAILURES)


def left_of_retry(run: History) -> list[tuple[int, int]]:
    """Return (individual, replicate) of what is tried again and has no new result yet.

    A finalist's training is not left once other genomes are the finalists.
    """
    return sorted(key for key in run.retried if phase_of(key[1]) == "search" or key[0] in run.finalists)
