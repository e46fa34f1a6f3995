"""Choices: every one as likely, none invented, types kept."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.errors import ConfigurationError
from evo.space.genes import Boolean, Categorical
from evo.space.genes.values import alike
from tests.spaces import categoricals

SEEDS = st.integers(0, 2**32)


@given(categoricals(), SEEDS)
def test_a_sample_is_a_choice_and_survives_its_text(gene: Categorical, seed: int) -> None:
    value = gene.sample(random.Random(seed))
    assert gene.contains(value)
    assert gene.repair(value) == value
    read = gene.from_cell(gene.to_text(value))
    assert alike(read, value)


@given(categoricals(), SEEDS)
def test_distance_is_0_for_equal_and_1_for_different(gene: Categorical, seed: int) -> None:
    rng = random.Random(seed)
    first, second = gene.sample(rng), gene.sample(rng)
    assert gene.distance(first, second) == gene.distance(second, first) == float(first != second)


def test_every_choice_is_equally_likely() -> None:
    rng = random.Random(0)
    counts = Counter(Categorical(["a", 2, 0.5]).sample(rng) for _ in range(6000))
    assert all(abs(counts[choice] - 2000) < 150 for choice in ("a", 2, 0.5))
    truths = sum(Boolean().sample(rng) for _ in range(4000))
    assert abs(truths - 2000) < 130


@pytest.mark.parametrize("value", [1.0, True, "1", "b", None, ("a",), [1]])
def test_only_a_choice_of_the_same_type_is_contained(value: object) -> None:
    gene = Categorical(["a", 1])
    assert not gene.contains(value)
    with pytest.raises(ValueError, match="expected one of"):
        gene.repair(value)


@pytest.mark.parametrize("value", [0, 1, "True", None, 1.0])
def test_a_boolean_is_true_or_false_and_nothing_like_it(value: object) -> None:
    assert not Boolean().contains(value)
    with pytest.raises(ValueError, match="expected true or false"):
        Boolean().repair(value)


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_survives_its_text(value: bool) -> None:
    assert Boolean().from_cell(Boolean().to_text(value)) is value
    assert Boolean().repair(value) is value


@pytest.mark.parametrize(
    "choices",
    [
        *([], ["a", "a"], [1, "1"], [1, 1.0], [0, False], [float("nan")], ["a", ""], "relu", [None, "null"]),
        *(
            [None, None],
            [(1, 2), [1, 2]],
            [(1,), (1.0,)],
            [(1, 2), "[1,2]"],
            [(float("inf"),)],
            [("\x1b",)],
            [{"a": 1}],
        ),
    ],
)
def test_choices_that_cannot_be_told_apart_are_refused(choices: object) -> None:
    with pytest.raises(ConfigurationError):
        Categorical(choices)


def test_points_and_descriptions() -> None:
    assert (Categorical(["a", 1, 0.5]).points, Categorical(["a", 1, 0.5]).describe()) == (3, "a | 1 | 0.5")
    assert (Boolean().points, Boolean().describe()) == (2, "true | false")


def test_a_condition_takes_one_value_or_several() -> None:
    one, several = Boolean(when={"kind": "a"}), Boolean(when={"kind": ["a", "b"], "use": True})
    assert one.is_active({"kind": "a"})
    assert not one.is_active({"kind": "b"})
    assert not one.is_active({})
    assert several.is_active({"kind": "b", "use": True})
    assert not several.is_active({"kind": "b", "use": False})
    assert not several.is_active({"kind": "b"})


def test_a_wrong_choice_is_named_by_its_place() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Categorical(["a", float("nan")])
    assert str(caught.value) == (
        "Categorical.choices.1: must be a text, a finite number, true, false, none or a tuple of these, got nan"
    )


@pytest.mark.parametrize("value", [(1, 2), [1, 2], ((1, 2), None)])
def test_a_tuple_is_a_choice_however_it_is_given(value: object) -> None:
    gene = Categorical([[1, 2], ((1, 2), None), None])
    assert gene.contains(gene.repair(value))
    assert not gene.contains((1.0, 2))
    assert not gene.contains((True, 2))
    assert gene.repair({"none": True}) is None


def test_values_without_a_text_of_their_own_have_one_in_a_cell() -> None:
    gene = Categorical([None, (3, (1.5, "ü,")), ()])
    assert [gene.to_text(choice) for choice in gene.choices] == ["null", '[3, [1.5, "ü,"]]', "[]"]
    assert gene.from_cell('[3,[1.5,"ü,"]]') == (3, (1.5, "ü,"))
    with pytest.raises(ValueError, match="expected one of"):
        gene.from_cell("[3]")
