"""Layer lists: depth and widths within their bounds, one grid for all widths."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.errors import ConfigurationError
from evo.space.genes import Layers
from tests.spaces import layer_lists

SEEDS = st.integers(0, 2**32)


@given(layer_lists(), SEEDS)
def test_a_sample_is_legal_and_survives_its_text(gene: Layers, seed: int) -> None:
    value = gene.sample(random.Random(seed))
    assert gene.contains(value)
    assert gene.shortest <= len(value) <= gene.longest
    assert gene.repair(value) == value
    assert gene.from_cell(gene.to_text(value)) == value


@given(layer_lists(), SEEDS)
def test_distance_is_a_symmetric_fraction_and_zero_for_equal(gene: Layers, seed: int) -> None:
    rng = random.Random(seed)
    first, second = gene.sample(rng), gene.sample(rng)
    assert 0 <= gene.distance(first, second) <= 1
    assert gene.distance(first, second) == pytest.approx(gene.distance(second, first))
    assert gene.distance(first, first) == 0
    assert first == second or gene.distance(first, second) > 0


def test_no_layers_are_a_value_where_the_depth_may_be_0() -> None:
    gene = Layers(depth=(0, 3), width=(1, 9))
    assert gene.contains(()) and gene.repair([]) == () and gene.from_cell("[]") == ()  # noqa: PT018  # one fact
    assert gene.to_text(()) == "[]"
    assert gene.distance((), ()) == 0
    assert gene.distance((), (4, 4)) == 1
    assert gene.points == 1 + 9 + 81 + 729
    with pytest.raises(ValueError, match="expected"):
        Layers(depth=(1, 3), width=(1, 9)).from_cell("[]")


@given(layer_lists(), st.lists(st.integers(-10, 9999) | st.floats(-10, 9999), min_size=1, max_size=9))
def test_repair_makes_any_list_of_numbers_legal(gene: Layers, widths: list[float]) -> None:
    if gene.choices is None:
        assert gene.contains(gene.repair(widths))


def test_repair_keeps_what_fits() -> None:
    gene = Layers(depth=(2, 3), width=(10, 50), step=10)
    assert gene.repair([500, 21, 4, 30]) == (50, 20, 10)
    assert gene.repair((30,)) == (30, 30)


@pytest.mark.parametrize("value", [[], "64", 64, None, ["a"], [None], [math.nan], [math.inf], [True]])
def test_repair_refuses_what_is_no_list_of_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        Layers(depth=(1, 3), width=(1, 9)).repair(value)


def test_repair_refuses_a_list_that_is_no_choice() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        Layers(choices=[(1000, 500)]).repair([1000])
    assert Layers(choices=[(1000, 500)]).repair([1000, 500]) == (1000, 500)


@pytest.mark.parametrize("value", [(), (8,) * 4, (7,), (65,), (12,), (8.0,), (True,), [8], "8", 8, None])
def test_what_breaks_depth_width_grid_or_type_is_not_contained(value: object) -> None:
    assert not Layers(depth=(1, 3), width=(8, 64), step=8).contains(value)


def test_every_depth_is_equally_likely_and_widths_are_log_uniform() -> None:
    gene, rng = Layers(depth=(1, 4), width=(1, 1023), log=True), random.Random(0)
    samples = [gene.sample(rng) for _ in range(4000)]
    assert all(abs(count - 1000) < 120 for count in Counter(map(len, samples)).values())
    widths = sorted(width for sample in samples for width in sample)
    # The median of a log-uniform draw from 0.5 to 1023.5 is 22.6.
    assert widths[len(widths) // 2] == pytest.approx(22.6, rel=0.15)


def test_every_listed_choice_is_equally_likely() -> None:
    rng = random.Random(0)
    counts = Counter(Layers(choices=[(1,), (2, 2), (3,)]).sample(rng) for _ in range(6000))
    assert all(abs(count - 2000) < 150 for count in counts.values())


def test_a_missing_layer_counts_as_a_whole_one() -> None:
    gene = Layers(depth=(1, 4), width=(1, 101))
    assert gene.distance((5,), (5, 9, 9, 9)) == pytest.approx(3 / 4)


def test_points_counts_the_lists() -> None:
    assert Layers(depth=(1, 3), width=(10, 35), step=10).points == 3 + 9 + 27
    assert Layers(depth=(2, 5), width=(7, 7)).points == 4
    assert Layers(choices=[(1,), (2,)]).points == 2
    assert Layers(depth=(1, 10**6), width=(1, 1000)).points == math.inf


def test_text_is_as_in_the_report() -> None:
    assert Layers(depth=(1, 4), width=(1, 1000)).to_text((1000, 500, 250, 100)) == "1000,500,250,100"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"depth": (1, 2)},
        {"width": (1, 2)},
        {"depth": (2, 1), "width": (1, 2)},
        {"depth": (-1, 1), "width": (1, 2)},
        {"depth": (1, 2), "width": (0, 8)},
        {"depth": (1, 2), "width": (8, 4)},
        {"depth": (1, 2), "width": (1, 8), "step": 0},
        {"choices": []},
        {"choices": [[], []]},
        {"choices": [[8], [8]]},
        {"choices": [[0]]},
        {"choices": [[8]], "depth": (1, 2), "width": (1, 8)},
        {"choices": [[8]], "log": True},
    ],
)
def test_impossible_lists_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Layers(**values)


def test_descriptions_name_depths_and_widths() -> None:
    gene = Layers(depth=(1, 5), width=(16, 1024), log=True)
    assert gene.describe() == "1 to 5 layers of width 16 to 1024 (log)"
    assert Layers(choices=[(5000,), (1000, 500)]).describe() == "5000 | 1000,500"


@pytest.mark.parametrize("named", [False, True])
def test_wrong_bounds_are_named_however_they_were_given(named: bool) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Layers(depth=(2, 1), width=(1, 8)) if named else Layers((2, 1), (1, 8))
    assert str(caught.value) == "Layers.depth: must be [smallest, largest], got [2, 1]"
