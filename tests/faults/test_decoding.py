"""While images are decoded, signals end a search within seconds, and a kill leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from PIL import Image

from evo.data import decoding
from evo.data.cache import create_arrays
from evo.data.image_folder import image_folder_source
from tests.command import alive, children, environment, wait_until
from tests.faults.conftest import times

MOST_SECONDS = 4.0
"""A stop takes a quarter of a second; a busy machine, some more."""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 2,200 large pictures: links to one file, which decode for minutes."""
    folder = tmp_path_factory.mktemp("large")
    Image.effect_noise((4000, 3000), 60).convert("RGB").save(folder / "picture.jpg")
    for part, count in (("train", 1000), ("test", 100)):
        for label in ("cat", "dog"):
            (folder / part / label).mkdir(parents=True)
            for number in range(count):
                (folder / part / label / f"{number}.jpg").symlink_to(folder / "picture.jpg")
    return folder


class Search:
    """A search that is decoding its images."""

    def __init__(self, tree: Path, folder: Path):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "evo", "search", "mlp", "--data-dir", str(tree), "-o", str(folder / "run")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment() | {"EVO_CACHE_DIR": str(folder / "cache")},
            start_new_session=True,
        )
        wait_until(lambda: bool(self.leftovers()))
        time.sleep(1.0)  # the arrays are made, and the processes, where there are several cores, are in their pictures
        self.workers = children(self.process.pid)

    def leftovers(self) -> list[Path]:
        return list((self.folder / "cache").glob("datasets/.*"))

    def workers_end(self) -> None:
        wait_until(lambda: not any(map(alive, self.workers)), MOST_SECONDS)


@pytest.fixture
def search(tree: Path, tmp_path: Path) -> Iterator[Callable[[], Search]]:
    started: list[Search] = []

    def start() -> Search:
        started.append(Search(tree, tmp_path / str(len(started))))
        return started[-1]

    yield start
    for search in started:
        with suppress(ProcessLookupError):
            os.killpg(search.process.pid, signal.SIGKILL)
        if not search.process.stderr.closed:
            search.process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("whole_job", [False, True])
@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_it_in_order(
    search: Callable[[], Search], figure: Callable[[str], None], number: signal.Signals, whole_job: bool
) -> None:
    longest = 0.0
    for _ in range(times(10, 1)):
        running, began = search(), time.monotonic()
        if whole_job:
            os.killpg(running.process.pid, number)
        else:
            running.process.send_signal(number)
        _, errors = running.process.communicate(timeout=60)
        longest = max(longest, time.monotonic() - began)
        assert running.process.returncode == CODES[number], errors
        assert "Traceback" not in errors
        assert "nothing was written" in errors
        running.workers_end()
        assert running.leftovers() == []
    assert longest < MOST_SECONDS
    figure(f"{number.name} while images are decoded: the longest stop took {longest:.2f} s")


@pytest.mark.slow
def test_a_kill_leaves_no_process(search: Callable[[], Search]) -> None:
    for _ in range(times(10, 1)):
        running = search()
        running.process.kill()
        running.process.wait()
        running.workers_end()


def test_an_interrupt_ends_the_processes_in_the_middle_of_a_picture(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = []
    start = decoding._start

    def started(number: int) -> tuple[Connection, BaseProcess]:
        connection, process = start(number)
        processes.append(process)
        return connection, process

    def interrupted(connections: object) -> list[object]:
        time.sleep(1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "usable_cores", lambda: 2)
    monkeypatch.setattr(decoding, "_start", started)
    monkeypatch.setattr(decoding, "wait", interrupted)
    source = image_folder_source(tree, 32)
    create_arrays(tmp_path, source)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        source.decode(tmp_path, lambda line: None)
    assert time.monotonic() - began < 1.0 + MOST_SECONDS
    assert len(processes) == 2
    assert not any(process.is_alive() for process in processes)
