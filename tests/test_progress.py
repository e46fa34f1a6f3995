"""Python shows progress where someone can see it: on a terminal, in a notebook, or where it is asked for."""

from __future__ import annotations

import builtins
import math
import os
import pty
import subprocess
import sys
import threading
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

import evo
from evo.display import notebook
from evo.errors import ConfigurationError
from evo.loop.search_loop import SilentObserver
from evo.record.run import Run
from tests.command import environment

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)}, name="line")
COLUMNS = ["individual", "x", "seed", "status", "fitness"]


def objective(config: dict[str, Any], seed: int) -> float:
    if config["x"] > 0.9:
        raise ValueError("too large")
    return float(config["x"])


def search(**options: Any) -> Run:
    return evo.search(SPACE, objective, **({"budget": 8, "population": 4, "seed": 1, "strategy": "ga"} | options))


class Cell:
    """What stands under a notebook's cell."""

    def __init__(self) -> None:
        self.pictures: list[str] = []

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Cell:
        assert raw
        assert display_id
        assert not self.pictures, "there is one display, which is updated"
        self.update(content, raw=raw)
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        self.pictures.append(content["text/plain"])


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """Let this process look like the kernel of a notebook."""
    ipython, inner, cell = ModuleType("IPython"), ModuleType("IPython.display"), Cell()
    shell = type("ZMQInteractiveShell", (), {"kernel": object()})()
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)  # where rich looks
    inner.display = cell.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    return cell


def test_a_notebook_has_one_picture_that_ends_with_the_result(shown: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "SECONDS", 0.0)
    run = search()
    assert len(shown.pictures) > 8
    last = shown.pictures[-1]
    assert "evaluations 8 of 8" in last or "finalists" in last
    assert "finished" in last
    assert f"(#{run.winner})" in last
    assert "\x1b" not in last
    assert max(map(len, last.splitlines())) <= notebook.WIDTH


def test_pictures_are_bounded_in_time(shown: Cell) -> None:
    search(budget=200, population=10)
    assert len(shown.pictures) < 100


def test_a_notebook_shows_where_a_search_was_interrupted(shown: Cell) -> None:
    calls: list[int] = []

    def interrupted(config: dict[str, Any]) -> float:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        evo.search(SPACE, interrupted, budget=8)
    assert "evaluations 3 of 8" in shown.pictures[-1]
    assert "finished" not in shown.pictures[-1]


@pytest.mark.parametrize("options", [{"progress": False}, {"observer": SilentObserver()}], ids=["off", "an observer"])
def test_a_notebook_stays_empty_where_nothing_is_to_be_shown(shown: Cell, options: dict[str, Any]) -> None:
    search(**options)
    assert shown.pictures == []


def test_a_search_in_another_thread_shows_nothing_by_itself(shown: Cell) -> None:
    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert shown.pictures == []


def test_without_a_terminal_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    search()
    assert capfd.readouterr() == ("", "")


def test_what_the_user_must_know_is_logged_where_no_progress_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"x": [0.5, math.nan], "fitness": [1.0, 2.0]})
    search(strategy="surrogate", initial_from=table)
    [message] = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "rows are left out" in message


def test_lines_are_written_where_they_are_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    quiet, shown = search(), search(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "ga on the space line: up to 8 trainings, the objective objective"
    assert sum(line.startswith("#") for line in lines) == len(shown.results)
    assert lines[-1].startswith("8 evaluations in 0:0")
    assert shown.table[COLUMNS].equals(quiet.table[COLUMNS]), "progress changes no result"


def test_resume_and_finish_show_progress_too(tmp_path: Any, capfd: pytest.CaptureFixture[str]) -> None:
    search(output=tmp_path / "run", finalists=0)
    evo.resume(tmp_path / "run", objective, budget=10, progress=True)
    assert "10 evaluations in" in capfd.readouterr().err
    evo.finish(tmp_path / "run", objective, finalists=1, progress=True)
    assert "finalist" in capfd.readouterr().err


@pytest.mark.parametrize(
    "options", [{"progress": "yes"}, {"progress": True, "observer": SilentObserver()}], ids=["word", "both"]
)
def test_wrong_values_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="progress: "):
        search(**options)


PROGRAM = """
import evo
evo.search(evo.SearchSpace({"x": evo.Float(0.0, 1.0)}), lambda config: config["x"], budget=6, population=3)
print("done")
"""


def test_a_terminal_shows_the_live_table_and_one_line_at_the_end() -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=child, stdout=child, stderr=child, env=environment() | {"TERM": "xterm"}
    )
    os.close(child)
    text = b""
    while chunk := _read(parent):
        text += chunk
    assert process.wait(timeout=30) == 0
    shown = text.decode()
    assert "up to 6 trainings" in shown
    assert "╭" in shown
    assert "6 evaluations in 0:0" in shown
    assert shown.rstrip().endswith("done")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


def test_a_real_notebook_shows_progress_and_its_functions_run_in_workers() -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [
        "import evo\nSCALE = 2.0\nspace = evo.SearchSpace({'x': evo.Float(0.0, 1.0)})",
        "def objective(config):\n    return SCALE * config['x']",
        "run = evo.search(space, objective, budget=6, population=3, workers=2)",
        "print((run.table['fitness'] == SCALE * run.table['x']).all(), set(run.table['status']))",
    ]
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(page, timeout=100, kernel_name="python3").execute()
    [picture] = page.cells[2]["outputs"]
    assert "evaluations 6 of 6" in picture["data"]["text/plain"]
    assert page.cells[3]["outputs"][0]["text"] == "True {'complete'}\n"
