"""Evaluates in worker processes that are started once and kept; one that dies is replaced, its tasks are done again."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeAlias

from evo.errors import EvoError, Interrupted, SearchError, StorageError
from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluate, Setup, StopRequest, ends_the_search
from evo.evaluators.sending import packed, publish, received
from evo.evaluators.workers import Worker, WorkersEvaluator, tasks_of
from evo.plain_text import reason_of
from evo.processes import (
    deaf_to_interrupts,
    die_with_parent,
    end,
    lead_group,
    private_memory,
    refuse_in_worker,
    threads_of_children,
    without_main,
)

ATTEMPTS = 2
"""How often a task is tried whose worker dies."""
END_SECONDS = 5.0
"""How long a worker whose pipe is closed may take to end."""
MAIN_HINT = '; put the call of evo.search under `if __name__ == "__main__":`, or leave workers at 1'
REMEDY = "leave workers at 1 and give no timeout, so that it is called in this process"


@dataclass(eq=False, kw_only=True)
class _Process(Worker):
    """A worker process.

    Attributes:
        unrecorded: Whether its last result is not on disk yet. It does not begin another batch before that, so that a
            kill costs each worker only one batch.
    """

    number: int
    process: multiprocessing.process.BaseProcess
    connection: Connection
    ready: bool = False
    unrecorded: bool = False


class ProcessPoolEvaluator(WorkersEvaluator):
    """Gives batches to free processes. They are spawned, never forked: a fork after CUDA's start breaks it.

    Args:
        setup: Builds the evaluation function in each worker.
        workers: How many processes.
        timeout: See `WorkersEvaluator`; a process that takes longer is ended.
        on_cpu: How many at least, if the first one finds that it computes on no GPU.
    """

    def __init__(self, setup: Setup, workers: int, timeout: float | None = None, on_cpu: int = 1):
        super().__init__(setup, timeout)
        self._count, self._on_cpu = workers, on_cpu
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Process] = []
        self._failed_starts = 0
        self._packed: tuple[Setup, bytes] | None = None
        # Where the evaluator was not closed, the end of the interpreter would wait for its workers.
        weakref.finalize(self, _end_own, self._workers, os.getpid())

    def start(self) -> dict[str, Any]:
        refuse_in_worker(MAIN_HINT)
        self._spawn_missing()
        while self._facts is None:
            self._serve(timeout=None)
        return self._facts

    def recorded(self) -> None:
        waiting = {evaluation.worker for evaluation in self._finished}
        for worker in self._workers:
            worker.unrecorded = worker.name in waiting
        self._hand_out()

    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        self.recorded()
        return super().next_completed(timeout if self._workers else 0.0)

    def suspend(self, seconds: float) -> list[Evaluation]:
        with suppress(EvoError):  # the search ends anyway
            self._save(self._workers, seconds)
        finished = self._taken()
        self.close()
        return finished

    def pause(self, seconds: float) -> list[Evaluation]:
        self._planner.clear()
        busy = [worker for worker in self._workers if worker.tasks]
        self._save(busy, seconds)
        for worker in busy:
            self._abandon(worker)
        self._planner.clear()  # also of what ran out of memory beside others meanwhile
        return self._taken()

    def _save(self, workers: list[_Process], seconds: float) -> None:
        """Let the trainings of workers save their state, and end these.

        Raises:
            EvoError: The last problem that a worker has had, such as a full disk.
        """
        end = time.monotonic() + seconds
        for worker in workers:
            worker.process.terminate()
        # A worker that has saved its training ends, and its pipe with it; one that was at its last step sends a result.
        ending: dict[Any, _Process] = {worker.connection: worker for worker in workers}
        problem: EvoError | None = None
        while ending and (left := end - time.monotonic()) > 0:
            for connection in wait(list(ending), left):
                try:
                    if not self._receive(ending[connection]):
                        del ending[connection]
                except EvoError as error:
                    problem = error
        if problem is not None:
            raise problem

    def close(self) -> None:
        for worker in self._workers:
            _end(worker)
        self._workers.clear()
        self._planner.clear()

    @property
    def workers(self) -> int:
        return self._count

    def _all_workers(self) -> list[_Process]:
        return self._workers

    def _spawn(self, number: int) -> _Process:
        ours, theirs = self._context.Pipe()
        name = f"worker-{number}"
        process = self._context.Process(target=_work, args=(theirs, self._content()), name=name, daemon=True)
        try:
            with without_main(), deaf_to_interrupts(), threads_of_children(self._setup.threads):
                process.start()
        except OSError as error:
            raise SearchError(f"cannot start worker processes: {error}") from error
        theirs.close()
        return _Process(name=name, number=number, process=process, connection=ours)

    def _content(self) -> bytes:
        """Return the setup for a worker; packed again only when the facts of the first have changed it."""
        if self._packed is None or self._packed[0] is not self._setup:
            self._packed = self._setup, packed(self._setup, REMEDY)
        return self._packed[1]

    def _hand_out(self) -> None:
        for worker in self._workers:
            if not worker.ready or worker.tasks or worker.unrecorded:
                continue
            if batch := self._planner.take(tasks_of(self._workers)):
                worker.begin(batch, self._workers)
                worker.deadline = self._deadline()
                with suppress(OSError):  # a worker that has just died is noticed when its pipe is read
                    worker.connection.send(batch)

    def _serve(self, timeout: float | None) -> None:
        connections: dict[Any, _Process] = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(connections), self._patience(timeout)):
            if not self._receive(connections[connection]):
                self._replace(connections[connection])
        self._end_overdue()
        self._hand_out()

    def _receive(self, worker: _Process) -> bool:
        """Act on a worker's next message; return False if the worker has ended."""
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError):
            return False
        if kind == "ready":
            if self._facts is None:
                self._learn(worker, content)
            worker.ready, self._failed_starts = True, 0
        elif kind == "report":
            self.on_report(content)
        elif kind == "error":
            raise content
        elif self._finish(worker, content):
            worker.unrecorded = True
        return True

    def _learn(self, first: _Process, facts: dict[str, Any]) -> None:
        """Learn the facts of the first worker that is ready; the others will take as much memory as it has."""
        self._decide(facts)
        if facts["device"] == "cpu":
            self._count = max(self._count, self._on_cpu)
            self._spawn_missing()
        own = private_memory(first.process.pid)
        missing = sum(max(0.0, own - private_memory(worker.process.pid)) for worker in self._workers)
        self._planner.limit_memory(facts.get("free_memory", math.inf) - missing)

    def _spawn_missing(self) -> None:
        for number in range(len(self._workers), self._count):
            self._workers.append(self._spawn(number))

    def _abandon(self, worker: Worker) -> None:
        assert isinstance(worker, _Process)
        _end(worker)
        self._workers[worker.number] = self._spawn(worker.number)

    def _replace(self, worker: _Process) -> None:
        """Put a new process in the place of a dead one; the unfinished tasks are done again, or have failed."""
        code = _exit_code(worker.process, END_SECONDS)
        _end(worker)
        if code is None:  # it has closed its pipe, but is alive
            code, cause = 0, "a closed connection"
        else:
            cause = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > self._count:
                raise SearchError(f"worker processes end before they are ready, the last with {cause}")
        killed = code == -signal.SIGKILL
        hint = (
            "; often the system's answer to a lack of memory, or all files of the process were closed" if killed else ""
        )
        reason = f"its worker process ended with {cause}{hint}, {ATTEMPTS} times"
        self._lose(worker, ATTEMPTS, reason, lacked_memory=killed)
        self._workers[worker.number] = self._spawn(worker.number)


