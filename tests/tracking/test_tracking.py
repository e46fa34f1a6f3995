"""Trackers see all of a search, and none of them can end it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.extras import install_command
from evo.record.run import Run
from evo.tracking import Tracker
from evo.tracking.base import Outcome
from evo.tracking.scalars import Scalar, Scalars
from tests.tracking.searches import Listener, StopAfter, resume, search


class Recorder(Tracker):
    """Keeps what it is told; fails at a call of the given name."""

    name = "Recorder"

    def __init__(self, fails_at: str = "") -> None:
        self.calls: list[str] = []
        self.scalars: list[Scalar] = []
        self._fails_at = fails_at

    def begin(self, run: Run) -> str:
        self._reader = Scalars(run)
        self._take("begin")
        return "look here"

    def update(self, run: Run) -> None:
        self._take("update")

    def end(self, run: Run, outcome: Outcome) -> None:
        self._take(outcome)

    def _take(self, call: str) -> None:
        self.calls.append(call)
        self.scalars += self._reader.new()
        if call == self._fails_at:
            raise OSError("the server\nis gone")


def named(scalars: list[Scalar], name: str) -> list[tuple[int, float]]:
    return [(scalar.step, scalar.value) for scalar in scalars if scalar.name == name]


def test_a_tracker_is_told_everything_once() -> None:
    tracker, listener = Recorder(), Listener()
    run = search([tracker], None, listener)
    assert tracker.calls == ["begin", *["update"] * len(run.evaluations), "finished"]
    assert listener.evaluated_count == len(run.evaluations)
    assert "look here" in listener.notes
    complete = [entry for entry in run.search_evaluations if entry.complete]
    assert len(complete) < 12  # some have failed
    fitness = named(tracker.scalars, "search/fitness")
    assert sorted(value for _, value in fitness) == sorted(entry.fitness for entry in complete if entry.fitness)
    best = [value for _, value in named(tracker.scalars, "search/best")]
    assert best == sorted(best)
    assert best[-1] == max(value for _, value in fitness)
    table = run.generation_table
    for column in ("mean", "std", "diversity"):
        found = named(tracker.scalars, f"generation/{column}")
        assert found == list(zip(table["generation"], table[column], strict=True))
    assert [step for step, _ in named(tracker.scalars, "finalists/fitness")] == [1, 2, 3]


@pytest.mark.parametrize("call", ["begin", "update", "finished"])
def test_a_tracker_that_fails_is_left_out_with_one_warning(call: str) -> None:
    broken, sound, listener = Recorder(call), Recorder(), Listener()
    run = search([broken, sound], None, listener)
    assert len(run.search_evaluations) == 12
    assert listener.warnings == ["Recorder is left out from here on: OSError: the server is gone; the search continues"]
    assert broken.calls.count(call) == 1
    assert sound.calls[-1] == "finished"
    assert listener.evaluated_count == len(run.evaluations)


def test_a_search_with_trackers_has_the_table_of_one_without() -> None:
    plain, tracked = search([], None), search([Recorder(), Recorder("update")], None)
    columns = ["individual", "x", "layers", "fitness", "status"]
    assert tracked.table[columns].equals(plain.table[columns])


def test_a_stopped_and_a_failed_search_are_told_apart(tmp_path: Path) -> None:
    stopped = Recorder()
    with pytest.raises(evo.Stop):
        search([stopped], tmp_path / "run", stop_check=StopAfter(7))
    assert stopped.calls[-1] == "stopped"
    again = Recorder()
    run = resume([again], tmp_path / "run")
    assert again.calls[-1] == "finished"
    assert [step for step, _ in named(again.scalars, "search/seconds")] == list(range(1, 13))
    whole = Recorder()
    search([whole], None)
    assert named(again.scalars, "search/best") == named(whole.scalars, "search/best")
    assert len(run.search_evaluations) == 12


@pytest.mark.parametrize(("option", "package"), [("--tensorboard", "tensorboard"), ("--mlflow", "mlflow")])
@pytest.mark.parametrize("command", ["search", "resume"])
def test_a_missing_package_is_named_with_its_remedy_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CliRunner, option: str, package: str, command: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    arguments = ["digits", "--output", "run"] if command == "search" else ["run"]
    result = cli.invoke(app, [command, *arguments, option])
    assert result.exit_code == 2
    assert f"{option}: needs the package {package}, which is not installed: {install_command(package)}" in result.stderr
    assert list(tmp_path.iterdir()) == []
