"""Evaluates on a Dask cluster: each worker that is free gets one task; what workers that are lost had is done again."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from evo.errors import ClusterLost, StorageError
from evo.evaluators.base import Evaluator, Setup, Task, failure, reason_of
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.connection import Connection
from evo.evaluators.dask.link import Begun, Event, Link, Lost, Present, Returned
from evo.evaluators.dask.members import Member, Membership, tasks_of
from evo.evaluators.dask.worker import Reply
from evo.evaluators.planner import MEMORY_SHARE, Planner
from evo.evaluators.process_pool import LOOK_AHEAD
from evo.files import replacing
from evo.individual import Evaluation

LOSSES = 5
"""How often a task is given out whose workers are lost. More often than in worker processes of one machine: these also
end by no fault of their task, with the time of a batch job for one."""
END_SECONDS = 10.0
"""How long a worker may go on with what nobody waits for before its process is ended."""
UNBEGUN_SECONDS = 10.0
"""How long a task may wait on a worker, behind what others have there, before it goes to one that is free."""
FAULTS = 2
"""How many tasks in a row may come to nothing by a fault of a worker's machine before it is left out."""
SILENT_SECONDS = 10.0
"""How long the first workers may take to answer before it is said that they are waited for."""
POLL_SECONDS = 0.2
TaskKey: TypeAlias = tuple[int, int, str]
FILES = ("weights", "checkpoint", "state")
"""Fields of a task that are paths: a worker has a working folder of its own."""


