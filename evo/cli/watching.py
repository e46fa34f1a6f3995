"""Follows a run from outside: reads its journal as it grows and never disturbs the writer."""

from __future__ import annotations

import math
import os
import shlex
import time
from pathlib import Path
from typing import Protocol

from evo.cli.progress import Progress, model_option
from evo.individual import Evaluation, replicate_number
from evo.loop.dispatch import Twins, cost_of, predicted_seconds
from evo.loop.finished import is_finished, total_of
from evo.loop.search_loop import Stage, StopCheck
from evo.record.folder import is_run
from evo.record.journal import is_written
from evo.record.run import Run
from evo.record.settings import LISTED, Settings

POLL_SECONDS = 0.5
PREDICTION_SECONDS = 5.0
"""How long a prediction of the end is kept at least."""
PREDICTION_SHARE = 0.01
"""The largest share of the time for predictions: a cost model of thousands of trainings takes a while to fit."""
STAGES: dict[str, Stage] = {"proposal": "search", "finalists": "finalist", "winner": "test"}
"""What a run is doing after such an event."""


class Display(Protocol):
    """Shows a run that is followed."""

    def show(self, progress: Progress) -> None:
        """Show a run's numbers from now on."""

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Show an evaluation."""

    def status(self, text: str) -> None:
        """Show a note about the run; an empty one while it is being written."""


class Follower:
    """A run that another process may be writing.

    Args:
        path: The run folder.

    Attributes:
        run: The run, as far as it has been read.
        total: Most trainings of the search.
        stage: What the run is doing.

    Raises:
        RunError: The folder holds no run, or a damaged one.
    """

    def __init__(self, path: Path):
        self._path = path
        self._load()

    def _load(self) -> None:
        self._journal = self._path / "journal.jsonl"
        self._settings_file = self._path / "settings.json"
        self._settings_seen = _stamp(self._settings_file)
        self._file, self._size = _stamp(self._journal)[:2], -1
        self.run = Run.load(self._path)
        self.total = total_of(self.run)
        self.stage: Stage = _stage_of(self.run)
        self._predict_after = -math.inf
        self._ends: float | None = None
        self._judged, self._finished = -1, False

    def poll(self) -> list[Evaluation]:
        """Read what is new; return the new evaluations.

        Raises:
            RunError: The run is damaged or gone.
        """
        *file, size, _ = _stamp(self._journal)
        if tuple(file) != self._file:
            self._load()  # another run has replaced it
            return []
        if (seen := _stamp(self._settings_file)) != self._settings_seen:
            self._settings_seen = seen
            self.run.settings = Settings.load(self._path)
            self.total = total_of(self.run)
        if size == self._size:
            return []
        self._size = size
        known = len(self.run.results)
        for event in self.run.read_new():
            self.stage = STAGES.get(event["kind"], self.stage)
            if event["kind"] == "proposal" and self.run.settings.strategy == LISTED:
                self.total = total_of(self.run)
        return self.run.results[known:]

    def look(self, progress: Progress) -> str:
        """Update what no evaluation tells; return "written", "stopped" or "finished"."""
        written = is_written(self._journal)
        progress.total = self.total
        progress.work(self.stage, self.busy if written else 0)
        progress.ended = None if written else _last_end(self.run)
        if written:
            return "written"
        events = len(self.run.proposals) + len(self.run.results) + len(self.run.tests)
        if events != self._judged:  # it replays the whole run
            self._judged, self._finished = events, is_finished(self.run)
        progress.finished = self._finished
        return "finished" if self._finished else "stopped"

    @property
    def busy(self) -> int:
        """Evaluations that are running, judging by the journal: those that wait, at most the number of workers."""
        return 1 if self.stage == "test" else min(len(self._waiting()), self.run.settings.workers)

    def _waiting(self) -> list[int]:
        """Return the individual of every evaluation that is still missing in this stage, as far as it is known."""
        run, settings = self.run, self.run.settings
        if self.stage == "search" and settings.strategy != LISTED:
            return [individual.id for individual in run.unevaluated()]
        individuals, first, seeds = tuple(range(len(run.individuals))), 0, settings.seeds
        if self.stage != "search":
            individuals, first, seeds = run.finalists, replicate_number("finalist"), settings.finalist_seeds
        replicates = range(first, first + seeds)
        return [number for number in individuals for place in replicates if (number, place) not in run.evaluations]

    def seconds_left(self) -> float | None:
        """Return how long the rest takes; None if unknown. Predicts anew every few seconds."""
        now = time.monotonic()
        if now >= self._predict_after:
            seconds = self._predict()
            self._ends = None if seconds is None else now + seconds
            self._predict_after = now + max(PREDICTION_SECONDS, (time.monotonic() - now) / PREDICTION_SHARE)
        return None if self._ends is None else max(0.0, self._ends - now)

    def _predict(self) -> float | None:
        run, workers = self.run, self.run.settings.workers
        cost = cost_of(run, Twins(run))
        if not cost.trainings:
            return None
        if self.stage == "search" and run.settings.strategy != LISTED:
            return predicted_seconds(run, cost, run.unevaluated(), self.total, workers)
        return sum(cost.seconds(run.config_of(number)) for number in self._waiting()) / workers


def _stamp(path: Path) -> tuple[int, int, int, int]:
    """Return what identifies a file and its content: device, inode, size and time of its last change."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0, 0
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def follow(path: Path, display: Display, stop_check: StopCheck = lambda: None) -> Run:
    """Show a run until it is finished; a stopped run may be resumed in the meantime.

    Args:
        path: The run folder.
        display: Shows the run.
        stop_check: Called often; raises an exception to stop.

    Returns:
        The finished run.

    Raises:
        RunError: The folder holds no run, or a damaged one.
    """
    follower = Follower(path)
    progress = progress_of(follower)
    display.show(progress)
    while True:
        stop_check()
        new = follower.poll()
        if progress.run is not follower.run:
            progress = progress_of(follower)
            display.show(progress)
        left = follower.seconds_left() if new else None
        for evaluation in new:
            display.evaluated(follower.run, evaluation, left)
        state = follower.look(progress)
        display.status(status_of(follower.run, state))
        if state == "finished":
            return follower.run
        time.sleep(POLL_SECONDS)


