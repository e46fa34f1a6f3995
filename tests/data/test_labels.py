"""Labels become indices of classes in one order, or are refused with what to do."""

import numpy as np
import pandas as pd
import pytest

from evo.data.labels import checked_labels, class_indices, unbalanced_note
from evo.errors import ConfigurationError


def indices(train: object, test: object) -> tuple[tuple[str, ...], list[int], list[int]]:
    parts = {
        part: checked_labels(f"y_{part}", np.asarray(y), len(np.asarray(y)))
        for part, y in (("train", train), ("test", test))
    }
    names, found = class_indices(parts)
    return names, found["train"].tolist(), found["test"].tolist()


@pytest.mark.parametrize(
    ("train", "test", "names"),
    [
        ([7, 5, 7, 9], [9, 5, 7], ("5", "7", "9")),
        ([-1, 1, -1], [1, -1], ("-1", "1")),
        ([10, 9, 100], [100, 9, 10], ("9", "10", "100")),
        (["dog", "cat", "dog"], ["cat", "dog"], ("cat", "dog")),
        ([b"dog", b"cat"], [b"cat", b"dog"], ("cat", "dog")),
        (np.array(["b", "a"], dtype=object), np.array(["a", "b"], dtype=object), ("a", "b")),
        (pd.Series(["x", "y"], dtype="category").to_numpy(), np.array(["y", "x"]), ("x", "y")),
        ([True, False], [False, True], ("False", "True")),
        (np.array([[1], [2]], dtype=np.uint8), [2, 1], ("1", "2")),
    ],
)
def test_classes_are_in_order_and_labels_point_to_them(train: object, test: object, names: tuple[str, ...]) -> None:
    found, in_train, in_test = indices(train, test)
    assert found == names
    for values, given in ((in_train, train), (in_test, test)):
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in np.asarray(given).ravel().tolist()]
        assert [names[index] for index in values] == texts


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            np.array([0.5, 1.5]),
            r"y_train: the target is a float \(0.5, 1.5\).*evo.search\(space, objective=…\).*astype",
        ),
        (np.array([0.0, 1.0]), "the target is a float"),
        (np.eye(2), r"shape \(n,\), got \(2, 2\); one-hot labels become classes by y.argmax"),
        (np.array([1, 2, 3]), "3 labels for the 2 examples of x_train"),
        (np.array(["a", 1], dtype=object), "some labels are texts and some are not"),
        (np.array(["a", None], dtype=object), "1 labels are missing, the first in row 1"),
        (np.array(["a", np.nan], dtype=object), "missing, the first in row 1"),
        (np.array([pd.NA, 1], dtype=object), "missing, the first in row 0"),
        (np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]"), "whole numbers or texts, got datetime64"),
    ],
)
def test_what_is_no_class_is_refused(values: np.ndarray, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        checked_labels("y_train", values, 2)


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        ([0, 1, 2], [0, 1, 3, 2], "only in test: 3"),
        ([0, 1, 2], [0, 1], "not in test: 2"),
        (["a", "b"], ["a", "c"], "only in test: c\nnot in test: b\ngive both parts examples of every class"),
        ([0, 0], [0], "all training labels are 0: a classifier needs at least two classes"),
        ([0, 1], ["0", "1"], "the labels of the training part are numbers, those of the test part are texts"),
        (["a", "a\\x07", "a\x07"], ["a"], "test"),
    ],
)
def test_parts_of_other_classes_are_refused(train: list[object], test: list[object], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        indices(train, test)


def test_a_validation_part_may_lack_a_class_but_have_no_other() -> None:
    parts = {"train": np.array([0, 1, 2]), "test": np.array([2, 1, 0]), "validation": np.array([0, 1])}
    assert class_indices(parts)[1]["validation"].tolist() == [0, 1]
    with pytest.raises(ConfigurationError, match="only in validation: 5"):
        class_indices(parts | {"validation": np.array([0, 5])})


@pytest.mark.parametrize(
    ("counts", "noted"), [((30, 10), False), ((31, 10), True), ((5, 100, 50), True), ((1, 1), False)]
)
def test_unbalanced_classes_are_noted(counts: tuple[int, ...], noted: bool) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    note = unbalanced_note(labels, [f"class {place}" for place in range(len(counts))])
    assert bool(note) == noted
    if noted:
        assert f"{max(counts)} training examples" in note
        assert f'{min(counts)} of "class {counts.index(min(counts))}"' in note
