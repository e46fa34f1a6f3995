"""A search that runs for a long time: memory, open files and the time of an evaluation stay level."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import evo
from evo.evaluation import Evaluation
from evo.loop.search_loop import SilentObserver
from evo.record.run import Run
from tests.faults.conftest import times
from tests.faults.objectives import SPACE, accuracy

PARTS = 10
"""The search is measured in so many equal parts."""
MOST_MEGABYTES = 20.0
"""A thousand evaluations may take so much: their records are kept in memory."""


class Measures(SilentObserver):
    """Notes time, memory and open files after every part of the search."""

    def __init__(self, budget: int):
        self.every = budget // PARTS
        self.seconds: list[float] = []
        self.megabytes: list[float] = []
        self.files: list[int] = []
        self._count, self._since = 0, time.process_time()

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        self._count += 1
        if self._count % self.every == 0:
            now = time.process_time()
            self.seconds.append((now - self._since) / self.every)
            self._since = now
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            self.megabytes.append(resident / 2**20)
            self.files.append(len(os.listdir("/proc/self/fd")))


def test_thousands_of_evaluations(tmp_path: Path, figure: Callable[[str], None]) -> None:
    budget = times(long=5000, short=600)
    measures = Measures(budget)
    began = time.monotonic()
    run = evo.search(
        SPACE, accuracy, strategy="ageing", population=50, budget=budget, output=tmp_path / "run", observer=measures
    )
    seconds = time.monotonic() - began
    assert len(run.search_evaluations) == budget
    assert measures.files[-1] <= measures.files[1], "open files pile up"
    growth = (measures.megabytes[-1] - measures.megabytes[1]) / (budget * (PARTS - 2) / PARTS) * 1000
    assert growth < MOST_MEGABYTES
    # The processor's time: what the disk takes is not the search's. The first part warms up.
    early, late = statistics.median(measures.seconds[1:4]), statistics.median(measures.seconds[-3:])
    assert late < 2 * early
    figure(
        f"{budget} evaluations with ageing in {seconds:.0f} s: {1000 * early:.1f} ms of processor time an evaluation "
        f"early, {1000 * late:.1f} ms late; {growth:.1f} MB more a thousand; {measures.files[-1]} open files at the end"
    )