def now(path: Path) -> tuple[Progress, str]:
    """Return the present numbers of a run, and a note about it; see `follow`."""
    follower = Follower(path)
    progress = progress_of(follower)
    state = follower.look(progress)
    return progress, status_of(follower.run, state) or "being written now"


def status_of(run: Run, state: str) -> str:
    """Return a note about a run; an empty one while it is being written."""
    if state != "stopped":
        return "finished" if state == "finished" else ""
    command = f"evo resume {shlex.quote(str(run.path))}{model_option(run.settings)}"
    return f"stopped: no process writes this run. Resume it:  {command}"


def wait_for(path: Path, stop_check: StopCheck) -> None:
    """Wait until a run is there."""
    while not is_run(path):
        stop_check()
        time.sleep(POLL_SECONDS)


def progress_of(follower: Follower) -> Progress:
    """Return the numbers of a run that is followed; its clock starts with its first training."""
    began = min((entry.started for entry in follower.run.evaluations.values() if entry.started), default=None)
    progress = Progress(follower.run, follower.total, began)
    progress.work(follower.stage, 0)
    if (left := follower.seconds_left()) is not None:
        progress.ends = time.time() + left
    return progress


def _stage_of(run: Run) -> Stage:
    """Return what a run is doing; an extended search has proposals after its old finalists."""
    if not run.finalists or run.unevaluated():
        return "search"
    return "finalist" if run.winner is None else "test"


def _last_end(run: Run) -> float | None:
    return max((entry.ended for entry in run.evaluations.values() if entry.started), default=None)
