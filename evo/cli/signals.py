"""Signals that end a search in an orderly way: Ctrl-C, a scheduler's TERM, and its warning USR1."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

from evo.loop.deadline import Stop

STOPS = {
    signal.SIGINT: ("interrupted (Ctrl-C)", 130),
    signal.SIGTERM: ("terminated (SIGTERM)", 143),
    signal.SIGUSR1: ("asked to stop (SIGUSR1)", 75),
}
"""Why a run ends, and the exit code of its command."""


class _StopNow(KeyboardInterrupt):
    """A signal that ends the work in the middle of anything: no `Exception`, so nothing takes it for a failure."""


def end_before_work() -> None:
    """Let SIGUSR1 end a command that has nothing to save yet with its own code; by default it kills the process."""
    signal.signal(signal.SIGUSR1, lambda number, frame: sys.exit(STOPS[signal.SIGUSR1][1]))


def ignore_warnings() -> None:
    """Ignore SIGUSR1, which warns of an end that is near: the work is done, and only its result is to be shown."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


class StopOnSignals:
    """While active, the first signal makes `check` raise `Stop`; a second Ctrl-C ends everything at once.

    Before the first `check` there is nothing to save: Ctrl-C acts as usual, and another signal ends everything at once,
    too, with `Stop` for those outside.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._checked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopOnSignals:
        for number in STOPS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, _StopNow):
            raise Stop(*STOPS[error.args[0]]) from None

    def check(self) -> None:
        """Raise `Stop` if a signal was received."""
        self._checked = True
        if self._received is not None:
            raise Stop(*STOPS[self._received])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        received = signal.Signals(number)
        if received == signal.SIGINT and (self._received is not None or not self._checked):
            raise KeyboardInterrupt
        first, self._received = self._received is None, received
        if first and not self._checked:
            raise _StopNow(received)
