"""How long commands have worked on a run, and the processor time of its trainings: kept in a file beside the run.

evo's seconds are wall clock: on a machine with other work they say how busy it was, too. Processor time is read from
/proc, so only on Linux.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from benchmarks.throughput.machine import OtherLoad
from evo.evaluation import Evaluation
from evo.files import write_text
from evo.loop.search_loop import SilentObserver, Stage
from evo.record.run import Run

BEAT_SECONDS = 1.0
"""The most of a command's time that a kill takes from the clock."""
LOOK_SECONDS = 10.0
"""Between two looks at what other processes use, each of which visits all of them."""

Row: TypeAlias = dict[str, Any]


def whole_lines(file: Path) -> list[Row]:
    """Return the lines of a JSONL file; what a kill has torn is cut off."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(file, whole)
    return [json.loads(line) for line in whole.splitlines()]


class Clock(SilentObserver):
    """Watches a run while one command works on it; use it as a context manager.

    Args:
        file: Kept from one command to the next.
        stage: What the command does; every stage has a time of its own.
        say: Prints a line for each training, and what evo says.
        shared_by: Number of workers: the clock then counts the processor time of this process and of them, divided by
            it, which other work on the machine hardly changes. None for wall clock.
    """

    def __init__(self, file: Path, stage: str, say: Callable[[str], None] = print, shared_by: int | None = None):
        self.file, self.stage, self._say, self._shared_by = file, stage, say, shared_by
        self.times = Times(whole_lines(file))
        self._offset = self.times.used(stage)
        self._began = self._beat_at = time.monotonic()
        self._began_own = time.process_time()
        self._load, self._looked_at = OtherLoad(), -math.inf
        self._others: float | None = None
        self._processors = WorkerProcessors()

    @property
    def elapsed(self) -> float:
        """Seconds that commands have spent on the stage."""
        if self._shared_by is not None:
            own = time.process_time() - self._began_own
            return self._offset + (own + self._processors.total) / self._shared_by
        return self._offset + time.monotonic() - self._began

    def __enter__(self) -> Clock:
        self._began, self._began_own = time.monotonic(), time.process_time()
        self._load.start()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._write({"began": time.time()})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._beat(other_load=self._others)

    def working(self, stage: Stage, busy: int) -> None:
        """Note the time, and what the workers have used."""
        self._processors.look()
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:  # once workers have ended, their time would count as that of others
            self._others, self._looked_at = self._load.cores(), now
        if now - self._beat_at >= BEAT_SECONDS:
            self._beat()

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Note the processor time of a training."""
        seconds = self._processors.of(evaluation)
        key = {"individual": evaluation.individual, "replicate": evaluation.replicate}
        core_seconds = None if seconds is None else round(seconds, 2)
        self._write({**key, "core_seconds": core_seconds, "ended": round(self.elapsed, 2)})
        reached = f"{evaluation.fitness:.4f}" if evaluation.fitness is not None else evaluation.status
        self._say(f"{self.elapsed:6.0f} s  #{evaluation.individual}: {reached} in {evaluation.seconds:.0f} s")

    def notify(self, message: str) -> None:
        """Print it."""
        self._say(message)

    def warn(self, message: str) -> None:
        """Print it."""
        self._say(message)

    def _beat(self, **more: Any) -> None:
        self._beat_at = time.monotonic()
        self._write({"elapsed": round(self.elapsed, 2), "cores": round(self._processors.total, 2), **more})

    def _write(self, row: Row) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, **row}) + "\n")


class Times:
    """What the rows of a clock say.

    Args:
        rows: In their order.
    """

    def __init__(self, rows: Iterable[Row]):
        self._used: defaultdict[str, float] = defaultdict(float)
        self._cores: defaultdict[str, list[float]] = defaultdict(list)  # of each command
        self._loads: list[float] = []
        self.core_seconds: dict[tuple[int, int], float | None] = {}
        self.ended: dict[tuple[int, int], float] = {}  # seconds of the stage
        for row in rows:
            stage = row["stage"]
            if "began" in row:
                self._cores[stage].append(0.0)
            elif "elapsed" in row:
                self._used[stage], self._cores[stage][-1] = row["elapsed"], row["cores"]
                self._loads += [row["other_load"]] if row.get("other_load") is not None else []
            else:
                key = row["individual"], row["replicate"]
                self.core_seconds[key], self.ended[key] = row["core_seconds"], row["ended"]

    def used(self, stage: str) -> float:
        """Return the seconds that commands have spent on a stage."""
        return self._used[stage]

    def cores(self, stage: str) -> float:
        """Return the processor seconds of the workers in a stage, imports and interrupted trainings among them."""
        return sum(self._cores[stage])

    @property
    def other_load(self) -> float | None:
        """The most cores that other processes have used on average during one of the commands."""
        return max(self._loads, default=None)


class WorkerProcessors:
    """The processor time of this process's workers, and of each training in them."""

    def __init__(self) -> None:
        self._samples: defaultdict[str, list[tuple[float, int, float]]] = defaultdict(list)
        self._seconds: dict[int, float] = {}

    @property
    def total(self) -> float:
        """Processor seconds of all workers there have been."""
        return sum(self._seconds.values())

    def look(self) -> None:
        """Take a sample."""
        now = time.time()
        for process in multiprocessing.active_children():
            if process.pid is not None and (seconds := processor_seconds(process.pid)) is not None:
                self._seconds[process.pid] = seconds
                self._samples[process.name].append((now, process.pid, seconds))

    def of(self, evaluation: Evaluation) -> float | None:
        """Return the processor seconds of a training that has just finished; None where the system does not tell.

        Of one that was interrupted, the part before counts in proportion to its time.
        """
        self.look()
        samples = self._samples.pop(evaluation.worker, [])
        if not samples:
            return None
        last, pid, seconds = samples[-1]
        own = [sample for sample in samples if sample[1] == pid]
        before = [sample for sample in own if sample[0] <= evaluation.started] or own[:1]
        self._samples[evaluation.worker] = [(last, pid, seconds)]
        part = evaluation.seconds - evaluation.seconds_before
        return (seconds - before[-1][2]) * (evaluation.seconds / part if part > 0 else 1.0)


def processor_seconds(process: int) -> float | None:
    """Return the processor seconds of a process; None where the system does not tell, or if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
