"""The commands that evo prints do what they say when they are typed as they stand."""

from __future__ import annotations

import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.display.progress import short
from evo.errors import ConfigurationError, SearchError
from evo.extras import DISTRIBUTION, install_command
from evo.record.commands import command_on, resume_command
from evo.space.file import shipped_spaces, shipped_text
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
    shown = f"./{path}" if path.startswith("-") else path
    assert words == ["evo", "resume", shown, "--budget", "20", "--quiet", "--model", "my models:build"]


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
    stopped = run_command("search", *arguments, "--time-budget", "2s", "--no-finish")
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


def test_a_folder_whose_name_begins_with_a_hyphen_is_not_taken_for_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CliRunner
) -> None:
    monkeypatch.chdir(tmp_path)
    run = evo.search(SPACE, f, budget=6, output="./-e")
    result = cli.invoke(app, shlex.split(run.command("compare"))[1:])
    assert result.exit_code == 0, result.output


def test_a_folder_whose_name_is_not_utf8_can_be_reported_and_compared(tmp_path: Path) -> None:
    folder = tmp_path / "run\udcff"
    evo.search(SPACE, f, budget=6, output=folder)
    for command in (["report", str(folder)], ["compare", str(folder), "--json", "-"]):
        result = run_command(*command)
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("overwrite", ["no", 1, None, "False"])
def test_only_true_and_false_say_whether_a_run_is_replaced(run: evo.Run, overwrite: object) -> None:
    with pytest.raises(ConfigurationError, match="overwrite: must be True or False"):
        evo.search(SPACE, f, budget=6, output=run.folder, overwrite=overwrite)  # type: ignore[arg-type]  # wrong
    assert evo.load(run.folder).trainings == 6


def test_texts_that_look_like_numbers_are_shown_as_they_are() -> None:
    texts = ["1e3", "1000", "0.10001", "0.10002", "007.00"]
    gene = evo.Categorical(texts)
    assert [short(gene, text) for text in texts] == texts
    assert short(evo.Float(0, 1), 0.123456) == "0.123"
    assert short(evo.Integer(1, 9), 7) == "7"


def test_the_file_of_a_shipped_space_is_printed_as_it_is(cli: CliRunner) -> None:
    for name in shipped_spaces():
        result = cli.invoke(app, ["spaces", "--show", name])
        assert (result.exit_code, result.stdout) == (0, shipped_text(name))
    refused = cli.invoke(app, ["spaces", "--show", "mpl"])
    assert refused.exit_code == 2
    assert 'Did you mean "mlp"?' in refused.stderr


def test_the_command_leaves_them_out_too(
    tmp_path: Path, tiny_space: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def search(**asked: Any) -> None:
        seen.update(asked)
        raise KeyboardInterrupt

    monkeypatch.setattr(evo, "search", search)
    cli.invoke(app, ["search", str(tiny_space), "--no-initial"])
    assert seen["no_initial"] is True
