"""`random`: independent draws, the baseline that every search has to beat (Bergstra and Bengio, JMLR 13, 2012)."""

from __future__ import annotations

import random

from evo.strategies.base import Strategy
from evo.strategies.members import Draft, Member


class RandomSearch(Strategy):
    """Draws genomes that were not drawn before; a generation is a block of `population` draws."""

    name = "random"
    eager = True
    takes_earlier = "all"

    def required(self, number: int) -> int:
        return 0

    def propose(self, number: int, rng: random.Random) -> Draft | None:
        return self.draft_new(rng)

    def learn(self, member: Member) -> None:
        """Do nothing: no draw depends on a result."""

    def populations(self) -> list[tuple[int, ...]]:
        size, known = self.population_size, len(self._learned)
        blocks = [tuple(range(start, min(start + size, known))) for start in range(0, known, size)]
        return blocks if self.done() else [block for block in blocks if len(block) == size]
