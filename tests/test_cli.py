"""The command line says what is wrong and what to do, writes nothing then, and keeps results and progress apart."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.cli.result import print_result
from evo.data import PreparedDataset
from evo.display.live import TerminalObserver
from evo.display.progress import duration
from evo.evaluators import Evaluator, InProcessEvaluator, ObjectiveSetup, Setup
from evo.record.run import Run
from tests.command import environment, run_command, tables
from tests.test_run import add_event, evaluation, individual, make_settings

MOST_LINES = 6


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return every file and folder below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def here(good_and_bad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, which holds search spaces, data and runs, good and bad."""
    folder = Path(shutil.copytree(good_and_bad, tmp_path / "here"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def good_and_bad(tmp_path_factory: pytest.TempPathFactory, digits: PreparedDataset) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "broken.toml").write_text("[genes.x\ntype = 1")
    (folder / "mistakes.toml").write_text('model = "mpl"\n[genes.x]\ntype = "flaot"\n')
    gene = '[genes.x]\ntype = "boolean"\n'
    (folder / "rateless.toml").write_text("[training]\nbatch_size = 8\nsteps = 100\n" + gene)
    (folder / "function.toml").write_text('model = "os:system"\n' + gene)
    (folder / "column.toml").write_text(gene.replace("genes.x", "genes.loss"))
    (folder / "strategy.toml").write_text('[search]\nstrategy = "gaa"\n' + gene)
    (folder / "empty.toml").touch()
    (folder / "binary.toml").write_bytes(bytes(range(256)))
    (folder / "no run").mkdir()
    (folder / "data" / "test" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "data" / "test" / "cat" / "0.png")
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    evo.search(space, lambda config: config["x"], budget=2, population=2, output=folder / "finished")
    shutil.copytree(folder / "finished", folder / "damaged")
    (folder / "damaged" / "journal.jsonl").write_bytes(b"{}\n" + (folder / "damaged" / "journal.jsonl").read_bytes())
    return folder


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(setup: Setup, workers: int, timeout: float | None = None, **more: Any) -> Evaluator:
        assert isinstance(setup, ObjectiveSetup), "a worker was started"
        return InProcessEvaluator(setup)

    monkeypatch.setattr("evo.loop.execution.make_evaluator", refuse)
    monkeypatch.setattr("evo.loop.replay.ProcessPoolEvaluator", refuse)


def check_refusal(result: Any, *wanted: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.strip(" │╭╮╰╯─")]
    assert 1 <= len(lines) <= MOST_LINES, result.stderr
    message = " ".join(result.stderr.replace("│", " ").split())
    for text in wanted:
        assert text in message


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "unknown space": (["search", "digit"], ['search space "digit"', 'Did you mean "digits"', "Shipped:"]),
    "unknown space to check": (["check", "digit"], ['Did you mean "digits"']),
    "unknown model": (["search", "digits", "--model", "mpl"], ['model "mpl"', 'Did you mean "mlp"']),
    "a model that reads other genes": (
        ["search", "digits", "--model", "cnn"],
        ['genes.hidden_layers: neither the training nor the model "cnn" reads it', "genes.channels: needed"],
    ),
    "a model of one's own for a space without a learning rate": (
        ["search", "rateless.toml", "--model", "mine:build", "--dataset", "digits"],
        ["genes.learning_rate: needed unconditionally"],
    ),
    "a function in a file": (["search", "function.toml"], ["function.toml", "a file cannot name a function"]),
    "a column as a gene": (["check", "column.toml"], ["column.toml", "genes.loss: a name", "not a column of"]),
    "a misspelt strategy in a file": (
        ["search", "strategy.toml"],
        ["strategy.toml", 'search.strategy: unknown strategy "gaa"', 'Did you mean "ga"?'],
    ),
    "unknown strategy": (["search", "digits", "--strategy", "randm"], ['"randm"', 'Did you mean "random"']),
    "unknown device": (["search", "digits", "--device", "cdua"], ["--device", '"cdua"', 'Did you mean "cuda"']),
    "unknown dataset": (["search", "digits", "--dataset", "digit"], ['dataset "digit"', 'Did you mean "digits"']),
    "unknown precision": (["search", "digits", "--precision", "fp16"], ["--precision", "fp16", "bf16"]),
    "unknown engine": (["search", "digits", "--engine", "onedn"], ["--engine", '"onedn"', 'Did you mean "onednn"']),
    "unknown optimiser": (["train", "--optimiser", "adm"], ["--optimiser", '"adm"', 'Did you mean "adam"']),
    "unknown preprocessing": (["train", "--preprocess", "mean"], ["--preprocess", '"mean"', "subtract_mean_image"]),
    "unknown part of the data": (["train", "--fitness", "tst"], ["--fitness", '"tst"', 'Did you mean "test"']),
    "unknown fitness": (["search", "digits", "--fitness", "tests"], ["--fitness", "tests", "validation"]),
    "unknown option": (["search", "digits", "--bugdet", "3"], ["--bugdet"]),
    "unknown command": (["serach"], ["serach"]),
    "broken TOML": (["search", "broken.toml"], ["broken.toml: not a TOML file", "line 1"]),
    "mistakes in TOML": (["search", "mistakes.toml"], ["mistakes.toml: 2 mistakes", '"mpl"', 'Did you mean "float"']),
    "empty file": (["search", "empty.toml"], ["empty.toml", "at least one [genes.NAME] is needed"]),
    "binary file": (["search", "binary.toml"], ["binary.toml", "cannot be read as a text file"]),
    "a folder as a space": (["search", "no run"], ['search space "no run"', "neither"]),
    "population 0": (
        ["search", "digits", "--population", "0"],
        ["population: must be a whole number of at least 1, got 0"],
    ),
    "budget 0": (["search", "digits", "--budget", "0"], ["budget: must be greater than or equal to 1, got 0"]),
    "negative budget": (["search", "digits", "--budget", "-3"], ["budget: must be greater than or equal to 1, got -3"]),
    "generations 0": (
        ["search", "digits", "--generations", "0"],
        ["generations: must be greater than or equal to 1, got 0"],
    ),
    "workers 0": (["search", "digits", "--workers", "0"], ["--workers: must be a whole number of at least 1, got 0"]),
    "negative finalists": (
        ["search", "digits", "--finalists", "-1"],
        ["finalists: must be greater than or equal to 0, got -1"],
    ),
    "negative seed": (["search", "digits", "--seed", "-1"], ["--seed", "at least 0", "-1"]),
    "text as seed": (["search", "digits", "--seed", "one"], ["--seed", "valid integer"]),
    "time budget": (["search", "digits", "--time-budget", "soon"], ["--time-budget", '"soon"', "30m"]),
    "time budget 0": (["search", "digits", "--time-budget", "0s"], ["--time-budget: must be a number above 0"]),
    "data without train": (["search", "digits", "--data-dir", "data"], ["data", "train/"]),
    "image folder without train": (
        ["search", "digits", "--dataset", "imagefolder", "--data-dir", "data"],
        ["data", "no train/ folder"],
    ),
    "missing data folder": (["search", "digits", "--data-dir", "nowhere"], ["nowhere", "does not exist"]),
    "existing output": (["search", "digits", "-o", "finished"], ["output finished: exists", "resume", "--overwrite"]),
    "output of others": (["search", "digits", "-o", "data", "--overwrite"], ["output data", "not a run's"]),
    "output is a file": (["search", "digits", "-o", "empty.toml"], ["output empty.toml: is a file"]),
    "output is a device": (
        ["search", "digits", "-o", "/dev/null", "--overwrite"],
        ["output /dev/null: is a file or"],
    ),
    "resume of no run": (["resume", "no run"], ["no run: is not a run folder", "journal.jsonl"]),
    "resume of nothing": (["resume", "nowhere"], ["nowhere: no such run folder"]),
    "resume of an objective": (["resume", "finished"], ["objective", "evo.resume("]),
    "resume of a damaged run": (["resume", "damaged"], ["journal.jsonl: line 1 is damaged", "restore"]),
    "compare of no run": (["compare", "finished", "no run"], ["no run: is not a run folder"]),
    "compare of nothing": (["compare", "nowhere"], ["nowhere: no such run folder"]),
    "compare into an existing file": (["compare", "finished", "--csv", "empty.toml"], ["empty.toml", "--overwrite"]),
    "replay of no run": (["replay", "no run", "0"], ["no run: is not a run folder"]),
    "replay of nothing": (["replay", "nowhere", "0"], ["nowhere: no such run folder"]),
    "replay of an unknown individual": (["replay", "finished", "7"], ["no individual 7", "0 to 1"]),
    "start from no run": (["search", "digits", "--initial-from", "no run"], ["no run: is not a run folder"]),
}


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize(("arguments", "wanted"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_with_what_where_and_remedy_and_nothing_is_written(
    here: Path, cli: CliRunner, arguments: list[str], wanted: list[str]
) -> None:
    before = contents(here)
    check_refusal(cli.invoke(app, arguments), *wanted)
    assert contents(here) == before


IN_WORKERS: dict[str, tuple[list[str], list[str]]] = {
    "missing package": (["--model", "no_such_package:build"], ["--model", "no_such_package"]),
    "missing function": (["--model", "evo.models.mlp:biuld"], ["--model", "biuld"]),
    "no function": (["--model", "evo.models.mlp:__name__"], ["--model", "__name__", "not a function"]),
    "missing GPU": (["--device", f"cuda:{torch.cuda.device_count()}"], ["--device", "this machine has no", "cpu"]),
}


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("arguments", "wanted"), IN_WORKERS.values(), ids=IN_WORKERS)
def test_what_only_a_worker_can_tell_is_refused_in_the_same_way(
    here: Path, cli: CliRunner, arguments: list[str], wanted: list[str]
) -> None:
    before = contents(here)
    check_refusal(cli.invoke(app, ["search", "digits", *arguments]), *wanted)
    assert contents(here) == before


def test_a_refusal_by_a_worker_process_reaches_the_terminal(here: Path) -> None:
    before = contents(here)
    finished = run_command("search", "digits", "--model", "no_such_package:build", "--workers", "1")
    assert finished.returncode == 2
    assert 'error: --model: cannot load "no_such_package:build"' in finished.stderr
    assert "Traceback" not in finished.stderr
    assert contents(here) == before


@pytest.mark.usefixtures("no_worker")
def test_a_run_that_another_process_writes_is_not_resumed(uninterrupted: Path, tmp_path: Path, cli: CliRunner) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    writer = Run.open(tmp_path / "run", warn=print)
    before = contents(tmp_path)
    check_refusal(cli.invoke(app, ["resume", str(tmp_path / "run")]), "another process is writing", "wait")
    assert contents(tmp_path) == before
    writer.close()


def test_debug_shows_where_an_error_came_from(here: Path, cli: CliRunner) -> None:
    result = cli.invoke(app, ["search", "digit", "--debug"])
    assert isinstance(result.exception, evo.ConfigurationError)


SEARCH = ["--budget", "5", "--population", "3", "--seed", "1", "--finalists", "1"]


@pytest.mark.usefixtures("in_process")
def test_results_go_to_stdout_and_progress_to_stderr(tiny_space: Path, tmp_path: Path, cli: CliRunner) -> None:
    run = tmp_path / "run"
    result = cli.invoke(app, ["search", str(tiny_space), *SEARCH, "-o", str(run)])
    assert result.exit_code == 0, result.output
    assert "Best of 5 trainings" in result.stdout
    assert "test accuracy on new seeds" in result.stdout
    assert f"evo replay {run}" in result.stdout
    assert "generation 0" not in result.stdout
    assert len([line for line in result.stderr.splitlines() if " generation " in line]) == 5
    assert "\x1b" not in result.output
    assert {path.name for path in run.iterdir()} == {
        *("settings.json", "journal.jsonl", "evaluations.csv", "populations.csv", "generations.csv"),
        *("confusion.csv", "curves.csv", "hall_of_fame.csv", "finalists.csv"),
    }


@pytest.mark.usefixtures("in_process")
def test_quiet_shows_no_progress_and_overwrite_replaces(tiny_space: Path, tmp_path: Path, cli: CliRunner) -> None:
    arguments = ["search", str(tiny_space), *SEARCH, "-o", str(tmp_path / "run"), "--quiet"]
    assert cli.invoke(app, arguments).stderr == ""
    first = tables(tmp_path / "run")
    assert cli.invoke(app, [*arguments, "--overwrite"]).exit_code == 0
    assert tables(tmp_path / "run") == first
    assert cli.invoke(app, [*arguments, "--overwrite", "--seed", "2"]).exit_code == 0
    assert tables(tmp_path / "run") != first


@pytest.mark.usefixtures("in_process")
def test_selecting_on_the_test_set_is_said_everywhere(tiny_space: Path, tmp_path: Path, cli: CliRunner) -> None:
    run = tmp_path / "run"
    result = cli.invoke(app, ["search", str(tiny_space), *SEARCH, "-o", str(run), "--fitness", "test"])
    assert "Fitness is TEST accuracy" in result.stdout
    assert "fitness is TEST accuracy (--fitness test)" in result.stderr
    with (run / "evaluations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["test_accuracy"] == row["fitness"] for row in rows)
    assert all(row["validation_accuracy"] == "" for row in rows)
    compared = cli.invoke(app, ["compare", str(run)])
    assert "Fitness is TEST accuracy" in compared.stdout


@pytest.mark.usefixtures("in_process")
def test_a_model_that_fails_for_some_configurations_is_a_row_and_the_search_goes_on(
    tiny_space: Path, tmp_path: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fragile.py").write_text(
        "from evo.models.mlp import build as mlp\n"
        "def build(config, input_shape, classes):\n"
        "    if len(config['hidden_layers']) == 2:\n"
        "        raise ValueError('two layers\\nare too many')\n"
        "    return mlp(config, input_shape, classes)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    result = cli.invoke(app, ["search", str(tiny_space), *SEARCH, "-o", str(run), "--model", "fragile:build"])
    assert result.exit_code == 0, result.output
    rows = tables(run)["evaluations"]
    assert len(rows) == 5
    assert {(row["status"], row["error"]) for row in rows if "," in row["hidden_layers"]} == {
        ("failed", "ValueError: two layers are too many")
    }
    assert {row["status"] for row in rows if "," not in row["hidden_layers"]} == {"complete"}
    assert "of them failed" in result.stdout
    check_refusal(cli.invoke(app, ["resume", str(run)]), "--model fragile:build", "give it again")
    assert cli.invoke(app, ["resume", str(run), "--model", "fragile:build"]).exit_code == 0


@pytest.mark.usefixtures("in_process")
def test_a_model_that_always_fails_stops_the_search_with_the_reason(
    tiny_space: Path, tmp_path: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hopeless.py").write_text("def build(config, input_shape, classes): raise ValueError('never')\n")
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["search", str(tiny_space), *SEARCH, "-o", str(tmp_path / "run"), "--model", "hopeless:build"]
    result = cli.invoke(app, arguments)
    assert result.exit_code == 1
    assert "first three evaluations all failed" in result.stderr
    assert result.stderr.count("ValueError: never") >= 3
    assert "Traceback" not in result.output
    assert len(tables_without_finalists(tmp_path / "run")) == 3


def tables_without_finalists(run: Path) -> list[dict[str, str]]:
    with (run / "evaluations.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("in_process")
def test_a_learning_rate_that_diverges_is_a_row_and_the_search_goes_on(
    tiny_space: Path, tmp_path: Path, cli: CliRunner
) -> None:
    text = tiny_space.read_text().replace(
        "[training]", '[training]\noptimiser = "sgd"\npreprocess = "subtract_mean_image"'
    )
    tiny_space.write_text(text.replace("high = 1e-1", "high = 1e9"))
    run = tmp_path / "run"
    result = cli.invoke(app, ["search", str(tiny_space), *SEARCH, "-o", str(run), "--strategy", "random"])
    rows = tables_without_finalists(run)
    assert len(rows) == 5
    diverged = [row for row in rows if row["status"] == "diverged"]
    assert diverged
    assert all("the loss was" in row["error"] and row["fitness"] == "" for row in diverged)
    assert "Traceback" not in result.output


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_worker_that_dies_is_replaced_and_one_that_always_dies_is_a_row(tiny_space: Path, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, pathlib, signal\n"
        "from evo.models.mlp import build as mlp\n"
        "def build(config, input_shape, classes):\n"
        "    once = pathlib.Path(__file__).with_name('died-once')\n"
        "    if len(config['hidden_layers']) == 2 or not once.exists():\n"
        "        once.touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return mlp(config, input_shape, classes)\n"
    )
    arguments = ["search", tiny_space, "--budget", "3", "--population", "3", "--finalists", "0", "--workers", "1"]
    deadly = run_command(*arguments, "--seed", "7", "--model", "deadly:build", "-o", "deadly", cwd=tmp_path)
    assert deadly.returncode == 0, deadly.stderr
    plain = evo.search(tiny_space, budget=3, population=3, finalists=0, seed=7, output=tmp_path / "plain")
    rows = tables_without_finalists(tmp_path / "deadly")
    survived = [row for row in rows if "," not in row["hidden_layers"]]
    killed = [row for row in rows if "," in row["hidden_layers"]]
    assert len(killed) == 1
    assert "SIGKILL" in killed[0]["error"]
    assert killed[0]["status"] == "failed"
    assert killed[0]["fitness"] == ""
    expected = {entry.individual: entry.fitness for entry in plain.search_evaluations}
    assert {int(row["individual"]): float(row["fitness"]) for row in survived} == {
        int(row["individual"]): expected[int(row["individual"])] for row in survived
    }
    assert len(survived) == 2


def test_compare_prints_every_run_and_writes_a_csv(uninterrupted: Path, tmp_path: Path, cli: CliRunner) -> None:
    file = tmp_path / "comparison.csv"
    result = cli.invoke(app, ["compare", str(uninterrupted), "--csv", str(file)])
    assert result.exit_code == 0, result.output
    assert "uninterrupted" in result.stdout
    assert str(file) in result.stderr
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["winner"] for row in rows] == ["True", "False"]


def test_spaces_are_listed_and_checked(cli: CliRunner) -> None:
    listed = cli.invoke(app, ["spaces"])
    assert listed.exit_code == 0
    for name in ("mlp", "cnn", "digits", "report"):
        assert name in listed.stdout
        assert cli.invoke(app, ["check", name]).exit_code == 0


def test_the_version_is_printed(cli: CliRunner) -> None:
    assert cli.invoke(app, ["--version"]).stdout == f"evo {evo.__version__}\n"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("8h", 28800), ("1h30m", 5400), ("1.5h", 5400)]
)
def test_times_are_read_as_people_write_them(
    text: str, seconds: float, monkeypatch: pytest.MonkeyPatch, cli: CliRunner
) -> None:
    given: dict[str, Any] = {}

    def search(**arguments: Any) -> Run:
        given.update(arguments)
        raise evo.ConfigurationError("seen enough")

    monkeypatch.setattr("evo.api.search", search)
    cli.invoke(app, ["search", "digits", "--time-budget", text, "-o", os.devnull])
    assert given["time_budget"] == seconds


@pytest.mark.usefixtures("in_process")
def test_a_search_in_which_nothing_worked_ends_with_the_reasons_and_its_files(
    tiny_space: Path, tmp_path: Path, cli: CliRunner
) -> None:
    text = tiny_space.read_text().replace("[training]", '[training]\noptimiser = "sgd"')
    tiny_space.write_text(text.replace("low = 1e-3", "low = 1e30").replace("high = 1e-1", "high = 1e31"))
    run = tmp_path / "run"
    result = cli.invoke(app, ["search", str(tiny_space), *SEARCH, "-o", str(run), "--strategy", "random"])
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert "error: none of 5 trainings was complete" in result.stderr
    assert "× diverged: the loss was" in result.stderr
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert [row["status"] for row in tables_without_finalists(run)] == ["diverged"] * 5
    assert {"settings.json", "journal.jsonl", "hall_of_fame.csv"} <= {path.name for path in run.iterdir()}


ENTRY_POINT = [sys.executable, "-P", "-c", "from evo.cli.app import main; main()"]


@pytest.mark.parametrize("command", ["compare", "spaces"])
def test_files_named_like_packages_in_the_current_folder_are_not_executed(
    uninterrupted: Path, tmp_path: Path, command: str
) -> None:
    for name in ("pyarrow", "numexpr", "bottleneck", "tomllib", "pandas"):
        (tmp_path / f"{name}.py").write_text("import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n")
    finished = subprocess.run(
        [*ENTRY_POINT, command, *([str(uninterrupted)] if command == "compare" else [])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert list(tmp_path.glob("*.ran")) == []


def test_a_model_in_the_current_folder_is_found_and_its_steps_lie_on_the_curves_grid(
    tiny_space: Path, tmp_path: Path
) -> None:
    (tmp_path / "my_model.py").write_text("from evo.models.mlp import build\n")
    tiny_space.write_text(tiny_space.read_text().replace('model = "mlp"', ""))
    arguments = ["search", "tiny.toml", *SEARCH, "--workers", "1", "--model", "my_model:build", "--output", "run"]
    finished = subprocess.run(
        [*ENTRY_POINT, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    rows = tables_without_finalists(tmp_path / "run")
    assert {row["status"] for row in rows} == {"complete"}
    assert {int(row["steps"]) % 10 for row in rows} == {0}


MARKUP = ["[/relu]", "[bold]x", "[/]"]


def test_names_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "markup.toml"
    file.write_text(
        f'[genes.kind]\ntype = "categorical"\nchoices = {MARKUP}\n'
        '[genes.on]\ntype = "boolean"\nwhen = { kind = "[/relu]" }\n'
    )
    checked = cli.invoke(app, ["check", "markup.toml"])
    assert checked.exit_code == 0, checked.output
    assert "[/relu] | [bold]x | [/]" in checked.stdout
    assert "if kind = [/relu]" in checked.stdout
    space = evo.SearchSpace({"kind": evo.Categorical(MARKUP)})
    for place, name in enumerate(("[bold]x", "[red]")):
        run = evo.search(
            space, lambda config: len(config["kind"]), budget=3, population=3, output=Path(name), seed=place
        )
        print_result(run)
        output = capsys.readouterr().out
        assert f"evo compare '{name}'" in output
        assert run.best.config["kind"] in output
    compared = cli.invoke(app, ["compare", "[bold]x", "[red]"])
    assert compared.exit_code == 0, compared.output
    assert "[bold]x" in compared.stdout
    assert "[red]" in compared.stdout
    for row in evo.load("[red]").table["kind"]:
        assert f"kind={row}" in compared.stdout


@pytest.mark.parametrize("command", ["resume", "compare", "report", "replay"])
def test_a_journal_that_evo_never_wrote_is_refused_by_every_command(here: Path, cli: CliRunner, command: str) -> None:
    number = add_event(here / "finished", {"kind": "evaluation", "evaluation": {"individual": 7}})
    before = contents(here)
    result = cli.invoke(app, [command, "finished", *(["0"] if command == "replay" else [])])
    check_refusal(result, "journal.jsonl", f"event {number} is not what evo writes", "restore")
    assert contents(here) == before


@pytest.mark.usefixtures("in_process")
def test_quiet_keeps_what_a_person_must_know(
    uninterrupted: Path, tiny_space: Path, tmp_path: Path, cli: CliRunner
) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(uninterrupted, torn)
    with (torn / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"checksum":"')
    result = cli.invoke(app, ["resume", str(torn), "--quiet"])
    assert result.exit_code == 0, result.output
    [line] = result.stderr.splitlines()
    assert "the last line was cut off in the middle" in line
    arguments = ["search", str(tiny_space), *SEARCH, "-o", str(tmp_path / "run"), "--fitness", "test", "--quiet"]
    result = cli.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("fitness is TEST accuracy (--fitness test)")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (-5, "0:00"),
        (0.4, "0:00"),
        (42, "0:42"),
        (59.6, "1:00"),
        (727, "12:07"),
        (3599.7, "1:00:00"),
        (3723, "1:02:03"),
        (100 * 3600 + 1, "100:00:01"),
    ],
)
def test_durations_are_written_as_a_clock_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def evaluated_line(seconds_left: float | None, **more: Any) -> str:
    """Return the line that an evaluation writes where no terminal is."""
    text = io.StringIO()
    run = Run.create(make_settings())
    run.record_proposal(individual(0))
    with TerminalObserver(Console(file=text, width=400)) as observer:
        observer.started(run, 4)
        run.record(evaluation(0, 0.5, **{"seconds": 1.25} | more))
        observer.evaluated(run, run.evaluations[0, 0], seconds_left)
    return text.getvalue().splitlines()[-1]


def test_a_line_says_how_much_time_is_left_where_that_is_known() -> None:
    assert "0.5000 in 1.2 s | best 0.5000 (#0) | 1:02:03 left | x=0.5" in evaluated_line(3723.0)
    assert "left" not in evaluated_line(None)


def test_a_line_says_whose_curve_was_read() -> None:
    assert "0.5000 on the curve of #7 |" in evaluated_line(3.0, shared_with=7)


@pytest.mark.usefixtures("in_process")
def test_a_search_says_how_much_time_is_left_after_every_training(
    tiny_space: Path, tmp_path: Path, cli: CliRunner
) -> None:
    result = cli.invoke(app, ["search", str(tiny_space), *SEARCH, "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if re.match(r"#\d+ ", line)]
    assert len(lines) == 5 + 3
    assert all(re.search(r" \| \d+:\d\d left \| hidden_layers=", line) for line in lines)
    assert " 0:00 left " in lines[-1]
