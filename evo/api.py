"""The Python interface: search, resume, load. The command line calls the same functions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from evo.display.choice import shows_progress
from evo.errors import ConfigurationError, RunError
from evo.evaluators.dask.connection import Where
from evo.evaluators.signature import Objective, name_of, takes_seed
from evo.loop.deadline import Stop, StopCheck
from evo.loop.earlier import earlier_results, is_table, note_earlier
from evo.loop.execution import Execution
from evo.loop.finished import has_planned_finalists, is_finished, is_searched
from evo.loop.goals import goals_of
from evo.loop.lifecycle import begin, resume_run
from evo.loop.listed import check_seeds
from evo.loop.new_search import (
    check_measured,
    check_steps,
    checked_pruner,
    known_configurations,
    note_what_is_left_out,
    optimised,
    resolve,
    with_free_steps,
)
from evo.loop.search_loop import Observer, SilentObserver
from evo.loop.work import ask_for_finalists, finish_search, first_given, more_search, more_seeds, search_and_judge
from evo.names import RETRIES, check_name
from evo.numbers import whole_number
from evo.record.run import Run
from evo.record.settings import FINALISTS, LARGEST_SEED, LISTED, TRAIN_IMAGES, Settings, current_versions
from evo.space import SearchSpace
from evo.space.file import load_space
from evo.space.settings import part_and_measure
from evo.strategies import STRATEGIES, make_strategy, strategy_names

__all__ = ["Stop", "finish", "load", "make_strategy", "resume", "search", "strategy_names"]


@shows_progress
def search(
    space: str | Path | SearchSpace,
    objective: Objective | None = None,
    *,
    strategy: str | None = None,
    budget: int | None = None,
    generations: int | None = None,
    population: int | None = None,
    time_budget: float | None = None,
    max_steps: int | None = None,
    pruner: str | None = None,
    finish: bool = True,
    seed: int = 0,
    finalists: int | None = None,
    pending: int | None = None,
    asynchronous: bool = False,
    free_steps: bool = False,
    direction: str | None = None,
    objectives: Mapping[str, str] | None = None,
    fitness: str = "validation",
    initial: Sequence[Mapping[str, Any]] = (),
    initial_from: str | Path | Any = None,
    no_initial: bool = False,
    model: str | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    data: Any = None,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    workers: int | None = None,
    timeout: float | None = None,
    dask: Where | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    observer: Observer | None = None,
    progress: bool | None = None,
    stop_check: StopCheck = lambda: None,
) -> Run:
    """Search a space for the configuration of the best fitness.

    Args:
        space: A shipped space's name, a TOML file, or a `SearchSpace`.
        objective: f(config), f(config, seed) or f(config, seed, trial), which returns a number, or a mapping of
            measures by name. Without it the space's model is trained. See `Trial` for what a training reports.
        strategy: One of `strategy_names()`.
        budget: Most trainings (calls of the objective) of the search; the finalists' are not counted.
        generations: Most generations. The first bound that is reached stops the search.
        population: Individuals of a generation.
        time_budget: Seconds for everything. The search ends early enough for its finalists and their test.
        max_steps: The steps of a full training of an objective that takes a trial.
        pruner: "median" ends trainings early whose value is below the median that the five best so far had at the same
            step.
        finish: False: search for all of the time budget, raise `Stop` when it is over, and name no winner.
        seed: Decides everything that is drawn.
        finalists: How many genomes are trained again on three new seeds after the search; 0 for none. Default: three,
            or fewer on fewer seeds, so that they cost no more than the search.
        pending: For strategies that propose one individual at a time: proposals whose results are not awaited. It
            bounds how many workers are busy, and decides what is proposed, whatever their number.
        asynchronous: Learn results in the order in which they arrive instead; not reproducible.
        free_steps: Train every genome to the most steps of the space; its best checkpoint is its fitness and its steps.
        direction: "maximise" (the default) or "minimise" what the objective returns.
        objectives: "maximise" or "minimise" by what is measured. One says what the fitness is; of several, which take
            the strategy `pareto`, `run.front` has the best compromises, and the first one says which genome is best.
            Default: those of the space, or, for trainings by `pareto`, fitness and few parameters.
        fitness: What a trained network is worth: "validation", its accuracy there; "balanced_accuracy", the mean of the
            accuracies of the classes; "loss", which is minimised; or "test" to select on the test set as the
            2019 report did.
        initial: Known configurations for the first population; genes they leave out are drawn.
        initial_from: A run whose best genomes enter the first population; or a table of earlier results, a pandas
            DataFrame or a CSV file with a column for each gene and `fitness`: they are learned without a training,
            count to no budget, and cannot win.
        no_initial: Leave out the space's own known configurations.
        model: A shipped model's name, or "package.module:function" for a user-defined one.
        dataset: A name of `evo.names.DATASETS`, or "module:function" for a function that returns what `data` takes.
        data_dir: Where the dataset is: a folder, or an `.npz` file; without `dataset`, what lies there decides.
        data: The data themselves: `(x_train, y_train, x_test, y_test)`, with `x_val, y_val` at the end if there is a
            validation part, or `(train, test)` of torch Datasets. Images are (n, channels, height, width) or (n,
            height, width[, channels]), tables (n, columns); labels are whole numbers or texts.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32" or "bf16".
        engine: "auto", "eager" or "onednn"; the table says which one made a row.
        workers: Evaluations at the same time; changes no result. Default: one per core (trainings on a CPU), or one.
        timeout: Seconds that an evaluation may take; one that takes longer is ended, and its status is "timeout".
        dask: The cluster to evaluate on: a scheduler's address, a scheduler file, "local", or a `distributed.Client`.
            `workers` is then the most evaluations at a time; default: one per worker.
        output: The run folder. Default: with an objective none, the run stays in memory; otherwise
            results/<space>-<n>.
        overwrite: Replace the run in `output`.
        observer: Watches the search.
        progress: Whether to show the progress: as a live table on a terminal (stderr) or under a notebook's cell, as
            lines elsewhere. Default: where there is a terminal or a notebook, and no observer. It changes no result.
            Where none is shown, warnings go to the logger "evo".
        stop_check: Called often; raises `Stop` to end the search.

    Returns:
        The finished run.

    Raises:
        ConfigurationError: Something that was asked for is wrong; nothing was written.
        SearchError: The first three evaluations failed for the same cause, or the first twenty for any.
        Stop: The time budget is used up and no winner is named; `resume` continues.
        KeyboardInterrupt: Ctrl-C. Whatever ends a search that has begun carries what it has found, also in memory: the
            attribute `run` of the exception.
    """
    observer = observer or SilentObserver()
    _check_finish(finish, time_budget)
    execution = Execution(
        dataset,
        data_dir,
        model,
        device,
        precision,
        engine,
        workers,
        timeout,
        time_budget,
        output,
        overwrite,
        dask,
        data,
    )
    loaded = load_space(space)
    if objective is not None and not callable(objective):
        raise ConfigurationError(
            f"objective: must be a function f(config), f(config, seed) or f(config, seed, trial), got {objective!r}"
        )
    check_steps(objective, max_steps)
    if objective is None and model is not None and model != loaded.model:
        loaded = loaded.with_model(model)
    part, measure = part_and_measure(fitness, loaded.search.fitness)
    if objective is not None and measure != "accuracy":
        raise ConfigurationError(f"--fitness {measure}: the fitness is what the objective returns; leave it out")
    goals = goals_of(objective, direction, objectives, measure)
    name = check_name("strategy", strategy or loaded.search.strategy or goals.strategy(observer), strategy_names())
    if free_steps:
        loaded = with_free_steps(loaded, name, objective)
    settings = Settings(
        space=loaded.to_dict(),
        space_name=loaded.name,
        strategy=name,
        seed=whole_number("--seed", seed, most=LARGEST_SEED),
        population=0,
        generations=generations,
        budget=budget,
        time_budget=time_budget,
        finalists=first_given(finalists, loaded.search.finalists, FINALISTS),
        finalists_by_cost=finalists is None and loaded.search.finalists is None,
        distinct_finalists=True,
        pending=pending,
        asynchronous=asynchronous,
        direction=goals.direction,
        objectives=goals.objectives,
        max_steps=max_steps,
        pruner=checked_pruner(pruner, name, loaded, max_steps, objective),
        continuations=(objective is None or max_steps is not None) and "continuations" in STRATEGIES[name].options,
        learns_failures="learns_failures" in STRATEGIES[name].options,
        weighs_cost=objective is None and time_budget is not None and "cost" in STRATEGIES[name].options,
        free_steps=free_steps,
        fitness=part,
        measure=measure,
        model=None if objective is not None else model or loaded.model,
        objective=name_of(objective) if objective is not None else None,
        retrainable=objective is None or takes_seed(objective),
        initial=known_configurations(loaded, () if no_initial else loaded.initial, initial, initial_from, observer),
        versions=current_versions(),
    )
    if is_table(initial_from):
        settings.earlier = earlier_results(loaded, initial_from, settings, optimised(settings, loaded), observer)
    found = len(settings.earlier)
    algorithm = resolve(settings, loaded, population)
    note_earlier(settings, found, observer)
    if objective is None and "train_accuracy" not in (settings.objectives or {}):
        settings.train_images = TRAIN_IMAGES
    check_measured(settings, loaded, observer)
    note_what_is_left_out(settings, loaded, algorithm, observer)
    work = partial(search_and_judge, algorithm, finish)
    return begin(loaded, settings, execution, work, objective=objective, observer=observer, stop_check=stop_check)


@shows_progress
def resume(
    path: str | Path,
    objective: Objective | None = None,
    *,
    budget: int | None = None,
    generations: int | None = None,
    time_budget: float | None = None,
    finish: bool = True,
    model: str | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    data: Any = None,
    device: str | None = None,
    engine: str | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    dask: Where | None = None,
    finalists: int | None = None,
    seeds: int | None = None,
    retry: str | None = None,
    observer: Observer | None = None,
    progress: bool | None = None,
    stop_check: StopCheck = lambda: None,
) -> Run:
    """Continue a run where it stopped; a larger budget extends a finished one, a smaller one ends the search.

    Args:
        path: The run folder.
        objective: The same function as before, where the run has one: it is not kept in the folder.
        budget: A new bound of trainings; without a new bound of either kind the old ones hold. If more were proposed
            already, the search ends there: of those, only the first so many are still evaluated.
        generations: A new bound of generations.
        time_budget: Seconds for this call; see `search`.
        finish: See `search`.
        model: The same reference as before, where the run has a user-defined model.
        dataset: The same reference as before, where a function of yours returns the run's data.
        data_dir: Where the dataset is, if it has moved.
        data: The same data as before, where they were given by value; they may be left out while evo's cache has them.
        device: Another device than the one that the run began on.
        engine: Another engine than the one that the run began with.
        workers: Evaluations at the same time; changes no result.
        timeout: A new bound of an evaluation's seconds.
        dask: The cluster to continue on, see `search`; without it, the run continues on this machine.
        finalists: A new number of finalists.
        seeds: A new number of trainings of each configuration, where nothing is searched (`evo train`, `evo table1`).
        retry: "failed" tries all failed evaluations again, on their seeds, before anything else: those that raised an
            error, took too long, or lacked memory. The new results take the place of the failed rows, and a finished
            run names its winner anew. After a stop, a resume without it continues with the rest.
        observer: Watches the search.
        progress: See `search`.
        stop_check: Called often; raises `Stop` to end the search.

    Returns:
        The finished run; it equals one that was never stopped.

    Raises:
        RunError: No run, a damaged one, or one that another process is writing.
        ConfigurationError: The objective, model or data do not fit the run.
        Stop: The time budget is used up and no winner is named, or the cluster's scheduler does not answer.
    """
    observer = observer or SilentObserver()
    _check_finish(finish, time_budget)
    execution = Execution(
        dataset, data_dir, model, device, None, engine, workers, timeout, time_budget, dask=dask, data=data
    )
    check_seeds(seeds)
    if retry is not None:
        check_name("--retry", retry, RETRIES)
    asked = {"budget": budget, "generations": generations, "finalists": finalists, "seeds": seeds}
    with contextlib.closing(Run.open(path, warn=observer.warn)) as run:
        settings = replace(run.settings)
        _warn_of_other_versions(settings, observer)
        if settings.strategy == LISTED:
            work = more_seeds(run, settings, asked, observer, again=retry is not None)
        else:
            work = more_search(run, settings, asked, observer, finish=finish, again=retry is not None)
        return resume_run(run, settings, execution, work, objective=objective, observer=observer, stop_check=stop_check)


@shows_progress
def finish(
    path: str | Path,
    objective: Objective | None = None,
    *,
    finalists: int | None = None,
    time_budget: float | None = None,
    model: str | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    data: Any = None,
    device: str | None = None,
    engine: str | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    dask: Where | None = None,
    observer: Observer | None = None,
    progress: bool | None = None,
    stop_check: StopCheck = lambda: None,
) -> Run:
    """End a stopped search now: train its finalists, name the winner, measure it on the test set.

    Trainings that were in flight stay as they are: `resume` continues the search and names its winner anew.

    Args:
        path: The run folder.
        objective: The same function as before, where the run has one.
        finalists: A new number of finalists, at least 1. Default: the run's, or three where it was to have none.
        time_budget: Seconds for this call: fewer finalists are trained, or on fewer seeds, if there is no time for all.
        model: As for `resume`; so are all that follow.
        dataset: See `resume`.
        data_dir: See `resume`.
        data: See `resume`.
        device: See `resume`.
        engine: See `resume`.
        workers: See `resume`.
        timeout: See `resume`.
        dask: See `resume`.
        observer: Watches.
        progress: See `search`.
        stop_check: Called often; raises `Stop` to end here.

    Returns:
        The run with its winner.

    Raises:
        RunError: No run, a damaged one, one that another process is writing, or one in which nothing is evaluated yet.
        ConfigurationError: The run searches nothing; or objective, model or data do not fit it.
        Stop: The time budget is used up and no winner is named, or the cluster's scheduler does not answer.
    """
    observer = observer or SilentObserver()
    execution = Execution(
        dataset, data_dir, model, device, None, engine, workers, timeout, time_budget, dask=dask, data=data
    )
    with contextlib.closing(Run.open(path, warn=observer.warn)) as run:
        settings = replace(run.settings)
        if settings.strategy == LISTED:
            raise ConfigurationError(
                f"run {run.shown_path}: searches nothing and has no winner; "
                f"{run.command('resume', seeds=settings.seeds + 2)} trains on more seeds"
            )
        if not run.ranked():
            raise RunError(
                f"run {run.shown_path}: nothing is evaluated yet that could win; continue it with:  "
                f"{run.command('resume')}"
            )
        _warn_of_other_versions(settings, observer)
        if finalists is not None:
            whole_number("--finalists", finalists, 1)  # what finish is for is a winner
        elif not settings.finalists:
            settings.finalists, settings.finalists_by_cost = FINALISTS, True
        ask_for_finalists(settings, finalists)
        has_winner = bool(run.settings.finalists) and is_finished(run) and has_planned_finalists(run)
        if finalists is None and has_winner:
            observer.notify(f"the search has its winner already; to continue it:  {run.command('resume')}")
        work = partial(finish_search, finished=is_searched(run))
        return resume_run(run, settings, execution, work, objective=objective, observer=observer, stop_check=stop_check)


def load(path: str | Path) -> Run:
    """Read a run folder, also one that is being written.

    Raises:
        RunError: The folder holds no run, or a damaged one.
    """
    return Run.load(path)


def _check_finish(finish: bool, time_budget: float | None) -> None:
    if not finish and time_budget is None:
        raise ConfigurationError(
            "--no-finish: says what happens at the end of a time budget; give --time-budget, or leave it out "
            "(--finalists 0 trains no finalists)"
        )


def _warn_of_other_versions(settings: Settings, observer: Observer) -> None:
    """Warn if results may differ now from those of the versions that the run began with."""
    now = current_versions()
    known = settings.versions.items()
    changed = [f"{name} {before} is now {now.get(name)}" for name, before in known if now.get(name) != before]
    if changed:
        observer.warn(
            f"note: the run began with other versions ({', '.join(changed)}): results may differ in their last digits"
        )
