"""What a tracker is, and the observer that shows a search to trackers, none of which can end it."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, TypeAlias

from evo.errors import ConfigurationError
from evo.evaluation import Evaluation
from evo.evaluators.base import Report
from evo.extras import install_command
from evo.loop.deadline import Stop
from evo.loop.search_loop import Observer, SilentObserver
from evo.plain_text import reason_of
from evo.record.run import Run

Outcome: TypeAlias = Literal["finished", "stopped", "failed"]


class Tracker(ABC):
    """Writes what a run records to another program's store.

    Attributes:
        name: What messages call the program.
        package: What it needs; there is an option and an extra of this name.

    Raises:
        ConfigurationError: The package is not installed.
    """

    name: str
    package: str

    def __init__(self) -> None:
        if importlib.util.find_spec(self.package) is None:
            raise ConfigurationError(
                f"--{self.package}: needs the package {self.package}, which is not installed: "
                f"{install_command(self.package)}"
            )

    @abstractmethod
    def begin(self, run: Run) -> str:
        """Write what the run already holds, without repeating what the store has; return how to look at it."""

    @abstractmethod
    def update(self, run: Run) -> None:
        """Write what is new in the run."""

    @abstractmethod
    def end(self, run: Run, outcome: Outcome) -> None:
        """Write the rest and close the store."""


class Tracking:
    """An observer that passes what it sees to another observer and to trackers; a tracker that fails is left out.

    Use it as a context manager: leaving it closes the trackers.

    Args:
        trackers: Not begun yet.
        observer: Another observer that watches.
    """

    def __init__(self, trackers: Sequence[Tracker], observer: Observer | None = None):
        self._trackers, self._observer = list(trackers), observer or SilentObserver()
        self.working, self.notify, self.warn = self._observer.working, self._observer.notify, self._observer.warn
        self._run: Run | None = None

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, Stop | KeyboardInterrupt)
        outcome: Outcome = "finished" if kind is None else "stopped" if stopped else "failed"
        if (run := self._run) is not None:
            self._all(lambda tracker: tracker.end(run, outcome))

    def started(self, run: Run, total: int) -> None:
        """Begin to track the run."""
        self._observer.started(run, total)
        self._run = run
        self._all(lambda tracker: self._observer.notify(tracker.begin(run)))

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Track the evaluation."""
        self._observer.evaluated(run, evaluation, seconds_left)
        self._all(lambda tracker: tracker.update(run))

    def reported(self, run: Run, report: Report) -> None:
        """Track what a running training reports."""
        self._observer.reported(run, report)
        self._all(lambda tracker: tracker.update(run))

    def _all(self, action: Callable[[Tracker], None]) -> None:
        """Do something with every tracker; one that fails is left out."""
        for tracker in tuple(self._trackers):
            try:
                action(tracker)
            except Exception as error:  # another program's error must not end the search
                self._trackers.remove(tracker)
                reason = reason_of(error)[:300]
                self._observer.warn(f"{tracker.name} is left out from here on: {reason}; the search continues")
