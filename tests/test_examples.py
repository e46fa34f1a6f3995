"""The examples run as they are, and end with the same table when they are killed in between."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.command import ROOT, environment

EXAMPLES = ROOT / "examples" / "objectives"
MACHINE = ["seconds", "worker", "started", "seconds_before"]
SMALLER = {"budget=40": "budget=7", "budget=15": "budget=7", "EPOCHS = 30": "EPOCHS = 8", "PASSES = 27": "PASSES = 9"}


def smaller(name: str, folder: Path) -> Path:
    """Return a copy of an example with fewer and shorter trainings, without finalists."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for before, after in SMALLER.items():
        text = text.replace(before, after)
    script = folder / name
    script.write_text(text.replace("seed=1, output=folder", "seed=1, finalists=0, output=folder"))
    return script


def start(script: Path, run: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(script), run]
    return subprocess.Popen(
        command, cwd=script.parent, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / name).drop(columns=MACHINE, errors="ignore")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch_loop.py", "scikit_learn.py", "lightning_callback.py"])
def test_an_example_that_is_killed_ends_with_the_table_of_one_that_is_not(name: str, tmp_path: Path) -> None:
    if name.startswith("lightning") and importlib.util.find_spec("lightning") is None:
        pytest.skip("Lightning is not installed")
    script = smaller(name, tmp_path)
    whole = start(script, "whole")
    output, errors = whole.communicate()
    assert whole.returncode == 0, errors
    assert "RankedIndividual" in output
    kills = 0
    while True:
        part = start(script, "killed")
        journal = tmp_path / "killed" / "journal.jsonl"
        size = journal.stat().st_size if journal.exists() else 0
        while part.poll() is None and (not journal.exists() or journal.stat().st_size < size + 4000):
            time.sleep(0.02)
        if part.poll() is None:
            part.kill()
            kills += 1
        _, errors = part.communicate()
        if part.returncode == 0:
            break
        assert part.returncode == -9, errors
    assert kills
    for csv in ("evaluations.csv", "curves.csv"):
        assert table(tmp_path / "killed", csv).equals(table(tmp_path / "whole", csv))
