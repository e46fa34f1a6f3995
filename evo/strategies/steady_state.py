"""Steady-state evolution: one child at a time, from all results but those of a fixed window of pending individuals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from evo.errors import ConfigurationError
from evo.strategies.base import Member, Strategy

DEFAULT_PENDING = 4


class SteadyState(Strategy):
    """Proposes child k from the results of the first k - pending + 1 proposals, whoever else has finished.

    So what is proposed does not depend on the number of workers; more of them than `pending` have nothing to do. A
    generation is a block of `population` proposals. With `asynchronous`, no result is awaited.

    Args:
        *args: Of `Strategy`.
        pending: Proposals whose results are not awaited, the new one included; 1 awaits all of them.
        asynchronous: Learn results in the order in which they arrive, and propose without waiting for any. Faster on
            many unequal workers; what is proposed then depends on who finishes first.
        **settings: Of `Strategy`.
    """

    options = frozenset({"pending", "asynchronous"})

    def __init__(self, *args: Any, pending: int = DEFAULT_PENDING, asynchronous: bool = False, **settings: Any):
        self.pending, self.asynchronous = pending, asynchronous
        if pending < 1:
            raise ConfigurationError(f"--pending: must be at least 1, got {pending}")
        super().__init__(*args, **settings)
        self._populations: list[tuple[int, ...]] = []

    @property
    def first_size(self) -> int:
        """Proposals at the start that no result has a part in."""
        return min(self.population_size, self.limit)

    def required(self, number: int) -> int:
        waits = number >= self.first_size and not self.asynchronous
        return max(0, number - self.pending + 1) if waits else 0

    def generation_of(self, number: int) -> int:
        # Evaluations of known individuals again are of no generation.
        again = len(self.proposals) - len(self.individuals)
        return (number - again) // self.population_size

    def trainings_of(self, generations: int) -> int:
        return generations * self.population_size

    @abstractmethod
    def members(self) -> Sequence[Member]:
        """Return the population as it is now."""

    def learn(self, member: Member) -> None:
        self.take(member)
        if len(self._fitnesses) % self.population_size == 0:
            self._populations.append(self._ids())

    @abstractmethod
    def take(self, member: Member) -> None:
        """Take in the first result of an individual; called in the order of the proposals."""

    def populations(self) -> list[tuple[int, ...]]:
        if self.done() and len(self._fitnesses) % self.population_size:
            return [*self._populations, self._ids()]
        return list(self._populations)

    def _ids(self) -> tuple[int, ...]:
        return tuple(member.individual.id for member in self.members())
