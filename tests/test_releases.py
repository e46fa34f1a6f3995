"""A run folder that any released version has written is read, shown and gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.record.journal import FORMAT

RELEASES = Path(__file__).parent / "releases"
RUNS = sorted(path.parent for path in RELEASES.glob("format-*/*/journal.jsonl"))
TABLES = ("evaluations", "populations", "generations", "curves", "hall_of_fame", "finalists")


def names(run: Path) -> str:
    return f"{run.parent.name}-{run.name}"


def test_every_format_is_kept() -> None:
    assert {path.parent.name for path in RUNS} == {f"format-{number}" for number in range(1, FORMAT + 1)}
    assert len(RUNS) >= 4


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
            pd.testing.assert_series_equal(
                pd.to_datetime(then["started"]), pd.to_datetime(now["started"]).dt.floor("s"), check_dtype=False
            )


@pytest.mark.parametrize("folder", RUNS, ids=names)
def test_it_can_be_shown(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    for command in (["compare", str(run)], ["report", str(run)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("folder", RUNS, ids=names)
def test_it_can_be_gone_on_with(folder: Path, tmp_path: Path) -> None:
    """The same torch gives the same numbers; another gives rows all the same."""
    shutil.copytree(folder, tmp_path / "run")
    before = evo.load(folder)
    more = {"seeds": 3} if folder.name == "train" else {"budget": len(before.search_evaluations) + 2}
    after = evo.resume(tmp_path / "run", **more)
    assert len(after.search_evaluations) > len(before.search_evaluations)
    for key, evaluation in before.evaluations.items():
        assert after.evaluations[key] == evaluation
