"""The winner of an objective that reports, trained once more for the files that its training leaves."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from evo.errors import ConfigurationError, SearchError, StorageError
from evo.evaluators.in_process import InProcessEvaluator
from evo.evaluators.objective import ObjectiveSetup
from evo.evaluators.signature import Objective
from evo.evaluators.trial_record import FILES
from evo.loop.dispatch import task_of
from evo.loop.execution import check_same_objective
from evo.loop.search_loop import Observer
from evo.numbers import number_text
from evo.record.run import Run


def check_folder(run: Run, objective: Objective | None, folder: Path, *, overwrite: bool) -> None:
    """Check that the files of a run's winner can be had, and be written to a folder.

    Raises:
        ConfigurationError: They cannot.
    """
    if run.settings.max_steps is None:
        raise ConfigurationError(
            f"--weights: the objective of run {run.shown_path} takes no trial, so its trainings have no folder; "
            "evo has trained no network"
        )
    if objective is None:
        raise ConfigurationError(
            f"--weights: run {run.shown_path} was made with the objective {run.settings.objective}, which is not kept "
            "in the folder; give it in Python: evo.export(folder, objective, weights=FOLDER)"
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"--weights {folder}: is a file; the training of an objective leaves a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise ConfigurationError(f"--weights {folder}: exists; choose another folder, or give --overwrite")


def save_folder(run: Run, objective: Objective, folder: Path, observer: Observer) -> None:
    """Train the winner again, as the search did, and copy what is in its folder then.

    Files of the same names are replaced, others stay.

    Raises:
        SearchError: The training did not end as it did before.
        StorageError: The disk does not take the files.
    """
    check_same_objective(run, objective, None, observer)
    best, settings = run.best, run.settings
    observer.notify(f"training individual {best.id} again")
    with tempfile.TemporaryDirectory(prefix="evo-trial-") as place:
        task = task_of(run, best.id, 0, best.config, keep_weights=False)
        setup = ObjectiveSetup(objective, settings.threads, settings.max_steps, settings.objectives)
        with InProcessEvaluator(setup) as evaluator:
            evaluator.submit(replace(task, folder=str(Path(place) / "trial")))
            evaluation = evaluator.next_completed()
        if evaluation is None or not evaluation.complete or evaluation.fitness is None:
            reason = "it was stopped" if evaluation is None else f"{evaluation.status}: {evaluation.error}"
            raise SearchError(f"individual {best.id} did not train again: {reason}")
        files = Path(place) / "trial" / FILES
        if not files.is_dir() or not any(files.iterdir()):
            raise SearchError(f"the training of individual {best.id} has left no file in trial.folder")
        try:
            shutil.copytree(files, folder, dirs_exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written: {error}") from None
    same = "the same" if evaluation.fitness == run.evaluations[best.id, 0].fitness else "recorded: "
    recorded = "" if same == "the same" else number_text(run.evaluations[best.id, 0].fitness or 0.0)
    observer.notify(f"{folder}: fitness {number_text(evaluation.fitness)} ({same}{recorded})")
