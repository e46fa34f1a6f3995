"""MLflow has one run a search, which goes on where the search does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.tracking import MLflow
from tests.tracking.searches import Listener, StopAfter, resume, search

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


def test_a_search_is_one_run_that_goes_on_after_a_stop(tmp_path: Path) -> None:
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


def test_the_store_of_the_environment_is_taken_and_its_address_told_nobody(
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


def test_a_server_that_is_not_there_does_not_stop_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    listener = Listener()
    run = search([MLflow()], tmp_path / "run", listener)
    assert len(run.search_evaluations) == 12
    assert len(listener.warnings) == 1
    assert listener.warnings[0].startswith("MLflow is left out from here on")
