"""A pytest plugin that notes which tests reach a fault and what they said, and that selects tests.

A copy of this file lies in the checkout under test, where processes that the tests start import it, too. So it needs
nothing but the standard library.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

LOG, SELECTION, SHARED = "FAULTS_LOG", "FAULTS_SELECTION", "FAULTS_SHARED"

_noted: set[tuple[int, str, str]] = set()
_open, _write, _close = os.open, os.write, os.close  # some tests replace them


def note(*event: object) -> None:
    """Append an event to the log, if there is one."""
    if path := os.environ.get(LOG):
        with suppress(OSError):
            file = _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            _write(file, json.dumps(event).encode() + b"\n")
            _close(file)


def hit(fault: int) -> None:
    """Note that the test that runs, or a fixture that several tests share, reached a fault."""
    event = (fault, os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0], os.environ.get(SHARED, ""))
    if event not in _noted:
        _noted.add(event)
        note("hit", *event)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that were asked for, in that order."""
    if path := os.environ.get(SELECTION):
        order = {test: place for place, test in enumerate(json.loads(Path(path).read_text()))}
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])
    for item in items:
        note("item", item.nodeid, list(getattr(item, "fixturenames", ())))


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> None:
    """Let `hit` know, here and in processes that start now, that what runs is for several tests."""
    shared = "" if fixturedef.scope == "function" else f"{fixturedef.baseid}\t{fixturedef.argname}"
    os.environ[SHARED] = shared


def pytest_runtest_call() -> None:
    """What runs now is for one test."""
    os.environ.pop(SHARED, None)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note outcome and duration of a test's setup, call or teardown."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        said = next((text for text in report.longreprtext.splitlines() if text.startswith("E ")), "")
        note("report", report.nodeid, report.outcome, report.duration, said[1:].strip()[:300])
