"""Evaluates on a Dask cluster: each worker that is free gets one task; what workers that are lost had is done again."""

from __future__ import annotations

import contextlib
import math
import os
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evo.errors import ClusterLost, ConfigurationError, StorageError, listed
from evo.evaluators import dask_worker
from evo.evaluators.base import Evaluator, Setup, Task, failure, reason_of
from evo.evaluators.dask_answers import agreed_facts, notes, refusal
from evo.evaluators.dask_connection import Connection
from evo.evaluators.dask_link import Call, Event, Link, Present, Returned
from evo.evaluators.dask_worker import DECIDED, Answer, Invitation, Reply
from evo.evaluators.planner import MEMORY_SHARE, Planner
from evo.evaluators.process_pool import LOOK_AHEAD
from evo.files import replacing
from evo.individual import Evaluation

LOSSES = 5
"""How often a task is given out whose workers are lost. More often than in worker processes of one machine: these also
end by no fault of their task, with the time of a batch job for one."""
ANSWER_SECONDS = 30.0
"""How long the first workers are waited for before the search begins with those that have answered."""
END_SECONDS = 10.0
"""How long a worker may go on with what nobody waits for before its process is ended."""
POLL_SECONDS = 0.2
FILES = ("weights", "checkpoint", "state")
"""Fields of a task that are paths: a worker has a working folder of its own."""


@dataclass
class _Worker:
    """A worker as the search sees it.

    Attributes:
        address: Its address.
        name: What tables show.
        answer: What it said to the last invitation; None while it has not.
        invitation: That invitation.
        call: What it does for the search: a task, or its answer.
        task: The task; None while it is free, or answers.
        deadline: When that is over its time.
    """

    address: str
    name: str
    answer: Answer | None = None
    invitation: Invitation | None = None
    call: Call | None = None
    task: Task | None = None
    deadline: float = math.inf

    @property
    def takes_part(self) -> bool:
        """Whether it can do tasks of the search."""
        return self.answer is not None and not self.answer.problem

    @property
    def memory_of(self) -> str:
        """See `Answer`."""
        return self.answer.memory_of if self.answer is not None else ""


