"""A cache of its own for every test, and small image trees."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EVO_CACHE_DIR", str(folder))
    monkeypatch.delenv("EVO_DATA_DIR", raising=False)
    return folder


@pytest.fixture
def never_hangs() -> Iterator[None]:
    """Let a test that waits for a pipe fail instead of waiting for ever."""

    def fail(number: int, frame: object) -> None:
        pytest.fail("still waiting after 30 s")  # no `Exception`, which a reader could take for a damaged file

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes train/ and test/ with random images of the given classes."""

    def make(
        name: str = "tree", classes: tuple[str, ...] = ("cat", "dog"), count: int = 3, suffix: str = ".png"
    ) -> Path:
        draws = np.random.default_rng(0)
        root = tmp_path / name
        for part in ("train", "test"):
            for label in classes:
                folder = root / part / label
                folder.mkdir(parents=True)
                for index in range(count):
                    pixels = draws.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{index:04}{suffix}")
        return root

    return make
