"""The configuration that the options of `evo train` describe."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evo.cli.commands.shell import execution_of
from evo.errors import ConfigurationError
from evo.individual import Genome
from evo.loop.listed import space_of, train_configurations
from evo.names import AUGMENTATIONS, OPTIMISERS, PREPROCESSING, SCHEDULES, TRAINING_MODES, check_name
from evo.record.run import Run
from evo.space.typed import read_typed

EVALUATE_EVERY = 100
GENES = (
    *("hidden_layers", "channels", "activation", "dropout", "batch_norm", "batch_norm_kind"),
    *("learning_rate", "batch_size", "steps", "epochs", "weight_decay"),
)
"""Options that are genes, in the order of the table's columns."""
SETTINGS = (
    *("optimiser", "momentum", "schedule", "warmup", "cooldown", "augment", "crop_padding", "cutout"),
    *("label_smoothing", "test_flip", "preprocess", "training_mode", "evaluate_every"),
)
"""Options that are fixed settings of the space."""
DEFAULT_TRAINING: Genome = {"learning_rate": 1e-3, "batch_size": 200, "steps": 1500}
DEFAULT_NETWORKS: dict[str, Genome] = {
    "mlp": {"hidden_layers": (100,)},
    "cnn": {"channels": (32, 64)},
    # The report's, section 1.
    "numpy_mlp": {"hidden_layers": (100,), "learning_rate": 2e-3},
}
"""What `evo train` trains by default, by the model's name."""
DEFAULT_SETTINGS: dict[str, dict[str, Any]] = {"numpy_mlp": {"optimiser": "sgd", "preprocess": "subtract_mean_image"}}
"""Fixed settings of a model that differ from those of `TrainingSettings`."""


def training_of(options: Mapping[str, Any]) -> Callable[..., Run]:
    """Return what the options of `evo train` ask for, as a function of `observer` and `stop_check`.

    Raises:
        ConfigurationError: An option does not fit the model, or a text is not what its option takes.
    """
    model, settings = options["model"], {name: options[name] for name in SETTINGS}
    if settings["evaluate_every"] is None and options["epochs"] is None:
        settings["evaluate_every"] = grid_for(options["steps"])
    genes = {name: options[name] for name in GENES}
    configuration, fixed = configuration_of(model, genes, options["gene"] or (), settings)
    space = space_of([configuration], name="train", model=model, dataset="cifar10", training=fixed)
    how = {"keep_weights": options["save"], **{name: options[name] for name in ("seeds", "seed", "fitness")}}
    return functools.partial(train_configurations, space, [configuration], execution_of(options), **how)


def grid_for(steps: int | None) -> int:
    """Return how many steps lie between two points of a learning curve, so that a short one has twenty, too."""
    return EVALUATE_EVERY if steps is None else max(1, min(EVALUATE_EVERY, steps // 20))


def configuration_of(
    model: str, options: Mapping[str, Any], extra: Sequence[str], settings: Mapping[str, Any]
) -> tuple[Genome, dict[str, Any]]:
    """Return the configuration and the fixed settings that options give, with the model's defaults for the rest.

    Args:
        model: A shipped model's name, or "package.module:function".
        options: Values by gene; None where nothing was given. Layer lists are texts such as "1000,500".
        extra: More genes as "name=value".
        settings: Fixed settings; None where nothing was given.

    Raises:
        ConfigurationError: A text is not what its option takes.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name in ("hidden_layers", "channels"):
        if name in given:
            given[name] = _layers(name, given[name])
    for text in extra:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError(f'--gene: must be NAME=VALUE, got "{text}"')
        given[name] = read_typed(value)
    fixed = {name: value for name, value in settings.items() if value is not None}
    known = {"optimiser": OPTIMISERS, "schedule": SCHEDULES, "augment": AUGMENTATIONS}
    known |= {"preprocess": PREPROCESSING, "training_mode": TRAINING_MODES}
    for name in filter(fixed.__contains__, known):
        check_name(f"--{name.replace('_', '-')}", fixed[name], known[name])
    configuration = DEFAULT_TRAINING | DEFAULT_NETWORKS.get(model, {}) | given
    if given.get("epochs") is not None and given.get("steps") is None:
        del configuration["steps"]
    return configuration, DEFAULT_SETTINGS.get(model, {}) | fixed


def _layers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        option = name.replace("_", "-")
        raise ConfigurationError(f'--{option}: must be whole numbers such as 1000,500, got "{text}"') from None
