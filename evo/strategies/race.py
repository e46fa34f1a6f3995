"""A race of the best: evaluations on new seeds, of which the better half goes on, until one is left.

Sequential halving (Karnin, Koren and Somekh, ICML 2013). The winner of a search of single trainings is partly the
luckiest; who wins this was good again and again.
"""

from __future__ import annotations

from collections.abc import Sequence

SMALLEST_BUDGET = 20
SHARE = 10
"""One evaluation of so many is for the race."""


def race_size(limit: int) -> int:
    """Return how many of `limit` evaluations the race takes: the last tenth, none below twenty."""
    return limit // SHARE if limit >= SMALLEST_BUDGET else 0


def rounds(size: int) -> list[int]:
    """Return how many individuals each round evaluates once; together `size`.

    The first round has about half of them, each later one half as many as the one before, but two at least.
    """
    sizes: list[int] = []
    runners = max(2, -(-size // 2))
    while (left := size - sum(sizes)) > 0:
        sizes.append(min(runners, left))
        runners = max(2, -(-runners // 2))
    return sizes


def round_of(place: int, sizes: Sequence[int]) -> tuple[int, int]:
    """Return the number of the round that an evaluation of the race belongs to, and its place in it."""
    for number, size in enumerate(sizes):
        if place < size:
            return number, place
        place -= size
    raise IndexError(f"the race has {sum(sizes)} evaluations")
