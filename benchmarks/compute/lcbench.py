"""The LCBench part of YAHPO Gym: a network that predicts accuracy and time of MLPs on 34 datasets, epoch by epoch.

Pfisterer et al.: YAHPO Gym (AutoML 2022); Zimmer et al.: Auto-PyTorch Tabular (TPAMI 2021). The data, `model.onnx` and
`encoding.json` of `slds-lmu/yahpo_data`, are not part of evo; they need onnxruntime.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compute.curve_tasks import CurveTask, Vector
from evo.errors import ConfigurationError
from evo.individual import Genome
from evo.space import SearchSpace
from evo.space.genes import Float, Gene, Integer

EPOCHS = 52
NOISE = 0.5
"""Points of accuracy; the surrogate itself is smooth."""
COLUMNS = ("epoch", "batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout")
"""In the order of the network's input."""
GENES: dict[str, Gene] = {
    "batch_size": Integer(16, 512, log=True),
    "learning_rate": Float(1e-4, 1e-1, log=True),
    "momentum": Float(0.1, 0.99),
    "weight_decay": Float(1e-5, 1e-1),
    "num_layers": Integer(1, 5),
    "max_units": Integer(64, 1024, log=True),
    "max_dropout": Float(0.0, 1.0),
}


class LCBench(CurveTask):
    """Validation accuracy in percent, and seconds, of one dataset.

    Args:
        folder: Holds `model.onnx` and `encoding.json`.
        dataset: OpenML's number of the task.
    """

    def __init__(self, folder: Path, dataset: str):
        super().__init__(f"lcbench-{dataset}", SearchSpace(GENES, name=f"lcbench-{dataset}"), EPOCHS, NOISE)
        self._session, self._number = _session(folder), _datasets(folder)[dataset]

    def curves(self, genomes: Sequence[Genome], steps: Vector) -> tuple[Vector, Vector]:
        rows = np.array([[genome.get(name, 0) for name in COLUMNS] for genome in genomes], dtype=np.float32)
        rows = np.repeat(rows, len(steps), axis=0)
        rows[:, 0] = np.tile(steps, len(genomes))
        number = np.full((len(rows), 1), self._number, dtype=np.int32)
        [found] = self._session.run(None, {"x_cat": number, "x_cont": rows})
        seconds, accuracy = (found[:, place].reshape(-1, len(steps)).astype(np.float64) for place in (0, 1))
        # The network's seconds do not always rise.
        return accuracy, np.maximum.accumulate(np.maximum(seconds, 1e-3), axis=1) + 1e-6 * steps


def datasets(folder: Path) -> list[str]:
    """Return the datasets of the benchmark.

    Raises:
        ConfigurationError: The folder does not hold the data.
    """
    return sorted(name for name in _datasets(folder) if name not in ("#na#", "167083"))  # the network knows 34 of these


@cache
def _datasets(folder: Path) -> dict[str, int]:
    try:
        encoding = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
        return {str(name): int(number) for name, number in encoding["OpenML_task_id"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{folder}: has no LCBench data ({error}); model.onnx and encoding.json are in the folder lcbench of "
            "github.com/slds-lmu/yahpo_data"
        ) from error


@cache
def _session(folder: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ConfigurationError("LCBench: needs onnxruntime; pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
