"""The reproduction of Table 1 says what the curves of its run say, beside the report's figures, and nothing more."""

from __future__ import annotations

import csv
import math
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

import evo
from evo.errors import RunError
from evo.evaluation import CurvePoint, Evaluation, Status
from evo.individual import Individual
from evo.record.run import Run
from evo.record.settings import LISTED, Settings
from evo.report2019.figures import table1_figures
from evo.report2019.page import table1_markdown, write_table1
from evo.report2019.table import count_spikes, table1_table
from evo.report2019.table1 import FIGURE_NETWORKS, ROWS, Row, table1_space
from evo.space import SearchSpace
from tests.images import FACTS

DEFAULT, GA1, DROPOUT, BATCH_NORM, GA2, GA3 = ROWS
AS_REPORTED, EVALUATION = "as reported", "evaluation mode"
LAST, MEDIAN = "last step", "median of the last five"


def make_run(
    path: Path | None = None, rows: tuple[Row, ...] = ROWS, *, space: SearchSpace | None = None, **changes: Any
) -> Run:
    space = space or table1_space()
    genomes = [row.genome for row in rows] or space.initial
    values: dict[str, Any] = {
        "space": space.to_dict(),
        "space_name": space.name,
        "strategy": LISTED,
        "seed": 42,
        "population": len(genomes),
        "generations": None,
        "budget": None,
        "time_budget": None,
        "finalists": 0,
        "fitness": "test",
        "model": space.model,
        "dataset": FACTS | {"data_dir": "/data/cifar 10"},
        "seeds": 2,
        "device": "cpu",
        "device_name": "Some CPU",
        "precision": "fp32",
        "engine": "eager",
        "threads": 1,
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "initial": genomes,
    }
    run = Run.create(Settings(**values | changes), path)
    for number, genome in enumerate(genomes):
        run.record_proposal(Individual(number, genome, operator=LISTED))
    return run


def point(step: int, test: float, train: float = 0.5, loss: float = 1.0, *, mode: float = 0.0) -> CurvePoint:
    """Return a point whose measurements all differ; `mode` is what evaluation mode adds."""
    values = {
        "train_loss": loss,
        "train_accuracy": 0.111,
        "test_accuracy": test + mode,
        "loss": 1.25,
        "minibatch_accuracy": train,
        "minibatch_loss": loss,
        "training_mode_accuracy": test,
        "training_mode_loss": 1.5,
        "whole_train_accuracy": train + mode,
    }
    return CurvePoint(step, values)


def curve(tests: list[float], **more: Any) -> tuple[CurvePoint, ...]:
    return tuple(point(100 * (place + 1), test, **more) for place, test in enumerate(tests))


def record(run: Run, row: Row, replicate: int, points: tuple[CurvePoint, ...], status: Status = "complete") -> None:
    number = next(entry.id for entry in run.individuals if entry.genome == row.genome)
    fitness = points[-1].values["test_accuracy"] if status == "complete" else None
    run.record(Evaluation(number, replicate, 1, status, fitness, seconds=100.0, curve=points))


def cell(table: pd.DataFrame, row: Row, part: str, measurement: str = AS_REPORTED, at: str = LAST) -> dict[Any, Any]:
    here = (table["row"] == row.name) & (table["part"] == part)
    [found] = table[here & (table["measurement"] == measurement) & (table["point"] == at)].to_dict("records")
    return found


def lines(axes: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): [float(value) for value in np.asarray(line.get_ydata())] for line in axes.lines}


def test_the_table_has_eight_figures_a_row_in_the_order_of_the_report() -> None:
    run = make_run(rows=(GA3, DEFAULT))  # in the order in which they were asked for
    table = table1_table(run)
    assert list(table.columns) == [
        *("row", "part", "measurement", "point", "report", "ours", "std", "n"),
        *("difference", "tolerance", "within", "spikes"),
    ]
    assert list(table["row"]) == ["Default"] * 8 + ["GA3"] * 8
    assert list(table["part"][:8]) == ["train"] * 4 + ["test"] * 4
    assert list(table["measurement"][:4]) == [AS_REPORTED] * 2 + [EVALUATION] * 2
    assert list(table["point"][:2]) == [LAST, MEDIAN]
    assert not table.duplicated(["row", "part", "measurement", "point"]).any()


