"""The configuration that the options of `evo train` describe, by themselves or as changes of a file."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evo.cli.commands.shell import execution_of
from evo.errors import ConfigurationError
from evo.individual import Genome
from evo.loop.listed import space_of, train_configurations, worded
from evo.names import AUGMENTATIONS, OPTIMISERS, PREPROCESSING, SCHEDULES, TRAINING_MODES, check_name
from evo.record.folder import OWN_FILES, is_run
from evo.record.run import Run
from evo.space import SearchSpace
from evo.space.chosen import chosen
from evo.space.file import load_space
from evo.space.genes.layers import NO_LAYERS
from evo.space.problems import SpaceError
from evo.space.training_settings import EVALUATE_EVERY
from evo.space.typed import MODEL_OPTIONS, read_typed

GENES = (
    *MODEL_OPTIONS,
    *("learning_rate", "batch_size", "steps", "epochs", "weight_decay"),
)
"""Options that are genes, in the order of the table's columns."""
SETTINGS = (
    *("optimiser", "momentum", "schedule", "warmup", "cooldown", "augment", "crop_padding", "cutout"),
    *("label_smoothing", "test_flip", "preprocess", "training_mode", "evaluate_every"),
)
"""Options that are fixed settings of the space."""
LAYERS = ("hidden_layers", "channels")
KNOWN = {
    "optimiser": OPTIMISERS,
    "schedule": SCHEDULES,
    "augment": AUGMENTATIONS,
    "preprocess": PREPROCESSING,
    "training_mode": TRAINING_MODES,
}
"""The names that options take."""
NAME = "train"
"""Of the space, and of the folders of the runs."""
DEFAULT_MODEL = "mlp"
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
    _check_given_once(options)
    space = _space_of_options(options) if options["config"] is None else _space_of_file(options["config"], options)
    how = {"keep_weights": options["save"], **{name: options[name] for name in ("seeds", "seed", "fitness")}}
    return functools.partial(train_configurations, space, list(space.initial), execution_of(options), **how)


def _check_given_once(options: Mapping[str, Any]) -> None:
    """Raise if --gene and an option give the same value."""
    for text in options["gene"] or ():
        name = text.partition("=")[0]
        if name in (*GENES, *SETTINGS) and options[name] is not None:
            option = f"--{name.replace('_', '-')}"
            raise ConfigurationError(f"--gene {text}: {option} gives this value, too; leave one of them out")


def _space_of_options(options: Mapping[str, Any]) -> SearchSpace:
    model, settings = options["model"] or DEFAULT_MODEL, {name: options[name] for name in SETTINGS}
    if settings["evaluate_every"] is None and options["epochs"] is None:
        settings["evaluate_every"] = grid_for(options["steps"])
    genes = {name: options[name] for name in GENES}
    configuration, fixed = configuration_of(model, genes, options["gene"] or (), settings)
    return space_of([configuration], name=NAME, model=model, dataset="cifar10", training=fixed)


def _space_of_file(file: Path, options: Mapping[str, Any]) -> SearchSpace:
    """Return the space of the first complete known configuration of a space file, changed by options.

    Raises:
        ConfigurationError: The file has mistakes, it is a run, or an option does not fit it.
    """
    folder = file if file.is_dir() else file.parent
    if is_run(folder) and (file == folder or file.name in OWN_FILES):
        raise ConfigurationError(
            f"--config {file}: is a run, not a space file; this writes its winner to one: "
            f"{shlex.join(['evo', 'export', str(folder), '-o', 'winner.toml'])}"
        )
    space = load_space(file)
    changes = _given({name: options[name] for name in (*GENES, *SETTINGS)}, options["gene"] or ())
    if isinstance(steps := changes.get("steps"), int) and "evaluate_every" not in changes:
        changes["evaluate_every"] = min(space.training.evaluate_every or EVALUATE_EVERY, grid_for(steps))
    try:
        found = chosen(space, changes, name=NAME, model=options["model"])
    except SpaceError as error:
        raise ConfigurationError(worded(error.problems, f"--config {file} with these options", changes)) from None
    if found.model is None:
        raise ConfigurationError(f"--config {file}: names no model to train; give --model")
    return found


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
    given, fixed = _given(options, extra), _given(settings)
    configuration = DEFAULT_TRAINING | DEFAULT_NETWORKS.get(model, {}) | given
    if given.get("epochs") is not None and given.get("steps") is None:
        del configuration["steps"]
    return configuration, DEFAULT_SETTINGS.get(model, {}) | fixed


def _given(options: Mapping[str, Any], extra: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values of the options that were given, and of more genes as "name=value"."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name in LAYERS:
        if name in given:
            given[name] = _layers(name, given[name])
    for name in filter(given.__contains__, KNOWN):
        check_name(f"--{name.replace('_', '-')}", given[name], KNOWN[name])
    for text in extra:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError(f'--gene: must be NAME=VALUE, got "{text}"')
        given[name] = _layers(name, value) if name in LAYERS else read_typed(value)
    return given


def _layers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text != NO_LAYERS else ()
    except ValueError:
        option = name.replace("_", "-")
        raise ConfigurationError(
            f'--{option}: must be whole numbers such as 1000,500, or {NO_LAYERS} for none, got "{text}"'
        ) from None
