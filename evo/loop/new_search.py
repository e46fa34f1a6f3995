"""What a new search is asked for: checked against its space and strategy, and filled in where these decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evo.errors import ConfigurationError
from evo.evaluators.signature import Objective, takes_trial
from evo.individual import Genome
from evo.loop.earlier import is_table
from evo.loop.search_loop import Algorithm, Observer, algorithm_of
from evo.names import PRUNERS, check_name
from evo.numbers import whole_number
from evo.record.history import HALL_OF_FAME
from evo.record.run import Run
from evo.record.settings import Settings
from evo.space import SearchSpace
from evo.space.problems import SpaceError, schedules_by_length
from evo.space.search_space import configurations
from evo.strategies import STRATEGIES
from evo.strategies.pareto import DEFAULT_OBJECTIVES


def known_configurations(
    space: SearchSpace,
    own: Sequence[Genome],
    initial: Sequence[Mapping[str, Any]],
    initial_from: Any,
    observer: Observer,
) -> list[Genome]:
    """Return the configurations that the first population begins with.

    Args:
        space: What is searched.
        own: Those of the space itself.
        initial: Those of the caller.
        initial_from: A run whose best genomes are taken, too, repaired to the bounds of the space; nothing is taken
            from a table, whose results are known.
        observer: Is told of what was repaired.

    Raises:
        ConfigurationError: One of the caller's does not fit the space, or no genome of the run does.
    """
    given = configurations(initial)
    problems = [f"initial[{n}].{p}" for n, values in enumerate(given) for p in space.problems(values, complete=False)]
    if problems:
        raise SpaceError(space.name, problems)
    known = [dict(values) for values in (*own, *given)]
    if initial_from is not None and not is_table(initial_from):
        source = [entry.config for entry in Run.load(initial_from).ranked()[:HALL_OF_FAME]]
        best = [space.repair(config) for config in source]
        if best != source:
            observer.notify(f"note: genomes of {initial_from} were fitted to this space (values moved, genes left out)")
        if not any(best):
            raise ConfigurationError(f'--initial-from {initial_from}: has no genome that fits the space "{space.name}"')
        known += best
    return known


def check_steps(objective: Objective | None, max_steps: int | None) -> None:
    """Check that an objective that takes a trial has its number of steps, and that no other has one.

    Raises:
        ConfigurationError: It is missing, or nothing reads it.
    """
    takes = objective is not None and takes_trial(objective)
    if takes and max_steps is None:
        raise ConfigurationError(
            "max_steps: missing; an objective that takes a trial reports by steps: give the steps of a full training, "
            "as in evo.search(…, max_steps=30)"
        )
    if max_steps is None:
        return
    whole_number("max_steps", max_steps, 1)
    if objective is None:
        raise ConfigurationError(
            "max_steps: is for an objective that takes a trial; the steps or epochs of the space say how long networks "
            "are trained"
        )
    if not takes:
        raise ConfigurationError(
            "max_steps: the objective takes no trial, so nothing reads it; write it as f(config, seed, trial), or "
            "leave max_steps out"
        )


def checked_pruner(
    pruner: str | None, strategy: str, space: SearchSpace, max_steps: int | None, objective: Objective | None
) -> str | None:
    """Return the name of a pruner, if trainings of this search can be ended early.

    Raises:
        ConfigurationError: There is no such pruner, or it has nothing to do here.
    """
    if pruner is None:
        return None
    check_name("--pruner", pruner, PRUNERS)
    if objective is not None and max_steps is None:
        raise ConfigurationError(
            "--pruner: ends trainings by what they report; let the objective take a trial: f(config, seed, trial)"
        )
    if "continuations" in STRATEGIES[strategy].options:
        raise ConfigurationError(
            f"--pruner: strategy {strategy} decides itself how far to train; leave one of them out"
        )
    if "objectives" in STRATEGIES[strategy].options:
        raise ConfigurationError(
            f"--pruner: compares trainings by one value, and strategy {strategy} has several objectives; leave one out"
        )
    if objective is None and (schedules := schedules_by_length(space.genes, space.training)):
        raise ConfigurationError(
            "--pruner: compares trainings in the middle, which is fair only for a constant learning rate; the rate of "
            f"{' and '.join(schedules)} depends on the number of steps: leave --pruner out"
        )
    return pruner


def with_free_steps(space: SearchSpace, strategy: str, objective: Objective | None) -> SearchSpace:
    """Return the space whose steps are all that there are: each training shows what fewer would have reached.

    Raises:
        ConfigurationError: Nothing is trained, or fewer steps cannot be read from the curve of more.
    """
    if objective is not None or space.model is None:
        raise ConfigurationError("--free-steps: reads learning curves, which only trainings of a model have")
    if schedules := schedules_by_length(space.genes, space.training):
        raise ConfigurationError(
            "--free-steps: reads fewer steps from the curve of more, which is right only for a constant learning rate; "
            f"the rate of {' and '.join(schedules)} depends on the number of steps: leave --free-steps out"
        )
    if "continuations" in STRATEGIES[strategy].options:
        raise ConfigurationError(f"--free-steps: strategy {strategy} decides how long to train; leave one of them out")
    return space.with_most_steps()


def optimised(settings: Settings, space: SearchSpace) -> tuple[str, ...]:
    """Return what a search is to optimise, by name, as far as its strategy optimises several."""
    if "objectives" not in STRATEGIES[settings.strategy].options:
        return ()
    return tuple(settings.objectives or space.search.objectives or DEFAULT_OBJECTIVES)


def resolve(settings: Settings, space: SearchSpace, population: int | None) -> Algorithm:
    """Fill in what the space and the strategy decide where nothing was given; return the strategy.

    Raises:
        ConfigurationError: The strategy cannot search the space, or not with these settings.
    """
    known = STRATEGIES[settings.strategy].options
    if settings.pending is None and "pending" in known:
        settings.pending = space.search.pending
    if settings.objectives is None and "objectives" in known:
        settings.objectives = dict(space.search.objectives or {}) or None
        if settings.objective is not None and settings.objectives is None:
            raise ConfigurationError(
                f"strategy {settings.strategy}: name what your function measures, as in "
                'objectives={"loss": "minimise", "parameters": "minimise"}, or take another strategy'
            )
    if settings.budget is None and settings.generations is None:
        settings.budget, settings.generations = space.search.budget, space.search.generations
    algorithm = algorithm_of(space, settings, population if population is not None else space.search.population)
    settings.population = algorithm.population_size
    settings.earlier = settings.earlier[len(settings.earlier) - len(algorithm.earlier) :]
    settings.budget, settings.generations = algorithm.budget, algorithm.generations
    settings.pending = getattr(algorithm, "pending", None)
    settings.objectives = getattr(algorithm, "objectives", settings.objectives)
    return algorithm


def check_measured(settings: Settings, space: SearchSpace, observer: Observer) -> None:
    """Check that what a search of several objectives asks for is measured.

    Raises:
        ConfigurationError: It is not.
    """
    if space.search.objectives and settings.objectives is None:
        observer.notify(f"note: the space's objectives are for strategy pareto; {settings.strategy} uses only fitness")
    if settings.free_steps and "train_accuracy" in (settings.objectives or {}):
        raise ConfigurationError("--free-steps: a best checkpoint has no train_accuracy; leave that objective out")


def note_what_is_left_out(settings: Settings, space: SearchSpace, algorithm: Algorithm, observer: Observer) -> None:
    """Say so if the bounds leave no room for evolution or for known configurations, or if nothing reads [training].

    Of a space that names a model, [training] is for that; an objective may stand in for it.
    """
    given = ", ".join(name for name in type(space.training).model_fields if name in space.training.model_fields_set)
    if settings.objective is not None and space.model is None and given:
        observer.warn(
            f"note: the objective is given genes only, so nothing reads [training] {given} of the space {space.name}"
        )
    first, known = getattr(algorithm, "first_size", settings.population), len(settings.initial)
    trainings = algorithm.limit - len(algorithm.earlier)
    if algorithm.limit <= first and trainings and settings.strategy != "random":
        drawn = f"the first {first - len(algorithm.earlier)} genomes are drawn, and there are {trainings} trainings"
        observer.notify(f"note: {drawn}: nothing evolves")
    if known > settings.population:
        observer.warn(f"note: of {known} known configurations the first {settings.population} are tried")
