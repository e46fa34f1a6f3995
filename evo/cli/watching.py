"""Following a run from outside: its journal is read as it grows; the writer is never disturbed."""

from __future__ import annotations

import math
import os
import shlex
import time
from pathlib import Path
from typing import Protocol

from evo.cli.progress import Progress, model_option
from evo.individual import Evaluation
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
"""Most of the time that predictions take: fitting the cost model to thousands of trainings takes a while."""
STAGES: dict[str, Stage] = {"proposal": "search", "finalists": "finalist", "winner": "test"}
"""What a run is at after such an event."""


class Display(Protocol):
    """Who shows a run that is followed."""

    def show(self, progress: Progress) -> None:
        """Show a run's numbers from now on."""

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Take in an evaluation."""

    def status(self, text: str) -> None:
        """Show a word about the run; nothing while it is being written."""


class Follower:
    """A run that another process may be writing.

    Args:
        path: The run folder.

    Attributes:
        run: As far as it has been read.
        total: Trainings of the search at most.
        stage: What it is at.

    Raises:
        RunError: The folder holds no run, or a damaged one.
    """

    def __init__(self, path: Path):
        self._path = path
        self._load()

    def _load(self) -> None:
        self._journal = self._path / "journal.jsonl"
        self._settings_file = self._path / "settings.json"
        self._settings_seen = self._stamp(self._settings_file)
        self._file = self._identity()
        self.run = Run.load(self._path)
        self.total = total_of(self.run)
        self.stage: Stage = _stage_of(self.run)
        self._size = -1
        self._predict_after = -math.inf
        self._ends: float | None = None
        self._judged, self._finished = -1, False

    def poll(self) -> list[Evaluation]:
        """Read what is new; return the new evaluations.

        Raises:
            RunError: The run is damaged, or gone.
        """
        if self._identity() != self._file:
            self._load()  # another run has taken its place
            return []
        if (seen := self._stamp(self._settings_file)) != self._settings_seen:
            self._settings_seen = seen
            self.run.settings = Settings.load(self._path)
            self.total = total_of(self.run)
        if (size := self._stamp(self._journal)) == self._size:
            return []
        self._size = size
        known = len(self.run.results)
        for event in self.run.read_new():
            self.stage = STAGES.get(event["kind"], self.stage)
            if event["kind"] == "proposal" and self.run.settings.strategy == LISTED:
                self.total = total_of(self.run)
        return self.run.results[known:]

    def look(self, progress: Progress) -> str:
        """Bring what no evaluation tells up to date; return "written", "stopped" or "finished"."""
        written = is_written(self._journal)
        progress.total = self.total
        progress.work(self.stage, self.busy if written else 0)
        progress.ended = None if written else _last_end(self.run)
        if written:
            return "written"
        events = len(self.run.proposals) + len(self.run.results) + len(self.run.tests)
        if events != self._judged:  # it takes the strategy through the whole run
            self._judged, self._finished = events, is_finished(self.run)
        progress.finished = self._finished
        return "finished" if self._finished else "stopped"

    @property
    def busy(self) -> int:
        """Evaluations that run now, as far as the journal shows it: as many as wait, the number of workers at most."""
        if self.stage == "test":
            return 1
        missing = len(self.run.unevaluated())
        if self.stage == "finalist":
            settings = self.run.settings
            missing = len(self.run.finalists) * settings.finalist_seeds - len(self.run.finalist_evaluations)
        elif self.run.settings.strategy == LISTED:
            missing = self.total - len(self.run.evaluations)
        return min(missing, self.run.settings.workers)

    def seconds_left(self) -> float | None:
        """Return how long the rest takes; None if one cannot say. Predicted anew every few seconds."""
        now = time.monotonic()
        if now >= self._predict_after:
            seconds = self._predict()
            self._ends = None if seconds is None else now + seconds
            self._predict_after = now + max(PREDICTION_SECONDS, (time.monotonic() - now) / PREDICTION_SHARE)
        return None if self._ends is None else max(0.0, self._ends - now)

    def _predict(self) -> float | None:
        run, settings = self.run, self.run.settings
        cost = cost_of(run, Twins(run))
        if not cost.trainings:
            return None
        if self.stage == "search" and settings.strategy != LISTED:
            return predicted_seconds(run, cost, run.unevaluated(), self.total, run.settings.workers)
        if self.stage == "search":
            seconds = [cost.seconds(individual.genome) for individual in run.individuals]
            left = sum(seconds) * settings.seeds - sum(seconds[number] for number, _ in run.evaluations)
        else:
            done = [evaluation.individual for evaluation in run.finalist_evaluations]
            missing = [number for number in run.finalists for _ in range(settings.finalist_seeds - done.count(number))]
            left = sum(cost.seconds(run.config_of(number)) for number in missing)
        return max(0.0, left) / settings.workers

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._journal)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    @staticmethod
    def _stamp(path: Path) -> int:
        try:
            status = os.stat(path)
        except OSError:
            return 0
        return status.st_mtime_ns if path.suffix == ".json" else status.st_size


def follow(path: Path, display: Display, stop_check: StopCheck = lambda: None) -> Run:
    """Show a run until it is finished; one that is stopped may be resumed meanwhile.

    Args:
        path: The run folder.
        display: Shows it.
        stop_check: Called often; raises to end it.

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
    """Return the numbers of a run as they are now, and a word about it; see `follow`."""
    follower = Follower(path)
    progress = progress_of(follower)
    state = follower.look(progress)
    return progress, status_of(follower.run, state) or "being written now"


def status_of(run: Run, state: str) -> str:
    """Return what there is to say of a run; nothing while it is being written."""
    if state != "stopped":
        return "finished" if state == "finished" else ""
    words = f"evo resume {shlex.quote(str(run.path))}{model_option(run.settings)}"
    return f"stopped: nobody writes this run now. Go on with:  {words}"


def wait_for(path: Path, stop_check: StopCheck) -> None:
    """Wait until a run is there."""
    while not is_run(path):
        stop_check()
        time.sleep(POLL_SECONDS)


def progress_of(follower: Follower) -> Progress:
    """Return the numbers of a run that is followed; its clock begins with its first training."""
    began = min((entry.started for entry in follower.run.evaluations.values() if entry.started), default=None)
    progress = Progress(follower.run, follower.total, began)
    progress.work(follower.stage, 0)
    if (left := follower.seconds_left()) is not None:
        progress.ends = time.time() + left
    return progress


def _stage_of(run: Run) -> Stage:
    """Return what a run is at, from all that it holds; an extended search has proposals after its old finalists."""
    if not run.finalists or run.unevaluated():
        return "search"
    return "finalist" if run.winner is None else "test"


def _last_end(run: Run) -> float | None:
    return max((entry.ended for entry in run.evaluations.values() if entry.started), default=None)
