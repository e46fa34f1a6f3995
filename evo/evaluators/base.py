"""The interface of evaluators: they take tasks, evaluate them somewhere, and return evaluations as they finish."""

from __future__ import annotations

import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from evo.errors import Interrupted
from evo.evaluation import CurvePoint, Evaluation, Phase, Status
from evo.individual import Genome

TaskKey: TypeAlias = tuple[int, int, str]


@dataclass(frozen=True)
class Task:
    """One evaluation that has been asked for.

    Attributes:
        individual: Id of the individual.
        replicate: See `Evaluation`.
        seed: Seed of the training.
        config: What to train.
        phase: "search", or "finalist" for the trainings after it.
        measure: "train" trains and measures; "test" measures trained weights on the test set.
        weights: File of the trained weights, as all files an absolute path: written by "train", read by "test".
        checkpoint: File for the state of a training that is interrupted; removed when the training is done.
        state: File for the state after the last step, from which a longer training continues.
        cost: Estimated seconds; the costliest tasks start first.
        memory: Estimated bytes, not counting the data.
        folder: Of a training that reports, for its files; what is there is continued.
        until: The step to train to; None: all steps of the configuration.
        confusion: Whether a training counts which classes it confuses; a test always does.
    """

    individual: int
    replicate: int
    seed: int
    config: Genome
    phase: Phase = "search"
    measure: Literal["train", "test"] = "train"
    weights: str | None = None
    checkpoint: str | None = None
    state: str | None = None
    folder: str | None = None
    cost: float = 0.0
    memory: float = 0.0
    until: int | None = None
    confusion: bool = False

    @property
    def key(self) -> TaskKey:
        """What tells this task from every other task of a run."""
        return self.individual, self.replicate, self.measure

    def has(self, evaluation: Evaluation) -> bool:
        """Return whether an evaluation is this task's."""
        return (self.individual, self.replicate) == (evaluation.individual, evaluation.replicate)

    def evaluation(self, status: Status, **values: Any) -> Evaluation:
        """Return this task's evaluation with a status and further values."""
        return Evaluation(self.individual, self.replicate, self.seed, status, phase=self.phase, **values)


Evaluate: TypeAlias = Callable[[Sequence[Task]], Iterator[Evaluation]]
"""Evaluates a batch of tasks; yields one evaluation per task, in any order, each as soon as it is ready."""


def one_by_one(evaluate: Callable[[Task], Evaluation]) -> Evaluate:
    """Return a function that evaluates the tasks of a batch one after another."""
    return lambda tasks: map(evaluate, tasks)


@dataclass(frozen=True)
class Report:
    """What a training has reported since the last time.

    Attributes:
        individual: Id of the individual.
        replicate: See `Evaluation`.
        points: At least one point of its curve, in order.
    """

    individual: int
    replicate: int
    points: tuple[CurvePoint, ...]


class StopRequest:
    """Tells a running evaluation to stop, and takes what it reports.

    Attributes:
        send: Called with what a training reports; from another thread than the training's, too.
        asked: Whether the search has asked: running trainings save their state.
        interrupted: Whether Ctrl-C has reached this process during an evaluation.
        busy: Whether the process is evaluating now.
        is_abandoned: Returns whether no one waits for the evaluation any more. Another worker may have its tasks
            already, so it saves nothing.
    """

    def __init__(self) -> None:
        self.asked = self.interrupted = self.busy = False
        self.is_abandoned: Callable[[], bool] = lambda: False
        self.send: Callable[[Report], None] = lambda report: None

    @property
    def requested(self) -> bool:
        """Whether to save the state and stop.

        Raises:
            Interrupted: The evaluation is to stop without that.
        """
        if self.is_abandoned():
            raise Interrupted
        return self.asked

    def end_if_obeyed_by(self, problem: BaseException) -> None:
        """Raise what ends the search, if that is why user code has raised SystemExit.

        Some frameworks (Lightning) turn Ctrl-C and SIGTERM into it. Without a signal, `sys.exit` in an objective is a
        failure like every other.
        """
        if not issubclass(type(problem), SystemExit):
            return
        if self.interrupted or _follows_an_interrupt(problem):
            raise KeyboardInterrupt from problem
        if self.asked:
            raise Interrupted from problem


def ends_the_search(problem: BaseException) -> bool:
    """Return whether user code has raised what is not a failure of an evaluation: a person or a system wants an end.

    That is Ctrl-C, a stop of evo's own, and what a handler of a signal raises, such as SystemExit. Without a signal,
    `sys.exit` in an objective is a failure like every other: evo's process is not the objective's to end.
    """
    # The exception's own code is never run: not even `isinstance` asks it for its class.
    left = [problem]
    while left:
        one = left.pop()
        if issubclass(type(one), KeyboardInterrupt | Interrupted):
            return True
        if issubclass(type(one), BaseExceptionGroup):
            left += _EXCEPTIONS_OF_GROUP.__get__(one)
        elif not issubclass(type(one), Exception) and _is_from_a_signal(one):
            return True
    return False


