"""Listed configurations, each trained on several seeds and kept as a run like any other."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from evo.errors import ConfigurationError, listed
from evo.evaluation import replicate_number
from evo.evaluators import Evaluator
from evo.individual import GeneValue, Genome, Individual
from evo.loop.deadline import StopCheck
from evo.loop.dispatch import task_of
from evo.loop.execution import Execution
from evo.loop.lifecycle import begin
from evo.loop.search_loop import Observer, SilentObserver
from evo.loop.tasks import evaluate_tasks
from evo.numbers import whole_number
from evo.record.run import Run
from evo.record.settings import LARGEST_SEED, LISTED, Settings, current_versions
from evo.space import SearchSpace
from evo.space.chosen import fixed_gene
from evo.space.genes import Gene
from evo.space.genes.base import GeneError
from evo.space.problems import SpaceError
from evo.space.settings import part_and_measure, read_section
from evo.space.training_settings import TrainingSettings


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
        fitness: "validation", or "test" to train on the whole training set and measure on the test set; or another
            measure on the validation part: see `evo.names.FITNESSES`.
        keep_weights: Leave the trained weights in the run folder, `weights/<individual>-<replicate>.safetensors`.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end it.

    Raises:
        ConfigurationError: Something that was asked for is wrong; nothing was written.
        Stop: The stop check or the time budget ended it.
    """
    check_seeds(seeds)
    part, measure = part_and_measure(fitness, None)
    settings = Settings(
        space=space.to_dict(),
        space_name=space.name,
        strategy=LISTED,
        seed=whole_number("--seed", seed, most=LARGEST_SEED),
        population=len(configurations),
        generations=None,
        budget=None,
        time_budget=execution.time_budget,
        finalists=0,
        seeds=seeds,
        keep_weights=keep_weights,
        fitness=part,
        measure=measure,
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
    if seeds is not None:
        whole_number("--seeds", seeds, 1, replicate_number("finalist") - 1)


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
    tasks = [
        task_of(run, individual.id, replicate, individual.config, keep_weights=run.settings.keep_weights)
        for replicate in range(run.settings.seeds)
        for individual in run.individuals
    ]
    evaluate_tasks(run, evaluator, observer, stop_check, tasks, by_replicate=True)
    members = tuple(individual.id for individual in run.individuals)
    if run.generations.get(0) != members:
        run.record_generation(0, members)


def space_of(
    configurations: Sequence[Mapping[str, GeneValue]],
    *,
    name: str,
    model: str | None,
    dataset: str | None = None,
    training: TrainingSettings | Mapping[str, Any] | None = None,
) -> SearchSpace:
    """Return the smallest space that holds configurations of the same genes, with them as its known configurations.

    Raises:
        ConfigurationError: The model or the training cannot take a value; every problem is named.
    """
    heading = f"{name}: wrong settings"
    genes: dict[str, Gene] = {}
    for gene in configurations[0]:
        try:
            genes[gene] = fixed_gene([values[gene] for values in configurations])
        except GeneError as error:
            raise ConfigurationError(worded(error.problems(f"genes.{gene}"), heading)) from None
    settings, wrong = read_section(TrainingSettings, training or {}, "training")
    if wrong:
        raise ConfigurationError(worded(wrong, heading))
    try:
        return SearchSpace(genes, name=name, model=model, dataset=dataset, training=settings, initial=configurations)
    except SpaceError as error:
        raise ConfigurationError(worded(error.problems, heading)) from None


def worded(problems: Sequence[str], heading: str, options: Container[str] | None = None) -> str:
    """Return what is wrong with genes and settings that were given as options, not in a file.

    Args:
        problems: As a search space names them.
        heading: The first line.
        options: The names of those that were options; by default, all.
    """

    def as_option(found: re.Match[str]) -> str:
        is_option = options is None or found[1] in options
        return "--" + found[1].replace("_", "-") if is_option else found[0]

    places = r"\b(?:genes|training|initial\[0\])\.(\w+)[\w.]*"
    return listed([re.sub(places, as_option, text) for text in problems], heading)