def test_the_last_step_and_the_median_of_the_last_five_are_means_over_the_seeds() -> None:
    run = make_run()
    # The first point is none of the last five.
    record(run, GA1, 0, curve([0.9, 0.50, 0.52, 0.10, 0.53, 0.54], mode=0.25))
    record(run, GA1, 1, curve([0.9, 0.51, 0.50, 0.48, 0.47, 0.30], mode=0.25))
    table = table1_table(run)
    last = cell(table, GA1, "test")
    assert last["ours"] == pytest.approx((0.54 + 0.30) / 2)
    assert last["std"] == pytest.approx(statistics.stdev([0.54, 0.30]))
    assert (last["n"], last["report"]) == (2, 0.537)
    assert last["difference"] == pytest.approx(0.42 - 0.537)
    median = cell(table, GA1, "test", at=MEDIAN)
    assert median["ours"] == pytest.approx((0.52 + 0.48) / 2)
    assert median["std"] == pytest.approx(statistics.stdev([0.52, 0.48]))
    assert cell(table, GA1, "test", EVALUATION)["ours"] == pytest.approx(0.42 + 0.25)
    assert cell(table, GA1, "test", EVALUATION, MEDIAN)["ours"] == pytest.approx(0.50 + 0.25)


def test_train_accuracy_is_the_last_minibatchs_or_that_of_all_training_images() -> None:
    run = make_run()
    record(run, DROPOUT, 0, curve([0.5], train=0.625, mode=0.125))
    table = table1_table(run)
    assert cell(table, DROPOUT, "train")["ours"] == 0.625
    assert cell(table, DROPOUT, "train", EVALUATION)["ours"] == 0.75
    assert cell(table, DROPOUT, "train", EVALUATION)["report"] == DROPOUT.train == 0.635


def test_all_training_images_may_be_measured_at_more_points_than_the_last_five() -> None:
    run = make_run()
    train = (0.9, 0.1, 0.2, 0.3, 0.4, 0.5)  # 4681 steps: six points lie within the last 500
    record(run, GA1, 0, tuple(point(100 * place, 0.5, value) for place, value in enumerate(train)))
    assert cell(table1_table(run), GA1, "train", EVALUATION, MEDIAN)["ours"] == 0.3


def test_one_seed_has_no_deviation() -> None:
    run = make_run()
    record(run, GA2, 0, curve([0.5]))
    assert math.isnan(cell(table1_table(run), GA2, "test")["std"])


@pytest.mark.parametrize(
    ("test", "within"), [(0.556, True), (0.557, True), (0.558, False), (0.517, True), (0.5165, False)]
)
def test_a_test_accuracy_is_within_two_points_of_the_reports(test: float, within: bool) -> None:
    run = make_run()
    record(run, GA1, 0, curve([test]))
    entry = cell(table1_table(run), GA1, "test")
    assert entry["tolerance"] == 0.02
    assert entry["within"] is within


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_train_accuracy_is_within_two_standard_errors_of_minibatches(seeds: int) -> None:
    tolerance = 2 * math.sqrt(0.425 * 0.575 / 200 + 0.425 * 0.575 / (200 * seeds))
    for train, within in ((0.425 + tolerance - 1e-6, True), (0.425 - tolerance - 1e-6, False)):
        run = make_run()
        for replicate in range(seeds):
            record(run, DEFAULT, replicate, curve([0.444], train=train))
        entry = cell(table1_table(run), DEFAULT, "train")
        assert entry["tolerance"] == pytest.approx(tolerance)
        assert entry["within"] is within


def test_where_the_report_has_100_percent_our_own_accuracy_says_how_far_minibatches_scatter() -> None:
    tolerances = []
    for train in (0.75, 1.0):
        run = make_run()
        record(run, GA3, 0, curve([0.535], train=train))
        tolerances.append(cell(table1_table(run), GA3, "train")["tolerance"])
    assert tolerances == [pytest.approx(2 * math.sqrt(2 * 0.75 * 0.25 / 809)), 1 / 809]


def test_evaluation_mode_is_not_what_the_report_measured_and_is_not_judged() -> None:
    run = make_run()
    record(run, GA1, 0, curve([0.537]))
    judged = table1_table(run)[lambda table: table["n"] > 0]
    assert (judged["within"].notna() == (judged["measurement"] == AS_REPORTED)).all()
    assert (judged["tolerance"].notna() == (judged["measurement"] == AS_REPORTED)).all()
    assert judged["difference"].notna().all()


