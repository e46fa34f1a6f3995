"""Intervals hold what they promise, and say nothing where there is nothing to say."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import astuple

import numpy as np
import pytest
from scipy.stats import binomtest, mannwhitneyu, t

from evo.reports.statistics import Estimate, mean_estimate, p_value, superiority


def test_the_mean_of_three_values_has_students_interval() -> None:
    found = mean_estimate([0.90, 0.92, 0.97])
    low, high = t.interval(0.95, 2, loc=0.93, scale=np.std([0.90, 0.92, 0.97], ddof=1) / math.sqrt(3))
    assert astuple(found) == pytest.approx((0.93, low, high))


def test_bounds_beyond_what_an_accuracy_can_be_are_cut() -> None:
    found = mean_estimate([0.90, 0.99, 0.99], within=(0, 1))
    assert found.high == 1
    assert found.low < 0.9


def test_one_value_has_no_interval() -> None:
    found = mean_estimate([0.5])
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_superiority_is_the_share_of_won_comparisons_and_ties_count_half() -> None:
    first, second = [3.0, 1.0, 2.0], [2.0, 2.0]
    assert superiority(first, second, paired=False).value == pytest.approx((2 + 0 + 1) / 6)
    assert superiority([3.0, 1.0, 2.0], [2.0, 2.0, 2.0], paired=True).value == 0.5


def test_superiority_is_mann_and_whitneys_statistic() -> None:
    generator = random.Random(1)
    first = [generator.gauss(0.5, 1) for _ in range(9)]
    second = [generator.gauss(0, 1) for _ in range(7)]
    found = superiority(first, second, paired=False)
    assert found.value == pytest.approx(mannwhitneyu(first, second).statistic / 63)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("paired", [True, False])
def test_swapping_the_groups_mirrors_the_estimate(paired: bool) -> None:
    generator = random.Random(2)
    first = [generator.gauss(0.3, 1) for _ in range(8)]
    second = [generator.gauss(0, 1) for _ in range(8)]
    found, mirrored = superiority(first, second, paired=paired), superiority(second, first, paired=paired)
    assert found.value == pytest.approx(1 - mirrored.value)
    assert found.low == pytest.approx(1 - mirrored.high, abs=0.06)


def test_the_same_runs_give_the_same_interval_every_time() -> None:
    groups = [0.1, 0.5, 0.3, 0.8], [0.2, 0.4, 0.6, 0.1]
    assert superiority(*groups, paired=False) == superiority(*groups, paired=False)


@pytest.mark.parametrize(("runs", "low"), [(3, 0.292), (6, 0.541), (20, 0.832)])
@pytest.mark.parametrize("paired", [True, False])
def test_groups_that_are_wholly_apart_are_as_certain_as_their_number_allows(
    runs: int, low: float, paired: bool
) -> None:
    above, below = [1.0 + n for n in range(runs)], [-1.0 - n for n in range(runs)]
    found = superiority(above, below, paired=paired)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(low, abs=0.001)  # Clopper and Pearson: 0.025 ** (1 / runs)
    assert superiority(below, above, paired=paired).high == pytest.approx(1 - low, abs=0.001)


def test_pairs_are_compared_as_pairs() -> None:
    first, second = [1.1, 2.1, 3.1, 4.1], [1.0, 2.0, 3.0, 4.0]
    assert superiority(first, second, paired=True).value == 1
    assert superiority(first, second, paired=False).value == pytest.approx(10 / 16)


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_of_equal_groups_hold_one_half_about_as_often_as_they_say(paired: bool) -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        first, second = generator.normal(size=12), generator.normal(size=12)
        found = superiority(first.tolist(), second.tolist(), paired=paired, samples=200)
        held += found.low <= 0.5 <= found.high
    assert held >= 85  # of 100; a percentile bootstrap of twelve runs is a little too narrow


@pytest.mark.parametrize("runs", range(1, 13))
def test_of_pairs_every_share_has_clopper_and_pearsons_interval_and_the_sign_tests_p(runs: int) -> None:
    for won in range(runs + 1):
        first, second = [1.0] * won + [0.0] * (runs - won), [0.0] * won + [1.0] * (runs - won)
        found, expected = superiority(first, second, paired=True), binomtest(won, runs)
        assert (found.low, found.high) == pytest.approx(expected.proportion_ci(), abs=1e-9)
        chance = p_value(first, second, paired=True)
        assert chance == pytest.approx(expected.pvalue)
        assert (chance < 0.05) == (not found.low <= 0.5 <= found.high)


def test_equal_pairs_are_half_won() -> None:
    found = superiority([2.0, 1.0, 1.0], [1.0, 1.0, 1.0], paired=True)
    fewer, more = (superiority([2.0] * n + [0.0] * (3 - n), [1.0] * 3, paired=True) for n in (1, 3))
    assert found.value == pytest.approx(2 / 3)
    assert fewer.low < found.low < more.low
    assert p_value([1.0] * 6, [1.0] * 6, paired=True) == p_value([1.0] * 6, [1.0] * 6, paired=False) == 1


@pytest.mark.parametrize("runs", range(6, 13))
def test_equal_pairs_get_a_verdict_in_one_of_twenty_comparisons_at_most(runs: int) -> None:
    # Exactly: every number of wins, with its probability.
    verdicts = [
        math.comb(runs, won) / 2**runs
        for won in range(runs + 1)
        if p_value([1.0] * won + [-1.0] * (runs - won), [0.0] * runs, paired=True) < 0.05
    ]
    assert sum(verdicts) <= 0.05


@pytest.mark.parametrize("runs", [6, 9, 12])
def test_equal_groups_get_a_verdict_in_one_of_twenty_comparisons_at_most(runs: int) -> None:
    # By 1,000 draws: 5 %, and three standard errors.
    generator = np.random.default_rng(runs)
    chances = [p_value(*generator.normal(size=(2, runs)).tolist(), paired=False) for _ in range(1000)]
    assert statistics.fmean(chance < 0.05 for chance in chances) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_an_estimate_is_written_with_its_interval() -> None:
    assert Estimate(0.93, 0.9, 0.95).text(3) == "0.930 [0.900, 0.950]"
