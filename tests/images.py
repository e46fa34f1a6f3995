"""A small image folder of noise, for commands that want one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, *, train: int = 10, test: int = 3) -> None:
    """Write `train/` and `test/` with so many images of each of two classes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


FACTS = {
    "name": "imagefolder",
    "variant": "image folder, JPEG",
    "checksum": "0",
    "source": "train/<class>/<image>",
    "image_shape": [3, 32, 32],
    "classes": list("0123456789"),
    "train_count": 50_000,
    "test_count": 10_000,
}
"""What the settings of a run hold of a dataset."""
