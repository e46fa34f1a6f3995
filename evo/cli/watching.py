"""Follows a run from outside: reads its journal as it grows and never disturbs the writer."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

from evo.display.live import TerminalObserver
from evo.display.progress import Progress
from evo.evaluation import Evaluation, Phase, replicate_number
from evo.loop.deadline import StopCheck
from evo.loop.dispatch import Twins, cost_of, predicted_seconds
from evo.loop.finished import is_finished, total_of
from evo.loop.search_loop import Stage
from evo.record.folder import is_run
from evo.record.journal import is_written
from evo.record.run import Run
from evo.record.settings import Settings

POLL_SECONDS = 0.5
PREDICTION_SECONDS = 5.0
"""How long a prediction of the end is kept at least."""
PREDICTION_SHARE = 0.01
"""The largest share of the time for predictions: a cost model of thousands of trainings takes a while to fit."""
DISK_SECONDS = 5.0
"""How often the files of paused trainings are counted."""
STAGES: dict[str, Stage] = {"proposal": "search", "finalists": "finalist", "winner": "test"}
"""What a run is doing after such an event."""


class Follower:
    """A run that another process may be writing.

    Args:
        path: The run folder.

    Attributes:
        run: The run, as far as it has been read.
        progress: Its numbers; the clock starts with the first training.

    Raises:
        RunError: The folder holds no run, or a damaged one.
    """

    def __init__(self, path: Path):
        self._look_at_disk_after = -math.inf
        self._path, self._journal, self._settings_file = path, path / "journal.jsonl", path / "settings.json"
        self._load()

    def _load(self) -> None:
        self._settings_seen = _stamp(self._settings_file)
        self._file, self._size = _stamp(self._journal)[:2], -1
        self.run = run = Run.load(self._path)
        began = min((result.started for result in run.results if result.started), default=None)
        self.progress = Progress(run, total_of(run), began)
        self.progress.work(_stage_of(run), 0)
        self._judged, self._predict_after = -1, -math.inf
        self.seconds_left()

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
            self.progress.total = total_of(self.run)
        if size == self._size:
            return []
        self._size = size
        known, events = len(self.run.results), self.run.read_new()
        if any(event["kind"] == "retry" for event in events):
            self._load()  # some results count no longer
            return []
        for event in events:
            self.progress.stage = STAGES.get(event["kind"], self.progress.stage)
            if event["kind"] == "proposal" and self.progress.listed:
                self.progress.total = total_of(self.run)
        return self.run.results[known:]

    def look(self) -> str:
        """Update what no evaluation tells; return a note about the run, an empty one while it is being written."""
        run, progress = self.run, self.progress
        if time.monotonic() >= self._look_at_disk_after:
            progress.disk, self._look_at_disk_after = run.disk_use(), time.monotonic() + DISK_SECONDS
        if is_written(self._journal):
            waiting = 1 if progress.stage == "test" else len(self._waiting())
            progress.work(progress.stage, min(waiting, run.settings.workers))
            progress.ended = None
            return ""
        progress.work(progress.stage, 0)
        progress.ended = max((result.ended for result in run.results if result.started), default=None)
        events = len(run.proposals) + len(run.results) + len(run.tests)
        if events != self._judged:  # it replays the whole run
            self._judged, progress.finished = events, is_finished(run)
        stopped = f"stopped: no process writes this run. Resume it:  {run.command('resume')}"
        return "finished" if progress.finished else stopped

    def _waiting(self) -> list[int]:
        """Return the individual of every evaluation that is still missing in this stage, as far as it is known."""
        run, settings = self.run, self.run.settings
        if self.progress.stage == "search" and not self.progress.listed:
            return [individual.id for individual in run.unevaluated()]
        individuals, first, seeds = tuple(range(len(run.individuals))), 0, settings.seeds
        if self.progress.stage != "search":
            individuals, first, seeds = run.finalists, replicate_number("finalist"), run.finalist_seeds
        replicates = range(first, first + seeds)
        return [number for number in individuals for place in replicates if (number, place) not in run.evaluations]

    def seconds_left(self) -> float | None:
        """Return how long the rest takes; None if unknown. The prediction is renewed every few seconds."""
        now = time.time()
        if now >= self._predict_after:
            seconds = self._predict()
            self.progress.ends = None if seconds is None else now + seconds
            self._predict_after = now + max(PREDICTION_SECONDS, (time.time() - now) / PREDICTION_SHARE)
        return None if self.progress.ends is None else max(0.0, self.progress.ends - now)

    def _predict(self) -> float | None:
        run, workers = self.run, self.run.settings.workers
        cost = cost_of(run, Twins(run))
        if not cost.trainings:
            return None
        if self.progress.stage == "search" and not self.progress.listed:
            return predicted_seconds(run, cost, run.unevaluated(), self.progress.total, workers)
        phase: Phase = "search" if self.progress.listed else "finalist"
        return sum(cost.seconds(run.config_of(number), phase) for number in self._waiting()) / workers


def _stamp(path: Path) -> tuple[int, int, int, int]:
    """Return what identifies a file and its content: device, inode, size and time of its last change."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0, 0
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def follow(path: Path, display: TerminalObserver, stop_check: StopCheck = lambda: None) -> Run:
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
    follower, shown = Follower(path), None
    while True:
        stop_check()
        new = follower.poll()
        if follower.progress is not shown:
            shown = follower.progress
            display.show(shown)
        left = follower.seconds_left() if new else None
        for evaluation in new:
            display.evaluated(follower.run, evaluation, left)
        display.status(follower.look())
        if shown.finished:
            return follower.run
        time.sleep(POLL_SECONDS)


def now(path: Path) -> tuple[Progress, str]:
    """Return the present numbers of a run, and a note about it; see `follow`."""
    follower = Follower(path)
    return follower.progress, follower.look() or "being written now"


def wait_for(path: Path, stop_check: StopCheck) -> None:
    """Wait until a run is there."""
    while not is_run(path):
        stop_check()
        time.sleep(POLL_SECONDS)


def _stage_of(run: Run) -> Stage:
    """Return what a run is doing; an extended search has proposals after its old finalists."""
    if not run.finalists or run.unevaluated():
        return "search"
    return "finalist" if run.winner is None else "test"
