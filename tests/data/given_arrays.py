"""Small data of every kind that a person may give."""

from __future__ import annotations

from typing import Any

import numpy as np


def images(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Return pixels, uint8, (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def labels(count: int, classes: int = 3, seed: int = 0) -> np.ndarray:
    """Return labels of which each class has some, if there is room."""
    return np.random.default_rng(seed).permutation(np.arange(count) % classes)


def four(x: Any, y: Any, tests: int) -> tuple[Any, Any, Any, Any]:
    """Return examples as (x_train, y_train, x_test, y_test), the last ones to test."""
    return x[:-tests], y[:-tests], x[-tests:], y[-tests:]


class Items:
    """A Dataset by its methods alone, as torch's are."""

    def __init__(self, x: Any, y: Any):
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int) -> tuple[Any, Any]:
        return self.x[place], self.y[place]
