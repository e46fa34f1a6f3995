"""A search in TensorBoard: scalars, and each individual as a session of its hyperparameter view."""

from __future__ import annotations

import importlib
import shlex
import shutil
from typing import Any

from evo.evaluation import Evaluation
from evo.files import own_folder
from evo.record.run import Run
from evo.space.genes.values import value_text
from evo.tracking.base import Outcome, Tracker
from evo.tracking.scalars import Scalars

FOLDER = "tensorboard"
SESSIONS = 1000
"""Most individuals in the hyperparameter view: each has a folder, and TensorBoard reads them all."""


class TensorBoard(Tracker):
    """Writes to the folder `tensorboard` of the run with torch's own writer; a resume writes it from scratch."""

    name, package = "TensorBoard", "tensorboard"

    def begin(self, run: Run) -> str:
        folder = own_folder(run.folder / FOLDER)
        # The journal holds all there is to write: written from scratch, nothing is missing and nothing is there twice.
        # A folder that cannot be removed could be a link to another place: then nothing is written.
        if folder.exists():
            shutil.rmtree(folder)
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._writer: Any = writer(str(folder), flush_secs=10)
        self._scalars, self._sessions, self._seen = Scalars(run), 0, 0
        self.update(run)
        return f"TensorBoard: tensorboard --logdir {shlex.quote(str(folder))}"

    def update(self, run: Run) -> None:
        for scalar in self._scalars.new():
            self._writer.add_scalar(scalar.name, scalar.value, scalar.step, walltime=scalar.time)
        new = run.results[self._seen :]
        self._seen += len(new)
        for evaluation in new:
            if evaluation.complete and evaluation.replicate == 0 and self._sessions < SESSIONS:
                self._sessions += 1
                self._write_session(run, evaluation)

    def end(self, run: Run, outcome: Outcome) -> None:
        self.update(run)
        self._writer.close()

    def _write_session(self, run: Run, evaluation: Evaluation) -> None:
        cells = run.space.cells(run.config_of(evaluation.individual))
        # Hyperparameters there are numbers, texts and truth values.
        cells |= {name: value_text(cell) for name, cell in cells.items() if cell is None or isinstance(cell, tuple)}
        measured = {"fitness": evaluation.fitness, "loss": evaluation.loss, "parameters": evaluation.parameters}
        known = {f"individual/{name}": value for name, value in measured.items() if value is not None}
        self._writer.add_hparams(cells, known, run_name=f"individual-{evaluation.individual}")
