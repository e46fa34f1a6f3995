"""The embedded digits: scikit-learn's 1,797 scanned digits of 8×8 pixels, for demos and tests without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evo.data.cache import Notify, Part, Source, open_array
from evo.data.splits import fixed_permutation

TRAIN_COUNT = 1500
TEST_COUNT = 297
BRIGHTEST = 16  # scikit-learn's pixels count the dark points of a 4×4 block: 0 … 16

# scikit-learn's images are sorted by writer; this constant shuffles them the same way in every run.
SHUFFLE_SEED = 1797


def digits_source() -> Source:
    """Describe the digits: uint8 images of shape `(1, 8, 8)`, 1,500 to train and 297 to test."""
    return Source(
        name="digits",
        identity="digits",
        fingerprint=f"{TRAIN_COUNT}/{TEST_COUNT}, seed {SHUFFLE_SEED}",
        classes=tuple(str(digit) for digit in range(10)),
        image_shape=(1, 8, 8),
        counts={"train": TRAIN_COUNT, "test": TEST_COUNT},
        variant="scikit-learn digits",
        origin="scikit-learn digits",
        decode=_decode,
    )


def _decode(directory: Path, notify: Notify) -> None:
    # Imported here because it takes about a second, and a decoded dataset does not need it.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = fixed_permutation(TRAIN_COUNT + TEST_COUNT, SHUFFLE_SEED)
    images = np.rint(bunch.images[order] * (255 / BRIGHTEST)).astype(np.uint8)[:, np.newaxis]
    labels = bunch.target[order].astype(np.int64)
    parts: dict[Part, slice] = {"train": slice(None, TRAIN_COUNT), "test": slice(TRAIN_COUNT, None)}
    for part, rows in parts.items():
        open_array(directory, part, "images", "r+")[:] = images[rows]
        open_array(directory, part, "labels", "r+")[:] = labels[rows]
