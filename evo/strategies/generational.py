"""Generational evolution: a generation is proposed when all results of the previous one are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evo.errors import ConfigurationError
from evo.strategies.base import Strategy
from evo.strategies.members import Member


class GenerationalStrategy(Strategy):
    """A population that each generation replaces, except for its elites; these are not trained again."""

    elites = 1

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        if self.population_size <= self.elites:
            raise ConfigurationError(
                f"population: {self.name} keeps {self.elites} and needs at least {self.elites + 1}, "
                f"got {self.population_size}"
            )
        self.population: list[Member] = []
        self._children: list[Member] = []
        self._populations: list[tuple[int, ...]] = []

    @property
    def children_size(self) -> int:
        """Trainings of every generation but the first."""
        return self.population_size - self.elites

    def generation_of(self, number: int) -> int:
        return max(0, 1 + (number - self.population_size) // self.children_size)

    def start_of(self, generation: int) -> int:
        """Return the number of the first proposal of a generation."""
        return self.trainings_of(generation) if generation else 0

    def required(self, number: int) -> int:
        return self.start_of(self.generation_of(number))

    def trainings_of(self, generations: int) -> int:
        return self.population_size + (generations - 1) * self.children_size

    def learn(self, member: Member) -> None:
        self._children.append(member)
        if member.individual.id == self.start_of(member.individual.generation + 1) - 1:
            self.population, self._children = self._next_population(), []
            self._populations.append(_ids(self.population))

    def _next_population(self) -> list[Member]:
        return self.succeed(self._children) if self.population else list(self._children)

    def succeed(self, children: Sequence[Member]) -> list[Member]:
        """Return the population that follows `self.population`: its elites and the children."""
        return [*self.toolbox.best(self.population, self.elites), *children]

    def populations(self) -> list[tuple[int, ...]]:
        if self.done() and self._children:
            return [*self._populations, _ids(self._next_population())]
        return list(self._populations)


def _ids(members: Sequence[Member]) -> tuple[int, ...]:
    return tuple(member.individual.id for member in members)
