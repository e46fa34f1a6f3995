"""The comparison shows each run's finalists, what the test set says of them, and how optimistic the selection was."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import socket
import statistics
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from scipy.stats import t
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.cli.comparison import print_comparison
from evo.cli.terminal import output_console
from evo.record.run import Run
from evo.record.tables import write_csv
from evo.reports.comparison import compare_runs, comparison_table, json_text, markdown_text, names_of
from evo.reports.html import write_report
from tests.reports.runs import paused_run
from tests.tracking.searches import StopAfter

pytestmark = pytest.mark.usefixtures("quick_models")

FIRST = ["run", "individual"]
AFTER_GENES = ["train_accuracy", "validation_accuracy", "test_accuracy", "test_std", "n", "gap"]


def search(gene: str, *, finalists: int) -> Run:
    space = evo.SearchSpace({gene: evo.Float(0.0, 1.0)}, name=f"space of {gene}")
    return evo.search(
        space, lambda config, seed: config[gene], budget=6, population=3, seed=1, finalists=finalists, strategy="random"
    )


def test_the_columns_begin_as_promised(uninterrupted: Path) -> None:
    run = evo.load(uninterrupted)
    columns = list(comparison_table([run]).columns)
    expected = [*FIRST, *run.space.genes, *AFTER_GENES]
    assert columns[: len(expected)] == expected


def test_a_row_says_what_the_finalists_trainings_measured(uninterrupted: Path) -> None:
    run = evo.load(uninterrupted)
    table = comparison_table([run])
    finalists = run.finalist_table
    assert list(table["individual"]) == sorted(run.finalists, key=lambda i: i != run.winner)
    assert list(table["winner"]) == [True, False]
    for row in table.to_dict("records"):
        trainings = finalists[finalists["individual"] == row["individual"]]
        tests = list(trainings["test_accuracy"])
        assert row["run"] == "uninterrupted"
        assert row["n"] == 3
        assert row["test_accuracy"] == pytest.approx(statistics.fmean(tests))
        assert row["test_std"] == pytest.approx(statistics.stdev(tests))
        low, high = t.interval(0.95, 2, loc=row["test_accuracy"], scale=row["test_std"] / math.sqrt(3))
        assert (row["test_low"], row["test_high"]) == pytest.approx((max(low, 0), min(high, 1)))
        assert row["retrained_fitness"] == pytest.approx(trainings["fitness"].mean())
        assert row["validation_accuracy"] == run.evaluations[row["individual"], 0].validation_accuracy
        assert row["gap"] == pytest.approx(row["validation_accuracy"] - row["test_accuracy"])
        assert row["fitness_on"] == "validation set"
        assert row["trainings"] == 10
        assert row["seconds"] == pytest.approx(run.table["seconds"].sum(), abs=0.1)
        assert row["finalist_trainings"] == 6


def test_a_run_without_finalists_shows_its_best_genomes() -> None:
    run = search("x", finalists=0)
    table = comparison_table([run], top=2)
    assert list(table["individual"]) == [entry.id for entry in run.ranked()[:2]]
    assert list(table["fitness"]) == [entry.fitness for entry in run.ranked()[:2]]
    assert list(table["n"]) == [0, 0]
    assert table["gap"].isna().all()
    assert set(table["fitness_on"]) == {"objective"}


def test_a_paused_training_is_shown_with_its_step(tmp_path: Path) -> None:
    """It is only part of a training, and a search by `halving` has nothing else at first."""
    run = paused_run(tmp_path / "run")
    comparison = compare_runs([run])
    assert list(comparison.table["paused_at"]) == [300, 100]
    print_comparison([run], comparison, Console(file=(file := io.StringIO()), width=200))
    assert "0.5000 at step 300" in file.getvalue()
    assert "0.5000 at step 100" in markdown_text(comparison)
    assert [row["paused_at"] for row in json.loads(json_text(comparison))["genomes"]] == [300, 100]
    write_csv(comparison.table, tmp_path / "compared.csv")
    assert list(pd.read_csv(tmp_path / "compared.csv")["paused_at"]) == [300, 100]
    assert "validation set, paused at step 300" in write_report([run], tmp_path).read_text()
    whole = comparison_table([search("x", finalists=0)])
    assert set(whole["paused_at"]) == {None}


def test_runs_of_different_spaces_share_a_table_with_the_genes_of_all() -> None:
    first, second = search("x", finalists=1), search("y", finalists=1)
    table = comparison_table([first, second])
    assert list(table.columns[:4]) == ["run", "individual", "x", "y"]
    assert list(table["run"]) == ["space of x", "space of y"]
    assert table["y"][0] == ""
    assert table["x"][1] == ""
    assert table["x"][0] == first.best.config["x"]


def test_a_run_without_any_result_has_no_rows() -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    run = evo.search(space, lambda config: math.nan, budget=2, population=2, seed=1, strategy="random")
    assert comparison_table([run]).empty


def test_the_csv_keeps_layer_lists_as_text_and_numbers_as_numbers(uninterrupted: Path, tmp_path: Path) -> None:
    run = evo.load(uninterrupted)
    table = comparison_table([run])
    write_csv(table, tmp_path / "table.csv")
    header, first, *_ = (tmp_path / "table.csv").read_text().splitlines()
    assert header.startswith("run,individual,hidden_layers,learning_rate,batch_size,steps,activation,train_accuracy")
    layers = ",".join(map(str, run.best.config["hidden_layers"]))  # type: ignore[arg-type]
    assert (f'"{layers}"' if "," in layers else f",{layers},") in first
    assert repr(run.best.config["learning_rate"]) in first


def test_runs_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    runs = []
    for seed, parent in enumerate(("a", "b")):
        folder = tmp_path / parent / "run"
        evo.search(space, lambda config: config["x"], budget=4, population=2, seed=seed, output=folder)
        runs.append(evo.load(folder))
    table = comparison_table(runs, top=2)
    assert list(table["run"]) == [str(run.path) for run in runs for _ in range(2)]
    assert list(table["x"]) == [entry.config["x"] for run in runs for entry in run.ranked()[:2]]
    assert len(set(names_of([*runs, runs[0]]))) == 3
    assert names_of(runs[:1]) == ["run"]


def test_a_gene_may_be_named_as_a_column_of_the_comparison_alone(tmp_path: Path) -> None:
    space = evo.SearchSpace({"n": evo.Integer(1, 9), "strategy": evo.Categorical(["a", "b"])})
    run = evo.search(space, lambda config: config["n"], budget=4, population=2, output=tmp_path / "run")
    write_csv(comparison_table([run]), tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        header, first, *_ = csv.reader(file)
    assert header[:4] == ["run", "individual", "n (gene)", "strategy (gene)"]
    assert len(set(header)) == len(header)
    assert first[2:4] == [str(run.best.config["n"]), run.best.config["strategy"]]


def test_the_printed_comparison_shows_each_runs_own_genomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for parent, values in (("a", ["left", "lost"]), ("b", ["right", "rest"])):
        space = evo.SearchSpace({"side": evo.Categorical(values)}, name="sides")
        evo.search(space, lambda config: len(config["side"]), budget=2, population=2, output=Path(parent) / "run")
    runs = [evo.load(Path(parent) / "run") for parent in ("a", "b")]
    print_comparison(runs, compare_runs(runs, top=1), output_console())
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "side=" in line]
    assert [line[0].rpartition("/")[0][-1] for line in lines] == ["a", "b"]
    shown = [next(cell for cell in line if cell.startswith("side=")) for line in lines]
    assert shown[0] in ("side=left", "side=lost")
    assert shown[1] in ("side=right", "side=rest")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return folders of two strategies on three seeds each; one has a name that a spreadsheet would compute."""
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0), "kind": evo.Categorical(["a|b", "<b>c</b>"])}, name="kinds")
    folders, parent = [], tmp_path_factory.mktemp("compared")
    for strategy in ("ga", "random"):
        for seed in range(3):
            folder = parent / ("=cmd()" if (strategy, seed) == ("ga", 0) else f"{strategy}-{seed}")
            evo.search(
                space,
                lambda config, seed: config["x"],
                strategy=strategy,
                budget=6,
                population=3,
                seed=seed,
                finalists=1,
                output=folder,
            )
            folders.append(folder)
    return folders


