"""The model of where configurations are probably allowed."""

from __future__ import annotations

import numpy as np

from evo.strategies.feasibility import CLEAN, LIKELY, MAYBE, ONE_IN, Feasibility, first_to_try

NOTHING = np.zeros((0, 2))


def halves(count: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return points of the unit square of which the left half is allowed: those, and the others."""
    points = np.random.default_rng(seed).random((count, 2))
    return points[points[:, 0] < 0.5], points[points[:, 0] >= 0.5]


def test_what_is_near_the_allowed_is_probably_allowed() -> None:
    allowed, refused = halves()
    model = Feasibility(allowed, refused, NOTHING, [0, 1], [])
    left, middle, right = model.probability(np.array([[0.1, 0.5], [0.5, 0.5], [0.9, 0.5]]))
    assert left > LIKELY > middle > 1 - LIKELY > right
    penalties = model.penalty(np.array([[0.1, 0.5], [0.5, 0.5], [0.9, 0.5]]))
    assert penalties[0] == 0 > penalties[1] > penalties[2]


def test_one_refusal_among_many_that_are_allowed_spoils_little() -> None:
    """It may have another cause: a full disk, a worker that was killed."""
    points = np.random.default_rng(1).random((40, 2))
    model = Feasibility(points[1:], points[:1], NOTHING, [0, 1], [])
    assert model.probability(np.array([[0.1, 0.1], [0.9, 0.9], [0.5, 0.5]])).min() > 0.7


def test_a_guess_is_not_followed_by_others_that_depend_on_it() -> None:
    allowed, refused = halves()
    guess = np.array([[0.45, 0.5]])
    alone, awaited = (Feasibility(allowed, refused, pending, [0, 1], []) for pending in (NOTHING, guess))
    assert awaited.probability(guess) < alone.probability(guess)


def test_where_nothing_was_refused_of_late_one_proposal_in_some_is_bolder() -> None:
    allowed, refused = halves()
    places = np.column_stack([np.linspace(0, 1, 200), np.full(200, 0.5)])

    def reach(recent: list[bool]) -> int:
        return int((Feasibility(allowed, refused, NOTHING, [0, 1], recent).penalty(places) == 0).sum())

    clean = CLEAN + -CLEAN % ONE_IN
    careful = reach([False] * (clean - 1) + [True])
    assert reach([False] * clean) > careful
    assert reach([False] * (clean + 1)) == careful
    assert MAYBE < LIKELY


def test_the_first_try_goes_where_violations_fall() -> None:
    refused = np.array([[0.1, 0.1], [0.3, 0.3], [0.5, 0.5], [0.6, 0.1]])
    violations = [0.9, 0.7, 0.5, 0.7]
    candidates = np.array([[0.05, 0.05], [0.65, 0.65], [0.2, 0.2]])
    assert first_to_try(candidates, refused, violations, [0, 1]) == 1


def test_without_violations_the_first_try_is_far_from_what_was_refused() -> None:
    refused = np.array([[0.1, 0.1], [0.2, 0.2]])
    candidates = np.array([[0.15, 0.15], [0.7, 0.6], [0.1, 0.2]])
    assert first_to_try(candidates, refused, [None, None], [0, 1]) == 1