class DaskEvaluator(Evaluator):
    """Gives each task to a free worker of a cluster; workers may come and go.

    Args:
        setup: Builds the evaluation function in each worker.
        connect: Makes the connection.
        most: Most tasks at a time; None for one a worker.
        timeout: Seconds that an evaluation may take, counted from where its worker begins it; one that takes longer is
            ended and has the status "timeout".
        notify: Takes what a person may want to know.
        warn: Takes what a person must know.
        stop_check: Called while workers are waited for; raises to end that.
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
        self._connect, self._most, self._timeout, self._stop_check = connect, most, timeout, stop_check
        self._name = uuid.uuid4().hex
        self._membership = Membership(setup, self._name, limit_memory=self._limit_memory, notify=notify, warn=warn)
        self._link: Link | None = None
        self._planner = Planner()
        self._finished: deque[Evaluation] = deque()
        self._losses: Counter[TaskKey] = Counter()
        self._lost_at: dict[TaskKey, str] = {}
        self._stopping = False

    # What every evaluator does.

    def start(self) -> dict[str, Any]:
        membership = self._membership
        membership.prepare()
        self._link = Link(self._connect(), self._name, dask_worker.topic_of(self._name))
        membership.open(self._link)
        began, nobody = time.monotonic(), f"waiting for workers at {self._link.address}"
        while not membership.first_have_answered(time.monotonic() - began):
            self._serve(POLL_SECONDS)
            self._stop_check()
            if not membership.members and time.monotonic() > began + 2:
                membership.say(nobody)
            elif membership.members and time.monotonic() > began + SILENT_SECONDS:
                count = len(membership.members)
                membership.say(
                    f"waiting for an answer of {count} workers: they read the data, or are at something else"
                )
        return membership.decide()

    def room(self) -> int:
        return max(0, LOOK_AHEAD * max(1, self.workers) - self.pending)

    def submit(self, task: Task) -> None:
        if (path := task.checkpoint or task.weights or task.state) is not None:
            self._membership.mark(Path(os.path.abspath(path)).parent.parent)
        self._planner.add(task)
        self._hand_out()

    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        end = None if timeout is None else time.monotonic() + timeout
        while not self._finished and (end is not None or self.pending):
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self._serve(left)
        return self._finished.popleft() if self._finished else None

    def cancel(self) -> None:
        self._planner.clear()
        self._finished.clear()
        for member in self._busy():
            self._give_up(member)

    def suspend(self, seconds: float) -> list[Evaluation]:
        end = time.monotonic() + seconds
        self._stopping = True  # what a worker has put back is for the resume, and for no worker that is idle
        self._planner.clear()
        with contextlib.suppress(ClusterLost):
            self._serve(0.0)  # what has come meanwhile is no more in flight, or has begun
        for member in self._busy():
            if not member.begun:  # it has nothing to save
                member.release()
        if self.running and self._link is not None and self._link.connected:
            self._link.tell([member.address for member in self._busy()], dask_worker.stop, self._name)
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
    def pending(self) -> int:
        return len(self._planner) + self.running + len(self._finished)

    @property
    def running(self) -> int:
        return len(self._busy())

    @property
    def workers(self) -> int:
        count = sum(member.takes_part and not member.resting for member in self._members())
        return count if self._most is None else min(count, self._most)

    def _members(self) -> list[Member]:
        return list(self._membership.members.values())

    def _busy(self) -> list[Member]:
        return [member for member in self._membership.members.values() if member.task is not None]

    def _limit_memory(self, free: float) -> None:
        """Plan with the smallest of all memories."""
        self._planner.limit_memory(min(free, self._planner.memory / MEMORY_SHARE))

    # Tasks: they wait, are sent, and come back.

    def _hand_out(self) -> None:
        """Give waiting tasks to free workers."""
        if self._stopping or self._membership.facts is None or not len(self._planner):
            return
        running = self.running
        for member in [member for member in self._members() if member.is_free]:
            if not len(self._planner) or (self._most is not None and running >= self._most):
                return
            beside = self._membership.beside(member)
            task = self._planner.take(tasks_of(beside), functools.partial(self._is_welcome, member))
            if task is not None:
                self._send(member, task, beside)
                running += 1

    def _is_welcome(self, member: Member, task: Task) -> bool:
        """Return whether a task may start on a worker: not where it was lost the last time, if there are others."""
        return self._lost_at.get(_key_of(task)) != member.address or not self._membership.others_than(member.address)

    def _send(self, member: Member, task: Task, beside: Sequence[Member]) -> None:
        assert self._link is not None
        assert member.answer is not None
        weights = None
        if not member.sees_folder and task.measure == "test" and task.weights is not None:
            with contextlib.suppress(OSError):  # lost: they are trained again
                weights = Path(task.weights).read_bytes()
        for other in beside:
            other.beside.append(task)
        member.task, member.beside = task, tasks_of(beside)
        member.deadline = time.monotonic() + UNBEGUN_SECONDS
        files = {name: os.path.abspath(path) for name in FILES if (path := getattr(task, name)) is not None}
        member.call = self._link.call(
            member.address,
            f"{task.individual}-{task.replicate}-{task.measure}",
            dask_worker.evaluate,
            self._name,
            replace(task, **files),
            not member.sees_folder,
            weights,
            # One task at a time on a worker is this search's own doing; others on the cluster must leave the GPU, too.
            resources={"GPU": 1.0} if member.answer.resources.get("GPU", 0.0) >= 1 else None,
        )

    def _serve(self, timeout: float | None) -> None:
        """Wait for what happens, take it in, end what is over its time, and give out tasks."""
        assert self._link is not None
        deadline = min((member.deadline for member in self._members()), default=math.inf) - time.monotonic()
        wait = min(math.inf if timeout is None else timeout, max(0.0, deadline))
        for event in self._link.events(None if wait == math.inf else wait):
            self._take(event)
        self._end_overdue()
        self._hand_out()

    def _take(self, event: Event) -> None:
        if isinstance(event, Present):
            self._look(event)
        elif isinstance(event, Begun):
            self._begun(event.key)
        elif isinstance(event, Returned):
            # What nobody waits for any more was given up or lost: its task was done again or has failed, so that a
            # result which still comes is a second one.
            member = next((member for member in self._members() if member.call is event.call), None)
            if member is not None:
                self._returned(member, event.content)
        elif (known := self._membership.members.get(event.address)) is not None:  # else it is gone anyway
            self._membership.say(
                f"note: {known.name} goes on with what nobody waits for, and cannot be "
                f"started again ({event.reason}); it takes part again once that has ended"
            )

    def _look(self, present: Present) -> None:
        """Take in who is there: what those had that are gone is done again, and so is what rests unbegun."""
        for member in self._membership.look(present):
            if member.task is not None and member.address in present.left:
                self._planner.put_back(member.task)  # that says nothing of the task, however often
            elif member.task is not None:
                self._do_again(member.task, member, "it has left the cluster")
            member.release()
        for member in self._busy():
            if member.resting and not member.begun and member.task is not None:
                self._planner.put_back(member.task)
                self._give_up(member)

    def _begun(self, key: str) -> None:
        """Take in that a task has begun: its time counts from here, also if it was given up before."""
        for member in self._members():
            if member.call is not None and member.call.key == key:
                member.begun = True
                member.deadline = time.monotonic() + self._timeout if self._timeout else math.inf
            elif member.given_up == key:
                member.deadline = time.monotonic() + END_SECONDS

    def _returned(self, member: Member, content: Any) -> None:
        task = member.task
        if task is None:
            member.release()
            self._membership.take_answer(member, content)
            return
        if isinstance(content, StorageError) and member.sees_folder:
            raise content
        if isinstance(content, Reply) and content.evaluation is not None:
            self._finish(member, task, content.evaluation, content.weights)
            member.faults = 0
            member.release()
            return
        if isinstance(content, Reply) and not (content.kind == "unknown" and member.begun):
            self._planner.put_back(task)  # it was not ready, or was stopped by another hand
        elif isinstance(content, Reply | Lost | OSError):  # the machine's fault, and no other machine's
            self._fail_of(member, task, content)
            return
        else:
            self._finished.append(failure(task, "failed", reason_of(content), member.name))
        self._invite_anew(member)

    def _fail_of(self, member: Member, task: Task, content: Reply | Lost | OSError) -> None:
        """Let a task wait again that a fault of a worker's machine has ended; leave the worker out if that goes on."""
        if isinstance(content, Reply):
            reason = "it was started again"
        else:
            reason = content.reason if isinstance(content, Lost) else reason_of(content)
        self._do_again(task, member, reason)
        member.faults += 1
        if member.faults >= FAULTS and self._membership.others_than(member.address):
            member.release()
            self._membership.leave_out(member, f"{FAULTS} tasks in a row came to nothing there: {reason}")
        else:
            self._invite_anew(member)

    def _invite_anew(self, member: Member) -> None:
        member.release()
        member.answer = None
        self._membership.invite(member)

    def _finish(self, member: Member, task: Task, evaluation: Evaluation, weights: bytes | None) -> None:
        """Take an evaluation; one that ran out of memory beside others is done again alone."""
        if evaluation.status == "out_of_memory" and member.beside:
            self._planner.out_of_memory(task, member.beside)
            return
        if weights is not None and task.weights is not None:
            with replacing(Path(task.weights)) as temporary:
                temporary.write_bytes(weights)
        self._finished.append(replace(evaluation, worker=member.name))

    def _do_again(self, task: Task, member: Member, reason: str) -> None:
        """Let a task wait again whose worker was lost, or let it fail after so many losses.

        Workers come and go, so a first loss says nothing of the task. A second one may be the system's answer to a lack
        of memory: it is then tried alone.
        """
        key = _key_of(task)
        self._losses[key] += 1
        self._lost_at[key] = member.address
        if self._losses[key] >= LOSSES:
            reason = f"its workers were lost or failed {LOSSES} times, the last of them {member.name}: {reason}"
            self._finished.append(failure(task, "failed", reason, member.name))
        elif self._losses[key] > 1:
            self._planner.put_back_alone(task)
        else:
            self._planner.put_back(task)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for member in self._members():
            if now <= member.deadline:
                continue
            if member.task is not None and not member.begun:
                self._move(member, member.task)
            elif member.task is not None:
                reason = f"took longer than --timeout {self._timeout:g} s"
                self._finished.append(failure(member.task, "timeout", reason, member.name, self._timeout or 0.0))
                self._give_up(member)
            elif self._link is not None:
                member.deadline = math.inf
                self._link.restart(member.address, member.given_up)

    def _move(self, member: Member, task: Task) -> None:
        """Let a task that waits behind what others have on its worker go to one that is free, if there is one."""
        if any(other.is_free for other in self._members()) and not len(self._planner):
            self._planner.put_back(task)
            self._give_up(member)
        else:
            member.deadline = time.monotonic() + UNBEGUN_SECONDS

    def _give_up(self, member: Member) -> None:
        """Wait no longer for a worker's task. The worker is free again when it answers an invitation.

        It does so only after what is before: the task, if it has begun that and does not end it, and then it is ended
        itself; or what other searches have there, whose right that is.
        """
        key, begun = member.call.key if member.call is not None else "", member.begun
        member.release()
        member.answer = None
        self._membership.invite(member)
        member.given_up = key
        member.deadline = time.monotonic() + END_SECONDS if begun else math.inf


def _key_of(task: Task) -> TaskKey:
    return task.individual, task.replicate, task.measure
