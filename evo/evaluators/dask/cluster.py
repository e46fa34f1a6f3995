"""Evaluates on a Dask cluster: each free worker gets one batch; batches of workers that are lost are done again."""

from __future__ import annotations

import contextlib
import math
import pickle
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo.data.cache import Notify
from evo.errors import ClusterLost, StorageError
from evo.evaluation import Evaluation
from evo.evaluators.base import Report, Setup, Task, TaskKey, failure
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.connection import Connection
from evo.evaluators.dask.link import Link
from evo.evaluators.dask.members import Member, MembersEvaluator
from evo.evaluators.workers import Worker, tasks_of
from evo.files import replacing
from evo.plain_text import reason_of
from evo.tracebacks import traceback_of

if TYPE_CHECKING:
    from distributed import Future

LOSSES = 5
"""How often a task is tried whose workers are lost. More often than in a process pool: workers of a cluster also end
for reasons of their own, such as the time limit of a batch job."""
END_SECONDS = 10.0
"""How long a worker may spend on an abandoned batch before its process is ended."""
UNBEGUN_SECONDS = 10.0
"""How long a batch may wait on a worker, behind the tasks of others, before it moves to a free worker."""
FAULTS = 2
"""How many batches in a row may fail because of a worker's machine before the worker is left out."""
SILENT_SECONDS = 10.0
"""How long the first workers may take to answer before the search says that it waits for them."""
POLL_SECONDS = 0.2


