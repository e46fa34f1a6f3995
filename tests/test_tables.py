"""The tables say what the run recorded, column by column, and nothing in them runs in a spreadsheet."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest

import evo
from evo.evaluation import CurvePoint, Evaluation
from evo.individual import Individual
from evo.record.folder import TABLES
from evo.record.run import Run
from evo.record.tables import BUILDERS, write_csv
from evo.space.problems import RESERVED
from tests.test_run import evaluation, fill, individual, make_settings

GENES = ["x", "layers"]
EVALUATION_COLUMNS = [
    *("individual", "replicate", "generation", "parents", "operator"),
    *GENES,
    *("seed", "status", "fitness", "validation_accuracy", "train_accuracy", "loss", "parameters", "steps_trained"),
    *("seconds", "worker", "started", "engine", "precision", "shared_with", "error", "seconds_before"),
]


@pytest.fixture
def run() -> Run:
    made = Run.create(make_settings())
    fill(made)
    return made


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_has_its_file_name() -> None:
    assert tuple(BUILDERS) == TABLES


def test_there_is_one_row_per_evaluation_of_the_search_in_the_order_of_ids() -> None:
    run = Run.create(make_settings())
    for number in range(3):
        run.record_proposal(individual(number))
    for number in (2, 0, 1):
        run.record(evaluation(number, number / 10))
    run.record(evaluation(0, 0.9, replicate=101))
    assert list(run.table["individual"]) == [0, 1, 2]
    assert list(run.table["fitness"]) == [0.0, 0.1, 0.2]


def test_the_results_table_has_the_promised_columns(run: Run) -> None:
    assert list(run.table.columns) == EVALUATION_COLUMNS
    on_test = Run.create(make_settings(fitness="test"))
    assert "test_accuracy" in on_test.table.columns
    assert "test_accuracy" in on_test.curves.columns


def test_whole_numbers_stay_whole_where_a_cell_is_empty(tmp_path: Path) -> None:
    run = Run.create(make_settings(), tmp_path / "run")
    for number, parameters in enumerate((2**47 + 1, None)):
        run.record_proposal(individual(number))
        run.record(Evaluation(number, 0, 2**48 - 1, "complete", 0.5, parameters=parameters))
    run.write_tables()
    run.close()
    rows = read_csv(tmp_path / "run" / "evaluations.csv")
    assert [row["parameters"] for row in rows] == [str(2**47 + 1), ""]
    assert rows[0]["seed"] == str(2**48 - 1)
    assert isinstance(run.table["parameters"].dtype, pd.Int64Dtype)
    assert run.table["seed"].dtype == "int64"
    assert run.table["fitness"].dtype == "float64"


def test_an_inactive_gene_is_an_empty_cell_and_layers_are_written_as_in_the_report(tmp_path: Path) -> None:
    space = evo.SearchSpace(
        {
            "layers": evo.Layers(depth=(1, 2), width=(10, 2000)),
            "drop": evo.Boolean(),
            "rate": evo.Float(0.1, 0.5, when={"drop": True}),
        },
        name="conditions",
    )
    run = Run.create(make_settings(space=space.to_dict(), initial=[]), tmp_path / "run")
    run.record_proposal(Individual(0, {"layers": (1000, 500), "drop": False}))
    run.record_proposal(Individual(1, {"layers": (1000,), "drop": True, "rate": 0.25}))
    run.record(evaluation(0, 0.5))
    run.record(evaluation(1, 0.5))
    run.write_tables()
    run.close()
    rows = read_csv(tmp_path / "run" / "evaluations.csv")
    assert [row["layers"] for row in rows] == ["1000,500", "1000"]
    assert [row["rate"] for row in rows] == ["", "0.25"]
    assert [row["drop"] for row in rows] == ["False", "True"]
    assert pd.isna(run.table["rate"][0])
    assert run.table["layers"][0] == "1000,500"


def test_populations_name_every_member_with_its_fitness(run: Run) -> None:
    assert run.populations.to_dict("records") == [
        {"generation": 0, "slot": 0, "individual": 0, "fitness": 0.2},
        {"generation": 0, "slot": 1, "individual": 1, "fitness": 0.9},
        {"generation": 1, "slot": 0, "individual": 1, "fitness": 0.9},
        {"generation": 1, "slot": 1, "individual": 3, "fitness": 0.4},
    ]


def test_generations_summarise_their_population(run: Run) -> None:
    first, second = run.generation_table.to_dict("records")
    assert (first["generation"], first["evaluations"], first["best"]) == (0, 2, 0.9)
    assert (first["mean"], first["min"], first["max"]) == (pytest.approx(0.55), 0.2, 0.9)
    assert first["std"] == pytest.approx(0.35)
    assert 0 < first["diversity"] < 1
    assert (second["evaluations"], second["best"], second["min"]) == (2, 0.9, 0.4)


def test_a_continued_training_counts_in_the_generation_of_each_part() -> None:
    run = Run.create(make_settings())
    first = replace(individual(0), until=10)
    parts = [first, individual(1), replace(first, until=20, generation=1)]
    results = [
        evaluation(0, 0.3, seconds=2.0),
        evaluation(1, 0.2, seconds=1.0),
        evaluation(0, 0.6, seconds=7.0, seconds_before=2.0),
    ]
    results[0] = replace(results[0], status="partial", steps_trained=10)
    for proposal, result in zip(parts, results, strict=True):
        run.record_proposal(proposal)
        run.record(result)
    run.record_generation(0, [0, 1])
    run.record_generation(1, [0])
    assert list(run.populations["fitness"]) == [0.3, 0.2, 0.6]
    rows = run.generation_table.to_dict("records")
    assert [row["evaluations"] for row in rows] == [2, 1]
    assert [row["seconds"] for row in rows] == [3.0, 5.0]
    assert [row["max"] for row in rows] == [0.3, 0.6]
    assert [row["best"] for row in rows] == [0.2, 0.6], "a paused training leads no whole one"


def test_curves_have_one_row_a_point(run: Run) -> None:
    curves = run.curves
    assert list(curves.columns) == [
        *("individual", "replicate", "step", "train_loss", "train_accuracy", "validation_accuracy", "loss")
    ]
    assert list(curves["individual"]) == [0, 1, 2, 3]
    assert curves.to_dict("records")[0] == {
        "individual": 0,
        "replicate": 0,
        "step": 10,
        "train_loss": 0.5,
        "train_accuracy": 0.25,
        "validation_accuracy": 0.75,
        "loss": 1.5,
    }


def test_the_hall_of_fame_ranks_the_search(run: Run) -> None:
    table = run.hall_of_fame
    assert list(table["rank"]) == [1, 2, 3]
    assert list(table["individual"]) == [1, 3, 0]
    assert list(table["fitness"]) == [0.9, 0.4, 0.2]


def test_finalists_have_a_row_a_training_with_the_test_set_where_it_was_read(run: Run) -> None:
    table = run.finalist_table
    assert list(table["individual"]) == [1, 3]
    assert list(table["replicate"]) == [101, 101]
    assert list(table["fitness"]) == [0.7, 0.8]
    assert list(table["winner"]) == [False, True]
    assert pd.isna(table["test_accuracy"][0])
    assert (table["test_accuracy"][1], table["test_loss"][1]) == (0.6, 1.5)


def test_the_files_are_the_tables(tmp_path: Path) -> None:
    run = Run.create(make_settings(), tmp_path / "run")
    fill(run)
    run.write_tables()
    run.close()
    for name, table in {
        "evaluations": run.table,
        "populations": run.populations,
        "generations": run.generation_table,
        "curves": run.curves,
        "hall_of_fame": run.hall_of_fame,
        "finalists": run.finalist_table,
    }.items():
        rows = read_csv(tmp_path / "run" / f"{name}.csv")
        assert len(rows) == len(table) > 0
        assert list(rows[0]) == list(table.columns)
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\nx", "＝1", "＋1", "－1", "＠SUM(A1)", '=HYPERLINK("http://x")']
)
def test_text_that_a_spreadsheet_would_compute_gets_an_apostrophe(tmp_path: Path, text: str) -> None:
    run = Run.create(make_settings(), tmp_path / "run")
    run.record_proposal(individual(0))
    run.record(evaluation(0, None, error=text))
    run.write_tables()
    run.close()
    [row] = read_csv(tmp_path / "run" / "evaluations.csv")
    assert row["error"] == f"'{text}"
    assert run.table["error"][0] == text


def test_numbers_and_harmless_text_are_written_as_they_are(tmp_path: Path) -> None:
    table = pd.DataFrame({"number": [-0.1, 1e-12], "whole": [-3, 4], "text": ["a=b", "ü,ß"]})
    write_csv(table, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == 'number,whole,text\n-0.1,-3,a=b\n1e-12,4,"ü,ß"\n'.encode()


def test_the_start_is_written_as_a_date_with_its_zone() -> None:
    run = Run.create(make_settings())
    run.record_proposal(individual(0))
    run.record(evaluation(0, 0.5, started=1555027200.0))
    assert run.table["started"][0] == "2019-04-12T00:00:00.000+00:00"


def test_an_empty_run_has_tables_without_rows() -> None:
    run = Run.create(make_settings())
    for table in (run.table, run.populations, run.generation_table, run.curves, run.hall_of_fame, run.finalist_table):
        assert len(table) == 0
        assert len(table.columns) > 3


def test_points_of_a_curve_follow_their_steps() -> None:
    run = Run.create(make_settings())
    run.record_proposal(individual(0))
    run.record(evaluation(0, 0.5, curve=tuple(CurvePoint(step, {"loss": 0.1}) for step in (10, 20, 25))))
    assert list(run.curves["step"]) == [10, 20, 25]


def test_whatever_else_a_curve_measures_has_a_column_in_the_order_of_first_appearance() -> None:
    run = Run.create(make_settings())
    curves = [[{"margin": 0.1}, {"loss": 0.2, "depth": 0.3}], [{"depth": 0.4, "area": 0.5, "margin": 0.6}]]
    for number, points in enumerate(curves):
        run.record_proposal(individual(number))
        curve = tuple(CurvePoint(step, values) for step, values in enumerate(points, start=1))
        run.record(evaluation(number, 0.5, curve=curve))
    assert list(run.curves)[2:] == [
        *("step", "train_loss", "train_accuracy", "validation_accuracy", "loss"),
        *("margin", "depth", "area"),
    ]
    assert list(run.curves["margin"].dropna()) == [0.1, 0.6]
    assert run.curves["train_loss"].isna().all()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("fitness", ["validation", "test"])
def test_every_column_beside_the_genes_is_a_name_that_no_gene_may_have(
    tiny_space: Path, tmp_path: Path, fitness: Literal["validation", "test"]
) -> None:
    folder = tmp_path / "run"
    run = evo.search(tiny_space, budget=2, population=2, finalists=1, fitness=fitness, output=folder)
    columns = {file.stem: set(pd.read_csv(file).columns) for file in folder.glob("*.csv")}
    without_genes = {"confusion", "curves", "generations", "populations"}
    assert set(columns) == {"evaluations", "hall_of_fame", "finalists", *without_genes}
    for name, found in columns.items():
        if name in without_genes:
            assert not found & set(run.space.genes), name
        else:
            assert found - set(run.space.genes) <= RESERVED, name
    beside = set().union(*(found for name, found in columns.items() if name not in without_genes))
    only_of_halving = {"rung"}
    known = (beside - set(run.space.genes)) | only_of_halving
    assert fitness == "test" or known == RESERVED, "a name is refused for nothing"


def test_an_error_with_lines_and_lone_surrogates_is_one_row_of_one_line(tmp_path: Path) -> None:
    calls: list[int] = []

    def objective(config: dict[str, Any]) -> float:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("a name that is not text: \udcff\nand more\n" + "a line\n" * 200)
        return float(config["x"])

    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    run = evo.search(space, objective, budget=5, population=5, output=tmp_path / "run")
    rows = read_csv(tmp_path / "run" / "evaluations.csv")
    assert [row["status"] for row in rows] == ["complete", "failed", "complete", "complete", "complete"]
    assert rows[1]["error"].startswith("ValueError: a name that is not text: ? and more a line")
    assert len(rows[1]["error"]) <= 500
    assert len((tmp_path / "run" / "evaluations.csv").read_text().splitlines()) == 6
    assert len(pd.read_csv(tmp_path / "run" / "evaluations.csv")) == 5
    assert evo.load(tmp_path / "run").table["error"][1] == run.table["error"][1] == rows[1]["error"]
