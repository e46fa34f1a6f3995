"""Evaluation by a user-defined function: f(config), f(config, seed) or f(config, seed, trial)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evo.errors import Interrupted, StorageError
from evo.evaluation import OWN_MEASURES, Evaluation, check_measure
from evo.evaluators.base import Evaluate, Setup, StopRequest, Task, ends_the_search
from evo.evaluators.goals import FITNESS, judged
from evo.evaluators.signature import SEED, TRIAL, Arguments, Objective, arguments_of
from evo.evaluators.trial_record import TrialRecord
from evo.numbers import NoNumberError, number_of
from evo.plain_text import reason_of, shown
from evo.tracebacks import traceback_of
from evo.trial import VALUE, Infeasible, Pause, Trial

EXIT_HINT = ": the objective wants to end its process; let it return a number or raise an error instead"


@dataclass(frozen=True)
class ObjectiveSetup(Setup):
    """Calls the user's function and makes an `Evaluation` of what it returns or raises.

    Attributes:
        objective: The function.
        threads: See `Setup`.
        max_steps: The steps of a full training, where the function takes a trial.
        goals: See `evo.evaluators.goals`.
    """

    objective: Objective
    threads: int | None = None
    max_steps: int | None = None
    goals: Mapping[str, str] | None = None

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        facts = {"device": "", "precision": "", "engine": "objective", "threads": self.threads}
        return ObjectiveTask(self.objective, arguments_of(self.objective), stop, self.max_steps, self.goals), facts


@dataclass(frozen=True)
class ObjectiveTask:
    """Evaluates tasks by calling a function, one after another; see `ObjectiveSetup`.

    Attributes:
        objective: The function.
        arguments: What it takes.
        stop: Tells a training that reports to stop.
        max_steps: See `ObjectiveSetup`.
        goals: See `ObjectiveSetup`.
    """

    objective: Objective
    arguments: Arguments
    stop: StopRequest
    max_steps: int | None
    goals: Mapping[str, str] | None = None

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Evaluation]:
        """Evaluate tasks; whatever the function raises is a row with its reason.

        Raises:
            Interrupted: A training was asked to stop, and has been able to save its state.
        """
        return map(self._evaluate, tasks)

    def _evaluate(self, task: Task) -> Evaluation:
        started, clock = time.time(), time.perf_counter()
        before = 0.0
        if self.max_steps is None or not self.arguments.takes(TRIAL):
            values = self._outcome(task)
        else:
            with TrialRecord(task, self.max_steps, self.stop) as record:
                values, before = self._with_trial(task, record.trial), record.seconds_before
        if clash := [name for name in values.get("named", ()) if name in task.config]:
            reason = f'"{clash[0]}" is a gene; call the measure something else'
            values = {"status": "failed", "error": reason}
        values |= {"worker": "main", "engine": "objective", "started": started, "seconds_before": before}
        return task.evaluation(**judged(values, self.goals), seconds=before + time.perf_counter() - clock)

    def _with_trial(self, task: Task, trial: Trial) -> dict[str, Any]:
        """Return what a training that reports has come to: it has paused, or its outcome."""
        if trial.steps < trial.max_steps and trial.start >= trial.steps:
            values: dict[str, Any] = {}  # it had paused here when its process was killed
        else:
            values = self._outcome(task, trial)
        trial.close()
        if trial.stopped:
            raise Interrupted
        curve = trial.curve
        reached = {"curve": curve, "steps_trained": curve[-1].step} if curve else {}
        if (trial.paused or not values) and curve:
            return {"status": "partial", **self._reached(trial), **reached}
        if values["status"] == "complete" and curve:  # what is returned comes last, and has the last word
            last = self._reached(trial)
            values = {**last, **values, "named": {**last["named"], **values.get("named", {})}}
        return reached | values

    def _reached(self, trial: Trial) -> dict[str, Any]:
        """Return what the last report says of an evaluation: its value is that of the first goal."""
        values = dict(trial.curve[-1].values)
        if self.goals is not None and FITNESS not in self.goals:
            values.setdefault(next(iter(self.goals)), values.pop(VALUE))
            values.pop(VALUE, None)
        return _measured(values)

    def _outcome(self, task: Task, trial: Trial | None = None) -> dict[str, Any]:
        """Call the function; return what its value or its exception says of the evaluation."""
        try:
            value = self.arguments.call(self.objective, dict(task.config), **{SEED: task.seed, TRIAL: trial})
            if value is None and trial is not None and trial.curve:  # what it has reached is its last report
                return {"status": "complete", **self._reached(trial)}
            return _of_returned(value)
        except Pause:
            return {"status": "failed", "error": "evo.Pause was raised, but no report asked for a pause"}
        except Infeasible as problem:
            return infeasible(problem)
        except StorageError:
            raise  # not the configuration's fault: the search ends, to be resumed
        except BaseException as problem:  # any failure of the user's function is a row with its reason
            if ends_the_search(problem):
                raise
            self.stop.end_if_obeyed_by(problem)
            status = "out_of_memory" if issubclass(type(problem), MemoryError) else "failed"
            hint = EXIT_HINT if issubclass(type(problem), SystemExit) else ""
            return {"status": status, "error": reason_of(problem) + hint, "traceback": traceback_of(problem)}


def infeasible(problem: Infeasible) -> dict[str, Any]:
    """Return what an evaluation says of a configuration that is not allowed."""
    reason = reason_of(problem) if problem.args and problem.args[0] else "not allowed"
    return {"status": "infeasible", "error": reason.removeprefix("Infeasible: "), "violation": problem.violation}


def _of_returned(value: Any) -> dict[str, Any]:
    """Return what a returned value says of an evaluation: a number, or measures by name."""
    if isinstance(value, Mapping):
        return _of_mapping(value)
    try:
        return {"status": "complete", "fitness": number_of(value)}
    except NoNumberError as problem:
        return {"status": "failed", "error": f"the objective returned {problem}"}


def _of_mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    measured: dict[str, float] = {}
    for name, number in value.items():
        try:
            measured[name if name == FITNESS else check_measure(name)] = number_of(number)
        except NoNumberError as problem:
            return {"status": "failed", "error": f"the objective returned, as {shown(name)}, {problem}"}
        except ValueError as problem:
            return {"status": "failed", "error": f"the objective returned a mapping: {problem}"}
    if not measured:
        return {"status": "failed", "error": "the objective returned an empty mapping, expected measures by name"}
    return {"status": "complete", **_measured(measured)}


def _measured(values: Mapping[str, float]) -> dict[str, Any]:
    """Return the fields of an evaluation that named values stand for."""
    own = {name: value for name, value in values.items() if name in OWN_MEASURES or name == VALUE}
    named = {name: value for name, value in values.items() if name not in own}
    if "parameters" in own:
        own["parameters"] = round(own["parameters"])
    return {**own, "named": named}
