"""Evaluates on a Dask cluster: each free worker gets one batch; batches of workers that are lost are done again."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pickle
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evo.errors import ClusterLost, StorageError
from evo.evaluators.base import Setup, Task, TaskKey, failure, reason_of
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.connection import Connection
from evo.evaluators.dask.link import Event, Link, Lost, Present, Returned, Told
from evo.evaluators.dask.members import Member, Membership
from evo.evaluators.dask.worker import Reply
from evo.evaluators.workers import Worker, WorkersEvaluator, tasks_of
from evo.files import replacing
from evo.individual import Evaluation

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
FILES = ("weights", "checkpoint", "state")
"""Fields of a task that are paths: a worker has a working folder of its own."""


class DaskEvaluator(WorkersEvaluator):
    """Gives each batch to a free worker of a cluster; workers may come and go.

    Args:
        setup: Builds the evaluation function in each worker.
        connect: Makes the connection.
        most: The most workers to use at a time; None for all.
        timeout: See `WorkersEvaluator`; counted from when the worker begins the batch.
        notify: Called with what a person may want to know.
        warn: Called with what a person must know.
        stop_check: Called while the search waits for workers; raises to end the wait.
    """

    def __init__(
        self,
        setup: Setup,
        connect: Callable[[], Connection],
        *,
        most: int | None = None,
        timeout: float | None = None,
        notify: Callable[[str], None] = lambda message: None,
        warn: Callable[[str], None] = lambda message: None,
        stop_check: Callable[[], None] = lambda: None,
    ):
        super().__init__(setup, timeout)
        self._connect, self._most, self._stop_check = connect, most, stop_check
        self._name = uuid.uuid4().hex
        limit_memory = self._planner.limit_memory
        self._membership = Membership(setup, self._name, limit_memory=limit_memory, notify=notify, warn=warn)
        self._link: Link | None = None
        self._lost_at: dict[TaskKey, str] = {}
        self._stopping = False

    def start(self) -> dict[str, Any]:
        membership = self._membership
        membership.prepare()
        self._link = Link(self._connect(), self._name, dask_worker.topic_of(self._name))
        membership.open(self._link)
        began = time.monotonic()
        while not membership.first_have_answered(waited := time.monotonic() - began):
            self._serve(POLL_SECONDS)
            self._stop_check()
            count = len(membership.members)
            if not count and waited > 2:
                membership.say(f"waiting for workers at {self._link.address}")
            elif count and waited > SILENT_SECONDS:
                membership.say(f"waiting for {count} workers to answer: they are reading the data, or are busy")
        return membership.decide()

    def submit(self, task: Task) -> None:
        if (path := task.checkpoint or task.weights or task.state) is not None:
            self._membership.mark(Path(os.path.abspath(path)).parent.parent)
        super().submit(task)

    def suspend(self, seconds: float) -> list[Evaluation]:
        end = time.monotonic() + seconds
        self._stopping = True  # tasks that workers return unfinished are for the resume, not for idle workers
        self._planner.clear()
        with contextlib.suppress(ClusterLost):
            self._serve(0.0)  # some batches may have begun or ended meanwhile
        for member in self._all_workers():
            if member.tasks and not member.begun:  # nothing to save
                member.release()
        if self.running and self._link is not None and self._link.connected:
            busy = [member.address for member in self._all_workers() if member.tasks]
            self._link.tell(busy, dask_worker.stop, self._name)
            with contextlib.suppress(ClusterLost):
                while self.running and (left := end - time.monotonic()) > 0:
                    self._serve(min(POLL_SECONDS, left))
                    self._planner.clear()
        finished = list(self._finished)
        self.close()
        return finished

    def close(self) -> None:
        try:
            self._membership.close()
            self._planner.clear()
            self._finished.clear()
        finally:
            if self._link is not None:
                self._link.close(dask_worker.forget, self._name)

    @property
    def workers(self) -> int:
        count = sum(member.takes_part and not member.resting for member in self._all_workers())
        return count if self._most is None else min(count, self._most)

    def _all_workers(self) -> list[Member]:
        return list(self._membership.members.values())

    def _hand_out(self) -> None:
        if self._stopping or self._membership.facts is None:
            return
        busy = len(self._busy())
        for member in [member for member in self._all_workers() if member.is_free]:
            if not len(self._planner) or (self._most is not None and busy >= self._most):
                return
            neighbours = self._membership.neighbours(member)
            if batch := self._planner.take(tasks_of(neighbours), functools.partial(self._is_welcome, member)):
                self._send(member, batch, neighbours)
                busy += 1

    def _is_welcome(self, member: Member, task: Task) -> bool:
        """Return whether a task may start on a worker: not where it was lost last, if there are other workers."""
        return self._lost_at.get(task.key) != member.address or not self._membership.others_than(member.address)

    def _send(self, member: Member, batch: list[Task], neighbours: Sequence[Member]) -> None:
        assert self._link is not None
        member.begin(batch, neighbours)
        member.deadline = time.monotonic() + UNBEGUN_SECONDS
        first, away = batch[0], not member.answer.sees_folder
        member.call = self._link.call(
            member.address,
            f"{first.individual}-{first.replicate}-{first.measure}",
            dask_worker.evaluate,
            self._name,
            [_with_absolute_paths(task) for task in batch],
            away,
            [_weights_for(task) if away else None for task in batch],
            # This search gives a worker one batch at a time anyway; this keeps other users of the cluster off the GPU.
            resources={"GPU": 1.0} if member.answer.resources.get("GPU", 0.0) >= 1 else None,
        )

    def _serve(self, timeout: float | None) -> None:
        assert self._link is not None
        for event in self._link.events(self._patience(timeout)):
            self._take(event)
        self._end_overdue()
        self._hand_out()

    def _take(self, event: Event) -> None:
        if isinstance(event, Present):
            self._look(event)
        elif isinstance(event, Told):
            self._hear(event)
        elif isinstance(event, Returned):
            # A call that no member has was abandoned or lost. Its tasks were done again or have failed, so a result
            # that comes now is a second one.
            for member in self._all_workers():
                if member.call is event.call:
                    self._returned(member, event.content)
        elif (known := self._membership.members.get(event.address)) is not None:  # else it has left anyway
            self._membership.say(
                f"note: {known.name} is still running an abandoned task, and cannot be restarted ({event.reason}); "
                "it takes part again once that task has ended"
            )

    def _look(self, present: Present) -> None:
        """Learn which workers there are. Tasks of those that are gone or that rest before they begin are done again."""
        for member in self._membership.look(present):
            if member.address in present.left:
                self._planner.put_back(member.tasks)  # it left as planned: that says nothing about its tasks
            else:
                self._do_again(member, "it has left the cluster")
            member.release()
        for member in self._all_workers():
            if member.tasks and member.resting and not member.begun:
                self._move(member)

    def _hear(self, told: Told) -> None:
        """Learn that a batch has begun, even if it was abandoned before, or that one of its evaluations is ready."""
        for member in self._all_workers():
            if member.call is not None and member.call.key == told.key:
                if told.content:
                    self._finish(member, pickle.loads(told.content))  # noqa: S301  # from a worker, as every result
                else:
                    member.begun, member.deadline = True, self._deadline()
            elif member.given_up == told.key and not told.content:
                member.deadline = time.monotonic() + END_SECONDS

    def _returned(self, member: Member, content: Any) -> None:
        if not member.batch:
            member.release()
            self._membership.take_answer(member, content)
            return
        if isinstance(content, StorageError) and member.answer.sees_folder:
            raise content
        if isinstance(content, Reply):
            for evaluation, weights in content.evaluations:
                self._finish(member, evaluation, weights)
        if not member.tasks:
            member.faults = 0
            member.release()
        elif isinstance(content, Reply) and not (content.kind == "unknown" and member.begun):
            self._planner.put_back(member.tasks)  # the worker was not ready, or something else has stopped it
            self._membership.invite_anew(member)
        elif isinstance(content, Reply):
            self._machine_failed(member, "it was started again")
        elif isinstance(content, Lost | OSError):
            self._machine_failed(member, content.reason if isinstance(content, Lost) else reason_of(content))
        elif len(member.batch) > 1:
            self._planner.put_back(member.tasks, single=True)  # nothing says which of them is to blame
            self._membership.invite_anew(member)
        else:
            self._finished.append(failure(member.tasks[0], "failed", reason_of(content), member.name))
            self._membership.invite_anew(member)

    def _machine_failed(self, member: Member, reason: str) -> None:
        """Do the tasks of a worker again whose machine has failed; leave the worker out if that keeps happening."""
        self._do_again(member, reason)
        member.faults += 1
        if member.faults >= FAULTS and self._membership.others_than(member.address):
            member.release()
            self._membership.leave_out(member, f"{FAULTS} tasks in a row failed there: {reason}")
        else:
            self._membership.invite_anew(member)

    def _finish(self, worker: Worker, evaluation: Evaluation, weights: bytes | None = None) -> bool:
        if weights is not None:
            for task in worker.tasks:
                if task.has(evaluation) and task.weights is not None:
                    with replacing(Path(task.weights)) as temporary:
                        temporary.write_bytes(weights)
        return super()._finish(worker, evaluation)

    def _do_again(self, member: Member, reason: str) -> None:
        """Return the unfinished tasks of a lost worker to the plan, or let them fail after too many losses.

        Workers come and go, so one loss says nothing about a task. A second one may be the system's answer to a lack
        of memory, so the task is then tried alone.
        """
        again = []
        for task in member.tasks:
            self._losses[task.key] += 1
            self._lost_at[task.key] = member.address
            if self._losses[task.key] >= LOSSES:
                reason = f"its workers were lost or failed {LOSSES} times, the last of them {member.name}: {reason}"
                self._finished.append(failure(task, "failed", reason, member.name))
            elif self._losses[task.key] > 1:
                self._planner.put_back_alone(task)
            else:
                again.append(task)
        self._planner.put_back(again, single=True)

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
            self._link.restart(worker.address, worker.given_up)

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
        key, begun = worker.call.key if worker.call is not None else "", worker.begun
        self._membership.invite_anew(worker)
        worker.given_up = key
        worker.deadline = time.monotonic() + END_SECONDS if begun else math.inf


def _with_absolute_paths(task: Task) -> Task:
    files: dict[str, Any] = {name: os.path.abspath(path) for name in FILES if (path := getattr(task, name)) is not None}
    return replace(task, **files)


def _weights_for(task: Task) -> bytes | None:
    """Return the trained weights that a task is to test; None also if they are lost, and must be trained again."""
    if task.measure == "test" and task.weights is not None:
        with contextlib.suppress(OSError):
            return Path(task.weights).read_bytes()
    return None
