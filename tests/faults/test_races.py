"""Two processes on one folder: exactly one has it, and the other says so at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import evo
from evo.record.journal import Journal
from tests.command import environment
from tests.faults.conftest import times
from tests.faults.objectives import SPACE, accuracy

LOSER_SECONDS = 4.0

RACE = """
import sys, time
from pathlib import Path
import evo
from tests.faults.objectives import SPACE, accuracy

def slow(config, seed):
    time.sleep(0.2)
    return accuracy(config, seed)

how, folder, go = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
print("ready", flush=True)
while not go.exists():
    pass
began = time.monotonic()
try:
    if how == "resume":
        evo.resume(folder, slow, budget=6)
    else:
        evo.search(SPACE, slow, budget=4, finalists=0, output=folder, overwrite=how == "overwrite")
except evo.EvoError as error:
    print(f"{time.monotonic() - began:.3f} {error}")
    sys.exit(error.exit_code)
"""
"""Both processes begin in the same moment: when both are ready, and the file "go" is there."""


def race(how: str, folder: Path) -> tuple[list[int], list[str]]:
    """Let two processes do the same to a folder; return their exit codes and what they printed, the winner first."""
    go = folder.parent / f"go-{folder.name}"
    command = [sys.executable, "-c", RACE, how, str(folder), str(go)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) for _ in range(2)]
    assert [process.stdout.readline() for process in both if process.stdout] == ["ready\n", "ready\n"]
    go.touch()
    printed = [process.communicate(timeout=120)[0] for process in both]
    ends = sorted(zip((process.returncode for process in both), printed, strict=True))
    return [code for code, _ in ends], [text for _, text in ends]


def check(how: str, folder: Path) -> float:
    """Return the seconds that the loser took."""
    codes, printed = race(how, folder)
    assert codes == [0, 2], printed
    seconds, message = printed[1].split(" ", 1)
    assert "another process is writing this run" in message or "exists" in message or "has taken this name" in message
    assert float(seconds) < LOSER_SECONDS
    assert [event["kind"] for event in Journal.read(folder / "journal.jsonl").events].count("start") == 1
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    return float(seconds)


@pytest.mark.slow
def test_two_that_resume_one_run(tmp_path: Path, figure: Callable[[str], None]) -> None:
    races, longest = times(long=40, short=2), 0.0
    for number in range(races):
        folder = tmp_path / f"run-{number}"
        evo.search(SPACE, accuracy, budget=3, finalists=0, output=folder)
        longest = max(longest, check("resume", folder))
        assert len(evo.load(folder).table) == 6
    figure(f"{races} races of two that resume one run: one winner each, the loser after {longest:.2f} s at most")


@pytest.mark.slow
def test_two_that_begin_one_run(tmp_path: Path, figure: Callable[[str], None]) -> None:
    races, longest = times(long=40, short=2), 0.0
    for number in range(races):
        longest = max(longest, check("search", tmp_path / f"run-{number}"))
        assert len(evo.load(tmp_path / f"run-{number}").table) == 4
    figure(f"{races} races of two that begin one run: one winner each, the loser after {longest:.2f} s at most")


def test_two_that_overwrite_one_run(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """The second may replace the first when that has finished, and never before."""
    races, losers = times(long=20, short=1), 0
    for number in range(races):
        folder = tmp_path / f"run-{number}"
        evo.search(SPACE, accuracy, budget=3, finalists=0, output=folder)
        codes, printed = race("overwrite", folder)
        assert codes in ([0, 2], [0, 0]), printed
        losers += codes[1] == 2
        assert len(evo.load(folder).table) == 4
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    figure(f"{races} races of two that overwrite one run: {losers} losers, and the run is whole each time")