@pytest.mark.parametrize(
    ("losses", "spikes"),
    [
        ([2.0, 1.0, 0.2, 0.6, 2.0], 0),  # never below 0.1
        ([2.0, 0.09, 0.4, 0.09], 0),  # never above 0.5
        ([2.0, 0.09, 0.6, 0.7, 2.0], 1),  # one rise, however long
        ([0.09, 0.6, 0.3, 0.6], 1),  # not below 0.1 in between
        ([0.09, 0.6, 0.09, 0.6, 0.3, 0.09], 2),
        ([0.09, 0.3, 0.6], 1),
        ([0.1, 0.6], 0),
        ([0.09, 0.5], 0),
        ([], 0),
    ],
)
def test_a_spike_is_a_rise_above_a_half_after_a_fall_below_a_tenth(losses: list[float], spikes: int) -> None:
    assert count_spikes([point(place, 0.5, loss=loss) for place, loss in enumerate(losses)]) == spikes


def test_spikes_are_counted_over_all_complete_seeds() -> None:
    run = make_run(seeds=3)
    spiky = tuple(point(place, 0.5, loss=loss) for place, loss in enumerate((0.05, 1.0, 0.05)))
    for replicate, status in enumerate(("complete", "complete", "diverged")):
        record(run, GA2, replicate, spiky, status)  # type: ignore[arg-type]  # a tuple of texts
    record(run, GA3, 0, curve([0.5]))
    table = table1_table(run)
    assert cell(table, GA2, "test")["spikes"] == cell(table, GA2, "train", EVALUATION, MEDIAN)["spikes"] == 2
    assert cell(table, GA3, "test")["spikes"] == 0
    assert pd.isna(cell(table, GA1, "test")["spikes"])
    assert "all seeds together): GA2 2, none in the others." in table1_markdown(run)


def test_only_complete_trainings_count() -> None:
    run = make_run(seeds=3)
    record(run, GA1, 0, curve([0.5]))
    record(run, GA1, 1, curve([0.1]), "diverged")
    record(run, GA1, 2, curve([0.1]), "timeout")
    entry = cell(table1_table(run), GA1, "test")
    assert (entry["ours"], entry["n"]) == (0.5, 1)
    assert "- trainings: 1 of 18 complete, 1 diverged, 1 timeout\n" in table1_markdown(run)


