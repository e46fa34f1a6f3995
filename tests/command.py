"""The command `evo` in processes of its own: started, watched through its journal, stopped, and its tables compared."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import evo

ROOT = Path(evo.__file__).resolve().parent.parent
TABLES = ("evaluations", "populations", "hall_of_fame", "curves", "finalists")
CLOCK_COLUMNS = ("seconds", "worker", "started", "seconds_before")
PATIENCE_SECONDS = 180.0


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def run_command(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=environment(),
        cwd=cwd,
        check=False,
    )


def start_command(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "evo", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,  # so that a signal can be sent to all of it
    )


def journal_text(run: Path) -> str:
    path = run / "journal.jsonl"
    return path.read_text() if path.exists() else ""


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition; a condition that does not come true in time fails the test."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still not so after {seconds:g} s"
        time.sleep(0.002)


def children(pid: int) -> set[int]:
    """Return the ids of a process's children."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) and int(fields[1]) == pid:
            found.add(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended without being waited for does not."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def tables(run: Path) -> dict[str, list[dict[str, str]]]:
    """Return the rows of a run's tables without what the clock and the scheduler decide."""
    return {name: rows_of(run / f"{name}.csv") for name in TABLES}


def rows_of(table: Path) -> list[dict[str, str]]:
    """Return the rows of one CSV file without what the clock and the scheduler decide."""
    with table.open(newline="") as file:
        return [
            {column: cell for column, cell in row.items() if column not in CLOCK_COLUMNS}
            for row in csv.DictReader(file)
        ]


def _stat(pid: int) -> list[str]:
    """Return a process's state, parent and so on: the fields after the name, which may hold blanks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
