"""The winner is named by its trainings on new seeds, before anything is measured on the test set."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.data import PreparedDataset
from evo.errors import EvoError, RunError
from evo.evaluation import replicate_number
from evo.loop.deadline import Stop
from evo.record.journal import Journal
from evo.record.run import Run
from evo.training.jobs import Metrics
from evo.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick_models")

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)}, name="line")


def noisy(config: dict[str, float], seed: int) -> float:
    return config["x"] + (seed % 1000) / 1000


def search(objective: Callable[..., Any], **arguments: Any) -> Run:
    return evo.search(SPACE, objective, **({"budget": 8, "population": 4, "seed": 3, "finalists": 3} | arguments))


def kinds(run: Run) -> list[str]:
    """Return what happened after the search, in the journal's order."""
    events = run._journal.events
    start = next(place for place, event in enumerate(events) if event["kind"] == "finalists")
    return [event["kind"] for event in events[start:]]


def test_the_best_of_the_search_are_evaluated_again_on_new_seeds() -> None:
    run = search(noisy)
    assert run.finalists == tuple(entry.id for entry in run.ranked()[:3])
    again = run.finalist_evaluations
    assert [(e.individual, e.replicate) for e in again] == [
        (individual, replicate_number("finalist", place)) for individual in run.finalists for place in range(3)
    ]
    assert {e.phase for e in again} == {"finalist"}
    seeds = {e.seed for e in again} | {run.evaluations[i, 0].seed for i in run.finalists}
    assert len(seeds) == 12


def test_the_winner_has_the_best_mean_over_new_seeds() -> None:
    winners = []
    for seed in range(6):
        run = search(noisy, seed=seed)
        means = {
            individual: statistics.fmean(e.fitness or 0 for e in run.finalist_evaluations if e.individual == individual)
            for individual in run.finalists
        }
        assert run.winner == max(means, key=lambda individual: means[individual])
        assert run.best.id == run.winner
        winners.append(run.finalists.index(run.winner))
    assert any(winners), "the search's best won every time, so this says nothing"


def test_the_first_in_the_search_wins_a_tie() -> None:
    run = search(lambda config, seed: 0.5)
    assert run.winner == run.finalists[0] == 0


def test_finalists_that_fail_do_not_win() -> None:
    calls: list[int] = []

    def objective(config: dict[str, float], seed: int) -> float:
        calls.append(seed)
        if 8 < len(calls) <= 11:
            raise ValueError("unlucky")
        return config["x"]

    run = search(objective)
    assert [e.status for e in run.finalist_evaluations[:3]] == ["failed"] * 3
    assert run.winner == run.finalists[1]


def test_no_finalists_are_trained_where_none_are_asked_for() -> None:
    run = search(noisy, finalists=0)
    assert (run.finalists, run.winner) == ((), None)
    assert len(run.evaluations) == 8
    assert run.best.id == run.ranked()[0].id


def test_an_objective_without_a_seed_has_no_finalists() -> None:
    run = search(lambda config: config["x"])
    assert (run.finalists, run.winner) == ((), None)
    assert len(run.evaluations) == 8


def test_an_objective_has_no_test_set() -> None:
    run = search(noisy)
    assert kinds(run) == ["finalists", *["evaluation"] * 9, "winner"]
    assert run.tests == {}


