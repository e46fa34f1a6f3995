"""What the reports of a training leave behind: files beside its own for the call that continues it, and news of it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from evo.errors import Interrupted, StorageError
from evo.evaluation import CurvePoint
from evo.evaluators.base import Report, StopRequest, Task
from evo.files import own_folder
from evo.plain_text import read_json
from evo.trial import Trial

FILES, KEPT, LAST = "files", "kept.jsonl", "last.json"
"""In the folder of a training: the folder of its own files, its kept points, and the last point."""
SEND_SECONDS = 0.5
"""At most this often, news of a training are sent; and never later than this after a report."""


class TrialRecord:
    """The trial of a task, and the record of its reports. Use it as a context manager.

    Every report is in a file before it returns, so that a process that is killed loses none: the training continues
    from the last one. (After a loss of power the last seconds may be missing; they are trained again.) News of kept
    points are sent to the search within half a second.

    Args:
        task: What is trained.
        max_steps: The steps of a full training.
        stop: Tells the training to stop, and takes the news.

    Attributes:
        trial: What the objective is given.
        seconds_before: Seconds that this part of the training had taken before its process was stopped.
    """

    def __init__(self, task: Task, max_steps: int, stop: StopRequest):
        self._task, self._stop = task, stop
        self._until = min(task.until or max_steps, max_steps)
        self._folder = own_folder(Path(task.folder)) if task.folder is not None else None
        known, self.seconds_before = self._known()
        self._began = time.monotonic() - self.seconds_before
        self._kept: int | None = None
        self._last: int | None = None
        self._last_length = 0
        self._lock = threading.RLock()
        self._unsent: list[CurvePoint] = []
        self._sent_at = -SEND_SECONDS
        self._timer: threading.Timer | None = None
        self.trial = Trial(
            max_steps,
            self._until,
            known[-1].step if known else 0,
            self._folder / FILES if self._folder is not None else None,
            known=known,
            on_report=self._take,
            is_asked_to_stop=self._is_asked_to_stop,
        )

    def __enter__(self) -> TrialRecord:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
            self._kept = os.open(self._folder / KEPT, flags | os.O_APPEND, 0o666)
            self._last = os.open(self._folder / LAST, flags, 0o666)
            self._last_length = os.fstat(self._last).st_size
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.trial.close()
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._send()
            for descriptor in (self._kept, self._last):
                if descriptor is not None:
                    os.close(descriptor)
            self._kept = self._last = None

    def _known(self) -> tuple[list[CurvePoint], float]:
        """Return the points of earlier calls, and the seconds of this part; none without a file to continue from."""
        if self._folder is None or not self._folder.is_dir():
            return [], 0.0
        if not any((self._folder / FILES).glob("*")):
            shutil.rmtree(self._folder, ignore_errors=True)
            return [], 0.0
        points, seconds = _read(self._folder / KEPT), 0.0
        with suppress(OSError, ValueError, KeyError, TypeError):
            entry = read_json((self._folder / LAST).read_bytes())
            last = CurvePoint.from_dict(entry["point"])
            if entry["until"] == self._until:
                seconds = max(0.0, float(entry["seconds"]))
            if not points or last.step > points[-1].step:
                points.append(last)
        return points, seconds

    def _is_asked_to_stop(self) -> bool:
        try:
            return self._stop.requested
        except Interrupted:  # raised again once the user's code has returned, see `Trial.stopped`
            return True

    def _take(self, point: CurvePoint, is_kept: bool) -> None:
        with self._lock:
            self._write(point, is_kept)
            if not is_kept:
                return
            self._unsent.append(point)
            wait = self._sent_at + SEND_SECONDS - time.monotonic()
            if wait <= 0:
                self._send()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._send)
                self._timer.daemon = True
                self._timer.start()

    def _write(self, point: CurvePoint, is_kept: bool) -> None:
        if self._kept is None or self._last is None:
            return
        seconds = time.monotonic() - self._began
        values = _json_of(point)
        text = f'{{"point":{values},"until":{self._until},"seconds":{seconds:.3f}}}'.encode()
        try:
            if is_kept:
                os.write(self._kept, f"{values}\n".encode())
            # One write over the one before: spaces cover what was longer.
            os.pwrite(self._last, text.ljust(self._last_length), 0)
        except OSError as error:
            raise StorageError(f"{self._folder}: cannot be written: {error.strerror}") from None
        self._last_length = max(self._last_length, len(text))

    def _send(self) -> None:
        with self._lock:
            self._timer = None
            points, self._unsent = tuple(self._unsent), []
            if points:
                self._sent_at = time.monotonic()
                self._stop.send(Report(self._task.individual, self._task.replicate, points))


def _json_of(point: CurvePoint) -> str:
    """Return a point as JSON; `json.dumps` takes four times as long. Names are identifiers, and values are finite."""
    values = ",".join([f'"{name}":{value!r}' for name, value in point.values.items()])
    return f'{{"step":{point.step},{values}}}'


def _read(file: Path) -> list[CurvePoint]:
    """Return the points of a file up to the first that is not whole, or does not follow."""
    points: list[CurvePoint] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        for line in file.read_bytes().splitlines():
            point = CurvePoint.from_dict(read_json(line))
            if points and point.step <= points[-1].step:
                break
            points.append(point)
    return points
