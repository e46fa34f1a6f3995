"""Table 1 of the 2019 report as data: its six networks, its protocol, and what it says they reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evo.errors import ConfigurationError, did_you_mean
from evo.individual import Genome
from evo.loop.listed import space_of
from evo.report2019 import NAME
from evo.space import SearchSpace

SEED = 42
"""The report's own; every training of ours derives one of its own from it."""
DROPOUT = 0.5
GENES = ("hidden_layers", "learning_rate", "batch_size", "steps", "dropout", "batch_norm")


@dataclass(frozen=True)
class Row:
    """One row of the report's Table 1.

    Attributes:
        name: As the report has it.
        hidden_layers: Widths.
        learning_rate: Adam's; with more digits than the table has where the author's logs have them.
        batch_size: Images a step.
        steps: Optimiser steps.
        train: The train accuracy that the report quotes, a fraction.
        test: The test accuracy that the report quotes.
        dropout: Rate after every hidden activation.
        batch_norm: Whether batch norm stands before every linear layer.
    """

    name: str
    hidden_layers: tuple[int, ...]
    learning_rate: float
    batch_size: int
    steps: int
    train: float
    test: float
    dropout: float = 0.0
    batch_norm: bool = False

    @property
    def genome(self) -> Genome:
        """The configuration to train."""
        return {name: getattr(self, name) for name in GENES}


GA1 = ((1000, 500, 250, 100), 0.000168436712547, 1609, 4681)
ROWS: tuple[Row, ...] = (
    Row("Default", (100,), 2e-3, 200, 1500, 0.425, 0.444),
    Row("GA1", *GA1, 1.0, 0.537),
    Row("GA1 + dropout", *GA1, 0.635, 0.497, dropout=DROPOUT),
    Row("GA1 + dropout + batchnorm", *GA1, 0.826, 0.516, dropout=DROPOUT, batch_norm=True),
    Row("GA2", (1000, 100), 1.50e-4, 1824, 3030, 1.0, 0.506),
    Row("GA3", (1000, 1000), 5.720839146360543e-05, 809, 4365, 1.0, 0.535),
)
"""The report's Table 1; learning rates of GA1 and GA3 with the digits of the author's logs."""

TRAINING: dict[str, Any] = {
    "preprocess": "subtract_mean_image",
    "optimiser": "adam",
    "evaluate_every": 100,
    "training_mode": "whole",
}
"""The report's protocol: pixels in 0..255 minus the mean image, Adam, no decay, measured every 100 steps."""


def table1_space() -> SearchSpace:
    """Return the space that holds the six rows."""
    return space_of([row.genome for row in ROWS], name=NAME, model="mlp", dataset="cifar10", training=TRAINING)


def _network(model: str, genes: Genome, **training: Any) -> SearchSpace:
    return space_of([genes], name=model, model=model, dataset="cifar10", training=TRAINING | training)


_NUMPY_MLP: Genome = {"hidden_layers": (100,), "learning_rate": 2e-3, "batch_size": 200, "steps": 1500}
_BLOCKS: Genome = {"channels": (64, 128, 256, 512, 512), "single_blocks": 2, "batch_norm": True}
_CNN: Genome = _BLOCKS | {"learning_rate": 1e-4, "batch_size": 32, "steps": 5000}
FIGURE_NETWORKS: dict[str, SearchSpace] = {
    "numpy_mlp": _network("numpy_mlp", _NUMPY_MLP, optimiser="sgd"),
    # All 10,000 images at once would take gigabytes.
    "cnn": _network("cnn", _CNN, evaluate_every=500, training_mode="batches"),
}
"""The report's NumPy network (section 1) and CNN (section 4), which only its figures show."""


def chosen_rows(names: Sequence[str]) -> list[Row]:
    """Return rows by name, in the order of the table; all for no names.

    Case, blanks and signs between the words do not count: "ga1+dropout" is "GA1 + dropout".

    Raises:
        ConfigurationError: There is no such row.
    """
    known = {_plain(row.name): row for row in ROWS}
    for name in names:
        if _plain(name) not in known:
            rows = [row.name for row in ROWS]
            hint = f"{did_you_mean(name, rows)} It has: {', '.join(rows)}"
            raise ConfigurationError(f'--rows: no row "{name.strip()}" in the report\'s Table 1.{hint}')
    wanted = {_plain(name) for name in names} or set(known)
    return [row for key, row in known.items() if key in wanted]


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
