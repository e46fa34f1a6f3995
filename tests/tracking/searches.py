"""A cheap search with failures that trackers watch, also stopped and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import evo
from evo.loop.search_loop import Observer
from evo.record.run import Run
from evo.tracking import Tracker, Tracking

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0), "layers": evo.Layers(depth=(1, 2), width=(2, 8))}, name="slope")


def slope(config: dict[str, Any], seed: int) -> float:
    if config["x"] < 0.4:
        raise ValueError("too small")
    return float(config["x"]) + seed % 10 / 1000


class Listener:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.evaluated_count = 0
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def started(self, run: Run, total: int) -> None:
        pass

    def working(self, stage: str, busy: int) -> None:
        pass

    def evaluated(self, run: Run, evaluation: object, seconds_left: float | None) -> None:
        self.evaluated_count += 1

    def notify(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def search(trackers: list[Tracker], output: Path | None, observer: Observer | None = None, **more: Any) -> Run:
    settings = {"strategy": "ga", "budget": 12, "population": 4, "seed": 2, "finalists": 1} | more
    with Tracking(trackers, observer) as tracking:
        return evo.search(SPACE, slope, output=output, observer=tracking, **settings)


def resume(trackers: list[Tracker], output: Path, **more: Any) -> Run:
    with Tracking(trackers) as tracking:
        return evo.resume(output, slope, observer=tracking, **more)


class StopAfter:
    """A stop check that ends a search at its n-th call."""

    def __init__(self, calls: int):
        self.left = calls

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise evo.Stop("enough", 75)
