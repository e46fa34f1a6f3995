"""A run folder that any released version has written can be read, shown and resumed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.errors import RunError
from evo.loop.finished import is_finished
from evo.record.journal import FORMAT, Journal
from evo.record.run import Run
from evo.record.settings import LISTED, Settings
from tests.reporting_objective import stepwise

RELEASES = Path(__file__).parent / "releases"
RUNS = sorted(path.parent for path in RELEASES.glob("format-*/*/journal.jsonl"))
TABLES = ("evaluations", "populations", "generations", "curves", "hall_of_fame", "finalists")


def names(run: Path) -> str:
    return f"{run.parent.name}-{run.name}"


def extended(folder: Path) -> Run:
    """Resume a run beyond its end."""
    run = evo.load(folder)
    listed = run.settings.strategy == LISTED
    objective = stepwise if run.settings.objective is not None else None
    return evo.resume(folder, objective, **({"seeds": 3} if listed else {"budget": len(run.proposals) + 2}))


def test_every_format_is_kept() -> None:
    assert {path.parent.name for path in RUNS} == {f"format-{number}" for number in range(1, FORMAT + 1)}
    assert len(RUNS) >= 7


@pytest.mark.parametrize("folder", RUNS, ids=names)
def test_its_tables_are_those_that_were_written_then(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    evo.load(tmp_path / "run").write_tables()
    for name in TABLES:
        if not (folder / f"{name}.csv").exists():
            continue
        then, now = pd.read_csv(folder / f"{name}.csv"), pd.read_csv(tmp_path / "run" / f"{name}.csv")
        assert set(then) <= set(now), "a column is gone"
        for column in set(then) - {"started"}:
            pd.testing.assert_series_equal(then[column], now[column])
        if "started" in then:  # written with more digits since
            seconds = [pd.to_datetime(table["started"], format="ISO8601").dt.floor("s") for table in (then, now)]
            pd.testing.assert_series_equal(*seconds, check_dtype=False)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("folder", RUNS, ids=names)
def test_it_can_be_shown(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    for command in (["compare", str(run)], ["report", str(run)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("in_process", "quick_models")
@pytest.mark.parametrize("folder", [folder for folder in RUNS if folder.name != "halving"], ids=names)
def test_it_can_be_resumed(folder: Path, tmp_path: Path) -> None:
    """The same torch gives the same numbers; another torch gives rows all the same."""
    shutil.copytree(folder, tmp_path / "run")
    before = evo.load(folder)
    check_goes_on(before, extended(tmp_path / "run"))


def check_goes_on(before: Run, after: Run) -> None:
    assert len(after.results) > len(before.results)
    assert after.results[: len(before.results)] == before.results
    assert after.proposals[: len(before.proposals)] == before.proposals


@pytest.mark.usefixtures("in_process", "quick_models")
@pytest.mark.parametrize("folder", [folder for folder in RUNS if folder.name == "halving"], ids=names)
def test_a_run_of_halving_is_resumed_in_its_own_representation(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    before = evo.load(run)
    after = evo.resume(run, budget=len(before.proposals) + 12)
    check_goes_on(before, after)
    first = json.loads((run / "journal.jsonl").read_text().splitlines()[0])["event"]
    new = after.proposals[len(before.proposals) :]
    assert folder.parent.name == f"format-{first['format']}"
    assert after.settings.continuations == (first["format"] > 1)
    if first["format"] > 1:
        assert any(one.id < len(before.individuals) for one in new), "no training was continued"
        assert all(one.until is not None for one in new)
    else:
        assert any(one.operator == "promotion" for one in new)
        assert all(one.until is None for one in new)
        assert all(result.status != "partial" for result in after.results)


@pytest.mark.parametrize("folder", [folder for folder in RUNS if evo.load(folder).finalists], ids=names)
def test_a_key_of_an_event_that_it_does_not_know_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """So a later version may add one without a new format number, in runs of every format."""
    shutil.copytree(folder, tmp_path / "run")
    before = evo.load(folder)
    journal = Journal.open(tmp_path / "run" / "journal.jsonl", warn=print)
    for kind in ("finalists", "winner"):
        event = [one for one in journal.events if one["kind"] == kind][-1]
        journal.append({**event, "number": len(journal.events), "later": [1]})
    journal.close()
    after = evo.load(tmp_path / "run")
    assert (after.finalists, after.winner, after.results) == (before.finalists, before.winner, before.results)
    assert is_finished(after) == is_finished(before)


@dataclass
class LaterSettings(Settings):
    """The settings of a version that knows one thing more, which older versions did not do."""

    reheated: bool = False


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("folder", [folder for folder in RUNS if folder.name in ("ga", "train")], ids=names)
def test_it_can_be_resumed_where_the_settings_have_a_new_field(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo.record.run.Settings", LaterSettings)
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    before = evo.load(run)
    assert isinstance(before.settings, LaterSettings)
    assert before.settings.reheated is False
    extended(run)
    assert "reheated" not in json.loads((run / "settings.json").read_text()), "the run began without it"
    assert evo.load(run).settings.digest == before.settings.digest


def test_a_new_field_is_part_of_what_a_new_run_is_known_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evo.record.run.Settings", LaterSettings)
    monkeypatch.setattr("evo.api.Settings", partial(LaterSettings, reheated=True))
    run, space = tmp_path / "run", evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    evo.search(space, lambda config: config["x"], budget=2, population=2, output=run)
    assert evo.load(run).settings.reheated is True  # type: ignore[attr-defined]
    changed = (run / "settings.json").read_text().replace('"reheated": true', '"reheated": false')
    (run / "settings.json").write_text(changed)
    with pytest.raises(RunError, match="began with other settings"):
        evo.load(run)
    monkeypatch.undo()
    with pytest.raises(RunError, match="has reheated, which this version of evo does not know; update evo"):
        evo.load(run)