class DaskEvaluator(Evaluator):
    """Gives each task to a free worker of a cluster; workers may come and go.

    Args:
        setup: Builds the evaluation function in each worker.
        connect: Makes the connection.
        most: Most tasks at a time; None for one a worker.
        timeout: Seconds that an evaluation may take; one that takes longer is ended and has the status "timeout".
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
        self._setup, self._connect, self._most, self._timeout = setup, connect, most, timeout
        self._notify, self._warn, self._stop_check = notify, warn, stop_check
        self._name = uuid.uuid4().hex
        self._link: Link | None = None
        self._invitation: Invitation | None = None
        self._workers: dict[str, _Worker] = {}
        self._planner = Planner()
        self._finished: deque[Evaluation] = deque()
        self._losses: Counter[tuple[int, int, str]] = Counter()
        self._memories: set[str] = set()
        self._facts: dict[str, Any] | None = None
        self._marker: Path | None = None
        self._said: set[str] = set()
        self._stopping = False

    # What every evaluator does.

    def start(self) -> dict[str, Any]:
        self._invitation = self._invite()
        self._link = Link(self._connect(), self._name)
        began, nobody = time.monotonic(), f"waiting for workers at {self._link.address}"
        while not self._first_workers_are_there(time.monotonic() - began):
            self._serve(POLL_SECONDS)
            self._stop_check()
            if not self._workers and time.monotonic() > began + 2:
                self._say(nobody)
        self._facts = agreed_facts(self._taking_part())
        if hasattr(self._setup, "decided"):
            self._setup = self._setup.decided(self._facts)
        self._invitation = self._invite()
        self._note()
        return self._facts

    def room(self) -> int:
        return max(0, LOOK_AHEAD * max(1, self.workers) - self.pending)

    def submit(self, task: Task) -> None:
        if self._marker is None and (path := task.checkpoint or task.weights or task.state) is not None:
            self._mark(Path(os.path.abspath(path)).parent.parent)
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
        for worker in self._workers.values():
            if worker.task is not None:
                self._give_up(worker)

    def suspend(self, seconds: float) -> list[Evaluation]:
        end = time.monotonic() + seconds
        self._stopping = True  # what a worker has put back is for the resume, and for no worker that is idle
        self._planner.clear()
        busy = [worker.address for worker in self._workers.values() if worker.task is not None]
        if busy and self._link is not None and self._link.connected:
            self._link.tell(busy, dask_worker.stop, self._name)
            with contextlib.suppress(ClusterLost):
                while self.running and (left := end - time.monotonic()) > 0:
                    self._serve(min(POLL_SECONDS, left))
                    self._planner.clear()
        finished = list(self._finished)
        self.close()
        return finished

    def close(self) -> None:
        for worker in self._workers.values():
            _release(worker)
        self._workers = {}
        self._planner.clear()
        self._finished.clear()
        if self._link is not None:
            self._link.close(dask_worker.forget, self._name)
        if self._marker is not None:
            self._marker.unlink(missing_ok=True)

    @property
    def pending(self) -> int:
        return len(self._planner) + self.running + len(self._finished)

    @property
    def running(self) -> int:
        return sum(worker.task is not None for worker in self._workers.values())

    @property
    def workers(self) -> int:
        count = sum(worker.takes_part for worker in self._workers.values())
        return count if self._most is None else min(count, self._most)

    # Workers: they come, are invited, take part or not, and go.

    def _invite(self) -> Invitation:
        """Return what workers are told from now on."""
        try:
            import cloudpickle

            setup = cloudpickle.dumps(self._setup)
        except Exception as error:  # what it raises is the objective's own affair
            raise ConfigurationError(f"the objective cannot be sent to workers ({reason_of(error)})") from None
        decided = {name: str(self._facts.get(name)) for name in DECIDED} if self._facts is not None else {}
        marker = str(self._marker) if self._marker is not None else None
        return Invitation(self._name, setup, dask_worker.versions_here(), decided, marker)

    def _look(self, present: frozenset[str]) -> None:
        """Take in who is there: who is new is invited; what those had that are gone is done again."""
        for address in self._workers.keys() - present:
            worker = self._workers.pop(address)
            task = worker.task
            _release(worker)
            if task is not None:
                self._do_again(task, worker.name, "it has left the cluster")
        for address in sorted(present - self._workers.keys()):
            self._workers[address] = worker = _Worker(address, address)
            self._send_invitation(worker)

    def _send_invitation(self, worker: _Worker) -> None:
        worker.invitation = self._invitation
        worker.call = self._call(worker, "invitation", dask_worker.accept, self._invitation)

    def _answered(self, worker: _Worker, answer: Answer) -> None:
        worker.answer, worker.name = answer, answer.name or worker.name
        if answer.problem:
            if self._facts is not None:
                self._warn(f"warning: no part in the search takes {refusal(answer)}")
            return
        if worker.invitation is not self._invitation:  # what was decided since then, or where the run lies, is news
            self._send_invitation(worker)
            return
        free = answer.facts.get("free_memory", math.inf)
        if answer.memory_of not in self._memories:
            self._memories.add(answer.memory_of)
            self._planner.limit_memory(min(free, self._planner.memory / MEMORY_SHARE))
        if self._facts is not None:
            self._note()

    def _first_workers_are_there(self, waited: float) -> bool:
        """Return whether those that are there have answered, or have had the time to.

        Raises:
            ConfigurationError: None of them can take part.
        """
        answered = [worker for worker in self._workers.values() if worker.answer is not None]
        if len(answered) < len(self._workers) and waited < ANSWER_SECONDS:
            return False
        refused = [worker.answer for worker in answered if worker.answer is not None and worker.answer.problem]
        if len(refused) < len(answered):
            for answer in refused:
                self._warn(f"warning: no part in the search takes {refusal(answer)}")
            return True
        if refused and len(refused) == len(self._workers):
            raise ConfigurationError(listed([refusal(answer) for answer in refused], "no worker can take part:"))
        return False

    def _taking_part(self) -> list[Answer]:
        return [worker.answer for worker in self._workers.values() if worker.answer is not None and worker.takes_part]

    def _note(self) -> None:
        for text in notes(self._taking_part(), has_folder=self._marker is not None):
            self._say(text)

    def _mark(self, folder: Path) -> None:
        """Leave a file in the run folder by which workers find out whether they see it."""
        marker = folder / f".{self._name}.cluster"
        try:
            marker.write_text(self._name, encoding="utf-8")
        except OSError:
            return  # what the run itself writes there will say why
        self._marker = marker
        self._invitation = self._invite()
        for worker in self._workers.values():
            if worker.takes_part and worker.call is None:
                self._send_invitation(worker)

    # Tasks: they wait, are sent, and come back.

    def _hand_out(self) -> None:
        """Give waiting tasks to free workers."""
        if self._stopping:
            return
        for worker in self._workers.values() if self._facts is not None else ():
            if not len(self._planner) or (self._most is not None and self.running >= self._most):
                return
            if worker.takes_part and worker.call is None:
                task = self._planner.take(self._beside(worker))
                if task is not None:
                    self._send_task(worker, task)

    def _send_task(self, worker: _Worker, task: Task) -> None:
        away = worker.answer is None or not worker.answer.sees_folder
        weights = None
        if away and task.measure == "test" and task.weights is not None:
            with contextlib.suppress(OSError):  # lost: they are trained again
                weights = Path(task.weights).read_bytes()
        files = {name: os.path.abspath(path) for name in FILES if (path := getattr(task, name)) is not None}
        name = f"{task.individual}-{task.replicate}-{task.measure}"
        worker.task = task
        worker.deadline = time.monotonic() + self._timeout if self._timeout else math.inf
        worker.call = self._call(
            worker, name, dask_worker.evaluate, self._name, replace(task, **files), away, weights, gpu=True
        )

    def _call(
        self, worker: _Worker, name: str, function: Callable[..., Any], *arguments: Any, gpu: bool = False
    ) -> Call:
        assert self._link is not None
        # One task at a time on a worker is this search's own doing; what else the cluster does must leave the GPU, too.
        has_gpu = worker.answer is not None and "GPU" in worker.answer.resources
        resources = {"GPU": 1.0} if gpu and has_gpu else None
        return self._link.call(worker.address, name, function, *arguments, resources=resources)

    def _serve(self, timeout: float | None) -> None:
        """Wait for what happens, take it in, end what is over its time, and give out tasks."""
        assert self._link is not None
        deadline = min((worker.deadline for worker in self._workers.values()), default=math.inf) - time.monotonic()
        wait = min(math.inf if timeout is None else timeout, max(0.0, deadline))
        for event in self._link.events(None if wait == math.inf else wait):
            self._take(event)
        self._end_overdue()
        self._hand_out()

    def _take(self, event: Event) -> None:
        if isinstance(event, Present):
            self._look(event.workers)
        elif isinstance(event, Returned):
            # What nobody waits for any more was given up or lost: its task was done again or has failed, so that a
            # result which still comes is a second one.
            worker = next((worker for worker in self._workers.values() if worker.call is event.call), None)
            if worker is not None:
                self._returned(worker, event.content)
        else:
            name = self._workers[event.address].name if event.address in self._workers else event.address
            self._say(
                f"note: {name} goes on with what nobody waits for, and cannot be started again ({event.reason}); "
                "it takes part again once that has ended"
            )

    def _returned(self, worker: _Worker, content: Any) -> None:
        task = worker.task
        _release(worker)
        if task is None and isinstance(content, Answer):
            self._answered(worker, content)
        elif task is None:
            remedy = "the same version of evo must be installed there and where the scheduler runs"
            self._answered(worker, Answer("", problem=f"{worker.name}: {reason_of(content)}; {remedy}"))
        elif isinstance(content, Reply) and content.evaluation is not None:
            self._finish(worker, task, content.evaluation, content.weights)
        elif isinstance(content, StorageError) and worker.answer is not None and worker.answer.sees_folder:
            raise content
        else:
            if isinstance(content, Reply):  # it was not ready, or was stopped by another hand
                self._planner.put_back(task)
            else:
                self._do_again(task, worker.name, reason_of(content))
            worker.answer = None
            self._send_invitation(worker)

    def _finish(self, worker: _Worker, task: Task, evaluation: Evaluation, weights: bytes | None) -> None:
        """Take an evaluation; one that ran out of memory beside others is done again alone."""
        if evaluation.status == "out_of_memory" and (beside := self._beside(worker)):
            self._planner.out_of_memory(task, beside)
            return
        if weights is not None and task.weights is not None:
            with replacing(Path(task.weights)) as temporary:
                temporary.write_bytes(weights)
        self._finished.append(replace(evaluation, worker=worker.name))

    def _beside(self, worker: _Worker) -> list[Task]:
        """Return the tasks that run in the same memory as a worker's."""
        others = self._workers.values()
        return [other.task for other in others if other.task is not None and other.memory_of == worker.memory_of]

    def _do_again(self, task: Task, name: str, reason: str) -> None:
        """Let a task wait again whose worker was lost, or let it fail after so many losses."""
        key = (task.individual, task.replicate, task.measure)
        self._losses[key] += 1
        if self._losses[key] < LOSSES:
            self._planner.put_back(task)
        else:
            reason = f"its workers were lost {LOSSES} times, the last of them {name}: {reason}"
            self._finished.append(failure(task, "failed", reason, name))

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for worker in self._workers.values():
            if now <= worker.deadline:
                continue
            if worker.task is not None:
                reason = f"took longer than --timeout {self._timeout:g} s"
                self._finished.append(failure(worker.task, "timeout", reason, worker.name, self._timeout or 0.0))
                self._give_up(worker)
            elif self._link is not None:
                worker.deadline = math.inf
                self._link.restart(worker.address)

    def _give_up(self, worker: _Worker) -> None:
        """Wait no longer for a worker's task. The worker is free again when it answers; if it does not, it is ended."""
        _release(worker)
        worker.answer = None
        self._send_invitation(worker)
        worker.deadline = time.monotonic() + END_SECONDS

    def _say(self, message: str) -> None:
        """Say something once."""
        if message not in self._said:
            self._said.add(message)
            self._notify(message)


def _release(worker: _Worker) -> None:
    if worker.call is not None:
        worker.call.release()
    worker.call = worker.task = None
    worker.deadline = math.inf
