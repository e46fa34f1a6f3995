"""The end of a command's time, as a stop check."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from evo.errors import PortableError

if TYPE_CHECKING:
    from evo.record.run import Run

RESUMABLE_EXIT = 75
SUSPEND_SECONDS = 6.0
"""Time for trainings in flight to save their state. A scheduler's patience is about 30 s, a person's about 10, and
writing the tables of thousands of evaluations takes time, too."""


class Stop(PortableError):  # noqa: N818  # a stop is not an error
    """Raised by a stop check: the search ends here, and can be resumed.

    Attributes:
        exit_code: Of the command.
        run: The run as far as it came; None if none had begun.
    """

    run: Run | None = None

    def __init__(self, reason: str, exit_code: int):
        super().__init__(reason)
        self.exit_code = exit_code


StopCheck = Callable[[], None]


class Deadline:
    """A stop check that also ends the work when its time is over; the clock starts now.

    Args:
        stop_check: Raises `Stop` for another reason, such as a signal.
        seconds: How long the work may take; None for no bound.

    Attributes:
        stop_check: As given. Work that may take a little longer than the deadline calls it instead of the deadline.
        seconds: As given; infinite without a bound.
    """

    def __init__(self, stop_check: StopCheck, seconds: float | None):
        self.stop_check, self.seconds = stop_check, math.inf if seconds is None else seconds
        self._began = time.monotonic()

    @property
    def left(self) -> float:
        """The seconds that are left; below 0 once the time is over, infinite without a bound."""
        return self.seconds - (time.monotonic() - self._began)

    def __call__(self) -> None:
        """Raise `Stop` if there is a reason to, or the time is over."""
        self.stop_check()
        if self.left < 0:
            raise Stop(f"the time budget of {self.seconds:g} s is used up", RESUMABLE_EXIT)
