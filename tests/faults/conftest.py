"""How often every fault is tried: a few times, or, with EVO_FAULTS=long, as often as the figures of the README say."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

LONG = os.environ.get("EVO_FAULTS") == "long"


def times(long: int, short: int) -> int:
    """Return how often a fault is tried."""
    return long if LONG else short


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Note a sentence with figures, which is shown below the tests."""
    return lambda sentence: record_property("figure", sentence)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    sentences = [value for report in reports for name, value in report.user_properties if name == "figure"]
    if sentences:
        terminalreporter.section("faults, " + ("long form" if LONG else "short form; EVO_FAULTS=long is the long one"))
        for sentence in sorted(map(str, sentences)):
            terminalreporter.write_line(sentence)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")
