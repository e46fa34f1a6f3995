"""A search in MLflow: one run per search, its evaluations as metrics and as tables."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import shlex
import time
from pathlib import Path
from typing import Any

from evo.files import own_folder, write_json
from evo.record.run import Run
from evo.tracking.base import Outcome, Tracker
from evo.tracking.scalars import Scalars

FOLDER, DATABASE, ARTIFACTS = "mlflow", "mlflow.db", "artifacts"
EXPERIMENT = "evo"
URI = "MLFLOW_TRACKING_URI"
QUICK = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""A server that does not answer must not delay a search (MLflow waits for minutes); telemetry stays off."""
PARAMETERS = (
    *("space_name", "strategy", "seed", "population", "pending", "fitness", "direction", "model", "objective"),
    "free_steps",
)
TAGS = ("budget", "generations", "finalists", "device", "device_name", "precision", "engine", "workers")
"""Settings that may change when a run resumes: MLflow's parameters never change."""
FILES = ("settings.json", "evaluations.csv", "generations.csv", "curves.csv", "hall_of_fame.csv", "finalists.csv")
EVERY_SECONDS = 2.0
"""Between two requests: one takes some 40 ms, and objectives may be faster."""
BATCH = 500
"""Metrics per request: MLflow takes 1000."""
STATUS: dict[Outcome, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflow(Tracker):
    """Writes to the store that MLFLOW_TRACKING_URI names, by default an SQLite file in the folder `mlflow` of the run.

    A run that resumes continues in the same run of MLflow; what is there is not written again. The tables are artifacts
    only in a store that the user has named: the one in the run folder lies next to them, and its database, which may
    come from someone else, would say where they are written.
    """

    name, package = "MLflow", "mlflow"

    def begin(self, run: Run) -> str:
        for name, value in QUICK.items():
            os.environ.setdefault(name, value)
        mlflow = importlib.import_module("mlflow")
        for logger in ("mlflow", "mlflow.store.db.utils", "alembic"):
            logging.getLogger(logger).setLevel(logging.WARNING)
        given = os.environ.get(URI)
        folder = own_folder(run.folder / FOLDER)
        folder.mkdir(exist_ok=True)
        for path in folder.rglob("*"):
            own_folder(path)  # SQLite follows links
        self._files = FILES if given else ()
        uri = given or f"sqlite:///{(folder / DATABASE).resolve()}"
        self._client: Any = mlflow.MlflowClient(tracking_uri=uri)
        # A URI may hold a password: it is neither kept nor shown.
        store = hashlib.sha256(given.encode()).hexdigest() if given else FOLDER
        self._id = self._same_run(folder, store) or self._new_run(run, folder, store)
        self._known = {  # the steps that each metric already has
            name: {entry.step for entry in self._client.get_metric_history(self._id, name)}
            for name in self._client.get_run(self._id).data.metrics
        }
        self._scalars = Scalars(run)
        self._set_tags({name: getattr(run.settings, name) for name in TAGS})
        self._write_new()
        how = "as MLFLOW_TRACKING_URI says" if given else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
        return f"MLflow: run {run.name} of the experiment {EXPERIMENT}, {how}"

    def update(self, run: Run) -> None:
        if time.monotonic() >= self._next:
            self._write_new()

    def _write_new(self) -> None:
        metric = importlib.import_module("mlflow.entities").Metric
        new = [scalar for scalar in self._scalars.new() if scalar.step not in self._known.get(scalar.name, ())]
        metrics = [metric(scalar.name, scalar.value, int(scalar.time * 1000), scalar.step) for scalar in new]
        for first in range(0, len(metrics), BATCH):
            self._client.log_batch(self._id, metrics=metrics[first : first + BATCH])
        self._next = time.monotonic() + EVERY_SECONDS

    def end(self, run: Run, outcome: Outcome) -> None:
        self._write_new()
        if run.ranked():
            best = run.best
            genes = {f"best.{name}": run.space.genes[name].to_text(value) for name, value in best.config.items()}
            self._set_tags({"best.individual": best.id, "best.fitness": best.fitness, **genes})
        for name in self._files:
            if (run.folder / name).is_file():
                self._client.log_artifact(self._id, str(run.folder / name))
        self._client.set_terminated(self._id, status=STATUS[outcome])

    def _same_run(self, folder: Path, store: str) -> str | None:
        """Return the id of the run that this search already has in the store; None if it has none."""
        try:
            noted = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            if noted["store"] != store:
                return None
            found = str(self._client.get_run(noted["run_id"]).info.run_id)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        except Exception as error:
            if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                return None  # the store was made again
            raise
        self._client.update_run(found, status="RUNNING")
        return found

    def _new_run(self, run: Run, folder: Path, store: str) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment is not None else None
        place = None if self._files else (folder / ARTIFACTS).resolve().as_uri()
        number = number or self._client.create_experiment(EXPERIMENT, artifact_location=place)
        made = str(self._client.create_run(number, run_name=run.name).info.run_id)
        write_json(folder / "run.json", {"run_id": made, "store": store})
        values = {name: getattr(run.settings, name) for name in PARAMETERS}
        values["dataset"] = (run.settings.dataset or {}).get("variant", "none")
        for name, value in values.items():
            if value is not None:
                self._client.log_param(made, name, value)
        return made

    def _set_tags(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if value is not None:
                self._client.set_tag(self._id, name, value)
