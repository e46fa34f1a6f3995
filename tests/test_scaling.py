"""The scaling benchmark: its arithmetic on a search with known answers, and that it runs from end to end."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.scaling import rows as rows_module
from benchmarks.scaling.rows import RealRow, Row, gaps_of, real_row_of, row_of, save
from benchmarks.scaling.searches import Sleeper, sleeping
from evo.evaluation import Evaluation

# Two workers: a is busy from 0 to 4 and from 4.5 to 6, b from 0 to 2 and from 3 to 4.
EVALUATIONS = [
    Evaluation(number, 0, number, "complete", 1.0, worker=worker, started=100 + begin, seconds=end - begin)
    for number, (worker, begin, end) in enumerate([("a", 0, 4), ("b", 0, 2), ("b", 3, 4), ("a", 4.5, 6)])
]


def test_what_a_search_shows_of_its_workers() -> None:
    row = row_of(EVALUATIONS, 2, 0.2, kind="sleeping", where="dask", strategy="ga")
    assert (row.trainings, row.mean, row.seconds) == (4, 2.125, 6)
    assert row.speedup == pytest.approx(8.5 / 6)
    assert row.efficiency == pytest.approx(8.5 / 12)
    assert row.utilisation == pytest.approx(7 / 9), "until the last training begins, at 4.5"
    assert gaps_of(EVALUATIONS) == [0.5, 1.0]
    assert (row.overhead_ms, row.overhead_mean_ms, row.cpu_ms) == (750, 750, 50)


def test_a_sleeping_training_takes_a_time_of_the_distribution_and_always_the_same() -> None:
    sleeper = Sleeper([1.0, 3.0], mean=0.02)
    assert sleeper.times == [0.01, 0.03]
    assert sleeper({"x": 0.3, "y": -0.2}, seed=5) == sleeper({"x": 0.3, "y": -0.2}, seed=5)


def test_it_runs_and_every_row_is_kept(tmp_path: Path) -> None:
    for strategy in ("generational (ga)", "asynchronous (ageing)"):
        save(sleeping(2, 0.02, 4, strategy), tmp_path)
    with (tmp_path / "scaling.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["strategy"], row["workers"], row["trainings"]) for row in rows] == [
        ("generational (ga)", "2", "8"),
        ("asynchronous (ageing)", "2", "8"),
    ]
    assert all(0 < float(row["efficiency"]) <= 1 for row in rows)
    assert "| sleeping | dask | generational (ga) | 2 |" in (tmp_path / "scaling.md").read_text()


def test_real_trainings_make_the_rows_that_are_kept_beside_the_figures(tmp_path: Path) -> None:
    row = real_row_of(EVALUATIONS, 2, 7.5, number=1, where="dask local", table="0f")
    assert (row.first_start_to_last_end_seconds, row.training_seconds, row.wall_seconds) == (6, 8.5, 7.5)
    assert row.busy == pytest.approx(8.5 / 12)
    save(row, tmp_path)
    kept = Path(rows_module.__file__).parent / "results"
    for name, columns in (("real.csv", RealRow), ("scaling.csv", Row)):
        with (kept / name).open(newline="") as file:
            assert next(csv.reader(file)) == [field.name for field in fields(columns)]
    assert (tmp_path / "real.csv").read_text().splitlines()[1].startswith("1,dask local,2,4,7.5,6,8.5,0.7083,")
