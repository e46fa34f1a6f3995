"""The comparison shows each run's finalists, what the test set says of them, and how optimistic the selection was."""

from __future__ import annotations

import csv
import math
import statistics
from pathlib import Path

import pytest

import evo
from evo.reports.comparison import comparison_table, names_of
from evo.run import Run
from evo.tables import write_csv
from evo.terminal import print_comparison

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
        assert row["retrained_fitness"] == pytest.approx(trainings["fitness"].mean())
        assert row["validation_accuracy"] == run.evaluations[row["individual"], 0].validation_accuracy
        assert row["gap"] == pytest.approx(row["validation_accuracy"] - row["test_accuracy"])
        assert row["fitness_on"] == "validation set"
        assert row["trainings"] == 10


def test_a_run_without_finalists_shows_its_best_genomes() -> None:
    run = search("x", finalists=0)
    table = comparison_table([run], top=2)
    assert list(table["individual"]) == [entry.id for entry in run.ranked()[:2]]
    assert list(table["fitness"]) == [entry.fitness for entry in run.ranked()[:2]]
    assert list(table["n"]) == [0, 0]
    assert table["gap"].isna().all()
    assert set(table["fitness_on"]) == {"objective"}


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
    print_comparison(runs, comparison_table(runs, top=1))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "side=" in line]
    assert [line[0].rpartition("/")[0][-1] for line in lines] == ["a", "b"]
    shown = [next(cell for cell in line if cell.startswith("side=")) for line in lines]
    assert shown[0] in ("side=left", "side=lost")
    assert shown[1] in ("side=right", "side=rest")
