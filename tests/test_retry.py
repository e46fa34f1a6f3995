"""`--retry failed`: what failed is evaluated again, once, and the table is the same however that is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import evo
from evo import names
from evo.errors import ConfigurationError
from evo.evaluation import Evaluation
from evo.loop.finished import is_finished
from evo.loop.search_loop import SilentObserver
from evo.record.journal import Journal
from evo.record.run import Run
from tests.command import run_command

SPACE = evo.SearchSpace(
    {
        "x": evo.Float(-1.0, 1.0),
        "y": evo.Float(-1.0, 1.0),
        "steps": evo.Integer(10, 40),
    }
)
STRATEGIES = sorted(set(names.STRATEGIES) - {"report2019", "report2019-fixed"})
COLUMNS = ("individual", "replicate", "generation", "parents", "x", "y", "seed", "status", "fitness", "error")


def good(config: dict[str, Any], seed: int) -> float:
    return float(-(config["x"] ** 2) - config["y"] ** 2 + seed % 100 / 1e4)


def bad(config: dict[str, Any], seed: int) -> float:
    """Fail about every third evaluation."""
    if seed % 3 == 1:
        raise OSError("the disk was not there")
    return good(config, seed)


class StopsAfter(SilentObserver):
    """Raises `Stop` after so many evaluations."""

    def __init__(self, count: float):
        self.left, self.seen, self.notes = count, list[Evaluation](), list[str]()

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        self.seen.append(evaluation)
        self.left -= 1

    def notify(self, message: str) -> None:
        self.notes.append(message)

    def check(self) -> None:
        if self.left <= 0:
            raise evo.Stop("enough", 75)


def search(folder: Path, objective: Callable[..., float] = bad, **options: Any) -> Run:
    if options.get("strategy") == "pareto":
        options["objectives"] = {"fitness": "maximise", "seconds": "minimise"}
    return evo.search(SPACE, objective, **({"budget": 24, "population": 6, "seed": 3} | options), output=folder)


def table(run: Run) -> pd.DataFrame:
    return run.table[[name for name in COLUMNS if name in run.table]]


def finalists(run: Run) -> list[Any]:
    found = [(e.individual, e.replicate, e.seed, e.fitness, e.status) for e in run.finalist_evaluations]
    return [run.winner, run.finalists, found, run.generations]


def check_same(run: Run, other: Run) -> None:
    pd.testing.assert_frame_equal(table(run), table(other))
    assert finalists(run) == finalists(other)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_new_results_take_the_place_of_the_failures(tmp_path: Path, strategy: str) -> None:
    before = search(tmp_path / "run", strategy=strategy)
    failed = set(zip(*(before.table.loc[before.table["status"] == "failed", c] for c in COLUMNS[:2]), strict=True))
    assert failed
    watcher = StopsAfter(float("inf"))
    after = evo.resume(tmp_path / "run", good, retry="failed", observer=watcher)
    assert set(after.table["status"]) == {"complete"}
    assert {(e.individual, e.replicate) for e in watcher.seen if e.phase == "search"} == failed
    assert not after.table.duplicated(["individual", "replicate"]).any()
    pd.testing.assert_frame_equal(after.table[["individual", "x", "seed"]], before.table[["individual", "x", "seed"]])
    assert after.winner in after.finalists
    assert {evaluation.status for evaluation in after.finalist_evaluations} == {"complete"}
    assert is_finished(after)
    check_same(after, evo.load(tmp_path / "run"))
    assert not any(after.traceback(individual, replicate) for individual, replicate in failed)


@pytest.mark.parametrize(
    "strategy",
    [
        name if name == "surrogate" else pytest.param(name, marks=pytest.mark.slow)
        for name in STRATEGIES
        if name != "pareto"
    ],
)
def test_the_table_does_not_depend_on_workers_or_on_stops(tmp_path: Path, strategy: str) -> None:
    """A search that failed and was stopped is retried and extended: the new proposals learn the new results."""
    watcher = StopsAfter(16)
    with pytest.raises(evo.Stop):
        search(tmp_path / "stopped", strategy=strategy, observer=watcher, stop_check=watcher.check)

    def copy(name: str) -> Path:
        shutil.copytree(tmp_path / "stopped", tmp_path / name)
        return tmp_path / name

    whole = evo.resume(copy("whole"), good, retry="failed")
    assert len(whole.table) >= 24
    check_same(evo.resume(copy("workers"), good, retry="failed", workers=2), whole)
    for moment in (0, 1, 3, 9):
        watcher, folder = StopsAfter(moment), copy(f"stopped-{moment}")
        with pytest.raises(evo.Stop):
            evo.resume(folder, good, retry="failed", observer=watcher, stop_check=watcher.check)
        resumed = evo.resume(folder, good)
        if moment:  # else nothing had been recorded of the retry
            check_same(resumed, whole)


def test_a_stopped_retry_goes_on_with_those_that_are_left_and_with_no_others(tmp_path: Path) -> None:
    before = search(tmp_path / "run", strategy="random", finalists=0)
    failed = [e.individual for e in before.results if e.status == "failed"]
    assert len(failed) > 3
    watcher = StopsAfter(2)
    with pytest.raises(evo.Stop):
        evo.resume(tmp_path / "run", bad, retry="failed", observer=watcher, stop_check=watcher.check)
    again = StopsAfter(float("inf"))
    after = evo.resume(tmp_path / "run", bad, retry="failed", observer=again)
    assert [e.individual for e in (*watcher.seen, *again.seen)] == failed
    assert any("going on with the retry" in note for note in again.notes)
    events = Journal.read(tmp_path / "run" / "journal.jsonl").events
    assert [event["evaluations"] for event in events if event["kind"] == "retry"] == [[[n, 0] for n in failed]]
    assert table(after).equals(table(before)), "bad fails for the same seeds"
    quiet = StopsAfter(float("inf"))
    evo.resume(tmp_path / "run", bad, observer=quiet)
    assert quiet.seen == [], "a plain resume repeats no retry"
    assert evo.resume(tmp_path / "run", good, retry="failed").table["status"].eq("complete").all()


def test_a_retry_that_is_killed_anywhere_ends_with_the_same_table(tmp_path: Path) -> None:
    """What a kill leaves is a prefix of the journal."""
    search(tmp_path / "run", strategy="ga", finalists=1)
    whole = evo.resume(tmp_path / "run", good, retry="failed", budget=30)
    lines = (tmp_path / "run" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    [begin] = [number for number, line in enumerate(lines) if b'"kind":"retry"' in line]
    for moment in range(begin + 1, len(lines), 7):
        folder = tmp_path / f"killed-{moment}"
        shutil.copytree(tmp_path / "run", folder)
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:moment]))
        check_same(evo.resume(folder, good), whole)


def test_without_failures_nothing_is_tried_again(tmp_path: Path) -> None:
    search(tmp_path / "run", good)
    text, watcher = (tmp_path / "run" / "journal.jsonl").read_text(), StopsAfter(float("inf"))
    evo.resume(tmp_path / "run", good, retry="failed", observer=watcher)
    assert watcher.notes[0] == "no evaluation of this run has failed: nothing is tried again"
    assert (tmp_path / "run" / "journal.jsonl").read_text() == text


def sleeps(config: dict[str, Any]) -> float:
    import time

    if config["x"] > 0:
        time.sleep(60)
    return float(config["x"])


def hurries(config: dict[str, Any]) -> float:
    return float(config["x"])


def test_timeouts_count_as_failed(tmp_path: Path) -> None:
    before = search(tmp_path / "run", sleeps, strategy="random", budget=4, timeout=0.5, workers=2)
    assert before.table["status"].eq("timeout").any()
    assert evo.resume(tmp_path / "run", hurries, retry="failed").table["status"].eq("complete").all()


def test_first_evaluations_that_all_failed_can_be_tried_again(tmp_path: Path) -> None:
    def broken(config: dict[str, Any], seed: int) -> float:
        raise OSError("no data")

    with pytest.raises(evo.SearchError, match="retry='failed'"):
        search(tmp_path / "run", broken, strategy="ga")
    after = evo.resume(tmp_path / "run", good, retry="failed")
    whole = search(tmp_path / "whole", good, strategy="ga")
    assert after.table["status"].eq("complete").all()
    check_same(after, whole)


def test_a_lower_budget_leaves_later_failures_alone(tmp_path: Path) -> None:
    search(tmp_path / "run", strategy="random", finalists=0)
    after = evo.resume(tmp_path / "run", good, retry="failed", budget=12)
    assert after.table["status"][:12].eq("complete").all()
    assert after.table["status"][12:].eq("failed").any()


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    search(tmp_path / "run")
    with pytest.raises(ConfigurationError, match=r'--retry: unknown retry "fialed"\. Did you mean "failed"'):
        evo.resume(tmp_path / "run", good, retry="fialed")


def test_a_journal_that_tries_again_what_has_not_failed_is_refused(tmp_path: Path) -> None:
    search(tmp_path / "run", good)
    journal = Journal.open(tmp_path / "run" / "journal.jsonl", print)
    journal.append({"kind": "retry", "evaluations": [[0, 0]]})
    journal.close()
    with pytest.raises(evo.RunError, match="has not failed"):
        evo.load(tmp_path / "run")


def test_a_run_of_an_older_format_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr("evo.record.journal.FORMAT", 3)
        search(tmp_path / "run")
    assert evo.resume(tmp_path / "run", good, retry="failed").table["status"].eq("complete").all()
    assert '"retries": 1' in (tmp_path / "run" / "settings.json").read_text(), "by which an older evo says: update"


NETWORKS = """
dataset = "digits"
[training]
batch_size = 64
steps = 20
learning_rate = 0.01
[genes.width]
type = "integer"
low = 4
high = 64
"""
MODEL = """
import os, torch
def build(config, input_shape, classes):
    if config["width"] % 3 == 1 and "BROKEN" in os.environ:
        raise ValueError("too wide")
    pixels = input_shape[1] * input_shape[2]
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(pixels, config["width"]),
                               torch.nn.Linear(config["width"], classes))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("session_cache")
def test_the_command_retries_trainings_and_finalists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "networks.toml").write_text(NETWORKS)
    (tmp_path / "retried_model.py").write_text(MODEL)
    model = ["--model", "retried_model:build", "--workers", "2"]
    words = ["search", "networks.toml", "--strategy", "ga", "--budget", "8", "--population", "4", "--output", "run"]
    monkeypatch.setenv("BROKEN", "yes")
    assert run_command(*words, *model, cwd=tmp_path).returncode == 0
    monkeypatch.delenv("BROKEN")
    finished = run_command("resume", "run", "--retry", "failed", *model, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "trying again what failed" in finished.stderr
    run = evo.load(tmp_path / "run")
    assert run.table["status"].eq("complete").all()
    assert run.winner is not None
    assert run.test_accuracy_of(run.finalist_evaluations[0]) is not None
