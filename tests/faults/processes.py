"""Searches as processes of their own, to be killed, stopped and compared."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.command import alive, children, environment, journal_text, start_command, wait_until
from tests.conftest import TINY_SPACE
from tests.faults.objectives import FOLDER

WORKERS_GONE_SECONDS = 10.0
TINY = TINY_SPACE.replace("high = 40", "high = 200")


class FakeSearch:
    """A search of 20 ms trainings by two workers in a folder."""

    def __init__(self, folder: Path, budget: int):
        self.marks, self.run, self.budget = folder, folder / "run", budget
        folder.mkdir()

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fake_search", str(self.run), str(self.budget)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment() | {FOLDER: str(self.marks)},
            start_new_session=True,
        )

    @property
    def calls(self) -> int:
        """Trainings that were begun, in all processes so far."""
        path = self.marks / "calls"
        return path.read_text().count("\n") if path.exists() else 0


class DigitsSearch:
    """A search that trains small networks on the digits by two workers."""

    def __init__(self, folder: Path, budget: int):
        self.space, self.run, self.budget = folder / "tiny.toml", folder / "run", budget
        folder.mkdir()
        self.space.write_text(TINY)

    def start(self) -> subprocess.Popen[str]:
        if (self.run / "journal.jsonl").exists():
            return start_command("resume", self.run, "--workers", "2", "--quiet")
        search = ("search", self.space, "--budget", str(self.budget), "--population", "8", "--strategy", "ga")
        return start_command(*search, "--seed", "3", "--workers", "2", "--finalists", "2", "-o", self.run, "--quiet")


def finish(search: FakeSearch | DigitsSearch) -> None:
    """Let a search continue to its end."""
    process = search.start()
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def lines_of(run: Path) -> int:
    return journal_text(run).count("\n")


def whole_lines(run: Path) -> str:
    """Return what the journal holds without a line that is being written."""
    text = journal_text(run)
    return text[: text.rfind("\n") + 1]


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a search with SIGKILL; its workers must follow it."""
    workers = children(process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(alive, workers)), WORKERS_GONE_SECONDS)


def was_killed(process: subprocess.Popen[str]) -> bool:
    """Return whether a process ended by SIGKILL and not by itself before."""
    return process.returncode == -signal.SIGKILL
