"""Numbers: legal draws, fair grids, log scales, reflection at the bounds."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.errors import ConfigurationError
from evo.space.genes import Float, Integer, Number
from evo.strategies.variation import mate_gene, mutate_gene
from tests.spaces import integers, numbers

SEEDS = st.integers(0, 2**32)


@given(numbers(), SEEDS)
def test_a_sample_is_legal_and_survives_its_text(gene: Number, seed: int) -> None:
    value = gene.sample(random.Random(seed))
    assert gene.contains(value)
    assert gene.low <= value <= gene.high + 1e-9 * abs(gene.high)
    assert gene.from_cell(gene.to_text(value)) == value


@given(numbers(), st.floats(-50, 50))
def test_every_place_on_the_scale_is_a_legal_number(gene: Number, unit: float) -> None:
    assert gene.contains(gene.from_unit(unit))


@given(numbers(), SEEDS)
def test_the_scale_and_its_inverse_agree(gene: Number, seed: int) -> None:
    value = gene.sample(random.Random(seed))
    assert gene.from_unit(gene.scale.to_unit(value)) == pytest.approx(value, rel=1e-9, abs=1e-12)


@given(numbers(), st.floats(-1e6, 1e6))
def test_repair_gives_the_nearest_legal_number(gene: Number, value: float) -> None:
    repaired = gene.repair(value)
    assert gene.contains(repaired)
    assert gene.repair(repaired) == repaired
    if gene.scale.low <= value <= gene.scale.high:
        grid = gene.scale.step or 0.0
        assert abs(repaired - value) <= grid / 2 + 1e-6 * max(1.0, abs(value))


@given(numbers(), SEEDS)
def test_distance_is_a_symmetric_fraction_and_zero_for_equal(gene: Number, seed: int) -> None:
    rng = random.Random(seed)
    first, second = gene.sample(rng), gene.sample(rng)
    assert 0 <= gene.distance(first, second) <= 1
    assert gene.distance(first, second) == gene.distance(second, first)
    assert gene.distance(first, first) == 0
    assert first == second or gene.distance(first, second) > 0


@given(integers())
def test_points_counts_the_legal_numbers(gene: Integer) -> None:
    assert gene.points == sum(gene.contains(value) for value in range(gene.low, gene.high + 1))


@pytest.mark.parametrize(
    "gene",
    [
        Integer(1, 5),
        Integer(-5, 6, step=4),
        Integer(10, 49, step=10),
        Float(0.0, 0.5, step=0.1),
        Float(1 / 3, 1.5, step=0.25),
    ],
)
def test_every_number_of_a_linear_grid_is_equally_likely_the_bounds_included(gene: Number) -> None:
    rng = random.Random(0)
    counts = Counter(gene.sample(rng) for _ in range(20_000))
    expected = 20_000 / gene.points
    assert len(counts) == gene.points
    # Chi-squared with at most 5 degrees of freedom; 20.5 is its 99.9th percentile.
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 20.5


def test_a_log_gene_draws_every_decade_equally_often() -> None:
    gene, rng = Float(1e-4, 1.0, log=True), random.Random(0)
    decades = Counter(math.floor(math.log10(gene.sample(rng))) for _ in range(8000))
    assert all(abs(decades[decade] - 2000) < 160 for decade in (-4, -3, -2, -1))


def test_a_log_grid_draws_small_numbers_more_often_and_reaches_both_bounds() -> None:
    gene, rng = Integer(100, 1000, step=100, log=True), random.Random(0)
    counts = Counter(gene.sample(rng) for _ in range(10_000))
    assert sorted(counts) == list(range(100, 1001, 100))
    assert counts[200] > counts[500] > counts[900] > 0


def test_a_step_over_a_bound_comes_back() -> None:
    gene = Float(0.0, 10.0)
    assert gene.from_unit(-0.1) == pytest.approx(1.0)
    assert gene.from_unit(1.1) == pytest.approx(9.0)
    assert gene.from_unit(2.3) == pytest.approx(3.0)


def test_decimal_grids_hold_decimal_numbers() -> None:
    gene = Float(0.1, 0.75, step=0.1)
    assert [gene.snap(0.1 * i) for i in range(1, 9)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7]
    assert gene.contains(0.1 + 0.2)
    assert not gene.contains(0.75)


def test_a_low_bound_of_many_digits_stays_legal() -> None:
    assert Float(1 / 3, 1.0, step=0.1).snap(0.0) == 1 / 3


def test_large_whole_numbers_keep_every_digit() -> None:
    gene, rng = Integer(2**50, 2**50 + 3), random.Random(0)
    assert {gene.sample(rng) for _ in range(100)} == {2**50, 2**50 + 1, 2**50 + 2, 2**50 + 3}


@pytest.mark.parametrize("value", [True, "3", None, (3,), math.nan, math.inf, -math.inf, 11, 0, 10**400])
def test_what_is_no_number_within_the_bounds_is_not_contained(value: object) -> None:
    assert not Integer(1, 10).contains(value)
    assert not Float(1.0, 10.0).contains(value)


def test_an_integer_gene_takes_no_real_number_and_a_float_gene_takes_whole_ones() -> None:
    assert not Integer(1, 10).contains(3.0)
    assert Float(1.0, 10.0).contains(3)


@pytest.mark.parametrize("value", [True, "3", None, math.nan, math.inf])
def test_repair_refuses_what_is_no_finite_number(value: object) -> None:
    with pytest.raises(ValueError, match="expected a finite number, got"):
        Float(0.0, 1.0).repair(value)


@pytest.mark.parametrize("gene", [Float(0.5, 0.5), Float(0.5, 0.5, log=True), Integer(3, 3, log=True, step=2)])
def test_a_gene_of_one_number_always_gives_it(gene: Number) -> None:
    assert gene.points == 1
    assert {gene.from_unit(unit) for unit in (-3.2, 0.0, 0.5, 1.0)} == {gene.low}
    assert gene.distance(gene.low, gene.low) == 0


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Float, {"low": 1.0, "high": 0.5}),
        (Float, {"low": 0.0, "high": 0.5, "log": True}),
        (Float, {"low": math.nan, "high": 0.5}),
        (Float, {"low": 0.0, "high": math.inf}),
        (Float, {"low": 0.0, "high": 1.0, "step": 0.0}),
        (Float, {"low": "0", "high": 1.0}),
        (Integer, {"low": 2, "high": 1}),
        (Integer, {"low": 0, "high": 1, "log": True}),
        (Integer, {"low": 0.5, "high": 1}),
        (Integer, {"low": 0, "high": 9, "step": 0}),
        (Integer, {"low": 0, "high": 10**400}),
    ],
)
def test_impossible_bounds_are_refused(kind: type[Number], values: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        kind(**values)


EXTREMES: list[Number] = [
    *(Float(-8e307, 8e307), Float(0.0, 1.7e308), Float(0.0, 5e-324), Float(1.0, 1 + 2**-52), Float(1e-320, 2e-320)),
    *(Float(5e-324, 1.7976931348623157e308, log=True), Float(1e308, 1.7976931348623157e308, log=True)),
    *(Float(5e-324, 1.0, log=True, step=0.1), Float(1e-320, 2e-320, step=1e-323), Float(0.0, 1.0, step=1e-300)),
    *(Float(0.0, 1.0, step=1e307), Float(1e308, 1.7e308, step=1e307), Float(1e308, 1.7e308, step=1e307, log=True)),
    *(
        Integer(-(2**53), 2**53),
        Integer(1, 2**53, log=True),
        Integer(2**53, 2**53),
        Integer(-(2**53), 2**53, step=2**53),
    ),
]


@pytest.mark.parametrize("gene", EXTREMES, ids=repr)
def test_at_extreme_bounds_every_draw_is_legal_and_they_spread(gene: Number) -> None:
    rng = random.Random(0)
    values = [gene.sample(rng) for _ in range(200)]
    assert all(map(gene.contains, values))
    assert len(set(values)) == 1 if gene.points == 1 else len(set(values)) > 1
    units = [gene.scale.to_unit(value) for value in values]
    assert all(0 <= unit <= 1 for unit in units)
    assert gene.points == 1 or max(units) - min(units) > 0.4
    assert all(gene.contains(gene.from_unit(unit)) for unit in (-50.3, 0.0, 0.5, 1.0, 1.0 + 1e-16, 2.0))
    assert gene.repair(10**400) == gene.snap(gene.high)
    assert gene.repair(-(10**400)) == gene.snap(gene.low)
    assert gene.contains(mutate_gene(gene, values[0], rng, 0.15))
    assert gene.contains(mate_gene(gene, values[0], values[1], rng))


@pytest.mark.parametrize(
    "values",
    [
        {"low": -1e308, "high": 1e308},
        {"low": -1.7e308, "high": 1.7e308, "step": 1e300},
        {"low": 0.0, "high": 1.0, "step": 1e-320},
        {"low": 0.0, "high": 1e308, "step": 1e-2},
        {"low": 1.0, "high": 1e308, "step": 0.1, "log": True},
        {"low": 0.0, "high": 1.7e308, "step": 1.6e308},
    ],
)
def test_spans_and_steps_that_no_float_holds_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"Float: high - low, and how many steps that is, must be below 1\.8e308"
    ):
        Float(**values)


def test_descriptions_name_bounds_steps_and_scale() -> None:
    assert Float(1e-5, 0.1, log=True).describe() == "1e-05 to 0.1 (log)"
    assert Integer(200, 2000, step=100, log=True).describe() == "200 to 2000 (step 100, log)"
    assert Integer(1, 9).describe() == "1 to 9"


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((2, 1), {}, "Float.high: must not be below low, got low=2.0, high=1.0"),
        ((), {"low": 2, "high": 1}, "Float.high: must not be below low, got low=2.0, high=1.0"),
        ((2,), {"high": 1}, "Float.high: must not be below low, got low=2.0, high=1.0"),
        ((0.0, 1.0, True), {}, "Float.log: log scale needs low > 0, got low=0.0"),
        ((0.0,), {}, "Float.high: missing"),
        (("a", 1.0), {}, "Float.low: must be a valid number, got 'a'"),
        ((0.0, 1.0), {"hihg": 2.0}, 'Float.hihg: unknown key. Did you mean "high"?'),
        ((0.0, 1.0, False, None, None, "float", 7), {}, "Float.6: unexpected positional argument, got 7"),
    ],
)
def test_a_wrong_argument_is_named_however_it_was_given(
    arguments: tuple[object, ...], named: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Float(*arguments, **named)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_whole_number_of_a_float_gene_becomes_a_real_one() -> None:
    for gene in (Float(0.0, 4.0), Float(0.0, 4.0, step=0.5)):
        assert type(gene.repair(1)) is type(gene.snap(4)) is float
