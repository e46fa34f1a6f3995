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
from evo.tracking.mlflow_tracker import _is_own
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
    assert {entry.path for entry in client.list_artifacts(kept.info.run_id)} >= {"evaluations.csv", "settings.json"}


def test_the_store_of_the_environment_is_used_and_its_address_is_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'secret.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)  # MLflow puts the artifacts of such a store beside it
    listener = Listener()
    search([MLflow()], tmp_path / "run", listener)
    assert listener.warnings == []
    _, runs = runs_of(uri)
    assert len(runs) == 1
    assert not (tmp_path / "run" / "mlflow" / "mlflow.db").exists()
    assert not any("secret" in note for note in listener.notes)
    assert "secret" not in (tmp_path / "run" / "mlflow" / "run.json").read_text()


def artifacts_lead_to(victim: Path, store: Path) -> None:
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET artifact_uri = ?", (victim.as_uri(),))


def experiments_lead_to(victim: Path, store: Path) -> None:
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (victim.as_uri(),))
    (store / "run.json").unlink()  # so that a run is made in that experiment


def the_database_is_a_link_to(victim: Path, store: Path) -> None:
    (store / "mlflow.db").rename(victim / "mlflow.db")
    (store / "mlflow.db").symlink_to(victim / "mlflow.db")


def an_artifact_is_a_link_to(victim: Path, store: Path) -> None:
    [artifact] = store.glob("artifacts/*/artifacts/settings.json")
    artifact.unlink()
    artifact.symlink_to(victim / "settings.json")


def the_store_is_a_link_to(victim: Path, store: Path) -> None:
    shutil.copytree(store, victim, dirs_exist_ok=True)
    shutil.rmtree(store)
    store.symlink_to(victim)


def the_database_is_none(victim: Path, store: Path) -> None:
    (store / "mlflow.db").write_text("nothing")


def test_a_store_that_leads_out_of_the_run_folder_is_not_its_own(tmp_path: Path) -> None:
    search([MLflow()], tmp_path / "run")
    store, victim = tmp_path / "run" / "mlflow", tmp_path / "victim"
    assert _is_own(store)
    shutil.copytree(store, tmp_path / "whole")
    for strike in (
        artifacts_lead_to,
        experiments_lead_to,
        the_database_is_a_link_to,
        an_artifact_is_a_link_to,
        the_store_is_a_link_to,
        the_database_is_none,
    ):
        victim.mkdir()
        strike(victim, store)
        assert not _is_own(store), strike.__name__
        store.unlink() if store.is_symlink() else shutil.rmtree(store)
        shutil.rmtree(victim)
        shutil.copytree(tmp_path / "whole", store)
        assert _is_own(store)


@pytest.mark.parametrize("strike", [artifacts_lead_to, the_database_is_a_link_to])
def test_a_strangers_store_makes_nothing_written_outside_the_run_folder(
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
        evo.resume(tmp_path / "run", slope, budget=16, observer=tracking)
    assert {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()} == before
    assert listener.warnings == []
    assert any("mlflow is left as it is, for it leads out of the run folder" in note for note in listener.notes)
    store = tmp_path / "run" / "mlflow-2"
    client, [kept] = runs_of(f"sqlite:///{store / 'mlflow.db'}")
    assert len(client.get_metric_history(kept.info.run_id, "search/seconds")) == 16
    assert list(store.glob("artifacts/*/artifacts/settings.json"))


def test_a_database_that_changes_its_mind_is_asked_again_before_artifacts_are_written(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    search([MLflow()], tmp_path / "run")
    with closing(sqlite3.connect(tmp_path / "run" / "mlflow" / "mlflow.db")) as database, database:
        database.execute(
            "CREATE TRIGGER strike AFTER UPDATE OF status ON runs BEGIN "
            f"UPDATE runs SET artifact_uri = '{victim.as_uri()}'; END"
        )
    listener = Listener()
    with evo.tracking.Tracking([MLflow()], listener) as tracking:
        evo.resume(tmp_path / "run", slope, budget=16, observer=tracking)
    assert list(victim.iterdir()) == []
    [warning] = listener.warnings
    assert "is not in the run folder" in warning


def test_a_run_folder_that_was_moved_has_its_artifacts_where_it_is(tmp_path: Path) -> None:
    search([MLflow()], tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    resume([MLflow()], tmp_path / "moved", budget=14)
    assert not (tmp_path / "run").exists()
    assert list((tmp_path / "moved" / "mlflow-2").glob("artifacts/*/artifacts/settings.json"))
    assert _is_own(tmp_path / "moved" / "mlflow-2")


def test_a_server_that_is_not_there_does_not_stop_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    listener = Listener()
    run = search([MLflow()], tmp_path / "run", listener)
    assert len(run.search_evaluations) == 12
    assert len(listener.warnings) == 1
    assert listener.warnings[0].startswith("MLflow is left out from here on")
