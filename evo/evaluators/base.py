"""What every evaluator is: it takes tasks, evaluates them somewhere, and gives the evaluations back as they finish."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from evo.individual import Evaluation, Genome, Phase, Status
from evo.plain_text import made_plain


@dataclass(frozen=True)
class Task:
    """One evaluation to be done.

    Attributes:
        individual: Id of the individual.
        replicate: See `Evaluation`.
        seed: Seed of the training.
        config: What to train.
        phase: "search", or "finalist" for the trainings after it.
        measure: "train" trains and measures; "test" measures trained weights on the test set.
        weights: File of the trained weights: written by "train", read by "test".
        checkpoint: File for the state of a training that is interrupted; removed when it is done.
        state: File for the state after the last step, which a training of more steps goes on from.
        cost: How long it takes, in seconds, as far as one knows: the costliest tasks start first.
        memory: Bytes that it needs beside the data, as far as one knows.
        until: The step to train to; None: all steps of the configuration.
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
    cost: float = 0.0
    memory: float = 0.0
    until: int | None = None


Evaluate = Callable[[Task], Evaluation]


class StopRequest:
    """Whether the process that evaluates has been asked to stop, and whether it is in the middle of an evaluation."""

    def __init__(self) -> None:
        self.requested = False
        self.busy = False


def reason_of(problem: BaseException) -> str:
    """Return an exception as the text of a table's cell."""
    return cell_text(f"{type(problem).__name__}: {problem}")


def cell_text(text: str) -> str:
    """Return a text as a table's cell: one line, not too long, nothing that cannot be written."""
    return made_plain(" ".join(text.split()))[:500]


def failure(task: Task, status: Status, reason: str, worker: str, seconds: float = 0.0) -> Evaluation:
    """Return the evaluation of a task that its worker could not finish."""
    return Evaluation(
        individual=task.individual,
        replicate=task.replicate,
        seed=task.seed,
        status=status,
        error=reason,
        phase=task.phase,
        worker=worker,
        started=time.time() - seconds,
        seconds=seconds,
    )


class Setup(Protocol):
    """Describes an evaluation function; travels to the worker, which builds the function there."""

    @property
    def needs_main(self) -> bool:
        """Whether the worker must import the user's main script to understand the setup."""
        ...

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        """Return the evaluation function and facts about it: device, precision, engine, threads, free memory in bytes.

        Args:
            stop: What an evaluation that can be interrupted looks at.

        Raises:
            ConfigurationError: What was asked for does not exist here.
        """
        ...


class Evaluator(ABC):
    """Evaluates tasks. Use it as a context manager: leaving it ends its workers."""

    @abstractmethod
    def start(self) -> dict[str, Any]:
        """Make ready; return the facts of the setup.

        Raises:
            ConfigurationError: The setup cannot be built.
            SearchError: Workers do not start.
        """

    @abstractmethod
    def room(self) -> int:
        """Return how many more tasks are wanted now."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Take a task; never blocks."""

    def recorded(self) -> None:  # noqa: B027  # most have nothing to do
        """Take in that the results that were given back are on disk."""

    @abstractmethod
    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        """Return the next finished evaluation, or None if there was none within `timeout` seconds."""

    @abstractmethod
    def cancel(self) -> None:
        """Forget every task that has not finished."""

    def suspend(self, seconds: float) -> list[Evaluation]:
        """Let trainings in flight save their state for a resume, for `seconds` at most; then end the workers.

        Returns:
            What has finished and was not given back.
        """
        self.close()
        return []

    @abstractmethod
    def close(self) -> None:
        """End the workers at once; tasks that have not finished are lost."""

    @property
    @abstractmethod
    def pending(self) -> int:
        """Tasks that were submitted and not given back."""

    @property
    def workers(self) -> int:
        """Evaluations that can run at the same time now."""
        return 1

    @property
    def running(self) -> int:
        """Tasks that are being evaluated at this moment, as far as one knows."""
        return self.pending

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
