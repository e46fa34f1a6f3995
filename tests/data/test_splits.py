"""The validation split is fixed, disjoint, complete and mixed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.data import split_train
from evo.data.splits import fixed_permutation, split_by_class
from evo.errors import ConfigurationError


@given(st.integers(2, 3000), st.floats(0.001, 0.999))
def test_every_index_is_in_exactly_one_part(count: int, fraction: float) -> None:
    train, validation = split_train(count, fraction)
    assert len(train) >= 1
    assert len(validation) >= 1
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(count))
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(validation) > 0)


def test_cifar10_splits_into_45000_and_5000() -> None:
    train, validation = split_train(50_000)
    assert (len(train), len(validation)) == (45_000, 5_000)
    assert train.dtype == validation.dtype == np.int64


def test_images_sorted_by_class_give_a_mixed_split() -> None:
    labels = np.repeat(np.arange(10), 5000)
    _, validation = split_train(50_000)
    per_class = np.bincount(labels[validation], minlength=10)
    # 500 expected in each class; the hypergeometric standard deviation is 20.
    assert per_class.min() > 400
    assert per_class.max() < 600


def test_the_split_never_changes() -> None:
    # Numbers of the day it was written: another NumPy, platform or release of evo must give the same images.
    assert fixed_permutation(8, 20190412).tolist() == [0, 1, 6, 4, 5, 7, 3, 2]
    assert split_train(50_000)[1][:5].tolist() == [0, 24, 26, 31, 54]


def test_numpys_global_seed_does_not_matter() -> None:
    np.random.seed(1)
    first = split_train(100)[1]
    np.random.seed(2)
    assert np.array_equal(first, split_train(100)[1])


@pytest.mark.parametrize(
    ("count", "fraction", "rule"),
    [(1, 0.1, "at least 2"), (10, 0.0, "validation_fraction"), (10, 1.0, "validation_fraction")],
)
def test_impossible_splits_are_refused(count: int, fraction: float, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule):
        split_train(count, fraction)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=12), st.floats(0.05, 0.6))
def test_a_share_is_one_of_each_class(counts: list[int], share: float) -> None:
    labels = fixed_permutation(sum(counts), 1)
    labels = np.repeat(np.arange(len(counts)), counts)[labels]
    if max(counts) < 2:
        with pytest.raises(ConfigurationError, match=r"data\.validation: no class has two training images"):
            split_by_class(labels, share)
        return
    train, validation = split_by_class(labels, share)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels)))
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(validation) > 0)
    held_out = np.bincount(labels[validation], minlength=len(counts))
    assert held_out.tolist() == [min(max(round(n * share), 1), n - 1) if n > 1 else 0 for n in counts]


def test_the_split_by_class_never_changes() -> None:
    # Numbers of the day it was written: see `test_the_split_never_changes`.
    assert split_by_class(np.arange(30) % 3, 0.2)[1].tolist() == [0, 1, 10, 11, 24, 26]
