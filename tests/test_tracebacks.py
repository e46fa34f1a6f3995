"""The traceback of a failure is kept in the run folder, bounded and plain, and shown where --debug asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from evo import files
from evo.cli.app import app
from evo.loop.search_loop import SilentObserver
from evo.plain_text import is_plain
from evo.record import tracebacks as kept
from evo.record.run import Run
from evo.tracebacks import LONGEST, traceback_of
from tests.evaluators.clusters import client_of

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})


def helper(x: float) -> float:
    return 1 / (x - x)


def objective(config: dict[str, Any]) -> float:
    if 0.3 < config["x"] < 0.95:
        return helper(config["x"])
    return float(config["x"])


def search(**options: Any) -> Run:
    return evo.search(SPACE, objective, budget=12, population=4, strategy="random", seed=1, **options)


def failed(run: Run) -> list[int]:
    return [evaluation.individual for evaluation in run.results if not evaluation.succeeded]


def caught(raises: Callable[[], object]) -> str:
    try:
        raises()
    except BaseException as problem:
        return traceback_of(problem)
    raise AssertionError("it raises nothing")


@pytest.mark.parametrize("options", [{}, {"workers": 2}], ids=str)
@pytest.mark.parametrize("in_folder", [True, False])
def test_the_traceback_of_each_failure_is_kept(tmp_path: Path, options: dict[str, Any], in_folder: bool) -> None:
    run = search(**options, output=tmp_path / "run" if in_folder else None)
    assert failed(run)
    for number in failed(run):
        text = run.traceback(number)
        assert text.startswith("Traceback (most recent call last):\n")
        assert text.endswith("return 1 / (x - x)\nZeroDivisionError: float division by zero\n")
        assert "in objective" in text
        assert "evo/evaluators" not in text
    assert all(not run.traceback(e.individual) for e in run.results if e.succeeded)
    assert set(run.table.loc[run.table["status"] == "failed", "error"]) == {"ZeroDivisionError: float division by zero"}
    if in_folder:
        assert {path.name for path in (tmp_path / "run" / "errors").iterdir()} == {f"{n}-0.txt" for n in failed(run)}
        assert evo.load(tmp_path / "run").traceback(failed(run)[0]) == run.traceback(failed(run)[0])


def test_the_journal_holds_no_traceback(tmp_path: Path) -> None:
    search(output=tmp_path / "run")
    assert "Traceback" not in (tmp_path / "run" / "journal.jsonl").read_text()


def test_what_a_run_keeps_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT", 2)
    for folder in (tmp_path / "run", None):
        run = search(output=folder)
        assert len(failed(run)) > 2
        assert [number for number in failed(run) if run.traceback(number)] == failed(run)[-2:]


@pytest.mark.parametrize("call", ["make its folder", "create", "write", "take its place", "remove"])
def test_a_full_disk_costs_only_tracebacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fails(name: str, path: Path) -> None:
        if name == call and "errors" in path.parts:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "KEPT", 1)
    monkeypatch.setattr(files, "failpoint", fails)
    run = search(output=tmp_path / "run")
    assert len(run.table) == 12


def test_a_link_in_the_place_of_the_folder_is_neither_written_nor_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "0-0.txt").write_text("secret")

    class Linking(SilentObserver):
        def started(self, run: Run, total: int) -> None:
            (run.folder / "errors").symlink_to(outside)

    run = search(output=tmp_path / "run", observer=Linking())
    assert len(run.table) == 12
    assert run.traceback(0) == ""
    assert [path.name for path in outside.iterdir()] == ["0-0.txt"]


class HostileError(Exception):
    __module__ = "\x1b[2J"

    def __str__(self) -> str:
        raise SystemExit("from within")

    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no")


def recurse() -> None:
    recurse()


def chained() -> None:
    try:
        helper(1.0)
    except ZeroDivisionError as first:
        raise ValueError("\x1b[31mred\x1b[0m\r" + "long " * 20_000) from first


def hostile() -> None:
    raise HostileError


def noted() -> None:
    problem = ValueError("one")
    problem.add_note("try another\x07")
    raise problem


def in_a_circle() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


@pytest.mark.parametrize("raises", [recurse, chained, hostile, noted, in_a_circle], ids=lambda one: one.__name__)
def test_a_traceback_is_plain_and_bounded_whatever_was_raised(raises: Callable[[], object]) -> None:
    text = caught(raises)
    assert text.startswith(("Traceback", "ValueError: second"))
    assert f"in {raises.__name__}" in text
    assert len(text) <= LONGEST
    assert is_plain(text)
    assert "\r" not in text


def test_causes_come_first_and_notes_last() -> None:
    text = caught(chained)
    assert text.index("ZeroDivisionError") < text.index("direct cause") < text.index("ValueError: ?[31mred")
    assert caught(noted).endswith("ValueError: one\ntry another?\n")


def test_debug_shows_recorded_tracebacks(tmp_path: Path) -> None:
    run = search(output=tmp_path / "run")
    shows = CliRunner().invoke(app, ["compare", str(tmp_path / "run"), "--debug"])
    assert shows.stderr.count("ZeroDivisionError") == 1, "once for each cause"
    assert f"run, individual {failed(run)[-1]}: Traceback" in shows.stderr
    assert "Traceback" not in CliRunner().invoke(app, ["compare", str(tmp_path / "run")]).output
    shows = CliRunner().invoke(app, ["replay", str(tmp_path / "run"), str(failed(run)[0]), "--debug"])
    assert "as recorded: Traceback" in shows.stderr


FAILING = """
import torch
def build(config, input_shape, classes):
    if config["width"] > 20:
        raise ValueError("too wide")
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(input_shape[1] * input_shape[2], classes))
"""
WIDTHS = """
dataset = "digits"
[training]
batch_size = 64
steps = 20
learning_rate = 0.01
[genes.width]
type = "integer"
low = 4
high = 64
"""


@pytest.mark.usefixtures("session_cache")
def test_debug_shows_a_failure_of_a_training_when_it_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("failing_model.py").write_text(FAILING)
    Path("widths.toml").write_text(WIDTHS)
    words = [
        "search",
        "widths.toml",
        "--model",
        "failing_model:build",
        "--strategy",
        "random",
        "--budget",
        "6",
        "--finalists",
        "0",
        "--seed",
        "1",
    ]
    finished = CliRunner().invoke(app, [*words, "--workers", "1", "-o", "run", "--quiet", "--debug"])
    assert finished.exit_code == 0, finished.output
    numbers = failed(evo.load("run"))
    assert numbers
    for number in numbers:
        assert f"individual {number}: Traceback (most recent call last):" in finished.stderr
    assert finished.stderr.count('raise ValueError("too wide")') == len(numbers)
    assert f"evo replay run {numbers[-1]} --debug --model failing_model:build shows where" in finished.stdout


def test_tracebacks_come_back_from_a_cluster() -> None:
    with client_of(1) as client:
        run = search(dask=client)
    assert failed(run)
    assert all("in helper" in run.traceback(number) for number in failed(run))


def test_the_traceback_of_an_individual_that_there_is_not_is_an_error() -> None:
    run = evo.search(evo.SearchSpace({"x": evo.Float(0, 1)}), lambda config: config["x"], budget=2, finalists=0)
    with pytest.raises(evo.EvoError, match="individual 7: this run has 2"):
        run.traceback(7)
