"""Steady-state evolution: one child at a time, made from all results except those of the last few proposals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from evo.numbers import whole_number
from evo.strategies.base import Strategy
from evo.strategies.members import Member

DEFAULT_PENDING = 4


class SteadyState(Strategy):
    """Proposes child k from the results of the first k - pending + 1 proposals, even if more have finished.

    So the proposals do not depend on the number of workers; at most `pending` workers are busy. A generation is a block
    of `population` proposals.

    Args:
        *args: Of `Strategy`.
        pending: Proposals whose results are not awaited, including the new one; 1 awaits all results.
        asynchronous: Learn results in the order in which they arrive, and propose without waiting for any. Faster on
            many unequal workers, but the proposals then depend on which training finishes first.
        **settings: Of `Strategy`.
    """

    options = frozenset({"pending", "asynchronous"})

    def __init__(self, *args: Any, pending: int = DEFAULT_PENDING, asynchronous: bool = False, **settings: Any):
        self.pending, self.asynchronous = whole_number("--pending", pending, 1), asynchronous
        super().__init__(*args, **settings)
        self._populations: list[tuple[int, ...]] = []
        self._taken = 0

    @property
    def first_size(self) -> int:
        """How many of the first proposals are made without any result."""
        return min(self.population_size, self.limit)

    def required(self, number: int) -> int:
        waits = number >= self.first_size and not self.asynchronous
        return max(0, number - self.pending + 1) if waits else 0

    @abstractmethod
    def members(self) -> Sequence[int]:
        """Return the ids of the population as it is now."""

    @abstractmethod
    def take(self, member: Member) -> None:
        """Learn the result of a proposal on its first seed; see `learn`."""

    def learn(self, member: Member) -> None:
        self.take(member)
        self._taken += 1
        if self._taken % self.population_size == 0:
            self._populations.append(tuple(self.members()))

    def populations(self) -> list[tuple[int, ...]]:
        if self.done() and self._taken % self.population_size:
            return [*self._populations, tuple(self.members())]
        return list(self._populations)