def _follows_an_interrupt(problem: BaseException) -> bool:
    """Return whether an exception was raised while Ctrl-C was being handled."""
    seen: set[int] = set()
    one: BaseException | None = problem
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        one = _CONTEXT.__get__(one)
        if one is not None and issubclass(type(one), KeyboardInterrupt):
            return True
    return False


_CONTEXT: Any = vars(BaseException)["__context__"]
_EXCEPTIONS_OF_GROUP: Any = vars(BaseExceptionGroup)["exceptions"]
_TRACEBACK: Any = vars(BaseException)["__traceback__"]


def _is_from_a_signal(problem: BaseException) -> bool:
    handlers = {getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()} - {None}
    return any(frame.f_code in handlers for frame, _ in traceback.walk_tb(_TRACEBACK.__get__(problem)))


def failure(
    task: Task, status: Status, reason: str, worker: str, seconds: float = 0.0, traceback: str = ""
) -> Evaluation:
    """Return the evaluation of a task that its worker could not finish."""
    values = {"error": reason, "traceback": traceback, "worker": worker}
    return task.evaluation(status, started=time.time() - seconds, seconds=seconds, **values)


class Setup(ABC):
    """Describes an evaluation function; travels to the worker, which builds the function there.

    Attributes:
        threads: How many threads numerical libraries may use in a worker process; None leaves it to the environment.
    """

    threads: int | None = None

    @abstractmethod
    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        """Return the evaluation function and facts about it: device, precision, engine, threads, free memory in bytes.

        Args:
            stop: Tells an evaluation that can be interrupted to stop.

        Raises:
            ConfigurationError: Something that was asked for is not available here.
        """

    def decided(self, facts: Mapping[str, Any]) -> Setup:
        """Return the setup as the facts of the first worker have it, for all others; by default, as it is."""
        return self

    def batch(self, first: Task, waiting: Sequence[Task]) -> list[Task]:
        """Return the tasks that one worker should evaluate together; by default only `first`.

        Args:
            first: The task that is about to start; always part of the batch.
            waiting: Other tasks that could start now, in the order in which they would.
        """
        return [first]


class Evaluator(ABC):
    """Evaluates tasks. Use it as a context manager, which ends its workers on exit.

    Attributes:
        on_report: Called with what running trainings report, while `next_completed` waits or between two calls.
        is_wanted: Says whether results are still awaited; an evaluator that evaluates in this process asks it while a
            training reports.
    """

    on_report: Callable[[Report], None] = staticmethod(lambda report: None)
    is_wanted: Callable[[], object] = staticmethod(lambda: True)

    @abstractmethod
    def start(self) -> dict[str, Any]:
        """Get ready to evaluate; return the facts of the setup.

        Raises:
            ConfigurationError: The setup cannot be built.
            SearchError: Workers do not start.
        """

    @abstractmethod
    def room(self) -> int:
        """Return how many more tasks the evaluator wants now."""

    @abstractmethod
    def submit(self, *tasks: Task) -> None:
        """Add tasks; never blocks. Those that are submitted together can form a batch."""

    def recorded(self) -> None:  # noqa: B027  # only the process pool cares
        """Learn that every evaluation returned so far is on disk."""

    @abstractmethod
    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        """Return the next finished evaluation, or None if there was none within `timeout` seconds."""

    @abstractmethod
    def cancel(self) -> None:
        """Drop every task that has not finished."""

    def in_hand(self) -> list[tuple[Task, float]]:
        """Return the tasks that workers are doing now, each with the seconds since it began."""
        return []

    def pause(self, seconds: float) -> list[Evaluation]:
        """Drop waiting tasks; give running trainings up to `seconds` to save their state for a resume, and drop them.

        The evaluator then takes other tasks.

        Returns:
            Evaluations that have finished and were not returned yet.
        """
        self.cancel()
        return []

    def suspend(self, seconds: float) -> list[Evaluation]:
        """Give running trainings up to `seconds` to save their state for a resume; then end the workers.

        Returns:
            Evaluations that have finished and were not returned yet.
        """
        self.close()
        return []

    @abstractmethod
    def close(self) -> None:
        """End the workers at once; tasks that have not finished are lost."""

    @property
    @abstractmethod
    def pending(self) -> int:
        """Tasks that were submitted and whose evaluations were not returned yet."""

    @property
    def workers(self) -> int:
        """How many workers can evaluate at the same time now."""
        return 1

    @property
    def restarts(self) -> bool:
        """Whether a pause ends worker processes, which take some time to start again."""
        return False

    @property
    def running(self) -> int:
        """Tasks that workers have in hand now."""
        return self.pending

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