def test_the_csv_opens_in_pandas_and_does_nothing_in_a_spreadsheet(
    runs: list[Path], tmp_path: Path, cli: CliRunner
) -> None:
    file = tmp_path / "best.csv"
    result = cli.invoke(app, ["compare", *map(str, runs), "--csv", str(file)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(file)
    expected = comparison_table([evo.load(path) for path in runs])
    assert list(table.columns) == list(expected.columns)
    assert table["x"].tolist() == expected["x"].tolist()
    assert table["run"][0] == "'=cmd()"
    assert "ga against random" in result.stdout or "random against ga" in result.stdout


def test_the_json_is_strict_and_says_what_the_table_says(runs: list[Path], cli: CliRunner) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    result = cli.invoke(app, ["compare", *map(str, runs), "--json", "-"])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout, parse_constant=refuse)
    table = comparison_table([evo.load(path) for path in runs])
    assert [row["x"] for row in values["genomes"]] == table["x"].tolist()
    assert values["genomes"][0]["test_accuracy"] is None
    assert values["genomes"][0]["run"] == "=cmd()"
    [pair] = values["pairs"]
    assert pair["runs"] == [3, 3]
    assert 0 <= pair["better"]["low"] <= pair["better"]["value"] <= pair["better"]["high"] <= 1
    assert "new seeds" in result.stderr  # the table for people is not lost


def test_markdown_shows_what_it_is_given_and_obeys_none_of_it(runs: list[Path]) -> None:
    text = markdown_text(compare_runs([evo.load(path) for path in runs]))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    first = [line for line in lines if line.count(" | ") > 5]
    cells = {len(line.replace("\\|", "").split("|")) for line in first}
    assert len(cells) == 1  # no cell has become two
    assert "<b>" not in text
    assert ("a\\|b" in text) or ("&lt;b&gt;c&lt;/b&gt;" in text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "-", "--csv", "-"], "stdout takes one of them"),
        (["--json", "there.json"], "--json there.json: exists"),
        (["--markdown", "nowhere/a.md"], "there is no folder nowhere"),
        (["--csv", "same.txt", "--markdown", "same.txt"], "is the file of --csv, too"),
        (["--csv", "."], "is a folder"),
        (["--group", "ga"], "must be NAME=PATTERN"),
        (["--group", "a=nothing-*"], "no run has such a name"),
    ],
)
def test_wrong_outputs_and_groups_are_refused_and_nothing_is_written(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CliRunner, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.json").write_text("old")
    before = sorted(tmp_path.iterdir())
    result = cli.invoke(app, ["compare", *map(str, runs), *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert Path("there.json").read_text() == "old"


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_device_is_written_to_and_a_socket_is_refused(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CliRunner, overwrite: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ours, theirs = os.openpty()
    device = os.ttyname(theirs)
    assert cli.invoke(app, ["compare", str(runs[0]), "--csv", device, *overwrite]).exit_code == 0
    assert os.read(ours, 10).startswith(b"run,")
    assert Path(device).is_char_device()
    for descriptor in (ours, theirs):
        os.close(descriptor)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        result = cli.invoke(app, ["compare", str(runs[0]), "--csv", "socket", *overwrite])
    assert result.exit_code == 2
    assert "neither a file nor a pipe" in result.stderr
    assert Path("socket").is_socket()


def test_overwrite_replaces_the_files(runs: list[Path], tmp_path: Path, cli: CliRunner) -> None:
    file = tmp_path / "all.json"
    file.write_text("old")
    result = cli.invoke(app, ["compare", str(runs[1]), "--json", str(file), "--overwrite"])
    assert result.exit_code == 0
    assert json.loads(file.read_text())["genomes"]


def test_a_run_of_which_nothing_is_complete_makes_valid_files() -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    run = evo.search(space, lambda config: math.nan, budget=2, population=2, seed=1, strategy="random")
    comparison = compare_runs([run])
    assert json.loads(json_text(comparison))["genomes"] == []
    assert "no complete training" in markdown_text(comparison)


def test_a_narrow_terminal_shows_genomes_and_costs_below_the_table(runs: list[Path]) -> None:
    loaded, text = [evo.load(path) for path in runs[1:3]], io.StringIO()
    print_comparison(loaded, compare_runs(loaded), Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(f"ga-1 #{loaded[0].best.id}: x=") for line in lines)
    assert any(line.startswith("ga-1: 6 trainings, ") for line in lines)


def test_a_run_that_is_being_extended_is_said_to_be_unfinished(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})

    def objective(config: dict[str, float], seed: int) -> float:
        return config["x"]

    def printed() -> str:
        text, runs = io.StringIO(), [evo.load(folder)]
        print_comparison(runs, compare_runs(runs), Console(file=text, width=120))
        return text.getvalue()

    evo.search(space, objective, budget=6, population=3, finalists=1, output=folder)
    assert "not finished" not in printed()
    with pytest.raises(evo.Stop):
        evo.resume(folder, objective, budget=9, stop_check=StopAfter(2))
    unfinished = "run: not finished, so its winner is that of the shorter search; to continue it:"
    assert unfinished in printed()
