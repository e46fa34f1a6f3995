"""Signals end a search in order, whenever and however often they come."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from evo.cli.signals import StopOnSignals, end_before_work, ignore_warnings
from evo.loop.deadline import Stop


def test_a_signal_is_heard_at_the_next_check() -> None:
    with StopOnSignals() as signals:
        signals.check()
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(Stop) as stopped:
            signals.check()
    assert stopped.value.exit_code == 75


def end_in_order() -> Iterator[None]:
    """Do something that takes any `Exception` for its own failure, and whose end no second signal may disturb."""
    try:
        yield
    except Exception as error:
        raise AssertionError("the signal was taken for a failure") from error
    finally:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)


def test_before_there_is_anything_to_save_a_signal_ends_at_once_and_a_second_does_not_disturb_the_end() -> None:
    with pytest.raises(Stop) as stopped, StopOnSignals(), contextmanager(end_in_order)():
        signal.raise_signal(signal.SIGUSR1)
    assert stopped.value.exit_code == 75


def test_a_second_ctrl_c_ends_everything() -> None:
    with StopOnSignals() as signals:
        signals.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_outside_of_the_work_sigusr1_is_no_crash() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    try:
        end_before_work()
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGUSR1)
        assert ended.value.code == 75
        with StopOnSignals() as signals:
            signals.check()
        ignore_warnings()
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
