"""Which classes a network takes for which: counted where it is measured for good, kept, and shown as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import evo
from evo.confusion import class_name, confusion_from_json
from evo.data import PreparedDataset
from evo.errors import RunError
from evo.evaluation import Evaluation
from evo.record.journal import CONFUSION, FORMAT, Journal
from evo.record.run import Run
from evo.space.training_settings import TrainingSettings
from evo.training.workbench import Workbench

pytestmark = pytest.mark.usefixtures("in_process", "quick_models")


def accuracy(rows: pd.DataFrame) -> float:
    return float(rows.loc[rows["class"] == rows["predicted"], "images"].sum() / rows["images"].sum())


class SaysTheLabelPlusOne(torch.nn.Module):
    """Knows the digits by heart, and says of every second image the next class; has more outputs than there are."""

    def __init__(self, bench: Workbench):
        super().__init__()
        part = bench.held_out_part
        self.labels = part.labels.index_select(0, part.indices)
        self.at = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        labels = self.labels[self.at : self.at + len(images)]
        said = labels + torch.arange(self.at, self.at + len(images)) % 2
        self.at += len(images)
        return torch.nn.functional.one_hot(said, 12).float()


def test_what_a_network_says_is_counted_by_label_whatever_the_batches(digits: PreparedDataset) -> None:
    bench = Workbench(digits, TrainingSettings())
    for chunk in (7, 1000):
        model = SaysTheLabelPlusOne(bench)
        found = bench.measure(model, bench.held_out_part, confusion=True, chunk=chunk)
        labels = model.labels.numpy()
        said = labels + np.arange(len(labels)) % 2
        assert {(label, other): images for label, other, images in found.confusion} == {
            (label, other): int(((labels == label) & (said == other)).sum())
            for label in range(10)
            for other in (label, label + 1)
        }
    assert bench.measure(SaysTheLabelPlusOne(bench), bench.held_out_part).confusion == ()


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(1, 2**40)), max_size=9))
def test_counts_survive_the_journal(counts: list[tuple[int, int, int]]) -> None:
    evaluation = Evaluation(0, 0, 1, "complete", 0.5, confusion=tuple(counts))
    values = json.loads(json.dumps(evaluation.to_dict()))
    assert Evaluation.from_dict(values) == evaluation
    assert ("confusion" in values) == bool(counts)  # other evaluations are what they were in format 2


@pytest.mark.parametrize("wrong", [[[0, 1]], [[0, 1, 0]], [[0, 1, 2.5]], [[-1, 0, 1]], [["a", 0, 1]], 7, [3]])
def test_what_is_no_count_is_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        confusion_from_json(wrong)
    values = Evaluation(0, 0, 1, "complete", 0.5).to_dict() | {"confusion": wrong}
    with pytest.raises((TypeError, ValueError)):
        Evaluation.from_dict(values)


def test_an_output_beyond_the_classes_has_a_name() -> None:
    assert [class_name(["cat"], label) for label in (0, 1)] == ["cat", "output 1"]


def test_of_a_search_the_tests_of_the_finalists_are_counted_and_nothing_else(tiny_space: Path, tmp_path: Path) -> None:
    run = evo.search(tiny_space, budget=3, population=3, seed=1, finalists=2, output=tmp_path / "run")
    assert not any(evaluation.confusion for evaluation in run.results)
    table = pd.read_csv(tmp_path / "run" / "confusion.csv", dtype={"class": str, "predicted": str})
    pd.testing.assert_frame_equal(table, evo.load(run.folder).confusion, check_dtype=False)
    assert set(table["part"]) == {"test"}
    tested = {(row.individual, row.replicate): row.test_accuracy for row in run.finalist_table.itertuples()}
    groups = dict(iter(table.groupby(["individual", "replicate"])))
    assert {key: accuracy(rows) for key, rows in groups.items()} == pytest.approx(tested)
    assert {rows["images"].sum() for rows in groups.values()} == {run.settings.dataset["test_count"]}
    classes = run.settings.dataset["classes"]
    assert set(table["class"]) == set(classes)
    assert (table["images"] > 0).all()


def test_where_no_test_follows_the_trainings_themselves_are_counted(tiny_space: Path, tmp_path: Path) -> None:
    run = evo.search(tiny_space, budget=3, population=3, seed=1, finalists=1, fitness="test", output=tmp_path / "run")
    table = run.confusion
    assert {(row.individual, row.part) for row in table.itertuples()} == {(run.winner, "test")}
    assert set(table["replicate"]) == {101, 102, 103}
    assert accuracy(table) == pytest.approx(run.finalist_table["test_accuracy"].mean())


@pytest.mark.parametrize("fitness", ["validation", "test"])
def test_trainings_of_one_network_are_counted_on_what_they_are_measured_on(
    fitness: str, digits: PreparedDataset, tmp_path: Path
) -> None:
    from evo.loop.execution import Execution
    from evo.loop.listed import space_of, train_configurations

    config = {"hidden_layers": (8,), "learning_rate": 0.01, "batch_size": 64, "steps": 30}
    space = space_of([config], name="train", model="mlp", dataset="digits", training={"evaluate_every": 10})
    run = train_configurations(space, [config], Execution(output=tmp_path / "run"), seeds=2, fitness=fitness)
    table = run.confusion
    assert set(table["part"]) == {fitness}
    for replicate, rows in table.groupby("replicate"):
        assert accuracy(rows) == pytest.approx(run.evaluations[0, int(str(replicate))].fitness)


def test_a_run_without_counts_has_no_table_of_them(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    run = evo.search(space, lambda config, seed: config["x"], budget=3, population=3, output=tmp_path / "run")
    assert run.confusion.empty
    assert not (tmp_path / "run" / "confusion.csv").exists()


@pytest.mark.parametrize("fitness", ["validation", "test"])
def test_a_run_of_an_older_format_stays_in_it(
    fitness: str, tiny_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an older evo would not understand never enters its journal."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("evo.record.journal.FORMAT", CONFUSION - 1)
        evo.search(tiny_space, budget=3, population=3, seed=1, finalists=0, fitness=fitness, output=folder)
    run = evo.resume(folder, finalists=1)
    assert run.winner is not None
    assert '"confusion"' not in (folder / "journal.jsonl").read_text()
    assert Journal.read(folder / "journal.jsonl").format == CONFUSION - 1 < FORMAT
    assert run.confusion.empty


def test_a_test_that_evo_never_wrote_is_refused(tmp_path: Path, tiny_space: Path) -> None:
    run = evo.search(tiny_space, budget=3, population=3, seed=1, finalists=1, output=tmp_path / "run")
    journal = Journal.open(run.folder / "journal.jsonl", print)
    event = {"kind": "test", "individual": run.winner, "replicate": 101, "confusion": [[0, 0, "many"]]}
    journal.append(event)
    journal.close()
    with pytest.raises(RunError, match="is not what evo writes"):
        Run.load(run.folder)