@pytest.mark.parametrize("proposed", [True, False])
def test_an_unfinished_run_has_empty_cells(proposed: bool, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    if not proposed:
        run.close()
        run = Run.create(run.settings, tmp_path / "run", overwrite=True)
    run.close()
    table = table1_table(run)
    assert len(table) == 48
    assert set(table["n"]) == {0}
    assert table[["ours", "std", "difference", "tolerance", "within", "spikes"]].isna().all(axis=None)
    assert [cell(table, GA3, part)["report"] for part in ("train", "test")] == [1.0, 0.535]
    assert table1_figures(run, {}) == {}
    page = write_table1(run, {}).read_text()
    assert "No training is complete yet." in page
    assert "| GA1 | 53.7 |  |  |  |  |  | 0 of 2 |" in (tmp_path / "run" / "table1.md").read_text()
    assert "Spikes" in page


def test_a_run_that_measured_in_evaluation_mode_alone_shows_that() -> None:
    space = replace_training(table1_space(), training_mode=None)
    run = make_run(space=space)
    record(run, GA1, 0, (CurvePoint(100, {"train_loss": 1.0, "test_accuracy": 0.5, "loss": 1.0}),))
    table = table1_table(run)
    assert cell(table, GA1, "test")["n"] == 0
    assert (cell(table, GA1, "test", EVALUATION)["n"], cell(table, GA1, "test", EVALUATION)["ours"]) == (1, 0.5)
    assert "| GA1 | 53.7 |  |  |  | 50.0 | 50.0 | 1 of 2 |" in table1_markdown(run)
    assert lines(table1_figures(run, {})["figure-5"].axes[0])["test"] == [0.5]


def replace_training(space: SearchSpace, **changes: Any) -> SearchSpace:
    training = space.training.model_copy(update=changes)
    return SearchSpace(space.genes, name=space.name, model=space.model, dataset=space.dataset, training=training)


def test_the_markdown_says_what_it_was_made_with_and_shows_the_figures() -> None:
    run = make_run()
    record(run, GA1, 0, curve([0.53], train=1.0, mode=0.0))
    record(run, GA1, 1, curve([0.55], train=0.99, mode=0.0))
    text = table1_markdown(run)
    for fact in (
        "- data: image folder, JPEG\n",
        "- device: cpu Some CPU\n",
        "- precision: fp32\n",
        "- engine: eager\n",
        "- threads: 1 per training\n",
        "- seeds: 2 per row, derived from 42\n",
        "- trainings: 2 of 12 complete\n",
        "- seconds of training: 200 in all\n",
        "- versions: python 3.11.7, torch 2.15.0\n",
        "| GA1 + dropout + batchnorm | 1000, 500, 250, 100 | 1.68e-4 | 1609 | 4681 | 0.5 | yes |\n",
    ):
        assert fact in text
    command = "evo table1 --seeds 2 --seed 42 --data-dir '/data/cifar 10' --device cpu --precision fp32 --engine eager"
    assert f"\n{command}\n" in text
    test, train = text.split("## Test accuracy (%)")[1].split("## Train accuracy (%)")
    assert "| GA1 | 53.7 | 54.0 ± 1.4 | +0.3 (within 2.0) | 54.0 ± 1.4 | 54.0 ± 1.4 | 54.0 ± 1.4 | 2 |\n" in test
    assert "| GA1 | 100.0 | 99.5 ± 0.7 | -0.5 (beyond 0.4)" in train


def test_the_command_names_rows_and_figures_where_they_were_chosen(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (DEFAULT, DROPOUT))
    run.close()
    assert "\nevo table1 --rows 'Default, GA1 + dropout' --seeds 2 --seed 42 --data-dir" in table1_markdown(run)
    write_table1(run, {"cnn": make_run(rows=(), space=FIGURE_NETWORKS["cnn"])})
    assert " --seed 42 --figures --data-dir" in (tmp_path / "run" / "table1.md").read_text()


@pytest.mark.parametrize(("mode", "verdict"), [(0.0, "this holds."), (0.25, "this does not hold: GA1 + dropout and")])
def test_the_reports_conclusion_is_put_to_the_test(mode: float, verdict: str) -> None:
    run = make_run()
    record(run, GA1, 0, curve([0.54]))
    record(run, DROPOUT, 0, curve([0.50], mode=mode))
    assert verdict not in table1_markdown(run)  # a row is missing
    record(run, BATCH_NORM, 0, curve([0.52], mode=mode))
    assert verdict in table1_markdown(run)


def test_the_files_hold_the_table(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    record(run, DEFAULT, 0, curve([0.25, 0.5]))
    run.close()
    page = write_table1(evo.load(tmp_path / "run"), {})
    assert page == tmp_path / "run" / "table1.html"
    with (tmp_path / "run" / "table1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == list(table1_table(run)["row"])
    first = {name: rows[4][name] for name in ("part", "point", "report", "ours", "std", "n", "within", "spikes")}
    assert first == {
        **{"part": "test", "point": "last step", "report": "0.444", "ours": "0.5", "std": ""},
        **{"n": "1", "within": "False", "spikes": "0"},
    }
    assert rows[8]["ours"] == rows[8]["spikes"] == rows[8]["within"] == ""
    names = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert names == {f"figure-{number}.{kind}" for number in (3, 4) for kind in ("png", "svg")}


def test_the_page_needs_nothing_else_and_obeys_no_markup(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    run = make_run(tmp_path / "run", device_name=hostile, dataset=FACTS | {"data_dir": f"/{hostile}"})
    record(run, DEFAULT, 0, curve([0.5]))
    run.close()
    page = write_table1(run, {}).read_text()
    assert hostile not in page
    assert "cpu &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page
    assert page.startswith("<!doctype html>")
    assert page.count("<img") == 2
    assert "<td>+5.6 (beyond 2.0)</td>" in page


def test_a_run_in_memory_has_nowhere_to_write_to() -> None:
    with pytest.raises(RunError, match="in memory"):
        write_table1(make_run(), {})


def full_runs() -> tuple[Run, dict[str, Run]]:
    run = make_run()
    for row in (DEFAULT, GA1, DROPOUT, BATCH_NORM):
        for replicate in range(2):
            record(run, row, replicate, curve([0.25, 0.5], mode=0.25 if row.dropout else 0.0))
    extra = {}
    for name, space in FIGURE_NETWORKS.items():
        extra[name] = make_run(rows=(), space=space, seeds=1)
        points = curve([0.5, 0.75], mode=0.125)
        extra[name].record(Evaluation(0, 0, 1, "complete", 0.75, curve=points))
    return run, extra


def test_the_figures_are_the_reports_eight_and_one_more() -> None:
    figures = table1_figures(*full_runs())
    assert set(figures) == {*(f"figure-{number}" for number in range(1, 9)), "dropout-and-batchnorm"}
    titles = [figures[f"figure-{n}"].axes[0].get_title(loc="left").partition("\n")[0] for n in range(1, 9)]
    assert titles == [
        "Figure 1: Numpy MLP Accuracies",
        "Figure 2: Numpy MLP Loss",
        "Figure 3: Torch MLP Accuracies",
        "Figure 4: Torch MLP Loss",
        "Figure 5: Torch GA1 MLP Accuracies",
        "Figure 6: Torch MLP Loss (GA1)",
        "Figure 7: Torch CNN Accuracies",
        "Figure 8: Torch CNN Loss",
    ]
    assert figures["figure-5"].axes[0].get_title(loc="left").partition("\n")[2] == (
        "Adam, learning rate 1.68e-4, batch size 1609, image folder, JPEG; mean and range of 2 seeds"
    )
    assert "SGD, learning rate 2e-3" in figures["figure-1"].axes[0].get_title(loc="left")


def test_each_figure_shows_training_test_and_what_the_report_ended_at() -> None:
    figures = table1_figures(*full_runs())
    assert lines(figures["figure-3"].axes[0]) == {
        "train: last minibatch": [0.5, 0.5],
        "test": [0.25, 0.5],
        "report, test at the end: 0.444": [0.444, 0.444],
    }
    assert lines(figures["figure-4"].axes[0]) == {"train: last minibatch": [1.0, 1.0], "test": [1.5, 1.5]}
    assert list(lines(figures["figure-1"].axes[0])) == ["train: last minibatch", "test"]
    assert lines(figures["figure-7"].axes[0]) == {
        "train: last minibatch": [0.5, 0.5],
        "test: training mode, as in 2019": [0.5, 0.75],
        "test: evaluation mode": [0.625, 0.875],
        "report, test at the end: 0.77": [0.77, 0.77],
    }
    for figure in figures.values():
        for axes in figure.axes:
            legend = axes.get_legend()
            assert legend is not None
            labels = [text.get_text() for text in legend.get_texts()]
            assert labels == [label for label in lines(axes) if not label.startswith("_")]
            assert axes.get_xlabel() == "optimiser steps"


def test_dropout_and_batch_norm_are_seen_in_both_modes() -> None:
    left, right = table1_figures(*full_runs())["dropout-and-batchnorm"].axes
    assert [values for label, values in lines(left).items() if not label.startswith("_")] == [[0.25, 0.5]] * 3
    assert lines(right) == {
        "GA1": [0.25, 0.5],
        "GA1 + dropout": [0.5, 0.75],
        "GA1 + dropout + batchnorm": [0.5, 0.75],
    }
    ends = {values[0] for label, values in lines(left).items() if label.startswith("_")}
    assert ends == {0.537, 0.497, 0.516}
    assert "GA1 + dropout (report: 0.497)" in lines(left)


def test_rows_that_no_seed_has_finished_are_in_no_figure() -> None:
    run = make_run()
    record(run, GA1, 0, curve([0.5]), "diverged")
    record(run, DROPOUT, 0, curve([0.5]))
    figures = table1_figures(run, {})
    assert list(figures) == ["dropout-and-batchnorm"]
    assert list(lines(figures["dropout-and-batchnorm"].axes[1])) == ["GA1 + dropout"]


def test_a_network_that_the_report_has_not_is_no_row() -> None:
    run = make_run(rows=(replace(GA1, steps=DEFAULT.steps),))
    assert table1_table(run).empty
    assert "no training is complete" in table1_markdown(run)
