"""The Python interface: search, resume, load. The command line calls the same functions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from evo.errors import ConfigurationError
from evo.evaluators import Evaluator, takes_seed
from evo.evaluators.objective import Objective, name_of
from evo.individual import Genome
from evo.loop import Nobody, Observer, Stop, StopCheck, run_search
from evo.run import Run
from evo.run_folder import check_output, free_output
from evo.settings import FINALISTS, Settings, current_versions
from evo.setups import default_workers, make_evaluator, setup_of_run, setup_of_search
from evo.space import SearchSpace
from evo.space_file import load_space
from evo.strategies import DEFAULT_STRATEGY, Strategy, make_strategy, strategy_names

__all__ = ["Stop", "load", "make_strategy", "resume", "search", "strategy_names"]

TIME_BUDGET_EXIT = 75
SUSPEND_SECONDS = 8.0
"""Time for trainings in flight to save their state: a scheduler's patience is about 30 s, a person's about 10."""


def search(
    space: str | Path | SearchSpace,
    objective: Objective | None = None,
    *,
    strategy: str | None = None,
    budget: int | None = None,
    generations: int | None = None,
    population: int | None = None,
    time_budget: float | None = None,
    seed: int = 0,
    finalists: int | None = None,
    fitness: Literal["validation", "test"] = "validation",
    initial: Sequence[Mapping[str, Any]] = (),
    initial_from: str | Path | None = None,
    model: str | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    engine: Literal["auto", "eager", "onednn"] = "auto",
    workers: int | None = None,
    timeout: float | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    observer: Observer | None = None,
    stop_check: StopCheck = lambda: None,
) -> Run:
    """Search a space for the configuration of the highest fitness.

    Args:
        space: A shipped space's name, a TOML file, or a `SearchSpace`.
        objective: f(config) or f(config, seed), higher is better. Without it the space's model is trained.
        strategy: One of `strategy_names()`.
        budget: Most trainings (calls of the objective) of the search; the finalists' are not counted.
        generations: Most generations. The first bound that is reached stops the search.
        population: Individuals of a generation.
        time_budget: Seconds; the search then raises `Stop` and can be resumed.
        seed: Decides everything that is drawn.
        finalists: How many genomes are trained again on three new seeds after the search; 0 for none.
        fitness: "validation", or "test" to select on the test set as the 2019 report did.
        initial: Known configurations for the first population; genes they leave out are drawn.
        initial_from: A run whose best genomes enter the first population.
        model: A shipped model's name, or "package.module:function" for one of your own.
        dataset: "cifar10", "digits" or "imagefolder".
        data_dir: Where the dataset is; without `dataset`, what lies there decides.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32" or "bf16".
        engine: "auto", "eager" or "onednn"; the table says which one made a row.
        workers: Evaluations at the same time; changes no result. Default: one a core (trainings on a CPU), or one.
        timeout: Seconds that an evaluation may take; one that takes longer is ended, and its status is "timeout".
        output: The run folder. Default: with an objective none, the run stays in memory; otherwise
            results/<space>-<n>.
        overwrite: Replace the run in `output`.
        observer: Watches the search.
        stop_check: Called often; raises `Stop` to end the search.

    Returns:
        The finished run.

    Raises:
        ConfigurationError: Something that was asked for is wrong; nothing was written.
        SearchError: The first three evaluations all failed.
        Stop: The time budget is used up; `resume` goes on.
    """
    started, observer = time.monotonic(), observer or Nobody()
    loaded = load_space(space)
    if objective is not None and not callable(objective):
        raise ConfigurationError(f"objective: must be a function f(config) or f(config, seed), got {objective!r}")
    if objective is None and model is not None and model != loaded.model:
        loaded = loaded.with_model(model)
    _check_numbers(workers=workers, time_budget=time_budget, timeout=timeout)
    if fitness not in ("validation", "test"):
        raise ConfigurationError(f'--fitness: must be "validation" or "test", got "{fitness}"')
    settings = Settings(
        space=loaded.to_dict(),
        space_name=loaded.name,
        strategy=strategy or loaded.search.strategy or DEFAULT_STRATEGY,
        seed=_checked_seed(seed),
        population=0,
        generations=generations,
        budget=budget,
        time_budget=time_budget,
        timeout=timeout,
        finalists=_first(finalists, loaded.search.finalists, FINALISTS),
        fitness=fitness,
        model=None if objective is not None else model or loaded.model,
        objective=name_of(objective) if objective is not None else None,
        retrainable=objective is None or takes_seed(objective),
        initial=_known_configurations(loaded, initial, initial_from, observer),
        versions=current_versions(),
    )
    if settings.finalists < 0:
        raise ConfigurationError(f"--finalists: must be 0 or more, got {settings.finalists}")
    if budget is None and generations is None:
        settings.budget, settings.generations = loaded.search.budget, loaded.search.generations
    algorithm = _make_algorithm(loaded, settings, population if population is not None else loaded.search.population)
    settings.population = algorithm.population_size
    if algorithm.limit <= settings.population and settings.strategy != "random":
        observer.notify(
            f"note: {algorithm.limit} trainings are one generation of {settings.population}: nothing evolves"
        )
    if len(settings.initial) > settings.population:
        observer.warn(
            f"note: of {len(settings.initial)} known configurations the first {settings.population} are tried"
        )
    settings.budget, settings.generations = algorithm.budget, algorithm.generations
    path = _output_folder(output, loaded.name, in_memory=objective is not None)
    if path is not None:
        check_output(path, overwrite=overwrite)
    setup = setup_of_search(loaded, settings, objective, dataset, data_dir, device, precision, engine, observer)
    settings.workers = workers or default_workers(setup, device)
    with make_evaluator(setup, settings.workers, timeout) as evaluator:
        _note_facts(settings, evaluator.start())
        if output is None and path is not None and path.exists():
            path = free_output(path.parent, loaded.name)  # another search has taken the name meanwhile
        run = Run.create(settings, path, overwrite=overwrite)
        return _carry_out(run, algorithm, evaluator, observer, _timed(stop_check, time_budget, started))


def resume(
    path: str | Path,
    objective: Objective | None = None,
    *,
    budget: int | None = None,
    generations: int | None = None,
    time_budget: float | None = None,
    model: str | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    engine: Literal["auto", "eager", "onednn"] | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    finalists: int | None = None,
    observer: Observer | None = None,
    stop_check: StopCheck = lambda: None,
) -> Run:
    """Go on with a run where it stopped; a larger budget extends a finished one.

    Args:
        path: The run folder.
        objective: The same function as before, where the run has one: it is not kept in the folder.
        budget: A new bound of trainings; without a new bound of either kind the old ones hold.
        generations: A new bound of generations.
        time_budget: Seconds for this call.
        model: The same reference as before, where the run has a model of your own.
        data_dir: Where the dataset is, if it has moved.
        device: If it is not to be the one that the run began on.
        engine: If it is not to be the one that the run began with.
        workers: Evaluations at the same time; changes no result.
        timeout: A new bound of an evaluation's seconds.
        finalists: A new number of finalists.
        observer: Watches the search.
        stop_check: Called often; raises `Stop` to end the search.

    Returns:
        The finished run; it equals one that was never stopped.

    Raises:
        RunError: No run, a damaged one, or one that another process is writing.
        ConfigurationError: The objective, model or data do not fit the run.
        Stop: The time budget is used up.
    """
    started, observer = time.monotonic(), observer or Nobody()
    _check_numbers(workers=workers, time_budget=time_budget, timeout=timeout, budget=budget, generations=generations)
    run = Run.open(path, warn=observer.warn)
    try:
        settings = replace(run.settings)
        _warn_of_other_versions(settings, observer)
        if budget is not None or generations is not None:
            # A bound that is not given again must not stop the extension short.
            settings.budget, settings.generations = budget, generations
        settings.finalists = finalists if finalists is not None else settings.finalists
        settings.timeout = timeout if timeout is not None else settings.timeout
        algorithm = _make_algorithm(run.space, settings, settings.population)
        _check_bounds(run, algorithm)
        algorithm.replay(run.individuals, [e for e in run.search_evaluations if e.replicate == 0])
        if algorithm.done() and (run.winner is not None or not (settings.finalists and settings.retrainable)):
            observer.notify("the search is finished; a larger --budget or --generations extends it")
        setup = setup_of_run(
            run, observer=observer, objective=objective, model=model, data_dir=data_dir, device=device, engine=engine
        )
        count = workers or default_workers(setup, device or settings.device)
        with make_evaluator(setup, count, settings.timeout) as evaluator:
            _note_facts(settings, evaluator.start())
            settings.workers = count
            if settings != run.settings or settings.versions != current_versions():
                run.record_resume(settings)
            return _carry_out(run, algorithm, evaluator, observer, _timed(stop_check, time_budget, started))
    finally:
        run.close()


def load(path: str | Path) -> Run:
    """Read a run folder, also one that is being written.

    Raises:
        RunError: The folder holds no run, or a damaged one.
    """
    return Run.load(path)


def _carry_out(run: Run, algorithm: Strategy, evaluator: Evaluator, observer: Observer, stop_check: StopCheck) -> Run:
    from evo.finalists import judge_finalists

    try:
        run_search(algorithm, evaluator, run, observer, stop_check)
        judge_finalists(run, evaluator, observer, stop_check)
    except Stop:
        evaluator.suspend(SUSPEND_SECONDS)
        raise
    finally:
        run.write_tables()
        run.close()
    return run


def _timed(stop_check: StopCheck, time_budget: float | None, started: float) -> StopCheck:
    """Return a stop check that also ends the search when its time is over."""

    def check() -> None:
        stop_check()
        if time_budget is not None and time.monotonic() - started > time_budget:
            raise Stop(f"the time budget of {time_budget:g} s is used up", TIME_BUDGET_EXIT)

    return check


def _make_algorithm(space: SearchSpace, settings: Settings, population: int | None) -> Strategy:
    return make_strategy(
        settings.strategy,
        space,
        seed=settings.seed,
        population=population,
        budget=settings.budget,
        generations=settings.generations,
        initial=settings.initial,
    )


def _note_facts(settings: Settings, facts: Mapping[str, Any]) -> None:
    """Note in the settings where and how evaluations happen."""
    settings.device, settings.device_name = facts["device"], facts.get("device_name", "")
    settings.precision, settings.engine, settings.threads = facts["precision"], facts["engine"], facts["threads"]


def _warn_of_other_versions(settings: Settings, observer: Observer) -> None:
    """Say so if results of now may differ from those of the versions that the run began with."""
    now = current_versions()
    changed = [
        f"{name} {before} is now {now.get(name)}"
        for name, before in settings.versions.items()
        if now.get(name) != before
    ]
    if changed:
        observer.warn(
            f"note: the run began with other versions ({', '.join(changed)}): results may differ in their last digits"
        )


def _known_configurations(
    space: SearchSpace, initial: Sequence[Mapping[str, Any]], initial_from: str | Path | None, observer: Observer
) -> list[Genome]:
    """Return the space's own, the caller's, and those of another run, repaired to the space's bounds."""
    from evo.run import HALL_OF_FAME
    from evo.space import SpaceError

    problems = [f"initial[{n}].{p}" for n, values in enumerate(initial) for p in space.problems(values, complete=False)]
    if problems:
        raise SpaceError(space.name, problems)
    known = [dict(values) for values in (*space.initial, *initial)]
    if initial_from is not None:
        source = Run.load(initial_from).ranked()[:HALL_OF_FAME]
        best = [space.repair(entry.config) for entry in source]
        if any(repaired != entry.config for repaired, entry in zip(best, source, strict=True)):
            observer.notify(f"note: genomes of {initial_from} were fitted to this space (values moved, genes left out)")
        if not any(best):
            raise ConfigurationError(f'--initial-from {initial_from}: has no genome that fits the space "{space.name}"')
        known += best
    return known


def _output_folder(output: str | Path | None, name: str, *, in_memory: bool) -> Path | None:
    if output is not None:
        return Path(output)
    return None if in_memory else free_output(Path("results"), name)


def _check_bounds(run: Run, algorithm: Strategy) -> None:
    if algorithm.limit < len(run.individuals):
        raise ConfigurationError(
            f"run {run.path}: has {len(run.individuals)} individuals already; a budget of {algorithm.limit} trainings "
            "is below that; leave the bound out to finish the run, or give a larger one"
        )


def _check_numbers(**numbers: float | None) -> None:
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise ConfigurationError(f"--{name.replace('_', '-')}: must be above 0, got {value}")


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigurationError(f"--seed: must be a whole number of at least 0, got {seed!r}")
    return seed


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