def _exit_code(process: multiprocessing.process.BaseProcess, seconds: float) -> int | None:
    """Return the exit code of a process that is ending, or None if it is still alive after `seconds`.

    `join` would not do: it takes a child that has closed all its files for one that has ended, and waits forever.
    """
    end = time.monotonic() + seconds
    while (code := process.exitcode) is None and time.monotonic() < end:
        time.sleep(0.01)
    return code


def _end(worker: _Process) -> None:
    worker.connection.close()
    end(worker.process)


def _end_own(workers: list[_Process], owner: int) -> None:
    """End the workers in the process that has started them; one that was forked from it must not."""
    if os.getpid() == owner:
        for worker in workers:
            _end(worker)


def _work(connection: Connection, content: bytes) -> None:
    """Run in the worker: build the evaluation function, then evaluate batches until the parent closes the pipe."""
    stop = StopRequest()
    lead_group()
    die_with_parent()
    # An objective may start processes; if they kept an end of the pipe, the parent could not tell that this one ended.
    multiprocessing.current_process().daemon = False
    os.set_inheritable(connection.fileno(), False)
    os.register_at_fork(after_in_child=connection.close)
    _obey_terminate(stop)
    send = _sender(connection)
    stop.send = lambda report: send("report", report)
    with connection:
        try:
            setup = received(content)
            publish(setup)
            evaluate, facts = setup.build(stop)
        except BaseException as error:  # sent to the parent, which raises it there
            if ends_the_search(error):
                raise
            send("error", error if isinstance(error, EvoError) else SearchError(reason_of(error)))
            return
        send("ready", facts)
        with suppress(EOFError, OSError, Interrupted):
            _evaluate_batches(connection, send, evaluate, stop)


Send: TypeAlias = Callable[[str, Any], None]


def _sender(connection: Connection) -> Send:
    """Return what sends messages to the parent, from any thread; reports of a training have one of their own."""
    lock = threading.Lock()

    def send(kind: str, content: Any) -> None:
        with lock:
            connection.send((kind, content))

    return send


def _evaluate_batches(connection: Connection, send: Send, evaluate: Evaluate, stop: StopRequest) -> None:
    """Evaluate batches until the parent closes the pipe, which raises, or until this process is asked to stop."""
    while not stop.asked:
        batch = connection.recv()
        stop.busy = True
        try:
            for evaluation in evaluate(batch):
                send("evaluation", evaluation)
        except StorageError as error:  # not the task's fault: the parent ends the search, to be resumed
            send("error", error)
        stop.busy = False


def _obey_terminate(stop: StopRequest) -> None:
    """Let SIGTERM ask the running training to save its state, or, if there is none, end this process at once.

    A process that is forked from this one obeys it as any other does: pools end their own by it, and wait for that.
    """

    def ask(*_: object) -> None:
        stop.asked = True
        if not stop.busy:
            os._exit(0)

    def obey() -> None:
        if signal.getsignal(signal.SIGTERM) is ask:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, ask)
    os.register_at_fork(after_in_child=obey)
