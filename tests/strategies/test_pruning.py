"""The pruner ends a training that is behind the median of the five best, as far as its proposal knew them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import evo
from evo.evaluation import Evaluation
from evo.strategies.pruning import Pruned

MOST = 16
SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
KNOWN = [7, 6, 5, 4, 3, 2, 1, 0, 8, 9, 9, 9]
"""Each is its training's value at every step. The first eight have nothing to be compared with."""


def ended_early(values: Sequence[float], direction: str = "maximise") -> list[int]:
    """Return the individuals that the pruner ends, one training at a time; no proposal waits for the last three."""
    strategy = evo.make_strategy("random", SPACE, budget=len(values), direction=direction)
    pruned, ended = Pruned(strategy, MOST), list[int]()
    while not pruned.done():
        [one] = pruned.ask()
        sign = 1 if direction == "maximise" else -1
        known = {"fitness": sign * values[one.id], "steps_trained": one.until or MOST, "seconds": 1.0}
        pruned.tell(Evaluation(one.id, 0, seed=0, status="partial" if one.until else "complete", **known))
        ended += [individual.id for individual in pruned.ended()]
    return ended


@pytest.mark.parametrize("direction", ["maximise", "minimise"])
@pytest.mark.parametrize(("value", "ended"), [(5.9, [12]), (6.0, []), (7.5, [])])
def test_a_training_is_compared_with_the_median_of_the_five_best(
    value: float, ended: list[int], direction: str
) -> None:
    # The thirteenth knows the first nine: the five best have 8, 7, 6, 5 and 4. The median of all of them is 4.
    assert ended_early([*KNOWN, value], direction) == ended
