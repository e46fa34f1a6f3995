"""The commands that evo prints do what they say when they are typed as they stand."""

from __future__ import annotations

import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.errors import ConfigurationError, SearchError
from evo.extras import DISTRIBUTION, install_command
from evo.record.commands import command_on, resume_command
from tests.command import run_command

SPACE = evo.SearchSpace({"x": evo.Float(0, 1)})


def f(config: dict[str, float]) -> float:
    return config["x"]


def fails(config: dict[str, float]) -> float:
    raise ValueError("no")


@pytest.fixture
def run(tmp_path: Path) -> evo.Run:
    return evo.search(SPACE, f, budget=6, output=tmp_path / "my run's $HOME")


def test_what_is_printed_for_an_objective_is_the_call_that_continues_it(run: evo.Run) -> None:
    command = run.command("resume", budget=9)
    continued = eval(command, {"evo": evo, "f": f})
    assert continued.trainings == 9


def test_other_commands_on_its_folder_work_as_they_are_printed(run: evo.Run, cli: CliRunner) -> None:
    words = shlex.split(run.command("compare"))
    assert words[0] == "evo"
    result = cli.invoke(app, words[1:])
    assert result.exit_code == 0, result.output


def test_an_objective_without_a_name_in_python_is_left_to_the_user(tmp_path: Path) -> None:
    run = evo.search(SPACE, lambda config: config["x"], budget=6, output=tmp_path / "run")
    assert run.command("resume") == f"evo.resume({str(tmp_path / 'run')!r}, objective=…)"


@pytest.mark.parametrize("path", ["my run", "it's", "$HOME", "--help", "a\nb"])
def test_a_folder_of_any_name_and_a_model_of_ones_own_are_in_the_command(run: evo.Run, path: str) -> None:
    settings = run.settings
    settings.objective, settings.model = None, "my models:build"
    words = shlex.split(command_on(Path(path), settings, "resume", budget=20, quiet=True, timeout=None))
    assert words == ["evo", "resume", path, "--budget", "20", "--quiet", "--model", "my models:build"]


def test_a_search_whose_first_evaluations_fail_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="all failed") as caught:
        evo.search(SPACE, fails, budget=9, output=tmp_path / "my run")
    assert f"evo.resume({str(tmp_path / 'my run')!r}, objective=fails)" in str(caught.value)
    assert "Rows that failed stay as they are" in str(caught.value)
    evo.resume(tmp_path / "my run", f)


def test_an_output_that_is_a_run_names_the_command_that_continues_it(run: evo.Run) -> None:
    with pytest.raises(ConfigurationError, match="exists") as caught:
        evo.search(SPACE, f, budget=6, output=run.folder)
    assert run.command("resume") in str(caught.value)


def test_nothing_is_advised_for_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    assert resume_command(tmp_path) == ""


@pytest.mark.slow
def test_a_stopped_search_prints_the_command_that_continues_it(tmp_path: Path) -> None:
    arguments = ["digits", "--budget", "6", "--finalists", "0", "--output", tmp_path / "my run"]
    stopped = run_command("search", *arguments, "--time-budget", "2s")
    assert stopped.returncode == 75, stopped.stderr
    command = stopped.stderr.rpartition("Continue with:")[2].strip()
    finished = run_command(*shlex.split(command)[1:])
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("extra", ["dask", "mlflow", "tensorboard"])
def test_an_extra_is_installed_by_its_packages_which_every_index_has(extra: str) -> None:
    words = shlex.split(install_command(extra))
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    assert len(words) > 4
    assert not any(DISTRIBUTION in word for word in words)


def test_where_evo_is_not_installed_the_package_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert install_command("mlflow").endswith("pip install mlflow")
