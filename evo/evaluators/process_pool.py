"""Evaluates in worker processes that are started once and kept; one that dies is replaced and its task done again."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from evo.errors import ConfigurationError, EvoError, Interrupted, SearchError, StorageError
from evo.evaluators.base import Evaluator, Setup, StopRequest, Task, failure, reason_of
from evo.evaluators.planner import Planner
from evo.individual import Evaluation
from evo.processes import deaf_to_interrupts, without_main

ATTEMPTS = 2
"""How often a task is tried whose worker dies."""
END_SECONDS = 5.0
"""How long a worker whose pipe is closed may take to end."""
LOOK_AHEAD = 32
"""Tasks a worker that are wanted: the longest can start first only among those that are there."""


@dataclass
class _Worker:
    name: str
    process: multiprocessing.process.BaseProcess
    connection: Connection
    ready: bool = False
    task: Task | None = None
    deadline: float = math.inf
    beside: list[Task] = field(default_factory=list)
    """Tasks that ran at some time during this one's."""
    unrecorded: bool = False
    """Whether its last result is not on disk yet: it begins no other, so that a kill costs each worker one training."""


class ProcessPoolEvaluator(Evaluator):
    """Gives each task to a free process. Processes are spawned, never forked: a fork after CUDA's start breaks it.

    Args:
        setup: Builds the evaluation function in each worker.
        workers: How many processes.
        timeout: Seconds that an evaluation may take; one that takes longer is ended and has the status "timeout".
    """

    def __init__(self, setup: Setup, workers: int, timeout: float | None = None):
        self._setup, self._count, self._timeout = setup, workers, timeout
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._planner = Planner()
        self._finished: deque[Evaluation] = deque()
        self._attempts: dict[tuple[int, int, str], int] = {}
        self._failed_starts = 0
        self._facts: dict[str, Any] | None = None

    def _hint(self) -> str:
        if not self._setup.needs_main:
            return ""
        return '; in a script, put the call of evo.search under `if __name__ == "__main__":`, or leave workers at 1'

    def start(self) -> dict[str, Any]:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            # This is a worker that runs the user's script again, which is about to start workers of its own.
            sys.exit("evo: this script starts workers when it is imported" + self._hint())
        for number in range(self._count):
            self._workers.append(self._spawn(number))
        while self._facts is None:
            self._serve(timeout=None)
        return self._facts

    def room(self) -> int:
        return max(0, LOOK_AHEAD * self._count - self.pending)

    def submit(self, task: Task) -> None:
        self._planner.add(task)
        self._hand_out()

    def recorded(self) -> None:
        waiting = {evaluation.worker for evaluation in self._finished}
        for worker in self._workers:
            worker.unrecorded = worker.name in waiting
        self._hand_out()

    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        self.recorded()
        end = None if timeout is None else time.monotonic() + timeout
        # A worker that gets ready or is replaced wakes the wait, too; only a result or the time ends it.
        while not self._finished and self._workers and (end is not None or self.pending):
            left = None if end is None else max(0.0, end - time.monotonic())
            self._serve(left)
            if left == 0.0:
                break
        return self._finished.popleft() if self._finished else None

    def cancel(self) -> None:
        self._planner.clear()
        self._finished.clear()
        for place, worker in enumerate(self._workers):
            if worker.task is not None:
                _end(worker)
                self._workers[place] = self._spawn(place)

    def suspend(self, seconds: float) -> list[Evaluation]:
        end = time.monotonic() + seconds
        for worker in self._workers:
            worker.process.terminate()
        # A worker that has saved its training ends, and its pipe with it; one that was at its last step sends a result.
        ending = {worker.connection: worker for worker in self._workers}
        while ending and (left := end - time.monotonic()) > 0:
            for connection in wait(list(ending), left):
                assert isinstance(connection, Connection)
                try:
                    kind, content = connection.recv()
                except (EOFError, OSError):
                    del ending[connection]
                    continue
                if kind == "evaluation":
                    self._take(ending[connection], content)
        finished = list(self._finished)
        self.close()
        return finished

    def close(self) -> None:
        for worker in self._workers:
            _end(worker)
        self._workers = []
        self._planner.clear()

    @property
    def pending(self) -> int:
        return len(self._planner) + len(self._running()) + len(self._finished)

    @property
    def workers(self) -> int:
        return self._count

    @property
    def running(self) -> int:
        return len(self._running())

    def _running(self) -> list[Task]:
        return [worker.task for worker in self._workers if worker.task is not None]

    def _spawn(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        name = f"worker-{number}"
        process = self._context.Process(target=_work, args=(theirs, self._setup, name), name=name, daemon=True)
        try:
            with nullcontext() if self._setup.needs_main else without_main(), deaf_to_interrupts():
                process.start()
        except (AttributeError, TypeError, OSError, pickle.PicklingError) as error:
            if isinstance(error, OSError):
                raise SearchError(f"cannot start worker processes: {error}") from error
            raise ConfigurationError(
                f"the objective cannot be sent to worker processes ({error}); "
                "define it at the top level of a module, or leave workers at 1"
            ) from None
        theirs.close()
        return _Worker(name, process, ours)

    def _hand_out(self) -> None:
        for worker in self._workers:
            if not worker.ready or worker.task is not None or worker.unrecorded:
                continue
            running = self._running()
            if (task := self._planner.take(running)) is not None:
                for other in self._workers:
                    if other.task is not None:
                        other.beside.append(task)
                worker.beside = running
                with suppress(OSError):  # a worker that has just died is noticed when its pipe is read
                    worker.connection.send(task)
                worker.task = task
                worker.deadline = time.monotonic() + self._timeout if self._timeout else math.inf

    def _serve(self, timeout: float | None) -> None:
        """Wait for messages of the workers, take them, and give out tasks."""
        if not self._workers:
            return
        connections = {worker.connection: place for place, worker in enumerate(self._workers)}
        first_deadline = min(worker.deadline for worker in self._workers) - time.monotonic()
        if first_deadline < math.inf:
            timeout = max(0.0, min(first_deadline, math.inf if timeout is None else timeout))
        for connection in wait(list(connections), timeout):
            assert isinstance(connection, Connection)
            place = connections[connection]
            try:
                kind, content = connection.recv()
            except (EOFError, OSError):
                self._replace(place)
                continue
            worker = self._workers[place]
            if kind == "ready":
                if self._facts is None:
                    self._facts = content
                    self._planner.limit_memory(content.get("free_memory", math.inf))
                worker.ready, self._failed_starts = True, 0
            elif kind == "error":
                raise content
            else:
                self._take(worker, content)
        self._end_overdue()
        self._hand_out()

    def _take(self, worker: _Worker, evaluation: Evaluation) -> None:
        """Take an evaluation; one that ran out of memory beside others is done again alone."""
        task, worker.task, worker.deadline = worker.task, None, math.inf
        if task is not None and evaluation.status == "out_of_memory" and worker.beside:
            self._planner.out_of_memory(task, worker.beside)
        else:
            self._finished.append(replace(evaluation, worker=worker.name))
            worker.unrecorded = True

    def _end_overdue(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.task is not None and time.monotonic() > worker.deadline:
                _end(worker)
                reason = f"took longer than --timeout {self._timeout:g} s"
                self._finished.append(failure(worker.task, "timeout", reason, worker.name, self._timeout or 0.0))
                self._workers[place] = self._spawn(place)

    def _replace(self, place: int) -> None:
        """Put a new process in the place of a dead one; its task waits first in the queue, or has failed."""
        worker = self._workers[place]
        code = _exit_code(worker.process, END_SECONDS)
        _end(worker)
        if code is None:  # it has closed its pipe, and lives
            code, cause = 0, "a closed connection"
        else:
            cause = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > self._count:
                raise SearchError(f"worker processes end before they are ready, the last with {cause}{self._hint()}")
        if (task := worker.task) is not None:
            key = (task.individual, task.replicate, task.measure)
            self._attempts[key] = self._attempts.get(key, 0) + 1
            if self._attempts[key] < ATTEMPTS and code == -signal.SIGKILL and worker.beside:
                self._planner.out_of_memory(task, worker.beside)  # often the system's answer to a lack of it
            elif self._attempts[key] < ATTEMPTS:
                self._planner.put_back(task)
            else:
                hint = "; often the system's answer to a lack of memory" if -code == signal.SIGKILL else ""
                reason = f"its worker process ended with {cause}{hint}, {ATTEMPTS} times"
                self._finished.append(failure(task, "failed", reason, worker.name))
        self._workers[place] = self._spawn(place)


def _exit_code(process: multiprocessing.process.BaseProcess, seconds: float) -> int | None:
    """Return the exit code of a process that is ending, or None if it still lives after so long.

    Not by `join`: that takes a child that has closed all its files for one that has ended, and waits for ever.
    """
    end = time.monotonic() + seconds
    while (code := process.exitcode) is None and time.monotonic() < end:
        time.sleep(0.01)
    return code


def _end(worker: _Worker) -> None:
    worker.connection.close()
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()


def _work(connection: Connection, setup: Setup, name: str) -> None:
    """Run in the worker: build the evaluation function, then do tasks until the parent closes the pipe."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    stop = StopRequest()
    signal.signal(signal.SIGTERM, lambda *_: _on_terminate(stop))
    try:
        evaluate, facts = setup.build(stop)
    except Exception as error:  # sent to the parent, which raises it there
        connection.send(("error", error if isinstance(error, EvoError) else SearchError(reason_of(error))))
        return
    connection.send(("ready", facts))
    with suppress(EOFError, OSError, Interrupted):
        while True:
            task = connection.recv()
            stop.busy = True
            try:
                connection.send(("evaluation", next(evaluate([task]))))
            except StorageError as error:  # no fault of the task's: the parent ends the search, to be resumed
                connection.send(("error", error))
            stop.busy = False
            if stop.requested:
                return


def _on_terminate(stop: StopRequest) -> None:
    """Ask the training in flight to save its state; without one, end at once."""
    stop.requested = True
    if not stop.busy:
        os._exit(0)


def _die_with_parent() -> None:
    """End this process as soon as its parent is gone, even in the middle of a training."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
