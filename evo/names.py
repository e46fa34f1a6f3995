"""The names that people type, each defined once: strategies, engines, models, datasets, and how a training goes.

Each package maps its names to code, and a test holds the two equal. Options, help texts and checks are derived from
these lists, so a name is typed as `str` and checked where it is read.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from evo.errors import ConfigurationError, did_you_mean

AUTO = "auto"
"""Lets evo choose by what the hardware offers."""

STRATEGIES = ("surrogate", "halving", "ga", "ageing", "pareto", "cma", "random", "report2019", "report2019-fixed")
DEFAULT_STRATEGY = "surrogate"
MODELS = ("mlp", "cnn", "numpy_mlp")
DATASETS = ("cifar10", "cifar100", "mnist", "fashion_mnist", "svhn", "digits", "imagefolder", "npz")
GIVEN = "given"
"""The name of a dataset that was given by value, from Python."""
ENGINES = ("eager", "onednn")
PRECISIONS = ("fp32", "bf16")
OPTIMISERS = ("adam", "sgd", "muon")
SCHEDULES = ("constant", "cosine", "one_cycle", "trapezoid")
PREFIX_EXACT = ("constant",)
"""Schedules that give each step the same rate however many steps follow: a shorter training is a prefix of a longer."""
AUGMENTATIONS = ("none", "flip", "flip_crop")
PREPROCESSING = ("standardise", "subtract_mean_image")
DIRECTIONS = ("maximise", "minimise")
"""Whether a higher or a lower value of an objective is better."""
PRUNERS = ("median",)
RETRIES = ("failed",)
"""What a resume can try again."""
FITNESS_PARTS = ("validation", "test")
"""The part that fitness is measured on."""
LOSS = "loss"
FITNESS_MEASURES = ("accuracy", "balanced_accuracy", LOSS)
"""What is measured there; a loss is minimised."""
FITNESSES = (*FITNESS_PARTS, *FITNESS_MEASURES[1:])
"""What `--fitness` takes: a part, or a measure on the validation part."""
TRAINING_MODES = ("whole", "batches")
"""How the measurement of the 2019 report takes the held-out part: as one batch, or in batches."""


class CurveHook(NamedTuple):
    """What measures more at each point of a learning curve.

    Attributes:
        reference: "module:function"; the function gets the training in progress and returns named values.
        measures: Their names, in the order of the columns of `curves.csv`.
    """

    reference: str
    measures: tuple[str, ...]


CURVE_HOOKS = {
    "training_mode": CurveHook(
        "evo.report2019.training_mode:as_reported",
        (
            *("minibatch_accuracy", "minibatch_loss", "training_mode_accuracy", "training_mode_loss"),
            "whole_train_accuracy",
        ),
    )
}
"""The hooks by the key of `[training]` that asks for them."""


def is_reference(name: str | None) -> bool:
    """Return whether a name of a model or a dataset is that of a person's own function, "package.module:function"."""
    return name is not None and ":" in name


def load(reference: str) -> Any:
    """Return what a reference names: "module:attribute"."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def check_name(where: str, name: str, known: Sequence[str], *, hint: str = "") -> str:
    """Return a name that a person has given, if it is known.

    Args:
        where: What it was given for: an option or a key path, as "--engine" or "training.optimiser".
        name: What was given.
        known: The names there are.
        hint: What else could be given, for the message.

    Raises:
        ConfigurationError: There is no such name.
    """
    if name not in known:
        kind = where.removeprefix("--").rpartition(".")[2]
        raise ConfigurationError(
            f'{where}: unknown {kind} "{name}".{did_you_mean(str(name), known)} Known: {", ".join(known)}{hint}'
        )
    return name
