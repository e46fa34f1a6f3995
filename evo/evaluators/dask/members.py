"""The workers of a cluster as a search sees them: they come, are invited, take part or not, rest, and go."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evo.errors import ConfigurationError, listed
from evo.evaluators.base import Setup, Task, reason_of
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.answers import agreed_facts, notes, refusal
from evo.evaluators.dask.link import Call, Link, Lost, Present
from evo.evaluators.dask.worker import DECIDED, Answer, Invitation

ANSWER_SECONDS = 30.0
"""How long the first workers are waited for before the search begins with those that have answered."""
INVITATIONS = 2
"""How often a worker is invited that gives no answer before it is left out."""


@dataclass
class Member:
    """A worker.

    Attributes:
        address: Its address.
        name: What tables show.
        answer: What it said to the last invitation; None while it has not.
        invitation: That invitation.
        unanswered: How many came to nothing since its last answer.
        resting: Whether it begins nothing now, see `Present`.
        call: What it does for the search: a task, or its answer.
        task: The task; None while it is free, or answers.
        begun: Whether it has begun the task, which may wait there behind what others have on the worker.
        deadline: When the task is over its time, or when the worker is for going on with one that was given up.
        beside: Tasks that ran in the same memory at some time during this one.
        faults: How many tasks in a row have come to nothing by a fault of its machine.
        given_up: Key of the task that was given up, until the worker has answered since then.
    """

    address: str
    name: str
    answer: Answer | None = None
    invitation: Invitation | None = None
    unanswered: int = 0
    resting: bool = False
    call: Call | None = None
    task: Task | None = None
    begun: bool = False
    deadline: float = math.inf
    beside: list[Task] = field(default_factory=list)
    faults: int = 0
    given_up: str = ""

    @property
    def takes_part(self) -> bool:
        """Whether it can do tasks of the search."""
        return self.answer is not None and not self.answer.problem

    @property
    def is_free(self) -> bool:
        """Whether it can begin one now."""
        return self.call is None and not self.resting and self.takes_part

    @property
    def sees_folder(self) -> bool:
        """Whether it sees the run folder."""
        return self.answer is not None and self.answer.sees_folder

    def release(self) -> None:
        """Wait no longer for what it does."""
        if self.call is not None:
            self.call.release()
        self.call = self.task = None
        self.begun, self.deadline, self.beside, self.given_up = False, math.inf, [], ""


class Membership:
    """Who the workers are.

    Args:
        setup: Builds the evaluation function in each worker.
        search: The search's name.
        limit_memory: Takes the free bytes of each memory that is new.
        notify: Takes what a person may want to know.
        warn: Takes what a person must know.
    """

    def __init__(
        self,
        setup: Setup,
        search: str,
        *,
        limit_memory: Callable[[float], None],
        notify: Callable[[str], None],
        warn: Callable[[str], None],
    ):
        self.members: dict[str, Member] = {}
        self.facts: dict[str, Any] | None = None
        self._setup, self._search = setup, search
        self._limit_memory, self._notify, self._warn = limit_memory, notify, warn
        self._link: Link | None = None
        self._invitation: Invitation | None = None
        self._memories: set[str] = set()
        self._marker: Path | None = None
        self._said: set[str] = set()

    def prepare(self) -> None:
        """Make what workers are told from now on.

        Raises:
            ConfigurationError: The setup cannot be sent.
        """
        try:
            import cloudpickle

            setup = cloudpickle.dumps(self._setup)
        except Exception as error:  # what it raises is the objective's own affair
            raise ConfigurationError(f"the objective cannot be sent to workers ({reason_of(error)})") from None
        decided = {name: str(self.facts.get(name)) for name in DECIDED} if self.facts is not None else {}
        marker = str(self._marker) if self._marker is not None else None
        self._invitation = Invitation(self._search, setup, dask_worker.versions_here(), decided, marker)

    def open(self, link: Link) -> None:
        """Take the way to the workers."""
        self._link = link

    def look(self, present: Present) -> list[Member]:
        """Take in who is there; who is new is invited. Return those that are gone."""
        gone = [self.members.pop(address) for address in self.members.keys() - present.workers]
        for address in sorted(present.workers - self.members.keys()):
            self.members[address] = Member(address, address)
            self.invite(self.members[address])
        for member in self.members.values():
            member.resting = member.address in present.resting
        if self.members and all(member.resting for member in self.members.values()):
            self.say(
                "note: nothing begins at this moment: Dask has paused every worker, for its memory is nearly used up, "
                "or lets it leave; evo plans memory itself, so start workers with --memory-limit 0"
            )
        return gone

    def invite(self, member: Member) -> None:
        """Invite a worker; it is given nothing else before it has answered."""
        assert self._link is not None
        member.invitation = self._invitation
        member.call = self._link.call(
            member.address, "invitation", dask_worker.accept, self._invitation, resources=None
        )

    def take_answer(self, member: Member, content: Any) -> None:
        """Take what an invitation has brought: an answer, or what went wrong."""
        if isinstance(content, Answer):
            member.unanswered = 0
            self._answered(member, content)
            return
        member.unanswered += 1
        if member.unanswered < INVITATIONS:
            self.invite(member)
            return
        reason = content.reason if isinstance(content, Lost) else reason_of(content)
        remedy = "; the same version of evo must be installed there and where the scheduler runs"
        reason += remedy if isinstance(content, ImportError | AttributeError) else ""
        self._answered(member, Answer("", problem=f"{member.name}: could not be made ready: {reason}"))

    def first_have_answered(self, waited: float) -> bool:
        """Return whether those that are there have answered, or have had the time to.

        Raises:
            ConfigurationError: None of them can take part.
        """
        answered = [member for member in self.members.values() if member.answer is not None]
        if len(answered) < len(self.members) and waited < ANSWER_SECONDS:
            return False
        refused = [member.answer for member in answered if member.answer is not None and member.answer.problem]
        if len(refused) < len(answered):
            for answer in refused:
                self._warn_of(answer)
            return True
        if refused and len(refused) == len(self.members):
            raise ConfigurationError(listed([refusal(answer) for answer in refused], "no worker can take part:"))
        return False

    def decide(self) -> dict[str, Any]:
        """Return the facts of the search, which all workers follow from now on.

        Raises:
            ConfigurationError: See `agreed_facts`.
        """
        self.facts = agreed_facts(self._taking_part())
        if hasattr(self._setup, "decided"):
            self._setup = self._setup.decided(self.facts)
        self.prepare()
        self._note()
        return self.facts

    def others_than(self, address: str) -> bool:
        """Return whether another worker than one can do tasks, now or after what it is at."""
        return any(
            other.address != address and not other.resting and other.takes_part for other in self.members.values()
        )

    def leave_out(self, member: Member, reason: str) -> None:
        """Give a worker nothing more."""
        self._answered(member, Answer("", problem=f"{member.name}: {reason}"))

    def mark(self, folder: Path) -> None:
        """Leave a file in the run folder, once, by which workers find out whether they see it."""
        if self._marker is not None:
            return
        marker = folder / f".{self._search}.cluster"
        try:
            marker.write_text(self._search, encoding="utf-8")
        except OSError:
            return  # what the run itself writes there will say why
        self._marker = marker
        self.prepare()
        for member in self.members.values():
            if member.takes_part and member.call is None:
                self.invite(member)

    def beside(self, member: Member) -> list[Member]:
        """Return the workers that train in the same memory as one, at this moment."""
        return [
            other
            for other in self.members.values()
            if other is not member and other.task is not None and _memory_of(other) == _memory_of(member)
        ]

    def say(self, message: str) -> None:
        """Say something once."""
        if message not in self._said:
            self._said.add(message)
            self._notify(message)

    def close(self) -> None:
        """Forget all of them."""
        for member in self.members.values():
            member.release()
        self.members = {}
        if self._marker is not None:
            with contextlib.suppress(OSError):  # whatever is wrong with the folder, the run itself says it
                self._marker.unlink(missing_ok=True)

    def _answered(self, member: Member, answer: Answer) -> None:
        member.answer, member.name = answer, answer.name or member.name
        if answer.problem:
            if self.facts is not None:
                self._warn_of(answer)
            return
        if member.invitation is not self._invitation:  # what was decided since then, or where the run lies, is news
            self.invite(member)
            return
        if answer.memory_of not in self._memories:
            self._memories.add(answer.memory_of)
            self._limit_memory(answer.facts.get("free_memory", math.inf))
        if self.facts is not None:
            self._note()

    def _taking_part(self) -> list[Answer]:
        return [member.answer for member in self.members.values() if member.answer is not None and member.takes_part]

    def _warn_of(self, answer: Answer) -> None:
        self._warn(f"warning: no part in the search takes {refusal(answer)}")

    def _note(self) -> None:
        """Say what is worth knowing once all have answered: until then some have not looked for the run folder."""
        if not any(member.call is not None and member.task is None for member in self.members.values()):
            for text in notes(self._taking_part(), has_folder=self._marker is not None):
                self.say(text)


def _memory_of(member: Member) -> str:
    return member.answer.memory_of if member.answer is not None else ""


def tasks_of(members: Iterable[Member]) -> list[Task]:
    """Return what workers are at."""
    return [member.task for member in members if member.task is not None]
