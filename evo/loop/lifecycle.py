"""The life of a run while a command works on it: it begins or resumes, does its work, and ends in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from evo.errors import ClusterLost, ConfigurationError, StorageError
from evo.evaluators import Evaluator, Setup
from evo.evaluators.base import Report
from evo.evaluators.signature import Objective
from evo.loop.deadline import RESUMABLE_EXIT, SUSPEND_SECONDS, Deadline, Stop, StopCheck
from evo.loop.execution import Execution, evaluator_of, setup_of_run, setup_of_search
from evo.loop.search_loop import Observer
from evo.places import entered
from evo.record.folder import check_output, free_output
from evo.record.run import Run
from evo.record.settings import Settings, current_versions
from evo.space import SearchSpace

Work: TypeAlias = Callable[[Run, Evaluator, Observer, Deadline], None]
"""What is done with a run that is open and an evaluator that is started."""


def begin(
    space: SearchSpace,
    settings: Settings,
    execution: Execution,
    work: Work,
    *,
    objective: Objective | None = None,
    observer: Observer,
    stop_check: StopCheck,
) -> Run:
    """Start a run and do its work.

    Raises:
        ConfigurationError: Something that was asked for is wrong, or no scheduler answers; nothing was written.
        Stop: The stop check or the time budget ended it.
    """
    # Without the caller's own check: once that is called, a signal waits for the next call (see `evo.cli.signals`).
    in_time = Deadline(lambda: None, execution.time_budget)
    deadline = Deadline(stop_check, execution.time_budget)
    execution = execution.of_new_run()
    path = entered(execution.output) if execution.output is not None else None
    if path is None and objective is None:
        path = free_output(entered("results"), space.name)
    if path is not None:
        check_output(path, overwrite=execution.overwrite)
    setup = setup_of_search(space, settings, execution, objective, observer, in_time)

    def create() -> Run:
        if settings.pending is not None and settings.workers > settings.pending and not settings.asynchronous:
            observer.notify(
                f"note: of {settings.workers} workers {settings.pending} are busy at a time; "
                f"--pending {settings.workers} gives all of them work, and decides what is proposed"
            )
        place = path
        if execution.output is None and place is not None and place.exists():  # taken by another search meanwhile
            place = free_output(place.parent, space.name)
        return Run.create(settings, place, overwrite=execution.overwrite)

    try:
        return _carry_out(setup, settings, execution, create, work, observer, deadline)
    except ClusterLost as error:  # there is no run yet that could be resumed
        raise ConfigurationError(str(error)) from error


def resume_run(
    run: Run,
    settings: Settings,
    execution: Execution,
    work: Work,
    *,
    objective: Objective | None = None,
    observer: Observer,
    stop_check: StopCheck,
) -> Run:
    """Continue a run's work where it stopped.

    Args:
        run: Open for writing.
        settings: What it is to do from now on.
        execution: Where and how; what is None there is as the run has it.
        work: See `Work`.
        objective: The run's objective again, if it has one.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end it.

    Raises:
        ConfigurationError: The objective, model or data do not fit the run.
        Stop: The stop check or the time budget ended it, or no scheduler answers.
    """
    in_time = Deadline(lambda: None, execution.time_budget)
    deadline = Deadline(stop_check, execution.time_budget)
    execution = execution.of_run(run.settings)
    setup = setup_of_run(run, execution, objective, observer, in_time)

    def note_resume() -> Run:
        if settings != run.settings or settings.versions != current_versions():
            run.record_resume(settings)
        return run

    try:
        return _carry_out(setup, settings, execution, note_resume, work, observer, deadline)
    except ClusterLost as error:
        stop = Stop(str(error), RESUMABLE_EXIT)
        stop.run = run
        raise stop from error


def _carry_out(
    setup: Setup,
    settings: Settings,
    execution: Execution,
    open_run: Callable[[], Run],
    work: Work,
    observer: Observer,
    deadline: Deadline,
) -> Run:
    """Start the evaluator, note in the settings where and how it evaluates, and do a run's work."""
    settings.timeout = execution.timeout
    with evaluator_of(setup, settings, execution, observer, deadline) as evaluator:
        facts = evaluator.start()
        if settings.dask is not None or evaluator.workers > settings.workers:  # as it was decided at the start
            settings.workers = evaluator.workers
        settings.device, settings.device_name = facts["device"], facts.get("device_name", "")
        settings.precision, settings.engine, settings.threads = facts["precision"], facts["engine"], facts["threads"]
        with contextlib.closing(open_run()) as run:
            evaluator.on_report = partial(_take_report, run, observer)
            try:
                _work_on(run, evaluator, work, observer, deadline)
            except BaseException as error:
                _attach(run, error)
                raise
            run.forget_checkpoints()
            run.write_tables()
    return run


def _take_report(run: Run, observer: Observer, report: Report) -> None:
    """Record what a running training reports, and show it."""
    run.record_reports(report.individual, report.replicate, report.points)
    observer.reported(run, report)


def _work_on(run: Run, evaluator: Evaluator, work: Work, observer: Observer, deadline: Deadline) -> None:
    """Do a run's work; if it is stopped, keep what has finished meanwhile, and write the tables."""
    try:
        work(run, evaluator, observer, deadline)
    except StorageError:
        raise  # the tables would find no room either; the next command writes them
    except BaseException as error:
        lost = isinstance(error, ClusterLost)
        if lost or isinstance(error, Stop):
            if not lost and run.settings.can_pause:
                observer.notify("stopping: trainings in flight save their state")
            for evaluation in evaluator.suspend(0.0 if lost else SUSPEND_SECONDS):
                run.record_late(evaluation)
        run.write_tables()
        if lost:
            raise Stop(str(error), RESUMABLE_EXIT) from error
        raise


def _attach(run: Run, error: BaseException) -> None:
    """Leave the run with what has ended it: one in memory would be lost otherwise."""
    with contextlib.suppress(Exception):  # a class of someone else's may take no attributes
        error.run = run  # type: ignore[attr-defined]  # KeyboardInterrupt has no such attribute until now
