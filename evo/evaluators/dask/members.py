"""The workers of a cluster as a search sees them: they join, are invited, take part or not, rest, and leave."""

from __future__ import annotations

import contextlib
import math
import uuid
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo.data.cache import Notify
from evo.errors import ConfigurationError, listed
from evo.evaluators.base import Setup
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.link import Link
from evo.evaluators.dask.worker import DECIDED, UNANSWERED, Answer, Invitation
from evo.evaluators.sending import packed
from evo.evaluators.workers import Worker, WorkersEvaluator
from evo.plain_text import reason_of

if TYPE_CHECKING:
    from distributed import Future

ANSWER_SECONDS = 30.0
"""How long to wait for the first workers before the search begins with those that have answered."""
INVITATIONS = 2
"""How often a worker is invited that gives no answer before it is left out."""


@dataclass(eq=False, kw_only=True)
class Member(Worker):
    """A worker of the cluster.

    Attributes:
        address: Its address.
        answer: Its answer to the last invitation.
        invitation: That invitation.
        unanswered: How many invitations have failed since its last answer.
        resting: Whether it begins nothing now, see `Link`.
        call: What it does for the search: a batch, or its answer.
        begun: Whether it has begun the batch, which may wait there behind the tasks of others.
        faults: How many batches in a row have failed because of its machine.
        given_up: Key of the call that was abandoned, until the worker has answered since.
    """

    address: str
    answer: Answer = UNANSWERED
    invitation: Invitation | None = None
    unanswered: int = 0
    resting: bool = False
    call: Future | None = None
    begun: bool = False
    faults: int = 0
    given_up: str = ""

    @property
    def takes_part(self) -> bool:
        """Whether it can do tasks of the search."""
        return not self.answer.problem

    @property
    def is_free(self) -> bool:
        """Whether it can begin a batch now."""
        return self.call is None and not self.resting and self.takes_part

    def has_returned(self, call: Future) -> bool:
        """Return whether the worker's call is the one that has returned, and stop waiting for it if so.

        Another call was abandoned or lost. Its tasks were done again or have failed, so a result that comes now is a
        second one.
        """
        if self.call is not call:
            return False
        self.call = None
        return True

    def release(self) -> None:
        """Stop waiting for its call."""
        if self.call is not None:
            self.call.release()
        self.call, self.begun, self.given_up = None, False, ""
        self.clear()


