"""Values from outside are taken exactly, as Python's own types, or refused by name; no set decides an order."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

import evo
from evo.errors import ConfigurationError
from evo.space.genes.values import as_python

BUILT_IN = (bool, int, float, str)
TYPES = [np.bool_, np.int8, np.uint8, np.int64, np.uint64, np.float16, np.float32, np.float64, np.longdouble]
TYPES += [np.complex64, np.datetime64, np.timedelta64, np.str_, np.bytes_, np.void, np.object_]


@given(numpy_strategies.arrays(st.sampled_from(TYPES[:9]).map(np.dtype), st.integers(1, 4), unique=True))
def test_choices_of_an_array_are_its_values_exactly_or_refused(array: np.ndarray[Any, Any]) -> None:
    try:
        choices = evo.Categorical(array).choices
    except ConfigurationError:
        exact = [as_python(value) for value in array]
        numbers = [value for value in exact if isinstance(value, BUILT_IN)]
        assert len(numbers) < len(exact) or not np.isfinite(array).all() or len(set(exact)) < len(exact)
        return
    assert all(choice == value for choice, value in zip(choices, array, strict=True))
    assert all(type(choice) in BUILT_IN for choice in choices)
    kinds = {"b": bool, "i": int, "u": int, "f": float}
    assert {type(choice) for choice in choices} == {kinds[array.dtype.kind]}


class Colour(str, enum.Enum):  # noqa: UP042  # str() gives another text than that of a StrEnum
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 3


@pytest.mark.parametrize(
    ("made", "same"),
    [
        (lambda: evo.Categorical(2 ** np.arange(4, 7)), evo.Categorical([16, 32, 64])),
        (lambda: evo.Categorical(np.array([True, False])), evo.Categorical([True, False])),
        (lambda: evo.Categorical([np.str_("a"), np.float32(0.1)]), evo.Categorical(["a", float(np.float32(0.1))])),
        (lambda: evo.Categorical(np.array(["a", 1], dtype=object)), evo.Categorical(["a", 1])),
        (lambda: evo.Categorical(list(Colour) + list(Size)), evo.Categorical(["red", 3])),
        (lambda: evo.Categorical(pd.Series(["a", "b"])), evo.Categorical(["a", "b"])),
        (lambda: evo.Categorical(pd.Index([1, 2])), evo.Categorical([1, 2])),
        (lambda: evo.Categorical(range(3)), evo.Categorical([0, 1, 2])),
        (lambda: evo.Categorical(np.int64(2) ** n for n in range(3)), evo.Categorical([1, 2, 4])),
        (lambda: evo.Categorical({"b": 1, "a": 2}.keys()), evo.Categorical(["b", "a"])),
        (
            lambda: evo.Integer(np.int64(1), np.array(5), step=np.uint8(2), log=np.bool_(True)),
            evo.Integer(1, 5, True, 2),
        ),
        (lambda: evo.Float(np.float32(0), np.int64(3), step=np.float16(0.5)), evo.Float(0.0, 3.0, step=0.5)),
        (lambda: evo.Layers(np.array([1, 3]), np.array([4, 8]), step=np.int64(2)), evo.Layers((1, 3), (4, 8), step=2)),
        (lambda: evo.Layers(choices=np.array([[1, 2], [3, 4]])), evo.Layers(choices=[(1, 2), (3, 4)])),
        (lambda: evo.Layers(choices=(np.arange(1, n) for n in (2, 3))), evo.Layers(choices=[(1,), (1, 2)])),
        (lambda: evo.Categorical(np.array([None, (1, np.int64(2))], dtype=object)), evo.Categorical([None, (1, 2)])),
        (lambda: evo.Categorical(np.array([[1, 2], [3, 4]])), evo.Categorical([(1, 2), (3, 4)])),
        (lambda: evo.Boolean(when={np.str_("x"): np.array([1, 2])}), evo.Boolean(when={"x": [1, 2]})),
        (lambda: evo.Boolean(when={"x": (np.int64(1), 2)}), evo.Boolean(when={"x": [1, 2]})),
        (lambda: evo.Boolean(when={"x": np.bool_(True)}), evo.Boolean(when={"x": True})),
    ],
)
def test_a_gene_of_numpys_values_is_that_of_pythons(made: Callable[[], Any], same: Any) -> None:
    parent = evo.Boolean() if same.when and same.when["x"] is True else evo.Integer(1, 2)
    space, other = (evo.SearchSpace({"x": parent, "gene": gene}) for gene in (made(), same))
    assert made() == same
    assert json.dumps(space.to_dict()) == json.dumps(other.to_dict())


@pytest.mark.parametrize(
    "made",
    [
        lambda: evo.Categorical({"a", "b"}),
        lambda: evo.Categorical(frozenset({1, 2})),
        lambda: evo.Categorical({"a": 1}.keys() | {"b"}),
        lambda: evo.Categorical(iter({"a", "b"})),
        lambda: evo.Layers(choices={(1,), (2, 3)}),
        lambda: evo.Layers(choices=[{1, 2}]),
        lambda: evo.Layers(depth={1, 2}, width=(1, 9)),
        lambda: evo.Layers(depth=(1, 2), width=frozenset({1, 9})),
        lambda: evo.Boolean(when={"x": {1, 2}}),
        lambda: evo.SearchSpace({"x": evo.Integer(1, 5)}, initial={(("x", 1),)}),
        lambda: evo.search(evo.SearchSpace({"x": evo.Integer(1, 5)}), lambda config: 0.0, initial={1, 2}),
        lambda: evo.make_strategy("ga", evo.SearchSpace({"x": evo.Integer(1, 5)}), initial={1, 2}),
    ],
)
def test_a_set_is_refused_with_the_advice_to_sort_it(made: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a list: a set has no order, .* give sorted\("):
        made()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: evo.Categorical(np.array([1 + 2j])), r"choices\.0: must be a text, .*1\+2j"),
        (lambda: evo.Categorical(np.array(["2020-01-01"], dtype="M8[D]")), r"choices\.0: .*datetime64"),
        (lambda: evo.Categorical([np.timedelta64(1, "D")]), r"choices\.0: .*timedelta64"),
        (lambda: evo.Categorical([np.longdouble(1) / 3]), r"choices\.0: .*0\.3333"),
        (lambda: evo.Categorical(np.array([b"a"])), r"choices\.0: .*b'a'"),
        (lambda: evo.Categorical([(1, np.float32("nan"))]), r"choices\.0: .*nan"),
        (lambda: evo.Categorical([np.float32("nan")]), r"choices\.0: .*nan"),
        (lambda: evo.Categorical(np.ma.masked_array([1, 2], [0, 1])), r"choices\.1: .*masked"),
        (lambda: evo.Categorical({"a": 1}), r"choices: must be a list, got \{'a': 1\}"),
        (lambda: evo.Categorical(np.array(3)), r"choices: must be a list, got 3"),
        (lambda: evo.Categorical("relu"), r"choices: must be a list, got 'relu'"),
        (lambda: evo.Integer(np.float64(1), 5), r"low: must be a valid integer, got 1\.0"),
        (lambda: evo.Integer(np.timedelta64(1), 5), r"low: must be a valid integer, got .*timedelta64"),
        (lambda: evo.Layers((1, 2), np.array([1.0, 8.0])), r"width\.0: must be a valid integer, got 1\.0"),
        (lambda: evo.Boolean(when={"x": {"a": 1}}), r"when\.x: must be a list, got \{'a': 1\}"),
        (lambda: evo.SearchSpace({("x", evo.Integer(1, 5))}), "genes: must be a mapping of genes by name"),
        (
            lambda: evo.SearchSpace({"x": evo.Integer(1, 5)}, initial={"x": 3}),
            r"initial: must be a list, got \{'x': 3\}",
        ),
        (lambda: evo.SearchSpace({"x": evo.Integer(1, 5)}, initial=[5]), r"initial\[0\]: must be gene values by name"),
    ],
)
def test_what_has_no_equal_is_refused_by_name(made: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        made()


def test_known_configurations_take_numpys_values_and_are_read_once() -> None:
    genes = {"x": evo.Integer(1, 5), "kind": evo.Categorical(["a", 2]), "layers": evo.Layers((1, 2), (1, 9))}
    given = {"x": np.int64(3), "kind": np.str_("a"), "layers": np.array([4, 2])}
    expected = {"x": 3, "kind": "a", "layers": (4, 2)}
    assert evo.SearchSpace(genes, initial=iter([given])).initial == (expected,)
    run = evo.search(evo.SearchSpace(genes), lambda config: 0.0, budget=4, initial=iter([given]))  # type: ignore[arg-type]
    assert run.individuals[0].genome == expected
    assert [type(value) for value in run.individuals[0].genome.values()] == [int, str, tuple]
    strategy = evo.make_strategy("ga", evo.SearchSpace(genes), budget=4, initial=[given])
    assert strategy.ask()[0].genome == expected


@pytest.mark.parametrize(
    "given", [pd.DataFrame({"x": [1], "y": [2]}), bytearray(b"ab"), memoryview(b"ab")], ids=["table", "bytes", "view"]
)
def test_what_is_not_a_row_of_choices_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match="must be a list"):
        evo.Categorical(given)  # type: ignore[arg-type]  # wrong on purpose


def test_a_whole_number_that_is_no_float_is_a_choice() -> None:
    gene = evo.Categorical([10**400, -(10**400), 1])
    assert [gene.from_cell(gene.to_text(choice)) for choice in gene.choices] == list(gene.choices)
