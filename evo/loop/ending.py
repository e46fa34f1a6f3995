"""When the search of a command with a time budget ends, so that its finalists are trained and tested in time."""

from __future__ import annotations

import math
import time

from evo.loop.cost import CostModel
from evo.loop.deadline import Deadline
from evo.loop.dispatch import Dispatch
from evo.loop.plan import Plan, plan_of, seconds_of
from evo.record.run import Run

MARGIN = 1.3
"""How many times the predicted seconds of the finalists are kept for them. The median error of a prediction is 12 %."""
HALF_MARGIN = 1.15
"""What is left of it while trainings in flight that will soon be done are awaited."""
MOST_SHARE = 0.5
"""The largest share of a command's time that is kept for finalists."""
TEST_SHARE, TEST_SECONDS = 0.05, 1.0
"""Seconds of the test of the finalists: this share of their trainings', and some for reading the test set."""
RESTART_SECONDS = 3.0
"""How long worker processes take to save what the end of a search interrupts, and to be ready again."""
LOOK_SECONDS, LOOK_SHARE = 1.0, 0.02
"""The finalists are looked at again after this time, or when that has taken no more than this share of the time."""


def kept_seconds(run: Run, plan: Plan, cost: CostModel, workers: int, margin: float) -> float:
    """Return the seconds to keep for the trainings of a plan that are missing, and for the test."""
    seconds = seconds_of(run, plan, cost, workers)
    return margin * seconds + seconds_of_test(run, seconds) if seconds else 0.0


def seconds_of_test(run: Run, seconds: float) -> float:
    """Return the seconds to keep for the test after trainings of so many seconds, and for the tables."""
    return TEST_SECONDS + TEST_SHARE * seconds if run.settings.objective is None else TEST_SHARE * seconds


def plan_in(seconds: float, run: Run, cost: CostModel, workers: int, margin: float = 1.0) -> Plan:
    """Return the finalists of a search that ends now, as many as so many seconds allow; at least the best, once."""
    return plan_of(run).first_that(lambda plan: kept_seconds(run, plan, cost, workers, margin) <= seconds)


class SearchShare:
    """The share of a command's time that its search has; the rest is for the finalists.

    Before the search has a result there is nothing to end it with, and all the time is its own.

    Args:
        run: The run of the search.
        deadline: When everything is to be done.
    """

    def __init__(self, run: Run, deadline: Deadline):
        self._run, self._deadline = run, deadline
        self._kept = self._kept_at_least = 0.0
        self._has_result = False
        self._look_at = -math.inf

    @property
    def left(self) -> float:
        """The seconds that are left for everything."""
        return max(0.0, self._deadline.left)

    def takes_more(self, dispatch: Dispatch) -> bool:
        """Return whether there is time for a further proposal: for a training as the last ones were."""
        self._look(dispatch)
        left = self._deadline.left - self._kept
        return not self._has_result or (left > 0 and dispatch.usual_seconds() <= left)

    def is_over(self, dispatch: Dispatch) -> bool:
        """Return whether the search is to end now: nothing is proposed any more, and no training ends in time."""
        if self.takes_more(dispatch):
            return False
        latest = self._deadline.left - self._kept_at_least
        return not any(seconds <= latest for seconds in dispatch.seconds_in_hand())

    def _look(self, dispatch: Dispatch) -> None:
        began = time.monotonic()
        if began < self._look_at:
            return
        run, cost, workers = self._run, dispatch.cost, dispatch.workers
        self._has_result = self._has_result or any(
            evaluation.succeeded and not evaluation.earlier for evaluation in run.evaluations.values()
        )
        if self._has_result:
            most = MOST_SHARE * self._deadline.seconds
            plan = plan_in(most, run, cost, workers, MARGIN)
            restart = RESTART_SECONDS if plan.individuals and dispatch.restarts else 0.0
            self._kept = min(most, restart + kept_seconds(run, plan, cost, workers, MARGIN))
            self._kept_at_least = min(self._kept, kept_seconds(run, plan, cost, workers, HALF_MARGIN))
        took = time.monotonic() - began
        self._look_at = began + max(LOOK_SECONDS if self._has_result else 0.0, took / LOOK_SHARE)
