"""Arrays in every layout that is promised, and what is refused: shapes, gaps, texts, parts that differ."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evo.data.arrays import Arrays, arrays_of
from evo.errors import ConfigurationError
from tests.data.given_arrays import four, images, labels


def prepared(x: Any, y: Any = None, tests: int = 4) -> Arrays:
    x_train, y_train, x_test, y_test = four(x, labels(len(x), 2) if y is None else y, tests)
    return arrays_of({"train": (x_train, y_train), "test": (x_test, y_test)}, "arrays")


@given(channels=st.sampled_from((1, 3)), height=st.integers(5, 9), width=st.integers(5, 9), first=st.booleans())
def test_channels_are_found_wherever_they_are(channels: int, height: int, width: int, first: bool) -> None:
    pixels = images(10, channels, height, width)
    found = prepared(pixels if first else pixels.transpose(0, 2, 3, 1)).images["train"]
    assert found.dtype == np.uint8
    assert np.array_equal(found, pixels[:6])


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((8, 8), (1, 8, 8)),
        ((7, 9), (1, 7, 9)),
        ((2, 6, 6), (2, 6, 6)),
        ((6, 6, 4), (4, 6, 6)),
        ((9, 16, 16), (9, 16, 16)),
        ((1, 5), (1, 1, 5)),
        ((5, 1), (1, 1, 5)),
        ((5,), (1, 1, 5)),
    ],
)
def test_every_shape_has_one_meaning(shape: tuple[int, ...], kept: tuple[int, int, int]) -> None:
    found = prepared(images(10, *shape))
    assert found.images["train"].shape[1:] == kept
    assert found.images["train"].dtype == (np.float64 if kept[:2] == (1, 1) else np.uint8)


@pytest.mark.parametrize("divided", [np.float32, np.float64])
def test_bytes_that_were_divided_by_255_become_the_same_bytes(divided: type) -> None:
    pixels = images(10, 3, 6, 6)
    found = prepared((pixels / 255).astype(divided))
    assert np.array_equal(found.images["train"], pixels[:6])
    assert found.variant == "arrays: 3×6×6 pixels, given as floats from 0 to 1"
    assert np.array_equal(prepared(pixels.astype(divided)).images["train"], pixels[:6])
    assert np.array_equal(prepared(pixels.astype(np.int64)).images["train"], pixels[:6])


def test_the_scale_is_one_for_all_parts() -> None:
    pixels = images(10, 6, 6) % 2
    x = pixels.astype(np.float32)
    x[-1] *= 200
    found = prepared(x)
    assert found.images["train"].max() == 1
    assert found.images["test"].max() == 200


@pytest.mark.parametrize("other", [np.linspace(-1, 1, 360), np.linspace(0, 1, 360), np.linspace(0, 300, 360)])
def test_other_numbers_stay_what_they_are(other: np.ndarray) -> None:
    found = prepared(other.reshape(10, 6, 6))
    assert found.images["train"].dtype == np.float32
    assert np.allclose(found.images["train"][:, 0], other.reshape(10, 6, 6)[:6])


def test_frames_tensors_and_lists_are_taken() -> None:
    table = np.random.default_rng(0).normal(size=(10, 3))
    frame = pd.DataFrame(table, columns=["a", "b", "c"])
    for x in (table, frame, torch.from_numpy(table), table.tolist(), frame.astype({"a": "Float64"})):
        for y in (labels(10), pd.Series(labels(10)), torch.from_numpy(labels(10)), labels(10).tolist()):
            found = prepared(x, y)
            assert found.images["train"].shape == (6, 1, 1, 3)
            assert np.array_equal(found.images["train"][:, 0, 0], table[:6])
    assert prepared(torch.ones(10, 6, 6, dtype=torch.bfloat16)).images["test"].max() == 255


def test_a_validation_part_follows_the_training_part() -> None:
    x, y = images(12, 6, 6), labels(12)
    found = arrays_of({"train": (x[:6], y[:6]), "test": (x[6:9], labels(3)), "validation": (x[9:], y[9:])}, "arrays")
    assert found.validation == 3
    assert np.array_equal(found.images["train"][:, 0], np.concatenate([x[:6], x[9:]]))
    assert len(found.labels["train"]) == 9


NAN = pd.DataFrame(
    {"age": [1.0, np.nan, 3.0, np.nan, 5.0, 6.0], "size": [1.0, 2.0, 3.0, 4.0, np.inf, 6.0], "c": range(6)}
)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (NAN, r'(?s)x_train: every value must be a.*:.*column "age": 2 of 4 values are NaN, the first in row 1'),
        (NAN.to_numpy(), r"column number 0: 2 of 4 values are NaN, the first in row 1"),
        (NAN[["size", "c"]], r'x_test: every.*\n.*column "size": 1 of 2 values are NaN or infinite, the first'),
        (NAN.astype({"age": "Float64"}), r'column "age": 2 of 4 values are NaN'),
        (pd.DataFrame({"city": ["a", "b"] * 3}), r'(?s)column "city" holds (object|str).*pandas.get_dummies'),
        (pd.DataFrame({"day": pd.to_datetime(["2020-01-01"] * 6)}), r'column "day" holds datetime64'),
        (np.full((6, 4, 4), np.nan), "x_train: example 0 holds NaN"),
        (np.array([["a"]] * 6), "x_train: must hold numbers, got <U1; texts must be encoded"),
        (np.zeros(6), r"x_train: must be images, .* or a table, \(n, columns\), got shape \(4,\)"),
        (np.zeros((6, 2, 3, 4, 5)), r"got shape \(4, 2, 3, 4, 5\)"),
        (np.zeros((6, 0)), r"has no columns"),
        (np.zeros((6, 40, 30, 40)), "fewer channels than pixels"),
        ("images.png", "must be a NumPy array, a torch tensor or a pandas frame, got str"),
    ],
)  # fmt: skip
def test_what_is_no_data_is_refused_by_its_place(x: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        prepared(x, np.array([0, 1] * 3), tests=2)


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        (images(4, 8, 8), images(4, 9, 8), r"x_train has examples of shape \(8, 8\), x_test of \(9, 8\); .*same shape"),
        (np.zeros((4, 3)), np.zeros((4, 2)), r"of shape \(3,\), x_test of \(2,\); give all parts the same columns"),
        (pd.DataFrame({"a": range(4), "b": range(4)}), pd.DataFrame({"a": range(4), "c": range(4)}),
         "x_train and x_test have different columns: only in x_train: b; only in x_test: c"),
        (pd.DataFrame({"a": range(4), "b": range(4)}), pd.DataFrame({"b": range(4), "a": range(4)}), "another order"),
        (images(4, 8, 8), images(0, 8, 8), "x_test: has no examples"),
    ],
)  # fmt: skip
def test_parts_that_differ_are_refused_with_what_differs(train: Any, test: Any, reason: str) -> None:
    y = np.array([0, 1, 0, 1])
    with pytest.raises(ConfigurationError, match=reason):
        arrays_of({"train": (train, y), "test": (test, y[: len(test)])}, "arrays")
