"""`ageing`: regularised evolution, in which the oldest individual dies, not the worst.

Real, Aggarwal, Huang and Le: Regularized Evolution for Image Classifier Architecture Search (AAAI 2019), algorithm 1.
Theirs keeps 100 individuals and samples 25. With a hundred trainings that would be random search, so the population
here is 20 and the sample 10.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from evo.strategies.members import Draft, Member
from evo.strategies.steady_state import SteadyState

SAMPLE_SHARE = 0.5
TRIES = 50


class Ageing(SteadyState):
    """The best of a random half of the population is mutated; the child takes the place of the oldest."""

    name = "ageing"

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._queue: deque[Member] = deque(maxlen=self.population_size)

    def propose(self, number: int, rng: random.Random) -> Draft | None:
        if number < self.first_size or not self._queue:
            return self.draft_new(rng)
        sample = rng.sample(list(self._queue), max(1, round(SAMPLE_SHARE * len(self._queue))))
        [parent] = self.toolbox.best(sample, 1)
        for attempt in range(TRIES):
            genome = self.toolbox.mutate(parent.genome, rng, strength=0.15 * (1 + attempt / 10))
            if self.is_new(genome):
                return Draft(genome, (parent.individual.id,), "mutation")
        return self.draft_new(rng)

    def take(self, member: Member) -> None:
        self._queue.append(member)

    def members(self) -> Sequence[int]:
        return [member.individual.id for member in self._queue]
