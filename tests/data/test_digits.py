"""The embedded digits are scikit-learn's, scaled to bytes and mixed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from evo.data import prepare_dataset
from evo.errors import ConfigurationError


def test_shapes_and_counts() -> None:
    dataset = prepare_dataset("digits")
    images, labels = dataset.arrays("train")
    test_images, test_labels = dataset.arrays("test")
    assert images.shape == (1500, 1, 8, 8)
    assert test_images.shape == (297, 1, 8, 8)
    assert images.dtype == np.uint8
    assert labels.dtype == test_labels.dtype == np.int64
    assert (dataset.train_count, dataset.test_count, dataset.image_shape) == (1500, 297, (1, 8, 8))
    assert dataset.classes == tuple("0123456789")


def test_every_image_is_there_once_with_its_label() -> None:
    dataset = prepare_dataset("digits")
    parts = [dataset.arrays("train"), dataset.arrays("test")]
    images = np.concatenate([images for images, _ in parts]).reshape(-1, 64)
    labels = np.concatenate([labels for _, labels in parts])
    bunch = load_digits()
    expected = np.rint(bunch.data * 255 / 16).astype(np.uint8)
    assert images.max() == 255

    def rows(pixels: np.ndarray, classes: np.ndarray) -> list[tuple[int, ...]]:
        return sorted(map(tuple, np.column_stack([pixels, classes]).tolist()))

    assert rows(images, labels) == rows(expected, bunch.target)


def test_train_and_test_hold_every_class() -> None:
    dataset = prepare_dataset("digits")
    assert set(dataset.arrays("test")[1].tolist()) == set(range(10))
    # In scikit-learn's order the first ten images are 0 … 9.
    assert dataset.arrays("train")[1][:10].tolist() != list(range(10))


def test_a_data_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="take no data folder"):
        prepare_dataset("digits", tmp_path)


def test_the_package_loads_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, evo.data; print([m for m in ('torch', 'torchvision', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
