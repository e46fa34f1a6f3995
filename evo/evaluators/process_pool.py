"""Evaluates in worker processes that are started once and kept; one that dies is replaced and its task done again."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from evo.errors import ConfigurationError, SearchError
from evo.evaluators.base import Evaluator, Setup, Task
from evo.individual import Evaluation
from evo.processes import deaf_to_interrupts, without_main

ATTEMPTS = 2
"""How often a task is tried whose worker dies."""


@dataclass
class _Worker:
    name: str
    process: multiprocessing.process.BaseProcess
    connection: Connection
    ready: bool = False
    task: Task | None = None


class ProcessPoolEvaluator(Evaluator):
    """Gives each task to a free process. Processes are spawned, never forked: a fork after CUDA's start breaks it.

    Args:
        setup: Builds the evaluation function in each worker.
        workers: How many processes.
    """

    def __init__(self, setup: Setup, workers: int):
        self._setup, self._count = setup, workers
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._waiting: deque[Task] = deque()
        self._finished: deque[Evaluation] = deque()
        self._attempts: dict[tuple[int, int, str], int] = {}
        self._failed_starts = 0
        self._facts: dict[str, Any] | None = None

    def start(self) -> dict[str, Any]:
        self._workers = [self._spawn(number) for number in range(self._count)]
        while self._facts is None:
            self._serve(timeout=None)
        return self._facts

    def room(self) -> int:
        return max(0, 2 * self._count - self.pending)

    def submit(self, task: Task) -> None:
        self._waiting.append(task)
        self._hand_out()

    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        end = None if timeout is None else time.monotonic() + timeout
        # A worker that gets ready or is replaced wakes the wait, too; only a result or the time ends it.
        while not self._finished and self._workers and (end is not None or self.pending):
            left = None if end is None else max(0.0, end - time.monotonic())
            self._serve(left)
            if left == 0.0:
                break
        return self._finished.popleft() if self._finished else None

    def cancel(self) -> None:
        self._waiting.clear()
        self._finished.clear()
        for place, worker in enumerate(self._workers):
            if worker.task is not None:
                _end(worker)
                self._workers[place] = self._spawn(place)

    def close(self) -> None:
        for worker in self._workers:
            _end(worker)
        self._workers = []
        self._waiting.clear()

    @property
    def pending(self) -> int:
        busy = sum(worker.task is not None for worker in self._workers)
        return len(self._waiting) + busy + len(self._finished)

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
            if worker.ready and worker.task is None and self._waiting:
                task = self._waiting.popleft()
                with suppress(OSError):  # a worker that has just died is noticed when its pipe is read
                    worker.connection.send(task)
                worker.task = task

    def _serve(self, timeout: float | None) -> None:
        """Wait for messages of the workers, take them, and give out tasks."""
        if not self._workers:
            return
        connections = {worker.connection: place for place, worker in enumerate(self._workers)}
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
                worker.ready, self._facts = True, self._facts or content
                self._failed_starts = 0
            elif kind == "error":
                raise content
            else:
                worker.task = None
                self._finished.append(replace(content, worker=worker.name))
        self._hand_out()

    def _replace(self, place: int) -> None:
        """Put a new process in the place of a dead one; its task waits first in the queue, or has failed."""
        worker = self._workers[place]
        worker.process.join()
        code = worker.process.exitcode or 0
        cause = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        _end(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > self._count:
                raise SearchError(f"worker processes end before they are ready, the last with {cause}")
        if (task := worker.task) is not None:
            key = (task.individual, task.replicate, task.measure)
            self._attempts[key] = self._attempts.get(key, 0) + 1
            if self._attempts[key] < ATTEMPTS:
                self._waiting.appendleft(task)
            else:
                hint = "; often the system's answer to a lack of memory" if -code == signal.SIGKILL else ""
                reason = f"its worker process ended with {cause}{hint}, {ATTEMPTS} times"
                self._finished.append(
                    Evaluation(task.individual, task.replicate, task.seed, "failed", error=reason, phase=task.phase)
                )
        self._workers[place] = self._spawn(place)


def _end(worker: _Worker) -> None:
    worker.connection.close()
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()


def _work(connection: Connection, setup: Setup, name: str) -> None:
    """Run in the worker: build the evaluation function, then do tasks until the parent closes the pipe."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        evaluate, facts = setup.build()
    except Exception as error:  # sent to the parent, which raises it there
        connection.send(("error", error if _is_ours(error) else SearchError(f"{type(error).__name__}: {error}")))
        return
    connection.send(("ready", facts))
    with suppress(EOFError, OSError):
        while True:
            connection.send(("evaluation", evaluate(connection.recv())))


def _die_with_parent() -> None:
    """End this process as soon as its parent is gone, even in the middle of a training."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _is_ours(error: Exception) -> bool:
    return isinstance(error, ConfigurationError | SearchError)