class MembersEvaluator(WorkersEvaluator):
    """The part of a cluster's evaluator that knows its workers and what they have answered.

    Args:
        setup: Builds the evaluation function in each worker.
        timeout: See `WorkersEvaluator`.
        notify: Called with what the user may want to know.
        warn: Called with what the user must know.
    """

    def __init__(self, setup: Setup, timeout: float | None, notify: Notify, warn: Notify):
        super().__init__(setup, timeout)
        self._warn = warn
        self._say = cache(notify)  # once each
        self._name = uuid.uuid4().hex
        self._members: dict[str, Member] = {}
        self._link: Link | None = None
        self._invitation: Invitation | None = None
        self._memories: set[str] = set()
        self._marker: Path | None = None

    def _prepare(self) -> None:
        """Make the invitation for workers from now on.

        Raises:
            ConfigurationError: The setup cannot be sent.
        """
        setup = packed(self._setup, "search without dask and with one worker")
        decided = {name: str(self._facts.get(name)) for name in DECIDED} if self._facts is not None else {}
        self._invitation = Invitation(self._name, setup, dask_worker.versions_here(), decided, self._marker)

    def _update(self, workers: frozenset[str], resting: frozenset[str]) -> list[Member]:
        """Learn which workers there are and invite new ones. Return those that are gone."""
        gone = [self._members.pop(address) for address in self._members.keys() - workers]
        for address in sorted(workers - self._members.keys()):
            self._members[address] = Member(name=address, address=address)
            self._invite(self._members[address])
        for member in self._members.values():
            member.resting = member.address in resting
        if self._members and all(member.resting for member in self._members.values()):
            self._say(
                "note: no task can start now: Dask has paused every worker because its memory is nearly used up, "
                "or is letting it leave; evo plans memory itself, so start workers with --memory-limit 0"
            )
        return gone

    def _invite(self, member: Member) -> None:
        """Invite a worker; it gets nothing else before it has answered."""
        assert self._link is not None
        member.invitation = self._invitation
        returned = partial(self._responded, member)
        member.call = self._link.call(
            member.address, "invitation", dask_worker.accept, self._invitation, returned=returned
        )

    def _invite_anew(self, member: Member) -> None:
        """Release a worker; it takes part again once it has answered a new invitation."""
        member.release()
        member.answer = UNANSWERED
        self._invite(member)

    def _first_have_answered(self, waited: float) -> bool:
        """Return whether the workers that there are have answered, or have had enough time to.

        Raises:
            ConfigurationError: None of them can take part.
        """
        answers = [member.answer for member in self._members.values() if member.answer is not UNANSWERED]
        if len(answers) < len(self._members) and waited < ANSWER_SECONDS:
            return False
        refusals = [answer for answer in answers if answer.problem]
        if len(refusals) < len(answers):
            for answer in refusals:
                self._warn_of(answer)
            return True
        if refusals and len(refusals) == len(self._members):
            raise ConfigurationError(listed([_refusal(answer) for answer in refusals], "no worker can take part:"))
        return False

    def _agreed(self) -> dict[str, Any]:
        """Return the facts of the search, in which all workers agree, and invite workers with them from now on.

        Raises:
            ConfigurationError: The workers differ in device, precision or engine. The first one to answer must not
                decide what the results are.
        """
        choices: dict[tuple[str, ...], list[Answer]] = {}
        for answer in sorted(self._participants(), key=lambda answer: answer.name):
            choices.setdefault(tuple(str(answer.facts.get(name)) for name in DECIDED), []).append(answer)
        if len(choices) > 1:
            said = [f"{', '.join(choice)}: {len(them)} ({them[0].name}, …)" for choice, them in choices.items()]
            raise ConfigurationError(
                listed(said, "the workers would compute in different ways, which one table must not mix:")
                + "\nchoose one with --device, --precision and --engine"
            )
        [[first, *_]] = choices.values()
        self._decide(first.facts)
        self._prepare()
        self._note()
        return first.facts

    def _others_than(self, address: str) -> bool:
        """Return whether a worker at another address can do tasks, now or after its present one."""
        others = [member for member in self._members.values() if member.address != address]
        return any(other.takes_part and not other.resting for other in others)

    def _leave_out(self, member: Member, reason: str) -> None:
        """Give a worker nothing more."""
        self._answered(member, Answer("", problem=f"{member.name}: {reason}"))

    def _mark(self, folder: Path) -> None:
        """Leave a file in the run folder, once, by which workers find out whether they see it."""
        if self._marker is not None:
            return
        marker = folder / f".{self._name}.cluster"
        try:
            marker.write_text(self._name, encoding="utf-8")
        except OSError:
            return  # the run's own writes will report the reason
        self._marker = marker
        self._prepare()
        for member in self._members.values():
            if member.takes_part and member.call is None:
                self._invite(member)

    def _neighbours(self, member: Member) -> list[Member]:
        """Return the busy workers that share a worker's memory."""
        others = [other for other in self._members.values() if other is not member and other.tasks]
        return [other for other in others if other.answer.memory_of == member.answer.memory_of]

    def close(self) -> None:
        """Release all workers, and remove the marker."""
        for member in self._members.values():
            member.release()
        self._members = {}
        self._planner.clear()
        self._finished.clear()
        if self._marker is not None:
            with contextlib.suppress(OSError):  # the run itself reports what is wrong with its folder
                self._marker.unlink(missing_ok=True)

    def _all_workers(self) -> list[Member]:
        return list(self._members.values())

    def _responded(self, member: Member, call: Future, content: Any) -> None:
        """Handle what an invitation has returned: an answer, or an error."""
        if not member.has_returned(call):
            return
        member.release()
        if isinstance(content, Answer):
            member.unanswered = 0
            self._answered(member, content)
            return
        member.unanswered += 1
        if member.unanswered < INVITATIONS:
            self._invite(member)
            return
        remedy = "; the same version of evo must be installed there and where the scheduler runs"
        reason = reason_of(content) + (remedy if isinstance(content, ImportError | AttributeError) else "")
        self._leave_out(member, f"could not be made ready: {reason}")

    def _answered(self, member: Member, answer: Answer) -> None:
        member.answer, member.name = answer, answer.name or member.name
        if answer.problem:
            if self._facts is not None:
                self._warn_of(answer)
            return
        if member.invitation is not self._invitation:  # it does not know yet what was decided, or where the run lies
            self._invite(member)
            return
        # Before the first task every answer counts: the last worker of a machine sees what all of them have taken.
        if answer.memory_of not in self._memories or self._facts is None:
            self._memories.add(answer.memory_of)
            self._planner.limit_memory(answer.facts.get("free_memory", math.inf))
        if self._facts is not None:
            self._note()

    def _participants(self) -> list[Answer]:
        return [member.answer for member in self._members.values() if member.takes_part]

    def _warn_of(self, answer: Answer) -> None:
        self._warn(f"warning: a worker cannot take part in the search: {_refusal(answer)}")

    def _note(self) -> None:
        """Say what is worth knowing once all have answered: before that, some have not looked for the run folder."""
        if any(member.call is not None and not member.batch for member in self._members.values()):
            return
        answers = self._participants()
        for answer in answers:
            if self._marker is not None and not answer.sees_folder:
                self._say(
                    f"note: workers on {answer.host} do not see the run folder, or cannot write to it: if the search "
                    "stops, what is running there starts from the beginning after a resume"
                )
        names = {str(answer.facts["device_name"]) for answer in answers if answer.facts.get("device_name")}
        if len(names) > 1:
            self._say(
                f"note: the workers' processors differ ({', '.join(sorted(names))}): "
                "the last digits of a result depend on which one computed it"
            )


def _refusal(answer: Answer) -> str:
    return f"{answer.name} on {answer.host}: {answer.problem}" if answer.name else answer.problem
