"""MLflow has one run per search, which continues when the search is resumed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.tracking import MLflow
from tests.tracking.searches import Listener, StopAfter, resume, search, slope

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")


@pytest.fixture(autouse=True)
def no_other_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))


def runs_of(uri: str) -> tuple[Any, list[Any]]:
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiments = [entry.experiment_id for entry in client.search_experiments() if entry.name == "evo"]
    return client, list(client.search_runs(experiments))


def test_a_search_is_one_run_that_continues_after_a_stop(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'run' / 'mlflow' / 'mlflow.db'}"
    with pytest.raises(evo.Stop):
        search([MLflow()], tmp_path / "run", stop_check=StopAfter(7))
    client, [stopped] = runs_of(uri)
    assert stopped.info.status == "KILLED"
    assert 0 < len(client.get_metric_history(stopped.info.run_id, "search/seconds")) < 12
    run = resume([MLflow()], tmp_path / "run")
    client, [kept] = runs_of(uri)
    assert kept.info.run_id == stopped.info.run_id
    assert kept.info.status == "FINISHED"
    history = client.get_metric_history(kept.info.run_id, "search/fitness")
    recorded = [entry for entry in run.evaluations.values() if entry.phase == "search"]
    wanted = [(step, entry.fitness) for step, entry in enumerate(recorded, start=1) if entry.complete]
    assert sorted((entry.step, entry.value) for entry in history) == wanted
    assert kept.data.params["strategy"] == "ga"
    assert kept.data.params["seed"] == "2"
    assert kept.data.tags["best.individual"] == str(run.best.id)


def test_the_store_of_the_environment_is_used_and_its_address_is_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'secret.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)  # MLflow puts the artifacts of such a store beside it
    listener = Listener()
    search([MLflow()], tmp_path / "run", listener)
    assert listener.warnings == []
    client, [kept] = runs_of(uri)
    assert {entry.path for entry in client.list_artifacts(kept.info.run_id)} >= {"evaluations.csv", "settings.json"}
    assert not (tmp_path / "run" / "mlflow" / "mlflow.db").exists()
    assert not any("secret" in note for note in listener.notes)
    assert "secret" not in (tmp_path / "run" / "mlflow" / "run.json").read_text()


def the_database_is_a_link_to(victim: Path, store: Path) -> None:
    (store / "mlflow.db").rename(victim / "mlflow.db")
    (store / "mlflow.db").symlink_to(victim / "mlflow.db")


def a_file_of_the_database_is_a_link_to(victim: Path, store: Path) -> None:
    (store / "mlflow.db-journal").symlink_to(victim / "settings.json")


def the_store_is_a_link_to(victim: Path, store: Path) -> None:
    shutil.copytree(store, victim, dirs_exist_ok=True)
    shutil.rmtree(store)
    store.symlink_to(victim)


@pytest.mark.parametrize(
    "strike", [the_database_is_a_link_to, a_file_of_the_database_is_a_link_to, the_store_is_a_link_to]
)
def test_a_store_that_leads_out_of_the_run_folder_is_not_written(
    tmp_path: Path, strike: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "settings.json").write_text("mine")
    search([MLflow()], tmp_path / "run")
    strike(victim, tmp_path / "run" / "mlflow")
    before = {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()}
    listener = Listener()
    with evo.tracking.Tracking([MLflow()], listener) as tracking:
        run = evo.resume(tmp_path / "run", slope, budget=16, observer=tracking)
    assert {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()} == before
    [warning] = listener.warnings
    assert "is a link" in warning
    assert len(run.search_evaluations) == 16, "the search continues without it"


def test_a_database_that_names_another_place_has_nothing_written_there(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    search([MLflow()], tmp_path / "run")
    with closing(sqlite3.connect(tmp_path / "run" / "mlflow" / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET artifact_uri = ?", (victim.as_uri(),))
        database.execute("UPDATE experiments SET artifact_location = ?", (victim.as_uri(),))
    resume([MLflow()], tmp_path / "run", budget=14)
    assert list(victim.iterdir()) == []


def test_a_run_folder_that_was_moved_continues_in_its_own_store(tmp_path: Path) -> None:
    search([MLflow()], tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    resume([MLflow()], tmp_path / "moved", budget=14)
    assert not (tmp_path / "run").exists()
    client, [kept] = runs_of(f"sqlite:///{tmp_path / 'moved' / 'mlflow' / 'mlflow.db'}")
    assert len(client.get_metric_history(kept.info.run_id, "search/seconds")) == 14


def test_a_server_that_is_not_there_does_not_stop_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    listener = Listener()
    run = search([MLflow()], tmp_path / "run", listener)
    assert len(run.search_evaluations) == 12
    assert len(listener.warnings) == 1
    assert listener.warnings[0].startswith("MLflow is left out from here on")
