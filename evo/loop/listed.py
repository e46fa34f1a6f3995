"""Listed configurations, each trained on several seeds and kept as a run like any other."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from evo.errors import ConfigurationError, listed
from evo.evaluators import Evaluator, Task
from evo.individual import GeneValue, Genome, Individual, replicate_number, training_seed
from evo.loop.execution import Execution, check_above_zero
from evo.loop.lifecycle import begin, checked_seed
from evo.loop.search_loop import Observer, SilentObserver, StopCheck
from evo.loop.tasks import evaluate_tasks
from evo.names import FITNESS_PARTS, OPTIMISERS, PREPROCESSING, check_name
from evo.record.run import Run
from evo.record.settings import LISTED, Settings, current_versions
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Gene, Layers
from evo.space.genes.base import GeneError
from evo.space.problems import SpaceError
from evo.space.settings import TrainingSettings

EVALUATE_EVERY = 100

DEFAULT_TRAINING: Genome = {"learning_rate": 1e-3, "batch_size": 200, "steps": 1500}
DEFAULT_NETWORKS: dict[str, Genome] = {
    "mlp": {"hidden_layers": (100,)},
    "cnn": {"channels": (32, 64)},
    # The report's, section 1.
    "numpy_mlp": {"hidden_layers": (100,), "learning_rate": 2e-3},
}
"""What `evo train` trains by default, by the model's name."""
DEFAULT_SETTINGS: dict[str, dict[str, Any]] = {
    "numpy_mlp": {"optimiser": "sgd", "preprocess": "subtract_mean_image"},
}
"""Fixed settings of a model that differ from those of `TrainingSettings`."""


def train_configurations(
    space: SearchSpace,
    configurations: Sequence[Genome],
    execution: Execution,
    *,
    seeds: int = 1,
    seed: int = 0,
    fitness: str = "validation",
    keep_weights: bool = False,
    observer: Observer | None = None,
    stop_check: StopCheck = lambda: None,
) -> Run:
    """Train configurations, each on several seeds; `evo.resume` continues the run.

    Args:
        space: A space that holds them, see `space_of`; names model, dataset and what is fixed.
        configurations: What to train.
        execution: Where and how.
        seeds: Trainings of each configuration.
        seed: What their seeds derive from.
        fitness: "validation", or "test" to train on the whole training set and measure on the test set.
        keep_weights: Leave the trained weights in the run folder, `weights/<individual>-<replicate>.safetensors`.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end it.

    Raises:
        ConfigurationError: Something that was asked for is wrong; nothing was written.
        Stop: The stop check or the time budget ended it.
    """
    check_seeds(seeds)
    check_name("--fitness", fitness, FITNESS_PARTS)
    settings = Settings(
        space=space.to_dict(),
        space_name=space.name,
        strategy=LISTED,
        seed=checked_seed(seed),
        population=len(configurations),
        generations=None,
        budget=None,
        time_budget=execution.time_budget,
        finalists=0,
        seeds=seeds,
        keep_weights=keep_weights,
        fitness=fitness,
        model=space.model,
        initial=list(configurations),
        versions=current_versions(),
    )
    return begin(space, settings, execution, train_listed, observer=observer or SilentObserver(), stop_check=stop_check)


def check_seeds(seeds: int | None) -> None:
    """Check a number of trainings of each configuration, where one was given.

    Raises:
        ConfigurationError: It is below 1, or so large that the replicates would be those of finalists.
    """
    check_above_zero(seeds=seeds)
    most = replicate_number("finalist")
    if seeds is not None and seeds >= most:
        raise ConfigurationError(f"--seeds: must be below {most}, got {seeds}")


def train_listed(
    run: Run, evaluator: Evaluator, observer: Observer, stop_check: StopCheck, added: Sequence[Genome] = ()
) -> None:
    """Do what is left of a run of listed configurations, and of those that are added to it now.

    Only the journal says what was added: the settings stay what the run began with.
    """
    configurations = run.configurations
    configurations += [genome for genome in added if genome not in configurations]
    for number in range(len(run.individuals), len(configurations)):
        run.record_proposal(Individual(number, configurations[number], operator=LISTED))
    observer.started(run, len(configurations) * run.settings.seeds)
    replicates = range(run.settings.seeds)
    tasks = [_task(run, individual, replicate) for replicate in replicates for individual in run.individuals]
    evaluate_tasks(run, evaluator, observer, stop_check, tasks, by_replicate=True)
    members = tuple(individual.id for individual in run.individuals)
    if run.generations.get(0) != members:
        run.record_generation(0, members)


def _task(run: Run, individual: Individual, replicate: int) -> Task:
    return Task(
        individual.id,
        replicate,
        training_seed(run.settings.seed, individual.genome, replicate),
        individual.config,
        weights=run.weights(individual.id, replicate) if run.settings.keep_weights else None,
        checkpoint=run.checkpoint(individual.id, replicate),
    )


def space_of(
    configurations: Sequence[Mapping[str, GeneValue]],
    *,
    name: str,
    model: str,
    dataset: str | None = None,
    training: TrainingSettings | Mapping[str, Any] | None = None,
) -> SearchSpace:
    """Return the smallest space that holds configurations of the same genes, with them as its known configurations.

    Raises:
        ConfigurationError: The model or the training cannot take a value; every problem is named.
    """
    genes: dict[str, Gene] = {}
    for gene in configurations[0]:
        try:
            genes[gene] = _gene([values[gene] for values in configurations])
        except GeneError as error:
            raise ConfigurationError(_worded(error.problems(f"genes.{gene}"), name)) from None
    try:
        return SearchSpace(genes, name=name, model=model, dataset=dataset, training=training, initial=configurations)
    except SpaceError as error:
        raise ConfigurationError(_worded(error.problems, name)) from None


def _worded(problems: Sequence[str], name: str) -> str:
    """Return what is wrong with genes that were given as options, not in a file."""
    return listed(
        [re.sub(r"^genes\.(\w+)[\w.]*", _as_option, problem) for problem in problems], f"{name}: wrong settings"
    )


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
        given[name] = _value(value)
    fixed = {name: value for name, value in settings.items() if value is not None}
    for name, known in (("optimiser", OPTIMISERS), ("preprocess", PREPROCESSING)):
        if name in fixed:
            check_name(f"--{name}", fixed[name], known)
    return {**DEFAULT_TRAINING, **DEFAULT_NETWORKS.get(model, {}), **given}, {
        **DEFAULT_SETTINGS.get(model, {}),
        **fixed,
    }


def _layers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigurationError(f'{_option(name)}: must be whole numbers such as 1000,500, got "{text}"') from None


def _value(text: str) -> GeneValue:
    """Return the number, truth value or layer list that a text writes, or the text."""
    if text in ("true", "false"):
        return text == "true"
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return read(text)
    with contextlib.suppress(ConfigurationError):
        return _layers("", text)
    return text


def _option(gene: str) -> str:
    return "--" + gene.replace("_", "-")


def _as_option(found: re.Match[str]) -> str:
    return _option(found[1])


def _gene(values: Sequence[GeneValue]) -> Gene:
    """Return the gene whose choices are exactly these values."""
    choices = tuple(dict.fromkeys(values))
    if layers := tuple(choice for choice in choices if isinstance(choice, tuple)):
        return Layers(choices=layers)
    scalars = tuple(choice for choice in choices if not isinstance(choice, tuple))
    return Boolean() if isinstance(scalars[0], bool) else Categorical(choices=scalars)