class DaskEvaluator(MembersEvaluator):
    """Gives each batch to a free worker of a cluster; workers may come and go.

    Args:
        setup: Builds the evaluation function in each worker.
        connect: Makes the connection.
        most: The most workers to use at a time; None for all.
        timeout: See `WorkersEvaluator`; counted from when the worker begins the batch.
        notify: Called with what the user may want to know.
        warn: Called with what the user must know.
        stop_check: Called while the search waits for workers; raises to end the wait.
    """

    def __init__(
        self,
        setup: Setup,
        connect: Callable[[], Connection],
        *,
        most: int | None = None,
        timeout: float | None = None,
        notify: Notify = lambda message: None,
        warn: Notify = lambda message: None,
        stop_check: Callable[[], None] = lambda: None,
    ):
        super().__init__(setup, timeout, notify, warn)
        self._connect, self._most, self._stop_check = connect, most, stop_check
        self._lost_at: dict[TaskKey, str] = {}
        self._stopping = False

    def start(self) -> dict[str, Any]:
        self._prepare()
        topic = dask_worker.topic_of(self._name)
        self._link = Link(self._connect(), self._name, topic, look=self._look, hear=self._hear)
        began = time.monotonic()
        while not self._first_have_answered(waited := time.monotonic() - began):
            self._serve(POLL_SECONDS)
            self._stop_check()
            count = len(self._members)
            if not count and waited > 2:
                self._say(f"waiting for workers at {self._link.address}")
            elif count and waited > SILENT_SECONDS:
                self._say(f"waiting for {count} workers to answer: they are reading the data, or are busy")
        return self._agreed()

    def submit(self, *tasks: Task) -> None:
        path = next(
            (path for task in tasks if (path := task.checkpoint or task.weights or task.state or task.folder)), None
        )
        if path is not None:
            self._mark(Path(path).parent.parent)
        super().submit(*tasks)

    def suspend(self, seconds: float) -> list[Evaluation]:
        with contextlib.suppress(ClusterLost):
            self._save(seconds)
        finished = self._taken()
        self.close()
        return finished

    def pause(self, seconds: float) -> list[Evaluation]:
        self._save(seconds)
        for member in self._all_workers():
            if member.tasks:
                self._abandon(member)
        self._planner.clear()
        self._stopping = False
        return self._taken()

    def in_hand(self) -> list[tuple[Task, float]]:
        now = time.monotonic()
        return [(task, now - member.since) for member in self._all_workers() if member.begun for task in member.tasks]

    def _save(self, seconds: float) -> None:
        """Let trainings save their state and end, and take back what has not begun.

        Raises:
            ClusterLost: The scheduler is gone.
        """
        end = time.monotonic() + seconds
        self._stopping = True  # tasks that workers return unfinished are for the resume, not for idle workers
        self._planner.clear()
        self._serve(0.0)  # some batches may have begun or ended meanwhile
        for member in self._all_workers():
            if member.tasks and not member.begun:  # nothing to save
                member.release()
        if self.running and self._link is not None and self._link.connected:
            busy = [member.address for member in self._all_workers() if member.tasks]
            self._link.tell(busy, dask_worker.stop, self._name)
            while self.running and (left := end - time.monotonic()) > 0:
                self._serve(min(POLL_SECONDS, left))
                self._planner.clear()

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self._link is not None:
                self._link.close(dask_worker.forget, self._name)

    @property
    def workers(self) -> int:
        count = sum(member.takes_part and not member.resting for member in self._all_workers())
        return count if self._most is None else min(count, self._most)

    def _hand_out(self) -> None:
        if self._stopping or self._facts is None:
            return
        busy = len(self._busy())
        for member in [member for member in self._all_workers() if member.is_free]:
            if not len(self._planner) or (self._most is not None and busy >= self._most):
                return
            neighbours = self._neighbours(member)
            if batch := self._planner.take(tasks_of(neighbours), partial(self._is_welcome, member)):
                self._send(member, batch, neighbours)
                busy += 1

    def _is_welcome(self, member: Member, task: Task) -> bool:
        """Return whether a task may start on a worker: not where it was lost last, if there are other workers."""
        return self._lost_at.get(task.key) != member.address or not self._others_than(member.address)

    def _send(self, member: Member, batch: list[Task], neighbours: Sequence[Member]) -> None:
        assert self._link is not None
        member.begin(batch, neighbours)
        member.deadline = time.monotonic() + UNBEGUN_SECONDS
        first = batch[0]
        member.call = self._link.call(
            member.address,
            f"{first.individual}-{first.replicate}-{first.measure}",
            dask_worker.evaluate,
            self._name,
            batch,
            None if member.answer.sees_folder else [_weights_for(task) for task in batch],
            returned=partial(self._returned, member),
            # This search gives a worker one batch at a time anyway; this keeps other users of the cluster off the GPU.
            resources={"GPU": 1.0} if member.answer.resources.get("GPU", 0.0) >= 1 else None,
        )

    def _serve(self, timeout: float | None) -> None:
        assert self._link is not None
        for act in self._link.news(self._patience(timeout)):
            act()
        self._end_overdue()
        self._hand_out()

    def _look(self, workers: frozenset[str], resting: frozenset[str], left: frozenset[str]) -> None:
        """Learn which workers there are. Tasks of those that are gone or that rest before they begin are done again."""
        for member in self._update(workers, resting):
            if member.address in left:
                self._planner.put_back(member.tasks)  # it left as planned: that says nothing about its tasks
            else:
                self._do_again(member, "it has left the cluster")
            member.release()
        for member in self._all_workers():
            if member.tasks and member.resting and not member.begun:
                self._move(member)

    def _hear(self, key: str, content: bytes) -> None:
        """Learn that a batch has begun (even if it was abandoned before), what it reports, or a result."""
        for member in self._all_workers():
            if member.call is not None and member.call.key == key:
                if content:
                    news = pickle.loads(content)  # noqa: S301  # from a worker, as every result
                    if isinstance(news, Report):
                        self.on_report(news)
                    else:
                        self._finish(member, news)
                else:
                    member.begun, member.since, member.deadline = True, time.monotonic(), self._deadline()
            elif member.given_up == key and not content:
                member.deadline = time.monotonic() + END_SECONDS

    def _returned(self, member: Member, call: Future, content: Any) -> None:
        """Record what a batch has returned or raised."""
        if not member.has_returned(call):
            return
        if isinstance(content, StorageError) and member.answer.sees_folder:
            raise content
        for evaluation, weights in content if isinstance(content, list) else ():
            self._finish(member, evaluation, weights)
        if not member.tasks:
            member.faults = 0
            member.release()
            return
        if isinstance(content, OSError) or (content is None and member.begun):
            self._machine_failed(member, "it was started again" if content is None else reason_of(content))
            return
        if not isinstance(content, Exception):
            self._planner.put_back(member.tasks)  # the worker was not ready, or something else has stopped it
        elif len(member.batch) > 1:
            self._planner.put_back(member.tasks, single=True)  # nothing says which of them is to blame
        else:
            reason, traceback = reason_of(content), traceback_of(content)
            self._finished.append(failure(member.tasks[0], "failed", reason, member.name, traceback=traceback))
        self._invite_anew(member)

    def _machine_failed(self, member: Member, reason: str) -> None:
        """Do the tasks of a worker again whose machine has failed; leave the worker out if that keeps happening."""
        self._do_again(member, reason)
        member.faults += 1
        if member.faults >= FAULTS and self._others_than(member.address):
            member.release()
            self._leave_out(member, f"{FAULTS} tasks in a row failed there: {reason}")
        else:
            self._invite_anew(member)

    def _finish(self, worker: Worker, evaluation: Evaluation, weights: bytes | None = None) -> bool:
        if weights is not None:
            for task in worker.tasks:
                if task.has(evaluation) and task.weights is not None:
                    with replacing(Path(task.weights)) as temporary:
                        temporary.write_bytes(weights)
        return super()._finish(worker, evaluation)

    def _do_again(self, member: Member, reason: str) -> None:
        """Do the unfinished tasks of a lost worker again, if possible elsewhere."""
        self._lost_at |= {task.key: member.address for task in member.tasks}
        self._lose(
            member, LOSSES, f"its workers were lost or failed {LOSSES} times, the last of them {member.name}: {reason}"
        )

    def _overdue(self, worker: Worker) -> None:
        assert isinstance(worker, Member)
        if worker.begun:
            super()._overdue(worker)
        elif worker.tasks and any(other.is_free for other in self._all_workers()) and not len(self._planner):
            self._move(worker)
        elif worker.tasks:
            worker.deadline = time.monotonic() + UNBEGUN_SECONDS
        elif self._link is not None:
            worker.deadline = math.inf
            self._link.restart(worker.address, worker.given_up, partial(self._not_restarted, worker))

    def _not_restarted(self, member: Member, reason: str) -> None:
        self._say(
            f"note: {member.name} is still running an abandoned task, and cannot be restarted ({reason}); "
            "it takes part again once that task has ended"
        )

    def _move(self, member: Member) -> None:
        """Take a batch that has not begun away from its worker."""
        self._planner.put_back(member.tasks)
        self._abandon(member)

    def _abandon(self, worker: Worker) -> None:
        """Stop waiting for a worker's batch. The worker is free again when it answers a new invitation.

        It answers after everything that is before that in its queue: the batch itself, if it has begun (if that does
        not end, the worker is restarted), or tasks of other searches, which must not be disturbed.
        """
        assert isinstance(worker, Member)
        key, begun = str(worker.call.key) if worker.call is not None else "", worker.begun
        self._invite_anew(worker)
        worker.given_up = key
        worker.deadline = time.monotonic() + END_SECONDS if begun else math.inf


def _weights_for(task: Task) -> bytes | None:
    """Return the trained weights that a task is to test; None also if they are lost, and must be trained again."""
    if task.measure == "test" and task.weights is not None:
        with contextlib.suppress(OSError):
            return Path(task.weights).read_bytes()
    return None
