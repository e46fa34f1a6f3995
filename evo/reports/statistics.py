"""Figures with 95 % intervals: the mean of a few trainings, and how often one group of runs beats another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from evo.numbers import deviation, mean, number_text

Array: TypeAlias = npt.NDArray[np.float64]

DRAWS = 2000
"""Samples of a bootstrap."""
TAIL = 0.025
"""What an interval leaves out on each side: it holds 95 %."""
TOLERANCE = 1e-12
"""Outcomes that differ by no more than this are equal."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; the bounds are NaN where there is none."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 4) -> str:
        """Return it as it stands in a table; a dash for what is infinite: not reached within the budget."""
        value, low, high = (number_text(part, digits) for part in astuple(self))
        return value if math.isnan(self.low) else f"{value} [{low}, {high}]"


def mean_estimate(values: Sequence[float], within: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """Return the mean of independent values with Student's t interval; a single value has none, no value is NaN.

    Args:
        values: Of independent trainings or runs.
        within: What the quantity can be: bounds beyond it are cut. Accuracies lie within (0, 1).
    """
    middle = mean(values) if values else math.nan
    if len(values) < 2:
        return Estimate(middle, math.nan, math.nan)
    from scipy.special import stdtrit  # Student's quantile, without the second that scipy.stats takes to import

    half = float(stdtrit(len(values) - 1, 1 - TAIL)) * deviation(values, of_sample=True) / math.sqrt(len(values))
    return Estimate(middle, max(middle - half, within[0]), min(middle + half, within[1]))


def _in_one_unit(first: Sequence[float], second: Sequence[float]) -> tuple[Array, Array]:
    """Return outcomes as fractions of the largest: their differences are numbers, and `TOLERANCE` fits their size."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    largest = max(map(abs, (*first, *second))) or 1.0
    return a / largest, b / largest


def won(difference: Array) -> Array:
    """Return 1 where a difference is above zero, 0 where it is below, and half where it is neither."""
    share: Array = (difference > TOLERANCE) + 0.5 * (np.abs(difference) <= TOLERANCE)
    return share


def interval(values: Array) -> tuple[Array, Array]:
    """Return the bounds of the central 95 % along the first axis; infinite values keep their place in the order."""
    ordered = np.sort(values, axis=0)
    last = len(ordered) - 1
    return ordered[math.floor(TAIL * last)], ordered[math.ceil((1 - TAIL) * last)]


def superiority(first: Sequence[float], second: Sequence[float], *, paired: bool, samples: int = DRAWS) -> Estimate:
    """Return the probability that an outcome of the first group is higher than one of the second; ties count half.

    Of pairs, the share that was won, with the exact interval of Clopper and Pearson (1934). Else Vargha and Delaney's A
    (2000), with a percentile bootstrap over runs, which is too narrow for few of them: `p_value` decides. Where every
    comparison went the same way it has no spread to show: the open bound is then that of so many independent pairs.

    Args:
        first: Outcomes, higher is better.
        second: The same; where paired, in the same order.
        paired: Whether to compare run by run rather than every run with every other.
        samples: Of the bootstrap.
    """
    a, b = _in_one_unit(first, second)
    if paired:
        return _share_estimate(float(won(a - b).sum()), len(a))
    generator = np.random.default_rng(0)
    wins = won(a[:, None] - b[None, :])
    rows, columns = wins.shape
    value = float(wins.mean())
    draws = ((generator.integers(rows, size=rows), generator.integers(columns, size=columns)) for _ in range(samples))
    means = [wins[row][:, column].mean() for row, column in draws]
    low, high = map(float, interval(np.array(means)))
    open_bound = TAIL ** (1 / min(len(a), len(b)))
    low, high = min(low, open_bound) if value == 1 else low, max(high, 1 - open_bound) if value == 0 else high
    return Estimate(value, low, high)


def p_value(first: Sequence[float], second: Sequence[float], *, paired: bool) -> float:
    """Return how probable it is that equal groups differ as much as these by chance, to either side.

    Of pairs, the sign test's, with ties half: below 5 % just where the interval of `superiority` leaves out one half.
    Else Mann and Whitney's (1947): exact for up to eight runs without ties, and nearly so for more.

    Args:
        first: Outcomes.
        second: The same; where paired, in the same order.
        paired: As in `superiority`.
    """
    if not paired:
        from scipy.stats import mannwhitneyu

        return float(mannwhitneyu(first, second).pvalue)
    from scipy.special import betainc

    a, b = _in_one_unit(first, second)
    wins = float(won(a - b).sum())
    most, least = max(wins, len(first) - wins), min(wins, len(first) - wins)
    return min(1.0, 2 * float(betainc(most, least + 1, 0.5)))  # the binomial's upper tail, for half wins too


def _share_estimate(wins: float, count: int) -> Estimate:
    """Return a share with Clopper and Pearson's interval, whose beta distributions take half wins, too."""
    from scipy.special import betaincinv

    low = float(betaincinv(wins, count - wins + 1, TAIL)) if wins > 0 else 0.0
    high = float(betaincinv(wins + 1, count - wins, 1 - TAIL)) if wins < count else 1.0
    return Estimate(wins / count, low, high)
