"""Trainings of listed configurations have their own page, not a search's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from evo.cli.any_report import write_any_report
from evo.cli.app import app
from evo.errors import ConfigurationError
from evo.record.run import Run
from evo.report2019 import NAME
from tests.conftest import training_in_this_process

TRAIN = ("train", "--dataset", "digits", "--hidden-layers", "8", "--steps", "20", "--evaluate-every", "10", "-q")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("any_report") / "whole"
    with training_in_this_process():
        finished = CliRunner().invoke(app, [*TRAIN, "--seeds", "2", "--output", str(folder)])
    assert finished.exit_code == 0, finished.output
    return folder


@pytest.fixture
def trained(whole: Path, tmp_path: Path) -> Path:
    """Return the folder of trainings of one configuration, to be written into."""
    return Path(shutil.copytree(whole, tmp_path / "trained"))


def test_the_page_of_trainings_has_the_mean_over_the_seeds_and_no_search(
    trained: Path, cli: CliRunner, tmp_path: Path
) -> None:
    finished = cli.invoke(app, ["report", str(trained)])
    assert finished.exit_code == 0, finished.output
    page = (trained / "report.html").read_text()
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == [
        *("Summary", "Training recipe", "Learning curves", "Classes", "All trainings")
    ]
    rows = pd.read_csv(trained / "evaluations.csv")
    assert f"<td>{rows['fitness'].mean():.4g}</td>" in page
    assert "strategy" not in page
    elsewhere = cli.invoke(app, ["report", str(trained), "--output", str(tmp_path / "a" / "b")])
    assert elsewhere.exit_code == 0, elsewhere.output
    assert (tmp_path / "a" / "b" / "figures" / "accuracy.svg").exists()


def test_what_cannot_share_a_page_is_refused_before_anything_is_written(
    trained: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="trained: not a search"):
        write_any_report([Run.load(trained), Run.load(uninterrupted)], tmp_path / "both")
    table = Run.load(trained)
    table.settings.space_name = NAME
    with pytest.raises(ConfigurationError, match="--output"):
        write_any_report([table], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    assert not (trained / "report.html").exists()


def test_a_run_that_searched_nothing_plots_its_learning_curves(trained: Path) -> None:
    assert set(Run.load(trained).plot()) == {"accuracy", "loss"}


def test_a_reproduction_of_table_1_has_its_own_page(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Run.load(trained)
    table.settings.space_name = NAME
    asked = []

    def written(run: Run) -> Path:
        asked.append(run)
        return trained / "table1.html"

    monkeypatch.setattr("evo.report2019.page.write_table1", written)
    assert write_any_report([table], None) == [trained / "table1.html"]
    assert asked == [table]