@pytest.mark.usefixtures("in_process")
def test_the_test_set_is_opened_after_the_winner_is_named(
    tiny_space: Path, digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []
    arrays, record_winner = PreparedDataset.arrays, Run.record_winner

    def watched_arrays(self: PreparedDataset, part: Any) -> Any:
        seen.append(part)
        return arrays(self, part)

    def watched_winner(self: Run, individual: int) -> None:
        record_winner(self, individual)
        seen.append("winner")

    monkeypatch.setattr(PreparedDataset, "arrays", watched_arrays)
    monkeypatch.setattr(Run, "record_winner", watched_winner)
    run = evo.search(tiny_space, budget=4, population=2, seed=1, finalists=2, output=tmp_path / "run")
    assert set(seen[: seen.index("winner")]) == {"train"}
    assert seen[seen.index("winner") :] == ["winner", *["test"] * 6]
    assert kinds(run) == ["finalists", *["evaluation"] * 6, "winner", *["test"] * 6]
    assert set(run.tests) == {(e.individual, e.replicate) for e in run.finalist_evaluations}
    assert all(0 <= test["test_accuracy"] <= 1 for test in run.tests.values())
    assert not (tmp_path / "run" / "weights").exists()


def test_the_journal_of_a_search_by_workers_has_the_same_order(uninterrupted: Path) -> None:
    events = Journal.read(uninterrupted / "journal.jsonl").events
    order = [event["kind"] for event in events]
    trained = [n for n, e in enumerate(events) if e["kind"] == "evaluation" and e["evaluation"]["phase"] == "finalist"]
    winner = order.index("winner")
    assert len(trained) == order.count("test") == 6
    assert max(trained) < winner < order.index("test")
    assert order.count("winner") == order.count("finalists") == 1


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("kind", ["evaluation", "winner", "test"])
def test_finalists_that_were_interrupted_go_on_without_doing_anything_twice(
    tiny_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    arguments: dict[str, Any] = {"budget": 3, "population": 3, "seed": 1, "finalists": 1}
    whole = evo.search(tiny_space, **arguments, output=tmp_path / "whole")
    record = Run._record

    def stop_after(self: Run, event: dict[str, Any]) -> None:
        record(self, event)
        if event["kind"] == kind and self.finalists:
            raise Stop("enough", 75)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_record", stop_after)
        with pytest.raises(Stop):
            evo.search(tiny_space, **arguments, output=tmp_path / "parts")
    parts = evo.resume(tmp_path / "parts")
    assert kinds(parts) == kinds(whole)
    columns = ["individual", "replicate", "fitness", "test_accuracy", "test_loss", "winner"]
    assert parts.finalist_table[columns].equals(whole.finalist_table[columns])


@pytest.mark.usefixtures("in_process")
def test_selecting_on_the_test_set_trains_on_all_images_and_measures_no_test_afterwards(
    tiny_space: Path, digits: PreparedDataset, tmp_path: Path
) -> None:
    run = evo.search(tiny_space, budget=3, population=3, seed=1, finalists=1, fitness="test", output=tmp_path / "run")
    assert list(run.table["fitness"]) == list(run.table["test_accuracy"])
    assert run.table["validation_accuracy"].isna().all()
    assert "test" not in kinds(run)
    assert len(run.finalist_evaluations) == 3
    assert run.winner is not None


def test_a_negative_number_of_finalists_is_refused() -> None:
    with pytest.raises(EvoError, match="finalists: must be greater than or equal to 0, got -1"):
        search(noisy, finalists=-1)


def test_a_resume_without_finalists_takes_the_best_of_the_search(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with_finalists = next(
        run
        for seed in range(6)
        if (run := search(noisy, seed=seed, output=folder, overwrite=True)).best.id != run.ranked()[0].id
    )
    assert len((folder / "finalists.csv").read_text().splitlines()) == 10
    run = evo.resume(folder, noisy, finalists=0)
    header, *rows = (folder / "finalists.csv").read_text().splitlines()
    assert header.startswith("individual,replicate")
    assert rows == []
    assert (run.finalists, run.winner) == ((), None)
    assert run.best.id == evo.load(folder).best.id == run.ranked()[0].id != with_finalists.best.id


@pytest.mark.usefixtures("in_process")
def test_a_linked_weights_folder_is_refused_and_nothing_is_written_through_it(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(uninterrupted, folder)
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("years of work")
    (folder / "weights").symlink_to(elsewhere)
    with pytest.raises(RunError, match=r"weights: is a link"):
        evo.resume(folder, finalists=3)
    assert [entry.name for entry in elsewhere.iterdir()] == ["thesis.tex"]
    assert (folder / "weights").is_symlink()


@pytest.mark.usefixtures("in_process")
def test_a_loss_on_the_test_set_that_is_not_finite_is_none_with_its_reason(
    tiny_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Trainer.test
    monkeypatch.setattr(Trainer, "test", lambda *given: Metrics(measure(*given).accuracy, math.inf))
    evo.search(tiny_space, population=2, budget=2, finalists=1, output=tmp_path / "run")
    table = evo.resume(tmp_path / "run").finalist_table
    assert table["test_accuracy"].notna().all()
    assert table["test_loss"].isna().all()
    assert set(table["error"]) == {"loss was inf"}
