"""A search in MLflow: one run per search, its evaluations as metrics and as tables."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import re
import shlex
import sqlite3
import time
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from evo.errors import ConfigurationError
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
PARAMETERS = ("space_name", "strategy", "seed", "population", "pending", "fitness", "model", "objective", "free_steps")
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

    A run that resumes continues in the same run of MLflow; what is there is not written again. A store in the run
    folder says itself where artifacts go. One that names another place (someone else's, or in a folder that was moved
    since) is left as it is, and another one begun beside it: `mlflow-2`, …
    """

    name, package = "MLflow", "mlflow"

    def begin(self, run: Run) -> str:
        for name, value in QUICK.items():
            os.environ.setdefault(name, value)
        mlflow = importlib.import_module("mlflow")
        for logger in ("mlflow", "mlflow.store.db.utils", "alembic"):
            logging.getLogger(logger).setLevel(logging.WARNING)
        given = os.environ.get(URI)
        folder = own_folder(run.folder / FOLDER) if given else _own_store(run)
        folder.mkdir(exist_ok=True)
        self._artifacts = None if given else (folder / ARTIFACTS).resolve().as_uri()
        uri = given or f"sqlite:///{(folder / DATABASE).resolve()}"
        self._client: Any = mlflow.MlflowClient(tracking_uri=uri)
        # A URI may hold a password: it is neither kept nor shown.
        store = hashlib.sha256(uri.encode()).hexdigest()
        self._id = self._same_run(folder, store) or self._new_run(run, folder, store)
        self._known = {  # the steps that each metric already has
            name: {entry.step for entry in self._client.get_metric_history(self._id, name)}
            for name in self._client.get_run(self._id).data.metrics
        }
        self._scalars = Scalars(run)
        self._set_tags({name: getattr(run.settings, name) for name in TAGS})
        self._write_new()
        how = "as MLFLOW_TRACKING_URI says" if given else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
        left = "" if folder.name == FOLDER else f"; {FOLDER} is left as it is, for it leads out of the run folder"
        return f"MLflow: run {run.name} of the experiment {EXPERIMENT}, {how}{left}"

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
        if run.path is not None:
            self._check_artifacts()
            for name in FILES:
                if (run.path / name).is_file():
                    self._client.log_artifact(self._id, str(run.path / name))
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
        number = number or self._client.create_experiment(EXPERIMENT, artifact_location=self._artifacts)
        made = str(self._client.create_run(number, run_name=run.name).info.run_id)
        write_json(folder / "run.json", {"run_id": made, "store": store})
        values = {name: getattr(run.settings, name) for name in PARAMETERS}
        values["dataset"] = (run.settings.dataset or {}).get("variant", "none")
        for name, value in values.items():
            if value is not None:
                self._client.log_param(made, name, value)
        return made

    def _check_artifacts(self) -> None:
        """Check once more, just before writing, where artifacts go: a database may hold triggers.

        Raises:
            ConfigurationError: They would go out of the run folder.
        """
        place = str(self._client.get_run(self._id).info.artifact_uri)
        if self._artifacts is not None and not _is_within(place, self._artifacts):
            raise ConfigurationError(f"the database sends artifacts to {place}, which is not in the run folder")

    def _set_tags(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if value is not None:
                self._client.set_tag(self._id, name, value)


def _own_store(run: Run) -> Path:
    """Return the folder of a run's store: the first of mlflow, mlflow-2, … that is its own or does not exist yet."""
    names = (FOLDER if number == 1 else f"{FOLDER}-{number}" for number in count(1))
    return next(folder for name in names if _is_own(folder := run.folder / name))


def _is_own(folder: Path) -> bool:
    """Return whether what is written to a store stays in its folder: neither links nor its database lead elsewhere.

    The database is read without MLflow, which would write to it.
    """
    links = folder.is_symlink() or any(path.is_symlink() for path in folder.rglob("*"))
    if links or (folder.exists() and not folder.is_dir()):
        return False
    if not (folder / DATABASE).exists():
        return True
    try:
        with closing(sqlite3.connect(f"{(folder / DATABASE).resolve().as_uri()}?mode=ro", uri=True)) as database:
            views = database.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall()
            places = database.execute(
                "SELECT artifact_uri FROM runs UNION ALL SELECT artifact_location FROM experiments WHERE name = ?",
                (EXPERIMENT,),
            ).fetchall()
    except sqlite3.Error:
        return False
    # A view may give another answer each time; MLflow has none.
    return not views and all(_is_within(str(place), (folder / ARTIFACTS).resolve().as_uri()) for (place,) in places)


def _is_within(place: str, artifacts: str) -> bool:
    """Return whether a place is one that MLflow makes for artifacts below the given one."""
    return re.fullmatch(re.escape(artifacts) + r"(/[0-9a-f]{32}/artifacts)?", place) is not None
